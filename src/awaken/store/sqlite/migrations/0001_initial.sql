-- The first schema. Every key starts with the scope. `v` is the version of a row's JSON (awaken.domain.record); JSON
-- that SQLite itself never looks into is a BLOB. Instants are integer milliseconds.
--
-- What a transition costs is the number of pages it dirties. Messages and events, the bulk, therefore lie in the order
-- they were written (rowid tables), so that a batch fills whole pages; only small index entries go to each thread's own
-- place. Narrow tables are WITHOUT ROWID, so that a primary key costs no second tree. Each index says what it is for;
-- what can be derived by reading a little more has none. A dispatch born claimed never enters a `queued` index.

CREATE TABLE threads (
    scope          TEXT NOT NULL,
    thread_id      TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    message_seq    INTEGER NOT NULL,
    event_seq      INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    queued         INTEGER NOT NULL,
    ready_priority INTEGER,
    ready_at       INTEGER,
    open_turn      INTEGER,
    latest_run_id  TEXT,  -- the run written last: an index for it would be rewritten with every run
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    v              INTEGER NOT NULL,
    info           TEXT,  -- NULL: nothing was said about the thread
    PRIMARY KEY (scope, thread_id)
) STRICT, WITHOUT ROWID;

-- Claim takes due threads in this order; only threads with something to claim are in it.
CREATE INDEX threads_ready ON threads (ready_priority, ready_at, thread_id, scope) WHERE ready_at IS NOT NULL;

-- There is no index by `updated_at`: kept up twice per run it would cost a fifth of all throughput, while the list of
-- recent threads reads some three million of these narrow rows a second.

CREATE TABLE messages (
    scope      TEXT NOT NULL,
    thread_id  TEXT NOT NULL,
    message_id TEXT NOT NULL,
    seq        INTEGER,  -- NULL: accepted, not yet part of the conversation
    run_id     TEXT,
    visibility TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    body       BLOB NOT NULL,
    -- The id comes before the thread: ids are minted in order, so this stays dense, and it is as unique.
    UNIQUE (scope, message_id, thread_id)
) STRICT;

-- One message per place in the log, and the way the log is read. Accepted messages are in it too (without a place two
-- are not equal), so that a thread's runs, each of which brought a message, are found here and need no index.
CREATE UNIQUE INDEX messages_log ON messages (scope, thread_id, seq);

CREATE TABLE runs (
    scope               TEXT NOT NULL,
    run_id              TEXT NOT NULL,
    thread_id           TEXT NOT NULL,
    agent_id            TEXT NOT NULL,
    dispatch_id         TEXT NOT NULL,
    status              TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    first_event_seq     INTEGER NOT NULL,
    updated_seq         INTEGER NOT NULL,
    cancel_requested_at INTEGER,
    v                   INTEGER NOT NULL,
    request             BLOB NOT NULL,  -- written once
    state_v             INTEGER NOT NULL,
    state               BLOB NOT NULL,
    PRIMARY KEY (scope, run_id)
) STRICT, WITHOUT ROWID;

-- Lists runs by creation. Written once per run, always at the end.
CREATE INDEX runs_created ON runs (scope, created_at, run_id);

CREATE TABLE dispatches (
    scope         TEXT NOT NULL,
    dispatch_id   TEXT NOT NULL,
    thread_id     TEXT NOT NULL,
    run_id        TEXT NOT NULL,
    status        TEXT NOT NULL,
    priority      INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    available_at  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    attempt_count INTEGER NOT NULL,
    dedupe_key    TEXT,
    last_error    TEXT,
    claim_token   TEXT,
    claimed_by    TEXT,
    lease_until   INTEGER,
    instance_id   TEXT,
    completed_at  INTEGER,
    v             INTEGER NOT NULL,
    PRIMARY KEY (scope, dispatch_id)
) STRICT, WITHOUT ROWID;

-- One claimed dispatch per thread. Holds only what is being executed, so leases are found by reading it whole.
CREATE UNIQUE INDEX dispatches_claimed ON dispatches (scope, thread_id) WHERE status = 'claimed';

-- The queue of a thread in claim order.
CREATE INDEX dispatches_queue ON dispatches (scope, thread_id, priority, position) WHERE status = 'queued';

-- The scheduling key of a queue: its most urgent dispatch that is due.
CREATE INDEX dispatches_due ON dispatches (scope, thread_id, priority, available_at) WHERE status = 'queued';

-- One open dispatch per dedupe key and thread.
CREATE UNIQUE INDEX dispatches_dedupe ON dispatches (scope, thread_id, dedupe_key)
 WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'claimed');

-- What retention removes, oldest first. Written once, when a dispatch ends, always at the end.
CREATE INDEX dispatches_finished ON dispatches (updated_at, dispatch_id, scope) WHERE completed_at IS NOT NULL;

CREATE TABLE events (
    scope      TEXT NOT NULL,
    thread_id  TEXT NOT NULL,
    first_seq  INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    run_id     TEXT,
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    body       BLOB NOT NULL,  -- [[kind, payload], …]
    UNIQUE (scope, thread_id, first_seq)
) STRICT;

CREATE TABLE journal (
    scope      TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    key        TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    value      BLOB NOT NULL,
    PRIMARY KEY (scope, run_id, key)
) STRICT, WITHOUT ROWID;
