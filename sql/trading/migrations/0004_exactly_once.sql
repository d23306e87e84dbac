-- Order life held by the database, fencing, proof of absence, reconciliation, the local journal's replays.

CREATE TABLE order_transitions (
    from_status text NOT NULL,
    to_status text NOT NULL,
    PRIMARY KEY (from_status, to_status)
);
INSERT INTO order_transitions (from_status, to_status) VALUES
    ('intent', 'submitting'),
    ('intent', 'unknown'),
    ('intent', 'not_placed'),
    ('intent', 'accepted'),
    ('intent', 'partially_filled'),
    ('intent', 'cancel_pending'),
    ('intent', 'filled'),
    ('intent', 'canceled'),
    ('intent', 'expired'),
    ('intent', 'replaced'),
    ('intent', 'rejected'),
    ('submitting', 'unknown'),
    ('submitting', 'not_placed'),
    ('submitting', 'accepted'),
    ('submitting', 'partially_filled'),
    ('submitting', 'cancel_pending'),
    ('submitting', 'filled'),
    ('submitting', 'canceled'),
    ('submitting', 'expired'),
    ('submitting', 'replaced'),
    ('submitting', 'rejected'),
    ('unknown', 'not_placed'),
    ('unknown', 'accepted'),
    ('unknown', 'partially_filled'),
    ('unknown', 'cancel_pending'),
    ('unknown', 'filled'),
    ('unknown', 'canceled'),
    ('unknown', 'expired'),
    ('unknown', 'replaced'),
    ('unknown', 'rejected'),
    ('not_placed', 'accepted'),
    ('not_placed', 'partially_filled'),
    ('not_placed', 'cancel_pending'),
    ('not_placed', 'filled'),
    ('not_placed', 'canceled'),
    ('not_placed', 'expired'),
    ('not_placed', 'replaced'),
    ('not_placed', 'rejected'),
    ('accepted', 'partially_filled'),
    ('accepted', 'cancel_pending'),
    ('accepted', 'filled'),
    ('accepted', 'canceled'),
    ('accepted', 'expired'),
    ('accepted', 'replaced'),
    ('accepted', 'rejected'),
    ('partially_filled', 'cancel_pending'),
    ('partially_filled', 'filled'),
    ('partially_filled', 'canceled'),
    ('partially_filled', 'expired'),
    ('partially_filled', 'replaced'),
    ('cancel_pending', 'accepted'),
    ('cancel_pending', 'partially_filled'),
    ('cancel_pending', 'filled'),
    ('cancel_pending', 'canceled'),
    ('cancel_pending', 'expired'),
    ('cancel_pending', 'replaced'),
    ('cancel_pending', 'rejected'),
    ('canceled', 'filled'),
    ('expired', 'filled'),
    ('replaced', 'filled');

CREATE FUNCTION order_may_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM order_transitions
        WHERE from_status = OLD.status AND to_status = NEW.status
    ) THEN
        RAISE EXCEPTION 'an order cannot go from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_moves_by_the_table';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER orders_moves_by_the_table BEFORE UPDATE OF status ON orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION order_may_move();

CREATE UNIQUE INDEX orders_one_exit_at_a_time ON orders (agent_id, symbol, coalesce(replaces, ''))
    WHERE order_purpose = 'exit' AND status IN (
        'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
    );

CREATE TABLE agent_locks (
    agent_id text NOT NULL,
    role text NOT NULL,
    token bigint NOT NULL,
    mode text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (agent_id, role),
    CONSTRAINT agent_locks_role_known CHECK (role IN ('cycle', 'monitor')),
    CONSTRAINT agent_locks_token_positive CHECK (token > 0)
);
ALTER TABLE orders ADD COLUMN sender_role text;
ALTER TABLE orders ADD COLUMN sender_token bigint;
ALTER TABLE orders ADD CONSTRAINT orders_sender_whole
    CHECK ((sender_role IS NULL) = (sender_token IS NULL));

CREATE TABLE order_absences (
    order_id bigint NOT NULL REFERENCES orders (order_id),
    read_at timestamptz NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (order_id, read_at)
);

CREATE TABLE unprotected_spells (
    spell_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    position_id bigint NOT NULL REFERENCES positions (position_id),
    symbol text NOT NULL,
    quantity integer NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    alarmed_at timestamptz,
    how_ended text,
    CONSTRAINT unprotected_spells_once UNIQUE (position_id, began_at),
    CONSTRAINT unprotected_spells_quantity_positive CHECK (quantity > 0),
    CONSTRAINT unprotected_spells_in_order CHECK (ended_at >= began_at),
    CONSTRAINT unprotected_spells_ended_says_how CHECK ((ended_at IS NULL) = (how_ended IS NULL))
);
CREATE INDEX unprotected_spells_by_agent ON unprotected_spells (agent_id, began_at);

CREATE TABLE reconciliations (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    session_date date,
    source text NOT NULL,
    verdict text NOT NULL,
    why text NOT NULL,
    deltas jsonb NOT NULL,
    broker_hash text,
    database_hash text,
    at timestamptz NOT NULL,
    CONSTRAINT reconciliations_verdict_known CHECK (verdict IN ('clean', 'locked', 'unreadable'))
);
CREATE INDEX reconciliations_by_session ON reconciliations (agent_id, session_date, reconciliation_id);

CREATE TABLE symbol_locks (
    lock_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    symbol text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    evidence jsonb NOT NULL,
    locked_by text NOT NULL,
    locked_at timestamptz NOT NULL,
    released_at timestamptz,
    released_by text,
    released_why text,
    CONSTRAINT symbol_locks_reason_given CHECK (reason <> ''),
    CONSTRAINT symbol_locks_released_by_somebody
        CHECK ((released_at IS NULL) = (released_by IS NULL)
            AND (released_at IS NULL) = (released_why IS NULL))
);
CREATE UNIQUE INDEX symbol_locks_one_of_a_kind ON symbol_locks (agent_id, symbol, kind)
    WHERE released_at IS NULL;

CREATE TABLE position_adjustments (
    adjustment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    position_id bigint NOT NULL REFERENCES positions (position_id),
    booked_sequence integer NOT NULL,
    quantity_after integer NOT NULL,
    entry_price_after numeric NOT NULL,
    why text NOT NULL,
    accepted_by text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT position_adjustments_in_order UNIQUE (position_id, booked_sequence),
    CONSTRAINT position_adjustments_quantity_not_negative CHECK (quantity_after >= 0),
    CONSTRAINT position_adjustments_entry_price_positive CHECK (entry_price_after > 0),
    CONSTRAINT position_adjustments_why_given CHECK (why <> '')
);

CREATE TABLE external_holdings (
    holding_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    symbol text NOT NULL,
    quantity numeric NOT NULL,
    why text NOT NULL,
    accepted_by text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT external_holdings_why_given CHECK (why <> '')
);
CREATE INDEX external_holdings_latest ON external_holdings (agent_id, symbol, holding_id);

CREATE TABLE journal_replays (
    entry_id uuid PRIMARY KEY,
    agent_id text NOT NULL,
    kind text NOT NULL,
    noted_at timestamptz NOT NULL,
    replayed_at timestamptz NOT NULL,
    result text NOT NULL
);

ALTER TABLE trading_sessions ADD COLUMN starting_cash numeric;

ALTER TABLE operator_actions DROP CONSTRAINT operator_actions_command_known;
ALTER TABLE operator_actions ADD CONSTRAINT operator_actions_command_known
    CHECK (command IN ('halt', 'reduce', 'resume', 'flatten', 'accept'));
