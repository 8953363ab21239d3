"""What a caller asks for, and what was accepted.

Above: HTTP, `Awaken`, and the parts of the mailbox that submit. Below: `Mailbox.submit`.
Holds: nothing here decides anything.

Source: ADR 0033.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import DEFAULT_SCOPE, RunId, Scope, ThreadId
from awaken.domain.message import Message
from awaken.domain.receipt import Path
from awaken.domain.run import NO_OPTIONS, Reference, Run, RunOptions, Trace
from awaken.domain.ticket import Verdict
from awaken.mailbox.reader import EndOfRun
from awaken.store.contract import Posted


class RunSubmission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a caller asks for. A message with an empty id gets one; a blank thread id makes a new thread.

    A run with an id of its own gives that id to its new thread too, so that asking again meets the same thread.
    """

    messages: tuple[Message, ...]
    thread_id: str = ""
    scope: Scope = DEFAULT_SCOPE
    agent_id: str | None = None
    run_id: str | None = None
    delivery: Delivery = Delivery()
    metadata: dict[str, Any] = {}
    context: str | dict[str, Any] | None = None
    """For the agent alone: an internal system message in front of the others; an object as JSON."""
    options: RunOptions = NO_OPTIONS
    create_thread: bool = True
    """False: a thread that does not exist is an error."""
    decisions: tuple[Verdict, ...] = ()
    """About what the thread's open run waits for: made with the rest of it, or not at all."""
    reference: Reference | None = None
    """To messages of the conversation, beside `messages` or in their place."""
    recognised_as: str = ""
    """With `reference`: what a repetition under the same run id is recognised by, in the place of all that is here."""
    release_wait_s: float | None = None
    """Of a run that interrupts the thread: give up when what it stops has not let go after so long."""
    trace: Trace = Trace()


class Submission(msgspec.Struct, frozen=True, gc=False):
    """What was accepted, and the run that takes it. `running`: that was claimed at once, or is under way. `replayed`:
    it had been accepted before.
    """

    run: Run
    dispatch: Dispatch | None
    status: Literal["running", "queued"]
    replayed: bool = False
    path: Path = "queued"
    stops: RunId | None = None
    """The run that was executing and has been asked to stop for it."""
    end: EndOfRun | None = None
    """For `Mailbox.wait`, where it was asked for."""


class Promised(msgspec.Struct, frozen=True, gc=False):
    """What was submitted in a caller's own transaction: a run that is there once that is committed, and delivered."""

    scope: Scope
    run_id: RunId
    thread_id: ThreadId
    digest: str
    posted: Posted
