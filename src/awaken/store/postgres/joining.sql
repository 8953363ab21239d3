-- What is asked over connections of callers, in transactions of theirs. Their search path is not that of the store, so
-- each name here says in which schema it is; and nothing but that schema's name is put into the text.

-- name: post_errand
-- Write an errand, and tell everybody with the commit. Its number begins a block of the sequence, as that of a batch
-- does, so no other row of any table has it. The transaction is that which ends last, whatever savepoint this is behind.
INSERT INTO SCHEMA.outbox (no, scope, sender, run_id, thread_id, created_at, v, body)
VALUES (nextval('SCHEMA.arrivals'), CAST(:scope AS text), CAST(:sender AS text), NULL, CAST(:thread_id AS text),
        CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint), CAST(:errand_v AS bigint), CAST(:body AS bytea))
RETURNING no, CAST(pg_current_xact_id() AS text), CAST(pg_notify(CAST(:channel AS text), CAST(:note AS text)) AS text);
