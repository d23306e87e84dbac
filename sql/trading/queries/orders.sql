-- Orders and what was noticed about them.

-- name: insert_intent
-- Write down what is about to be asked of the broker; gives no row when the client order id is taken.
INSERT INTO orders (
    agent_id, cycle_id, security_id, client_order_id, symbol, side, order_type, order_class,
    time_in_force, order_purpose, status, quantity, limit_price, stop_price, stop_loss, take_profit,
    replaces, currency, reason, filled_quantity, created_at, updated_at, sender_role, sender_token
) VALUES (
    :agent_id, :cycle_id, (SELECT security_id FROM securities WHERE symbol = :symbol),
    :client_order_id, :symbol, :side, :order_type, :order_class, :time_in_force, :order_purpose,
    'intent', :quantity, :limit_price, :stop_price, :stop_loss, :take_profit, :replaces, :currency,
    :reason, 0, :at, :at, :sender_role, :sender_token
)
ON CONFLICT (client_order_id) DO NOTHING
RETURNING *;

-- name: restore_intent
-- Write an intent down that was kept outside the database; gives no row when it is known.
INSERT INTO orders (
    agent_id, cycle_id, security_id, client_order_id, symbol, side, order_type, order_class,
    time_in_force, order_purpose, status, quantity, limit_price, stop_price, stop_loss, take_profit,
    replaces, currency, reason, filled_quantity, created_at, updated_at, sender_role, sender_token
) VALUES (
    :agent_id, (SELECT cycle_id FROM trading_cycles WHERE cycle_id = :cycle_id),
    (SELECT security_id FROM securities WHERE symbol = :symbol), :client_order_id, :symbol, :side,
    :order_type, :order_class, :time_in_force, :order_purpose, 'intent', :quantity, :limit_price,
    :stop_price, :stop_loss, :take_profit, :replaces, :currency, :reason, 0, :at, :at, :sender_role,
    :sender_token
)
ON CONFLICT (client_order_id) DO NOTHING
RETURNING *;

-- name: insert_leg
-- Write down a protective leg that the broker made for an order of ours.
INSERT INTO orders (
    agent_id, cycle_id, position_id, security_id, parent_order_id, client_order_id, broker_order_id,
    symbol, side, order_type, order_class, time_in_force, order_purpose, status, quantity,
    limit_price, stop_price, currency, filled_quantity, created_at, updated_at
)
SELECT
    parent.agent_id, parent.cycle_id, parent.position_id, parent.security_id, parent.order_id,
    :client_order_id, :broker_order_id, parent.symbol, :side, :order_type, 'simple', :time_in_force,
    :order_purpose, :status, :quantity, :limit_price, :stop_price, parent.currency, 0, :at, :at
FROM orders AS parent
WHERE parent.order_id = :parent_order_id
RETURNING *;

-- name: lock_order
-- Return an order and keep others from changing it until the transaction ends.
SELECT * FROM orders WHERE order_id = :order_id FOR UPDATE;

-- name: lock_order_by_client_id
-- The same by our own id.
SELECT * FROM orders WHERE agent_id = :agent_id AND client_order_id = :client_order_id FOR UPDATE;

-- name: lock_order_by_broker_id
-- The same by the broker's id.
SELECT * FROM orders WHERE agent_id = :agent_id AND broker_order_id = :broker_order_id FOR UPDATE;

-- name: order_by_client_id
-- Return the order of that client order id.
SELECT * FROM orders WHERE client_order_id = :client_order_id;

-- name: move_order
-- Put an order into a state that its last one may lead to.
UPDATE orders
SET status = :status,
    broker_order_id = coalesce(broker_order_id, :broker_order_id),
    reject_reason = coalesce(:reject_reason, reject_reason),
    submitted_at = CASE WHEN :status = 'submitting' THEN :at ELSE submitted_at END,
    updated_at = :at
WHERE order_id = :order_id
RETURNING *;

-- name: update_from_broker
-- Take over what a broker reports about an order.
UPDATE orders
SET status = :status,
    broker_order_id = coalesce(broker_order_id, :broker_order_id),
    filled_quantity = greatest(filled_quantity, :filled_quantity),
    filled_price = CASE
        WHEN :filled_quantity >= filled_quantity THEN coalesce(:filled_price, filled_price)
        ELSE filled_price
    END,
    reject_reason = coalesce(:reject_reason, reject_reason),
    submitted_at = coalesce(submitted_at, :submitted_at),
    filled_at = CASE WHEN :status = 'filled' THEN coalesce(filled_at, :broker_updated_at) END,
    broker_updated_at = greatest(broker_updated_at, :broker_updated_at),
    updated_at = :at
WHERE order_id = :order_id;

-- name: insert_event
-- Note something about an order.
INSERT INTO order_events (order_id, kind, from_status, to_status, source, detail, at)
VALUES (:order_id, :kind, :from_status, :to_status, :source, :detail, :at);

-- name: insert_event_once
-- Note something about an order unless exactly that is noted already.
INSERT INTO order_events (order_id, kind, from_status, to_status, source, detail, at)
SELECT :order_id, :kind, :from_status, :to_status, :source, :detail, :at
WHERE NOT EXISTS (
    SELECT FROM order_events
    WHERE order_id = :order_id
        AND kind = :kind
        AND to_status IS NOT DISTINCT FROM :to_status
        AND detail IS NOT DISTINCT FROM :detail
);

-- name: events_of_order
-- List what was noticed about an order, oldest first.
SELECT * FROM order_events WHERE order_id = :order_id ORDER BY event_id;

-- name: unresolved_orders
-- List orders of which the broker may or may not know, oldest first.
SELECT * FROM orders
WHERE agent_id = :agent_id AND status IN ('intent', 'submitting', 'unknown')
ORDER BY order_id;

-- name: open_orders
-- List orders that rest at the broker, oldest first.
SELECT * FROM orders
WHERE agent_id = :agent_id AND status IN ('accepted', 'partially_filled', 'cancel_pending')
ORDER BY order_id;

-- name: orders_of_cycle
-- List what one run asked for, with the legs that came of it, oldest first.
SELECT * FROM orders WHERE cycle_id = :cycle_id ORDER BY order_id;

-- name: entries_since
-- Count the entries sent since then, by symbol; what provably never rested at the broker does not count.
SELECT symbol, count(*)::integer AS entries
FROM orders
WHERE agent_id = :agent_id
    AND order_purpose = 'entry'
    AND status NOT IN ('not_placed', 'rejected')
    AND created_at >= :since
GROUP BY symbol;

-- name: exit_under_way
-- Return the sale that keeps another one by the same way from being written down.
SELECT * FROM orders
WHERE agent_id = :agent_id
    AND symbol = :symbol
    AND coalesce(replaces, '') = coalesce(:replaces, '')
    AND order_purpose = 'exit'
    AND status IN (
        'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
    );

-- name: protection_without_answer
-- Return a protection of a symbol that may or may not be at the broker, if there is one.
SELECT * FROM orders
WHERE agent_id = :agent_id
    AND symbol = :symbol
    AND order_purpose = 'stop_loss'
    AND client_order_id IS NOT NULL
    AND status IN ('intent', 'submitting', 'unknown')
LIMIT 1;

-- name: unfinished_since
-- Return when the oldest order that is not over was written down; NULL when all are over.
SELECT min(created_at) AS since FROM orders
WHERE agent_id = :agent_id AND status IN (
    'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
);

-- name: broker_ids_of_symbol
-- List the broker's ids of our orders in a symbol, legs included.
SELECT broker_order_id FROM orders
WHERE agent_id = :agent_id AND symbol = :symbol AND broker_order_id IS NOT NULL;

-- name: sender_is_over
-- Say whether somebody took the lock after the one who wrote the order's intent.
SELECT EXISTS (
    SELECT FROM orders
    JOIN agent_locks ON agent_locks.agent_id = orders.agent_id
        AND agent_locks.role = orders.sender_role
    WHERE order_id = :order_id AND agent_locks.token > orders.sender_token
) AS is_over;

-- name: note_absence
-- Note a full read of the broker in which the order was not found.
INSERT INTO order_absences (order_id, read_at, source) VALUES (:order_id, :at, :source)
ON CONFLICT (order_id, read_at) DO NOTHING;

-- name: first_absence
-- Return when the order was first not found.
SELECT min(read_at) AS read_at FROM order_absences WHERE order_id = :order_id;
