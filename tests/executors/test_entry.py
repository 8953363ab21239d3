"""Where an execution starts, read from the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ids import MessageId, RunId
from awaken.domain.message import Message, MessageState, Role, Text, ToolCall, ToolStatus
from awaken.domain.run import Usage
from awaken.executors.contract import Conversation
from awaken.executors.entry import LoggedMessage, answered, conversation
from awaken.testing.behaviour import behaviour

OLD, OWN = RunId("old"), RunId("own")


def user(id: str, run: RunId | None = OWN) -> LoggedMessage:
    return Message(id=MessageId(id), role=Role.USER, content=(Text(id),)), run


def turn(id: str, *calls: str, run: RunId = OWN, state: MessageState = MessageState.COMMITTED) -> LoggedMessage:
    made = tuple(ToolCall(call, "tool") for call in calls)
    return Message(id=MessageId(id), role=Role.ASSISTANT, content=(Text(id),), tool_calls=made, state=state), run


def tool(id: str, call: str, run: RunId = OWN) -> LoggedMessage:
    message = Message(id=MessageId(id), role=Role.TOOL, tool_call_id=call, tool_status=ToolStatus.SUCCESS)
    return message, run


def start(*log: LoggedMessage, closed: str | None = None) -> Conversation:
    return conversation(
        log,
        run_id=OWN,
        closed_turn=None if closed is None else MessageId(closed),
        usage=Usage(model_calls=3),
        steps=2,
    )


def ids(messages: tuple[Message, ...]) -> list[str]:
    return [message.id for message in messages]


def test_a_first_execution_starts_from_the_whole_log() -> None:
    found = start(user("u1", OLD), turn("a1", run=OLD), user("u2"))

    assert (ids(found.history), found.reenter, found.answers) == (["u1", "a1", "u2"], None, ())
    assert (found.usage, found.steps) == (Usage(model_calls=3), 2)


def test_an_open_turn_of_the_own_run_is_entered_again_with_its_answers() -> None:
    found = start(user("u1"), turn("a1", "x", "y"), tool("t1", "y"))

    assert (ids(found.history), found.reenter and found.reenter.id, ids(found.answers)) == (["u1"], "a1", ["t1"])


def test_a_committed_final_answer_is_entered_again() -> None:
    found = start(user("u1"), turn("a1"))

    assert found.reenter is not None and found.reenter.id == "a1"


def test_a_closed_turn_is_history() -> None:
    found = start(user("u1"), turn("a1", "x"), tool("t1", "x"), closed="a1")

    assert (ids(found.history), found.reenter) == (["u1", "a1", "t1"], None)


def test_an_older_runs_turn_is_history() -> None:
    found = start(user("u1", OLD), turn("a1", run=OLD))

    assert (ids(found.history), found.reenter) == (["u1", "a1"], None)


def test_an_interrupted_turn_stays_in_the_history_as_it_is() -> None:
    found = start(user("u1", OLD), turn("a1", run=OLD, state=MessageState.INTERRUPTED), user("u2"))

    assert (ids(found.history), found.reenter) == (["u1", "a1", "u2"], None)


def test_a_turn_is_open_for_as_long_as_a_call_of_it_whatever_was_taken_meanwhile() -> None:
    called = (user("u1"), turn("a1", "x", "y"), tool("t1", "x"), user("u2"))
    found = start(*called)

    assert (ids(found.history), found.reenter and found.reenter.id) == (["u1"], "a1")
    assert (ids(found.answers), ids(found.arrived)) == (["t1"], ["u2"])

    found = start(*called, tool("t2", "y"))
    assert (ids(found.history), found.reenter) == (["u1", "a1", "t1", "t2", "u2"], None)
    assert start(*called, closed="a1").reenter is None
    assert start(user("u1"), turn("a1"), user("u2")).reenter is None


def test_what_others_said_behind_an_open_turn_does_not_close_it() -> None:
    found = start(user("u1"), turn("a1", "x"), user("u2", OLD), turn("a2", run=OLD), user("u3"))

    assert (ids(found.history), found.reenter and found.reenter.id, ids(found.arrived)) == (["u1"], "a1", ["u3"])


@behaviour("TR-059")
def test_an_unanswered_call_of_an_older_run_is_answered_for_the_model() -> None:
    found = start(user("u1", OLD), turn("a1", "x", "y", run=OLD), tool("t1", "x", OLD), user("u2"))

    assert ids(found.history) == ["u1", "a1", "t1", "a1.y.unanswered", "u2"]
    assert found.history[3].tool_status is ToolStatus.CANCELLED


def test_call_ids_may_repeat_from_turn_to_turn() -> None:
    log = (user("u1"), turn("a1", "x"), tool("t1", "x"), turn("a2", "x"))
    found = start(*log, closed="a1")

    assert (ids(found.history), found.reenter and found.reenter.id, found.answers) == (["u1", "a1", "t1"], "a2", ())


def test_of_two_answers_the_first_counts_and_an_answer_to_nothing_is_left_out() -> None:
    found = start(tool("t0", "x"), user("u1"), turn("a1", "x"), tool("t1", "x"), tool("t2", "x"), user("u2"))

    assert ids(found.history) == ["u1", "a1", "t1", "u2"]


@given(
    st.lists(
        st.one_of(
            st.just(("user", ())),
            st.tuples(st.just("turn"), st.lists(st.sampled_from("xyz"), unique=True, max_size=3).map(tuple)),
            st.tuples(st.just("tool"), st.sampled_from("xyz").map(lambda call: (call,))),
        ),
        max_size=12,
    )
)
def test_whatever_the_log_holds_every_call_is_answered_once_right_after_its_turn(
    shape: list[tuple[str, tuple[str, ...]]],
) -> None:
    made = {"user": lambda id, _: user(id), "turn": lambda id, c: turn(id, *c), "tool": lambda id, c: tool(id, c[0])}  # pyright: ignore
    log = [made[kind](f"m{index}", calls)[0] for index, (kind, calls) in enumerate(shape)]

    open_calls: set[str] = set()
    for message in answered(log):
        if message.role is Role.TOOL:
            assert message.tool_call_id in open_calls
            open_calls.remove(message.tool_call_id)
        else:
            assert not open_calls
            open_calls = {call.id for call in message.tool_calls}
    assert not open_calls


def test_a_run_that_waited_does_not_read_what_others_said_meanwhile() -> None:
    log = (user("u1"), turn("a1"), user("u2", OLD), turn("a2", run=OLD), user("u3"), turn("a3"))

    assert ids(start(*log[:4], closed="a1").history) == ["u1", "a1"]
    assert ids(start(*log, closed="a3").history) == ["u1", "a1", "u2", "a2", "u3", "a3"]


def test_what_a_run_reads_of_later_messages_is_its_own() -> None:
    found = start(user("u1"), turn("a1", "x"), user("u2", OLD), tool("t1", "x"), turn("a2", run=OLD))

    assert found.reenter is not None
    assert (ids(found.history), found.reenter.id, ids(found.answers)) == (["u1"], "a1", ["t1"])
