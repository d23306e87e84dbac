-- Fills, and the positions that follow from them.

-- name: lock_symbol
-- Let one process at a time book fills of a symbol, until its transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(:agent_id || ' ' || :symbol, 1));

-- name: insert_fill
-- Keep a fill; gives no row when it is known already.
INSERT INTO fills (
    agent_id, fill_id, order_id, broker_order_id, symbol, side, quantity, price, currency, filled_at,
    recorded_at
) VALUES (
    :agent_id, :fill_id, :order_id, :broker_order_id, :symbol, :side, :quantity, :price, :currency,
    :filled_at, :at
)
ON CONFLICT (agent_id, fill_id) DO NOTHING
RETURNING fill_key;

-- name: insert_fee
-- Keep one charge on a fill.
INSERT INTO fill_fees (fill_key, sequence, name, amount, currency)
VALUES (:fill_key, :sequence, :name, :amount, :currency);

-- name: known_fill
-- Return what was kept about a fill when it was first reported.
SELECT order_id, side, quantity, price FROM fills
WHERE agent_id = :agent_id AND fill_id = :fill_id;

-- name: filled_so_far
-- Sum up the fills of an order.
SELECT
    coalesce(sum(quantity), 0)::integer AS quantity,
    coalesce(sum(quantity * price), 0) AS value
FROM fills
WHERE order_id = :order_id;

-- name: fees_so_far
-- Sum up the charges on the fills of an order, each kind for itself.
SELECT fill_fees.name, sum(fill_fees.amount) AS amount
FROM fill_fees
JOIN fills USING (fill_key)
WHERE fills.order_id = :order_id
GROUP BY fill_fees.name
ORDER BY fill_fees.name;

-- name: unbooked_fills
-- List fills of a symbol that belong to no position yet, in the order in which they happened.
SELECT fills.*, coalesce(charges.amount, 0) AS fees
FROM fills
LEFT JOIN (
    SELECT fill_key, sum(amount) AS amount FROM fill_fees GROUP BY fill_key
) AS charges USING (fill_key)
WHERE agent_id = :agent_id AND symbol = :symbol AND position_id IS NULL
ORDER BY filled_at, side, fill_key;

-- name: booked_fills
-- List the history of a position.
SELECT fills.*, coalesce(charges.amount, 0) AS fees
FROM fills
LEFT JOIN (
    SELECT fill_key, sum(amount) AS amount FROM fill_fees GROUP BY fill_key
) AS charges USING (fill_key)
WHERE position_id = :position_id
ORDER BY booked_sequence;

-- name: fills_since
-- List the fills since then, in the order in which they happened.
SELECT fills.*, coalesce(charges.amount, 0) AS fees
FROM fills
LEFT JOIN (
    SELECT fill_key, sum(amount) AS amount FROM fill_fees GROUP BY fill_key
) AS charges USING (fill_key)
WHERE agent_id = :agent_id AND filled_at >= :since
ORDER BY filled_at, fill_key;

-- name: unexplained_fills
-- List fills of an agent that fit no position: more was sold than was ever known to be bought.
SELECT fill_id FROM fills WHERE agent_id = :agent_id AND position_id IS NULL ORDER BY fill_key;

-- name: lock_open_position
-- Return the open position in a symbol and keep others from changing it.
SELECT position_id FROM positions
WHERE agent_id = :agent_id AND symbol = :symbol AND status = 'open'
FOR UPDATE;

-- name: open_position
-- Begin a position with its first buy; what was intended comes from the order.
INSERT INTO positions (
    agent_id, cycle_id, security_id, symbol, side, status, currency, quantity, entry_quantity,
    entry_price, entry_reason, stop_loss, take_profit, fees, realized_pnl_gross, realized_pnl,
    opened_at, updated_at
)
SELECT
    orders.agent_id, orders.cycle_id, orders.security_id, orders.symbol, 'long', 'open',
    orders.currency, :quantity, :entry_quantity, :entry_price, orders.reason, orders.stop_loss,
    orders.take_profit, :fees, :realized_pnl_gross, :realized_pnl, :opened_at, :at
FROM orders
WHERE orders.order_id = :order_id
RETURNING position_id;

-- name: update_position
-- Bring a position up to its latest fill; the order that closes it says why.
UPDATE positions
SET quantity = :quantity,
    status = CASE WHEN :quantity = 0 THEN 'closed' ELSE 'open' END,
    entry_quantity = :entry_quantity,
    entry_price = :entry_price,
    exit_price = :exit_price,
    exit_reason = CASE
        WHEN :quantity > 0 THEN NULL
        WHEN orders.order_purpose = 'exit' THEN coalesce(orders.reason, 'exit')
        WHEN orders.order_type = 'stop' THEN 'stop_loss'
        ELSE 'take_profit' -- also of an OCO, which rests as its limit
    END,
    fees = :fees,
    realized_pnl_gross = :realized_pnl_gross,
    realized_pnl = :realized_pnl,
    closed_at = :closed_at,
    updated_at = :at
FROM orders
WHERE positions.position_id = :position_id AND orders.order_id = :order_id;

-- name: book_fill
-- Give a fill its place in a position's history.
UPDATE fills
SET position_id = :position_id,
    realized_pnl = :realized_pnl,
    booked_sequence = :booked_sequence
WHERE fill_key = :fill_key;

-- name: link_orders
-- Tie an order and its legs to the position that they serve.
UPDATE orders
SET position_id = :position_id
WHERE (order_id = :order_id OR parent_order_id = :order_id) AND position_id IS NULL;

-- name: open_positions
-- List what is held, oldest first.
SELECT * FROM positions WHERE agent_id = :agent_id AND status = 'open' ORDER BY position_id;

-- name: positions_of_session
-- List what is held and what was closed since then, oldest first.
SELECT * FROM positions
WHERE agent_id = :agent_id AND (status = 'open' OR closed_at >= :since)
ORDER BY position_id;

-- name: positions_to_account_for
-- List what is held, what closed since then, and what has a time without a stop that is not known to be over.
SELECT * FROM positions
WHERE agent_id = :agent_id
    AND (
        status = 'open'
        OR closed_at >= :closed_since
        OR EXISTS (
            SELECT FROM unprotected_spells AS spell
            WHERE spell.position_id = positions.position_id AND spell.ended_at IS NULL
        )
    )
ORDER BY position_id;

-- name: opened_without_legs
-- List the open positions whose entry brought no stop along as an order of its own.
SELECT DISTINCT positions.position_id
FROM positions
INNER JOIN orders ON orders.position_id = positions.position_id
WHERE positions.agent_id = :agent_id
    AND positions.status = 'open'
    AND orders.order_purpose = 'entry'
    AND orders.order_class = 'simple'
ORDER BY positions.position_id;

-- name: realized_pnl
-- Sum up the profit after fees that the fills since then realised.
SELECT coalesce(sum(realized_pnl), 0) AS realized_pnl FROM fills
WHERE agent_id = :agent_id AND filled_at >= :since;

-- name: own_exit
-- Be the one session that leaves a symbol, if no other one is.
SELECT pg_try_advisory_lock(hashtextextended(:agent_id || ' exit ' || :symbol, 2)) AS owned;

-- name: release_exit
-- Let another session leave it.
SELECT pg_advisory_unlock(hashtextextended(:agent_id || ' exit ' || :symbol, 2)) AS released;

-- name: note_spell
-- Write down a time without a stop, once, and what is known of it by now.
INSERT INTO unprotected_spells (
    agent_id, position_id, symbol, quantity, began_at, ended_at, how_ended
) VALUES (:agent_id, :position_id, :symbol, :quantity, :began_at, :ended_at, :how_ended)
ON CONFLICT (position_id, began_at) DO UPDATE
SET quantity = greatest(unprotected_spells.quantity, excluded.quantity),
    ended_at = coalesce(unprotected_spells.ended_at, excluded.ended_at),
    how_ended = coalesce(unprotected_spells.how_ended, excluded.how_ended)
RETURNING *;

-- name: alarm_spell
-- Note that a person was told.
UPDATE unprotected_spells SET alarmed_at = :at WHERE spell_id = :spell_id;

-- name: adjustments
-- List what a person said about a position, by its place among the fills.
SELECT booked_sequence, quantity_after, entry_price_after, at
FROM position_adjustments
WHERE position_id = :position_id
ORDER BY booked_sequence;

-- name: insert_adjustment
-- Give what a person said its place in a position's history.
INSERT INTO position_adjustments (
    agent_id, position_id, booked_sequence, quantity_after, entry_price_after, why, accepted_by, at
) VALUES (
    :agent_id, :position_id, :booked_sequence, :quantity_after, :entry_price_after, :why, :accepted_by,
    :at
);

-- name: adjust_position
-- Bring a position to what a person said it is; one of no shares is closed without an exit.
UPDATE positions
SET quantity = :quantity,
    status = CASE WHEN :quantity = 0 THEN 'closed' ELSE 'open' END,
    entry_quantity = :entry_quantity,
    entry_price = :entry_price,
    stop_loss = coalesce(:stop_loss, stop_loss),
    take_profit = coalesce(:take_profit, take_profit),
    exit_price = CASE WHEN :quantity = 0 THEN NULL ELSE exit_price END,
    exit_reason = CASE WHEN :quantity = 0 THEN :exit_reason END,
    closed_at = :closed_at,
    updated_at = :at
WHERE position_id = :position_id;
