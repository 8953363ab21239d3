"""What runs wait for, over HTTP: finding it, deciding it, and what is said where that is not possible."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.transitions import Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def careful(ctx: Context) -> Any:
    """Wants permission."""
    said = await ctx.approve("delete it?", arguments={"file": "a.txt"}, name="delete", expires_in_s=60)
    return [said.approved, said.reason, said.arguments]


async def counting(ctx: Context) -> str:
    """Wants two numbers."""
    first, second = await asyncio.gather(ctx.ask("how many?", type=int), ctx.ask("of what?", type=str))
    return f"{first} {second}"


AGENTS: dict[str, Any] = {"careful": careful, "counting": counting}


async def waiting(site: Site, agent_id: str = "careful", thread_id: str | None = None) -> tuple[Any, list[Any]]:
    """A run that waits, and its open tickets, oldest first."""
    run = await site.submit(agent_id, thread_id)
    await site.world.quiet()
    listed = await site.http.get(f"/v1/tickets?run_id={run['run_id']}&order=asc&state=open")
    return run, listed.json()["items"]


def decision(ticket: Any) -> str:
    return f"/v1/tickets/{ticket['ticket_id']}/decision"


# --- reading ----------------------------------------------------------------------------------------------------------


@behaviour("TK-070")
async def test_a_run_that_waits_says_for_what(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site, thread_id="t")
        shown = (await site.http.get(f"/v1/runs/{run['run_id']}")).json()
        [listed] = (await site.http.get("/v1/runs")).json()["items"]
        thread = (await site.http.get("/v1/threads/t")).json()

        assert shown["phase"] == listed["phase"] == "needs_decision"
        assert shown["waiting"]["ticket_ids"] == [ticket["ticket_id"]]
        assert shown["waiting"]["tickets"] == [ticket]
        assert (await site.http.get(f"/v1/tickets/{ticket['ticket_id']}")).json() == ticket
        assert thread["open_ticket_count"] == 1
        assert (await site.http.get("/v1/threads/t/state")).json()["tickets"] == [ticket]
        assert (ticket["kind"], ticket["state"], ticket["message"]) == ("approval", "open", "delete it?")
        assert (ticket["thread_id"], ticket["run_id"], ticket["agent_id"]) == ("t", run["run_id"], "careful")
        assert ticket["arguments"] == {"file": "a.txt"}
        assert ticket["allowed_actions"] == ["approve", "deny", "edit"]

        asking, _ = await waiting(site, "counting")
        assert (await site.http.get(f"/v1/runs/{asking['run_id']}")).json()["phase"] == "needs_input"


@behaviour("TK-071")
async def test_tickets_are_listed_by_what_they_are(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [approval] = await waiting(site, thread_id="a")
        _, [number, word] = await waiting(site, "counting", "b")

        async def listed(query: str = "") -> list[str]:
            return [each["ticket_id"] for each in (await site.http.get(f"/v1/tickets?{query}")).json()["items"]]

        first, *others = [each["ticket_id"] for each in (approval, number, word)]
        assert sorted(await listed()) == sorted([first, *others])
        assert (await listed("order=asc"))[0] == first
        assert (
            await listed("kind=approval") == await listed("agent_id=careful") == await listed("thread_id=a") == [first]
        )
        assert await listed(f"run_id={run['run_id']}") == await listed("tool_name=delete") == [first]
        assert await listed("expires_before=2099-01-01T00:00:00Z") == [first]
        assert await listed("state=decided") == []
        page = (await site.http.get("/v1/tickets?limit=2")).json()
        rest = (await site.http.get(f"/v1/tickets?limit=2&cursor={page['next_cursor']}")).json()
        assert (page["has_more"], rest["has_more"]) == (True, False)
        assert len(page["items"]) + len(rest["items"]) == 3
        for wrong in ("state=gone", "expires_before=soon", f"kind=approval&cursor={page['next_cursor']}"):
            assert (await site.http.get(f"/v1/tickets?{wrong}")).status == 422


# --- deciding ---------------------------------------------------------------------------------------------------------


@behaviour("TK-072", "MBX-154", "SRV-017")
async def test_a_decision_is_answered_with_what_became_of_it(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site)
        given = {"action": "edit", "arguments": {"file": "b.txt"}, "reason": "typo", "decision_id": "d1"}
        made = await site.http.post(decision(ticket), given)

        assert made.status == 202
        answer = made.json()
        assert (answer["duplicate"], answer["run"]["run_id"]) == (False, run["run_id"])
        decided = answer["ticket"]["decision"]
        assert (answer["ticket"]["state"], decided["path"], decided["adapter"]) == ("decided", "durable", "http")
        assert answer["ticket"]["decision"]["decision_id"] == "d1"
        done = await site.finished(run)
        assert done["output"] == [True, "typo", {"file": "b.txt"}]

        again = await site.http.post(decision(ticket), given)
        other = await site.http.post(decision(ticket), {"action": "deny"})
        assert (again.status, again.json()["duplicate"]) == (202, True)
        assert (other.status, other.code) == (409, "decision_conflict")
        assert len((await site.http.get(f"/v1/runs/{run['run_id']}/dispatches")).json()["items"]) == 2


@behaviour("TK-073", "SRV-017")
async def test_what_cannot_be_decided_says_why(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        _, [approval] = await waiting(site)
        asking, [number, _] = await waiting(site, "counting")

        async def refused(ticket: Any, body: Any) -> tuple[int, str]:
            answer = await site.http.post(decision(ticket), body)
            return answer.status, answer.code

        assert await refused({"ticket_id": "nothing-here"}, {"action": "deny"}) == (404, "ticket_not_found")
        assert await refused(approval, {"action": "answer", "result": 1}) == (422, "action_not_allowed")
        assert await refused(approval, {"action": "shrug"}) == (422, "invalid_request")
        assert await refused(approval, {}) == (422, "invalid_request")
        assert await refused(approval, {"action": "deny", "colour": "red"}) == (422, "invalid_request")
        assert await refused(number, {"action": "answer", "result": "many"}) == (422, "decision_rejected_by_schema")
        await clock.advance(61)
        assert await refused(approval, {"action": "approve"}) == (410, "ticket_expired")
        assert (await site.http.post(f"/v1/runs/{asking['run_id']}/cancel?wait=true", {})).status in (200, 202)
        assert await refused(number, {"action": "answer", "result": 4}) == (409, "ticket_withdrawn")


@behaviour("TK-074")
async def test_decisions_about_a_run_or_a_thread_are_made_together(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [number, word] = await waiting(site, "counting", "t")
        four = {"ticket_id": number["ticket_id"], "action": "answer", "result": 4}
        wrong = await site.http.post(
            f"/v1/runs/{run['run_id']}/decisions",
            {"decisions": [four, {"ticket_id": word["ticket_id"], "action": "answer", "result": 5}]},
        )
        assert (wrong.status, wrong.code) == (422, "decision_rejected_by_schema")
        assert (await site.http.get(f"/v1/tickets/{number['ticket_id']}")).json()["state"] == "open"

        partly = await site.http.post("/v1/threads/t/decisions", {"decisions": [four]})
        assert (partly.status, partly.json()["run"]["status"]) == (202, "waiting")
        apples = {"ticket_id": word["ticket_id"], "action": "answer", "result": "apples"}
        both = await site.http.post(f"/v1/runs/{run['run_id']}/decisions", {"decisions": [four, apples]})
        assert (both.status, both.json()["duplicates"]) == (202, [True, False])
        assert (await site.finished(run))["output"] == "4 apples"

        unknown = await site.http.post("/v1/threads/none/decisions", {"decisions": [four]})
        assert (unknown.status, unknown.code) == (404, "thread_not_found")
        missing = await site.http.post(f"/v1/runs/{run['run_id']}/decisions", {"decisions": []})
        assert missing.status == 422


@behaviour("TK-075")
async def test_a_decision_may_name_the_call_and_come_in_older_words(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        await waiting(site, thread_id="t")
        unknown = await site.http.post("/v1/threads/t/decision", {"tool_call_id": "c9", "action": "resume"})
        assert (unknown.status, unknown.code) == (404, "unknown_tool_call")


@behaviour("TK-076", "MBX-029", "MBX-019")
async def test_decisions_may_come_with_a_submit(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site, thread_id="t")
        decided = {"ticket_id": ticket["ticket_id"], "action": "deny", "reason": "no"}
        body = {"agent_id": "careful", "thread_id": "t", "decisions": [decided]}
        for _ in range(2):
            made = await site.http.post("/v1/runs", body)
            assert made.json()["run_id"] == run["run_id"]
        assert (await site.finished(run))["output"] == [False, "no", {"file": "a.txt"}]


@behaviour("MBX-200", "TK-029")
async def test_input_and_decisions_may_come_together(store: Store, clock: ManualClock) -> None:
    """The decision lets the run go on, and the input is taken once, however often both are sent."""
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site, thread_id="t")
        decided = {"ticket_id": ticket["ticket_id"], "action": "approve"}
        message = {"message_id": "m2", "content": "and hurry"}
        body = {"thread_id": "t", "agent_id": "gated", "messages": [message], "decisions": [decided]}
        sent, again = [(await site.http.post("/v1/runs", body)).json() for _ in range(2)]
        assert (await site.finished(run))["output"][0] is True
        (await site.world.agent.next_call()).release()
        await site.finished(sent)
        assert again["run_id"] == sent["run_id"], again
        receipt = (await site.http.get("/v1/threads/t/messages/m2/receipt")).json()
        assert (receipt["fate"], receipt["run_id"]) == ("consumed", sent["run_id"])


@behaviour("TK-029")
async def test_what_came_with_decisions_is_not_lost_with_the_answer(store: Store, clock: ManualClock) -> None:
    """The client of a server that died before it had answered, or before it had stored anything, asks again."""
    async with served(store, clock, agents=AGENTS) as site:
        for number, lose in enumerate((site.world.store.lose_answer, site.world.store.fail_once)):
            run, [ticket] = await waiting(site, thread_id=f"t{number}")
            decided = {"ticket_id": ticket["ticket_id"], "action": "approve"}
            message = {"message_id": "m2", "content": "and hurry"}
            where = {"thread_id": f"t{number}", "agent_id": "gated"}
            lose(Submit)

            failed = await site.http.post("/v1/runs", {**where, "messages": [message], "decisions": [decided]})
            assert failed.status == 503
            sent = await site.http.post("/v1/runs", {**where, "messages": [message], "decisions": [decided]})

            assert sent.status in (200, 202), sent.json()
            assert (await site.finished(run))["output"][0] is True
            (await site.world.agent.next_call()).release()
            await site.finished(sent.json())


@behaviour("TK-029")
async def test_a_submit_that_is_refused_has_decided_nothing(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS, mailbox=MailboxSettings(max_queued_per_thread=1)) as site:
        _, [ticket] = await waiting(site, thread_id="t")
        decided = {"ticket_id": ticket["ticket_id"], "action": "approve"}
        body = {"thread_id": "t", "agent_id": "gated", "input": "and hurry", "decisions": [decided]}

        full = await site.http.post("/v1/runs", body)
        clears = await site.http.post("/v1/runs", {**body, "multitask_strategy": "interrupt"})
        nowhere = await site.http.post("/v1/runs", {**body, "thread_id": "none"})
        nobody = await site.http.post("/v1/runs", {**body, "agent_id": "nobody"})

        assert (full.status, full.code) == (429, "queue_full")
        assert (clears.status, nowhere.status, nobody.status) == (422, 404, 422)
        assert (await site.http.get(f"/v1/tickets/{ticket['ticket_id']}")).json()["state"] == "open"


@behaviour("TK-077")
async def test_whoever_waits_says_whether_a_run_that_waits_is_enough(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site)
        path = f"/v1/runs/{run['run_id']}/wait?timeout_s=300"
        enough = await site.http.get(f"{path}&wait_for=waiting")
        assert (enough.status, enough.json()["run"]["status"]) == (200, "waiting")
        patient = asyncio.ensure_future(site.http.get(f"{path}&wait_for=done"))
        await site.world.quiet()
        assert not patient.done()
        await site.http.post(decision(ticket), {"action": "approve"})
        assert (await patient).json()["run"]["status"] == "done"


@pytest.mark.parametrize("action", ["resume", "cancel"])
@behaviour("TK-075")
async def test_other_words_for_yes_and_no(store: Store, clock: ManualClock, action: str) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site)
        assert (await site.http.post(decision(ticket), {"action": action})).status == 202
        assert (await site.finished(run))["output"][0] is (action == "resume")


NO_YES: list[Any] = [
    False,
    {"approved": False},
    {"approved": None},
    {"approved": "yes"},
    {"approve": False},
    "no",
    [],
    0,
    {},
]
"""What is no yes, whatever it stands beside."""


@behaviour("TK-085")
@pytest.mark.parametrize("said", NO_YES)
async def test_a_yes_in_older_words_is_none_when_what_it_brings_says_otherwise(
    store: Store, clock: ManualClock, said: Any
) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run, [ticket] = await waiting(site, thread_id="t")
        refused = await site.http.post(decision(ticket), {"action": "resume", "result": said})
        assert (refused.status, refused.code) == (422, "invalid_request"), refused.body
        upside_down = await site.http.post(decision(ticket), {"action": "cancel", "result": {"approved": True}})
        assert upside_down.status == 422
        assert (await site.http.get(f"/v1/tickets/{ticket['ticket_id']}")).json()["state"] == "open"
        assert (await site.http.post(decision(ticket), {"action": "cancel", "result": said})).status == 202
        assert (await site.finished(run))["output"][0] is False


async def test_tickets_of_many_runs_are_decided_each_by_itself(store: Store, clock: ManualClock) -> None:
    """One that cannot be decided costs the others nothing; the same again is decided."""
    async with served(store, clock, agents=AGENTS) as site:
        runs = [await site.submit("careful") for _ in range(3)]
        asking = await site.submit("counting")
        await site.world.quiet()
        tickets = (await site.http.get("/v1/tickets?order=asc&state=open")).json()["items"]
        approvals = [each["ticket_id"] for each in tickets if each["kind"] == "approval"]
        number, word = [each["ticket_id"] for each in tickets if each["run_id"] == asking["run_id"]]
        asked = {
            "decisions": [
                {"ticket_id": approvals[0], "action": "approve"},
                {"ticket_id": approvals[1], "action": "deny", "reason": "too big"},
                {"ticket_id": "nothing", "action": "approve"},
                {"ticket_id": "not / an id", "action": "approve"},
                {"ticket_id": approvals[2], "action": "answer", "result": 1},
                {"ticket_id": number, "action": "answer", "result": "many"},
                {"ticket_id": word, "action": "answer", "result": "apples"},
                {"ticket_id": word, "action": "answer", "result": "pears"},
            ]
        }
        for _ in range(2):
            answer = await site.http.post("/v1/tickets/decide", asked)
            assert answer.status == 200
            assert answer.json()["decided"] == [approvals[0], approvals[1], word]
            assert [(each["ticket_id"], each["code"]) for each in answer.json()["skipped"]] == [
                ("nothing", "ticket_not_found"),
                ("not / an id", "invalid_id"),
                (approvals[2], "action_not_allowed"),
                (number, "decision_rejected_by_schema"),
                (word, "decision_conflict"),
            ]
            assert all(each["why"] for each in answer.json()["skipped"])
        for approval in approvals[:2]:
            [run] = [each["run_id"] for each in tickets if each["ticket_id"] == approval]
            assert (await site.finished({"run_id": run}))["run"]["phase"] == "completed"
        assert len(runs) == len(approvals)
        several: tuple[Any, ...] = ([], [{"action": "approve"}], [{"ticket_id": "t", "action": "approve"}] * 257)
        for wrong in [{"decisions": each} for each in several]:
            assert (await site.http.post("/v1/tickets/decide", wrong)).status == 422


async def test_tickets_are_listed_by_how_they_were_decided(store: Store, clock: ManualClock) -> None:
    """So the last approved call of a tool is found, with which to compare the next."""
    async with served(store, clock, agents=AGENTS) as site:
        ids: dict[str, str] = {}
        for action in ("approve", "deny", "approve"):
            _, [ticket] = await waiting(site)
            await site.http.post(decision(ticket), {"action": action})
            ids[action] = ticket["ticket_id"]
        await waiting(site)

        async def listed(query: str) -> list[str]:
            return [each["ticket_id"] for each in (await site.http.get(f"/v1/tickets?{query}")).json()["items"]]

        assert await listed("tool_name=delete&state=decided&action=approve&limit=1") == [ids["approve"]]
        assert await listed("action=deny") == [ids["deny"]]
        assert len(await listed("action=approve")) == 2
        assert await listed("action=edit") == []
        assert (await site.http.get("/v1/tickets?action=shrug")).status == 422
