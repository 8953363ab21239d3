"""Cases that exist where state is copied, cached or written in steps; each test shows why a store has none of that."""

from __future__ import annotations

import inspect
from typing import get_args

import msgspec
import pytest

from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import ValidationError
from awaken.domain.ids import RunId, checked_id
from awaken.domain.log import EventRow, LoggedEvent
from awaken.store.contract import MessageQuery, Store
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Commit, Conflict, Interrupted, SaveThread, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import SCOPE, THREAD, answered, calling, claimed, commit

WRITES = get_args(Transition)
READS = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")} - {"apply"}


def fields_of(*records: type[msgspec.Struct]) -> set[str]:
    return {field for record in records for field in record.__struct_fields__}


@behaviour("MB-014", "MB-015", "MB-016")
def test_an_interrupt_has_one_answer_and_a_dispatch_no_copy_of_a_result() -> None:
    """There is no summary beside the details, and a run's result stands on the run alone."""
    assert {"epoch", "active", "superseded"} <= fields_of(Interrupted)
    assert not {"run_status", "termination", "run_response", "run_error"} & fields_of(Dispatch)


@behaviour("MB-051", "MB-052", "MB-053", "MB-054", "MB-055")
def test_nothing_is_claimed_by_its_id() -> None:
    """A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."""
    assert [each.__name__ for each in WRITES if "dispatch_id" in fields_of(each)] == ["Submit", "Commit", "Settle"]
    assert "offer" in fields_of(Submit)


@behaviour("MB-068", "MB-127", "MB-149", "MB-163", "MB-164", "MB-165", "MB-166", "MB-167", "MB-168", "MB-169", "MB-170")
@behaviour("MB-171", "MB-173")
def test_a_store_keeps_no_second_account_of_the_queue() -> None:
    """No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."""
    assert not [name for name in READS if any(word in name for word in ("signal", "lock", "index", "live", "connect"))]
    assert {each.__name__ for each in WRITES} == {
        "SaveThread", "Submit", "Commit", "Settle", "Cancel", "Interrupt", "Renew", "Reclaim", "Claim", "Purge",
    }  # fmt: skip


@behaviour("TR-043", "TR-101", "TR-103", "TR-104", "TR-105", "TR-106", "TR-107")
async def test_the_log_is_only_ever_appended_to_by_the_owner_of_the_claim() -> None:
    """No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."""
    assert not {"expected_count", "expected_message_count", "expected_version", "overwrite"} & fields_of(*WRITES)
    assert "token" in fields_of(Commit)
    assert "token" in fields_of(Settle)
    async with MemoryStore(ManualClock()) as store:
        claim = await claimed(store, "d1")
        await commit(store, claim, answered("said"))
        assert isinstance(await commit(store, claim, answered("said")), Conflict)

        log = await store.list_messages(SCOPE, THREAD, MessageQuery())
        assert [stored.message.id for stored in log].count(answered("said").id) == 1


@behaviour("TR-059", "TR-060")
async def test_no_view_hides_a_call_because_none_is_left_unanswered() -> None:
    """Reading shows the log as it is; a call nobody answered is answered in the log before the next run starts."""
    async with MemoryStore(ManualClock()) as store:
        claim = await claimed(store, "d1")
        await commit(store, claim, calling("asked", "c1"))

        log = await store.list_messages(SCOPE, THREAD, MessageQuery())
        assert [call.id for call in log[-1].message.tool_calls] == ["c1"]
    assert not {"view", "effective"} & fields_of(MessageQuery)


@behaviour("TR-117", "TR-118", "TR-119", "TR-120", "TR-121")
def test_no_id_becomes_a_file_name() -> None:
    """A store is one database or none: no folder of files, and no path made of what a client sent."""
    for bad in ("", "..", "a/b", "a\\b", "a\x00b", "a b"):
        with pytest.raises(ValidationError):
            checked_id(bad, what="thread_id")
    assert "messages" in fields_of(SaveThread)


@behaviour("EV-003", "EV-004", "EV-005", "EV-006", "EV-012", "EV-013", "EV-014", "EV-015", "EV-016")
def test_an_event_is_written_once_with_the_state_it_reports() -> None:
    """It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."""
    known = fields_of(EventRow, LoggedEvent, *WRITES)
    assert not {"idempotency_key", "writer_id", "expected_prior_cursors", "draft", "scopes"} & known


@behaviour("EV-008", "EV-022")
def test_an_event_has_one_place_in_one_log() -> None:
    """A run's events are its thread's log filtered, so no second scope needs a cursor or could be mistaken for it."""
    assert {"thread_id", "run_id", "first_seq"} <= fields_of(EventRow)
    row = EventRow(SCOPE, THREAD, RunId(THREAD), 1, 0, (LoggedEvent("K", msgspec.Raw(b"{}")),))
    assert (row.first_seq, row.last_seq) == (1, 1)
