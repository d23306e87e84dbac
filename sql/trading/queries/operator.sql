-- What a person does by command, and what they read of the agent's past.

-- name: begin_operator_action
-- Write down what a person wants before it is done.
INSERT INTO operator_actions (
    agent_id, operator, command, arguments, why, status, pid, started_at
) VALUES (:agent_id, :operator, :command, :arguments, :why, 'begun', :pid, :at)
RETURNING action_id;

-- name: end_operator_action
-- Complete what was begun; gives no row when it is complete already.
UPDATE operator_actions
SET status = :status, result = :result, cycle_id = :cycle_id, ended_at = :at
WHERE action_id = :action_id AND status = 'begun'
RETURNING action_id;

-- name: latest_operator_actions
-- List what persons did last, and what was never completed, latest first.
SELECT action_id, operator, command, arguments, why, status, result, cycle_id, pid, started_at,
    ended_at
FROM operator_actions
WHERE agent_id = :agent_id
ORDER BY status <> 'begun', action_id DESC
LIMIT :limit;

-- name: latest_cycles
-- List the last runs of an agent, latest first; of one moment, those outside every slot came later.
SELECT cycle_id, mode, status, brain, started_at, ended_at, reason, equity, session_pnl,
    orders_placed, refusals, cost_usd
FROM trading_cycles
WHERE agent_id = :agent_id
ORDER BY started_at DESC, slot_at IS NULL DESC, length(cycle_id) DESC, cycle_id DESC
LIMIT :limit;

-- name: latest_equity
-- Return what the last run that looked at the account saw of it.
SELECT cycle_id, ended_at AS at, equity, session_pnl
FROM trading_cycles
WHERE agent_id = :agent_id AND equity IS NOT NULL
ORDER BY started_at DESC, slot_at IS NULL DESC, length(cycle_id) DESC, cycle_id DESC
LIMIT 1;

-- name: cycle_of_agent
-- Return one run whole.
SELECT * FROM trading_cycles WHERE agent_id = :agent_id AND cycle_id = :cycle_id;

-- name: decisions_of_cycle
-- List what was decided in a run, in order.
SELECT decision, symbol, reasoning, confidence, model, created_at AS at
FROM decisions WHERE cycle_id = :cycle_id ORDER BY decision_id;

-- name: tool_calls_of_cycle
-- List what was asked in a run and what was answered, in order.
SELECT sequence, name, arguments, result, is_error, started_at AS at, duration_seconds
FROM tool_calls WHERE cycle_id = :cycle_id ORDER BY sequence;

-- name: refusals_of_cycle
-- List what safety refused in a run, in order.
SELECT tool, request, codes, texts, refused_at AS at
FROM refusals WHERE cycle_id = :cycle_id ORDER BY refusal_id;

-- name: candidates_of_cycle
-- List what the scanner offered in a run, best first.
SELECT rank, symbol, price, change_pct, relative_volume, score
FROM scan_results WHERE cycle_id = :cycle_id ORDER BY scan_id;

-- name: alerts_of_cycle
-- List what a person was told because of a run, in order.
SELECT severity, subject, body, status, queued_at AS at
FROM alerts WHERE cycle_id = :cycle_id ORDER BY alert_id;

-- name: claude_calls_of_cycle
-- List a run's calls to Claude and what each cost, in order.
SELECT model, status, cost_usd, reserved_usd, input_tokens, output_tokens, stop_reason, error,
    started_at AS at
FROM claude_calls WHERE cycle_id = :cycle_id ORDER BY call_id;

-- name: fills_of_orders
-- List the executions of some orders with the charges on each, in the order in which they happened.
SELECT fills.order_id, fills.symbol, fills.side, fills.quantity, fills.price, fills.currency,
    fills.filled_at AS at, fills.realized_pnl,
    (SELECT coalesce(sum(amount), 0) FROM fill_fees WHERE fill_fees.fill_key = fills.fill_key) AS fees
FROM fills
WHERE fills.order_id = ANY(:order_ids::bigint[])
ORDER BY fills.filled_at, fills.fill_key;

-- name: events_of_orders
-- List what was noticed about some orders, oldest first.
SELECT order_id, kind, from_status, to_status, source, detail, at
FROM order_events
WHERE order_id = ANY(:order_ids::bigint[])
ORDER BY event_id;

-- name: orders_of_agent
-- List an agent's orders, oldest first: those not over, those that moved since then, or all.
SELECT order_id, cycle_id, parent_order_id, client_order_id, broker_order_id, symbol, side, order_type,
    order_class, time_in_force, order_purpose, status, quantity, filled_quantity, limit_price,
    stop_price, stop_loss, take_profit, filled_price, currency, reason, reject_reason, created_at,
    updated_at
FROM orders
WHERE agent_id = :agent_id
    AND (
        :since::timestamptz IS NULL
        OR updated_at >= :since
        OR status IN (
            'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
        )
    )
ORDER BY order_id;
