"""The commands that talk to a server, against a real one."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from awaken.cli.failure import Exit
from awaken.cli.terminal import AnswerPrinter, printable
from awaken.cli.tickets import fitting
from awaken.client import Client, Event, Reconnect, Resync
from awaken.domain.shown import Purged
from awaken.testing.behaviour import behaviour
from tests.cli.conftest import Awaken
from tests.client.live import WORDS, LiveServer

_threads = (f"cli-{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWAKEN_URL", server)


@pytest.fixture
def thread() -> str:
    return next(_threads)


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_piped_answer_is_the_text_and_nothing_else(awaken: Awaken, thread: str) -> None:
    shown = awaken("run", "talk", "hi", "--thread", thread)
    assert shown.code == Exit.OK
    assert shown.out == "".join(f"hi {number} " for number in range(WORDS)) + "\n"
    assert re.search(rf"completed, [0-9.]+ s, thread {thread}", shown.err)


def test_tools_are_told_beside_the_answer_and_cannot_steer_the_terminal(awaken: Awaken) -> None:
    shown = awaken("run", "clerk", "where is it?")
    assert shown.out == "It left today.[31m\n"
    assert '· look_up({"order":7})' in shown.err
    assert "succeeded: found[2J" in shown.err
    assert "\x1b" not in shown.out + shown.err


def test_an_answer_can_be_had_as_json(awaken: Awaken) -> None:
    shown = awaken("run", "talk", "hi", "--json")
    run = json.loads(shown.out)
    assert (run["phase"], run["agent_id"], run["final_output"][:5]) == ("completed", "talk", "hi 0 ")


def test_the_text_can_come_from_the_standard_input(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("piped\n"))
    assert awaken("run", "talk", "-").out.startswith("piped 0 piped 1 ")


def test_a_text_may_look_like_a_number_below_zero_and_flags_may_come_first(awaken: Awaken, thread: str) -> None:
    assert awaken("run", "talk", "-5", "--thread", thread).out.startswith("-5 0 ")
    assert awaken("run", "--thread", thread, "talk", "hi").out.startswith("hi 0 ")
    assert json.loads(awaken("run", "talk", "--json", "hi").out)["final_output"].startswith("hi 0 ")


def test_a_run_that_failed_fails_the_command(awaken: Awaken) -> None:
    shown = awaken("run", "broken", "hi")
    assert shown.code == Exit.FAILED
    assert "dead_letter" in shown.err
    assert "the model is gone" in shown.err


def test_a_run_in_the_background_is_named_and_goes_on_alone(awaken: Awaken, server: str, thread: str) -> None:
    shown = awaken("run", "talk", "hi", "--thread", thread, "--background")
    run = json.loads(awaken("run", "talk", "again", "--thread", thread, "--background", "--json").out)
    with Client(server) as client:
        [second, first] = client.list_runs(thread_id=thread)
        assert shown.out == f"run {first.run_id} is accepted, thread {thread}\n"
        assert f"awaken watch {first.run_id}" in shown.err
        assert run["run_id"] == second.run_id
        assert client.wait(first.run_id).phase == "completed"


def test_an_agent_that_does_not_exist_is_not_found_and_the_others_are_named(awaken: Awaken) -> None:
    shown = awaken("run", "nobody", "hi")
    assert shown.code == Exit.NOT_FOUND
    assert "talk, stuck, clerk, broken" in shown.err


def test_a_server_that_is_not_there_is_unreachable_at_once(awaken: Awaken) -> None:
    for command in (("run", "talk", "hi"), ("tail", "r1"), ("runs",)):
        shown = awaken(*command, "--url", "http://127.0.0.1:9")
        assert shown.code == Exit.UNREACHABLE
        assert "awaken serve" in shown.err


def test_an_address_that_is_none_is_a_usage_error(awaken: Awaken) -> None:
    assert awaken("runs", "--url", "localhost").code == Exit.USAGE


# --- runs and tail ----------------------------------------------------------------------------------------------------


def test_runs_are_listed_for_people_and_for_programs(awaken: Awaken, thread: str) -> None:
    for text in ("one", "two"):
        awaken("run", "talk", text, "--thread", thread)
    listed = json.loads(awaken("runs", "--thread", thread, "--json").out)["items"]
    assert [run["final_output"][:3] for run in listed] == ["two", "one"]

    lines = awaken(
        "runs", "--thread", thread, "--status", "done", "--agent", "talk", "--phase", "completed"
    ).out.splitlines()
    assert lines[0].split() == ["RUN", "THREAD", "AGENT", "PHASE", "AGE", "TOOK", "OUTPUT"]
    assert [line.split()[0] for line in lines[1:]] == [run["run_id"] for run in listed]
    assert awaken("runs", "--thread", thread, "--limit", "1", "--json").out.count('"run_id"') == 1


def test_no_runs_is_not_an_error(awaken: Awaken, thread: str) -> None:
    awaken("run", "talk", "x", "--thread", thread)
    shown = awaken("runs", "--thread", thread, "--status", "waiting")
    assert (shown.code, shown.out) == (Exit.OK, "")
    assert json.loads(awaken("runs", "--thread", thread, "--status", "waiting", "--json").out) == {"items": []}


def test_runs_of_an_unknown_status_or_thread_are_refused(awaken: Awaken) -> None:
    assert awaken("runs", "--status", "sleepy").code == awaken("runs", "--phase", "sleepy").code == Exit.USAGE
    assert awaken("runs", "--thread", "nowhere").code == Exit.NOT_FOUND


def test_a_runs_events_are_followed_to_its_end(awaken: Awaken) -> None:
    run_id = json.loads(awaken("run", "talk", "hi", "--json").out)["run_id"]
    shown = awaken("tail", run_id)
    kinds = [line.split()[1] for line in shown.out.splitlines()]
    assert (kinds[0], kinds[-1]) == ("RunQueued", "RunFinished")
    assert "TextDeltaObserved" not in kinds

    whole = [json.loads(line) for line in awaken("tail", run_id, "--deltas", "--json").out.splitlines()]
    assert [event["kind"] for event in whole].count("TextDeltaObserved") == WORDS


def test_a_tail_as_json_is_what_the_server_sends(awaken: Awaken, server: str) -> None:
    run_id = json.loads(awaken("run", "clerk", "hi", "--json").out)["run_id"]
    sent = httpx.get(f"{server}/v1/runs/{run_id}/stream").text
    frames = [line.removeprefix("data: ") for line in sent.splitlines() if line.startswith('data: {"cursor":')]
    told = [json.loads(line) for line in awaken("tail", run_id, "--deltas", "--json").out.splitlines()]
    assert told == [event for event in map(json.loads, frames) if "kind" in event]
    assert {"dispatch_id", "visibility"} <= told[0].keys()


def test_an_id_that_names_nothing_is_not_found(awaken: Awaken) -> None:
    shown = awaken("tail", "nothing")
    assert shown.code == Exit.NOT_FOUND
    assert "'nothing'" in shown.err


# --- on a terminal ----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_text_is_live_and_a_reset_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    printer = AnswerPrinter()

    printer.show(_event("TextDeltaObserved", delta="Half an ans"))
    assert terminal.getvalue() == "Half an ans"
    printer.reconnecting(Reconnect(OSError("cut"), 2.0))
    printer.reconnecting(Reconnect(OSError("refused"), 4.0))
    for item in (
        _event("RunStarted", process={"host": "web-1", "pid": 7, "role": "worker"}),
        _event("StepStarted", index=0, name="charge"),
        _event("RunRescheduled", reason="expired_lease_reclaimed"),
        _event("RunResumed", why="takeover", process={"host": "web-2", "pid": 8, "role": "worker"}),
        _event("StreamReset", reason="takeover"),
        _event("TextDeltaObserved", delta="A whole answer"),
        _event("MessageCommitted", role="assistant", content_blocks=[{"type": "text", "text": "A whole answer"}]),
        _event("MessageCommitted", role="assistant", content_blocks=[]),
        _event("MessageCommitted", role="assistant", content_blocks=[{"type": "text", "text": "All at once."}]),
        Resync(cursor="3"),
    ):
        printer.show(item)

    assert terminal.getvalue().splitlines() == [
        "Half an ans",
        "· connection lost; trying again (cut)",
        "· step charge",
        "· its worker, process 7 on web-1, is gone; another one takes it over",
        "· goes on where it was, in process 8 on web-2",
        "· the unfinished text above is void; it comes again",
        "A whole answer",
        "All at once.",
    ]


def test_a_tool_takes_one_line_of_a_terminal_however_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    printer = AnswerPrinter()
    printer.show(_event("ToolCallReady", name="look_up", arguments={"order": "7" * 60}))
    printer.show(_event("ToolCallDone", name="look_up", status="succeeded", result="found\n" * 20))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert [line[:12] for line in lines] == ['· look_up({"', "·   succeede"]
    assert [len(line) for line in lines] == [40, 40]


def test_text_keeps_its_lines_and_loses_its_control_characters() -> None:
    assert printable("a\tb\nc\x07\x1b[0m\x9b\x7f\r") == "a\tb\nc[0m"


def _event(kind: str, **payload: object) -> Event:
    return Event(cursor="1", kind=kind, payload=payload)


# --- show and stop ----------------------------------------------------------------------------------------------------


def test_structured_output_is_printed_as_json(awaken: Awaken) -> None:
    assert json.loads(awaken("run", "structured", "hi").out) == {"given": None}


def test_an_agent_is_given_a_value(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(awaken("run", "structured", "--data", '{"order": 7}').out) == {"given": {"order": 7}}
    assert json.loads(awaken("run", "structured", "--data", "-5").out) == {"given": -5}
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]\n"))
    assert json.loads(awaken("run", "structured", "--data", "-").out) == {"given": [1, 2]}


def test_an_empty_text_is_a_usage_error_in_plain_words(awaken: Awaken) -> None:
    shown = awaken("run", "talk", "")
    assert shown.code == Exit.USAGE
    assert "the text is empty" in shown.err
    assert "body" not in shown.err


def test_a_run_and_a_thread_are_shown(awaken: Awaken, thread: str) -> None:
    run = json.loads(awaken("run", "structured", "hi", "--thread", thread, "--json").out)
    shown = awaken("show", run["run_id"])
    assert shown.code == Exit.OK
    assert f"thread    {thread}" in shown.out
    assert '"given": null' in shown.out
    assert "user: hi" in awaken("show", thread).out
    assert json.loads(awaken("show", thread, "--json").out)["message_count"] == 1
    missing = awaken("show", "nothing")
    assert (missing.code, "`awaken runs`" in missing.err) == (Exit.NOT_FOUND, True)


def test_why_a_run_is_where_it_is_fits_a_terminal(
    awaken: Awaken, server: str, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Client(server) as client:
        later = client.submit(thread, "hi", agent="talk", delay_s=3_600)
        shown = awaken("why", later.run_id)
        assert shown.code == Exit.OK
        assert f"run     {later.run_id}\ncode    delayed\nwhy     It was asked for not before" in shown.out
        assert max(map(len, shown.out.splitlines())) <= 80
        of_thread = json.loads(awaken("why", thread, "--json").out)
        client.create_thread(f"{thread}-empty")
    assert set(of_thread) == {"code", "summary", "facts", "next_action", "next_at", "blocked_by", "repair"}
    assert awaken("why", f"{thread}-empty").err == f"awaken: thread {thread}-empty has never had a run\n"
    assert awaken("why", "nothing").code == Exit.NOT_FOUND


def test_a_run_is_stopped_and_a_thread_cleared(awaken: Awaken, server: str, thread: str) -> None:
    with Client(server) as client:
        first = client.submit(thread, "one", agent="stuck")
        second = client.submit(thread, "two", agent="stuck")
        third = client.submit(thread, "three", agent="stuck")
        assert "user, not taken yet: two" in awaken("show", second.run_id).out
        assert f"user, for run {third.run_id}, which is queued: three" in awaken("show", thread).out
        assert awaken("cancel", first.run_id).out == f"run {first.run_id} stopped\n"
        assert first.refresh().phase == "cancelled"
        assert awaken("interrupt", thread).out == f"run {second.run_id} stopped, 1 queued run cleared\n"
        assert awaken("interrupt", thread).out == "nothing was executing, 0 queued runs cleared\n"
        assert [second.refresh().is_done, third.refresh().phase] == [True, "superseded"]
    assert awaken("cancel", thread).out == "nothing is executing\n"
    assert awaken("interrupt", first.run_id).code == Exit.NOT_FOUND
    assert awaken("cancel", thread, "--rollback").code == Exit.USAGE
    refused = awaken("cancel", thread, "--wait", "61")
    assert (refused.code, "0 to 60 seconds, not 61" in refused.err) == (Exit.USAGE, True)


def test_a_run_is_rolled_back(awaken: Awaken, server: str, thread: str) -> None:
    with Client(server) as client:
        run = client.submit(thread, "one", agent="stuck")
        assert awaken("cancel", run.run_id, "--rollback").out == f"run {run.run_id} stopped\n"
        assert list(client.messages(thread)) == []


def test_a_run_that_waits_for_somebody_is_not_one_that_went_well(awaken: Awaken, server: str, thread: str) -> None:
    for options in ((), ("--json",)):
        ended = awaken("run", "asking", "a table", "--thread", thread, *options)
        assert (ended.code, "needs_input" in ended.out + ended.err) == (Exit.WAITS, True)


def test_a_message_is_sent_and_waits(awaken: Awaken, server: str, thread: str) -> None:
    with Client(server) as client:
        run = client.submit(thread, "one", agent="stuck")
        sent = awaken("send", thread, "look here", "--mode", "follow_up")
        [waits] = client.pending(thread).items
        assert sent.out == f"message {waits.message_id} steered, run {run.run_id}\n"
        shown = awaken("pending", thread).out.splitlines()[1].split()
        assert shown == [waits.message_id, run.run_id, "on_natural_end", "look", "here"]
        assert json.loads(awaken("pending", thread, "--json").out)["items"][0]["message_id"] == waits.message_id
        assert json.loads(awaken("send", run.run_id, "too", "--json").out)["path"] == "steered"
        for item in client.pending(thread).items:
            client.retract(thread, item.message_id)
        assert awaken("cancel", run.run_id).code == Exit.OK
    assert awaken("pending", thread).err == "nothing waits\n"
    assert awaken("send", run.run_id, "late").code != Exit.OK


def test_the_last_hour_is_shown_by_the_minute(awaken: Awaken, thread: str) -> None:
    awaken("run", "talk", "hi", "--thread", thread)
    heading, *lines = awaken("stats").out.splitlines()
    assert heading.split()[:3] == ["MINUTE", "SUBMITTED", "STARTED"]
    assert lines and all([re.fullmatch(r"\d\d:\d\d( +\d+){5}( +(-|\d+\.\d{3} s)){4} *", line) for line in lines])
    minutes = json.loads(awaken("stats", "--json").out)["minutes"]
    told = awaken("stats", "--agent", "talk", "--window", "600").out
    assert told.startswith("agent        talk\n") and "\ntokens       " in told
    assert json.loads(awaken("stats", "--agent", "talk", "--json").out)["completed"] > 0
    assert awaken("stats", "--agent", "nobody").code == Exit.NOT_FOUND
    assert awaken("stats", "--window", "600").code == Exit.USAGE
    assert sum([minute["submitted"] for minute in minutes]) >= 1


def test_failed_runs_are_listed_alone(awaken: Awaken, thread: str) -> None:
    awaken("run", "talk", "hi", "--thread", thread)
    awaken("run", "broken", "hi", "--thread", thread)
    listed = json.loads(awaken("runs", "--failed", "--thread", thread, "--json").out)["items"]
    assert [run["agent_id"] for run in listed] == ["broken"]
    for wrong, says in (
        (("--status", "red"), "created, running, waiting, done"),
        (("--limit", "0"), "1 to 100000, not 0"),
    ):
        refused = awaken("runs", *wrong)
        assert (refused.code, says in refused.err) == (Exit.USAGE, True)


def test_what_a_tail_waits_for_is_printed_beside_it(awaken: Awaken, server: str, thread: str) -> None:
    with Client(server) as client:
        run = client.submit(thread, "one", agent="talk", delay_s=0.3)
    followed = awaken("tail", run.run_id)
    assert f"run {run.run_id} is queued; following it to its end (due at " in followed.err
    assert "following" not in followed.out


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A server behind something that lets nobody through without a key and a desk."""
    with LiveServer(required={"x-key": "secret", "x-desk": "7"}) as url:
        monkeypatch.setenv("AWAKEN_URL", url)
        yield url


def test_headers_come_from_the_environment_and_from_the_command_which_goes_first(
    awaken: Awaken, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = awaken("runs")
    assert (refused.code, "401" in refused.err) == (Exit.FAILED, True)
    monkeypatch.setenv("AWAKEN_HEADERS", "X-Key: secret\nX-Desk: 6\n")
    assert awaken("runs").code == Exit.FAILED
    for command in (("run", "talk", "hi", "--json"), ("runs", "--json")):
        assert awaken(*command, "--header", "x-desk: 7").code == Exit.OK
    made = json.loads(awaken("runs", "--json", "--header", "X-Desk:7").out)["items"][0]["run_id"]
    assert awaken("tail", made, "--header", "X-Desk: 7", "--header", "X-Other: a:b").code == Exit.OK


@pytest.mark.parametrize("header", ["topsecret", "A B: topsecret", ": topsecret", "X: topsecret\x07"])
def test_what_is_no_header_is_refused_without_printing_it(awaken: Awaken, header: str) -> None:
    shown = awaken("runs", "--header", header)
    assert (shown.code, shown.err.count("\n"), "header" in shown.err) == (Exit.USAGE, 1, True)
    assert "topsecret" not in shown.err


# --- tickets ----------------------------------------------------------------------------------------------------------


DOUBTFUL: Final = [
    ("--edit", text) for text in ('{"n": 1, "n": 2}', '{"n": 123456789012345678901}', '{"n": 1e999}', '{"n": NaN}')
]


@behaviour("TK-078")
def test_what_runs_wait_for_is_listed_and_decided(awaken: Awaken, thread: str) -> None:
    run = json.loads(awaken("run", "asking", "hi", "--thread", thread, "--json").out)["run_id"]
    assert "which name?" in awaken("tickets", "--thread", thread).out
    [ticket] = json.loads(awaken("tickets", "--thread", thread, "--json").out)["items"]
    assert (ticket["run_id"], ticket["kind"], ticket["state"]) == (run, "input", "open")

    for wrong in ((), ("--approve", "--deny"), ("--edit", "no json"), ("--edit", "[1]"), *DOUBTFUL):
        assert awaken("decide", ticket["ticket_id"], *wrong).code == Exit.USAGE
    assert awaken("decide", ticket["ticket_id"], "--approve").code == Exit.USAGE
    decided = awaken("decide", ticket["ticket_id"], "--answer", "Ann")
    assert (decided.code, decided.out) == (Exit.OK, "")
    assert "as before" in awaken("decide", ticket["ticket_id"], "--answer", "Ann").err
    assert "RunFinished" in awaken("tail", run).out
    shown = json.loads(awaken("runs", "--thread", thread, "--json").out)["items"][0]
    assert (shown["run_id"], shown["phase"]) == (run, "completed")

    assert "no run waits" in awaken("tickets", "--thread", thread).err
    assert ticket["ticket_id"] in awaken("tickets", "--thread", thread, "--state", "all").out
    assert awaken("decide", "nothing", "--deny").code == Exit.NOT_FOUND
    assert awaken("decide", "nothing", "--answer", "9").code == Exit.NOT_FOUND


@pytest.mark.parametrize("typed", ["9", "true", "null", '"9"', "nine"])
def test_where_a_text_is_asked_for_an_answer_is_one_whatever_it_looks_like(
    awaken: Awaken, thread: str, typed: str
) -> None:
    awaken("run", "asking", "hi", "--thread", thread, "--json")
    [ticket] = json.loads(awaken("tickets", "--thread", thread, "--json").out)["items"]

    decided = awaken("decide", ticket["ticket_id"], "--answer", typed, "--json")

    assert decided.code == Exit.OK, decided.err
    assert json.loads(decided.out)["decision"]["result"] == typed.strip('"')


@pytest.mark.parametrize(
    ("schema", "typed", "value"),
    [
        (None, "9", 9),
        ({"type": "integer"}, "9", 9),
        ({"type": ["string", "null"]}, "9", "9"),
        ({"type": ["string", "null"]}, "null", None),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, "[1]", "[1]"),
        ({"type": "object"}, "9", 9),
        ({"type": "no type"}, "9", 9),
    ],
)
def test_an_answer_is_read_as_what_its_schema_takes(schema: dict[str, Any] | None, typed: str, value: object) -> None:
    assert fitting(typed, schema) == value


def test_a_run_that_has_ended_is_done_again(awaken: Awaken, thread: str) -> None:
    run = json.loads(awaken("run", "talk", "hi", "--thread", thread, "--json").out)
    told = awaken("retry", run["run_id"])
    made = re.fullmatch(r"run (\S+) does run (\S+) again\n", told.out)
    assert made is not None and made[2] == run["run_id"]
    again = json.loads(awaken("retry", run["run_id"], "--json").out)
    assert (again["run_id"], again["retry_of_run_id"]) == (made[1], run["run_id"])
    assert awaken("retry", "nothing").code == Exit.NOT_FOUND
    assert awaken("retry", run["run_id"], "--max-attempts", "0").code == Exit.USAGE


# --- agents -----------------------------------------------------------------------------------------------------------


@behaviour("AP-003")
def test_agents_are_listed_paused_and_resumed(awaken: Awaken) -> None:
    assert "clerk" in awaken("agents").out
    assert awaken("agents", "pause", "clerk").out == "agent clerk is paused\n"
    try:
        [clerk] = [each for each in json.loads(awaken("agents", "--json").out)["items"] if each["agent_id"] == "clerk"]
        assert clerk["paused"]
        assert "paused" in awaken("agents").out
    finally:
        assert awaken("agents", "resume", "clerk").out == "agent clerk is served\n"
    assert awaken("agents", "pause", "nobody").code == Exit.NOT_FOUND


@behaviour("RT-010", "RT-015")
def test_versions_of_an_agent_are_named_listed_and_paused(awaken: Awaken) -> None:
    run = json.loads(awaken("run", "carrier@1", "hi", "--json").out)
    assert (run["agent_id"], run["agent_version"], run["output"]) == ("carrier", "1", "carried by 1")
    assert "carrier@1" in awaken("show", run["run_id"]).out
    assert "carried by 2" in awaken("run", "carrier", "hi").out
    refused = awaken("run", "carrier@3", "hi")
    assert (refused.code, "carrier@1, carrier@2" in refused.err) == (Exit.NOT_FOUND, True)

    assert awaken("agents", "pause", "carrier@1").out == "agent carrier@1 is paused\n"
    try:
        [line] = [each for each in awaken("agents").out.splitlines() if each.startswith("carrier")]
        assert "2, 1 (paused)" in line and "served" in line
        assert awaken("agents", "pause", "carrier").out == "agent carrier is paused\n"
    finally:
        assert awaken("agents", "resume", "carrier").out == "agent carrier is served\n"
    assert "(paused)" not in awaken("agents").out
    assert awaken("agents", "pause", "carrier@3").code == Exit.NOT_FOUND


def test_an_agent_that_could_not_be_loaded_is_listed_so_with_the_reason(
    awaken: Awaken, server: str, thread: str
) -> None:
    with Client(server) as client:
        run = client.submit(thread, "hello", agent="lost")
        next(each for each in run.events() if isinstance(each, Event) and each.kind == "RunRescheduled")
        listed = awaken("agents").out
        [line] = [each for each in listed.splitlines() if each.startswith("lost")]
        assert "not loadable" in line
        reason = "agent lost cannot be loaded, and its runs wait: the agent 'no_such_module:agent' cannot be imported:"
        assert reason in listed
        resumed = awaken("agents", "resume", "lost").out
        assert resumed.startswith("agent lost is not loadable\n") and reason in resumed
        run.cancel()


@behaviour("OPS-014")
def test_what_is_queued_is_listed_placed_and_cancelled(awaken: Awaken, thread: str, server: str) -> None:
    with Client(server) as client:
        run = client.submit(thread, "hi", agent="clerk", delay_s=3_600).record
    [queued] = json.loads(awaken("queue", "--thread", thread, "--json").out)["items"]
    assert queued["run_id"] == run.run_id
    assert run.dispatch_id in awaken("queue", "--thread", thread, "--older-than", "0").out
    assert awaken("queue", "--thread", thread, "--stale").err == "nothing is there\n"
    placed = json.loads(awaken("queue", "place", run.dispatch_id, "--priority", "3", "--json").out)
    assert (placed["priority"], placed["available_at"]) == (3, queued["available_at"])
    assert awaken("queue", "place", run.dispatch_id).code == Exit.USAGE
    shown = awaken("queue", "show", run.run_id).out
    assert f"run          {run.run_id}\n" in shown and "priority     3\n" in shown
    assert awaken("queue", "cancel", run.run_id).out == f"run {run.run_id} stopped\n"
    assert awaken("queue", "cancel", run.dispatch_id).code == Exit.CONFLICT
    assert awaken("queue", "place", run.dispatch_id, "--after", "0").code == Exit.CONFLICT
    assert awaken("queue", "show", "nothing").code == Exit.NOT_FOUND


@behaviour("OPS-004")
def test_a_server_is_drained_and_undrained(awaken: Awaken, thread: str) -> None:
    drained = awaken("drain")
    try:
        assert drained.out.startswith("drained; ") and drained.out.endswith(" still executing\n")
        assert json.loads(awaken("drain", "--json").out)["drained"] is True
    finally:
        assert awaken("undrain").out == "runs begin again\n"


@behaviour("SYS-003", "SYS-004", "SYS-005")
def test_a_server_is_looked_at_and_told_to_tidy_up(awaken: Awaken) -> None:
    facts = dict(line.split(maxsplit=1) for line in awaken("system").out.splitlines())
    assert (facts["role"], facts["store"], facts["max_messages"]) == ("all", "memory", "256")
    assert json.loads(awaken("system", "--json").out)["durability"] == "volatile"
    settings = dict(line.split(maxsplit=1) for line in awaken("system", "settings").out.splitlines())
    assert (settings["mailbox.drain_s"], settings["mailbox.tidy_s"]) == ("0.0  (program)", "3.0")
    assert len(json.loads(awaken("system", "settings", "--json").out)["items"]) == len(settings)
    head, row = awaken("workers").out.splitlines()
    assert head.split() == ["PROCESS", "HOST", "ROLE", "RUNS", "SEEN", "VERSION", "AGENTS"]
    assert row.split()[0] == str(os.getpid()) and "all" in row and " 0s " in row
    assert len(json.loads(awaken("workers", "--json").out)["items"]) == 1
    assert awaken("system", "sweep").out.startswith("0 claims taken back, ")
    assert json.loads(awaken("system", "sweep", "--json").out)["taken_back"] == 0
    awaken("system", "purge")  # what other commands have deleted
    assert awaken("system", "purge").out == "0 runs, 0 events and 0 rows of deleted threads removed\n"
    assert json.loads(awaken("system", "purge", "--json").out)["more"] is False


# --- dead letters -----------------------------------------------------------------------------------------------------


@behaviour("DL-010")
def test_what_was_given_up_is_listed_retried_and_discarded(awaken: Awaken, thread: str) -> None:
    assert "no dead letters" in awaken("dead", "--thread", thread).err
    for _ in range(3):
        awaken("run", "broken", "hi", "--thread", thread)
    table = awaken("dead", "--thread", thread).out
    assert table.count("the model is gone") == 3
    items = json.loads(awaken("dead", "--thread", thread, "--json").out)["items"]
    first, second = items[0]["dispatch_id"], items[1]["dispatch_id"]
    assert first in table
    grouped = awaken("dead", "--group", "--thread", thread).out.splitlines()[1]
    assert grouped.split()[:2] == ["3", "broken"]

    assert awaken("dead", "retry").code == awaken("dead", "discard", "--reason", "x").code == Exit.USAGE
    assert awaken("dead", "retry", first, "--agent", "broken").code == Exit.USAGE
    assert awaken("dead", "discard", first).code == Exit.USAGE
    assert f"does run {items[0]['run_id']} again" in awaken("dead", "retry", first).out
    assert awaken("dead", "discard", first, "--reason", "x").code == Exit.CONFLICT
    gone = awaken("dead", "discard", second, "--reason", "known bug").out
    assert "discarded" in gone and "known bug" in gone
    assert "retried as" in awaken("dead", "show", items[0]["run_id"]).out
    assert awaken("dead", "show", "nothing").code == Exit.NOT_FOUND

    where = ("--thread", thread, "--limit", "1")
    assert awaken("dead", "retry", *where, "--dry-run").out.startswith("1 found")
    assert awaken("dead", "discard", *where, "--reason", "old").out.startswith("1 found, 1 discarded")


# --- schedules --------------------------------------------------------------------------------------------------------


def test_schedules_are_made_listed_paused_and_deleted(awaken: Awaken) -> None:
    made = awaken("schedules", "add", "nightly", "tidy up", "--agent", "talk", "--cron", "0 3 * * *", "--zone", "UTC")
    assert made.code == Exit.OK
    assert "0 3 * * * (UTC)" in made.out

    assert "nightly" in awaken("schedules").out
    [listed] = json.loads(awaken("schedules", "--json").out)["items"]
    assert (listed["name"], listed["agent_id"], listed["paused"]) == ("nightly", "talk", False)
    assert "paused" in awaken("schedules", "pause", "nightly").out
    assert json.loads(awaken("schedules", "resume", "nightly", "--json").out)["paused_by"] is None
    assert "talk" in awaken("schedules", "show", "nightly").out

    assert awaken("schedules", "delete", "nightly").out == "schedule nightly is deleted\n"
    assert awaken("schedules", "show", "nightly").code == Exit.NOT_FOUND
    assert "no schedules yet" in awaken("schedules").err


def test_a_schedule_without_a_time_is_a_usage_error(awaken: Awaken) -> None:
    shown = awaken("schedules", "add", "nightly", "tidy up", "--agent", "talk")
    assert (shown.code, shown.err.count("\n")) == (Exit.USAGE, 1)
    assert awaken("schedules", "add", "nightly", "tidy up", "--agent", "talk", "--every", "0").code == Exit.USAGE


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_are_listed_for_people_and_for_programs(awaken: Awaken, server: str, thread: str) -> None:
    awaken("run", "talk", "hi", "--thread", thread)
    with Client(server) as client:
        client.edit_thread(thread, title=f"Of {thread} and others")
    listed = json.loads(awaken("threads", "--title", f"of {thread} and", "--json").out)["items"]
    assert [each["thread_id"] for each in listed] == [thread]
    head, row = awaken("threads", "--title", f"of {thread} and").out.splitlines()
    assert head.split() == ["THREAD", "STATUS", "AGE", "MESSAGES", "QUEUED", "BELONGS", "TO", "TITLE"]
    assert re.fullmatch(rf"{thread} +idle +\d+s +2 +Of {thread} and others", row.strip())
    assert "no such threads" in awaken("threads", "--title", "nothing of that name").err
    assert awaken("threads", "--limit", "0").code == Exit.USAGE


def decoded(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_a_thread_is_written_down_whole(awaken: Awaken, server: str, thread: str, tmp_path: Path) -> None:
    awaken("run", "clerk", "where is it?", "--thread", thread)
    with Client(server) as client:
        [question, *_] = client.messages(thread)
        client.hide_message(thread, question.message_id)
    lines = decoded(awaken("threads", "export", thread).out)
    of_kind = {kind: [line[kind] for line in lines if kind in line] for line in lines for kind in line}
    assert [*of_kind] == ["thread", "message", "event"]
    assert [each["thread_id"] for each in of_kind["thread"]] == [thread]
    assert of_kind["message"][0]["message_id"] == question.message_id
    assert of_kind["event"][0]["kind"] == "RunQueued"

    file = tmp_path / "thread.jsonl"
    assert awaken("threads", "export", thread, str(file), "--messages-only").out == ""
    assert decoded(file.read_text()) == [each for each in lines if "event" not in each]
    again = awaken("threads", "export", thread, str(file))
    assert (again.code, "choose a name that is free" in again.err) == (Exit.CONFLICT, True)
    assert awaken("threads", "export", "nothing", str(tmp_path / "none")).code == Exit.NOT_FOUND
    assert awaken("threads", "export", thread, str(tmp_path / "no" / "folder")).code == Exit.FAILED
    assert [each.name for each in tmp_path.iterdir()] == ["thread.jsonl"]


def test_a_script_deletes_a_thread_without_being_asked(awaken: Awaken, server: str, thread: str) -> None:
    awaken("run", "talk", "hi", "--thread", thread)
    assert awaken("threads", "delete", thread).out == f"thread {thread} is deleted\n"
    assert awaken("show", thread).code != Exit.OK
    assert awaken("threads", "delete", "nothing").code == Exit.NOT_FOUND
    with Client(server) as client:
        run = client.submit(thread + "-busy", "one", agent="stuck")
        assert awaken("threads", "delete", thread + "-busy").code == Exit.CONFLICT
        assert awaken("threads", "delete", thread + "-busy", "--force").code == Exit.OK
        assert run.run_id


# --- watch, pending, and the rest -------------------------------------------------------------------------------------


def test_a_run_is_watched_by_its_id_or_by_its_thread(awaken: Awaken, thread: str) -> None:
    run = json.loads(awaken("run", "talk", "hi", "--thread", thread, "--json").out)
    for id in (run["run_id"], thread):
        watched = awaken("watch", id)
        assert (watched.code, watched.out) == (Exit.OK, run["final_output"] + "\n")
    assert json.loads(awaken("watch", thread, "--json").out)["run_id"] == run["run_id"]
    awaken("run", "broken", "hi", "--thread", thread)
    assert awaken("watch", thread).code == Exit.FAILED
    awaken("run", "asking", "hi", "--thread", thread)
    assert awaken("watch", thread).code == Exit.WAITS
    assert awaken("watch", "nothing").code == Exit.NOT_FOUND
    run = json.loads(awaken("run", "carrier@1", "hi", "--json").out)
    assert "· step look\n" in awaken("watch", run["run_id"]).err


def test_a_tail_can_be_narrowed_and_begin_anywhere(awaken: Awaken) -> None:
    run_id = json.loads(awaken("run", "clerk", "hi", "--json").out)["run_id"]
    events = decoded(awaken("tail", run_id, "--json").out)
    tools = decoded(awaken("tail", run_id, "--kind", "ToolCallReady", "--json").out)
    assert tools == [event for event in events if event["kind"] == "ToolCallReady"] != []
    assert decoded(awaken("tail", run_id, "--after", events[1]["cursor"], "--json").out) == events[2:]
    assert awaken("tail", run_id, "--kind", "NoSuchKind").code == Exit.USAGE
    assert awaken("tail", run_id, "--after", "nonsense").code == Exit.USAGE
    assert awaken("tail", run_id, "--after", "1", "--start").code == Exit.USAGE


def test_a_message_that_waits_is_changed_and_taken_back(awaken: Awaken, server: str, thread: str) -> None:
    with Client(server) as client:
        run = client.submit(thread, "one", agent="stuck")
        client.steer(thread, "look here")
        [waits] = client.pending(thread).items
        changed = awaken("pending", "edit", thread, waits.message_id, "look there", "--at", "on_natural_end")
        assert changed.out == f"message {waits.message_id} is changed\n"
        [waits] = client.pending(thread).items
        assert (waits.text, waits.boundary) == ("look there", "on_natural_end")
        assert awaken("pending", "retract", thread, waits.message_id).code == Exit.OK
        assert client.pending(thread).items == ()
        assert awaken("pending", "retract", thread, waits.message_id).code == Exit.OK  # again is no error
        assert awaken("pending", "edit", thread, "nothing", "x").code == Exit.NOT_FOUND
        run.cancel()


def test_an_agent_is_shown(awaken: Awaken) -> None:
    shown = awaken("agents", "show", "talk")
    assert shown.out.startswith("agent     talk\n") and "Says what it was told, many times." in shown.out
    assert json.loads(awaken("agents", "show", "talk", "--json").out)["agent_id"] == "talk"
    assert awaken("agents", "show", "nobody").code == Exit.NOT_FOUND


def test_the_description_of_a_server_is_printed(awaken: Awaken, server: str) -> None:
    assert json.loads(awaken("openapi").out) == httpx.get(f"{server}/openapi.json").json()


def test_a_purge_goes_on_until_nothing_is_left(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [Purged(runs=2, events=3, more=True), Purged(runs=1, rows=4)]

    def purge(client: Client) -> Purged:
        return left.pop(0)

    monkeypatch.setattr(Client, "purge", purge)
    assert awaken("system", "purge").out == "3 runs, 3 events and 4 rows of deleted threads removed\n"


def test_arguments_of_an_edit_may_come_from_the_standard_input(
    awaken: Awaken, server: str, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaken("run", "shopping", "a lamp", "--thread", thread)
    with Client(server) as client:
        [ticket] = client.list_tickets(thread_id=thread)
        monkeypatch.setattr("sys.stdin", io.StringIO('{"item": "two"}\n'))
        assert awaken("decide", ticket.ticket_id, "--edit", "-").code == Exit.OK
        assert client.wait(ticket.run_id).output == "bought {'item': 'two'}"
