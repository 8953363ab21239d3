-- The statements of the Postgres store, in the order: shared parts, transactions, facts of a transition, writes, asks of
-- rules over many threads, reads. Values are named; `statements` gives them numbers and types. What facts and asks find by
-- one value each is asked for many values in one statement (`Statement.each`).
--
-- Where a row is found by its id, `scope || ''` says that the scope is compared and not looked up: to a planner that knows
-- nothing of the tables yet, any index that begins with the scope would seem as good as that of the ids.

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

-- part: waiter_columns
d.route, d.crash_count, d.priority, d.position, d.available_at, d.no

-- part: clock
(extract(epoch FROM clock_timestamp()) * 1000)::bigint

-- ====================================================================================================================
-- Transactions
-- ====================================================================================================================

-- name: now
SELECT {clock};

-- name: start_batch
-- What every batch begins with: its mark, the instant it is decided at, and the first of its block of arrival numbers; and
-- the threads it is about, as `lock_threads` has them, each with its claimed dispatch and the run of that. These are as
-- they were when the statement began, and so is what says whether the row of the thread was the same then. One row at
-- least. Index: threads_id, threads_pkey, dispatches_claimed, runs_id.
WITH mark AS (INSERT INTO batches (batch_id, at) VALUES (:batch_id, {clock})),
named AS (
    SELECT u.place, n.no, n.ctid AS version
      FROM unnest(:scopes, :thread_ids) WITH ORDINALITY AS u (scope, thread_id, place)
      LEFT JOIN threads n ON n.scope = u.scope AND n.thread_id = u.thread_id),
held AS (
    SELECT {thread_columns}, t.ctid AS version
      FROM threads t
     WHERE t.no = ANY (ARRAY(SELECT no FROM named))
     ORDER BY t.no
       FOR UPDATE SKIP LOCKED)
SELECT batch.now, batch.first, named.place, named.no, named.version = t.version, {thread_columns},
       {dispatch_columns}, {run_columns}
  FROM (SELECT {clock} AS now, nextval('arrivals') AS first) batch
  LEFT JOIN named ON true
  LEFT JOIN held t ON t.no = named.no
  LEFT JOIN dispatches d ON d.thread = t.no AND d.status = 'claimed'
  LEFT JOIN runs r ON r.run_id = d.run_id AND r.scope || '' = d.scope
 ORDER BY named.place;

-- name: forget_batches
DELETE FROM batches
 WHERE at < {clock} - 600000;

-- ====================================================================================================================
-- Processes
-- ====================================================================================================================

-- name: forget_workers
DELETE FROM workers
 WHERE seen_at < :before;

-- name: keep_worker
-- What a process says replaces what it said.
INSERT INTO workers (consumer_id, seen_at, body)
VALUES (:consumer, :now, :body)
    ON CONFLICT (consumer_id) DO UPDATE
   SET seen_at = excluded.seen_at, body = excluded.body;

-- name: drop_worker
DELETE FROM workers
 WHERE consumer_id = :consumer;

-- name: workers
-- Those that said something since an instant, in the order in which they came. Read whole.
SELECT seen_at, body
  FROM workers
 WHERE seen_at >= :after
 ORDER BY no;

-- ====================================================================================================================
-- Facts
-- ====================================================================================================================

-- name: lock_threads
-- Threads by name, and hold those that nobody else holds: no number where there is no such thread, no row where somebody
-- holds it. What else is read of a thread is read afterwards, by another statement, which sees what was committed before.
-- Index: threads_id, primary key.
WITH named AS (
    SELECT u.place, n.no
      FROM unnest(:scopes, :thread_ids) WITH ORDINALITY AS u (scope, thread_id, place)
      LEFT JOIN threads n ON n.scope = u.scope AND n.thread_id = u.thread_id),
held AS (
    SELECT {thread_columns}
      FROM threads t
     WHERE t.no = ANY (ARRAY(SELECT no FROM named))
     ORDER BY t.no
       FOR UPDATE SKIP LOCKED)
SELECT named.no, t.*
  FROM named
  LEFT JOIN held t ON t.no = named.no
 ORDER BY named.place;

-- name: wait_for_threads
-- As `lock_threads`, and wait for whoever holds them.
WITH named AS (
    SELECT u.place, n.no
      FROM unnest(:scopes, :thread_ids) WITH ORDINALITY AS u (scope, thread_id, place)
      LEFT JOIN threads n ON n.scope = u.scope AND n.thread_id = u.thread_id),
held AS (
    SELECT {thread_columns}
      FROM threads t
     WHERE t.no = ANY (ARRAY(SELECT no FROM named))
     ORDER BY t.no
       FOR UPDATE)
SELECT named.no, t.*
  FROM named
  LEFT JOIN held t ON t.no = named.no
 ORDER BY named.place;

-- name: ancestor
-- A thread that another one is to be made a child of: it stays as it is until that is written.
SELECT t.deleted_at, t.parent_thread_id
  FROM threads t
 WHERE t.scope = :scope AND t.thread_id = :thread_id
   FOR SHARE;

-- name: thread
-- Index: threads_id.
SELECT {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.thread_id = :thread_id;

-- name: claimed_with_run
-- The claimed dispatch of a thread, and its run. Index: dispatches_claimed, runs_id.
SELECT {dispatch_columns}, {run_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  LEFT JOIN runs r ON r.run_id = d.run_id AND r.scope || '' = d.scope
 WHERE d.thread = :thread AND d.status = 'claimed';

-- name: claimed
-- The claimed dispatch of a thread. Index: dispatches_claimed.
SELECT {dispatch_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.thread = :thread AND d.status = 'claimed';

-- name: run
-- Index: runs_id.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.run_id = :run_id AND r.scope || '' = :scope;

-- name: dispatch
-- Index: dispatches_id.
SELECT {dispatch_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.dispatch_id = :dispatch_id AND d.scope = :scope;

-- name: message
-- A message of a thread, in the log or not. Index: messages_id.
SELECT {message_columns}
  FROM messages m
 WHERE m.message_id = :message_id AND m.thread = :thread;

-- name: pending
-- What waits for a run of a thread, in order. Index: messages_pending.
SELECT {pending_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.position IS NOT NULL
 ORDER BY m.position;

-- name: taken
-- What a commit took, in the order of the log. Index: messages_taken.
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.commit_no = :commit_no AND m.commit_no IS NOT NULL
 ORDER BY m.seq;

-- name: output_message
-- A message of the thread of a run. Index: primary key, messages_id.
SELECT {message_columns}
  FROM runs r
  JOIN messages m ON m.thread = r.thread
 WHERE r.no = :run AND m.message_id = :message_id;

-- name: holder_of_dedupe_key
-- The unfinished run that holds a key. Index: runs_dedupe.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.thread = :thread AND r.dedupe_key = :dedupe_key AND r.dedupe_key IS NOT NULL AND r.status <> 'done';

-- name: next_due_with_run
-- The dispatch a free thread runs next, and its run. Index: dispatches_queue, runs_id.
SELECT {dispatch_columns}, {run_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  LEFT JOIN runs r ON r.run_id = d.run_id AND r.scope || '' = d.scope
 WHERE d.thread = :thread AND d.status = 'queued' AND d.available_at <= :now
 ORDER BY d.priority, d.position
 LIMIT 1;

-- name: best_due
-- What a queue runs next, two dispatches left out, if something in it is due. Index: dispatches_queue.
SELECT {waiter_columns}
  FROM dispatches d
 WHERE d.thread = :thread AND d.status = 'queued' AND d.available_at <= :now AND d.no <> :next
   AND d.dispatch_id <> :without
 ORDER BY d.priority, d.position
 LIMIT 1;

-- name: best_later
-- The same if nothing in it is due. Index: dispatches_queue, read whole: the queue of one thread.
SELECT {waiter_columns}
  FROM dispatches d
 WHERE d.thread = :thread AND d.status = 'queued' AND d.no <> :next AND d.dispatch_id <> :without
 ORDER BY d.available_at, d.priority, d.position
 LIMIT 1;

-- name: queue
-- The queue of a thread in claim order. Index: dispatches_queue.
SELECT {dispatch_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.thread = :thread AND d.status = 'queued'
 ORDER BY d.priority, d.position
 LIMIT :limit;

-- name: count_queue
-- How much of a queue is not due yet, and how much belongs to runs that wait. Index: dispatches_queue, read whole.
SELECT count(*) FILTER (WHERE d.available_at > :now),
       count(*) FILTER (WHERE d.why IN ('input', 'decided', 'children'))
  FROM dispatches d
 WHERE d.thread = :thread AND d.status = 'queued';

-- name: waiting_runs
-- The suspended runs of a thread, the one that suspended last first. Index: runs_waiting.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.thread = :thread AND r.status = 'waiting'
 ORDER BY r.updated_seq DESC
 LIMIT :limit;

-- name: left_open_runs
-- Ended runs of a thread with a turn that is still open. Index: runs_left_open.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.thread = :thread AND r.open_turn IS NOT NULL AND r.status = 'done'
 ORDER BY r.no;

-- name: tail
-- A run's own messages from a seq on. Index: messages_log.
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.seq >= :from_seq AND m.run_id = :run_id
 ORDER BY m.seq;

-- name: ticket
-- Index: tickets_id.
SELECT {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.ticket_id = :ticket_id AND k.scope || '' = :scope;

-- name: open_tickets_of_run
-- Index: tickets_run.
SELECT {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.run = :run AND k.state = 'open'
 ORDER BY k.no;

-- name: child
-- A thread whose parent it is, or else one that an errand of its own is still to make: in one statement, since an errand
-- that is delivered meanwhile is one or the other. Index: threads_parent, outbox_lane.
SELECT coalesce(
       (SELECT t.thread_id
          FROM threads t
         WHERE t.scope = :scope AND t.parent_thread_id = :thread_id AND t.deleted_at IS NULL
         ORDER BY t.no
         LIMIT 1),
       (SELECT o.thread_id
          FROM outbox o
         WHERE o.sender = :thread_id AND o.scope = :scope
           AND awaken_json(o.body) #>> '{info,parent_thread_id}' = :thread_id
         LIMIT 1)) AS thread_id;

-- name: own_seqs
-- The places in the log, from one on, of what belongs to a run. Index: messages_log.
SELECT m.seq
  FROM messages m
 WHERE m.thread = :thread AND m.seq >= :from_seq AND m.run_id = :run_id
 ORDER BY m.seq;

-- name: own_messages
-- The messages of the log that belong to a run, or, without one, to none. Index: messages_log.
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.seq IS NOT NULL AND m.run_id IS NOT DISTINCT FROM :run_id
 ORDER BY m.seq;

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
-- Asks of rules over many threads. What they find they hold, and pass over what somebody else holds.
-- ====================================================================================================================

-- part: fallen_due
-- Delayed threads of each route that have fallen due, longest first.
SELECT t.ready_priority, t.ready_no, t.scope, t.thread_id, t.ready_at
  FROM unnest(:routes) AS u (route)
 CROSS JOIN LATERAL (
     SELECT n.no, n.ready_priority, n.ready_no, n.scope, n.thread_id, n.ready_at
       FROM threads n
      WHERE n.ready_at > 0 AND n.ready_route = u.route AND n.ready_at <= :now
      ORDER BY n.ready_at, n.ready_no
      LIMIT :rows
        FOR UPDATE SKIP LOCKED) t

-- name: due
-- Threads of each route that are due at once, by priority, then age; and delayed ones that have fallen due. Index:
-- threads_due, threads_delayed, once for each route.
SELECT t.ready_priority, t.ready_no, t.scope, t.thread_id, t.ready_at
  FROM unnest(:routes) AS u (route)
 CROSS JOIN LATERAL (
     SELECT n.no, n.ready_priority, n.ready_no, n.scope, n.thread_id, n.ready_at
       FROM threads n
      WHERE n.ready_at = 0 AND n.ready_route = u.route
      ORDER BY n.ready_priority, n.ready_no
      LIMIT :limit
        FOR UPDATE SKIP LOCKED) t
 UNION ALL
{fallen_due};

-- name: due_by_age
-- As `due`, by age alone. Index: threads_due_by_age, threads_delayed.
SELECT t.ready_priority, t.ready_no, t.scope, t.thread_id, t.ready_at
  FROM unnest(:routes) AS u (route)
 CROSS JOIN LATERAL (
     SELECT n.no, n.ready_priority, n.ready_no, n.scope, n.thread_id, n.ready_at
       FROM threads n
      WHERE n.ready_at = 0 AND n.ready_route = u.route
      ORDER BY n.ready_no
      LIMIT :limit
        FOR UPDATE SKIP LOCKED) t
 UNION ALL
{fallen_due};

-- name: count_due
-- How many threads of the routes are due, whoever holds them. Index: threads_due, threads_delayed.
SELECT count(*)
  FROM (SELECT 1
          FROM unnest(:routes) AS u (route)
         CROSS JOIN LATERAL (
             SELECT 1 FROM threads n
              WHERE n.ready_at = 0 AND n.ready_route = u.route
             UNION ALL
             SELECT 1 FROM threads n
              WHERE n.ready_at > 0 AND n.ready_route = u.route AND n.ready_at <= :now) t
         LIMIT :limit) found;

-- name: next_due_at
-- The first instant after one at which a thread of the routes falls due, one that is due already counting as 0; a lease has
-- ended; a ticket of a thread that is not deleted expires; a schedule falls due. Index: threads_due, threads_delayed,
-- dispatches_claimed (read whole), tickets_due, schedules_due.
SELECT min(due.at)
  FROM (SELECT n.ready_at AS at
          FROM unnest(:routes) AS u (route)
         CROSS JOIN LATERAL (
             (SELECT 0::bigint AS ready_at FROM threads n
               WHERE n.ready_at = 0 AND n.ready_route = u.route AND :after < 0 LIMIT 1)
             UNION ALL
             (SELECT n.ready_at FROM threads n
               WHERE n.ready_at > 0 AND n.ready_route = u.route AND n.ready_at > :after
               ORDER BY n.ready_at LIMIT 1)) n
        UNION ALL
        SELECT min(d.lease_until) + 1 FROM dispatches d WHERE d.status = 'claimed' AND d.lease_until >= :after
        UNION ALL
        (SELECT k.expires_at
           FROM tickets k
           JOIN threads t ON t.no = k.thread AND t.deleted_at IS NULL
          WHERE k.state = 'open' AND k.expires_at IS NOT NULL AND k.expires_at > :after
          ORDER BY k.expires_at LIMIT 1)
        UNION ALL
        SELECT min(s.next_at) FROM schedules s WHERE s.next_at IS NOT NULL AND s.next_at > :after) due;

-- name: expired
-- Claims whose lease has ended, or all, or those of one consumer: suspects first, then longest ended. The dispatch is held,
-- too, so that its owner cannot renew it meanwhile. Index: dispatches_claimed, read whole.
SELECT t.scope, t.thread_id, d.claimed_by
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.status = 'claimed'
   AND CASE WHEN :consumer IS NULL THEN :abandoned OR d.lease_until < :now ELSE d.claimed_by = :consumer END
 ORDER BY d.crash_count < 2, coalesce(d.lease_until, 0), d.no
 LIMIT :limit
   FOR UPDATE OF d, t SKIP LOCKED;

-- name: suspects_held
-- Index: dispatches_claimed, read whole.
SELECT claimed_by, count(*)
  FROM dispatches
 WHERE status = 'claimed' AND crash_count >= 2
 GROUP BY claimed_by;

-- name: hold_totals
-- Those that nobody else claims of at this moment, and that nobody else claims of until the transaction ends. Never waits.
SELECT u.route
  FROM unnest(:routes) AS u (route)
 WHERE pg_try_advisory_xact_lock(hashtext('awaken ' || current_schema()), hashtext(u.route));

-- name: claimed_by_route
-- Index: dispatches_claimed, read whole.
SELECT route, count(*)
  FROM dispatches
 WHERE status = 'claimed'
 GROUP BY route;

-- name: lease
-- A claim as a renewal sees it. Index: dispatches_id, runs_id.
SELECT {dispatch_columns}, t.epoch,
       (SELECT r.cancel_requested_at FROM runs r WHERE r.run_id = d.run_id AND r.scope || '' = d.scope)
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.dispatch_id = :dispatch_id AND d.scope = :scope;

-- name: errands
-- Index: primary key.
SELECT {outbox_columns}
  FROM outbox o
 WHERE o.no = ANY (:numbers)
 ORDER BY o.no
   FOR UPDATE;

-- name: held_schedules
-- The schedules of a scope, or the one of that name. Index: schedules_scope, schedules_name.
SELECT {schedule_columns}
  FROM schedules s
 WHERE s.scope = :scope AND (:name IS NULL OR s.name = :name)
 ORDER BY s.no
   FOR UPDATE;

-- name: due_schedules
-- Index: schedules_due.
SELECT {schedule_columns}
  FROM schedules s
 WHERE s.next_at IS NOT NULL AND s.next_at <= :now
 ORDER BY s.next_at, s.no
 LIMIT :limit
   FOR UPDATE SKIP LOCKED;

-- name: next_tick
-- The first instant after one at which a schedule falls due. Index: schedules_due.
SELECT min(next_at)
  FROM schedules
 WHERE next_at IS NOT NULL AND next_at > :after;

-- name: old_runs
-- Index: runs_finished, outbox_run.
SELECT r.scope, r.thread, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.finished_at IS NOT NULL AND r.dead_lettered = 0 AND r.open_turn IS NULL AND r.open_tickets = 0
   AND r.finished_at < :before
   AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.run_id = r.run_id AND o.scope = r.scope)
 ORDER BY r.finished_at, r.no
 LIMIT :limit OFFSET :offset
   FOR UPDATE OF r SKIP LOCKED;

-- name: oldest_events
-- Rows of events in the order in which they were appended, behind one. Index: primary key.
SELECT e.no, e.thread, e.first_seq, e.count, e.created_at, t.scope, t.thread_id, t.first_event_seq
  FROM events e
  JOIN threads t ON t.no = e.thread
 WHERE e.no > :after
 ORDER BY e.no
 LIMIT :limit;

-- name: first_event_of_open_runs
-- The first event of a thread's oldest unfinished run. Index: dispatches_claimed, dispatches_queue, runs_waiting, runs_id.
SELECT min(found.first_event_seq)
  FROM (SELECT r.first_event_seq
          FROM dispatches d
          JOIN runs r ON r.run_id = d.run_id AND r.scope || '' = d.scope
         WHERE d.thread = :thread AND d.status = 'claimed'
        UNION ALL
        SELECT r.first_event_seq
          FROM dispatches d
          JOIN runs r ON r.run_id = d.run_id AND r.scope || '' = d.scope
         WHERE d.thread = :thread AND d.status = 'queued'
        UNION ALL
        SELECT r.first_event_seq FROM runs r WHERE r.thread = :thread AND r.status = 'waiting') found;

-- name: expiring_threads
-- Threads that were to go by now. Index: threads_expiring.
SELECT t.scope, t.thread_id
  FROM threads t
 WHERE t.delete_at IS NOT NULL AND t.delete_at <= :now
 ORDER BY t.delete_at, t.no
 LIMIT :limit
   FOR UPDATE SKIP LOCKED;

-- name: deleted_threads
-- Deleted threads of which something is left and nothing is executed. Index: threads_deleted, dispatches_claimed.
SELECT t.no, t.scope, t.thread_id
  FROM threads t
 WHERE t.has_rows = 1
   AND NOT EXISTS (SELECT 1 FROM dispatches d WHERE d.thread = t.no AND d.status = 'claimed')
 ORDER BY t.no
 LIMIT :limit
   FOR UPDATE SKIP LOCKED;

-- name: rows_of_thread
-- What belongs to a thread: rows of events (1), messages (2) and runs (3), by place and number. Index: events_log,
-- messages_id, runs_thread.
SELECT found.kind, found.place, found.no
  FROM ((SELECT 1 AS kind, e.first_seq AS place, e.no FROM events e WHERE e.thread = :thread LIMIT :limit)
        UNION ALL
        (SELECT 2, m.seq, m.no FROM messages m WHERE m.thread = :thread AND m.seq IS NOT NULL LIMIT :limit)
        UNION ALL
        (SELECT 2, 0, m.no FROM messages m WHERE m.thread = :thread AND m.seq IS NULL LIMIT :limit)
        UNION ALL
        (SELECT 3, r.no, r.no FROM runs r WHERE r.thread = :thread LIMIT :limit)) found
 LIMIT :limit;

-- ====================================================================================================================
-- Reads
-- ====================================================================================================================

-- name: listed_threads
-- Threads by what happened last, behind one. Index: threads_listed.
SELECT coalesce(t.latest_run_no, t.no), {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.deleted_at IS NULL AND coalesce(t.latest_run_no, t.no) > :after
 ORDER BY coalesce(t.latest_run_no, t.no)
 LIMIT :limit;

-- name: listed_threads_down
-- As `listed_threads`, newest first. Index: threads_listed.
SELECT coalesce(t.latest_run_no, t.no), {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.deleted_at IS NULL AND coalesce(t.latest_run_no, t.no) < :after
 ORDER BY coalesce(t.latest_run_no, t.no) DESC
 LIMIT :limit;

-- name: few_threads
-- Those of somebody, or of a parent. Index: threads_resource, threads_parent.
SELECT coalesce(t.latest_run_no, t.no), {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.deleted_at IS NULL AND t.resource_id = :resource_id
 LIMIT :limit;

-- name: few_children
SELECT coalesce(t.latest_run_no, t.no), {thread_columns}
  FROM threads t
 WHERE t.scope = :scope AND t.deleted_at IS NULL AND t.parent_thread_id = :parent
 LIMIT :limit;

-- name: shown_run
-- As `run`, of a thread that is not deleted. Index: runs_id.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.run_id = :run_id AND r.scope || '' = :scope AND t.deleted_at IS NULL;

-- name: run_by_no
-- A run of a thread that is not deleted. Index: primary key.
SELECT {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.no = :no AND t.deleted_at IS NULL;

-- name: head_of_queue
-- The run that a thread's queue begins with, due or not. Index: dispatches_queue.
SELECT d.run_id
  FROM dispatches d
 WHERE d.thread = :thread AND d.status = 'queued'
 ORDER BY d.priority, d.position
 LIMIT 1;

-- name: count_open_tickets
-- Of a thread. Index: tickets_thread.
SELECT count(*)
  FROM tickets
 WHERE thread = :thread AND state = 'open';

-- name: runs_up
-- Runs of a scope, or of one of its agents, behind one. Index: runs_scope, runs_agent.
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.scope = :scope AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no > :after
   AND t.deleted_at IS NULL
 ORDER BY r.no
 LIMIT :limit;

-- name: runs_down
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.scope = :scope AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no < :after
   AND t.deleted_at IS NULL
 ORDER BY r.no DESC
 LIMIT :limit;

-- name: open_runs_up
-- Unfinished runs of a scope in some of the phases. Index: runs_open.
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.scope = :scope AND r.status <> 'done' AND r.status = ANY (:statuses)
   AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no > :after AND t.deleted_at IS NULL
 ORDER BY r.no
 LIMIT :limit;

-- name: open_runs_down
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.scope = :scope AND r.status <> 'done' AND r.status = ANY (:statuses)
   AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no < :after AND t.deleted_at IS NULL
 ORDER BY r.no DESC
 LIMIT :limit;

-- name: runs_of_thread_up
-- Index: runs_thread.
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.thread = :thread AND r.no > :after AND t.deleted_at IS NULL
 ORDER BY r.no
 LIMIT :limit;

-- name: runs_of_thread_down
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.thread = :thread AND r.no < :after AND t.deleted_at IS NULL
 ORDER BY r.no DESC
 LIMIT :limit;

-- name: dead_runs
-- Index: runs_dead.
SELECT r.no, {run_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE r.scope = :scope AND r.dead_lettered = 1 AND r.no < :after AND t.deleted_at IS NULL
 ORDER BY r.no DESC
 LIMIT :limit;

-- name: count_open_runs
-- Unfinished runs in one phase by agent, at most `limit` of all. Index: runs_open.
SELECT found.agent_id, count(*)
  FROM (SELECT r.agent_id FROM runs r
         WHERE r.scope = :scope AND r.status <> 'done' AND r.status = :status
         LIMIT :limit) found
 GROUP BY found.agent_id;

-- name: summarize_runs
-- Unfinished runs in one phase, at most `limit`, by agent and by what their dispatch is; and since when the first of
-- those that are due waits. Index: runs_open, dispatches_id.
SELECT r.agent_id, r.started_at IS NOT NULL, d.status, count(*),
       min(CASE WHEN d.available_at <= :now THEN d.available_at END)
  FROM (SELECT f.agent_id, f.started_at, f.dispatch_id, f.scope, f.thread
          FROM runs f
         WHERE f.scope = :scope AND f.status = :status AND f.status <> 'done'
         LIMIT :limit) r
  JOIN threads t ON t.no = r.thread AND t.deleted_at IS NULL
  LEFT JOIN dispatches d ON d.dispatch_id = r.dispatch_id AND d.scope = r.scope
 GROUP BY 1, 2, 3;

-- name: dispatches_of_thread
-- Index: dispatches_thread.
SELECT d.no, {dispatch_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.thread = :thread AND (:run_id IS NULL OR d.run_id = :run_id) AND d.no > :after
 ORDER BY d.no
 LIMIT :limit;

-- name: newest_dispatches
-- The newest dispatch of each run, in the order of the runs. Each is looked up by itself (OFFSET 0): else the
-- server expects next to no rows, and joins all there are for a page. Index: runs_scope, runs_agent, dispatches_id.
SELECT r.no, {dispatch_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
  CROSS JOIN LATERAL (
      SELECT * FROM dispatches n WHERE n.dispatch_id = r.dispatch_id AND n.scope = r.scope OFFSET 0) d
 WHERE r.scope = :scope AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no > :after AND t.deleted_at IS NULL
   AND d.run_id = r.run_id || ''
 ORDER BY r.no
 LIMIT :limit;

-- name: newest_open_dispatches
-- As `newest_dispatches`, of unfinished runs. Index: runs_open, dispatches_id.
SELECT r.no, {dispatch_columns}
  FROM runs r
  JOIN threads t ON t.no = r.thread
  CROSS JOIN LATERAL (
      SELECT * FROM dispatches n WHERE n.dispatch_id = r.dispatch_id AND n.scope = r.scope OFFSET 0) d
 WHERE r.scope = :scope AND r.status <> 'done' AND (:agent_id IS NULL OR r.agent_id = :agent_id) AND r.no > :after
   AND t.deleted_at IS NULL AND d.run_id = r.run_id || ''
 ORDER BY r.no
 LIMIT :limit;

-- name: claims_of_consumer
-- Index: dispatches_claimed, read whole: what is being executed.
SELECT d.scope, {dispatch_columns}
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE d.status = 'claimed' AND d.claimed_by = :consumer AND d.no > :after
 ORDER BY d.no
 LIMIT :limit;

-- name: ready_routes
-- The distinct routes of threads with something to claim. Index: threads_due, threads_delayed.
SELECT DISTINCT ready_route FROM threads WHERE ready_at = 0
UNION
SELECT DISTINCT ready_route FROM threads WHERE ready_at > 0;

-- name: count_dispatches
-- Index: dispatches_queue, dispatches_claimed, dispatches_closed.
SELECT (SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE status = 'queued' LIMIT :limit) n),
       (SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE status = 'claimed' LIMIT :limit) n),
       (SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE status = 'cancelled' LIMIT :limit) n),
       (SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE status = 'superseded' LIMIT :limit) n),
       (SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE status = 'dead_letter' LIMIT :limit) n);

-- name: count_acked
-- Among the newest `rows` dispatches. Index: primary key.
SELECT count(*)
  FROM (SELECT 1
          FROM (SELECT status FROM dispatches ORDER BY no DESC LIMIT :rows) newest
         WHERE status = 'acked'
         LIMIT :limit) n;

-- name: log_up
-- A window of a thread's log. Index: messages_log.
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.seq > :after AND m.seq < :before
   AND (:internal IS NULL OR m.internal = :internal) AND (:run_id IS NULL OR m.run_id = :run_id)
 ORDER BY m.seq
 LIMIT :limit;

-- name: log_down
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.seq > :after AND m.seq < :before
   AND (:internal IS NULL OR m.internal = :internal) AND (:run_id IS NULL OR m.run_id = :run_id)
 ORDER BY m.seq DESC
 LIMIT :limit;

-- name: shown_ticket
-- As `ticket`, of a thread that is not deleted. Index: tickets_id.
SELECT {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.ticket_id = :ticket_id AND k.scope || '' = :scope AND t.deleted_at IS NULL;

-- name: tickets_up
-- Tickets of a scope, of threads that are not deleted. Index: tickets_scope.
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.scope = :scope AND k.no > :after AND t.deleted_at IS NULL
 ORDER BY k.no
 LIMIT :limit;

-- name: tickets_down
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.scope = :scope AND k.no < :after AND t.deleted_at IS NULL
 ORDER BY k.no DESC
 LIMIT :limit;

-- name: open_tickets_up
-- Open tickets of a scope, by whom and what they look after. Index: tickets_open.
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.scope = :scope AND k.state = 'open' AND k.no > :after AND t.deleted_at IS NULL
   AND (:agent_id IS NULL OR k.agent_id = :agent_id) AND (:kind IS NULL OR k.kind = :kind)
   AND (:tool_name IS NULL OR k.tool_name = :tool_name) AND (:before IS NULL OR k.expires_at < :before)
 ORDER BY k.no
 LIMIT :limit;

-- name: open_tickets_down
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.scope = :scope AND k.state = 'open' AND k.no < :after AND t.deleted_at IS NULL
   AND (:agent_id IS NULL OR k.agent_id = :agent_id) AND (:kind IS NULL OR k.kind = :kind)
   AND (:tool_name IS NULL OR k.tool_name = :tool_name) AND (:before IS NULL OR k.expires_at < :before)
 ORDER BY k.no DESC
 LIMIT :limit;

-- name: tickets_of_thread_up
-- Index: tickets_thread.
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.thread = :thread AND (:state IS NULL OR k.state = :state) AND k.no > :after AND t.deleted_at IS NULL
 ORDER BY k.no
 LIMIT :limit;

-- name: tickets_of_thread_down
SELECT k.no, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.thread = :thread AND (:state IS NULL OR k.state = :state) AND k.no < :after AND t.deleted_at IS NULL
 ORDER BY k.no DESC
 LIMIT :limit;

-- name: overdue_tickets
-- Open tickets that expire before an instant, of every scope; first those that do first. Index: tickets_due.
SELECT k.scope, {ticket_columns}
  FROM tickets k
  JOIN runs r ON r.no = k.run
  JOIN threads t ON t.no = k.thread
 WHERE k.state = 'open' AND k.expires_at IS NOT NULL AND k.expires_at < :before AND t.deleted_at IS NULL
 ORDER BY k.expires_at, k.no
 LIMIT :limit;

-- name: count_waiting_tickets
-- The open tickets by kind, and when the first of each was opened. Index: tickets_open, read as far as it goes.
SELECT w.kind, w.found, k.created_at
  FROM (SELECT n.kind, count(*) AS found, min(n.no) AS first
          FROM (SELECT kind, no FROM tickets WHERE state = 'open' LIMIT :limit) n
         GROUP BY n.kind) w
  JOIN tickets k ON k.no = w.first
 ORDER BY w.kind;

-- name: pending_messages
-- What waits for a run of a thread, with its content. Index: messages_pending.
SELECT {pending_columns}, {message_columns}
  FROM messages m
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
  JOIN threads t ON t.no = m.thread
 WHERE m.message_id = :message_id AND t.scope || '' = :scope AND t.deleted_at IS NULL
 LIMIT :limit;

-- name: message_at
-- Index: messages_log.
SELECT {message_columns}
  FROM messages m
 WHERE m.thread = :thread AND m.seq = :seq;

-- name: journal
-- Index: runs_id, primary key.
SELECT j.key, j.v, j.value
  FROM runs r
  JOIN journal j ON j.run = r.no
 WHERE r.run_id = :run_id AND r.scope || '' = :scope
 ORDER BY j.key;

-- name: events_from
-- The event rows of a thread, beginning with the one that holds `first`. Index: events_log.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM events v
 WHERE v.thread = :thread
   AND v.first_seq >= coalesce((SELECT max(w.first_seq) FROM events w
                                 WHERE w.thread = :thread AND w.first_seq <= :first), 0)
 ORDER BY v.first_seq
 LIMIT :limit;

-- name: events_of_run
-- As `events_from` for one run, from `first` and up to the seq `last`. Index: events_log.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM events v
 WHERE v.thread = :thread AND v.run_id = :run_id
   AND v.first_seq >= coalesce((SELECT max(w.first_seq) FROM events w
                                 WHERE w.thread = :thread AND w.first_seq <= :first), 0)
   AND v.first_seq <= :last
 ORDER BY v.first_seq
 LIMIT :limit;

-- name: last_events_of_run
-- The newest row of a run between the seqs `first` and `last`. Index: events_log.
SELECT v.first_seq, v.count, v.run_id, v.dispatch_id, v.created_at, v.v, v.body
  FROM events v
 WHERE v.thread = :thread AND v.first_seq BETWEEN :first AND :last AND v.run_id = :run_id
 ORDER BY v.first_seq DESC
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
  FROM outbox o
 WHERE o.scope = :scope AND o.sender = :sender AND o.thread_id = :thread_id AND o.no > :after
 ORDER BY o.no
 LIMIT :limit;

-- name: schedule
-- Index: schedules_name.
SELECT {schedule_columns}
  FROM schedules s
 WHERE s.scope = :scope AND s.name = :name;

-- name: schedules
-- Index: schedules_scope.
SELECT {schedule_columns}
  FROM schedules s
 WHERE s.scope = :scope AND s.no > :after
 ORDER BY s.no
 LIMIT :limit;

-- name: transaction
-- How far a transaction is: 'in progress', 'committed' or 'aborted'; NULL for one of long ago.
SELECT pg_xact_status(:transaction::xid8);

-- name: errand_is_stored
-- Index: primary key.
SELECT EXISTS (SELECT 1 FROM outbox WHERE no = :no);

-- ====================================================================================================================
-- A file that is moved here
-- ====================================================================================================================

-- name: arrival
SELECT move_id, source, ended_at, place FROM moves;

-- name: begin_arrival
INSERT INTO moves (move_id, source, began_at)
VALUES (:move_id, :source, {clock});

-- name: keep_place
-- Where the next slice begins, together with the last one. No row back: somebody else goes on with the same move.
UPDATE moves
   SET place = :body
 WHERE place IS NOT DISTINCT FROM :seen
RETURNING move_id;

-- name: end_arrival
UPDATE moves
   SET ended_at = {clock}, place = NULL;

-- name: give_numbers
-- What arrives from now on is numbered behind what was moved.
SELECT setval('arrivals', greatest(:first / 65536 * 65536, (SELECT last_value FROM arrivals))),
       setval(pg_get_serial_sequence('messages', 'no'), greatest(:next, 1)),
       setval(pg_get_serial_sequence('events', 'no'), greatest(:last, 1));

-- name: holds_something
SELECT EXISTS (SELECT 1 FROM threads)
       OR EXISTS (SELECT 1 FROM schedules)
       OR EXISTS (SELECT 1 FROM outbox)
       OR EXISTS (SELECT 1 FROM runs)
       OR EXISTS (SELECT 1 FROM dispatches)
       OR EXISTS (SELECT 1 FROM messages)
       OR EXISTS (SELECT 1 FROM events)
       OR EXISTS (SELECT 1 FROM tickets)
       OR EXISTS (SELECT 1 FROM journal)
       OR EXISTS (SELECT 1 FROM spans)
       OR EXISTS (SELECT 1 FROM states);

-- name: is_served
-- Whether a process has said lately that it works on this.
SELECT EXISTS (SELECT 1 FROM workers WHERE seen_at >= {clock} - :after);

-- name: moved_journal
SELECT run, key, created_at, v, value
  FROM journal;

-- name: moved_spans
SELECT thread, event_seq, first_seq, last_seq, why, replacement_seq, replacement_id
  FROM spans;

-- name: moved_states
SELECT thread, version, updated_at, v, body
  FROM states;

-- name: moved_events
SELECT no, thread, first_seq, count, run_id, dispatch_id, created_at, v, body
  FROM events;

-- name: moved_messages
SELECT no, thread, message_id, seq, run_id, internal, created_at, v, body, fate, settled_at, revision, digest,
       step_index, commit_no, position, boundary, granularity, barrier, fallback, target_run_id, opens
  FROM messages;

-- name: moved_tickets
SELECT no, scope, ticket_id, thread, run, agent_id, kind, tool_name, state, created_at, expires_at, closed_at, v,
       asked, decision, child_waits
  FROM tickets;

-- name: moved_runs
SELECT no, scope, run_id, thread, agent_id, dispatch_id, status, created_at, updated_at, started_at, finished_at,
       first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at, dead_lettered,
       open_tickets, v, request, state_v, state
  FROM runs;

-- name: moved_dispatches
SELECT no, scope, dispatch_id, thread, run_id, route, status, why, priority, position, epoch, available_at,
       created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids, last_error, claim_token,
       claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at, v
  FROM dispatches;

-- name: moved_outbox
SELECT no, scope, sender, run_id, thread_id, created_at, v, body
  FROM outbox;

-- name: moved_schedules
SELECT no, scope, name, next_at, v, body
  FROM schedules;

-- name: moved_threads
SELECT no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued, waiting, left_open,
       spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority, ready_at, ready_no,
       latest_run_no, created_at, updated_at, v, info, resource_id, parent_thread_id, info_version, deleted_at,
       delete_at, has_rows
  FROM threads;

-- ====================================================================================================================
-- How large it is
-- ====================================================================================================================

-- name: old
-- What a retention would remove now, and what it leaves alone. Index: runs_finished, dispatches_closed; events are read
-- whole.
SELECT (SELECT count(*) FROM runs
         WHERE finished_at IS NOT NULL AND dead_lettered = 0 AND open_turn IS NULL AND open_tickets = 0
           AND finished_at < {clock} - :before),
       (SELECT coalesce(sum(count), 0)::bigint FROM events WHERE created_at < {clock} - :after),
       (SELECT count(*) FROM dispatches WHERE status = 'dead_letter');

-- name: sizes
-- Each table's rows, and what it and its indexes take.
SELECT 'threads' AS name, (SELECT count(*) FROM threads) AS rows, pg_total_relation_size('threads') AS bytes
 UNION ALL
SELECT 'messages' AS name, (SELECT count(*) FROM messages) AS rows, pg_total_relation_size('messages') AS bytes
 UNION ALL
SELECT 'runs' AS name, (SELECT count(*) FROM runs) AS rows, pg_total_relation_size('runs') AS bytes
 UNION ALL
SELECT 'dispatches' AS name, (SELECT count(*) FROM dispatches) AS rows, pg_total_relation_size('dispatches') AS bytes
 UNION ALL
SELECT 'events' AS name, (SELECT coalesce(sum(count), 0)::bigint FROM events) AS rows, pg_total_relation_size('events') AS bytes
 UNION ALL
SELECT 'journal' AS name, (SELECT count(*) FROM journal) AS rows, pg_total_relation_size('journal') AS bytes
 UNION ALL
SELECT 'tickets' AS name, (SELECT count(*) FROM tickets) AS rows, pg_total_relation_size('tickets') AS bytes;

-- name: whole_size
-- What everything in the schema takes.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
  FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r';
