-- Comparisons of broker and database, what they lock, and what persons settle.

-- name: insert_reconciliation
-- Keep what a comparison came to.
INSERT INTO reconciliations (
    agent_id, session_date, source, verdict, why, deltas, broker_hash, database_hash, at
) VALUES (
    :agent_id, :session_date, :source, :verdict, :why, :deltas, :broker_hash, :database_hash, :at
);

-- name: latest_verdict
-- Return what the latest comparison for a session came to.
SELECT verdict FROM reconciliations
WHERE agent_id = :agent_id AND session_date = :session_date
ORDER BY reconciliation_id DESC
LIMIT 1;

-- name: reconciled_orders
-- List orders that the broker has to know, may know, or knew until a short time ago, oldest first.
SELECT order_id, client_order_id, broker_order_id, symbol, side, quantity, status, created_at,
    parent_order_id IS NOT NULL AS is_leg
FROM orders
WHERE agent_id = :agent_id
    AND (
        updated_at >= :since
        OR status IN (
            'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
        )
    )
ORDER BY order_id;

-- name: last_seen_prices
-- Return what the monitor last saw each symbol at.
SELECT DISTINCT ON (symbol) symbol, last_price
FROM position_monitor_status
WHERE agent_id = :agent_id AND last_price > 0
ORDER BY symbol, last_check_at DESC NULLS LAST, monitor_id DESC;

-- name: insert_symbol_lock
-- Lock a symbol; gives no row when it is locked for that already.
INSERT INTO symbol_locks (agent_id, symbol, kind, reason, evidence, locked_by, locked_at)
VALUES (:agent_id, :symbol, :kind, :reason, :evidence, :locked_by, :at)
ON CONFLICT (agent_id, symbol, kind) WHERE released_at IS NULL DO NOTHING
RETURNING lock_id;

-- name: symbol_locks_in_force
-- List the locks that nobody has released, oldest first.
SELECT symbol, kind, reason FROM symbol_locks
WHERE agent_id = :agent_id AND released_at IS NULL
ORDER BY lock_id;

-- name: release_symbol_locks
-- Release the locks of a symbol, of one kind or of all, and return what was released.
UPDATE symbol_locks
SET released_at = :at, released_by = :released_by, released_why = :why
WHERE agent_id = :agent_id
    AND symbol = :symbol
    AND released_at IS NULL
    AND (:kind::text IS NULL OR kind = :kind)
RETURNING symbol, kind, reason;

-- name: settled_marks
-- List the findings that a person has looked at and that need nothing more.
SELECT DISTINCT evidence ->> 'mark' AS mark FROM symbol_locks
WHERE agent_id = :agent_id
    AND released_at IS NOT NULL
    AND released_by <> 'reconciliation'
    AND evidence ->> 'mark' <> '';

-- name: accept_external_holding
-- Keep how many shares of a symbol are not the agent's to manage.
INSERT INTO external_holdings (agent_id, symbol, quantity, why, accepted_by, at)
VALUES (:agent_id, :symbol, :quantity, :why, :accepted_by, :at);

-- name: external_holdings
-- Return the latest word about each symbol.
SELECT DISTINCT ON (symbol) symbol, quantity FROM external_holdings
WHERE agent_id = :agent_id
ORDER BY symbol, holding_id DESC;
