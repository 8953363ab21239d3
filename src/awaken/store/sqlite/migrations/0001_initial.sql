-- The first schema.
--
-- What a transition costs is the number of pages it dirties. Rows therefore lie in the order in which they arrive, in
-- rowid tables that grow at one end, and each of them is found by a small integer: threads, runs and dispatches by an
-- arrival number that is never used twice, messages and rows of events by their place in the table. What belongs to a
-- thread is found in one index, thread_entries, so that a transition on a thread that nobody has touched for a while
-- dirties two pages of its own: the thread's row and its end of that index. Every other index either grows at one end or
-- holds only what is unfinished.
--
-- Ids: a UUID in its usual form is stored as its 16 bytes, any other id as text. Instants are integer milliseconds. `v` is
-- the version of a row's JSON (awaken.domain.record); JSON that SQLite itself never looks into is a BLOB.
--
-- Columns below a line "later" are there for what is built next, and empty until then: to add a column to a table of
-- millions of rows is easy, to fill it is not.

CREATE TABLE threads (
    no              INTEGER PRIMARY KEY,  -- an arrival number
    scope           TEXT NOT NULL,
    thread_id       ANY NOT NULL,
    epoch           INTEGER NOT NULL,
    message_seq     INTEGER NOT NULL,
    event_seq       INTEGER NOT NULL,
    first_event_seq INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    queued          INTEGER NOT NULL,
    waiting         INTEGER NOT NULL,
    left_open       INTEGER NOT NULL,
    spans           INTEGER NOT NULL,
    pending         INTEGER NOT NULL,
    interrupt_id    ANY,
    commit_no       INTEGER NOT NULL,
    commit_token    ANY,
    ready_route     TEXT,
    ready_priority  INTEGER,
    ready_at        INTEGER,
    ready_no        INTEGER,
    latest_run_no   INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    v               INTEGER NOT NULL,
    info            TEXT,  -- NULL: its owner said nothing about it
    info_version    INTEGER NOT NULL DEFAULT 1,
    deleted_at      INTEGER,
    delete_at       INTEGER,  -- it goes by itself then
    has_rows        INTEGER   -- 1 for a deleted thread of which something is left
) STRICT;

CREATE UNIQUE INDEX threads_id ON threads (scope, thread_id);

-- Claim takes due threads in this order. Only threads with something to claim are in it, or in the next one.
CREATE INDEX threads_due ON threads (ready_route, ready_priority, ready_no) WHERE ready_at = 0;

-- Threads whose next dispatch was delayed, by the instant at which it falls due.
CREATE INDEX threads_delayed ON threads (ready_route, ready_at, ready_no) WHERE ready_at > 0;

-- Lists threads by what happened last: those with runs are found through their newest run, these are the others.
CREATE INDEX threads_unused ON threads (scope, no) WHERE latest_run_no IS NULL;

-- The threads that name another one as their parent.
CREATE INDEX threads_parent ON threads (scope, info ->> '$.parent_thread_id', no)
 WHERE info ->> '$.parent_thread_id' IS NOT NULL;

-- Deleted threads whose rows are removed by and by; and threads that will be deleted.
CREATE INDEX threads_deleted ON threads (no) WHERE has_rows = 1;
CREATE INDEX threads_expiring ON threads (delete_at) WHERE delete_at IS NOT NULL;

CREATE INDEX threads_resource ON threads (scope, info ->> '$.resource_id', no) WHERE info IS NOT NULL;

-- What belongs to a thread: kind 1, rows of events by their first seq; kind 2, messages by seq; kind 3, runs by number.
CREATE TABLE thread_entries (
    thread INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    no     INTEGER NOT NULL,
    row    INTEGER NOT NULL,  -- the number of the row it stands for
    PRIMARY KEY (thread, kind, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    no         INTEGER PRIMARY KEY,
    thread     INTEGER NOT NULL,
    message_id ANY NOT NULL,
    seq        INTEGER,  -- NULL: accepted, not yet part of the conversation; with a fate, never
    run_id     ANY,      -- the run that brought it, that it waits for, or that produced it
    internal   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    body       BLOB NOT NULL,
    fate       TEXT,     -- how it ended without a seq
    settled_at INTEGER,  -- when it got its seq or its fate; NULL: neither, or when it was accepted
    revision   INTEGER,  -- NULL: the first
    digest     BLOB,     -- of what was first sent, after an edit
    step_index INTEGER,  -- how many steps its run had closed when it took it
    commit_no  INTEGER,  -- the commit that took it
    -- of one that waits for a run, or did:
    position    INTEGER,  -- NULL: it waits no more
    boundary    TEXT,
    granularity TEXT,
    barrier     INTEGER,
    fallback    INTEGER,
    target_run_id ANY,
    opens       BLOB,     -- the run that it opens if the other does not take it
    -- later
    sender      BLOB,
    hop_count   INTEGER
) STRICT;

-- The id comes before the thread: ids are minted in order, so this grows at one end, and it is as unique.
CREATE UNIQUE INDEX messages_id ON messages (message_id, thread);

-- What waits for a run, in order.
CREATE INDEX messages_pending ON messages (thread, position) WHERE position IS NOT NULL;

-- What each commit took, for one that is asked again.
CREATE INDEX messages_taken ON messages (thread, commit_no) WHERE commit_no IS NOT NULL;
-- Accepted messages that are not part of a conversation: what of a deleted thread no entry leads to.
CREATE INDEX messages_unplaced ON messages (thread) WHERE seq IS NULL;

CREATE TABLE runs (
    no                  INTEGER PRIMARY KEY,  -- an arrival number
    scope               TEXT NOT NULL,
    run_id              ANY NOT NULL,
    thread              INTEGER NOT NULL,
    agent_id            TEXT NOT NULL,
    dispatch_id         ANY NOT NULL,  -- its newest
    status              TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    started_at          INTEGER,
    finished_at         INTEGER,
    first_event_seq     INTEGER NOT NULL,
    updated_seq         INTEGER NOT NULL,
    open_turn           INTEGER,
    executing_ms        INTEGER NOT NULL,
    dedupe_key          TEXT,
    cancel_requested_at INTEGER,
    dead_lettered       INTEGER NOT NULL,
    open_tickets        INTEGER NOT NULL,
    v                   INTEGER NOT NULL,
    request             BLOB NOT NULL,  -- written once
    state_v             INTEGER NOT NULL,
    state               BLOB NOT NULL,
    -- later: children, retries, callers
    parent_run_id       ANY,
    depth               INTEGER,
    detached            INTEGER,
    hop_count           INTEGER,
    retry_of_run_id     ANY,
    result              BLOB,
    principal           TEXT,
    wire_run_id         TEXT
) STRICT;

CREATE UNIQUE INDEX runs_id ON runs (run_id, scope);

-- Lists the runs of an agent, and, taken together over the agents of a scope, all of them.
CREATE INDEX runs_agent ON runs (scope, agent_id, no);

-- Lists and counts what is unfinished, by phase and agent.
CREATE INDEX runs_open ON runs (scope, status, agent_id, no) WHERE status <> 'done';

-- The suspended runs of a thread; the one that suspended last was written last.
CREATE INDEX runs_waiting ON runs (thread, updated_seq) WHERE status = 'waiting';

-- Runs that ended with calls that nobody answered, until the next claim answers them.
CREATE INDEX runs_left_open ON runs (thread) WHERE open_turn IS NOT NULL AND status = 'done';

-- One unfinished run per dedupe key and thread.
CREATE UNIQUE INDEX runs_dedupe ON runs (thread, dedupe_key) WHERE dedupe_key IS NOT NULL AND status <> 'done';

-- What retention removes, longest ended first; it leaves dead letters alone, runs that the next claim still closes, and
-- those that will still be told something.
CREATE INDEX runs_finished ON runs (finished_at, no)
 WHERE finished_at IS NOT NULL AND dead_lettered = 0 AND open_turn IS NULL AND open_tickets = 0;

-- Lists what was given up and nobody has seen to.
CREATE INDEX runs_dead ON runs (scope, no) WHERE dead_lettered = 1;

CREATE TABLE dispatches (
    no            INTEGER PRIMARY KEY,  -- an arrival number; that of its run for the first dispatch of a run
    scope         TEXT NOT NULL,
    dispatch_id   ANY NOT NULL,
    thread        INTEGER NOT NULL,
    run_id        ANY NOT NULL,
    route         TEXT NOT NULL,
    status        TEXT NOT NULL,
    why           TEXT NOT NULL,
    priority      INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    available_at  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    attempt_count INTEGER NOT NULL,
    crash_count   INTEGER NOT NULL,
    message_ids   BLOB,  -- NULL for the first of a run, which brings what the run's request names
    last_error    TEXT,
    claim_token   ANY,
    claimed_by    ANY,
    lease_until   INTEGER,
    instance_id   ANY,
    tried_at      INTEGER,
    tried_by      ANY,
    completed_at  INTEGER,
    v             INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX dispatches_id ON dispatches (dispatch_id, scope);

-- One claimed dispatch per thread. Holds only what is being executed, so leases and holders are found by reading it whole.
CREATE UNIQUE INDEX dispatches_claimed ON dispatches (thread) WHERE status = 'claimed';

-- The queue of a thread in claim order.
CREATE INDEX dispatches_queue ON dispatches (thread, priority, position, available_at) WHERE status = 'queued';

-- All but the first dispatch of a run, which has the run's own number.
CREATE INDEX dispatches_later ON dispatches (thread, no) WHERE message_ids IS NOT NULL;

-- Counts how dispatches ended that were not acked.
-- (A list in a condition would be built anew for every row that is written.)
CREATE INDEX dispatches_closed ON dispatches (status)
 WHERE status = 'cancelled' OR status = 'superseded' OR status = 'dead_letter';

CREATE TABLE events (
    no          INTEGER PRIMARY KEY,
    thread      INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    run_id      ANY,
    dispatch_id ANY,
    created_at  INTEGER NOT NULL,
    v           INTEGER NOT NULL,
    body        BLOB NOT NULL,  -- [[kind, payload], …]; a message is referred to by its seq
    -- later
    trace_id    TEXT
) STRICT;

-- Ranges of a thread's log that are not read, each known by the event that reports it.
CREATE TABLE spans (
    thread          INTEGER NOT NULL,
    event_seq       INTEGER NOT NULL,
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    why             TEXT NOT NULL,
    replacement_seq INTEGER,
    replacement_id  ANY,
    PRIMARY KEY (thread, event_seq)
) STRICT, WITHOUT ROWID;

-- The state of each thread that has one.
CREATE TABLE states (
    thread     INTEGER PRIMARY KEY,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;

-- One row: the highest arrival number, and the highest number of a row of events, that had been given when something was
-- last removed. So no number is given twice, whatever retention takes away.
CREATE TABLE numbers (
    arrivals INTEGER NOT NULL,
    events   INTEGER NOT NULL
) STRICT;

INSERT INTO numbers (arrivals, events) VALUES (0, 0);

-- What runs wait for. Runs that wait for nobody have none, so these indexes cost only who uses them.
CREATE TABLE tickets (
    no         INTEGER PRIMARY KEY,  -- an arrival number
    scope      TEXT NOT NULL,
    ticket_id  ANY NOT NULL,
    thread     INTEGER NOT NULL,
    run        INTEGER NOT NULL,  -- the run's number
    agent_id   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    tool_name  TEXT,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    closed_at  INTEGER,
    v          INTEGER NOT NULL,
    asked      BLOB NOT NULL,  -- written once
    decision   BLOB,
    child_waits ANY         -- the dispatch at whose end a child last said that it waits
) STRICT;

CREATE UNIQUE INDEX tickets_id ON tickets (ticket_id, scope);

CREATE INDEX tickets_run ON tickets (run, no);

CREATE INDEX tickets_thread ON tickets (thread, state, no);

CREATE INDEX tickets_state ON tickets (scope, state, no);

-- The inbox of those who decide, by whom and what they look after.
CREATE INDEX tickets_agent ON tickets (scope, agent_id, no) WHERE state = 'open';
CREATE INDEX tickets_kind ON tickets (scope, kind, no) WHERE state = 'open';
CREATE INDEX tickets_tool ON tickets (scope, tool_name, no) WHERE state = 'open';

-- What expires, and when.
CREATE INDEX tickets_due ON tickets (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

-- What a run, or a schedule, does to another thread, until it is delivered.
CREATE TABLE outbox (
    no         INTEGER PRIMARY KEY,  -- an arrival number
    scope      TEXT NOT NULL,
    sender     ANY NOT NULL,  -- the thread that it comes from, or the schedule
    run_id     ANY,           -- the run that wrote it; NULL: a schedule
    thread_id  ANY NOT NULL,  -- the thread that it is for
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;

-- What one sender has for one thread, which is delivered in order.
CREATE INDEX outbox_lane ON outbox (sender, thread_id, scope, no);

-- Retention keeps a run while something of it is here.
CREATE INDEX outbox_run ON outbox (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE schedules (
    no      INTEGER PRIMARY KEY,  -- an arrival number
    scope   TEXT NOT NULL,
    name    TEXT NOT NULL,
    next_at INTEGER,  -- NULL: paused
    v       INTEGER NOT NULL,
    body    BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX schedules_name ON schedules (scope, name);

-- Lists the schedules of a scope.
CREATE INDEX schedules_scope ON schedules (scope, no);

-- What falls due next.
CREATE INDEX schedules_due ON schedules (next_at, no) WHERE next_at IS NOT NULL;

CREATE TABLE journal (
    run        INTEGER NOT NULL,  -- the run's number
    key        TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    v          INTEGER NOT NULL,
    value      BLOB NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
