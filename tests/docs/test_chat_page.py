"""The chat page among the examples, in a browser: what is said stays, whatever is reloaded, killed or stopped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from examples.chat_page.main import ANSWER
from tests.docs.repository import ROOT
from tests.docs.uvicorn_process import Uvicorn

TARGET = "examples.chat_page.main:site"


def chat(folder: Path, *, port: int = 0, pace_s: str = "0.03") -> Uvicorn:
    store = f"sqlite:///{folder / 'chat.db'}"
    return Uvicorn(TARGET, folder, port=port, CHAT_STORE=store, CHAT_SECONDS_PER_WORD=pace_s)


def say(page: Page, text: str) -> None:
    page.get_by_placeholder("Say something").fill(text)
    page.get_by_role("button", name="Send").click()


def whole(text: str) -> str:
    return ANSWER.format(text=text)


def test_a_chat_survives_a_reload_and_a_restart_of_the_server_in_the_middle_of_an_answer(
    page: Page, tmp_path: Path
) -> None:
    lines = page.locator("#messages li")
    with chat(tmp_path) as first:
        page.goto(first.url)
        expect(page.locator("#news")).to_have_text("connected")
        say(page, "hello")
        expect(lines.nth(1)).to_contain_text("This answer is scripted")
        page.reload()
        expect(lines).to_have_count(2)
        expect(lines.nth(1)).to_contain_text("“hello”. This answer is scripted, and written word")
        expect(lines.nth(1)).to_have_text(whole("hello"))
        expect(page.get_by_role("button", name="Stop")).to_be_disabled()

        say(page, "again")
        expect(lines.nth(3)).to_contain_text("“again”. This answer")
        first.process.kill()
        first.process.wait(30)
        expect(page.locator("#news")).to_have_text(re.compile("connection lost"))
        port = first.port
    with chat(tmp_path, port=port):
        expect(page.locator("#news")).to_have_text("connected")
        expect(lines.nth(3)).to_have_text(whole("again"))
        expect(lines).to_have_text(["hello", whole("hello"), "again", whole("again")])
        page.reload()
        expect(lines).to_have_text(["hello", whole("hello"), "again", whole("again")])
        assert page.locator("li.open").count() == 0


def test_a_chat_is_stopped_and_seen_in_two_windows(page: Page, browser: Browser, tmp_path: Path) -> None:
    with chat(tmp_path, pace_s="0.2") as serving:
        page.goto(serving.url)
        say(page, "<b>hello</b>")
        expect(page.locator("#messages li").nth(1)).to_contain_text("You wrote: “<b>hello</b>”")
        other = browser.new_context().new_page()
        other.goto(page.url)
        expect(other.locator("#messages li").nth(1)).to_contain_text("You wrote: “<b>hello</b>”")
        other.get_by_role("button", name="Stop").click()
        for each in (page, other):
            expect(each.get_by_role("button", name="Stop")).to_be_disabled()
            expect(each.locator("#news")).to_have_text("connected")
        other.get_by_text("new conversation").click()
        expect(other.locator("#messages li")).to_have_count(0)
        other.context.close()


@pytest.mark.parametrize("page_file", ["examples/chat_page/page.html"])
def test_the_example_knows_nothing_but_the_module(page_file: str) -> None:
    """What a reader copies needs no build, no package and no other host."""
    text = (ROOT / page_file).read_text()
    assert re.findall(r'(?:from|import\() ?"([^"]+)"', text) == ["/awaken.js"]
    assert "http" not in text
