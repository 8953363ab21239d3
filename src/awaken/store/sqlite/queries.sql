-- The statements of the SQLite store, in the order: shared parts, facts of a transition, writes, asks of rules over many
-- threads, reads. Writes take their values by position, because they run for many rows at once; everything else by name.

-- ====================================================================================================================
-- Parts
-- ====================================================================================================================

-- part: thread_columns
t.no, t.scope, t.thread_id, t.epoch, t.message_seq, t.event_seq, t.first_event_seq, t.position, t.queued, t.waiting,
t.left_open, t.spans, t.pending, t.interrupt_id, t.commit_no, t.commit_token, t.ready_route, t.ready_priority,
t.ready_at, t.ready_no, t.latest_run_no, t.created_at, t.updated_at, t.v, t.info, t.info_version, t.deleted_at, t.delete_at

-- part: run_columns
r.no, r.run_id, t.thread_id, r.agent_id, r.dispatch_id, r.status, r.created_at, r.updated_at, r.started_at, r.finished_at,
r.first_event_seq, r.updated_seq, r.open_turn, r.executing_ms, r.dedupe_key, r.cancel_requested_at, r.dead_lettered,
r.open_tickets, r.v, r.request, r.state_v, r.state

-- part: dispatch_columns
d.no, d.dispatch_id, t.thread_id, d.run_id, d.route, d.status, d.why, d.priority, d.position, d.epoch, d.available_at,
d.created_at, d.updated_at, d.max_attempts, d.attempt_count, d.crash_count, d.message_ids, d.last_error, d.claim_token,
d.claimed_by, d.lease_until, d.instance_id, d.tried_at, d.tried_by, d.completed_at, d.v

-- part: ticket_columns
k.no, k.ticket_id, t.thread_id, r.run_id, k.agent_id, k.state, k.created_at, k.expires_at, k.closed_at, k.v, k.asked,
k.decision, k.child_waits

-- part: message_columns
m.message_id, m.seq, m.run_id, m.created_at, m.v, m.body, m.fate, m.step_index, m.revision, m.digest

-- part: pending_columns
m.message_id, m.run_id, m.position, m.boundary, m.granularity, m.barrier, m.fallback, m.target_run_id, m.revision,
m.created_at, m.opens

-- part: outbox_columns
o.no, o.scope, o.sender, o.run_id, o.thread_id, o.created_at, o.v, o.body

-- part: schedule_columns
s.no, s.scope, s.name, s.next_at, s.v, s.body

-- ====================================================================================================================
-- Facts
-- ====================================================================================================================

-- name: data_version
-- Changes when another connection has committed something.
PRAGMA data_version;

-- name: last_numbers
-- The highest arrival number, which threads, runs, dispatches, tickets, errands and schedules have; of messages; of rows
-- of events. Index: primary keys.
SELECT max(coalesce((SELECT arrivals FROM numbers), 0), coalesce((SELECT max(no) FROM threads), 0),
           coalesce((SELECT max(no) FROM runs), 0), coalesce((SELECT max(no) FROM dispatches), 0),
           coalesce((SELECT max(no) FROM tickets), 0),
           coalesce((SELECT max(no) FROM outbox), 0), coalesce((SELECT max(no) FROM schedules), 0)),
       coalesce((SELECT max(no) FROM messages), 0),
       max(coalesce((SELECT events FROM numbers), 0), coalesce((SELECT max(no) FROM events), 0));

-- name: thread
-- Index: threads_id.
SELECT {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.thread_id = :thread_id;

-- name: thread_and_claimed
-- A thread with its claimed dispatch, if it has one. Index: threads_id, dispatches_claimed.
SELECT {thread_columns}, {dispatch_columns}
  FROM threads t
  LEFT JOIN dispatches d INDEXED BY dispatches_claimed ON d.thread = t.no AND d.status = 'claimed'
 WHERE t.scope = :scope AND t.thread_id = :thread_id;

-- name: claimed
-- The claimed dispatch of a thread. Index: dispatches_claimed.
SELECT {dispatch_columns}
  FROM dispatches d INDEXED BY dispatches_claimed
 CROSS JOIN threads t
 WHERE d.thread = :thread AND d.status = 'claimed' AND t.no = d.thread;

-- name: run
-- Index: runs_id.
SELECT {run_columns}
  FROM runs r
 CROSS JOIN threads t
 WHERE r.run_id = :run_id AND r.scope = :scope AND t.no = r.thread;

-- name: dispatch
-- Index: dispatches_id.
SELECT {dispatch_columns}
  FROM dispatches d
 CROSS JOIN threads t
 WHERE d.dispatch_id = :dispatch_id AND d.scope = :scope AND t.no = d.thread;

-- name: message
-- A message of a thread, in the log or not. Index: messages_id.
SELECT {message_columns}
  FROM messages m
 WHERE m.message_id = :message_id AND m.thread = :thread;

-- name: pending
-- What waits for a run of a thread, in order. Index: messages_pending.
SELECT {pending_columns}
  FROM messages m INDEXED BY messages_pending
 WHERE m.thread = :thread AND m.position IS NOT NULL
 ORDER BY m.position;

-- name: taken
-- What a commit took, in the order of the log. Index: messages_taken, read whole: one commit, of at most 100.
SELECT {message_columns}
  FROM messages m INDEXED BY messages_taken
 WHERE m.thread = :thread AND m.commit_no = :commit_no AND m.commit_no IS NOT NULL
 ORDER BY m.seq;

-- name: output_message
-- A message of the thread of a run. Index: primary key, messages_id.
SELECT {message_columns}
  FROM runs r
 CROSS JOIN messages m
 WHERE r.no = :run AND m.message_id = :message_id AND m.thread = r.thread;

-- name: holder_of_dedupe_key
-- The unfinished run that holds a key. Index: runs_dedupe.
SELECT {run_columns}
  FROM runs r INDEXED BY runs_dedupe
 CROSS JOIN threads t
 WHERE r.thread = :thread AND r.dedupe_key = :dedupe_key AND r.dedupe_key IS NOT NULL AND r.status <> 'done'
   AND t.no = r.thread;

-- name: next_due
-- The dispatch a free thread runs next. Index: dispatches_queue.
SELECT {dispatch_columns}
  FROM dispatches d INDEXED BY dispatches_queue
 CROSS JOIN threads t
 WHERE d.thread = :thread AND d.status = 'queued' AND d.available_at <= :now AND t.no = d.thread
 ORDER BY d.priority, d.position
 LIMIT 1;

-- name: best_due
-- What a queue runs next, two dispatches left out, if something in it is due. Index: dispatches_queue.
SELECT route, crash_count, priority, position, available_at, no
  FROM dispatches INDEXED BY dispatches_queue
 WHERE thread = :thread AND status = 'queued' AND available_at <= :now AND no <> :next AND dispatch_id <> :without
 ORDER BY priority, position
 LIMIT 1;

-- name: best_later
-- The same if nothing in it is due. Index: dispatches_queue, read whole: the queue of one thread.
SELECT route, crash_count, priority, position, available_at, no
  FROM dispatches INDEXED BY dispatches_queue
 WHERE thread = :thread AND status = 'queued' AND no <> :next AND dispatch_id <> :without
 ORDER BY available_at, priority, position
 LIMIT 1;

-- name: queue
-- The whole queue of a thread in claim order. Index: dispatches_queue.
SELECT {dispatch_columns}
  FROM dispatches d INDEXED BY dispatches_queue
 CROSS JOIN threads t
 WHERE d.thread = :thread AND d.status = 'queued' AND t.no = d.thread
 ORDER BY d.priority, d.position
 LIMIT :limit;

-- name: count_queue
-- How much of a queue is not due yet, and how much belongs to runs that wait. Asked only where the queue is at its bound.
-- Index: dispatches_queue, read whole: the queue of one thread.
SELECT count(*) FILTER (WHERE available_at > :now), count(*) FILTER (WHERE why IN ('input', 'decided', 'children'))
  FROM dispatches INDEXED BY dispatches_queue
 WHERE thread = :thread AND status = 'queued';

-- name: waiting_runs
-- The suspended runs of a thread, the one that suspended last first. Index: runs_waiting.
SELECT {run_columns}
  FROM runs r INDEXED BY runs_waiting
 CROSS JOIN threads t
 WHERE r.thread = :thread AND r.status = 'waiting' AND t.no = r.thread
 ORDER BY r.updated_seq DESC
 LIMIT :limit;

-- name: left_open_runs
-- Ended runs of a thread with a turn that is still open. Index: runs_left_open.
SELECT {run_columns}
  FROM runs r INDEXED BY runs_left_open
 CROSS JOIN threads t
 WHERE r.thread = :thread AND r.open_turn IS NOT NULL AND r.status = 'done' AND t.no = r.thread
 ORDER BY r.no;

-- name: tail
-- A run's own messages from a seq on. Index: thread_entries.
SELECT {message_columns}
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND e.no >= :from_seq AND m.no = e.row AND m.run_id = :run_id
 ORDER BY e.no;

-- name: ticket
-- Index: tickets_id.
SELECT {ticket_columns}
  FROM tickets k
 CROSS JOIN runs r
 CROSS JOIN threads t
 WHERE k.ticket_id = :ticket_id AND k.scope = :scope AND r.no = k.run AND t.no = k.thread;

-- name: open_tickets_of_run
-- Asked only where the run has some. Index: tickets_run.
SELECT {ticket_columns}
  FROM tickets k INDEXED BY tickets_run
 CROSS JOIN runs r
 CROSS JOIN threads t
 WHERE k.run = :run AND k.state = 'open' AND r.no = k.run AND t.no = k.thread
 ORDER BY k.no;
-- name: child
-- A thread whose parent it is, or else one that an errand of its own is still to make. Index: threads_parent,
-- outbox_lane.
SELECT coalesce(
       (SELECT thread_id
          FROM threads INDEXED BY threads_parent
         WHERE scope = :scope AND info ->> '$.parent_thread_id' = :parent AND info ->> '$.parent_thread_id' IS NOT NULL
           AND deleted_at IS NULL
         ORDER BY no
         LIMIT 1),
       (SELECT o.thread_id
          FROM outbox o INDEXED BY outbox_lane
         WHERE o.sender = :sender AND o.scope = :scope AND json_valid(CAST(o.body AS TEXT))
           AND CAST(o.body AS TEXT) ->> '$.info.parent_thread_id' = :parent
         LIMIT 1));

-- name: own_seqs
-- The places in the log, from one on, of what belongs to a run. Index: thread_entries.
SELECT e.no
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND e.no >= :from_seq AND m.no = e.row AND m.run_id = :run_id
 ORDER BY e.no;

-- name: own_messages
-- The messages of the log that belong to a run, or, without one, to none. Index: thread_entries.
SELECT {message_columns}
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND m.no = e.row AND m.run_id IS :run_id
 ORDER BY e.no;

-- name: spans
-- Index: primary key.
SELECT first_seq, last_seq, why, event_seq, replacement_seq, replacement_id
  FROM spans
 WHERE thread = :thread
 ORDER BY event_seq;

-- name: state
-- Index: primary key.
SELECT version, v, body
  FROM states
 WHERE thread = :thread;

-- ====================================================================================================================
-- Writes. A count of changed rows that differs from the rows given means that a guard held: the batch is replayed.
-- ====================================================================================================================

-- name: insert_thread
INSERT INTO threads (no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued, waiting,
                     left_open, spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority,
                     ready_at, ready_no, latest_run_no, created_at, updated_at, v, info)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_thread
UPDATE threads
   SET epoch = ?, message_seq = ?, event_seq = ?, position = ?, queued = ?, waiting = ?, left_open = ?, spans = ?,
       pending = ?, interrupt_id = ?, commit_no = ?, commit_token = ?, ready_route = ?, ready_priority = ?, ready_at = ?,
       ready_no = ?, latest_run_no = ?, updated_at = ?
 WHERE no = ?;

-- name: update_thread_info
UPDATE threads
   SET info = ?, v = ?, info_version = ?
 WHERE no = ?;

-- name: mark_thread
-- That it is deleted, or when it will be.
UPDATE threads
   SET deleted_at = ?, delete_at = ?, has_rows = ?
 WHERE no = ?;

-- name: insert_entry
INSERT INTO thread_entries (thread, kind, no, row)
VALUES (?, ?, ?, ?);

-- name: insert_message
INSERT INTO messages (no, thread, message_id, seq, run_id, internal, created_at, step_index, v, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: append_message
-- Give an accepted message its place in the log, once.
UPDATE messages
   SET seq = ?, settled_at = ?, step_index = ?
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL;

-- name: insert_pending
-- A message that waits for a run.
INSERT INTO messages (no, thread, message_id, run_id, internal, created_at, v, body, position, boundary, granularity,
                      barrier, fallback, target_run_id, opens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: take_message
-- Give a message that waits its place in the log, once.
UPDATE messages
   SET seq = ?, settled_at = ?, step_index = ?, commit_no = ?, position = NULL
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL AND position IS NOT NULL;

-- name: move_pending
UPDATE messages
   SET position = ?, boundary = ?, barrier = ?, revision = ?
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL AND position IS NOT NULL;

-- name: edit_message
UPDATE messages
   SET internal = ?, v = ?, body = ?, revision = ?, digest = ?
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL;

-- name: requeue_message
-- It is brought by a run of its own now.
UPDATE messages
   SET run_id = ?, position = NULL
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL;

-- name: mark_fate
-- The first fate is the final one: a message that has a seq or a fate already is left as it is.
UPDATE messages
   SET fate = ?, settled_at = ?, position = NULL
 WHERE message_id = ? AND thread = ? AND seq IS NULL AND fate IS NULL;

-- name: insert_entry_of_message
-- The entry of a message that was accepted earlier.
INSERT INTO thread_entries (thread, kind, no, row)
SELECT thread, 2, seq, no
  FROM messages
 WHERE message_id = ? AND thread = ?;

-- name: insert_run
INSERT INTO runs (no, scope, run_id, thread, agent_id, dispatch_id, status, created_at, updated_at, started_at,
                  finished_at, first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at,
                  dead_lettered, open_tickets, v, request, state_v, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_run
-- What a run was asked to do, by whom and when it was created never changes.
UPDATE runs
   SET dispatch_id = ?, status = ?, updated_at = ?, started_at = ?, finished_at = ?, updated_seq = ?, open_turn = ?,
       executing_ms = ?, cancel_requested_at = ?, dead_lettered = ?, open_tickets = ?, state_v = ?, state = ?
 WHERE no = ?;

-- name: insert_dispatch
INSERT INTO dispatches (no, scope, dispatch_id, thread, run_id, route, status, why, priority, position, epoch,
                        available_at, created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids,
                        last_error, claim_token, claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at,
                        v)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_dispatch
-- Only from the state it was read in: the status and the claim token are the fence.
UPDATE dispatches
   SET status = ?, why = ?, priority = ?, available_at = ?, updated_at = ?, attempt_count = ?, crash_count = ?, last_error = ?,
       claim_token = ?, claimed_by = ?, lease_until = ?, instance_id = ?, tried_at = ?, tried_by = ?, completed_at = ?
 WHERE no = ? AND status = ? AND claim_token IS ?;

-- name: insert_events
INSERT INTO events (no, thread, first_seq, count, run_id, dispatch_id, created_at, v, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_journal
-- A step that is finished a second time replaces its value.
INSERT INTO journal (run, key, created_at, v, value)
VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run, key) DO UPDATE
   SET created_at = excluded.created_at, v = excluded.v, value = excluded.value;

-- name: insert_ticket
INSERT INTO tickets (no, scope, ticket_id, thread, run, agent_id, kind, tool_name, state, created_at, expires_at,
                     closed_at, v, asked)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_ticket
-- What is closed stays as it is.
UPDATE tickets
   SET state = ?, closed_at = ?, decision = ?, child_waits = ?
 WHERE no = ? AND state = 'open';

-- name: delete_tickets
-- Index: tickets_run.
DELETE FROM tickets
 WHERE run = ?;
-- name: put_state
INSERT INTO states (thread, version, updated_at, v, body)
VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (thread) DO UPDATE
   SET version = excluded.version, updated_at = excluded.updated_at, v = excluded.v, body = excluded.body;

-- name: insert_span
INSERT INTO spans (thread, event_seq, first_seq, last_seq, why, replacement_seq, replacement_id)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_errand
INSERT INTO outbox (no, scope, sender, run_id, thread_id, created_at, v, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_errand
DELETE FROM outbox
 WHERE no = ?;

-- name: insert_schedule
INSERT INTO schedules (no, scope, name, next_at, v, body)
VALUES (?, ?, ?, ?, ?, ?);

-- name: update_schedule
UPDATE schedules
   SET next_at = ?, v = ?, body = ?
 WHERE no = ?;

-- name: delete_schedule
DELETE FROM schedules
 WHERE no = ?;

-- name: delete_run
DELETE FROM runs
 WHERE no = ?;

-- name: forget_newest_run
-- A thread whose newest run is gone is listed by the newest that is left, or else by its own age.
UPDATE threads
   SET latest_run_no = (SELECT max(e.no) FROM thread_entries e WHERE e.thread = threads.no AND e.kind = 3)
 WHERE no = ? AND latest_run_no = ?;

-- name: keep_numbers
-- The numbers that have been given so far, because the rows that had the highest ones may be gone.
UPDATE numbers
   SET arrivals = ?, events = ?;

-- name: delete_first_dispatch
-- The first dispatch of a run has its number. Index: primary key.
DELETE FROM dispatches
 WHERE no = ?;

-- name: delete_later_dispatches
-- Index: dispatches_later.
DELETE FROM dispatches
 WHERE thread = ? AND message_ids IS NOT NULL AND run_id = ?;

-- name: delete_journal
DELETE FROM journal
 WHERE run = ?;

-- name: delete_message
DELETE FROM messages
 WHERE no = ?;

-- name: delete_spans
-- Index: primary key.
DELETE FROM spans
 WHERE thread = ?;

-- name: delete_state
DELETE FROM states
 WHERE thread = ?;

-- name: delete_all_later_dispatches
-- Index: dispatches_later.
DELETE FROM dispatches
 WHERE thread = ? AND message_ids IS NOT NULL;

-- name: empty_thread
-- Nothing of a deleted thread is left but this.
UPDATE threads
   SET has_rows = NULL, info = NULL, latest_run_no = NULL
 WHERE no = ?;

-- name: delete_entry
DELETE FROM thread_entries
 WHERE thread = ? AND kind = ? AND no = ?;

-- name: delete_events
DELETE FROM events
 WHERE no = ?;

-- name: keep_events_from
-- A thread's first remaining event.
UPDATE threads
   SET first_event_seq = max(first_event_seq, ?)
 WHERE no = ?;

-- ====================================================================================================================
-- Asks of rules over many threads
-- ====================================================================================================================

-- name: priorities
-- The distinct priorities of due threads of a route, most urgent first: one step of the index each.
-- Index: threads_due.
WITH RECURSIVE found (priority) AS (
    SELECT min(ready_priority) FROM threads INDEXED BY threads_due
     WHERE ready_at = 0 AND ready_route = :route
    UNION ALL
    SELECT (SELECT min(ready_priority) FROM threads INDEXED BY threads_due
             WHERE ready_at = 0 AND ready_route = :route AND ready_priority > found.priority)
      FROM found
     WHERE found.priority IS NOT NULL
)
SELECT priority FROM found WHERE priority IS NOT NULL;

-- name: due
-- Threads of one route and priority that are due at once, oldest dispatch first. Index: threads_due.
SELECT ready_priority, ready_no, scope, thread_id
  FROM threads INDEXED BY threads_due
 WHERE ready_at = 0 AND ready_route = :route AND ready_priority = :priority
 ORDER BY ready_no
 LIMIT :limit;

-- name: count_due
-- How many threads of a route are due at once. Index: threads_due.
SELECT count(*)
  FROM (SELECT 1 FROM threads INDEXED BY threads_due
         WHERE ready_at = 0 AND ready_route = :route
         LIMIT :limit);

-- name: fallen_due
-- Delayed threads of a route that have fallen due, longest first. Index: threads_delayed.
SELECT ready_priority, ready_no, scope, thread_id, ready_at
  FROM threads INDEXED BY threads_delayed
 WHERE ready_at > 0 AND ready_route = :route AND ready_at <= :now
 ORDER BY ready_at, ready_no
 LIMIT :limit;

-- name: first_due_at
-- The first instant after one at which a delayed thread of a route falls due. Index: threads_delayed.
SELECT min(ready_at)
  FROM threads INDEXED BY threads_delayed
 WHERE ready_at > 0 AND ready_route = :route AND ready_at > :after;

-- name: first_lease_end
-- The first lease end from an instant on. Index: dispatches_claimed, read whole: what is being executed.
SELECT min(lease_until)
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE status = 'claimed' AND lease_until >= :after;

-- name: first_expiry
-- The first instant from one on at which a ticket expires, of a thread that is not deleted. Index: tickets_due.
SELECT (SELECT k.expires_at
          FROM tickets k INDEXED BY tickets_due
         CROSS JOIN threads t
         WHERE k.state = 'open' AND k.expires_at IS NOT NULL AND k.expires_at >= :after
           AND t.no = k.thread AND t.deleted_at IS NULL
         ORDER BY k.expires_at
         LIMIT 1);

-- name: expired
-- Claims whose lease has ended, or all, or those of one consumer: suspects first, then longest ended. Index:
-- dispatches_claimed, read whole.
SELECT t.scope, t.thread_id, d.claimed_by
  FROM dispatches d INDEXED BY dispatches_claimed
 CROSS JOIN threads t
 WHERE d.status = 'claimed' AND t.no = d.thread
   AND CASE WHEN :consumer IS NULL THEN :abandoned OR d.lease_until < :now ELSE d.claimed_by = :consumer END
 ORDER BY d.crash_count < 2, coalesce(d.lease_until, 0), d.no
 LIMIT :limit;

-- name: suspects_held
-- Index: dispatches_claimed, read whole.
SELECT claimed_by, count(*)
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE status = 'claimed' AND crash_count >= 2
 GROUP BY claimed_by;

-- name: claimed_by_route
-- Index: dispatches_claimed, read whole.
SELECT route, count(*)
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE status = 'claimed'
 GROUP BY route;

-- name: lease
-- A claim as a renewal sees it. Index: dispatches_id, runs_id.
SELECT {dispatch_columns}, t.epoch, (SELECT cancel_requested_at FROM runs r WHERE r.run_id = d.run_id AND r.scope = d.scope)
  FROM dispatches d
 CROSS JOIN threads t
 WHERE d.dispatch_id = :dispatch_id AND d.scope = :scope AND t.no = d.thread;

-- name: errand
-- Index: primary key.
SELECT {outbox_columns}
  FROM outbox o
 WHERE o.no = :no;

-- name: schedule
-- Index: schedules_name.
SELECT {schedule_columns}
  FROM schedules s
 WHERE s.scope = :scope AND s.name = :name;

-- name: schedules
-- Index: schedules_scope.
SELECT {schedule_columns}
  FROM schedules s INDEXED BY schedules_scope
 WHERE s.scope = :scope AND s.no > :after
 ORDER BY s.no
 LIMIT :limit;

-- name: due_schedules
-- Index: schedules_due.
SELECT {schedule_columns}
  FROM schedules s INDEXED BY schedules_due
 WHERE s.next_at IS NOT NULL AND s.next_at <= :now
 ORDER BY s.next_at, s.no
 LIMIT :limit;

-- name: next_tick
-- The first instant after one at which a schedule falls due. Index: schedules_due.
SELECT min(next_at)
  FROM schedules INDEXED BY schedules_due
 WHERE next_at IS NOT NULL AND next_at > :after;

-- name: old_runs
-- Index: runs_finished, outbox_run.
SELECT r.scope, r.thread, {run_columns}
  FROM runs r INDEXED BY runs_finished
 CROSS JOIN threads t
 WHERE r.finished_at IS NOT NULL AND r.dead_lettered = 0 AND r.open_turn IS NULL AND r.open_tickets = 0
   AND r.finished_at < :before
   AND t.no = r.thread
   AND NOT EXISTS (SELECT 1 FROM outbox o INDEXED BY outbox_run
                    WHERE o.run_id IS NOT NULL AND o.run_id = r.run_id AND o.scope = r.scope)
 ORDER BY r.finished_at, r.no;

-- name: oldest_events
-- Rows of events in the order in which they were appended, behind one. Index: primary key.
SELECT e.no, e.thread, e.first_seq, e.count, e.created_at, t.scope, t.thread_id, t.first_event_seq
  FROM events e
 CROSS JOIN threads t
 WHERE e.no > :after AND t.no = e.thread
 ORDER BY e.no
 LIMIT :limit;

-- name: expiring_threads
-- Threads that were to go by now. Index: threads_expiring.
SELECT scope, thread_id
  FROM threads INDEXED BY threads_expiring
 WHERE delete_at IS NOT NULL AND delete_at <= :now
 ORDER BY delete_at, no
 LIMIT :limit;

-- name: deleted_threads
-- Deleted threads of which something is left and nothing is executed. Index: threads_deleted, read whole: it holds only
-- what the sweep has not removed yet; dispatches_claimed.
SELECT t.no, t.scope, t.thread_id
  FROM threads t INDEXED BY threads_deleted
 WHERE t.has_rows = 1
   AND NOT EXISTS (SELECT 1 FROM dispatches d INDEXED BY dispatches_claimed WHERE d.thread = t.no AND d.status = 'claimed')
 ORDER BY t.no
 LIMIT :limit;

-- name: entries_of_thread
-- What belongs to a thread. Index: thread_entries.
SELECT kind, no, row
  FROM thread_entries
 WHERE thread = :thread
 LIMIT :limit;

-- name: unplaced_messages
-- Index: messages_unplaced.
SELECT no
  FROM messages INDEXED BY messages_unplaced
 WHERE thread = :thread AND seq IS NULL
 LIMIT :limit;

-- name: first_event_of_open_runs
-- The first event of a thread's oldest unfinished run. Index: dispatches_claimed, dispatches_queue, runs_waiting, runs_id.
SELECT min(first_event_seq)
  FROM (SELECT r.first_event_seq FROM dispatches d INDEXED BY dispatches_claimed CROSS JOIN runs r
         WHERE d.thread = :thread AND d.status = 'claimed' AND r.run_id = d.run_id AND r.scope = d.scope
        UNION ALL
        SELECT r.first_event_seq FROM dispatches d INDEXED BY dispatches_queue CROSS JOIN runs r
         WHERE d.thread = :thread AND d.status = 'queued' AND r.run_id = d.run_id AND r.scope = d.scope
        UNION ALL
        SELECT first_event_seq FROM runs INDEXED BY runs_waiting
         WHERE thread = :thread AND status = 'waiting');

-- ====================================================================================================================
-- Reads
-- ====================================================================================================================

-- name: thread_by_no
-- Index: primary key.
SELECT {thread_columns}
  FROM threads t
 WHERE t.no = :no;

-- name: run_by_no
-- A run of a thread that is not deleted. Index: primary key.
SELECT {run_columns}
  FROM runs r
 CROSS JOIN threads t
 WHERE r.no = :no AND t.no = r.thread AND t.deleted_at IS NULL;

-- name: shown_run
-- As `run`, of a thread that is not deleted. Index: runs_id.
SELECT {run_columns}
  FROM runs r
 CROSS JOIN threads t
 WHERE r.run_id = :run_id AND r.scope = :scope AND t.no = r.thread AND t.deleted_at IS NULL;

-- name: summarize_runs
-- Unfinished runs in one phase, at most `limit`, by agent and by what their dispatch is; and since when the first of
-- those that are due waits. Index: runs_open, dispatches_id; what they lead to is read whole, up to the limit.
SELECT r.agent_id, r.started_at IS NOT NULL, d.status, count(*), min(iif(d.available_at <= :now, d.available_at, NULL))
  FROM (SELECT agent_id, started_at, dispatch_id, scope, thread
          FROM runs INDEXED BY runs_open
         WHERE scope = :scope AND status = :status AND status <> 'done'
         LIMIT :limit) r
 CROSS JOIN threads t
  LEFT JOIN dispatches d ON d.dispatch_id = r.dispatch_id AND d.scope = r.scope
 WHERE t.no = r.thread AND t.deleted_at IS NULL
 GROUP BY 1, 2, 3;

-- name: head_of_queue
-- The run that a thread's queue begins with, due or not. Index: dispatches_queue.
SELECT run_id
  FROM dispatches INDEXED BY dispatches_queue
 WHERE thread = :thread AND status = 'queued'
 ORDER BY priority, position
 LIMIT 1;

-- name: agents
-- The distinct agents of a scope's runs: one step of the index each. Index: runs_agent.
WITH RECURSIVE found (agent_id) AS (
    SELECT min(agent_id) FROM runs INDEXED BY runs_agent
     WHERE scope = :scope
    UNION ALL
    SELECT (SELECT min(agent_id) FROM runs INDEXED BY runs_agent
             WHERE scope = :scope AND agent_id > found.agent_id)
      FROM found
     WHERE found.agent_id IS NOT NULL
)
SELECT agent_id FROM found WHERE agent_id IS NOT NULL;

-- name: open_agents
-- The distinct agents of a scope's unfinished runs in one phase. Index: runs_open.
WITH RECURSIVE found (agent_id) AS (
    SELECT min(agent_id) FROM runs INDEXED BY runs_open
     WHERE scope = :scope AND status = :status AND status <> 'done'
    UNION ALL
    SELECT (SELECT min(agent_id) FROM runs INDEXED BY runs_open
             WHERE scope = :scope AND status = :status AND status <> 'done' AND agent_id > found.agent_id)
      FROM found
     WHERE found.agent_id IS NOT NULL
)
SELECT agent_id FROM found WHERE agent_id IS NOT NULL;

-- name: runs_of_agent_up
-- Index: runs_agent.
SELECT no
  FROM runs INDEXED BY runs_agent
 WHERE scope = :scope AND agent_id = :agent_id AND no > :after
 ORDER BY no;

-- name: runs_of_agent_down
-- Index: runs_agent.
SELECT no
  FROM runs INDEXED BY runs_agent
 WHERE scope = :scope AND agent_id = :agent_id AND no < :after
 ORDER BY no DESC;

-- name: dead_runs
-- Index: runs_dead.
SELECT no
  FROM runs INDEXED BY runs_dead
 WHERE scope = :scope AND dead_lettered = 1 AND no < :after
 ORDER BY no DESC;

-- name: open_runs_up
-- Index: runs_open.
SELECT no
  FROM runs INDEXED BY runs_open
 WHERE scope = :scope AND status = :status AND status <> 'done' AND agent_id = :agent_id AND no > :after
 ORDER BY no;

-- name: open_runs_down
-- Index: runs_open.
SELECT no
  FROM runs INDEXED BY runs_open
 WHERE scope = :scope AND status = :status AND status <> 'done' AND agent_id = :agent_id AND no < :after
 ORDER BY no DESC;

-- name: runs_of_thread_up
-- Index: thread_entries.
SELECT no
  FROM thread_entries
 WHERE thread = :thread AND kind = 3 AND no > :after
 ORDER BY no;

-- name: runs_of_thread_down
-- Index: thread_entries.
SELECT no
  FROM thread_entries
 WHERE thread = :thread AND kind = 3 AND no < :after
 ORDER BY no DESC;

-- name: count_open_runs
-- Index: runs_open.
SELECT count(*)
  FROM (SELECT 1 FROM runs INDEXED BY runs_open
         WHERE scope = :scope AND status = :status AND status <> 'done' AND agent_id = :agent_id
         LIMIT :limit);

-- name: is_newest_run
-- The thread of a run, if that is the thread's newest one. Index: primary keys.
SELECT r.thread
  FROM runs r
 CROSS JOIN threads t
 WHERE r.no = :no AND t.no = r.thread AND t.latest_run_no = r.no;

-- name: unused_threads_up
-- Index: threads_unused.
SELECT no
  FROM threads INDEXED BY threads_unused
 WHERE scope = :scope AND latest_run_no IS NULL AND no > :after
 ORDER BY no;

-- name: unused_threads_down
-- Index: threads_unused.
SELECT no
  FROM threads INDEXED BY threads_unused
 WHERE scope = :scope AND latest_run_no IS NULL AND no < :after
 ORDER BY no DESC;

-- name: threads_of_resource
-- The threads that belong to somebody, with what orders them. Index: threads_resource.
SELECT no, coalesce(latest_run_no, no)
  FROM threads INDEXED BY threads_resource
 WHERE scope = :scope AND info ->> '$.resource_id' = :resource_id AND info IS NOT NULL
 LIMIT :limit;

-- name: threads_of_parent
-- The threads whose parent it is, with what orders them. Index: threads_parent.
SELECT no, coalesce(latest_run_no, no)
  FROM threads INDEXED BY threads_parent
 WHERE scope = :scope AND info ->> '$.parent_thread_id' = :parent AND info ->> '$.parent_thread_id' IS NOT NULL
 LIMIT :limit;

-- name: later_dispatches
-- The dispatches of a thread that are not the first of their run, which has the run's number. Index: dispatches_later.
SELECT no
  FROM dispatches INDEXED BY dispatches_later
 WHERE thread = :thread AND message_ids IS NOT NULL AND no > :after
 ORDER BY no;

-- name: dispatch_by_no
-- Index: primary key.
SELECT {dispatch_columns}
  FROM dispatches d
 CROSS JOIN threads t
 WHERE d.no = :no AND t.no = d.thread;

-- name: newest_dispatch
-- Of a run, in a thread that is not deleted. Index: primary key, dispatches_id.
SELECT {dispatch_columns}
  FROM runs r
 CROSS JOIN dispatches d
 CROSS JOIN threads t
 WHERE r.no = :no AND d.dispatch_id = r.dispatch_id AND d.scope = r.scope AND d.run_id = r.run_id
   AND t.no = r.thread AND t.deleted_at IS NULL;

-- name: claims_of_consumer
-- Index: dispatches_claimed, read whole: what is being executed.
SELECT d.scope, {dispatch_columns}
  FROM dispatches d INDEXED BY dispatches_claimed
 CROSS JOIN threads t
 WHERE d.status = 'claimed' AND d.claimed_by = :consumer AND d.no > :after AND t.no = d.thread
 ORDER BY d.no;

-- name: due_routes
-- The distinct routes of due threads: one step of the index each. Index: threads_due.
WITH RECURSIVE found (route) AS (
    SELECT min(ready_route) FROM threads INDEXED BY threads_due
     WHERE ready_at = 0
    UNION ALL
    SELECT (SELECT min(ready_route) FROM threads INDEXED BY threads_due
             WHERE ready_at = 0 AND ready_route > found.route)
      FROM found
     WHERE found.route IS NOT NULL
)
SELECT route FROM found WHERE route IS NOT NULL;

-- name: delayed_routes
-- The distinct routes of delayed threads: one step of the index each. Index: threads_delayed.
WITH RECURSIVE found (route) AS (
    SELECT min(ready_route) FROM threads INDEXED BY threads_delayed
     WHERE ready_at > 0
    UNION ALL
    SELECT (SELECT min(ready_route) FROM threads INDEXED BY threads_delayed
             WHERE ready_at > 0 AND ready_route > found.route)
      FROM found
     WHERE found.route IS NOT NULL
)
SELECT route FROM found WHERE route IS NOT NULL;

-- name: count_queued
-- Index: dispatches_queue.
SELECT count(*)
  FROM (SELECT 1 FROM dispatches INDEXED BY dispatches_queue WHERE status = 'queued' LIMIT :limit);

-- name: count_claimed
-- Index: dispatches_claimed.
SELECT count(*)
  FROM (SELECT 1 FROM dispatches INDEXED BY dispatches_claimed WHERE status = 'claimed' LIMIT :limit);

-- name: count_acked
-- Among the newest `rows` dispatches, in the order of the table: so many that those to be counted must be among them,
-- unless very many have another status.
SELECT count(*)
  FROM (SELECT 1
          FROM (SELECT status FROM dispatches ORDER BY no DESC LIMIT :rows)
         WHERE status = 'acked'
         LIMIT :limit);

-- name: count_closed
-- Index: dispatches_closed.
SELECT count(*)
  FROM (SELECT 1 FROM dispatches INDEXED BY dispatches_closed
         WHERE status = :status AND (status = 'cancelled' OR status = 'superseded' OR status = 'dead_letter')
         LIMIT :limit);

-- name: log_forward
-- A window of a thread's log. Index: thread_entries.
SELECT {message_columns}
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND e.no > :after AND e.no < :before AND m.no = e.row
   AND (:internal IS NULL OR m.internal = :internal)
   AND (:run_id IS NULL OR m.run_id = :run_id)
 ORDER BY e.no
 LIMIT :limit;

-- name: log_backward
-- As `log_forward`, newest first. Index: thread_entries.
SELECT {message_columns}
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND e.no > :after AND e.no < :before AND m.no = e.row
   AND (:internal IS NULL OR m.internal = :internal)
   AND (:run_id IS NULL OR m.run_id = :run_id)
 ORDER BY e.no DESC
 LIMIT :limit;

-- name: ticket_by_no
-- A ticket of a thread that is not deleted. Index: primary keys.
SELECT {ticket_columns}
  FROM tickets k
 CROSS JOIN runs r
 CROSS JOIN threads t
 WHERE k.no = :no AND r.no = k.run AND t.no = k.thread AND t.deleted_at IS NULL;

-- name: shown_ticket
-- As `ticket`, of a thread that is not deleted. Index: tickets_id.
SELECT {ticket_columns}
  FROM tickets k
 CROSS JOIN runs r
 CROSS JOIN threads t
 WHERE k.ticket_id = :ticket_id AND k.scope = :scope AND r.no = k.run AND t.no = k.thread AND t.deleted_at IS NULL;

-- name: tickets_of_run_up
-- Index: tickets_run.
SELECT no
  FROM tickets INDEXED BY tickets_run
 WHERE run = :run AND no > :after
 ORDER BY no;

-- name: tickets_of_run_down
-- Index: tickets_run.
SELECT no
  FROM tickets INDEXED BY tickets_run
 WHERE run = :run AND no < :after
 ORDER BY no DESC;

-- name: tickets_of_thread_up
-- Those in one state. Index: tickets_thread.
SELECT no
  FROM tickets INDEXED BY tickets_thread
 WHERE thread = :thread AND state = :state AND no > :after
 ORDER BY no;

-- name: tickets_of_thread_down
-- Those in one state. Index: tickets_thread.
SELECT no
  FROM tickets INDEXED BY tickets_thread
 WHERE thread = :thread AND state = :state AND no < :after
 ORDER BY no DESC;

-- name: tickets_up
-- Those in one state. Index: tickets_state.
SELECT no
  FROM tickets INDEXED BY tickets_state
 WHERE scope = :scope AND state = :state AND no > :after
 ORDER BY no;

-- name: tickets_down
-- Those in one state. Index: tickets_state.
SELECT no
  FROM tickets INDEXED BY tickets_state
 WHERE scope = :scope AND state = :state AND no < :after
 ORDER BY no DESC;

-- name: open_tickets_of_agent_up
-- Index: tickets_agent.
SELECT no
  FROM tickets INDEXED BY tickets_agent
 WHERE scope = :scope AND agent_id = :agent_id AND state = 'open' AND no > :after
 ORDER BY no;

-- name: open_tickets_of_agent_down
-- Index: tickets_agent.
SELECT no
  FROM tickets INDEXED BY tickets_agent
 WHERE scope = :scope AND agent_id = :agent_id AND state = 'open' AND no < :after
 ORDER BY no DESC;

-- name: open_tickets_of_kind_up
-- Index: tickets_kind.
SELECT no
  FROM tickets INDEXED BY tickets_kind
 WHERE scope = :scope AND kind = :kind AND state = 'open' AND no > :after
 ORDER BY no;

-- name: open_tickets_of_kind_down
-- Index: tickets_kind.
SELECT no
  FROM tickets INDEXED BY tickets_kind
 WHERE scope = :scope AND kind = :kind AND state = 'open' AND no < :after
 ORDER BY no DESC;

-- name: open_tickets_of_tool_up
-- Index: tickets_tool.
SELECT no
  FROM tickets INDEXED BY tickets_tool
 WHERE scope = :scope AND tool_name = :tool_name AND state = 'open' AND no > :after
 ORDER BY no;

-- name: open_tickets_of_tool_down
-- Index: tickets_tool.
SELECT no
  FROM tickets INDEXED BY tickets_tool
 WHERE scope = :scope AND tool_name = :tool_name AND state = 'open' AND no < :after
 ORDER BY no DESC;

-- name: tickets_expiring
-- Open tickets of a scope, or of all, that expire before an instant; first those that do first. None of a thread that
-- is deleted. Index: tickets_due.
SELECT k.no
  FROM tickets k INDEXED BY tickets_due
 CROSS JOIN threads t
 WHERE k.state = 'open' AND k.expires_at IS NOT NULL AND k.expires_at < :before
   AND (:scope IS NULL OR k.scope = :scope) AND t.no = k.thread AND t.deleted_at IS NULL
 ORDER BY k.expires_at, k.no
 LIMIT :limit;

-- name: overdue_ticket
-- Index: primary keys.
SELECT k.scope, {ticket_columns}
  FROM tickets k
 CROSS JOIN runs r
 CROSS JOIN threads t
 WHERE k.no = :no AND r.no = k.run AND t.no = k.thread;

-- name: count_waiting_tickets
-- The open tickets by kind, and when the first of each was opened. Index: tickets_kind, read whole, or as far as it goes.
SELECT w.kind, w.found, t.created_at
  FROM (SELECT kind, count(*) AS found, min(no) AS first
          FROM (SELECT kind, no FROM tickets INDEXED BY tickets_kind WHERE state = 'open' LIMIT :limit)
         GROUP BY kind) w
 CROSS JOIN tickets t
 WHERE t.no = w.first
 ORDER BY w.kind;

-- name: count_open_tickets
-- Of a thread. Index: tickets_thread.
SELECT count(*)
  FROM tickets INDEXED BY tickets_thread
 WHERE thread = :thread AND state = 'open';

-- name: pending_messages
-- What waits for a run of a thread, with its content. Index: messages_pending.
SELECT {pending_columns}, {message_columns}
  FROM messages m INDEXED BY messages_pending
 WHERE m.thread = :thread AND m.position IS NOT NULL
 ORDER BY m.position;

-- name: receipt
-- Index: messages_id.
SELECT m.boundary IS NOT NULL, m.settled_at, {message_columns}
  FROM messages m
 WHERE m.message_id = :message_id AND m.thread = :thread;

-- name: threads_of_message
-- Index: messages_id, primary key.
SELECT t.thread_id
  FROM messages m
 CROSS JOIN threads t
 WHERE m.message_id = :message_id AND t.no = m.thread AND t.scope = :scope AND t.deleted_at IS NULL
 LIMIT :limit;

-- name: message_by_seq
-- Index: thread_entries.
SELECT {message_columns}
  FROM thread_entries e
 CROSS JOIN messages m
 WHERE e.thread = :thread AND e.kind = 2 AND e.no = :seq AND m.no = e.row;

-- name: journal
-- Index: runs_id, primary key.
SELECT j.key, j.v, j.value
  FROM runs r
 CROSS JOIN journal j
 WHERE r.run_id = :run_id AND r.scope = :scope AND j.run = r.no
 ORDER BY j.key;

-- name: events_from
-- The event rows of a thread, beginning with the one that holds `first`. Index: thread_entries.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM thread_entries e
 CROSS JOIN events v
 WHERE e.thread = :thread AND e.kind = 1 AND v.no = e.row
   AND e.no >= coalesce((SELECT max(no) FROM thread_entries WHERE thread = :thread AND kind = 1 AND no <= :first), 0)
 ORDER BY e.no;

-- name: events_of_run
-- As `events_from` for one run: between the event it was queued with and, once it is done, the one that ended it, and up
-- to the seq `last`.
-- Index: runs_id, thread_entries.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM runs r
 CROSS JOIN thread_entries e
 CROSS JOIN events v
 WHERE r.run_id = :run_id AND r.scope = :scope AND r.thread = :thread
   AND e.thread = :thread AND e.kind = 1 AND v.no = e.row AND v.run_id = :run_id
   AND e.no >= max(r.first_event_seq, coalesce(
           (SELECT max(no) FROM thread_entries WHERE thread = :thread AND kind = 1 AND no <= :first), 0))
   AND e.no <= CASE r.status WHEN 'done' THEN r.updated_seq ELSE 9223372036854775807 END
   AND e.no <= :last
 ORDER BY e.no;

-- name: last_events_of_run
-- The newest row of a run between the seqs `first` and `last`. Index: thread_entries.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM thread_entries e
 CROSS JOIN events v
 WHERE e.thread = :thread AND e.kind = 1 AND e.no BETWEEN :first AND :last
   AND v.no = e.row AND v.run_id = :run_id
 ORDER BY e.no DESC
 LIMIT 1;

-- name: outbox
-- Errands that are not known to be delivered. Index: primary key.
SELECT {outbox_columns}
  FROM outbox o
 WHERE o.no > :after
 ORDER BY o.no
 LIMIT :limit;

-- name: outbox_of_lane
-- As `outbox`, of one sender for one thread. Index: outbox_lane.
SELECT {outbox_columns}
  FROM outbox o INDEXED BY outbox_lane
 WHERE o.scope = :scope AND o.sender = :sender AND o.thread_id = :thread_id AND o.no > :after
 ORDER BY o.no
 LIMIT :limit;

-- ====================================================================================================================
-- Inspection, which reads whole tables
-- ====================================================================================================================

-- name: sizes
-- Bytes by table, its indexes included.
SELECT s.tbl_name, sum(d.pgsize)
  FROM dbstat d
  JOIN sqlite_schema s ON s.name = d.name
 GROUP BY s.tbl_name;

-- name: old
-- What a retention would remove now, and what it leaves alone. Index: runs_finished, dispatches_closed; events are read whole.
SELECT (SELECT count(*) FROM runs INDEXED BY runs_finished
         WHERE finished_at IS NOT NULL AND dead_lettered = 0 AND open_turn IS NULL AND open_tickets = 0
           AND finished_at < :runs_before),
       (SELECT coalesce(sum(count), 0) FROM events WHERE created_at < :events_before),
       (SELECT count(*) FROM dispatches INDEXED BY dispatches_closed
         WHERE status = 'dead_letter');

-- name: count_threads
SELECT count(*) FROM threads;

-- name: count_messages
SELECT count(*) FROM messages;

-- name: count_runs
SELECT count(*) FROM runs;

-- name: count_dispatches
SELECT count(*) FROM dispatches;

-- name: count_events
SELECT coalesce(sum(count), 0) FROM events;

-- name: count_journal
SELECT count(*) FROM journal;

-- name: count_tickets
SELECT count(*) FROM tickets;

-- name: count_thread_entries
SELECT count(*) FROM thread_entries;
