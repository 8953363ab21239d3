-- The statements of the SQLite store, in the order: facts of a transition, writes, sets of threads, reads.
-- Writes take their values by position, because they run for many rows at once; everything else by name.

-- ====================================================================================================================
-- Facts
-- ====================================================================================================================

-- name: data_version
-- Changes when another connection has committed something.
PRAGMA data_version;

-- name: threads
-- Thread rows by id, `thread_ids` being a JSON array. Index: primary key.
SELECT t.scope, t.thread_id, t.epoch, t.message_seq, t.event_seq, t.position, t.queued, t.ready_priority, t.ready_at,
       t.open_turn, t.latest_run_id, t.created_at, t.updated_at, t.v, t.info
  FROM json_each(:thread_ids) wanted
 CROSS JOIN threads t
 WHERE t.scope = :scope AND t.thread_id = wanted.value;

-- name: claimed_of_threads
-- The claimed dispatches of several threads. Index: dispatches_claimed.
SELECT d.dispatch_id, d.thread_id, d.run_id, d.status, d.priority, d.position, d.epoch, d.available_at, d.created_at,
       d.updated_at, d.max_attempts, d.attempt_count, d.dedupe_key, d.last_error, d.claim_token, d.claimed_by,
       d.lease_until, d.instance_id, d.completed_at, d.v
  FROM json_each(:thread_ids) wanted
 CROSS JOIN dispatches d INDEXED BY dispatches_claimed
 WHERE d.scope = :scope AND d.thread_id = wanted.value AND d.status = 'claimed';

-- name: run
-- Index: primary key.
SELECT run_id, thread_id, agent_id, dispatch_id, status, created_at, updated_at, first_event_seq, updated_seq,
       cancel_requested_at, v, request, state_v, state
  FROM runs
 WHERE scope = :scope AND run_id = :run_id;

-- name: dispatch
-- Index: primary key.
SELECT dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at, created_at, updated_at,
       max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by, lease_until, instance_id,
       completed_at, v
  FROM dispatches
 WHERE scope = :scope AND dispatch_id = :dispatch_id;

-- name: message
-- A message of a thread, in the log or not. Index: the unique one of the table.
SELECT message_id, seq, run_id, created_at, v, body
  FROM messages
 WHERE scope = :scope AND message_id = :message_id AND thread_id = :thread_id;

-- name: holder_of_dedupe_key
-- The open dispatch that holds a key. Index: dispatches_dedupe.
SELECT dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at, created_at, updated_at,
       max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by, lease_until, instance_id,
       completed_at, v
  FROM dispatches
 WHERE scope = :scope AND thread_id = :thread_id AND dedupe_key = :dedupe_key
   AND dedupe_key IS NOT NULL AND status IN ('queued', 'claimed');

-- name: next_due
-- The dispatch a free thread runs next. Index: dispatches_queue.
SELECT dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at, created_at, updated_at,
       max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by, lease_until, instance_id,
       completed_at, v
  FROM dispatches INDEXED BY dispatches_queue
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'queued' AND available_at <= :now
 ORDER BY priority, position
 LIMIT 1;

-- name: best_due
-- The scheduling key of a queue, one dispatch left out, if something in it is due. Index: dispatches_due.
SELECT priority, available_at
  FROM dispatches INDEXED BY dispatches_due
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'queued' AND available_at <= :now
   AND dispatch_id <> :without
 ORDER BY priority, available_at
 LIMIT 1;

-- name: best_later
-- The same if nothing in it is due. Index: dispatches_due, read whole: the queue of one thread.
SELECT priority, available_at
  FROM dispatches INDEXED BY dispatches_due
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'queued' AND dispatch_id <> :without
 ORDER BY available_at, priority
 LIMIT 1;

-- name: queue
-- The whole queue of a thread in claim order. Index: dispatches_queue.
SELECT dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at, created_at, updated_at,
       max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by, lease_until, instance_id,
       completed_at, v
  FROM dispatches INDEXED BY dispatches_queue
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'queued'
 ORDER BY priority, position;

-- name: log_tail
-- The log of a thread from a seq on. Index: messages_log.
SELECT message_id, seq, run_id, created_at, v, body
  FROM messages
 WHERE scope = :scope AND thread_id = :thread_id AND seq >= :from_seq
 ORDER BY seq;

-- ====================================================================================================================
-- Writes. A count of changed rows that differs from the rows given means that a guard held: the batch is replayed.
-- ====================================================================================================================

-- name: insert_thread
INSERT INTO threads (scope, thread_id, epoch, message_seq, event_seq, position, queued, ready_priority, ready_at,
                     open_turn, latest_run_id, created_at, updated_at, v, info)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_thread
UPDATE threads
   SET epoch = ?, message_seq = ?, event_seq = ?, position = ?, queued = ?, ready_priority = ?, ready_at = ?,
       open_turn = ?, latest_run_id = ?, updated_at = ?
 WHERE scope = ? AND thread_id = ?;

-- name: update_thread_info
UPDATE threads
   SET info = ?, v = ?
 WHERE scope = ? AND thread_id = ?;

-- name: insert_message
INSERT INTO messages (scope, thread_id, message_id, seq, run_id, visibility, created_at, v, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: append_message
-- Give an accepted message its place in the log, once.
UPDATE messages
   SET seq = ?
 WHERE scope = ? AND message_id = ? AND thread_id = ? AND seq IS NULL;

-- name: insert_run
INSERT INTO runs (scope, run_id, thread_id, agent_id, dispatch_id, status, created_at, updated_at, first_event_seq,
                  updated_seq, cancel_requested_at, v, request, state_v, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_run
-- What a run was asked to do, by whom and when it was created never changes.
UPDATE runs
   SET status = ?, updated_at = ?, updated_seq = ?, cancel_requested_at = ?, state_v = ?, state = ?
 WHERE scope = ? AND run_id = ?;

-- name: insert_dispatch
INSERT INTO dispatches (scope, dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at,
                        created_at, updated_at, max_attempts, attempt_count, dedupe_key, last_error, claim_token,
                        claimed_by, lease_until, instance_id, completed_at, v)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_dispatch
-- Only from the state it was read in: the status and the claim token are the fence.
UPDATE dispatches
   SET status = ?, available_at = ?, updated_at = ?, attempt_count = ?, last_error = ?, claim_token = ?,
       claimed_by = ?, lease_until = ?, instance_id = ?, completed_at = ?
 WHERE scope = ? AND dispatch_id = ? AND status = ? AND claim_token IS ?;

-- name: insert_events
INSERT INTO events (scope, thread_id, first_seq, count, run_id, created_at, v, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_journal
-- A step that is finished a second time replaces its value.
INSERT INTO journal (scope, run_id, key, created_at, v, value)
VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (scope, run_id, key) DO UPDATE
   SET created_at = excluded.created_at, v = excluded.v, value = excluded.value;

-- name: delete_dispatch
DELETE FROM dispatches
 WHERE scope = ? AND dispatch_id = ?;

-- name: delete_journal
DELETE FROM journal
 WHERE scope = ? AND run_id = ?;

-- ====================================================================================================================
-- Sets of threads
-- ====================================================================================================================

-- name: ready_priorities
-- The distinct priorities of threads that wait to be claimed, most urgent first: one step of the index each, so that
-- many threads of one priority that are not due yet cost nothing. Index: threads_ready.
WITH RECURSIVE each (priority) AS (
    SELECT min(ready_priority) FROM threads WHERE ready_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(ready_priority) FROM threads WHERE ready_at IS NOT NULL AND ready_priority > each.priority)
      FROM each
     WHERE each.priority IS NOT NULL
)
SELECT priority FROM each WHERE priority IS NOT NULL;

-- name: due_threads
-- The due threads of one priority, longest due first, after the given one. Index: threads_ready.
SELECT ready_at, thread_id, scope
  FROM threads INDEXED BY threads_ready
 WHERE ready_priority = :priority AND ready_at <= :now AND ready_at IS NOT NULL
   AND (ready_at, thread_id, scope) > (:after_ready_at, :after_thread_id, :after_scope)
 ORDER BY ready_at, thread_id, scope
 LIMIT :limit;

-- name: count_due
-- How many threads of one priority are due, counted up to a limit. Index: threads_ready.
SELECT count(*)
  FROM (SELECT 1
          FROM threads INDEXED BY threads_ready
         WHERE ready_priority = :priority AND ready_at <= :now AND ready_at IS NOT NULL
         LIMIT :limit);

-- name: first_ready_at
-- When the first thread of a priority falls due after an instant. Index: threads_ready.
SELECT min(ready_at)
  FROM threads INDEXED BY threads_ready
 WHERE ready_priority = :priority AND ready_at > :after AND ready_at IS NOT NULL;

-- name: first_lease_end
-- The first lease to end not before an instant. Index: dispatches_claimed, read whole: only what is being executed is
-- in it.
SELECT min(lease_until)
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE status = 'claimed' AND lease_until >= :after;

-- name: expired_claims
-- Claims whose lease has ended, longest expired first; all of them when `abandoned`. Index: dispatches_claimed.
SELECT scope, thread_id
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE status = 'claimed' AND (:abandoned OR lease_until < :now)
 ORDER BY lease_until, dispatch_id, scope
 LIMIT :limit;

-- name: leases
-- Claims by dispatch id, a JSON array, with the epoch of their thread and whether their run is to stop.
-- Index: primary keys.
SELECT d.dispatch_id, d.thread_id, d.run_id, d.status, d.priority, d.position, d.epoch, d.available_at, d.created_at,
       d.updated_at, d.max_attempts, d.attempt_count, d.dedupe_key, d.last_error, d.claim_token, d.claimed_by,
       d.lease_until, d.instance_id, d.completed_at, d.v, t.epoch, r.cancel_requested_at
  FROM json_each(:dispatch_ids) wanted
 CROSS JOIN dispatches d
  LEFT JOIN threads t ON t.scope = :scope AND t.thread_id = d.thread_id
  LEFT JOIN runs r ON r.scope = :scope AND r.run_id = d.run_id
 WHERE d.scope = :scope AND d.dispatch_id = wanted.value;

-- name: purgeable
-- Dispatches that ended before an instant, oldest first. Index: dispatches_finished.
SELECT scope, dispatch_id, run_id
  FROM dispatches INDEXED BY dispatches_finished
 WHERE completed_at IS NOT NULL AND updated_at < :before
 ORDER BY updated_at, dispatch_id, scope
 LIMIT :limit;

-- ====================================================================================================================
-- Reads
-- ====================================================================================================================

-- name: thread
-- Index: primary key.
SELECT scope, thread_id, epoch, message_seq, event_seq, position, queued, ready_priority, ready_at, open_turn,
       latest_run_id, created_at, updated_at, v, info
  FROM threads
 WHERE scope = :scope AND thread_id = :thread_id;

-- name: threads_recent_first
-- Reads every thread of the scope and keeps the page: see the schema for why there is no index.
SELECT scope, thread_id, epoch, message_seq, event_seq, position, queued, ready_priority, ready_at, open_turn,
       latest_run_id, created_at, updated_at, v, info
  FROM threads
 WHERE scope = :scope
   AND (:after_at IS NULL OR updated_at < :after_at OR (updated_at = :after_at AND thread_id > :after_id))
   AND substr(thread_id, 1, length(:id_prefix)) = :id_prefix
   AND (:resource_id IS NULL OR info ->> '$.resource_id' = :resource_id)
 ORDER BY updated_at DESC, thread_id
 LIMIT :limit;

-- name: threads_recent_last
-- As `threads_recent_first`, the other way round.
SELECT scope, thread_id, epoch, message_seq, event_seq, position, queued, ready_priority, ready_at, open_turn,
       latest_run_id, created_at, updated_at, v, info
  FROM threads
 WHERE scope = :scope
   AND (:after_at IS NULL OR updated_at > :after_at OR (updated_at = :after_at AND thread_id > :after_id))
   AND substr(thread_id, 1, length(:id_prefix)) = :id_prefix
   AND (:resource_id IS NULL OR info ->> '$.resource_id' = :resource_id)
 ORDER BY updated_at, thread_id
 LIMIT :limit;

-- name: active_of_thread
-- The claimed dispatch of a thread. Index: dispatches_claimed.
SELECT dispatch_id, thread_id, run_id, status, priority, position, epoch, available_at, created_at, updated_at,
       max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by, lease_until, instance_id,
       completed_at, v
  FROM dispatches INDEXED BY dispatches_claimed
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'claimed';

-- name: head_of_queue
-- The run that a thread's queue begins with, due or not. Index: dispatches_queue.
SELECT run_id
  FROM dispatches INDEXED BY dispatches_queue
 WHERE scope = :scope AND thread_id = :thread_id AND status = 'queued'
 ORDER BY priority, position
 LIMIT 1;

-- name: latest_run
-- The run of a thread that was written last. Index: primary keys.
SELECT r.run_id, r.thread_id, r.agent_id, r.dispatch_id, r.status, r.created_at, r.updated_at, r.first_event_seq,
       r.updated_seq, r.cancel_requested_at, r.v, r.request, r.state_v, r.state
  FROM threads t
 CROSS JOIN runs r
 WHERE t.scope = :scope AND t.thread_id = :thread_id
   AND r.scope = :scope AND r.run_id = t.latest_run_id;

-- name: runs_oldest_first
-- Index: runs_created.
SELECT run_id, thread_id, agent_id, dispatch_id, status, created_at, updated_at, first_event_seq, updated_seq,
       cancel_requested_at, v, request, state_v, state
  FROM runs INDEXED BY runs_created
 WHERE scope = :scope AND created_at >= :after_at AND (created_at, run_id) > (:after_at, :after_id)
   AND (:status IS NULL OR status = :status)
   AND (:agent_id IS NULL OR agent_id = :agent_id)
   AND substr(thread_id, 1, length(:thread_id_prefix)) = :thread_id_prefix
 ORDER BY created_at, run_id
 LIMIT :limit;

-- name: runs_newest_first
-- Newest first; runs created in the same millisecond by id. Index: runs_created.
SELECT run_id, thread_id, agent_id, dispatch_id, status, created_at, updated_at, first_event_seq, updated_seq,
       cancel_requested_at, v, request, state_v, state
  FROM runs INDEXED BY runs_created
 WHERE scope = :scope AND created_at <= :after_at AND (created_at < :after_at OR run_id > :after_id)
   AND (:status IS NULL OR status = :status)
   AND (:agent_id IS NULL OR agent_id = :agent_id)
   AND substr(thread_id, 1, length(:thread_id_prefix)) = :thread_id_prefix
 ORDER BY created_at DESC, run_id
 LIMIT :limit;

-- name: runs_of_thread_oldest_first
-- Found through the messages they brought: linear in the thread. Index: messages_log, primary key.
SELECT r.run_id, r.thread_id, r.agent_id, r.dispatch_id, r.status, r.created_at, r.updated_at, r.first_event_seq,
       r.updated_seq, r.cancel_requested_at, r.v, r.request, r.state_v, r.state
  FROM (SELECT DISTINCT run_id FROM messages INDEXED BY messages_log
         WHERE scope = :scope AND thread_id = :thread_id AND run_id IS NOT NULL) brought
 CROSS JOIN runs r
 WHERE r.scope = :scope AND r.run_id = brought.run_id AND (r.created_at, r.run_id) > (:after_at, :after_id)
   AND (:status IS NULL OR r.status = :status)
   AND (:agent_id IS NULL OR r.agent_id = :agent_id)
   AND substr(r.thread_id, 1, length(:thread_id_prefix)) = :thread_id_prefix
 ORDER BY r.created_at, r.run_id
 LIMIT :limit;

-- name: runs_of_thread_newest_first
-- As `runs_of_thread_oldest_first`, the other way round.
SELECT r.run_id, r.thread_id, r.agent_id, r.dispatch_id, r.status, r.created_at, r.updated_at, r.first_event_seq,
       r.updated_seq, r.cancel_requested_at, r.v, r.request, r.state_v, r.state
  FROM (SELECT DISTINCT run_id FROM messages INDEXED BY messages_log
         WHERE scope = :scope AND thread_id = :thread_id AND run_id IS NOT NULL) brought
 CROSS JOIN runs r
 WHERE r.scope = :scope AND r.run_id = brought.run_id
   AND (r.created_at < :after_at OR (r.created_at = :after_at AND r.run_id > :after_id))
   AND (:status IS NULL OR r.status = :status)
   AND (:agent_id IS NULL OR r.agent_id = :agent_id)
   AND substr(r.thread_id, 1, length(:thread_id_prefix)) = :thread_id_prefix
 ORDER BY r.created_at DESC, r.run_id
 LIMIT :limit;

-- name: dispatches_of_thread
-- Found through the thread's runs, each of which names its dispatch. Index: messages_log, primary keys.
SELECT d.dispatch_id, d.thread_id, d.run_id, d.status, d.priority, d.position, d.epoch, d.available_at, d.created_at,
       d.updated_at, d.max_attempts, d.attempt_count, d.dedupe_key, d.last_error, d.claim_token, d.claimed_by,
       d.lease_until, d.instance_id, d.completed_at, d.v
  FROM (SELECT DISTINCT run_id FROM messages INDEXED BY messages_log
         WHERE scope = :scope AND thread_id = :thread_id AND run_id IS NOT NULL) brought
 CROSS JOIN runs r
 CROSS JOIN dispatches d
 WHERE r.scope = :scope AND r.run_id = brought.run_id AND (:run_id IS NULL OR r.run_id = :run_id)
   AND d.scope = :scope AND d.dispatch_id = r.dispatch_id AND d.run_id = r.run_id
   AND (:statuses IS NULL OR d.status IN (SELECT value FROM json_each(:statuses)))
 ORDER BY d.priority, d.position
 LIMIT :limit OFFSET :offset;

-- name: count_dispatches
-- Reads every dispatch that retention has left.
SELECT status, count(*)
  FROM dispatches
 GROUP BY status;

-- name: log_forward
-- A window of a thread's log. Index: messages_log.
SELECT message_id, seq, run_id, created_at, v, body
  FROM messages INDEXED BY messages_log
 WHERE scope = :scope AND thread_id = :thread_id AND seq > :after AND seq < :before
   AND (:visibility IS NULL OR visibility = :visibility)
   AND (:run_id IS NULL OR run_id = :run_id)
 ORDER BY seq
 LIMIT :limit;

-- name: log_backward
-- As `log_forward`, newest first. Index: messages_log.
SELECT message_id, seq, run_id, created_at, v, body
  FROM messages INDEXED BY messages_log
 WHERE scope = :scope AND thread_id = :thread_id AND seq > :after AND seq < :before
   AND (:visibility IS NULL OR visibility = :visibility)
   AND (:run_id IS NULL OR run_id = :run_id)
 ORDER BY seq DESC
 LIMIT :limit;

-- name: message_seq
-- The length of a thread's log. Index: primary key.
SELECT message_seq
  FROM threads
 WHERE scope = :scope AND thread_id = :thread_id;

-- name: event_seq
-- The seq of the newest event of a thread. Index: primary key.
SELECT event_seq
  FROM threads
 WHERE scope = :scope AND thread_id = :thread_id;

-- name: journal
-- Index: primary key.
SELECT key, v, value
  FROM journal
 WHERE scope = :scope AND run_id = :run_id
 ORDER BY key;

-- name: events_from
-- The event rows of a thread, beginning with the one that holds `first`. Index: the unique one of the table.
SELECT first_seq, count, run_id, created_at, v, body
  FROM events
 WHERE scope = :scope AND thread_id = :thread_id
   AND first_seq >= coalesce(
           (SELECT max(first_seq) FROM events
             WHERE scope = :scope AND thread_id = :thread_id AND first_seq <= :first), 0)
 ORDER BY first_seq;

-- name: events_of_run
-- As `events_from` for one run: between the event it was queued with and, once it is done, the one that ended it.
-- Index: the unique one of the table.
SELECT e.first_seq, e.count, e.run_id, e.created_at, e.v, e.body
  FROM runs r
 CROSS JOIN events e
 WHERE r.scope = :scope AND r.run_id = :run_id
   AND e.scope = :scope AND e.thread_id = :thread_id AND e.run_id = :run_id
   AND e.first_seq >= max(r.first_event_seq, coalesce(
           (SELECT max(first_seq) FROM events
             WHERE scope = :scope AND thread_id = :thread_id AND first_seq <= :first), 0))
   AND e.first_seq <= CASE r.status WHEN 'done' THEN r.updated_seq ELSE 9223372036854775807 END
 ORDER BY e.first_seq;
