"""What agents return is checked: a bad result fails its own run, for good and at once, and can be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import TransientFailure
from awaken.domain.event import TextDelta
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.message import Json, Message, Role, Text, assistant_message
from awaken.domain.run import RunStatus, Termination, Usage
from awaken.executors.contract import DriveOutcome, Entry, Finished, RunPort
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import MessageQuery, RunQuery
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


async def _driven(world: World, agent_id: str) -> tuple[Any, Any]:
    """A run of the agent, and its dispatch, once it has ended."""
    accepted = await world.submit(agent_id=agent_id)
    run = await world.done(accepted)
    return run, await world.dispatch(accepted)


BAD: dict[str, Callable[[Context], Any]] = {
    "a termination of another kind": lambda _: Finished(termination="natural_end"),  # pyright: ignore[reportArgumentType]
    "a termination that there is not": lambda _: Finished(termination=Termination("done")),  # pyright: ignore[reportArgumentType]
    "an output that is no text": lambda _: Finished(final_output={"a": 1}),  # pyright: ignore[reportArgumentType]
    "an output of bytes": lambda _: Finished(final_output=b"x"),  # pyright: ignore[reportArgumentType]
    "usage in words": lambda _: Finished(usage=Usage(input_tokens="3")),  # pyright: ignore[reportArgumentType]
    "usage of another kind": lambda _: Finished(usage=3),  # pyright: ignore[reportArgumentType]
    "steps in words": lambda _: Finished(steps="3"),  # pyright: ignore[reportArgumentType]
    "steps below nothing": lambda _: Finished(steps=-1),
    "messages of no kind": lambda _: Finished(messages=5),  # pyright: ignore[reportArgumentType]
    "a message that is a text": lambda _: Finished(messages=("hello",)),  # pyright: ignore[reportArgumentType]
    "a message whose content is a text": lambda c: Message(
        id=c.new_message_id(),
        role=Role.ASSISTANT,
        content="hello",  # pyright: ignore[reportArgumentType]
    ),
    "a message with a role that is none": lambda c: Message(id=c.new_message_id(), role="boss"),  # pyright: ignore[reportArgumentType]
    "a message of bytes": lambda c: Message(
        id=c.new_message_id(),
        role=Role.ASSISTANT,
        content=(Text(b"x"),),  # pyright: ignore[reportArgumentType]
    ),
    "a message whose id no address can name": lambda _: assistant_message(MessageId("a b"), "hello"),
    "a message without an id": lambda _: assistant_message(MessageId(""), "hello"),
    "a message whose id holds a NUL": lambda _: assistant_message(MessageId("a\0"), "hello"),
    "an event that is none": lambda _: Finished(events=("hello",)),  # pyright: ignore[reportArgumentType]
    "an event of bytes": lambda _: Finished(events=(TextDelta(MessageId("m"), 0, b"x"),)),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_result_fails_its_own_run_for_good(store: WatchedStore, clock: ManualClock, what: str) -> None:
    async def bad(context: Context) -> Any:
        return BAD[what](context)

    async with World(store, clock, agents={"bad": bad}) as world:
        run, dispatch = await _driven(world, "bad")

        assert (run.status, run.termination.type) == (RunStatus.DONE, "error")
        assert (dispatch.status, dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 0)
        assert dispatch.last_error and run.termination.detail == dispatch.last_error
        page = await store.list_runs(DEFAULT_SCOPE, RunQuery())
        messages = await store.page_messages(DEFAULT_SCOPE, ThreadId("t"), MessageQuery())
        assert ([each.run_id for each in page.items], page.unreadable) == ([run.run_id], ())
        assert messages.unreadable == ()
        call = await _next_run(world)
        assert call.final_output == "fine"


async def _next_run(world: World) -> Any:
    """The thread goes on."""
    accepted = await world.submit(agent_id="gated")
    (await world.agent.next_call()).release("fine")
    return await world.done(accepted)


async def test_the_error_of_a_bad_result_names_what_is_wrong_with_it(store: WatchedStore, clock: ManualClock) -> None:
    async def bad(context: Context) -> Any:
        return Finished(usage=Usage(input_tokens="3"))  # pyright: ignore[reportArgumentType]

    async with World(store, clock, agents={"bad": bad}) as world:
        _, dispatch = await _driven(world, "bad")

        assert dispatch.last_error == (
            "the agent returned a Finished that cannot be stored: usage.input_tokens: expected a whole number, got '3'"
        )


class Careless:
    """A driver that makes what it is told to make of the port."""

    def __init__(self, act: Callable[[RunPort], Any]) -> None:
        self._act = act

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        return await self._act(port)


async def _nothing(port: RunPort) -> Any:
    return None


async def _usage(port: RunPort) -> Any:
    await port.close_step(turn=None, usage=Usage(output_tokens="many"))  # pyright: ignore[reportArgumentType]


async def _key(port: RunPort) -> Any:
    await port.commit_step("a\0#1", b"1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def _half(port: RunPort) -> Any:
    await port.commit_step("\ud800#1", b"1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def _message(port: RunPort) -> Any:
    await port.commit_assistant(Message(id=MessageId("m"), role=Role.ASSISTANT, content="hi"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("act", [_nothing, _usage, _key, _half, _message], ids=lambda act: act.__name__)
async def test_a_driver_that_breaks_its_contract_fails_its_run_alone(
    store: WatchedStore, clock: ManualClock, act: Callable[[RunPort], Any]
) -> None:
    async with World(store, clock, agents={"careless": Careless(act)}) as world:
        run, dispatch = await _driven(world, "careless")

        assert (run.termination.type, dispatch.status) == ("error", DispatchStatus.DEAD_LETTER)
        assert (await _next_run(world)).final_output == "fine"


async def test_an_output_that_does_not_fit_its_schema_fails_the_run_for_good_after_one_effect(
    store: WatchedStore, clock: ManualClock
) -> None:
    effects: list[str] = []

    async def prices(context: Context) -> Any:
        price = await context.step("look up", lambda: effects.append("looked up") or "much")
        return {"price": price}

    async def says(context: Context) -> Any:
        yield "it costs much"

    schema = {"type": "object", "properties": {"price": {"type": "number"}}}
    async with World(store, clock) as world:
        for name, agent in (("prices", prices), ("says", says)):
            world.agents.add(name, agent, output_schema=schema)
        for name, fault in (("prices", 'price: "much" is not of type "number"'), ("says", 'is not of type "object"')):
            run, dispatch = await _driven(world, name)

            assert (run.termination.type, dispatch.status) == ("error", DispatchStatus.DEAD_LETTER)
            assert run.final_output is None
            assert run.termination.detail == dispatch.last_error
            assert dispatch.last_error.startswith(f"the output does not fit the output_schema of agent '{name}': ")
            assert fault in dispatch.last_error
        assert effects == ["looked up"]
        assert (await _next_run(world)).final_output == "fine"


LARGE: dict[str, Callable[[Context], Any]] = {
    "a text": lambda _: "x" * 2_000,
    "a value": lambda _: {"text": "x" * 2_000},
    "a message": lambda c: assistant_message(c.new_message_id(), "x" * 2_000),
    "an output": lambda _: Finished(final_output="x" * 2_000),
    "an event": lambda _: Finished(events=(TextDelta(MessageId("m"), 0, "x" * 2_000),)),
}


@pytest.mark.parametrize("what", [*LARGE, "an event that is emitted", "a text that is streamed"])
async def test_nothing_of_an_agent_is_larger_than_it_may_be(store: WatchedStore, clock: ManualClock, what: str) -> None:
    async def large(context: Context) -> Any:
        if what == "an event that is emitted":
            await context.emit(TextDelta(context.message_id, 0, "x" * 2_000))
        if what == "a text that is streamed":
            await context.emit("x" * 2_000)
        return LARGE[what](context)

    settings = MailboxSettings(max_result_bytes=1_000, drain_s=0)
    async with World(store, clock, agents={"large": large}, settings=settings) as world:
        run, dispatch = await _driven(world, "large")

        assert (run.termination.type, dispatch.status) == ("error", DispatchStatus.DEAD_LETTER)
        assert "and may have 1000 (max_result_bytes)" in dispatch.last_error
        assert (await _next_run(world)).final_output == "fine"


async def test_what_was_stopped_is_held_to_no_schema(store: WatchedStore, clock: ManualClock) -> None:
    async def blocked(context: Context) -> Finished:
        return Finished(termination=Termination("blocked", detail="no"), final_output="half of it")

    async with World(store, clock) as world:
        world.agents.add("blocked", blocked, output_schema={"type": "object"})
        run, _ = await _driven(world, "blocked")

        assert (run.termination.type, run.final_output) == ("blocked", "half of it")


async def test_a_number_that_is_none_in_a_message_has_its_name_and_costs_no_run(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def measures(context: Context) -> Message:
        return Message(id=context.new_message_id(), role=Role.ASSISTANT, content=(Json(math.nan), Text("see")))

    async with World(store, clock, agents={"measures": measures}) as world:
        run, _ = await _driven(world, "measures")

        assert run.final_output == "see"
        assert (await world.messages())[-1].content == (Json("NaN"), Text("see"))


# --- waits that are asked for -----------------------------------------------------------------------------------------

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("asked", "wait_ms"),
    [
        (30, 30_000),
        ("30", 30_000),
        (0.5, 500),
        (math.inf, DAY_MS),
        (1e18, DAY_MS),
        (1_790_000_000_000, DAY_MS),  # an instant in milliseconds
        (10**400, DAY_MS),
        (math.nan, 250),
        (-5, 250),
        ("soon", 250),
        ([], 250),
        (None, 250),
    ],
)
async def test_a_wait_that_is_asked_for_is_bounded_and_the_error_kept(
    store: WatchedStore, clock: ManualClock, asked: Any, wait_ms: int
) -> None:
    async def busy(context: Context) -> None:
        raise TransientFailure("busy", retry_after_s=asked)

    async with World(store, clock, agents={"busy": busy}) as world:
        accepted = await world.submit(agent_id="busy")
        await world.quiet()

        dispatch = await world.dispatch(accepted)
        assert (dispatch.status, dispatch.last_error) == (DispatchStatus.QUEUED, "busy")
        assert dispatch.available_at - dispatch.updated_at == wait_ms


async def test_the_bound_of_waits_is_a_setting(store: WatchedStore, clock: ManualClock) -> None:
    async def busy(context: Context) -> None:
        raise TransientFailure("busy", retry_after_s=1e9)

    settings = MailboxSettings(max_retry_after_s=60, drain_s=0)
    async with World(store, clock, agents={"busy": busy}, settings=settings) as world:
        accepted = await world.submit(agent_id="busy")
        await world.quiet()

        dispatch = await world.dispatch(accepted)
        assert dispatch.available_at - dispatch.updated_at == 60_000
