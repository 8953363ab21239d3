"""What a client is given is refused where `Awaken` refuses it, in the same words, or arrives as it was given."""

from __future__ import annotations

import asyncio
import datetime
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings

from awaken import Awaken, Limits
from awaken.client import ApiError, AsyncClient, Client, Json, ResumeSettings
from awaken.domain.errors import AwakenError, RemoteProtocolError, UnknownAgent, ValidationError
from awaken.domain.explaining import shown
from tests.client.live import LiveServer, add_agents
from tests.client.scripted import KINDS, Kind, Script, call
from tests.mailbox.test_arguments import ASKS, FUZZED, VALUES

Use = Callable[[Any], Any]

SUBMITTED: Final[tuple[dict[str, Any], ...]] = (
    {"thread_id": ""},
    {"thread_id": 5},
    {"thread_id": "a/b"},
    {"run_id": ""},
    {"run_id": ".."},
    {"agent": ["talk"]},
    {"priority": True},
    {"priority": 256},
    {"max_attempts": 10**5000},
    {"dedupe_key": ""},
    {"dedupe_key": "\ud800"},
    {"delay_s": math.nan},
    {"delay_s": math.inf},
    {"delay_s": "1"},
    {"at": "tomorrow"},
    {"at": 10**5000},
    {"metadata": 0},
    {"metadata": ["a"]},
    {"metadata": "\ud800"},
    {"metadata": {"a": math.nan}},
    {"metadata": {"a": [b"x"]}},
    {"metadata": {"a": {1, 2}}},
    {"metadata": {"a": datetime.date(2026, 1, 31)}},
    {"metadata": {"a": uuid.UUID(int=1)}},
    {"metadata": {"a": "\ud800"}},
    {"metadata": {1: 2}},
    {"limits": {"timeout_s": math.nan}},
    {"limits": Limits(timeout_s=math.nan)},
    {"limits": Limits(timeout_s=-1)},
    {"limits": "\ud800"},
    {"limits": {"\ud800": 1}},
    {"create_thread": "no"},
    {"create_thread": "\ud800"},
    {"context": 5},
    {"context": {"a": {1}}},
    {"state": ["a"]},
    {"state": {"a": math.nan}},
    {"client_tools": 5},
    {"client_tools": [{"name": 5}]},
    {"overrides": {"a": b"x"}},
    {"multitask_strategy": "queue"},
    {"multitask_strategy": 5},
    {"release_wait_s": 1},
    {"release_wait_s": math.nan, "multitask_strategy": "interrupt"},
    {"release_wait_s": -1, "multitask_strategy": "rollback"},
    {"message": ""},
    {"message": []},
    {"message": Json({1, 2})},
    {"message": Json(math.nan)},
    {"message": {"\ud800": 1}},
    {"message": [{"content": "hi"}, 5]},
)
ASKED: Final[dict[str, Use]] = {
    "no id": lambda api: api.get_run(""),
    "an id that is none": lambda api: api.get_run(None),
    "an id that is a number": lambda api: api.get_thread(5),
    "an id that is a folder": lambda api: api.get_run(".."),
    "an id that is a path": lambda api: api.get_thread("a/b"),
    "an id that is half a character": lambda api: api.get_run("\ud800"),
    "an agent that is none": lambda api: api.get_agent(10**5000),
    "a run to stop": lambda api: api.cancel(""),
    "a thread to stop": lambda api: api.cancel_thread("."),
    "a thread to clear": lambda api: api.interrupt(""),
    "a run to wait for": lambda api: api.wait([]),
    "a wait that is no time": lambda api: api.wait("r", timeout_s="5"),
    "a wait that is no number": lambda api: api.run("t", "x", timeout_s=math.nan),
    "a wait below nothing": lambda api: api.run("t", "x", timeout_s=-1),
    "a wait in words": lambda api: api.cancel("r", wait_s="5"),
    "messages of nothing": lambda api: api.messages(""),
    "messages in no order": lambda api: api.messages("t", order="up"),
    "messages as somebody sees them": lambda api: api.messages("t", view="mine"),
    "a message to hide": lambda api: api.hide_message("t", ""),
    "a message of nothing to hide": lambda api: api.hide_message("", "m"),
    "a state of nothing": lambda api: api.get_state(".."),
    "decisions that are none": lambda api: api.submit("t", "x", decisions=5),
    "a decision about nothing": lambda api: api.submit("t", "x", decisions=[{"action": "approve", "of": "it"}]),
    "an end of no kind": lambda api: api.submit(None, "x", on_completion="burn"),
    "an end that takes a thread that is there": lambda api: api.submit("t", "x", on_completion="delete"),
    "a change of nothing": lambda api: api.patch_state("", {}),
    "a change that is none": lambda api: api.patch_state("t", [1]),
    "a change with bytes": lambda api: api.patch_state("t", {"a": b"x"}),
    "a change of no version": lambda api: api.patch_state("t", {}, if_version="*"),
    "a change of half a version": lambda api: api.patch_state("t", {}, if_version=True),
    "a stop of another kind": lambda api: api.cancel("r", action="undo"),
    "a thread to delete": lambda api: api.delete_thread(".."),
    "a fork nowhere": lambda api: api.fork_thread("elsewhere", at_seq="5"),
    "a fork at half a message": lambda api: api.fork_thread("elsewhere", at_message_id="a b"),
    "a fork with a number for a title": lambda api: api.fork_thread("elsewhere", title=5),
    "an agent to count": lambda api: api.agent_stats(".."),
    "an agent to count for a moment": lambda api: api.agent_stats("a", window_s=59),
    "an agent to count for ever": lambda api: api.agent_stats("a", window_s="hour"),
    "an agent to pause": lambda api: api.pause_agent(".."),
    "an agent to resume": lambda api: api.resume_agent(""),
    "a dispatch of nothing": lambda api: api.get_dispatch(""),
    "a dispatch to place nowhere": lambda api: api.edit_dispatch("d"),
    "a dispatch to place last of all": lambda api: api.edit_dispatch("d", priority=256),
    "a dispatch to place by half": lambda api: api.edit_dispatch("d", priority=True),
    "a dispatch to place some day": lambda api: api.edit_dispatch("d", available_at="some day"),
    "a dispatch to place in the past": lambda api: api.edit_dispatch("d", delay_s=-1),
    "a dispatch to place twice": lambda api: api.edit_dispatch("d", delay_s=1, available_at="2030-01-01T00:00:00Z"),
    "no dispatch to place": lambda api: api.edit_dispatch("..", priority=1),
    "a dispatch to cancel": lambda api: api.cancel_dispatch(""),
    "a dispatch to cancel some time": lambda api: api.cancel_dispatch("d", wait_s="5"),
    "dispatches of no status": lambda api: api.list_dispatches(status="open"),
    "dispatches of no thread": lambda api: api.list_dispatches(thread_id=""),
    "dispatches of no agent": lambda api: api.list_dispatches(agent=".."),
    "dispatches that nobody claimed": lambda api: api.list_dispatches(claimed_by=""),
    "dispatches of an age that is none": lambda api: api.list_dispatches(older_than_s="5"),
    "dispatches that are perhaps stale": lambda api: api.list_dispatches(stale="perhaps"),
    "dispatches of a run and more": lambda api: api.list_dispatches("r", status="queued"),
    "a dead letter of nothing": lambda api: api.get_dead_letter(""),
    "a dead letter to retry": lambda api: api.retry_dead_letter(".."),
    "a dead letter to retry never": lambda api: api.retry_dead_letter("d", max_attempts=0),
    "a dead letter to discard": lambda api: api.discard_dead_letter("", reason="x"),
    "a dead letter to discard for nothing": lambda api: api.discard_dead_letter("d", reason=" "),
    "a dead letter to discard for a number": lambda api: api.discard_dead_letter("d", reason=5),
    "dead letters of no agent": lambda api: api.list_dead_letters(agent=""),
    "dead letters of no thread": lambda api: api.list_dead_letters(thread_id=""),
    "dead letters of a class that is a number": lambda api: api.list_dead_letters(error_class=5),
    "dead letters since once": lambda api: api.group_dead_letters(since="once"),
    "dead letters to retry, all of them": lambda api: api.retry_dead_letters(),
    "dead letters to retry, so many": lambda api: api.retry_dead_letters(agent="talk", limit=1001),
    "dead letters to retry, perhaps": lambda api: api.retry_dead_letters(agent="talk", dry_run="yes"),
    "dead letters to discard, all of them": lambda api: api.discard_dead_letters(reason="x"),
    "dead letters to discard for nothing": lambda api: api.discard_dead_letters(reason="", agent="talk"),
    "a run to hide": lambda api: api.hide_run(""),
    "runs to stop": lambda api: api.cancel_runs(run_ids="abc"),
    "runs to stop that are none": lambda api: api.cancel_runs(run_ids=["", 5]),
    "runs to stop of no thread": lambda api: api.cancel_runs(thread_id=""),
    "runs to stop of no status": lambda api: api.cancel_runs(status="tired"),
    "runs with a number": lambda api: api.list_runs(metadata={"a": 5}),
    "runs with what is no metadata": lambda api: api.list_runs(metadata=5),
    "a schedule of no name": lambda api: api.create_schedule("", "hi", every_s=60),
    "a schedule that is none": lambda api: api.get_schedule("../x"),
    "a schedule to pause": lambda api: api.pause_schedule(5),
    "a schedule to delete": lambda api: api.delete_schedule(None),
    "a schedule with a NaN": lambda api: api.create_schedule("s", "hi", every_s=60, metadata={"a": math.nan}),
    "a schedule in half a zone": lambda api: api.create_schedule("s", "hi", cron="* * * * *", zone="\ud800"),
    "a schedule of no thread": lambda api: api.create_schedule("s", "hi", every_s=60, thread_id=""),
    "a thread to change": lambda api: api.edit_thread("", title="x"),
    "a thread changed to bytes": lambda api: api.edit_thread("t", metadata={"a": b"x"}),
    "a thread changed to a number": lambda api: api.edit_thread("t", title=5),
    "a thread of nobody's": lambda api: api.edit_thread("t", resource_id=""),
    "a thread of its own": lambda api: api.edit_thread("t", parent_thread_id="t"),
    "a change of a thread of no version": lambda api: api.edit_thread("t", title="x", if_version="*"),
    "a thread to delete somehow": lambda api: api.delete_thread("t", child_strategy="kill"),
    "a thread to delete perhaps": lambda api: api.delete_thread("t", force="yes"),
    "a thread to fork": lambda api: api.fork_thread(""),
    "runs with bytes": lambda api: api.list_runs(metadata={"a": b"x"}),
    "runs of an instant": lambda api: api.list_runs(created_after="yesterday"),
    "runs that may have failed": lambda api: api.list_runs(failed="yes"),
    "threads at the root perhaps": lambda api: api.list_threads(root=5),
    "threads of no parent": lambda api: api.list_threads(parent_thread_id=""),
    "messages for nobody": lambda api: api.messages("t", visibility="mine"),
    "runs of no thread": lambda api: api.list_runs(thread_id=""),
    "runs of no agent": lambda api: api.list_runs(agent=""),
    "less than no runs": lambda api: api.list_runs(limit=-1),
    "half a run": lambda api: api.list_runs(limit=1.5),
    "dispatches of nothing": lambda api: api.list_dispatches("", limit=1),
    "why of nothing": lambda api: api.explain(""),
    "children of nothing": lambda api: api.list_children("", limit=1),
    "threads of nobody": lambda api: api.list_threads(resource_id=""),
    "threads by a number": lambda api: api.list_threads(id_prefix=5),
    "events of no channel": lambda api: api.list_events("t", channels=[]),
    "events of a number": lambda api: api.list_events("t", channels=5),
    "events of no kind": lambda api: api.list_run_events("r", kinds=()),
    "events with perhaps deltas": lambda api: api.list_events("t", include_deltas=[]),
    "a message for nothing": lambda api: api.steer(None, "x"),
    "a message for no thread": lambda api: api.steer("", "x"),
    "a message for no run": lambda api: api.steer(None, "x", run_id=".."),
    "no message at all": lambda api: api.steer("t", []),
    "a message somehow": lambda api: api.steer("t", "x", mode="soon"),
    "a message in no pieces": lambda api: api.steer("t", "x", granularity="half"),
    "perhaps a barrier": lambda api: api.steer("t", "x", barrier=1),
    "perhaps a run of its own": lambda api: api.steer("t", "x", fallback_to_new_run="no"),
    "a message of no importance": lambda api: api.steer("t", "x", priority=-1),
    "a message for a number": lambda api: api.steer("t", "x", agent=5),
    "a message with bytes": lambda api: api.steer("t", "x", metadata={"a": b"x"}),
    "a receipt of nothing": lambda api: api.receipt(""),
    "a receipt of no thread": lambda api: api.receipt("m", thread_id=".."),
    "a receipt at no time": lambda api: api.receipt("m", wait_s=math.nan),
    "what waits for nothing": lambda api: api.pending(""),
    "an edit of nothing": lambda api: api.edit("t", "", "x"),
    "an edit into nothing": lambda api: api.edit("t", "m"),
    "an edit into several": lambda api: api.edit("t", "m", [{"content": "a"}, {"content": "b"}]),
    "an edit into another": lambda api: api.edit("t", "m", {"content": "a", "id": "n"}),
    "an edit to no boundary": lambda api: api.edit("t", "m", boundary="new_run"),
    "an edit to perhaps a barrier": lambda api: api.edit("t", "m", barrier=1),
    "an edit of no revision": lambda api: api.edit("t", "m", "x", if_version=0),
    "nothing taken back": lambda api: api.retract("t", ".."),
    "taken back from nothing": lambda api: api.retract("", "m"),
    "taken back at half a revision": lambda api: api.retract("t", "m", if_version=True),
    "an order of a text": lambda api: api.reorder("t", "m"),
    "an order of nothing": lambda api: api.reorder("t", [""]),
    "an order of numbers": lambda api: api.reorder("t", [5]),
    "an order of a number": lambda api: api.reorder("t", ["m"], if_version=5),
    "a thread that is none": lambda api: api.create_thread(""),
    "a thread of nobody": lambda api: api.create_thread(resource_id=""),
    "a thread with a number for a title": lambda api: api.create_thread(title=5),
    "a thread with bytes": lambda api: api.create_thread(metadata={"a": b"x"}),
    "a thread with half a character": lambda api: api.create_thread(metadata="\ud800"),
    "a thread made somehow": lambda api: api.create_thread("t", if_exists="maybe"),
    "messages that are none": lambda api: api.create_thread(messages=[{"\ud800": 1}]),
    **{shown(changed): lambda api, changed=changed: _submit(api, changed) for changed in SUBMITTED},
}
WATCHED: Final[dict[str, Use]] = {
    "events of no thread": lambda api: api.events(""),
    "events of nothing": lambda api: api.events("elsewhere", channels=[]),
    "events from somewhere": lambda api: api.events("elsewhere", since="later"),
    "events with perhaps deltas": lambda api: api.events("elsewhere", include_deltas=0),
    "events after nothing": lambda api: api.events("elsewhere", after=""),
    "events after a number": lambda api: api.events("elsewhere", after=5),
    "events of no run": lambda api: api.run_events(None),
    "a run that is streamed": lambda api: api.stream("", "x"),
}


def _submit(api: Any, changed: dict[str, Any]) -> Any:
    return api.submit(**{"thread_id": None, "message": "hi", "agent": "talk", **changed})


def in_a_program(use: Use) -> ValidationError:
    """What `Awaken` says to it."""

    async def asked() -> None:
        app = Awaken("memory://")
        add_agents(app)
        async with asyncio.timeout(20), app:
            await app.create_thread("elsewhere")
            found = use(app)
            if hasattr(found, "__aiter__") and not hasattr(found, "__await__"):
                await anext(aiter(found))
            else:
                await found

    with pytest.raises(ValidationError) as refused:
        asyncio.run(asked())
    return refused.value


@pytest.mark.parametrize("ask", [*ASKED, *WATCHED])
def test_a_client_refuses_what_a_program_refuses_in_the_same_words_and_sends_nothing(ask: str) -> None:
    use = ASKED.get(ask) or WATCHED[ask]
    said = in_a_program(use)
    for kind in KINDS:
        nothing = Script()
        with pytest.raises(ValidationError) as refused:
            call(kind, nothing, use)
        assert (str(refused.value), refused.value.code) == (str(said), said.code)
        assert nothing.requests == []


@pytest.fixture(scope="module")
def anothers() -> Iterator[str]:
    """A server that nobody else asks for anything."""
    with LiveServer() as url:
        yield url


@pytest.mark.hypothesis
@pytest.mark.parametrize("ask", ASKS)
def test_whatever_a_client_is_asked_for_is_answered_or_refused(anothers: str, ask: str) -> None:
    """By the API: nothing it is given leads to another path of it, or to no path at all."""
    with asyncio.Runner() as runner:
        client = AsyncClient(anothers)
        runner.run(client.create_thread("elsewhere", if_exists="do_nothing"))

        @settings(FUZZED, max_examples=max(FUZZED.max_examples // 3, 1))
        @given(VALUES)
        def check(value: Any) -> None:
            async def asked() -> None:
                async with asyncio.timeout(20):
                    try:
                        await ASKS[ask](client, value)  # pyright: ignore[reportArgumentType]
                    except (ApiError, RemoteProtocolError):
                        raise
                    except AwakenError:
                        return

            runner.run(asked())

        check()
        runner.run(client.close())


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_a_server_does_not_have_is_an_error_of_its_own(kind: Kind, server: str) -> None:
    with pytest.raises(UnknownAgent, match="there is no agent 'zzz'; registered agents: talk") as refused:
        call(kind, None, lambda client: client.run(None, "hi", agent="zzz"), url=server)
    assert (refused.value.agent_id, refused.value.code) == ("zzz", "unknown_agent")
    assert refused.value.known[0] == "talk"


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_may_be_asked_for_more_than_can_be_counted(kind: Kind, server: str) -> None:
    agents = call(kind, None, lambda client: client.list_runs(limit=10**30), url=server)
    assert isinstance(agents, list)


@pytest.mark.parametrize("name", ResumeSettings.__struct_fields__)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e300, "soon"])
def test_how_a_stream_comes_back_is_told_in_seconds_that_somebody_waits(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"setting {name} = .* of ResumeSettings cannot be: [Ee]xpected a"):
        ResumeSettings(**{name: value})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": 5}, "5 is not the address of a server"),
        ({"url": "http://[::1"}, "is not the address of a server"),
        ({"url": "http://here:no"}, "is not the address of a server"),
        ({"url": "http://here\n"}, "is not the address of a server"),
        ({"headers": [("a", "b")]}, "headers= takes a mapping of names to values, and not a list"),
        ({"headers": {"a": 5}}, "the value of the header a is not a text"),
        ({"headers": {5: "a"}}, "5 cannot be the name of a header"),
        ({"timeout_s": math.nan}, "timeout_s is a number of seconds"),
        ({"resume": 5}, r"resume= takes ResumeSettings\(…\), and not 5"),
    ],
)
def test_a_client_is_made_of_what_it_can_use(options: dict[str, Any], says: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValidationError, match=says):
            kind(**options)
