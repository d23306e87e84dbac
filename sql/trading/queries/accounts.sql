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
-- Keep an agent from taking new risk; gives no row when that daily-loss halt holds already.
INSERT INTO halts (agent_id, state, kind, reason, started_by, started_at, expires_at)
VALUES (:agent_id, :state, :kind, :reason, :started_by, :at, :expires_at)
ON CONFLICT (agent_id, expires_at) WHERE kind = 'daily_loss' AND lifted_at IS NULL DO NOTHING
RETURNING halt_id;

-- name: lift_halts
-- Let an agent trade again; gives the halts that were in force.
UPDATE halts SET lifted_at = :at, lifted_by = :lifted_by, lifted_why = :why
WHERE agent_id = :agent_id AND lifted_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
RETURNING state, kind, reason, started_by, started_at, expires_at;

-- name: halts_in_force
-- List what keeps an agent from taking new risk, oldest first.
SELECT state, kind, reason, started_by, started_at, expires_at FROM halts
WHERE agent_id = :agent_id AND lifted_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
ORDER BY halt_id;

-- name: database_identity
-- Say which database this is.
SELECT identity FROM database_identity;
