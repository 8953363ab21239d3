"""The reference: a background run as the seed documents do it, statement by statement, over aiosqlite.

Nothing here is built for speed or against it. It is the plain way to write such a queue: one awaited statement after
the other, a transaction per step, a depth gauge refreshed by counting after every queue change. For each run
  submit    5 reads; store message, thread and run; enqueue the dispatch; 6 counts
  claim     claim the dispatch; 6 counts; 4 reads; record the start
  finish    store thread, run and events; record the result; ack; 6 counts
  again     look for more; 6 counts
which makes 7 writing transactions and one that finds nothing, 9 reads and 24 counts.
Holds: the same durability as what it is compared with (WAL, synchronous=FULL), and the same message.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

import aiosqlite
import msgspec

from benchmarks.process import scratch

SCHEMA: Final = """
CREATE TABLE thread (
    thread_id TEXT PRIMARY KEY, message_count INTEGER NOT NULL, epoch INTEGER NOT NULL, latest_run_id TEXT
) WITHOUT ROWID;
CREATE TABLE message (
    thread_id TEXT, seq INTEGER, body TEXT NOT NULL, PRIMARY KEY (thread_id, seq)
) WITHOUT ROWID;
CREATE TABLE run (
    run_id TEXT PRIMARY KEY, thread_id TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL, output TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_by_thread ON run (thread_id, created_at);
CREATE TABLE dispatch (
    dispatch_id TEXT PRIMARY KEY, thread_id TEXT NOT NULL, run_id TEXT NOT NULL, status TEXT NOT NULL,
    priority INTEGER NOT NULL, available_at INTEGER NOT NULL, attempt_count INTEGER NOT NULL, epoch INTEGER NOT NULL,
    claim_token TEXT, claimed_by TEXT, lease_until INTEGER, instance_id TEXT, run_status TEXT, response TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, completed_at INTEGER
) WITHOUT ROWID;
CREATE INDEX dispatch_queue ON dispatch (thread_id, priority, available_at) WHERE status = 'queued';
CREATE UNIQUE INDEX dispatch_claimed ON dispatch (thread_id) WHERE status = 'claimed';
CREATE INDEX dispatch_by_status ON dispatch (status);
CREATE TABLE event (seq INTEGER PRIMARY KEY, thread_id TEXT NOT NULL, run_id TEXT NOT NULL, body TEXT NOT NULL);
"""

LOAD_THREAD: Final = "SELECT * FROM thread WHERE thread_id = ?"
LOAD_MESSAGES: Final = "SELECT body FROM message WHERE thread_id = ? ORDER BY seq"
LOAD_RUN: Final = "SELECT * FROM run WHERE run_id = ?"
LATEST_RUN: Final = "SELECT * FROM run WHERE thread_id = ? ORDER BY created_at DESC LIMIT 1"
LOAD_DISPATCH: Final = "SELECT * FROM dispatch WHERE dispatch_id = ?"
LOAD_EPOCH: Final = "SELECT epoch FROM thread WHERE thread_id = ?"
COUNT: Final = "SELECT count(*) FROM dispatch WHERE status = ?"
STATUSES: Final = ("queued", "claimed", "acked", "cancelled", "superseded", "dead_letter")

SAVE_THREAD: Final = """
INSERT INTO thread VALUES (?1, 1, 0, ?2)
    ON CONFLICT (thread_id) DO UPDATE SET message_count = message_count + 1, latest_run_id = ?2
"""
APPEND_MESSAGE: Final = """
INSERT INTO message
VALUES (?1, 1 + coalesce((SELECT message_count FROM thread WHERE thread_id = ?1), 0), ?2)
"""
INSERT_RUN: Final = "INSERT INTO run VALUES (?1, ?2, 'created', ?3, NULL, ?4, ?4)"
INSERT_DISPATCH: Final = """
INSERT INTO dispatch
VALUES (?1, ?2, ?3, 'queued', 128, ?4, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, ?4, ?4, NULL)
"""
CLAIM: Final = """
UPDATE dispatch
   SET status = 'claimed', claim_token = ?2, claimed_by = 'worker', lease_until = ?3, updated_at = ?4,
       attempt_count = attempt_count + 1
 WHERE dispatch_id = (
           SELECT dispatch_id FROM dispatch
            WHERE thread_id = ?1 AND status = 'queued' AND available_at <= ?4
            ORDER BY priority, available_at LIMIT 1)
   AND NOT EXISTS (SELECT 1 FROM dispatch WHERE thread_id = ?1 AND status = 'claimed')
RETURNING dispatch_id, run_id
"""
RECORD_START: Final = """
UPDATE dispatch SET instance_id = ?3, updated_at = ?4
 WHERE dispatch_id = ?1 AND claim_token = ?2 AND status = 'claimed'
"""
TOUCH_THREAD: Final = "UPDATE thread SET latest_run_id = ?2 WHERE thread_id = ?1"
FINISH_RUN: Final = "UPDATE run SET status = 'done', output = ?2, updated_at = ?3 WHERE run_id = ?1"
APPEND_EVENT: Final = "INSERT INTO event (thread_id, run_id, body) VALUES (?, ?, ?)"
RECORD_RESULT: Final = """
UPDATE dispatch SET run_status = 'done', response = ?3, updated_at = ?4
 WHERE dispatch_id = ?1 AND claim_token = ?2 AND status = 'claimed'
"""
ACK: Final = """
UPDATE dispatch SET status = 'acked', completed_at = ?3, claim_token = NULL
 WHERE dispatch_id = ?1 AND claim_token = ?2 AND status = 'claimed'
"""

EVENTS: Final = ('{"type":"run_start"}', '{"type":"step"}', '{"type":"run_finish"}')
Statement = tuple[str, Sequence[Any]]


class NaiveQueue:
    """One connection, one statement at a time."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._lock = asyncio.Lock()

    async def run_once(self, thread_id: str, text: str) -> float:
        """Submit a run and see it to its end. Seconds from the submit to the start of its handler."""
        started = time.perf_counter()
        run_id = await self._submit(thread_id, text)
        token = uuid.uuid4().hex
        dispatch_id = await self._claim(thread_id, token)
        to_start_s = time.perf_counter() - started
        await self._handle()
        await self._finish(thread_id, run_id, dispatch_id, token)
        await self._claim_next(thread_id)
        return to_start_s

    async def _submit(self, thread_id: str, text: str) -> str:
        run_id, dispatch_id, now = uuid.uuid4().hex, uuid.uuid4().hex, _now_ms()
        message = msgspec.json.encode({"role": "user", "content": text}).decode()
        request = msgspec.json.encode({"agent_id": "noop", "origin": "user", "input": [uuid.uuid4().hex]}).decode()
        await self._read(LOAD_THREAD, (thread_id,))
        await self._read(LATEST_RUN, (thread_id,))
        await self._read(LOAD_MESSAGES, (thread_id,))
        await self._read(LATEST_RUN, (thread_id,))
        await self._read(LOAD_RUN, (run_id,))
        await self._write(
            (APPEND_MESSAGE, (thread_id, message)),
            (SAVE_THREAD, (thread_id, run_id)),
            (INSERT_RUN, (run_id, thread_id, request, now)),
        )
        await self._write((INSERT_DISPATCH, (dispatch_id, thread_id, run_id, now)))
        await self._refresh_depth()
        return run_id

    async def _claim(self, thread_id: str, token: str) -> str:
        now = _now_ms()
        claimed = await self._write((CLAIM, (thread_id, token, now + 30_000, now)))
        await self._refresh_depth()
        dispatch_id: str = claimed[0][0][0]
        await self._read(LOAD_MESSAGES, (thread_id,))
        await self._read(LATEST_RUN, (thread_id,))
        await self._read(LOAD_DISPATCH, (dispatch_id,))
        await self._read(LOAD_EPOCH, (thread_id,))
        await self._write((RECORD_START, (dispatch_id, token, uuid.uuid4().hex, _now_ms())))
        return dispatch_id

    async def _handle(self) -> None:
        """The agent: it does nothing."""

    async def _finish(self, thread_id: str, run_id: str, dispatch_id: str, token: str) -> None:
        await self._write(
            (TOUCH_THREAD, (thread_id, run_id)),
            (FINISH_RUN, (run_id, None, _now_ms())),
            *[(APPEND_EVENT, (thread_id, run_id, event)) for event in EVENTS],
        )
        await self._write((RECORD_RESULT, (dispatch_id, token, None, _now_ms())))
        await self._write((ACK, (dispatch_id, token, _now_ms())))
        await self._refresh_depth()

    async def _claim_next(self, thread_id: str) -> None:
        now = _now_ms()
        await self._write((CLAIM, (thread_id, uuid.uuid4().hex, now + 30_000, now)))
        await self._refresh_depth()

    async def _refresh_depth(self) -> None:
        for status in STATUSES:
            await self._read(COUNT, (status,))

    async def _read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        async with self._lock:
            cursor = await self._db.execute(statement, values)
            return list(await cursor.fetchall())

    async def _write(self, *statements: Statement) -> list[list[Any]]:
        async with self._lock:
            await self._db.execute("BEGIN IMMEDIATE")
            found: list[list[Any]] = []
            for statement, values in statements:
                cursor = await self._db.execute(statement, values)
                found.append(list(await cursor.fetchall()))
            await self._db.execute("COMMIT")
            return found


class NaiveResult(msgspec.Struct):
    cycles_s: float
    idle_start_ms: float


async def measure(*, threads: int, turns: int, text: str, idle: int = 20) -> NaiveResult:
    """A closed loop over `threads` conversations, then single runs on the idle queue."""
    with scratch() as folder:
        async with aiosqlite.connect(folder / "naive.db", isolation_level=None) as db:
            await _prepare(db)
            queue = NaiveQueue(db)

            async def converse(index: int) -> None:
                for _ in range(turns):
                    await queue.run_once(f"thread-{index:06d}", text)

            started = time.perf_counter()
            await asyncio.gather(*[converse(index) for index in range(threads)])
            elapsed_s = time.perf_counter() - started
            await _check(db, threads * turns)
            waits = sorted([await queue.run_once("idle", text) for _ in range(idle)])
            return NaiveResult(threads * turns / elapsed_s, waits[idle // 2] * 1000)


async def _prepare(db: aiosqlite.Connection) -> None:
    await db.execute("PRAGMA journal_mode = WAL")
    await db.execute("PRAGMA synchronous = FULL")
    await db.executescript(SCHEMA)


async def _check(db: aiosqlite.Connection, runs: int) -> None:
    cursor = await db.execute(COUNT, ("acked",))
    row = await cursor.fetchone()
    assert row is not None and row[0] == runs, "every run was acked"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
