"""What a transition must be given, as data: a store loads needs, for one item or a whole batch.

Above: `batch` of every store asks for the needs of what it applies, and the rules over many threads ask for those of
the threads they visit. Below: one field of `Facts` for each key or flag.
Holds: the `match` is exhaustive, so a new transition that says nothing about its needs fails the type check. A thread
and its claimed dispatch are loaded always. Counters of the thread row say what there is none of, so that looking for it
costs nothing: `queued`, `waiting`, `left_open`, `spans`.

Source: ADR 0003.
"""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

from awaken.domain.ids import ClaimToken, DispatchId, MessageId, RunId, Scope, ThreadId, TicketId
from awaken.store.rules.facts import ThreadKey
from awaken.store.transitions import (
    Ack,
    Cancel,
    Commit,
    Decide,
    Hide,
    Interrupt,
    PatchState,
    SaveThread,
    Settle,
    Submit,
    Suspend,
    ThreadTransition,
)


class Needs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rows one transition needs, of one thread."""

    scope: Scope
    thread_id: ThreadId
    run: RunId | None = None
    """`Facts.run`: the run with this id, of whatever thread."""
    dispatch: DispatchId | None = None
    """`Facts.dispatch`: the dispatch with this id, of whatever thread."""
    newest: bool = False
    """Where `run` is found, `Facts.dispatch` is its newest one instead."""
    of_claim: bool = False
    """`Facts.run`: that of the claimed dispatch."""
    tail: bool = False
    """`Facts.tail`: the messages of `run` from its open turn on."""
    messages: tuple[MessageId, ...] = ()
    """`Facts.known`: the messages of the thread that have one of these ids; `known_run`, the run of the first, and
    `known_dispatch`, its newest one.
    """
    dedupe_key: str | None = None
    """`Facts.deduped`: the unfinished run of the thread that holds this key, with its newest dispatch."""
    queue: Literal["", "if_free", "always"] = ""
    """`Facts.ready`: the best of what is queued, without `next` and without the newest dispatch of `run`; in a free
    thread only, or also in one whose claim is about to end.
    """
    head: bool = False
    """With `queue`: `Facts.next`, the best due dispatch with what claiming it takes, and `Facts.left_open`."""
    whole_queue: bool = False
    """`Facts.queue`: everything queued, in claim order, each with its run."""
    won: ClaimToken | None = None
    """`Facts.won`: the claimed dispatch, if it was claimed with this token."""
    outputs: tuple[MessageId, ...] = ()
    """`Facts.outputs`: the messages of the thread that have one of these ids."""
    waiting: Literal["", "last", "all"] = ""
    """`Facts.waiting`: the run that suspended last, or all that wait, that one first."""

    tickets: tuple[TicketId, ...] = ()
    """`Facts.tickets`: the tickets with these ids, by id."""
    open_tickets: bool = True
    """`Facts.open_tickets`: those of every run that is loaded and has some, because the run may end."""
    state: bool = False
    """`Facts.state`. It is loaded besides where `Facts.next` is the start of a run that changes it."""
    hides: bool = False
    """`Facts.own` of `run`. It is loaded besides for every run that is given and is to be hidden."""
    hide: MessageId | None = None
    """`Facts.spans`; and `Facts.turn`, where the message makes calls or answers one."""
    crowd: int | None = None
    """`Facts.later`: how much of what is queued is not due yet, where the thread has this many queued and waiting."""

    @property
    def key(self) -> ThreadKey:
        return self.scope, self.thread_id


def needs(t: ThreadTransition, *, careful: bool = True) -> Needs:
    """What the rule for `t` must be given.

    Not `careful`: without what could only show that an id is taken already. A constraint of the store shows that too,
    and the item is then loaded carefully.
    """
    if type(t) is Submit:
        return _of_submit(t, careful)
    if type(t) is Commit:
        known = _ids(t) if careful else ()
        return Needs(
            scope=t.scope,
            thread_id=t.thread_id,
            run=t.run_id,
            dispatch=t.dispatch_id,
            messages=known,
            tickets=_asked_tickets(t),
            open_tickets=False,
            state=bool(t.state),
        )
    if type(t) is Settle:
        return Needs(
            scope=t.scope,
            thread_id=t.thread_id,
            run=t.run_id,
            dispatch=t.dispatch_id,
            messages=_ids(t) if careful else (),
            tail=t.offer is not None,
            queue="always",
            head=t.offer is not None,
            won=None if t.offer is None else t.offer.token,
            outputs=_outputs_of(t),
            tickets=_asked_tickets(t),
            state=bool(t.state),
        )
    match t:
        case SaveThread():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=_ids(t))
        case Decide():
            named = tuple([each.ticket_id for each in t.rulings]) + t.expires
            return Needs(
                scope=t.scope, thread_id=t.thread_id, run=t.run_id, newest=True, queue="if_free", tickets=named
            )
        case Cancel():
            return Needs(scope=t.scope, thread_id=t.thread_id, run=t.run_id, newest=True, queue="if_free", hides=t.hide)
        case Interrupt():
            return Needs(scope=t.scope, thread_id=t.thread_id, of_claim=True, whole_queue=True, waiting="all")
        case PatchState():
            return Needs(scope=t.scope, thread_id=t.thread_id, state=True)
        case Hide():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=(t.message_id,), hide=t.message_id)
        case _:
            assert_never(t)


def _of_submit(t: Submit, careful: bool) -> Needs:
    looks = careful or not t.fresh_ids
    return Needs(
        scope=t.scope,
        thread_id=t.thread_id,
        run=t.run_id if looks else None,
        dispatch=t.dispatch_id if looks else None,
        newest=True,
        messages=_ids(t) if looks else (),
        dedupe_key=t.delivery.dedupe_key,
        queue="" if t.offer is None else "if_free",
        head=t.offer is not None,
        waiting="last",
        state=t.offer is not None and t.request.options.state is not None,
        crowd=t.max_queued,
    )


def _outputs_of(t: Settle) -> tuple[MessageId, ...]:
    """The messages that the run's output is said to be, but for those that the settlement brings itself."""
    if type(t.ending) is not Ack or not t.ending.output_message_ids:
        return ()
    brought = {message.id for message in t.messages}
    return tuple([each for each in t.ending.output_message_ids if each not in brought])


def _asked_tickets(t: Commit | Settle) -> tuple[TicketId, ...]:
    """The tickets that the run has asked for, or waits for."""
    if type(t) is Commit:
        return tuple([each.id_in(t.run_id) for each in t.opens]) if t.opens else ()
    ending = t.ending
    if type(ending) is not Suspend:
        return ()
    return tuple(dict.fromkeys([*[each.id_in(t.run_id) for each in ending.opens], *ending.waits_for]))


def _ids(t: SaveThread | Submit | Commit | Settle) -> tuple[MessageId, ...]:
    return tuple([message.id for message in t.messages])


def of_claim(key: ThreadKey) -> Needs:
    """For taking the next dispatch of a free thread."""
    return Needs(scope=key[0], thread_id=key[1], queue="always", head=True)


def of_reclaim(key: ThreadKey) -> Needs:
    """For taking back the claimed dispatch of a thread."""
    return Needs(scope=key[0], thread_id=key[1], of_claim=True, queue="always")
