-- Care of the database: what must not be believed after a restore.

-- name: renew_identity
-- Make this another database than the one its rows come from.
UPDATE database_identity SET identity = gen_random_uuid() RETURNING identity;

-- name: raise_tokens
-- Put the next token of every lock above all that may have been given since the rows were copied.
UPDATE agent_locks SET token = token + :by;

-- name: void_verdicts
-- Make the latest word about every session one that allows no entry.
INSERT INTO reconciliations (agent_id, session_date, source, verdict, why, deltas, at)
SELECT DISTINCT agent_id, session_date, 'restore', 'unreadable', :why, '[]'::jsonb, :at::timestamptz
FROM reconciliations
WHERE session_date IS NOT NULL;
