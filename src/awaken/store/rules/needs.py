"""What a transition must be given, as data: a store loads needs, for one item or a whole batch.

Above: `batch` of every store asks for the needs of what it applies, and the rules over many threads ask for those of
the threads they visit. Below: one field of `Facts` for each key or flag.
Holds: the `match` is exhaustive, so a new transition that says nothing about its needs fails the type check. A thread
and its claimed dispatch are loaded always. Counters of the thread row say what there is none of, so that looking for it
costs nothing: `queued`, `waiting`, `left_open`, `pending`, `spans`.

Source: ADR 0003.
"""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec
from msgspec import UNSET

from awaken.domain.delivery import CLEARING
from awaken.domain.ids import ClaimToken, DispatchId, MessageId, RunId, Scope, ThreadId, TicketId
from awaken.domain.pending import MAX_TAKEN
from awaken.store.rules.facts import Facts, ThreadKey
from awaken.store.transitions import (
    Ack,
    Cancel,
    Commit,
    Decide,
    DeleteThread,
    Discard,
    Edit,
    EditDispatch,
    EditThread,
    Hide,
    HideRun,
    Interrupt,
    NoteChild,
    PatchState,
    Reorder,
    Retract,
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
    active: bool = False
    """`Facts.active`: the run of the claimed dispatch, beside `run`."""
    target: RunId | None = None
    """`Facts.target`: the run with this id, of whatever thread, with what going on with it takes."""
    decides: RunId | None = None
    """`Facts.decided`: the run with this id, likewise."""
    siblings: bool = False
    """`Facts.siblings`: what the dispatch of the first known message brings."""
    pending: bool = False
    """`Facts.pending`: everything that is pending in the thread."""
    bodies: bool = False
    """With `pending`: `Facts.bodies`, of the first that wait for `run`, and for that of `next`."""
    taken: int | None = None
    """`Facts.taken`: what the commit with this number took, where that is the thread's last one."""
    tail: bool = False
    """`Facts.tail`: the messages of `run` from its open turn on."""
    messages: tuple[MessageId, ...] = ()
    """`Facts.known`: the messages of the thread that have one of these ids; `known_run`, the run of the first, and
    `known_dispatch`, its newest one.
    """
    dedupe_key: str | None = None
    """`Facts.deduped`: the unfinished run of the thread that holds this key, with its newest dispatch."""
    queue: Literal["", "if_free", "always"] = ""
    """`Facts.ready`: the best of what is queued, without `next` and, with `newest`, without the newest dispatch of
    `run`, or else of the first known message's run; in a free thread only, or also in one whose claim is about to end.
    """
    head: Literal["", "if_readable", "always"] = ""
    """With `queue`: `Facts.next`, the best due dispatch with what claiming it takes, and `Facts.left_open`. Where it is
    damaged it counts in `Facts.ready` like any other that is queued, or else nothing is given: its thread stands still.
    """
    whole_queue: bool = False
    """`Facts.queue`: everything queued, in claim order, each with its run."""
    won: ClaimToken | None = None
    """`Facts.won`: the claimed dispatch, if it was claimed with this token."""
    referred: tuple[MessageId, ...] = ()
    """`Facts.referred`: the messages of the thread that have one of these ids."""
    again: RunId | None = None
    """`Facts.again`: the run with this id, of whatever thread."""
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
    parent: ThreadId | None = None
    """`Facts.lineage` of this thread."""
    child: bool = False
    """`Facts.child`."""
    hide: MessageId | None = None
    """`Facts.spans`; and `Facts.turn`, where the message makes calls or answers one."""
    crowd: int | None = None
    """`Facts.later` and `wakes`: how much of what is queued is not due yet, and how much belongs to waiting runs, where
    the thread has this many queued and waiting.
    """

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
        return Needs(
            scope=t.scope,
            thread_id=t.thread_id,
            run=t.run_id,
            dispatch=t.dispatch_id,
            messages=_ids(t) if careful else (),
            tickets=_asked_tickets(t),
            open_tickets=False,
            state=bool(t.state),
            pending=True,
            bodies=t.takes is not None,
            taken=None if t.takes is None else t.number,
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
            head="if_readable" if t.offer is not None else "",
            won=None if t.offer is None else t.offer.token,
            referred=_outputs_of(t),
            tickets=_asked_tickets(t),
            state=bool(t.state),
            pending=True,
            bodies=t.unless_pending or t.offer is not None,
            taken=t.number if t.unless_pending else None,
        )
    match t:
        case SaveThread():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=_ids(t))
        case Decide():
            named = tuple([each.ticket_id for each in t.rulings]) + t.expires
            return Needs(
                scope=t.scope,
                thread_id=t.thread_id,
                run=t.run_id,
                newest=True,
                queue="if_free",
                tickets=named,
                pending=True,
                whole_queue=t.told is not None,
            )
        case Cancel():
            return Needs(
                scope=t.scope,
                thread_id=t.thread_id,
                run=t.run_id,
                newest=True,
                queue="if_free",
                hides=t.hide,
                pending=True,
            )
        case EditDispatch():
            return Needs(scope=t.scope, thread_id=t.thread_id, run=t.run_id, newest=True, queue="if_free")
        case Interrupt():
            return Needs(
                scope=t.scope, thread_id=t.thread_id, active=True, whole_queue=True, waiting="all", pending=True
            )
        case PatchState():
            return Needs(scope=t.scope, thread_id=t.thread_id, state=True)
        case Hide():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=(t.message_id,), hide=t.message_id)
        case Edit():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=(t.message_id,), pending=True)
        case Retract():
            return Needs(
                scope=t.scope,
                thread_id=t.thread_id,
                messages=(t.message_id,),
                siblings=True,
                newest=True,
                queue="if_free",
                pending=True,
            )
        case Reorder():
            return Needs(scope=t.scope, thread_id=t.thread_id, messages=t.message_ids, pending=True)
        case EditThread():
            parent = None if t.patch.parent_thread_id is UNSET else t.patch.parent_thread_id
            return Needs(scope=t.scope, thread_id=t.thread_id, parent=parent)
        case DeleteThread():
            return of_deletion((t.scope, t.thread_id))
        case HideRun() | Discard():
            return Needs(scope=t.scope, thread_id=t.thread_id, run=t.run_id)
        case NoteChild(told=told):
            return Needs(
                scope=t.scope,
                thread_id=t.thread_id,
                run=told.run_id,
                tickets=(told.ticket_id,),
                open_tickets=False,
            )
        case _:
            assert_never(t)


def _of_submit(t: Submit, careful: bool) -> Needs:
    looks = careful or not t.fresh_ids
    mode, offers = t.delivery.mode, t.offer is not None
    clears = mode in CLEARING
    return Needs(
        scope=t.scope,
        thread_id=t.thread_id,
        run=t.run_id if looks else None,
        dispatch=t.dispatch_id if looks else None,
        newest=True,
        messages=_ids(t) if looks else (),
        dedupe_key=t.delivery.dedupe_key,
        queue="if_free" if (offers or mode == "reject" or t.decides is not None) and not clears else "",
        head="if_readable" if (offers or mode == "reject") and not clears else "",
        whole_queue=clears,
        waiting="all" if clears else "last",
        crowd=t.max_queued - t.run_count + (1 if t.decides is None else 0),
        active=mode != "queue",
        target=t.delivery.target_run_id,
        decides=None if t.decides is None else t.decides.run_id,
        tickets=() if t.decides is None else tuple([each.ticket_id for each in t.decides.rulings]),
        pending=offers or clears,
        hides=mode == "rollback",
        bodies=offers,
        referred=() if t.request.reference is None else t.request.reference.message_ids,
        again=None if t.request.reference is None else t.request.reference.retry_of_run_id,
        state=t.offer is not None and t.request.options.state is not None,
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


def first_of_runs(facts: Facts, needs: Needs) -> list[MessageId]:
    """The messages whose bodies a rule may need: the first that wait for the run, and for the one that may be next."""
    runs = [needs.run, None if facts.next is None else facts.next.dispatch.run_id]
    found: list[MessageId] = []
    for run_id in dict.fromkeys(runs):
        found += [entry.message_id for entry in facts.pending if entry.run_id == run_id][:MAX_TAKEN]
    return found


def of_claim(key: ThreadKey) -> Needs:
    """For taking the next dispatch of a free thread."""
    return Needs(scope=key[0], thread_id=key[1], queue="always", head="always", pending=True, bodies=True)


def of_deletion(key: ThreadKey) -> Needs:
    """For marking a thread as deleted."""
    return Needs(scope=key[0], thread_id=key[1], active=True, whole_queue=True, waiting="all", pending=True, child=True)


def of_reclaim(key: ThreadKey) -> Needs:
    """For taking back the claimed dispatch of a thread."""
    return Needs(scope=key[0], thread_id=key[1], of_claim=True, queue="always", pending=True)
