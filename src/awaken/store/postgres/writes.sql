-- What a batch writes: each statement for many rows, which it is given as one array for each column (`:rows`). A count
-- of changed rows that differs from the rows given means that a guard held: the batch is replayed. Rows are found by their
-- keys alone, in whatever state the tables' statistics are: guards are written so that no index fits them.

-- name: insert_thread
INSERT INTO threads (no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued, waiting,
       left_open, spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority, ready_at,
       ready_no, latest_run_no, created_at, updated_at, v, info, resource_id, parent_thread_id)
SELECT u.no, u.scope, u.thread_id, u.epoch, u.message_seq, u.event_seq, u.first_event_seq, u.position, u.queued,
       u.waiting, u.left_open, u.spans, u.pending, u.interrupt_id, u.commit_no, u.commit_token, u.ready_route,
       u.ready_priority, u.ready_at, u.ready_no, u.latest_run_no, u.created_at, u.updated_at, u.v, u.info,
       u.resource_id, u.parent_thread_id
  FROM :rows(no bigint, scope text, thread_id text, epoch bigint, message_seq bigint, event_seq bigint,
         first_event_seq bigint, position bigint, queued bigint, waiting bigint, left_open bigint, spans bigint,
         pending bigint, interrupt_id text, commit_no bigint, commit_token text, ready_route text,
         ready_priority bigint, ready_at bigint, ready_no bigint, latest_run_no bigint, created_at bigint,
         updated_at bigint, v bigint, info text, resource_id text, parent_thread_id text);

-- name: update_thread
UPDATE threads x
   SET epoch = u.epoch, message_seq = u.message_seq, event_seq = u.event_seq, position = u.position,
          queued = u.queued, waiting = u.waiting, left_open = u.left_open, spans = u.spans, pending = u.pending,
          interrupt_id = u.interrupt_id, commit_no = u.commit_no, commit_token = u.commit_token,
          ready_route = u.ready_route, ready_priority = u.ready_priority, ready_at = u.ready_at,
          ready_no = u.ready_no, latest_run_no = u.latest_run_no, updated_at = u.updated_at
  FROM :rows(epoch bigint, message_seq bigint, event_seq bigint, position bigint, queued bigint, waiting bigint,
         left_open bigint, spans bigint, pending bigint, interrupt_id text, commit_no bigint, commit_token text,
         ready_route text, ready_priority bigint, ready_at bigint, ready_no bigint, latest_run_no bigint,
         updated_at bigint, no bigint)
 WHERE x.no = u.no;

-- name: update_thread_info
UPDATE threads x
   SET info = u.info, v = u.v, info_version = u.info_version, resource_id = u.resource_id,
          parent_thread_id = u.parent_thread_id
  FROM :rows(info text, v bigint, info_version bigint, resource_id text, parent_thread_id text, no bigint)
 WHERE x.no = u.no;

-- name: mark_thread
-- That it is deleted, or when it will be.
UPDATE threads x
   SET deleted_at = u.deleted_at, delete_at = u.delete_at, has_rows = u.has_rows
  FROM :rows(deleted_at bigint, delete_at bigint, has_rows bigint, no bigint)
 WHERE x.no = u.no;

-- name: insert_message
INSERT INTO messages (thread, message_id, seq, run_id, internal, created_at, step_index, v, body)
SELECT u.thread, u.message_id, u.seq, u.run_id, u.internal, u.created_at, u.step_index, u.v, u.body
  FROM :rows(thread bigint, message_id text, seq bigint, run_id text, internal bigint, created_at bigint,
         step_index bigint, v bigint, body bytea);

-- name: insert_pending
-- A message that waits for a run.
INSERT INTO messages (thread, message_id, run_id, internal, created_at, v, body, position, boundary, granularity,
       barrier, fallback, target_run_id, opens)
SELECT u.thread, u.message_id, u.run_id, u.internal, u.created_at, u.v, u.body, u.position, u.boundary, u.granularity,
       u.barrier, u.fallback, u.target_run_id, u.opens
  FROM :rows(thread bigint, message_id text, run_id text, internal bigint, created_at bigint, v bigint, body bytea,
         position bigint, boundary text, granularity text, barrier bigint, fallback bigint, target_run_id text,
         opens bytea);

-- name: append_message
-- Give an accepted message its place in the log, once.
UPDATE messages x
   SET seq = u.seq, settled_at = u.settled_at, step_index = u.step_index
  FROM :rows(seq bigint, settled_at bigint, step_index bigint, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2;

-- name: take_message
-- Give a message that waits its place in the log, once.
UPDATE messages x
   SET seq = u.seq, settled_at = u.settled_at, step_index = u.step_index, commit_no = u.commit_no, position = NULL
  FROM :rows(seq bigint, settled_at bigint, step_index bigint, commit_no bigint, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2 AND num_nulls(x.position) = 0;

-- name: move_pending
UPDATE messages x
   SET position = u.position, boundary = u.boundary, barrier = u.barrier, revision = u.revision
  FROM :rows(position bigint, boundary text, barrier bigint, revision bigint, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2 AND num_nulls(x.position) = 0;

-- name: edit_message
UPDATE messages x
   SET internal = u.internal, v = u.v, body = u.body, revision = u.revision, digest = u.digest
  FROM :rows(internal bigint, v bigint, body bytea, revision bigint, digest bytea, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2;

-- name: requeue_message
-- It is brought by a run of its own now.
UPDATE messages x
   SET run_id = u.run_id, position = NULL
  FROM :rows(run_id text, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2;

-- name: mark_fate
-- The first fate is the final one: a message that has a seq or a fate already is left as it is.
UPDATE messages x
   SET fate = u.fate, settled_at = u.settled_at, position = NULL
  FROM :rows(fate text, settled_at bigint, message_id text, thread bigint)
 WHERE x.message_id = u.message_id AND x.thread = u.thread AND num_nulls(x.seq, x.fate) = 2;

-- name: insert_run
INSERT INTO runs (no, scope, run_id, thread, agent_id, dispatch_id, status, created_at, updated_at, started_at,
       finished_at, first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at,
       dead_lettered, open_tickets, v, request, state_v, state)
SELECT u.no, u.scope, u.run_id, u.thread, u.agent_id, u.dispatch_id, u.status, u.created_at, u.updated_at,
       u.started_at, u.finished_at, u.first_event_seq, u.updated_seq, u.open_turn, u.executing_ms, u.dedupe_key,
       u.cancel_requested_at, u.dead_lettered, u.open_tickets, u.v, u.request, u.state_v, u.state
  FROM :rows(no bigint, scope text, run_id text, thread bigint, agent_id text, dispatch_id text, status text,
         created_at bigint, updated_at bigint, started_at bigint, finished_at bigint, first_event_seq bigint,
         updated_seq bigint, open_turn bigint, executing_ms bigint, dedupe_key text, cancel_requested_at bigint,
         dead_lettered bigint, open_tickets bigint, v bigint, request bytea, state_v bigint, state bytea);

-- name: update_run
-- What a run was asked to do, by whom and when it was created never changes.
UPDATE runs x
   SET dispatch_id = u.dispatch_id, status = u.status, updated_at = u.updated_at, started_at = u.started_at,
          finished_at = u.finished_at, updated_seq = u.updated_seq, open_turn = u.open_turn,
          executing_ms = u.executing_ms, cancel_requested_at = u.cancel_requested_at, dead_lettered = u.dead_lettered,
          open_tickets = u.open_tickets, state_v = u.state_v, state = u.state
  FROM :rows(dispatch_id text, status text, updated_at bigint, started_at bigint, finished_at bigint,
         updated_seq bigint, open_turn bigint, executing_ms bigint, cancel_requested_at bigint, dead_lettered bigint,
         open_tickets bigint, state_v bigint, state bytea, no bigint)
 WHERE x.no = u.no;

-- name: insert_dispatch
INSERT INTO dispatches (no, scope, dispatch_id, thread, run_id, route, status, why, priority, position, epoch,
       available_at, created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids, last_error,
       claim_token, claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at, v)
SELECT u.no, u.scope, u.dispatch_id, u.thread, u.run_id, u.route, u.status, u.why, u.priority, u.position, u.epoch,
       u.available_at, u.created_at, u.updated_at, u.max_attempts, u.attempt_count, u.crash_count, u.message_ids,
       u.last_error, u.claim_token, u.claimed_by, u.lease_until, u.instance_id, u.tried_at, u.tried_by,
       u.completed_at, u.v
  FROM :rows(no bigint, scope text, dispatch_id text, thread bigint, run_id text, route text, status text, why text,
         priority bigint, position bigint, epoch bigint, available_at bigint, created_at bigint, updated_at bigint,
         max_attempts bigint, attempt_count bigint, crash_count bigint, message_ids bytea, last_error text,
         claim_token text, claimed_by text, lease_until bigint, instance_id text, tried_at bigint, tried_by text,
         completed_at bigint, v bigint);

-- name: update_dispatch
-- Only from the state it was read in: the status and the claim token are the fence.
UPDATE dispatches x
   SET status = u.status, why = u.why, priority = u.priority, available_at = u.available_at,
          updated_at = u.updated_at, attempt_count = u.attempt_count, crash_count = u.crash_count,
          last_error = u.last_error, claim_token = u.claim_token, claimed_by = u.claimed_by,
          lease_until = u.lease_until, instance_id = u.instance_id, tried_at = u.tried_at, tried_by = u.tried_by,
          completed_at = u.completed_at
  FROM :rows(status text, why text, priority bigint, available_at bigint, updated_at bigint, attempt_count bigint,
         crash_count bigint, last_error text, claim_token text, claimed_by text, lease_until bigint, instance_id text,
         tried_at bigint, tried_by text, completed_at bigint, no bigint, was text, was_token text)
 WHERE x.no = u.no AND x.status = u.was AND x.claim_token IS NOT DISTINCT FROM u.was_token;

-- name: insert_events
INSERT INTO events (thread, first_seq, count, run_id, dispatch_id, created_at, v, body)
SELECT u.thread, u.first_seq, u.count, u.run_id, u.dispatch_id, u.created_at, u.v, u.body
  FROM :rows(thread bigint, first_seq bigint, count bigint, run_id text, dispatch_id text, created_at bigint,
         v bigint, body bytea);

-- name: put_journal
-- A step that is finished a second time replaces its value.
INSERT INTO journal (run, key, created_at, v, value)
SELECT u.run, u.key, u.created_at, u.v, u.value
  FROM :rows(run bigint, key text, created_at bigint, v bigint, value bytea)
    ON CONFLICT (run, key) DO UPDATE
   SET created_at = excluded.created_at, v = excluded.v, value = excluded.value;

-- name: insert_ticket
INSERT INTO tickets (no, scope, ticket_id, thread, run, agent_id, kind, tool_name, state, created_at, expires_at,
       closed_at, v, asked)
SELECT u.no, u.scope, u.ticket_id, u.thread, u.run, u.agent_id, u.kind, u.tool_name, u.state, u.created_at,
       u.expires_at, u.closed_at, u.v, u.asked
  FROM :rows(no bigint, scope text, ticket_id text, thread bigint, run bigint, agent_id text, kind text,
         tool_name text, state text, created_at bigint, expires_at bigint, closed_at bigint, v bigint, asked bytea);

-- name: update_ticket
-- What is closed stays as it is.
UPDATE tickets x
   SET state = u.state, closed_at = u.closed_at, decision = u.decision, child_waits = u.child_waits
  FROM :rows(state text, closed_at bigint, decision bytea, child_waits text, no bigint)
 WHERE x.no = u.no AND x.state || '' = 'open';

-- name: put_state
INSERT INTO states (thread, version, updated_at, v, body)
SELECT u.thread, u.version, u.updated_at, u.v, u.body
  FROM :rows(thread bigint, version bigint, updated_at bigint, v bigint, body bytea)
    ON CONFLICT (thread) DO UPDATE
   SET version = excluded.version, updated_at = excluded.updated_at, v = excluded.v, body = excluded.body;

-- name: insert_span
INSERT INTO spans (thread, event_seq, first_seq, last_seq, why, replacement_seq, replacement_id)
SELECT u.thread, u.event_seq, u.first_seq, u.last_seq, u.why, u.replacement_seq, u.replacement_id
  FROM :rows(thread bigint, event_seq bigint, first_seq bigint, last_seq bigint, why text, replacement_seq bigint,
         replacement_id text);

-- name: insert_errand
INSERT INTO outbox (no, scope, sender, run_id, thread_id, created_at, v, body)
SELECT u.no, u.scope, u.sender, u.run_id, u.thread_id, u.created_at, u.v, u.body
  FROM :rows(no bigint, scope text, sender text, run_id text, thread_id text, created_at bigint, v bigint, body bytea);

-- name: insert_schedule
INSERT INTO schedules (no, scope, name, next_at, v, body)
SELECT u.no, u.scope, u.name, u.next_at, u.v, u.body
  FROM :rows(no bigint, scope text, name text, next_at bigint, v bigint, body bytea);

-- name: update_schedule
UPDATE schedules x
   SET next_at = u.next_at, v = u.v, body = u.body
  FROM :rows(next_at bigint, v bigint, body bytea, no bigint)
 WHERE x.no = u.no;

-- name: delete_errand
DELETE FROM outbox x
 USING :rows(no bigint)
 WHERE x.no = u.no;

-- name: delete_schedule
DELETE FROM schedules x
 USING :rows(no bigint)
 WHERE x.no = u.no;

-- name: delete_run
DELETE FROM runs x
 USING :rows(no bigint)
 WHERE x.no = u.no;

-- name: delete_dispatches_of_run
-- Index: dispatches_thread.
DELETE FROM dispatches x
 USING :rows(thread bigint, run_id text)
 WHERE x.thread = u.thread AND x.run_id = u.run_id;

-- name: delete_dispatches_of_thread
DELETE FROM dispatches x
 USING :rows(thread bigint)
 WHERE x.thread = u.thread;

-- name: delete_journal
DELETE FROM journal x
 USING :rows(run bigint)
 WHERE x.run = u.run;

-- name: delete_tickets
DELETE FROM tickets x
 USING :rows(run bigint)
 WHERE x.run = u.run;

-- name: delete_events
DELETE FROM events x
 USING :rows(no bigint)
 WHERE x.no = u.no;

-- name: delete_message
DELETE FROM messages x
 USING :rows(no bigint)
 WHERE x.no = u.no;

-- name: delete_spans
DELETE FROM spans x
 USING :rows(thread bigint)
 WHERE x.thread = u.thread;

-- name: delete_state
DELETE FROM states x
 USING :rows(thread bigint)
 WHERE x.thread = u.thread;

-- name: forget_newest_run
-- A thread whose newest run is gone is listed by the newest that is left, or else by its own age. Index: runs_thread.
UPDATE threads x
   SET latest_run_no = (SELECT max(r.no) FROM runs r WHERE r.thread = x.no)
  FROM :rows(no bigint, run bigint)
 WHERE x.no = u.no AND x.latest_run_no = u.run;

-- name: keep_events_from
-- A thread's first remaining event.
UPDATE threads x
   SET first_event_seq = greatest(x.first_event_seq, u.first)
  FROM (SELECT max(u.first) AS first, u.no FROM :rows(first bigint, no bigint) GROUP BY u.no) u
 WHERE x.no = u.no;

-- name: empty_thread
-- Nothing of a deleted thread is left but this.
UPDATE threads x
   SET has_rows = NULL, info = NULL, resource_id = NULL, parent_thread_id = NULL, latest_run_no = NULL
  FROM :rows(no bigint)
 WHERE x.no = u.no;

-- ====================================================================================================================
-- What a file brings that is moved here: every column of every row
-- ====================================================================================================================

-- name: move_journal
INSERT INTO journal (run, key, created_at, v, value)
SELECT u.run, u.key, u.created_at, u.v, u.value
  FROM :rows(run bigint, key text, created_at bigint, v bigint, value bytea);

-- name: move_spans
INSERT INTO spans (thread, event_seq, first_seq, last_seq, why, replacement_seq, replacement_id)
SELECT u.thread, u.event_seq, u.first_seq, u.last_seq, u.why, u.replacement_seq, u.replacement_id
  FROM :rows(thread bigint, event_seq bigint, first_seq bigint, last_seq bigint, why text, replacement_seq bigint,
         replacement_id text);

-- name: move_states
INSERT INTO states (thread, version, updated_at, v, body)
SELECT u.thread, u.version, u.updated_at, u.v, u.body
  FROM :rows(thread bigint, version bigint, updated_at bigint, v bigint, body bytea);

-- name: move_events
INSERT INTO events (no, thread, first_seq, count, run_id, dispatch_id, created_at, v, body)
SELECT u.no, u.thread, u.first_seq, u.count, u.run_id, u.dispatch_id, u.created_at, u.v, u.body
  FROM :rows(no bigint, thread bigint, first_seq bigint, count bigint, run_id text, dispatch_id text, created_at
         bigint, v bigint, body bytea);

-- name: move_messages
INSERT INTO messages (no, thread, message_id, seq, run_id, internal, created_at, v, body, fate, settled_at,
       revision, digest, step_index, commit_no, position, boundary, granularity, barrier, fallback, target_run_id,
       opens)
SELECT u.no, u.thread, u.message_id, u.seq, u.run_id, u.internal, u.created_at, u.v, u.body, u.fate, u.settled_at,
       u.revision, u.digest, u.step_index, u.commit_no, u.position, u.boundary, u.granularity, u.barrier,
       u.fallback, u.target_run_id, u.opens
  FROM :rows(no bigint, thread bigint, message_id text, seq bigint, run_id text, internal bigint, created_at bigint,
         v bigint, body bytea, fate text, settled_at bigint, revision bigint, digest bytea, step_index bigint,
         commit_no bigint, position bigint, boundary text, granularity text, barrier bigint, fallback bigint,
         target_run_id text, opens bytea);

-- name: move_tickets
INSERT INTO tickets (no, scope, ticket_id, thread, run, agent_id, kind, tool_name, state, created_at, expires_at,
       closed_at, v, asked, decision, child_waits)
SELECT u.no, u.scope, u.ticket_id, u.thread, u.run, u.agent_id, u.kind, u.tool_name, u.state, u.created_at,
       u.expires_at, u.closed_at, u.v, u.asked, u.decision, u.child_waits
  FROM :rows(no bigint, scope text, ticket_id text, thread bigint, run bigint, agent_id text, kind text, tool_name
         text, state text, created_at bigint, expires_at bigint, closed_at bigint, v bigint, asked bytea, decision
         bytea, child_waits text);

-- name: move_runs
INSERT INTO runs (no, scope, run_id, thread, agent_id, dispatch_id, status, created_at, updated_at, started_at,
       finished_at, first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at,
       dead_lettered, open_tickets, v, request, state_v, state)
SELECT u.no, u.scope, u.run_id, u.thread, u.agent_id, u.dispatch_id, u.status, u.created_at, u.updated_at,
       u.started_at, u.finished_at, u.first_event_seq, u.updated_seq, u.open_turn, u.executing_ms, u.dedupe_key,
       u.cancel_requested_at, u.dead_lettered, u.open_tickets, u.v, u.request, u.state_v, u.state
  FROM :rows(no bigint, scope text, run_id text, thread bigint, agent_id text, dispatch_id text, status text,
         created_at bigint, updated_at bigint, started_at bigint, finished_at bigint, first_event_seq bigint,
         updated_seq bigint, open_turn bigint, executing_ms bigint, dedupe_key text, cancel_requested_at bigint,
         dead_lettered bigint, open_tickets bigint, v bigint, request bytea, state_v bigint, state bytea);

-- name: move_dispatches
INSERT INTO dispatches (no, scope, dispatch_id, thread, run_id, route, status, why, priority, position, epoch,
       available_at, created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids, last_error,
       claim_token, claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at, v)
SELECT u.no, u.scope, u.dispatch_id, u.thread, u.run_id, u.route, u.status, u.why, u.priority, u.position, u.epoch,
       u.available_at, u.created_at, u.updated_at, u.max_attempts, u.attempt_count, u.crash_count, u.message_ids,
       u.last_error, u.claim_token, u.claimed_by, u.lease_until, u.instance_id, u.tried_at, u.tried_by,
       u.completed_at, u.v
  FROM :rows(no bigint, scope text, dispatch_id text, thread bigint, run_id text, route text, status text, why text,
         priority bigint, position bigint, epoch bigint, available_at bigint, created_at bigint, updated_at bigint,
         max_attempts bigint, attempt_count bigint, crash_count bigint, message_ids bytea, last_error text,
         claim_token text, claimed_by text, lease_until bigint, instance_id text, tried_at bigint, tried_by text,
         completed_at bigint, v bigint);

-- name: move_outbox
INSERT INTO outbox (no, scope, sender, run_id, thread_id, created_at, v, body)
SELECT u.no, u.scope, u.sender, u.run_id, u.thread_id, u.created_at, u.v, u.body
  FROM :rows(no bigint, scope text, sender text, run_id text, thread_id text, created_at bigint, v bigint, body
         bytea);

-- name: move_schedules
INSERT INTO schedules (no, scope, name, next_at, v, body)
SELECT u.no, u.scope, u.name, u.next_at, u.v, u.body
  FROM :rows(no bigint, scope text, name text, next_at bigint, v bigint, body bytea);

-- name: move_threads
INSERT INTO threads (no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued,
       waiting, left_open, spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority,
       ready_at, ready_no, latest_run_no, created_at, updated_at, v, info, resource_id, parent_thread_id,
       info_version, deleted_at, delete_at, has_rows)
SELECT u.no, u.scope, u.thread_id, u.epoch, u.message_seq, u.event_seq, u.first_event_seq, u.position, u.queued,
       u.waiting, u.left_open, u.spans, u.pending, u.interrupt_id, u.commit_no, u.commit_token, u.ready_route,
       u.ready_priority, u.ready_at, u.ready_no, u.latest_run_no, u.created_at, u.updated_at, u.v, u.info,
       u.resource_id, u.parent_thread_id, u.info_version, u.deleted_at, u.delete_at, u.has_rows
  FROM :rows(no bigint, scope text, thread_id text, epoch bigint, message_seq bigint, event_seq bigint,
         first_event_seq bigint, position bigint, queued bigint, waiting bigint, left_open bigint, spans bigint,
         pending bigint, interrupt_id text, commit_no bigint, commit_token text, ready_route text, ready_priority
         bigint, ready_at bigint, ready_no bigint, latest_run_no bigint, created_at bigint, updated_at bigint, v
         bigint, info text, resource_id text, parent_thread_id text, info_version bigint, deleted_at bigint,
         delete_at bigint, has_rows bigint);
