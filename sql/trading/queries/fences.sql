-- Who holds an agent, and who may write intents.

-- name: take_token
-- Give the lock's new holder a token above all before it.
INSERT INTO agent_locks (agent_id, role, token, mode, host, pid, taken_at)
VALUES (:agent_id, :role, 1, :mode, :host, :pid, :at)
ON CONFLICT (agent_id, role) DO UPDATE
SET token = agent_locks.token + 1,
    mode = excluded.mode,
    host = excluded.host,
    pid = excluded.pid,
    taken_at = excluded.taken_at
RETURNING token;

-- name: newest_token
-- Return the newest token, and keep it the newest until the transaction ends.
SELECT token FROM agent_locks WHERE agent_id = :agent_id AND role = :role FOR SHARE;

-- name: try_lock
-- Take a lock for this session, unless another session has it.
SELECT pg_try_advisory_lock(:key) AS is_ours;

-- name: unlock
-- Give a session's lock back.
SELECT pg_advisory_unlock(:key);

-- name: lock_holder
-- Describe the session that has a lock; pg_locks shows the key as two halves (PostgreSQL manual, 53.13).
SELECT format('pid %s%s, connected since %s', a.pid, ' from ' || host(a.client_addr),
              to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS holder
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = :key::bigint;

-- name: answer
-- Give a row, if anybody is there to give one.
SELECT true AS is_there;
