-- Who may write intents.

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
