-- Which account and database this is, and whether it may be traded.

-- name: insert_pin
-- Tie an agent to its broker account, unless it is tied already.
INSERT INTO account_pins (agent_id, broker, environment, account_id, pinned_at)
VALUES (:agent_id, :broker, :environment, :account_id, :at)
ON CONFLICT (agent_id) DO NOTHING;

-- name: account_pin
-- Return the account that an agent is tied to.
SELECT broker, environment, account_id FROM account_pins WHERE agent_id = :agent_id;

-- name: start_halt
-- Stop an agent from taking new risk.
INSERT INTO halts (agent_id, reason, started_by, started_at, expires_at)
VALUES (:agent_id, :reason, :started_by, :at, :expires_at)
RETURNING halt_id;

-- name: lift_halt
-- Let an agent trade again; gives no row unless the halt was in force.
UPDATE halts SET lifted_at = :at, lifted_by = :lifted_by
WHERE halt_id = :halt_id AND lifted_at IS NULL
RETURNING halt_id;

-- name: active_halts
-- List why an agent may not take new risk, oldest first.
SELECT reason FROM halts
WHERE agent_id = :agent_id
    AND lifted_at IS NULL
    AND started_at <= :at
    AND (expires_at IS NULL OR expires_at > :at)
ORDER BY halt_id;

-- name: database_identity
-- Say which database this is.
SELECT identity FROM database_identity;
