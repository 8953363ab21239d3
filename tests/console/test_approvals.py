"""Approvals: found, understood and decided, by mouse and by keyboard alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any, Final

import httpx
import msgspec
from playwright.sync_api import Locator, expect

from tests.browser.site import Site, Wanted
from tests.console.viewer import Viewer

MOST_STROKES: Final = 300
HOSTILE: Final = "<img src=x onerror=alert(1)>\u202egnp.exe"


def ask(site: Site, wanted: Iterable[Wanted], *, thread_id: str | None = None) -> list[str]:
    """Have the clerk ask these, and answer with the ids of the tickets, in that order."""
    asked = [msgspec.json.encode(each).decode() for each in wanted]
    where = {} if thread_id is None else {"thread_id": thread_id, "if_not_exists": "create"}
    runs = [{"agent_id": "clerk", "input": each, **where} for each in asked]
    made: list[str] = []
    for start in range(0, len(runs), 100):
        answer = httpx.post(f"{site.url}/v1/runs/batch", json={"runs": runs[start : start + 100]}, timeout=60)
        made += [item["run"]["run_id"] for item in answer.json()["items"]]
    ids: list[str] = []
    for run_id in made:
        waiting = httpx.get(f"{site.url}/v1/runs/{run_id}/wait", timeout=60).json()["run"]["waiting"]
        ids += waiting["ticket_ids"]
    return ids


def ticket(site: Site, ticket_id: str) -> dict[str, Any]:
    return httpx.get(f"{site.url}/v1/tickets/{ticket_id}").json()


def decide(site: Site, ticket_id: str, **said: Any) -> None:
    httpx.post(f"{site.url}/v1/tickets/{ticket_id}/decision", json=said).raise_for_status()


def detail(viewer: Viewer) -> Locator:
    return viewer.page.get_by_role("article", name="What is to be decided")


def shown_for_long(viewer: Viewer) -> None:
    """Wait until what is shown may be decided: a press just after a decision is meant for the one before."""
    expect(detail(viewer).locator("[data-seen]")).to_have_count(1)


def listed(viewer: Viewer) -> Locator:
    return viewer.page.locator(".side table").first.locator("tbody tr")


def test_nothing_waits_then_one_does_and_is_approved_by_mouse(viewer: Viewer, site: Site) -> None:
    """What is decided stays in sight, with when, and the page says what would fill it."""
    viewer.open("approvals")
    viewer.heading("Approvals")
    expect(viewer.page.get_by_text("No run waits for anybody")).to_be_visible()
    viewer.accessible()
    [first] = ask(site, [Wanted(tool="refund", question="Pay back 20 to Ann?", arguments={"amount": 20, "to": "ann"})])
    expect(listed(viewer)).to_have_count(1)
    expect(detail(viewer)).to_contain_text("Pay back 20 to Ann?")
    expect(detail(viewer)).to_contain_text("No call of it has been approved before")
    viewer.accessible()
    viewer.page.get_by_role("button", name="Approve a").click()
    expect(detail(viewer).locator(".outcome")).to_contain_text("approved")
    expect(listed(viewer)).to_contain_text("approved")
    assert ticket(site, first)["decision"]["action"] == "approve"
    viewer.accessible()
    viewer.open("approvals?state=decided")
    expect(listed(viewer)).to_have_count(1)
    expect(detail(viewer).locator(".outcome")).to_contain_text("by somebody without a name over the API")


def test_what_will_run_is_shown_beside_what_ran_before_and_what_waits_for_it(viewer: Viewer, site: Site) -> None:
    [before] = ask(site, [Wanted(tool="refund", arguments={"amount": 20, "to": "ann", "note": "late"})])
    decide(site, before, action="approve")
    [now] = ask(
        site,
        [Wanted(tool="refund", arguments={"amount": 900, "to": "ann", "fast": True}, expires_in_s=300)],
        thread_id="t",
    )
    run_id = ticket(site, now)["run_id"]
    httpx.post(f"{site.url}/v1/runs/{run_id}/messages", json={"input": "is it paid?"}).raise_for_status()
    viewer.open(f"approvals/{now}")
    rows = detail(viewer).locator(".compared tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.filter(has_text="amount")).to_contain_text("changed")
    expect(rows.filter(has_text="amount")).to_contain_text("900")
    expect(rows.filter(has_text="fast")).to_contain_text("new")
    expect(rows.filter(has_text="note")).to_contain_text("gone")
    expect(detail(viewer)).to_contain_text(re.compile(r"expires in \d min .*then it counts as a no"))
    expect(detail(viewer)).to_contain_text("A message to it, which has to wait: is it paid?")
    expect(detail(viewer).locator(".lately")).to_contain_text("refund")
    viewer.accessible()
    viewer.page.set_viewport_size({"width": 360, "height": 700})
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 360
    viewer.page.get_by_text("As commands").click()
    expect(viewer.page.locator(".commands")).to_contain_text(f"awaken decide {now} --approve")


def test_a_reason_other_arguments_and_an_answer_are_given_by_keyboard_alone(viewer: Viewer, site: Site) -> None:
    denied, edited, answered = ask(
        site,
        [
            Wanted(tool="refund", arguments={"amount": 20}),
            Wanted(tool="refund", arguments={"amount": 50, "to": ["ann", "bob"]}),
            Wanted(question="How shall Ann travel?", type="booking"),
        ],
    )
    viewer.open("approvals")
    keyboard = viewer.page.keyboard
    expect(detail(viewer)).to_contain_text("amount")
    shown_for_long(viewer)
    keyboard.press("d")
    keyboard.type("too much")
    viewer.accessible()
    ask(site, [Wanted(tool="refund", arguments={"amount": 1})])
    expect(listed(viewer)).to_have_count(4)  # what happens meanwhile takes nothing away of what is typed
    keyboard.press("Enter")
    expect(listed(viewer).nth(0)).to_contain_text("denied")
    expect(detail(viewer)).to_contain_text("to[1]")  # it has gone on to the next one
    shown_for_long(viewer)
    keyboard.press("e")
    expect(viewer.page.get_by_label("amount")).to_be_focused()
    keyboard.press("Control+a")
    keyboard.type("many")
    keyboard.press("Enter")
    expect(viewer.page.get_by_role("alert")).to_have_text("A number, such as 12 or 0.5.")
    for wrong, why in {"0x10": "A number", "1,5": "A number", "12345678901234567890": "would round"}.items():
        keyboard.press("Control+a")
        keyboard.type(wrong)
        keyboard.press("Enter")
        expect(viewer.page.get_by_role("alert")).to_contain_text(why)
    viewer.accessible()
    keyboard.press("Control+a")
    keyboard.type("30")
    keyboard.press("Enter")
    expect(listed(viewer).nth(1)).to_contain_text("approved, edited")
    shown_for_long(viewer)
    keyboard.press("Enter")
    expect(viewer.page.get_by_label("name")).to_be_focused()
    keyboard.type("Ann")
    keyboard.press("Tab")
    keyboard.press("s")
    viewer.page.get_by_role("button", name="Add one").press("Enter")
    viewer.page.get_by_role("textbox", name="row", exact=True).fill("7")
    price = viewer.page.get_by_label("price")
    price.fill("1.2")
    viewer.expected.add("422")  # which the page cannot know before: a multiple of 0.5
    price.press("Enter")
    expect(viewer.page.locator(".field").filter(has=price).get_by_role("alert")).to_contain_text("1.2")
    viewer.accessible()
    price.fill("1.5")
    extra = viewer.page.get_by_label("extra")
    extra.fill('{"a": {"b\\": ": ":"}, "a": 2}')
    price.press("Enter")
    expect(viewer.page.locator(".field").filter(has=extra).get_by_role("alert")).to_contain_text("appears twice")
    extra.fill("{}")
    price.press("Enter")
    expect(listed(viewer).nth(2)).to_contain_text("answered")
    said = [ticket(site, each)["decision"] for each in (denied, edited, answered)]
    assert [each["action"] for each in said] == ["deny", "edit", "answer"]
    assert said[0]["reason"] == "too much"
    assert said[1]["arguments"] == {"amount": 30, "to": ["ann", "bob"]}
    assert said[2]["result"] == {
        "name": "Ann",
        "travels_in": "second",
        "seats": [{"row": 7, "window": False}],
        "price": 1.5,
        "extra": {},
    }
    keyboard.press("?")
    expect(viewer.page.get_by_role("dialog", name="Keys")).to_contain_text("deny it, with a reason")


def test_a_key_that_is_held_down_decides_one(viewer: Viewer, site: Site) -> None:
    """And what somebody else decides meanwhile stays where it was, as that."""
    first, second, third = ask(site, [Wanted(tool="refund", arguments={"n": n}) for n in range(3)])
    viewer.open("approvals")
    expect(detail(viewer)).to_contain_text("Exactly this will run")
    shown_for_long(viewer)
    for _ in range(4):
        viewer.page.keyboard.down("a")
    viewer.page.keyboard.up("a")
    expect(listed(viewer).nth(0)).to_contain_text("approved")
    decide(site, second, action="deny", reason="by hand")
    expect(listed(viewer).nth(1)).to_contain_text("denied")
    expect(detail(viewer).locator(".outcome")).to_contain_text("by hand")
    assert ticket(site, third)["state"] == "open"
    assert ticket(site, first)["decision"]["action"] == "approve"


def test_a_key_that_is_pressed_twice_decides_one(viewer: Viewer, site: Site) -> None:
    """The next ticket takes no key, and no press of a button, before it can have been seen."""
    ids = ask(site, [Wanted(tool="refund", arguments={"n": n}) for n in range(3)])
    viewer.page.clock.install()
    viewer.open("approvals")
    shown_for_long(viewer)
    viewer.page.clock.pause_at(2_000_000_000)
    for _ in range(4):
        viewer.page.keyboard.press("a")
    button = detail(viewer).get_by_role("button", name="Approve a")
    button.click(force=True)
    expect(listed(viewer).nth(0)).to_contain_text("approved")
    expect(button).to_have_attribute("aria-disabled", "true")
    assert [ticket(site, each)["state"] for each in ids] == ["decided", "open", "open"]
    viewer.page.clock.resume()
    shown_for_long(viewer)
    button.click()
    expect(listed(viewer).nth(1)).to_contain_text("approved")
    assert ticket(site, ids[2])["state"] == "open"


def test_several_of_one_tool_are_decided_at_once_and_it_is_said_what_was_skipped(viewer: Viewer, site: Site) -> None:
    refunds = ask(site, [Wanted(tool="refund", arguments={"n": n}) for n in range(3)])
    ask(site, [Wanted(tool="send_mail", arguments={"to": "ann"})])
    viewer.open("approvals")
    expect(listed(viewer)).to_have_count(4)
    viewer.page.keyboard.press("x")
    expect(viewer.page.locator(".picked")).to_contain_text("1 call of refund by clerk picked")
    expect(viewer.page.get_by_role("checkbox")).to_have_count(4)  # with that of all: none for another tool
    viewer.page.keyboard.press("X")
    expect(viewer.page.locator(".picked")).to_contain_text("3 calls of refund")
    viewer.accessible()
    viewer.page.keyboard.press("a")
    dialog = viewer.page.get_by_role("dialog", name="Decide several")
    expect(dialog).to_contain_text("Approve 3 calls of refund")
    decide(site, refunds[1], action="deny")
    expect(listed(viewer).filter(has_text="denied")).to_have_count(1)  # and is in what was asked all the same
    expect(dialog).to_contain_text("Approve 3 calls of refund")
    viewer.accessible()
    viewer.page.keyboard.press("Enter")
    result = viewer.page.locator(".problem[role=status]")
    expect(result).to_contain_text("approved: 2; skipped: 1")
    expect(result).to_contain_text("decision_conflict")
    assert [ticket(site, each)["decision"]["action"] for each in refunds] == ["approve", "deny", "approve"]


def test_of_more_than_a_page_the_others_are_on_the_next_and_come_as_these_are_decided(
    viewer: Viewer, site: Site
) -> None:
    ask(site, [Wanted(tool="refund", arguments={"n": n}) for n in range(103)])
    viewer.open("approvals")
    expect(listed(viewer)).to_have_count(100)
    viewer.page.get_by_role("button", name="Next page").press("Enter")
    expect(listed(viewer)).to_have_count(3)
    viewer.page.get_by_role("button", name="First page").click()
    expect(listed(viewer)).to_have_count(100)
    viewer.open("approvals?tool_name=none")
    expect(viewer.page.get_by_text("Nothing here fits")).to_be_visible()
    viewer.open("approvals")
    expect(listed(viewer)).to_have_count(100)
    shown_for_long(viewer)
    viewer.page.keyboard.press("a")
    expect(listed(viewer)).to_have_count(101)
    expect(listed(viewer).first).to_contain_text("approved")
    expect(listed(viewer).last).to_contain_text("n: 100")


def test_what_agents_say_is_data(viewer: Viewer, site: Site) -> None:
    viewer.page.on("dialog", lambda dialog: viewer.errors.append(f"a dialog: {dialog.message}"))
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    long = "x" * 100_000
    ask(
        site,
        [
            Wanted(
                tool=HOSTILE[:-8],
                question=HOSTILE + long,
                arguments={HOSTILE: HOSTILE, "long": long, "deep": deep, "__proto__": {"a": 1}, "big": 2**60 + 1},
            )
        ],
    )
    viewer.open("approvals")
    expect(detail(viewer)).to_contain_text("<img src=x onerror=alert(1)>⟨202e⟩gnp.exe")
    expect(detail(viewer)).to_contain_text("larger than a browser can hold exactly")
    expect(viewer.page.locator("main img")).to_have_count(0)
    viewer.page.keyboard.press("j")
    viewer.accessible()


def test_commands_that_decide_say_exactly_what_is_asked(viewer: Viewer, site: Site) -> None:
    """What is pasted approves what was seen: nothing of it is cut, and what cannot be seen means the same."""
    said = {"to": "\u202eevil\u202c zero\u200bwidth 'quoted'", "note": "A" * 3_000}
    ask(site, [Wanted(tool="refund", arguments=said)])
    viewer.open("approvals")
    viewer.page.get_by_text("As commands").click()
    lines = viewer.page.locator(".commands code")
    expect(lines.filter(has_text="--edit")).to_have_count(1)
    split = [shlex.split(line) for line in lines.all_inner_texts()]
    [by_hand] = [words[words.index("--edit") + 1] for words in split if "--edit" in words]
    assert json.loads(by_hand) == said
    bodies = [json.loads(words[words.index("-d") + 1]) for words in split if "-d" in words]
    assert [body["arguments"] for body in bodies if body["action"] == "edit"] == [said]


def test_a_hundred_of_all_kinds_take_at_most_three_hundred_key_strokes(viewer: Viewer, site: Site) -> None:
    """Forty of one tool at once, the others one by one: approved, denied with a reason, edited, answered."""
    mails = [Wanted(tool="send_mail", arguments={"to": f"customer {n}"}) for n in range(40)]
    refunds = [Wanted(tool="refund", arguments={"amount": n}) for n in range(40)]
    questions = [Wanted(question="How many?", type="whole") for _ in range(20)]
    mixed = [
        each
        for group in zip(mails[:20], mails[20:], refunds[:20], refunds[20:], questions, strict=True)
        for each in group
    ]
    ids = ask(site, mixed)
    viewer.page.add_init_script("strokes = 0; addEventListener('keydown', () => { strokes += 1; }, true);")
    viewer.page.clock.install()
    viewer.open("approvals")
    expect(listed(viewer)).to_have_count(100)
    keyboard, page = viewer.page.keyboard, viewer.page
    page.keyboard.press("X")
    page.keyboard.press("a")
    expect(page.get_by_role("dialog", name="Decide several")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_contain_text("approved: 40")
    for at, wanted in enumerate([each for each in mixed if each.tool != "send_mail"]):
        page.clock.fast_forward(400)
        shown_for_long(viewer)
        if wanted.tool is None:
            keyboard.press("Enter")
            expect(detail(viewer).get_by_label("How many?")).to_be_focused()
            keyboard.press("7")
            keyboard.press("Enter")
            expect(detail(viewer).get_by_label("How many?")).to_have_count(0)
        elif at % 5 == 0:
            keyboard.press("d")
            if at == 0:
                keyboard.type("not now")
            keyboard.press("Enter")
        elif at % 5 == 1:
            keyboard.press("e")
            expect(page.get_by_label("amount")).to_be_focused()
            keyboard.press("1")
            keyboard.press("Enter")
            expect(page.get_by_label("amount")).to_have_count(0)
        else:
            keyboard.press("a")
    expect(page.locator("main .status.ask, main .status.live, main .status.bad")).to_have_count(0)
    expect(listed(viewer).filter(has_text="for")).to_have_count(0)
    strokes: int = page.evaluate("strokes")
    assert strokes <= MOST_STROKES
    decided = httpx.get(f"{site.url}/v1/tickets?state=decided&limit=200").json()["items"]
    assert {each["ticket_id"] for each in decided} == set(ids)
    assert {each["decision"]["action"] for each in decided} == {"approve", "deny", "edit", "answer"}
