-- The queries that find what breaks an invariant (awaken.store.invariants), each over a slice: the rows of one table whose
-- number lies behind `:after`, up to `:until`. A healthy slice has no row. Every statement answers with scope, thread and
-- subject. Deleted threads are left alone: their rows are removed by and by.

-- part: of_slice_of_threads
t.no > :after AND t.no <= :until AND t.deleted_at IS NULL

-- part: of_slice_of_runs
r.no > :after AND r.no <= :until AND t.deleted_at IS NULL

-- part: of_slice_of_dispatches
d.no > :after AND d.no <= :until AND t.deleted_at IS NULL

-- part: of_slice_of_messages
m.no > :after AND m.no <= :until AND t.deleted_at IS NULL

-- part: of_slice_of_tickets
k.no > :after AND k.no <= :until AND t.deleted_at IS NULL

-- part: dispatch_columns
d.no, d.dispatch_id, t.thread_id, d.run_id, d.route, d.status, d.why, d.priority, d.position, d.epoch, d.available_at,
d.created_at, d.updated_at, d.max_attempts, d.attempt_count, d.crash_count, d.message_ids, d.last_error, d.claim_token,
d.claimed_by, d.lease_until, d.instance_id, d.tried_at, d.tried_by, d.completed_at, d.v

-- ====================================================================================================================
-- Slices: the number with which one ends, NULL behind the last row
-- ====================================================================================================================

-- name: end_of_threads
SELECT max(no) FROM (SELECT no FROM threads WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_runs
SELECT max(no) FROM (SELECT no FROM runs WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_dispatches
SELECT max(no) FROM (SELECT no FROM dispatches WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_messages
SELECT max(no) FROM (SELECT no FROM messages WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_events
SELECT max(no) FROM (SELECT no FROM events WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_tickets
SELECT max(no) FROM (SELECT no FROM tickets WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_outbox
SELECT max(no) FROM (SELECT no FROM outbox WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_schedules
SELECT max(no) FROM (SELECT no FROM schedules WHERE no > :after ORDER BY no LIMIT :limit) n;

-- name: end_of_journal
-- Of entries, by the number of their run.
SELECT max(run) FROM (SELECT run FROM journal WHERE run > :after ORDER BY run LIMIT :limit) n;

-- name: end_of_logs
-- So many threads at the most, or as many as have so many events and messages together, or the one that alone has more.
SELECT min(n.no)
  FROM (SELECT max(no) AS no FROM (SELECT no FROM threads WHERE no > :after ORDER BY no LIMIT :limit) few
        UNION ALL
        SELECT max(thread)
          FROM (SELECT thread FROM events WHERE thread > :after ORDER BY thread LIMIT :limit) few
        HAVING count(*) = :limit
        UNION ALL
        SELECT max(thread)
          FROM (SELECT thread FROM messages WHERE thread > :after AND seq IS NOT NULL ORDER BY thread LIMIT :limit) few
        HAVING count(*) = :limit) n;

-- name: last_threads
SELECT coalesce(max(no), 0) FROM threads;

-- name: last_runs
SELECT coalesce(max(no), 0) FROM runs;

-- name: last_dispatches
SELECT coalesce(max(no), 0) FROM dispatches;

-- name: last_messages
SELECT coalesce(max(no), 0) FROM messages;

-- name: last_events
SELECT coalesce(max(no), 0) FROM events;

-- ====================================================================================================================
-- Threads
-- ====================================================================================================================

-- name: counters_agree
SELECT t.scope, t.thread_id, NULL
  FROM threads t
 WHERE {of_slice_of_threads}
   AND (   t.queued <> (SELECT count(*) FROM dispatches d WHERE d.thread = t.no AND d.status = 'queued')
        OR t.waiting <> (SELECT count(*) FROM runs r WHERE r.thread = t.no AND r.status = 'waiting')
        OR t.left_open <> (SELECT count(*) FROM runs r
                            WHERE r.thread = t.no AND r.open_turn IS NOT NULL AND r.status = 'done')
        OR t.pending <> (SELECT count(*) FROM messages m WHERE m.thread = t.no AND m.position IS NOT NULL)
        OR t.spans <> (SELECT count(*) FROM spans s WHERE s.thread = t.no)
        OR t.message_seq < coalesce((SELECT max(m.seq) FROM messages m
                                      WHERE m.thread = t.no AND m.seq IS NOT NULL), 0)
        OR t.event_seq < coalesce((SELECT v.first_seq + v.count - 1 FROM events v
                                    WHERE v.thread = t.no ORDER BY v.first_seq DESC LIMIT 1), 0));

-- name: newest_run_is_newest
SELECT t.scope, t.thread_id, NULL
  FROM threads t
 WHERE {of_slice_of_threads}
   AND t.latest_run_no IS DISTINCT FROM (SELECT max(r.no) FROM runs r WHERE r.thread = t.no);

-- name: ready_key_is_of_queue
-- A key may stand for a dispatch that is not the best any more, where another one fell due behind it; never for one that
-- falls due later than another.
SELECT t.scope, t.thread_id, NULL
  FROM threads t
 WHERE {of_slice_of_threads}
   AND (   (t.ready_no IS NULL) <> (t.ready_route IS NULL)
        OR (t.ready_no IS NULL) <> (t.ready_priority IS NULL)
        OR (t.ready_no IS NULL) <> (t.ready_at IS NULL)
        OR (t.ready_no IS NOT NULL) <>
           (    EXISTS (SELECT 1 FROM dispatches d WHERE d.thread = t.no AND d.status = 'queued')
            AND NOT EXISTS (SELECT 1 FROM dispatches d WHERE d.thread = t.no AND d.status = 'claimed'))
        OR (t.ready_no IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM dispatches d
                WHERE d.no = t.ready_no AND d.thread = t.no AND d.status = 'queued' AND d.priority = t.ready_priority
                  AND t.ready_route = d.route || CASE WHEN d.crash_count >= 2 THEN '!' ELSE '' END
                  AND t.ready_at IN (0, d.available_at)))
        OR (t.ready_at > :now AND EXISTS (
               SELECT 1 FROM dispatches d
                WHERE d.thread = t.no AND d.status = 'queued' AND d.available_at < t.ready_at)));

-- name: readable_threads
SELECT t.scope, t.thread_id, 'thread'
  FROM threads t
 WHERE {of_slice_of_threads}
   AND (t.v > :thread_v OR (t.info IS NOT NULL AND awaken_json(convert_to(t.info, 'UTF8')) IS NULL));

-- ====================================================================================================================
-- Runs
-- ====================================================================================================================

-- name: open_run_has_dispatch
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE {of_slice_of_runs} AND r.status <> 'done'
   AND NOT EXISTS (SELECT 1 FROM dispatches d WHERE d.dispatch_id = r.dispatch_id AND d.scope = r.scope);

-- name: run_ends_with_dispatch
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
  JOIN threads t ON t.no = r.thread
  JOIN dispatches d ON d.dispatch_id = r.dispatch_id AND d.scope = r.scope AND d.run_id = r.run_id
 WHERE {of_slice_of_runs} AND r.status <> 'done'
   AND d.status NOT IN ('queued', 'claimed') AND NOT (r.status = 'waiting' AND d.status = 'acked')
   AND NOT EXISTS (SELECT 1 FROM dispatches o
                    WHERE o.thread = r.thread AND (o.status = 'queued' OR o.status = 'claimed') AND o.run_id = r.run_id);

-- name: waiting_runs
-- Not a breach yet: what these wait for is looked up by whoever asks.
SELECT t.scope, t.thread_id, r.run_id, r.state, r.state_v
  FROM runs r
  JOIN threads t ON t.no = r.thread
  JOIN dispatches d ON d.dispatch_id = r.dispatch_id AND d.scope = r.scope
 WHERE {of_slice_of_runs} AND r.status = 'waiting' AND d.status = 'acked';

-- name: open_among
-- Which of the tickets are open.
SELECT ticket_id
  FROM tickets
 WHERE ticket_id = ANY (:ids) AND scope = :scope AND state = 'open';

-- name: open_tickets_agree
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE {of_slice_of_runs}
   AND r.open_tickets <> (SELECT count(*) FROM tickets k WHERE k.run = r.no AND k.state = 'open');

-- name: open_turn_is_own
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE {of_slice_of_runs} AND r.open_turn IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM messages m
                    WHERE m.thread = r.thread AND m.seq = r.open_turn AND m.run_id = r.run_id);

-- name: readable_runs
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
  JOIN threads t ON t.no = r.thread
 WHERE {of_slice_of_runs}
   AND (   r.v > :run_request_v OR r.state_v > :run_state_v
        OR awaken_json(r.request) IS NULL OR awaken_json(r.state) IS NULL
        OR r.status NOT IN ('created', 'running', 'waiting', 'done')
        OR (r.status = 'done') <> (r.finished_at IS NOT NULL));

-- name: thread_of_runs
SELECT r.scope, NULL, r.run_id
  FROM runs r
 WHERE r.no > :after AND r.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = r.thread);

-- ====================================================================================================================
-- Dispatches
-- ====================================================================================================================

-- name: dispatch_has_run
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE {of_slice_of_dispatches} AND d.status <> 'dead_letter'
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = d.run_id AND r.scope = d.scope);

-- name: claim_is_of_open_run
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  JOIN runs r ON r.run_id = d.run_id AND r.scope = d.scope
 WHERE {of_slice_of_dispatches} AND d.status = 'claimed' AND r.status = 'done';

-- name: queued_is_of_open_run
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  JOIN runs r ON r.run_id = d.run_id AND r.scope = d.scope
 WHERE {of_slice_of_dispatches} AND d.status = 'queued' AND r.status = 'done';

-- name: queued_is_of_this_epoch
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE {of_slice_of_dispatches} AND d.status = 'queued' AND d.epoch < t.epoch;

-- name: queued_with_messages
-- Not a breach yet: what these are to be given is looked up by whoever asks.
SELECT t.scope, t.thread_id, d.dispatch_id, d.thread, d.message_ids, r.request, r.v
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  JOIN runs r ON r.run_id = d.run_id AND r.scope = d.scope
 WHERE {of_slice_of_dispatches} AND d.status = 'queued';

-- name: messages_among
-- Which of the messages the thread has. Index: messages_id.
SELECT message_id
  FROM messages
 WHERE message_id = ANY (:ids) AND thread = :thread;

-- name: one_open_dispatch
SELECT t.scope, t.thread_id, d.run_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
  JOIN runs r ON r.run_id = d.run_id AND r.scope = d.scope
 WHERE {of_slice_of_dispatches} AND (d.status = 'queued' OR d.status = 'claimed')
   AND r.status <> 'done' AND r.dispatch_id <> d.dispatch_id;

-- name: readable_dispatches
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
  JOIN threads t ON t.no = d.thread
 WHERE {of_slice_of_dispatches}
   AND (   d.v > :dispatch_v
        OR d.status NOT IN ('queued', 'claimed', 'acked', 'cancelled', 'superseded', 'dead_letter')
        OR (d.status = 'claimed') <> (d.claim_token IS NOT NULL)
        OR (d.status NOT IN ('queued', 'claimed')) <> (d.completed_at IS NOT NULL)
        OR d.attempt_count NOT BETWEEN 0 AND d.max_attempts OR d.max_attempts < 1 OR d.crash_count < 0);

-- name: thread_of_dispatches
SELECT d.scope, NULL, d.dispatch_id
  FROM dispatches d
 WHERE d.no > :after AND d.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = d.thread);

-- ====================================================================================================================
-- Messages
-- ====================================================================================================================

-- name: message_has_fate
SELECT t.scope, t.thread_id, m.message_id
  FROM messages m
  JOIN threads t ON t.no = m.thread
 WHERE {of_slice_of_messages} AND m.seq IS NULL AND m.fate IS NULL AND m.position IS NULL
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = m.run_id AND r.scope = t.scope AND r.status <> 'done');

-- name: pending_is_for_open_run
SELECT t.scope, t.thread_id, m.message_id
  FROM messages m
  JOIN threads t ON t.no = m.thread
 WHERE {of_slice_of_messages} AND m.position IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = m.run_id AND r.scope = t.scope AND r.status <> 'done');

-- name: readable_messages
SELECT t.scope, t.thread_id, m.message_id
  FROM messages m
  JOIN threads t ON t.no = m.thread
 WHERE {of_slice_of_messages}
   AND (m.v > :message_v OR awaken_json(m.body) IS NULL OR (m.seq IS NOT NULL AND m.fate IS NOT NULL) OR m.seq < 1);

-- name: thread_of_messages
SELECT '', NULL, m.message_id
  FROM messages m
 WHERE m.no > :after AND m.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = m.thread);

-- ====================================================================================================================
-- Events
-- ====================================================================================================================

-- name: readable_events
SELECT t.scope, t.thread_id, v.first_seq
  FROM events v
  JOIN threads t ON t.no = v.thread
 WHERE v.no > :after AND v.no <= :until AND t.deleted_at IS NULL
   AND (v.v > :events_v OR CASE WHEN json_typeof(awaken_json(v.body)) = 'array'
                                THEN json_array_length(awaken_json(v.body)) <> v.count ELSE TRUE END);

-- name: thread_of_events
SELECT '', NULL, v.first_seq
  FROM events v
 WHERE v.no > :after AND v.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = v.thread);

-- ====================================================================================================================
-- Logs, a thread whole. Index: events_log, messages_log
-- ====================================================================================================================

-- name: events_have_no_hole
-- Subject: the first event that is missing.
SELECT t.scope, t.thread_id, coalesce(h.follows, t.first_event_seq)
  FROM threads t
 CROSS JOIN LATERAL (
     SELECT v.first_seq, lag(v.first_seq + v.count) OVER (ORDER BY v.first_seq) AS follows
       FROM events v
      WHERE v.thread = t.no) h
 WHERE {of_slice_of_threads} AND h.first_seq <> coalesce(h.follows, t.first_event_seq)
UNION
SELECT t.scope, t.thread_id, t.event_seq
  FROM threads t
 WHERE {of_slice_of_threads} AND t.event_seq >= t.first_event_seq
   AND t.event_seq > coalesce((SELECT v.first_seq + v.count - 1 FROM events v
                                WHERE v.thread = t.no ORDER BY v.first_seq DESC LIMIT 1), 0);

-- name: messages_have_no_hole
-- Subject: the first seq that is missing.
SELECT t.scope, t.thread_id, h.follows
  FROM threads t
 CROSS JOIN LATERAL (
     SELECT m.seq, lag(m.seq, 1, 0::bigint) OVER (ORDER BY m.seq) + 1 AS follows
       FROM messages m
      WHERE m.thread = t.no AND m.seq IS NOT NULL) h
 WHERE {of_slice_of_threads} AND h.seq <> h.follows
UNION
SELECT t.scope, t.thread_id, t.message_seq
  FROM threads t
 WHERE {of_slice_of_threads}
   AND t.message_seq > coalesce((SELECT max(m.seq) FROM messages m WHERE m.thread = t.no AND m.seq IS NOT NULL), 0);

-- part: reports
SELECT v.thread, ((j.value -> 1) ->> 'message_seq')::bigint AS seq
  FROM threads t
  JOIN events v ON v.thread = t.no
 CROSS JOIN LATERAL json_array_elements(
     CASE WHEN json_typeof(awaken_json(v.body)) = 'array' THEN awaken_json(v.body) ELSE '[]'::json END) j (value)
 WHERE t.no > :after AND t.no <= :until AND t.deleted_at IS NULL
   AND position('MessageCommitted'::bytea IN v.body) > 0 AND j.value ->> 0 = 'MessageCommitted'
   AND (j.value -> 1) ->> 'message_seq' IS NOT NULL

-- name: message_is_reported
-- Where the beginning of a log is gone, nothing before its first report is asked for.
WITH reports AS MATERIALIZED ({reports}),
earliest AS MATERIALIZED (SELECT thread, min(seq) AS seq FROM reports GROUP BY thread)
SELECT t.scope, t.thread_id, m.message_id
  FROM threads t
  JOIN messages m ON m.thread = t.no AND m.seq IS NOT NULL
 WHERE {of_slice_of_threads}
   AND m.seq >= CASE WHEN t.first_event_seq = 1 THEN 1
                     ELSE coalesce((SELECT f.seq FROM earliest f WHERE f.thread = t.no), m.seq + 1) END
   AND NOT EXISTS (SELECT 1 FROM reports r WHERE r.thread = t.no AND r.seq = m.seq);

-- name: report_has_message
WITH reports AS MATERIALIZED ({reports})
SELECT t.scope, t.thread_id, r.seq
  FROM reports r
  JOIN threads t ON t.no = r.thread
 WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.thread = r.thread AND m.seq = r.seq);

-- ====================================================================================================================
-- Tickets, errands, schedules, journal
-- ====================================================================================================================

-- name: ticket_is_of_open_run
SELECT t.scope, t.thread_id, k.ticket_id
  FROM tickets k
  JOIN threads t ON t.no = k.thread
 WHERE {of_slice_of_tickets} AND k.state = 'open'
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = k.run AND (r.status <> 'done' OR k.kind = 'child'));

-- name: open_child_tickets
-- Not a breach yet: the child is looked up by whoever asks.
SELECT t.scope, t.thread_id, k.ticket_id, k.asked, k.v, r.run_id
  FROM tickets k
  JOIN threads t ON t.no = k.thread
  JOIN runs r ON r.no = k.run
 WHERE {of_slice_of_tickets} AND k.state = 'open' AND k.kind = 'child';

-- name: run_with_errands
-- Whether a run is done, and whether something that it does to another thread is still on its way. Index: runs_id,
-- outbox_run.
SELECT (SELECT r.status FROM runs r WHERE r.run_id = :run_id AND r.scope = :scope),
       EXISTS (SELECT 1 FROM outbox o WHERE o.run_id = :sender AND o.scope = :scope);

-- name: readable_tickets
SELECT t.scope, t.thread_id, k.ticket_id
  FROM tickets k
  JOIN threads t ON t.no = k.thread
 WHERE {of_slice_of_tickets}
   AND (k.v > :ticket_v OR awaken_json(k.asked) IS NULL
        OR (k.decision IS NOT NULL AND awaken_json(k.decision) IS NULL));

-- name: readable_outbox
SELECT o.scope, o.thread_id, 'errand ' || o.no
  FROM outbox o
 WHERE o.no > :after AND o.no <= :until AND (o.v > :errand_v OR awaken_json(o.body) IS NULL);

-- name: readable_schedules
SELECT s.scope, NULL, s.name
  FROM schedules s
 WHERE s.no > :after AND s.no <= :until AND (s.v > :schedule_v OR awaken_json(s.body) IS NULL);

-- name: journal_has_run
SELECT DISTINCT '', NULL, j.run
  FROM journal j
 WHERE j.run > :after AND j.run <= :until AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = j.run);

-- ====================================================================================================================
-- Repairs of rows
-- ====================================================================================================================

-- name: count_rows
-- What a thread has.
SELECT t.no,
       (SELECT count(*) FROM runs r WHERE r.thread = t.no AND r.status = 'waiting'),
       (SELECT count(*) FROM runs r WHERE r.thread = t.no AND r.open_turn IS NOT NULL AND r.status = 'done'),
       (SELECT count(*) FROM messages m WHERE m.thread = t.no AND m.position IS NOT NULL),
       (SELECT count(*) FROM spans s WHERE s.thread = t.no),
       coalesce((SELECT max(m.seq) FROM messages m WHERE m.thread = t.no AND m.seq IS NOT NULL), 0),
       coalesce((SELECT v.first_seq + v.count - 1 FROM events v
                  WHERE v.thread = t.no ORDER BY v.first_seq DESC LIMIT 1), 0),
       (SELECT max(r.no) FROM runs r WHERE r.thread = t.no),
       EXISTS (SELECT 1 FROM dispatches d WHERE d.thread = t.no AND d.status = 'claimed')
  FROM threads t
 WHERE t.scope = :scope AND t.thread_id = :thread_id AND t.deleted_at IS NULL;

-- name: whole_queue
-- Index: dispatches_queue.
SELECT route, crash_count, priority, position, available_at, no
  FROM dispatches
 WHERE thread = :thread AND status = 'queued';

-- name: recount_thread
-- No row where it is so already.
UPDATE threads
   SET queued = :queued, waiting = :waiting, left_open = :left_open, pending = :pending, spans = :spans,
       message_seq = greatest(message_seq, :message_seq), event_seq = greatest(event_seq, :event_seq),
       position = greatest(position, :position), latest_run_no = :latest_run_no,
       ready_route = :ready_route, ready_priority = :ready_priority, ready_at = :ready_at, ready_no = :ready_no
 WHERE no = :no
   AND (   queued <> :queued OR waiting <> :waiting OR left_open <> :left_open OR pending <> :pending OR spans <> :spans
        OR message_seq < :message_seq OR event_seq < :event_seq OR position < :position
        OR latest_run_no IS DISTINCT FROM :latest_run_no OR ready_route IS DISTINCT FROM :ready_route
        OR ready_priority IS DISTINCT FROM :ready_priority OR ready_at IS DISTINCT FROM :ready_at
        OR ready_no IS DISTINCT FROM :ready_no)
RETURNING no;

-- name: open_dispatches_of_run
-- The open dispatches of a run. Index: runs_id, dispatches_queue, dispatches_claimed.
SELECT {dispatch_columns}
  FROM runs r
  JOIN dispatches d ON d.thread = r.thread AND (d.status = 'queued' OR d.status = 'claimed') AND d.run_id = r.run_id
  JOIN threads t ON t.no = d.thread
 WHERE r.run_id = :run_id AND r.scope = :scope
 ORDER BY d.no;

-- name: unplaced_of_run
-- Messages of a run that were accepted, and neither taken nor given up. Index: runs_id, messages_unplaced.
SELECT m.message_id
  FROM runs r
  JOIN messages m ON m.thread = r.thread AND m.seq IS NULL AND m.fate IS NULL AND m.position IS NULL
                 AND m.run_id = r.run_id
 WHERE r.run_id = :run_id AND r.scope = :scope
 ORDER BY m.no;

-- name: has_first_dispatch
SELECT EXISTS (SELECT 1 FROM runs r JOIN dispatches d ON d.no = r.no WHERE r.run_id = :run_id AND r.scope = :scope);

-- name: is_reported
-- Whether an event of the thread reports the message with that seq. Index: events_log.
SELECT EXISTS (SELECT 1
                 FROM threads t
                 JOIN events v ON v.thread = t.no
                CROSS JOIN LATERAL json_array_elements(
                    CASE WHEN json_typeof(awaken_json(v.body)) = 'array' THEN awaken_json(v.body)
                         ELSE '[]'::json END) j (value)
                WHERE t.scope = :scope AND t.thread_id = :thread_id
                  AND position('MessageCommitted'::bytea IN v.body) > 0 AND j.value ->> 0 = 'MessageCommitted'
                  AND ((j.value -> 1) ->> 'message_seq')::bigint = :seq);

-- name: remove_dispatch
DELETE FROM dispatches d
 WHERE d.dispatch_id = :subject AND d.scope = :scope AND d.status NOT IN ('queued', 'claimed', 'dead_letter')
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = d.run_id AND r.scope = d.scope)
RETURNING d.no;

-- name: remove_ticket
DELETE FROM tickets k
 WHERE k.ticket_id = :subject AND k.scope = :scope AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = k.run)
RETURNING k.no;

-- name: remove_journal
DELETE FROM journal j
 WHERE j.run = :no AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = j.run)
RETURNING j.run;
