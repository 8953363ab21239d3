"""The thread that owns the writing connection.

Above: `SqliteStore.apply` hands over a batch and waits for its outcomes. Below: `lock` and `opening`, then
`batch.Transactor` for what a batch changes, `checkpoint.Checkpointer` for the log that its commits grow, and `identity`
for whether all that still goes into the file that was opened.
Holds: one batch at a time, in the order handed over; one that was begun is finished, whether or not its caller still
waits. The file is owned from before it is opened until after it is closed.

How it works. SQLite allows one writing transaction at a time, and each of its calls blocks until the disk has done its
part. So one thread owns the one connection that writes, and the event loop never waits for it:

- `apply` runs on the event loop. It puts a job, the batch with an asyncio *future* for its outcomes, into a *queue* and
  awaits the future. A future belongs to its event loop and may only be resolved there.
- The thread takes the next job, has the `Transactor` read, decide and write in one *transaction*, and *commits* it. The
  commit is the durable wait: it returns when the log is on the disk.
- It then answers: it has the event loop resolve the future in one of its next turns (`call_soon_threadsafe`). Nobody
  is answered before the change is committed.

Why an answer is sometimes held back. The *interpreter lock* lets one thread of a process run Python at a time. An
answer wakes the event loop, which then has much to do: the callers of up to 200 transitions go on, start runs, encode
events and form the next batch. If the next job is in the queue already, that work and this thread's decisions would
fight for the lock and slow each other down. But there is a time when this thread does without it: inside COMMIT it
waits for the disk. So when another job waits, an answer is given only when that job's transaction is ready to commit
(`before_commit`): the loop then works while the disk does. When no job waits, the answer is given at once, so an idle
store delays nobody. The loop is woken once per batch either way.

Before each batch the thread looks whether the file it writes is still the one that has its name (`identity`), and it
remembers whether writing was refused last, so that this is logged once, and once when it is over (`refusal`). `check`
asks the same without a batch, and while writing is refused tries whether it still would be.

After a commit the `Checkpointer` looks at the size of the log. Most of the time that is all; now and then the next
transaction waits a few milliseconds for it, and then the answer that is held back is given first.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from awaken.domain.clock import Clock
from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite.batch import Transactor
from awaken.store.sqlite.checkpoint import Checkpointer, checkpointed, file_of
from awaken.store.sqlite.identity import OpenedFiles
from awaken.store.sqlite.lock import FileLock
from awaken.store.sqlite.moved import forget_mark
from awaken.store.sqlite.opening import Durability, check_library, check_place
from awaken.store.transitions import Outcome, Transition
from awaken.threads import post

_log = logging.getLogger("awaken.store")

_T = TypeVar("_T")
_CHECK: Sequence[Transition] = ()
"""The batch of a job that only asks whether writing works."""
_Job = tuple[Sequence[Transition], "asyncio.Future[list[Outcome]]", asyncio.AbstractEventLoop]


class Writer:
    """`open` starts the thread, `close` ends it; both block, so they are not for the event loop."""

    def __init__(self, path: Path, durability: Durability, clock: Clock, wal_limit_bytes: int) -> None:
        self._path = path
        self._durability: Durability = durability
        self._clock = clock
        self._wal_limit_bytes = wal_limit_bytes
        self._lock = FileLock(path)
        self._files = OpenedFiles(path, clock.monotonic)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        """None ends the thread, after everything that was handed over before."""
        self._thread: threading.Thread | None = None
        self._unanswered: Callable[[], None] | None = None
        """Answers the last batch's caller."""
        self._refusal: str | None = None
        """Why nothing could be written last time."""

    def open(self) -> None:
        """Become the owner of the file, open it and take over what its last owner left.

        Raises:
            StoreUnavailable, DataIntegrity: It cannot be served; the message says why and what to do. The file is free.
        """
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="awaken-sqlite-writer", daemon=True)
        self._thread.start()
        opened.result()

    def close(self) -> None:
        """Returns when the file is closed and free for another owner."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            thread.join()

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        """Only between `open` and `close`."""
        loop = asyncio.get_running_loop()
        applied: asyncio.Future[list[Outcome]] = loop.create_future()
        self._jobs.put((batch, applied, loop))
        return await applied

    async def check(self) -> None:
        """Only between `open` and `close`, behind the batches that were handed over before.

        Raises:
            StoreUnavailable: A batch would be refused now; the message says why.
        """
        await self.apply(_CHECK)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self, opened: Future[None]) -> None:
        with ExitStack() as opening:  # what was opened is closed in the reverse order, also when opening stops halfway
            try:
                transactor, checkpointer = self._open_file(opening)
            except Exception as error:  # a supervisor: whoever opens the store gets it, once the file is free again
                try:
                    opening.close()
                finally:
                    opened.set_exception(error)
                return
            opened.set_result(None)
            self._serve(transactor, checkpointer)

    def _open_file(self, opening: ExitStack) -> tuple[Transactor, Checkpointer]:
        check_library()
        check_place(self._path)
        self._lock.take(self._clock)
        opening.callback(self._lock.release)
        db, checkpointer = opening.enter_context(
            checkpointed(self._path, self._durability, self._wal_limit_bytes, self._lock)
        )
        self._files.remember(file_of(db), self._lock.handle, self._lock.path, self._lock.fd)
        forget_mark(db)
        transactor = Transactor(db, self._path, self._clock)
        transactor.open()
        return transactor, checkpointer

    def _serve(self, transactor: Transactor, checkpointer: Checkpointer) -> None:
        while (job := self._jobs.get()) is not None:
            batch, applied, caller = job
            try:
                outcome: list[Outcome] | Exception = self._apply(transactor, batch)
            except Exception as error:  # a supervisor: this batch's caller gets it, the next batch is tried
                self._note_refusal(error)
                outcome = error
            self._answer_last()  # when the batch failed before its commit, the one before is still unanswered
            self._unanswered = partial(_answer, caller, applied, outcome)
            # A job that is put right after this look comes too late to hold the answer back. That costs only speed.
            if self._jobs.empty():
                self._answer_last()
            del job, batch, applied, outcome  # hold no batch while waiting for the next
            checkpointer.after_commit(self._answer_last)
        self._answer_last()

    def _apply(self, transactor: Transactor, batch: Sequence[Transition]) -> list[Outcome]:
        if batch:
            self._files.look_before_batch()
            outcomes = transactor.apply(batch, self._answer_last)
        else:
            self._files.look()
            outcomes: list[Outcome] = []
            if self._refusal is not None:
                transactor.try_to_write()
        if self._refusal is not None:
            self._refusal = None
            _log.warning("database %s: writing works again", self._path)
        return outcomes

    def _note_refusal(self, error: Exception) -> None:
        """Log once why nothing can be written, whoever asks how often meanwhile."""
        if isinstance(error, StoreUnavailable) and self._refusal != str(error):
            self._refusal = str(error)
            _log.error("no run is accepted and none goes on: %s", error)

    def _answer_last(self) -> None:
        if self._unanswered is not None:
            answer, self._unanswered = self._unanswered, None
            answer()


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[_T], result: _T | Exception) -> None:
    post(loop, _resolve, future, result)


def _resolve(future: asyncio.Future[_T], result: _T | Exception) -> None:
    """On the event loop."""
    if future.done():
        return  # its caller went away
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
