-- Care of the database: what is forgotten in time, and what must not be believed after a restore.

-- name: count_old_transcripts
-- Count the pieces of what was said in an agent's cycles that ended before a time, and those cycles.
SELECT count(*) AS pieces, count(DISTINCT cycle_id) AS cycles
FROM cycle_transcripts
JOIN trading_cycles USING (cycle_id)
WHERE agent_id = :agent_id AND ended_at < :before;

-- name: forget_transcripts
-- Forget what was said in some of those cycles, whole cycles at a time; gives how many pieces of how many.
WITH old AS (
    SELECT cycle_id FROM trading_cycles
    WHERE agent_id = :agent_id
        AND ended_at < :before
        AND EXISTS (SELECT FROM cycle_transcripts WHERE cycle_id = trading_cycles.cycle_id)
    ORDER BY started_at
    LIMIT :cycles
),
gone AS (
    DELETE FROM cycle_transcripts WHERE cycle_id IN (SELECT cycle_id FROM old) RETURNING cycle_id
)
SELECT count(*) AS pieces, count(DISTINCT cycle_id) AS cycles FROM gone;

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
