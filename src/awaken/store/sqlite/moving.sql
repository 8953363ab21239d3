-- What leaves a file, in the columns that a database with room for many has, each table in the order of its key. Index:
-- primary keys.

-- name: journal
SELECT run, key, created_at, v, value
  FROM journal
 WHERE (run, key) > (:run, :key)
 ORDER BY run, key;

-- name: count_journal
SELECT count(*) FROM journal;

-- name: spans
SELECT thread, event_seq, first_seq, last_seq, why, replacement_seq, replacement_id
  FROM spans
 WHERE (thread, event_seq) > (:thread, :event_seq)
 ORDER BY thread, event_seq;

-- name: count_spans
SELECT count(*) FROM spans;

-- name: states
SELECT thread, version, updated_at, v, body
  FROM states
 WHERE thread > :thread
 ORDER BY thread;

-- name: count_states
SELECT count(*) FROM states;

-- name: events
SELECT no, thread, first_seq, count, run_id, dispatch_id, created_at, v, body
  FROM events
 WHERE no > :no
 ORDER BY no;

-- name: count_events
SELECT count(*) FROM events;

-- name: messages
SELECT no, thread, message_id, seq, run_id, internal, created_at, v, body, fate, settled_at, revision, digest,
       step_index, commit_no, position, boundary, granularity, barrier, fallback, target_run_id, opens
  FROM messages
 WHERE no > :no
 ORDER BY no;

-- name: count_messages
SELECT count(*) FROM messages;

-- name: tickets
SELECT no, scope, ticket_id, thread, run, agent_id, kind, tool_name, state, created_at, expires_at, closed_at, v,
       asked, decision, child_waits
  FROM tickets
 WHERE no > :no
 ORDER BY no;

-- name: count_tickets
SELECT count(*) FROM tickets;

-- name: runs
SELECT no, scope, run_id, thread, agent_id, dispatch_id, status, created_at, updated_at, started_at, finished_at,
       first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at, dead_lettered,
       open_tickets, v, request, state_v, state
  FROM runs
 WHERE no > :no
 ORDER BY no;

-- name: count_runs
SELECT count(*) FROM runs;

-- name: dispatches
SELECT no, scope, dispatch_id, thread, run_id, route, status, why, priority, position, epoch, available_at,
       created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids, last_error, claim_token,
       claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at, v
  FROM dispatches
 WHERE no > :no
 ORDER BY no;

-- name: count_dispatches
SELECT count(*) FROM dispatches;

-- name: outbox
SELECT no, scope, sender, run_id, thread_id, created_at, v, body
  FROM outbox
 WHERE no > :no
 ORDER BY no;

-- name: count_outbox
SELECT count(*) FROM outbox;

-- name: schedules
SELECT no, scope, name, next_at, v, body
  FROM schedules
 WHERE no > :no
 ORDER BY no;

-- name: count_schedules
SELECT count(*) FROM schedules;

-- name: threads
SELECT no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued, waiting, left_open,
       spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority, ready_at, ready_no,
       latest_run_no, created_at, updated_at, v, info, info ->> '$.resource_id', info ->> '$.parent_thread_id',
       info_version, deleted_at, delete_at, has_rows
  FROM threads
 WHERE no > :no
 ORDER BY no;

-- name: count_threads
SELECT count(*) FROM threads;

-- ====================================================================================================================
-- The mark of a move, in a table that only a file that is moved has
-- ====================================================================================================================

-- name: begin_mark
CREATE TABLE moves (
    move_id  TEXT NOT NULL,
    target   TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

-- name: forget_mark
DROP TABLE IF EXISTS moves;

-- name: keep_mark
INSERT INTO moves (move_id, target, began_at)
VALUES (:move_id, :target, :began_at);

-- name: end_mark
UPDATE moves
   SET ended_at = :now;

-- name: is_marked
SELECT count(*) FROM sqlite_schema WHERE name = 'moves';

-- name: mark
SELECT move_id, target, began_at, ended_at FROM moves;
