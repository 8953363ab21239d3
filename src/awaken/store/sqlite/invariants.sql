-- The queries that find what breaks an invariant (awaken.store.invariants), each over a slice: the rows of one table whose
-- number lies behind `:after`, up to `:until`. A healthy slice has no row. Every statement answers with scope, thread and
-- subject. Deleted threads are left alone: their rows are removed by and by.

-- part: of_slice_of_threads
t.no > :after AND t.no <= :until AND t.deleted_at IS NULL

-- part: of_slice_of_entries
e.thread > :after AND e.thread <= :until

-- part: of_slice_of_runs
r.no > :after AND r.no <= :until AND t.no = r.thread AND t.deleted_at IS NULL

-- part: of_slice_of_dispatches
d.no > :after AND d.no <= :until AND t.no = d.thread AND t.deleted_at IS NULL

-- part: of_slice_of_messages
m.no > :after AND m.no <= :until AND t.no = m.thread AND t.deleted_at IS NULL

-- part: of_slice_of_tickets
k.no > :after AND k.no <= :until AND t.no = k.thread AND t.deleted_at IS NULL

-- part: events_of
CASE WHEN json_valid(CAST(v.body AS TEXT)) THEN CAST(v.body AS TEXT) ELSE '[]' END

-- ====================================================================================================================
-- Slices: the number with which one ends, NULL behind the last row
-- ====================================================================================================================

-- name: end_of_threads
SELECT max(no) FROM (SELECT no FROM threads WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_runs
SELECT max(no) FROM (SELECT no FROM runs WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_dispatches
SELECT max(no) FROM (SELECT no FROM dispatches WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_messages
SELECT max(no) FROM (SELECT no FROM messages WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_events
SELECT max(no) FROM (SELECT no FROM events WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_tickets
SELECT max(no) FROM (SELECT no FROM tickets WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_outbox
SELECT max(no) FROM (SELECT no FROM outbox WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_schedules
SELECT max(no) FROM (SELECT no FROM schedules WHERE no > :after ORDER BY no LIMIT :limit);

-- name: end_of_journal
-- Of entries, by the number of their run.
SELECT max(run) FROM (SELECT run FROM journal WHERE run > :after ORDER BY run LIMIT :limit);

-- name: end_of_logs
-- So many threads at the most, or as many as have so many entries together, or the one that alone has more.
WITH some (thread) AS (SELECT thread FROM thread_entries WHERE thread > :after ORDER BY thread LIMIT :limit),
last (no) AS (SELECT max(no) FROM (SELECT no FROM threads WHERE no > :after ORDER BY no LIMIT :limit))
SELECT min(last.no, iif((SELECT count(*) FROM some) = :limit, (SELECT max(thread) FROM some), last.no)) FROM last;

-- name: last_thread
SELECT coalesce(max(no), 0) FROM threads;

-- name: last_run
SELECT coalesce(max(no), 0) FROM runs;

-- name: last_dispatch
SELECT coalesce(max(no), 0) FROM dispatches;

-- name: last_message
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
   AND (   t.queued <> (SELECT count(*) FROM dispatches d INDEXED BY dispatches_queue
                         WHERE d.thread = t.no AND d.status = 'queued')
        OR t.waiting <> (SELECT count(*) FROM runs r INDEXED BY runs_waiting
                          WHERE r.thread = t.no AND r.status = 'waiting')
        OR t.left_open <> (SELECT count(*) FROM runs r INDEXED BY runs_left_open
                            WHERE r.thread = t.no AND r.open_turn IS NOT NULL AND r.status = 'done')
        OR t.pending <> (SELECT count(*) FROM messages m INDEXED BY messages_pending
                          WHERE m.thread = t.no AND m.position IS NOT NULL)
        OR t.spans <> (SELECT count(*) FROM spans s WHERE s.thread = t.no)
        OR t.message_seq < coalesce((SELECT max(e.no) FROM thread_entries e WHERE e.thread = t.no AND e.kind = 2), 0)
        OR t.event_seq < coalesce((SELECT v.first_seq + v.count - 1
                                     FROM thread_entries e CROSS JOIN events v
                                    WHERE e.thread = t.no AND e.kind = 1 AND v.no = e.row
                                    ORDER BY e.no DESC LIMIT 1), 0));

-- name: newest_run_is_newest
SELECT t.scope, t.thread_id, NULL
  FROM threads t
 WHERE {of_slice_of_threads}
   AND t.latest_run_no IS NOT (SELECT max(e.no) FROM thread_entries e WHERE e.thread = t.no AND e.kind = 3);

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
           (    EXISTS (SELECT 1 FROM dispatches d INDEXED BY dispatches_queue
                         WHERE d.thread = t.no AND d.status = 'queued')
            AND NOT EXISTS (SELECT 1 FROM dispatches d INDEXED BY dispatches_claimed
                             WHERE d.thread = t.no AND d.status = 'claimed'))
        OR (t.ready_no IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM dispatches d
                WHERE d.no = t.ready_no AND d.thread = t.no AND d.status = 'queued' AND d.priority = t.ready_priority
                  AND t.ready_route = d.route || iif(d.crash_count >= 2, '!', '') AND t.ready_at IN (0, d.available_at)))
        OR (t.ready_at > :now AND EXISTS (
               SELECT 1 FROM dispatches d INDEXED BY dispatches_queue
                WHERE d.thread = t.no AND d.status = 'queued' AND d.available_at < t.ready_at)));

-- name: readable_threads
SELECT t.scope, t.thread_id, 'thread'
  FROM threads t
 WHERE {of_slice_of_threads}
   AND (t.v > :thread_v OR (t.info IS NOT NULL AND NOT json_valid(t.info)));

-- ====================================================================================================================
-- Runs
-- ====================================================================================================================

-- name: open_run_has_dispatch
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
 CROSS JOIN threads t
 WHERE {of_slice_of_runs} AND r.status <> 'done'
   AND NOT EXISTS (SELECT 1 FROM dispatches d WHERE d.dispatch_id = r.dispatch_id AND d.scope = r.scope);

-- name: run_ends_with_dispatch
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
 CROSS JOIN threads t
 CROSS JOIN dispatches d
 WHERE {of_slice_of_runs} AND r.status <> 'done' AND d.dispatch_id = r.dispatch_id AND d.scope = r.scope
   AND d.run_id = r.run_id AND d.status NOT IN ('queued', 'claimed') AND NOT (r.status = 'waiting' AND d.status = 'acked')
   AND NOT EXISTS (SELECT 1 FROM dispatches o INDEXED BY dispatches_queue
                    WHERE o.thread = r.thread AND o.status = 'queued' AND o.run_id = r.run_id)
   AND NOT EXISTS (SELECT 1 FROM dispatches o INDEXED BY dispatches_claimed
                    WHERE o.thread = r.thread AND o.status = 'claimed' AND o.run_id = r.run_id);

-- name: waiting_runs
-- Not a breach yet: what these wait for is looked up by whoever asks.
SELECT t.scope, t.thread_id, r.run_id, r.state, r.state_v
  FROM runs r
 CROSS JOIN threads t
 CROSS JOIN dispatches d
 WHERE {of_slice_of_runs} AND r.status = 'waiting' AND d.dispatch_id = r.dispatch_id AND d.scope = r.scope
   AND d.status = 'acked';

-- name: state_of_ticket
SELECT state
  FROM tickets
 WHERE ticket_id = :ticket_id AND scope = :scope;

-- name: open_tickets_agree
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
 CROSS JOIN threads t
 WHERE {of_slice_of_runs}
   AND r.open_tickets <> (SELECT count(*) FROM tickets k INDEXED BY tickets_run WHERE k.run = r.no AND k.state = 'open');

-- name: open_turn_is_own
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
 CROSS JOIN threads t
 WHERE {of_slice_of_runs} AND r.open_turn IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM thread_entries e CROSS JOIN messages m
                    WHERE e.thread = r.thread AND e.kind = 2 AND e.no = r.open_turn AND m.no = e.row
                      AND m.run_id = r.run_id);

-- name: entry_of_runs
SELECT t.scope, t.thread_id, '3:' || r.no
  FROM runs r
 CROSS JOIN threads t
 WHERE {of_slice_of_runs}
   AND NOT EXISTS (SELECT 1 FROM thread_entries e
                    WHERE e.thread = r.thread AND e.kind = 3 AND e.no = r.no AND e.row = r.no);

-- name: readable_runs
SELECT t.scope, t.thread_id, r.run_id
  FROM runs r
 CROSS JOIN threads t
 WHERE {of_slice_of_runs}
   AND (   r.v > :run_request_v OR r.state_v > :run_state_v
        OR NOT json_valid(CAST(r.request AS TEXT)) OR NOT json_valid(CAST(r.state AS TEXT))
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
 CROSS JOIN threads t
 WHERE {of_slice_of_dispatches}
   AND d.status <> 'dead_letter'
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = d.run_id AND r.scope = d.scope);

-- name: claim_is_of_open_run
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
 CROSS JOIN threads t
 CROSS JOIN runs r
 WHERE {of_slice_of_dispatches} AND d.status = 'claimed' AND r.run_id = d.run_id AND r.scope = d.scope
   AND r.status = 'done';

-- name: queued_is_of_open_run
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
 CROSS JOIN threads t
 CROSS JOIN runs r
 WHERE {of_slice_of_dispatches} AND d.status = 'queued' AND r.run_id = d.run_id AND r.scope = d.scope
   AND r.status = 'done';

-- name: queued_is_of_this_epoch
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
 CROSS JOIN threads t
 WHERE {of_slice_of_dispatches} AND d.status = 'queued' AND d.epoch < t.epoch;

-- name: queued_with_messages
-- Not a breach yet: what these are to be given is looked up by whoever asks.
SELECT t.scope, t.thread_id, d.dispatch_id, d.thread, d.message_ids, r.request, r.v
  FROM dispatches d
 CROSS JOIN threads t
 CROSS JOIN runs r
 WHERE {of_slice_of_dispatches} AND d.status = 'queued' AND r.run_id = d.run_id AND r.scope = d.scope;

-- name: has_message
-- Index: messages_id.
SELECT EXISTS (SELECT 1 FROM messages m WHERE m.message_id = :message_id AND m.thread = :thread);

-- name: one_open_dispatch
SELECT t.scope, t.thread_id, d.run_id
  FROM dispatches d
 CROSS JOIN threads t
 CROSS JOIN runs r
 WHERE {of_slice_of_dispatches} AND (d.status = 'queued' OR d.status = 'claimed') AND r.run_id = d.run_id
   AND r.scope = d.scope AND r.status <> 'done' AND r.dispatch_id <> d.dispatch_id;

-- name: one_claim
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
 CROSS JOIN threads t
 WHERE {of_slice_of_dispatches} AND d.status = 'claimed'
   AND EXISTS (SELECT 1 FROM dispatches o INDEXED BY dispatches_claimed
                WHERE o.thread = d.thread AND o.status = 'claimed' AND o.no <> d.no);

-- name: readable_dispatches
SELECT t.scope, t.thread_id, d.dispatch_id
  FROM dispatches d
 CROSS JOIN threads t
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
 CROSS JOIN threads t
 WHERE {of_slice_of_messages} AND m.seq IS NULL AND m.fate IS NULL AND m.position IS NULL
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = m.run_id AND r.scope = t.scope AND r.status <> 'done');

-- name: pending_is_for_open_run
SELECT t.scope, t.thread_id, m.message_id
  FROM messages m
 CROSS JOIN threads t
 WHERE {of_slice_of_messages} AND m.position IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = m.run_id AND r.scope = t.scope AND r.status <> 'done');

-- name: entry_of_messages
SELECT t.scope, t.thread_id, '2:' || m.no
  FROM messages m
 CROSS JOIN threads t
 WHERE {of_slice_of_messages} AND m.seq IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM thread_entries e
                    WHERE e.thread = m.thread AND e.kind = 2 AND e.no = m.seq AND e.row = m.no);

-- name: readable_messages
SELECT t.scope, t.thread_id, m.message_id
  FROM messages m
 CROSS JOIN threads t
 WHERE {of_slice_of_messages}
   AND (m.v > :message_v OR NOT json_valid(CAST(m.body AS TEXT)) OR (m.seq IS NOT NULL AND m.fate IS NOT NULL)
        OR m.seq < 1);

-- name: thread_of_messages
SELECT '', NULL, m.message_id
  FROM messages m
 WHERE m.no > :after AND m.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = m.thread);

-- ====================================================================================================================
-- Events
-- ====================================================================================================================

-- name: entry_of_events
SELECT t.scope, t.thread_id, '1:' || v.no
  FROM events v
 CROSS JOIN threads t
 WHERE v.no > :after AND v.no <= :until AND t.no = v.thread AND t.deleted_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM thread_entries e
                    WHERE e.thread = v.thread AND e.kind = 1 AND e.no = v.first_seq AND e.row = v.no);

-- name: readable_events
SELECT t.scope, t.thread_id, v.first_seq
  FROM events v
 CROSS JOIN threads t
 WHERE v.no > :after AND v.no <= :until AND t.no = v.thread AND t.deleted_at IS NULL
   AND (v.v > :events_v OR NOT json_valid(CAST(v.body AS TEXT))
        OR CASE WHEN json_valid(CAST(v.body AS TEXT)) THEN json_array_length(CAST(v.body AS TEXT)) <> v.count END);

-- name: thread_of_events
SELECT '', NULL, v.first_seq
  FROM events v
 WHERE v.no > :after AND v.no <= :until AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.no = v.thread);

-- ====================================================================================================================
-- Logs, a thread whole. Index: thread_entries
-- ====================================================================================================================

-- name: events_have_no_hole
-- Subject: the first event that is missing.
SELECT t.scope, t.thread_id, coalesce(h.follows, t.first_event_seq)
  FROM (SELECT e.thread, e.no, v.first_seq, lag(v.first_seq + v.count) OVER (PARTITION BY e.thread ORDER BY e.no) AS follows
          FROM thread_entries e
          LEFT JOIN events v ON v.no = e.row
         WHERE {of_slice_of_entries} AND e.kind = 1) h
 CROSS JOIN threads t
 WHERE t.no = h.thread AND t.deleted_at IS NULL
   AND (h.no <> coalesce(h.follows, t.first_event_seq) OR h.first_seq IS NOT h.no)
UNION
SELECT t.scope, t.thread_id, t.event_seq
  FROM threads t
 WHERE {of_slice_of_threads} AND t.event_seq >= t.first_event_seq
   AND t.event_seq > coalesce((SELECT v.first_seq + v.count - 1
                                 FROM thread_entries e CROSS JOIN events v
                                WHERE e.thread = t.no AND e.kind = 1 AND v.no = e.row
                                ORDER BY e.no DESC LIMIT 1), 0);

-- name: messages_have_no_hole
-- Subject: the first seq that is missing.
SELECT t.scope, t.thread_id, h.follows
  FROM (SELECT e.thread, e.no, m.seq, lag(e.no, 1, 0) OVER (PARTITION BY e.thread ORDER BY e.no) + 1 AS follows
          FROM thread_entries e
          LEFT JOIN messages m ON m.no = e.row
         WHERE {of_slice_of_entries} AND e.kind = 2) h
 CROSS JOIN threads t
 WHERE t.no = h.thread AND t.deleted_at IS NULL AND (h.no <> h.follows OR h.seq IS NOT h.no)
UNION
SELECT t.scope, t.thread_id, t.message_seq
  FROM threads t
 WHERE {of_slice_of_threads}
   AND t.message_seq > coalesce((SELECT max(e.no) FROM thread_entries e WHERE e.thread = t.no AND e.kind = 2), 0);

-- name: entry_of_no_run
SELECT t.scope, t.thread_id, '3:' || e.no
  FROM thread_entries e
 CROSS JOIN threads t
 WHERE {of_slice_of_entries} AND e.kind = 3 AND t.no = e.thread AND t.deleted_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = e.row);

-- name: message_is_reported
-- Where the beginning of a log is gone, nothing before its first report is asked for.
WITH reports (thread, seq) AS MATERIALIZED (
    SELECT e.thread, json_extract(j.value, '$[1].message_seq')
      FROM thread_entries e
     CROSS JOIN events v
     CROSS JOIN json_each({events_of}) j
     WHERE {of_slice_of_entries} AND e.kind = 1 AND v.no = e.row
       AND instr(v.body, CAST('MessageCommitted' AS BLOB)) AND json_extract(j.value, '$[0]') = 'MessageCommitted'
       AND json_extract(j.value, '$[1].message_seq') IS NOT NULL),
first (thread, seq) AS MATERIALIZED (SELECT thread, min(seq) FROM reports GROUP BY thread)
SELECT t.scope, t.thread_id, m.message_id
  FROM threads t
 CROSS JOIN thread_entries e
 CROSS JOIN messages m
 WHERE {of_slice_of_threads} AND e.thread = t.no AND e.kind = 2 AND m.no = e.row
   AND e.no >= CASE WHEN t.first_event_seq = 1 THEN 1
                    ELSE coalesce((SELECT f.seq FROM first f WHERE f.thread = t.no), e.no + 1) END
   AND (t.no, e.no) NOT IN (SELECT thread, seq FROM reports);

-- name: report_has_message
SELECT t.scope, t.thread_id, json_extract(j.value, '$[1].message_seq')
  FROM threads t
 CROSS JOIN thread_entries e
 CROSS JOIN events v
 CROSS JOIN json_each({events_of}) j
 WHERE {of_slice_of_threads} AND e.thread = t.no AND e.kind = 1 AND v.no = e.row
   AND instr(v.body, CAST('MessageCommitted' AS BLOB)) AND json_extract(j.value, '$[0]') = 'MessageCommitted'
   AND NOT EXISTS (SELECT 1 FROM thread_entries o
                    WHERE o.thread = t.no AND o.kind = 2 AND o.no = json_extract(j.value, '$[1].message_seq'));

-- ====================================================================================================================
-- Tickets, errands, schedules, journal
-- ====================================================================================================================

-- name: ticket_is_of_open_run
SELECT t.scope, t.thread_id, k.ticket_id
  FROM tickets k
 CROSS JOIN threads t
 WHERE {of_slice_of_tickets} AND k.state = 'open'
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = k.run AND (r.status <> 'done' OR k.kind = 'child'));

-- name: open_child_tickets
-- Not a breach yet: the child is looked up by whoever asks.
SELECT t.scope, t.thread_id, k.ticket_id, k.asked, k.v, r.run_id
  FROM tickets k
 CROSS JOIN threads t
 CROSS JOIN runs r
 WHERE {of_slice_of_tickets} AND k.state = 'open' AND k.kind = 'child' AND r.no = k.run;

-- name: run_with_errands
-- Whether a run is done, and whether something that it does to another thread is still on its way. Index: runs_id,
-- outbox_run.
SELECT (SELECT r.status FROM runs r WHERE r.run_id = :run_id AND r.scope = :scope),
       EXISTS (SELECT 1 FROM outbox o INDEXED BY outbox_run
                WHERE o.run_id IS NOT NULL AND o.run_id = :sender AND o.scope = :scope);

-- name: readable_tickets
SELECT t.scope, t.thread_id, k.ticket_id
  FROM tickets k
 CROSS JOIN threads t
 WHERE {of_slice_of_tickets}
   AND (k.v > :ticket_v OR NOT json_valid(CAST(k.asked AS TEXT))
        OR (k.decision IS NOT NULL AND NOT json_valid(CAST(k.decision AS TEXT))));

-- name: readable_outbox
SELECT o.scope, o.thread_id, 'errand ' || o.no
  FROM outbox o
 WHERE o.no > :after AND o.no <= :until AND (o.v > :errand_v OR NOT json_valid(CAST(o.body AS TEXT)));

-- name: readable_schedules
SELECT s.scope, NULL, s.name
  FROM schedules s
 WHERE s.no > :after AND s.no <= :until AND (s.v > :schedule_v OR NOT json_valid(CAST(s.body AS TEXT)));

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
       (SELECT count(*) FROM runs r INDEXED BY runs_waiting WHERE r.thread = t.no AND r.status = 'waiting'),
       (SELECT count(*) FROM runs r INDEXED BY runs_left_open
         WHERE r.thread = t.no AND r.open_turn IS NOT NULL AND r.status = 'done'),
       (SELECT count(*) FROM messages m INDEXED BY messages_pending WHERE m.thread = t.no AND m.position IS NOT NULL),
       (SELECT count(*) FROM spans s WHERE s.thread = t.no),
       coalesce((SELECT max(e.no) FROM thread_entries e WHERE e.thread = t.no AND e.kind = 2), 0),
       coalesce((SELECT v.first_seq + v.count - 1 FROM thread_entries e CROSS JOIN events v
                  WHERE e.thread = t.no AND e.kind = 1 AND v.no = e.row ORDER BY e.no DESC LIMIT 1), 0),
       (SELECT max(e.no) FROM thread_entries e WHERE e.thread = t.no AND e.kind = 3),
       EXISTS (SELECT 1 FROM dispatches d INDEXED BY dispatches_claimed WHERE d.thread = t.no AND d.status = 'claimed')
  FROM threads t
 WHERE t.scope = :scope AND t.thread_id = :thread_id AND t.deleted_at IS NULL;

-- name: whole_queue
-- Index: dispatches_queue.
SELECT route, crash_count, priority, position, available_at, no
  FROM dispatches INDEXED BY dispatches_queue
 WHERE thread = :thread AND status = 'queued';

-- name: recount_thread
-- No row where it is so already.
UPDATE threads
   SET queued = :queued, waiting = :waiting, left_open = :left_open, pending = :pending, spans = :spans,
       message_seq = max(message_seq, :message_seq), event_seq = max(event_seq, :event_seq),
       position = max(position, :position), latest_run_no = :latest_run_no,
       ready_route = :ready_route, ready_priority = :ready_priority, ready_at = :ready_at, ready_no = :ready_no
 WHERE no = :no
   AND (   queued <> :queued OR waiting <> :waiting OR left_open <> :left_open OR pending <> :pending OR spans <> :spans
        OR message_seq < :message_seq OR event_seq < :event_seq OR position < :position
        OR latest_run_no IS NOT :latest_run_no OR ready_route IS NOT :ready_route
        OR ready_priority IS NOT :ready_priority OR ready_at IS NOT :ready_at OR ready_no IS NOT :ready_no);

-- name: dispatches_of_run
-- The open dispatches of a run. Index: runs_id, dispatches_queue, dispatches_claimed.
SELECT d.dispatch_id
  FROM runs r
 CROSS JOIN dispatches d INDEXED BY dispatches_queue
 WHERE r.run_id = :run_id AND r.scope = :scope AND d.thread = r.thread AND d.status = 'queued' AND d.run_id = r.run_id
UNION
SELECT d.dispatch_id
  FROM runs r
 CROSS JOIN dispatches d INDEXED BY dispatches_claimed
 WHERE r.run_id = :run_id AND r.scope = :scope AND d.thread = r.thread AND d.status = 'claimed' AND d.run_id = r.run_id;

-- name: unplaced_of_run
-- Messages of a run that were accepted, and neither taken nor given up. Index: runs_id, messages_unplaced.
SELECT m.message_id
  FROM runs r
 CROSS JOIN messages m INDEXED BY messages_unplaced
 WHERE r.run_id = :run_id AND r.scope = :scope AND m.thread = r.thread AND m.seq IS NULL AND m.fate IS NULL
   AND m.position IS NULL AND m.run_id = r.run_id
 ORDER BY m.no;

-- name: has_first_dispatch
SELECT EXISTS (SELECT 1 FROM runs r CROSS JOIN dispatches d
                WHERE r.run_id = :run_id AND r.scope = :scope AND d.no = r.no);

-- name: is_reported
-- Whether an event of the thread reports the message with that seq. Index: thread_entries.
SELECT EXISTS (SELECT 1
                 FROM threads t
                CROSS JOIN thread_entries e
                CROSS JOIN events v
                CROSS JOIN json_each({events_of}) j
                WHERE t.scope = :scope AND t.thread_id = :thread_id AND e.thread = t.no AND e.kind = 1 AND v.no = e.row
                  AND instr(v.body, CAST('MessageCommitted' AS BLOB))
                  AND json_extract(j.value, '$[0]') = 'MessageCommitted'
                  AND json_extract(j.value, '$[1].message_seq') = :seq);

-- name: enter_run
INSERT INTO thread_entries (thread, kind, no, row)
SELECT thread, 3, no, no FROM runs WHERE no = :no
    ON CONFLICT (thread, kind, no) DO NOTHING;

-- name: enter_message
INSERT INTO thread_entries (thread, kind, no, row)
SELECT thread, 2, seq, no FROM messages WHERE no = :no AND seq IS NOT NULL
    ON CONFLICT (thread, kind, no) DO NOTHING;

-- name: enter_events
INSERT INTO thread_entries (thread, kind, no, row)
SELECT thread, 1, first_seq, no FROM events WHERE no = :no
    ON CONFLICT (thread, kind, no) DO NOTHING;

-- name: is_entered
SELECT EXISTS (SELECT 1
                 FROM thread_entries e
                WHERE e.thread = (SELECT no FROM threads WHERE scope = :scope AND thread_id = :thread_id)
                  AND e.kind = :kind AND e.row = :no);

-- name: leave_run
-- A run that is gone is found no more.
DELETE FROM thread_entries
 WHERE thread = (SELECT no FROM threads WHERE scope = :scope AND thread_id = :thread_id) AND kind = 3 AND no = :no
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = :no);

-- name: keep_arrivals
-- Before a row goes that may have the highest number.
UPDATE numbers
   SET arrivals = max(arrivals, coalesce((SELECT max(no) FROM dispatches), 0), coalesce((SELECT max(no) FROM tickets), 0));

-- name: remove_dispatch
DELETE FROM dispatches
 WHERE dispatch_id = :subject AND scope = :scope AND status NOT IN ('queued', 'claimed', 'dead_letter')
   AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = dispatches.run_id AND r.scope = dispatches.scope);

-- name: remove_ticket
DELETE FROM tickets
 WHERE ticket_id = :subject AND scope = :scope AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = tickets.run);

-- name: remove_journal
DELETE FROM journal
 WHERE run = :no AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.no = journal.run);
