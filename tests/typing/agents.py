"""Agents as their authors write them. Nothing here is executed: the type checker is the test, as in `programs`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, assert_type

from awaken import AgentDriver, Awaken, Context, Message
from awaken.domain.event import ActivitySnapshot, Event, TextDelta
from awaken.domain.ids import AgentId, InstanceId, MessageId, RunId
from awaken.domain.run import RunRequest
from awaken.executors.contract import DriveOutcome, Entry, Finished, RunPort


@dataclass
class Order:
    number: int


async def shout(context: Context) -> str:
    return (await context.input()).upper()


async def story(context: Context) -> AsyncIterator[str | Event]:
    yield "once upon a time"
    yield TextDelta(context.new_message_id(), 0, "there was a queue")


def add_agents(app: Awaken) -> None:
    told: Callable[[Context], AsyncIterator[str | Event]] = app.agent("story", story)
    shouted: Callable[[Context], Awaitable[str]] = app.agent("shout", shout, description="Louder.")
    _other: Callable[[Context], Awaitable[int]] = app.agent("shout", shout)  # pyright: ignore[reportAssignmentType]
    app.agent("again", told)
    app.agent("louder", shouted)
    assert_type(app.agent("later", "shop:support"), str)
    app.agent(5, shout)  # pyright: ignore[reportArgumentType]
    app.agent("shout")  # pyright: ignore[reportCallIssue]


async def worker(context: Context) -> None:
    assert_type(context.identity.run_id, RunId)
    assert_type(context.identity.agent_id, AgentId)
    assert_type(context.identity.instance_id, InstanceId)
    assert_type(context.request, RunRequest)
    assert_type(await context.input(), str)
    assert_type(await context.messages(), tuple[Message, ...])
    assert_type(context.new_message_id(), MessageId)

    async def find() -> dict[str, int]:
        return {"number": 4711}

    assert_type(await context.step("find", find), Any)
    assert_type(await context.step("find", find, type=Order), Order)
    assert_type(await context.step("count", lambda: 1, int), int)
    await context.step("find")  # pyright: ignore[reportCallIssue]
    await context.step(find, find)  # pyright: ignore[reportArgumentType]
    await context.step("find", lambda order: order)  # pyright: ignore[reportArgumentType, reportUnknownLambdaType]

    await context.emit("a piece of text")
    await context.emit(ActivitySnapshot("import-1", "import", {"done": 1}))
    await context.emit(5)  # pyright: ignore[reportArgumentType]
    context.identity.run_id = RunId("other")  # pyright: ignore[reportAttributeAccessIssue]


class Driver:
    """Brings another framework."""

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        conversation = await entry.conversation()
        assert_type(conversation.history, tuple[Message, ...])
        assert_type(entry.resumed, bool)
        said = port.new_message_id()
        await port.emit(TextDelta(said, 0, "one"), TextDelta(said, 0, "two"))
        await port.emit("one")  # pyright: ignore[reportArgumentType]
        return Finished(final_output="done")


class NoDriver:
    async def drive(self, entry: Entry) -> DriveOutcome:
        return Finished()


driver: AgentDriver = Driver()
no_driver: AgentDriver = NoDriver()  # pyright: ignore[reportAssignmentType]
