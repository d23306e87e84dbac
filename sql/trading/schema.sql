-- The trading database of one agent: what it meant to do, what happened, and what it cost.
--
-- A new database is exactly this file; `python -m shared.migrate` gets there through migrations/.
-- Money and prices are numeric without a scale, so that what was said is what is kept; shares are
-- integers; times are timestamptz. Nothing defaults to a market, a currency or a broker. The broker
-- is the truth about the account, these tables are the truth about intentions.


-- Which migrations have been applied, and what they said when they were.
CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- One row: which database this is. Client order ids and local journals are tied to it.
CREATE TABLE database_identity (
    identity uuid NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true,
    CONSTRAINT database_identity_one_row CHECK (only_row)
);
INSERT INTO database_identity (identity) VALUES (gen_random_uuid());

-- The one broker account that an agent may trade; the first start writes it, every start compares it.
CREATE TABLE account_pins (
    agent_id text PRIMARY KEY,
    broker text NOT NULL,
    environment text NOT NULL,
    account_id text NOT NULL,
    pinned_at timestamptz NOT NULL,
    CONSTRAINT account_pins_paper_only CHECK (environment = 'paper')
);

-- Who holds an agent's lock, or held it last. The token grows with every holder: an intent is only
-- written while its writer's token is still the newest.
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

-- Reasons not to trade. No row is ever deleted: a halt is lifted by a person, or runs out.
CREATE TABLE halts (
    halt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    reason text NOT NULL,
    started_by text NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz,
    lifted_at timestamptz,
    lifted_by text,
    state text NOT NULL,
    kind text NOT NULL,
    lifted_why text,
    CONSTRAINT halts_lifted_by_somebody CHECK ((lifted_at IS NULL) = (lifted_by IS NULL)),
    CONSTRAINT halts_reason_given CHECK (reason <> ''),
    CONSTRAINT halts_state_known CHECK (state IN ('reducing', 'halted')),
    CONSTRAINT halts_kind_known CHECK (kind IN ('person', 'unresolved', 'daily_loss')),
    CONSTRAINT halts_only_a_daily_loss_runs_out
        CHECK ((kind = 'daily_loss') = (expires_at IS NOT NULL)),
    CONSTRAINT halts_lifted_says_why CHECK ((lifted_at IS NULL) = (lifted_why IS NULL))
);
CREATE INDEX halts_in_force ON halts (agent_id) WHERE lifted_at IS NULL;
CREATE UNIQUE INDEX halts_daily_loss_once ON halts (agent_id, expires_at)
    WHERE kind = 'daily_loss' AND lifted_at IS NULL;

-- Exchanges by ISO 10383 code. Their hours and holidays are the calendar's business.
CREATE TABLE exchanges (
    code text PRIMARY KEY,
    name text NOT NULL,
    currency text NOT NULL,
    timezone text NOT NULL,
    CONSTRAINT exchanges_currency_iso CHECK (currency ~ '^[A-Z]{3}$')
);
INSERT INTO exchanges (code, name, currency, timezone) VALUES
    ('XNYS', 'New York Stock Exchange', 'USD', 'America/New_York'),
    ('XHKG', 'Hong Kong Stock Exchange', 'HKD', 'Asia/Hong_Kong');

-- Instruments as a broker or a sidecar file described them. Lot and tick are per symbol, never a constant.
CREATE TABLE securities (
    security_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    name text NOT NULL,
    exchange text NOT NULL REFERENCES exchanges (code),
    currency text NOT NULL,
    kind text NOT NULL,
    lot_size integer NOT NULL,
    ticks jsonb NOT NULL,
    is_active boolean NOT NULL,
    sector text,
    industry text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT securities_symbol_once UNIQUE (symbol),
    CONSTRAINT securities_kind_known CHECK (kind IN ('stock', 'etf', 'index')),
    CONSTRAINT securities_lot_size_positive CHECK (lot_size > 0)
);

-- One row per agent and exchange day: the equity that the day's loss is measured from.
CREATE TABLE trading_sessions (
    session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    session_date date NOT NULL,
    exchange text NOT NULL REFERENCES exchanges (code),
    currency text NOT NULL,
    starting_capital numeric NOT NULL,
    started_at timestamptz NOT NULL,
    starting_cash numeric,                -- what money from outside, such as a dividend, is measured from
    CONSTRAINT trading_sessions_once_a_day UNIQUE (agent_id, session_date)
);

-- One row per run, written when it starts and completed when it ends, however it ends.
CREATE TABLE trading_cycles (
    cycle_id text PRIMARY KEY,
    agent_id text NOT NULL,
    mode text NOT NULL,
    status text NOT NULL,
    session_date date,
    slot_at timestamptz,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    forced boolean NOT NULL,
    dry_run boolean NOT NULL,
    brain text NOT NULL,
    config_hash text NOT NULL,
    prompt_hash text,
    code_version text,
    pid integer NOT NULL,
    reason text,
    summary text,
    equity numeric,
    session_pnl numeric,
    iterations integer,
    tools_called text[],
    orders_placed integer,
    refusals integer,
    cost_usd numeric,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    duration_seconds numeric,
    CONSTRAINT trading_cycles_mode_known CHECK (mode IN ('scan', 'trade', 'close', 'heartbeat', 'monitor')),
    CONSTRAINT trading_cycles_status_known
        CHECK (status IN ('running', 'done', 'nothing_to_do', 'failed')),
    CONSTRAINT trading_cycles_ended_says_why
        CHECK ((status = 'running') = (ended_at IS NULL) AND (ended_at IS NULL) = (reason IS NULL))
);
CREATE INDEX trading_cycles_by_start ON trading_cycles (agent_id, started_at);
-- A slot that may open positions is run at most once, unless a person forces another run.
CREATE UNIQUE INDEX trading_cycles_entry_slot_once ON trading_cycles (agent_id, mode, slot_at)
    WHERE mode = 'trade' AND status <> 'nothing_to_do' AND NOT forced AND NOT dry_run;

-- Slots of the schedule that nobody served, as a later run noticed; they are not made up for.
CREATE TABLE missed_slots (
    agent_id text NOT NULL,
    mode text NOT NULL,
    slot_at timestamptz NOT NULL,
    session_date date NOT NULL,
    noticed_at timestamptz NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (agent_id, mode, slot_at),
    CONSTRAINT missed_slots_mode_known CHECK (mode IN ('scan', 'trade', 'close', 'heartbeat')),
    CONSTRAINT missed_slots_why_given CHECK (why <> '')
);

-- What a person ordered by command: begun before anything is done, completed after. A row that stays
-- begun belongs to a process that died on the way.
CREATE TABLE operator_actions (
    action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    operator text NOT NULL,               -- the operating system's account
    command text NOT NULL,
    arguments jsonb NOT NULL,
    why text NOT NULL,
    status text NOT NULL,
    result text,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT operator_actions_command_known
        CHECK (command IN ('halt', 'reduce', 'resume', 'flatten', 'accept')),
    CONSTRAINT operator_actions_status_known
        CHECK (status IN ('begun', 'done', 'nothing_to_do', 'failed')),
    CONSTRAINT operator_actions_why_given CHECK (why <> ''),
    CONSTRAINT operator_actions_ended_says_what
        CHECK ((status = 'begun') = (ended_at IS NULL) AND (ended_at IS NULL) = (result IS NULL))
);
CREATE INDEX operator_actions_by_start ON operator_actions (agent_id, action_id);

-- Everything said in a cycle, in order: prompts, replies, tool calls and their results, unabridged.
CREATE TABLE cycle_transcripts (
    cycle_id text NOT NULL REFERENCES trading_cycles (cycle_id),
    sequence integer NOT NULL,
    kind text NOT NULL,
    content jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (cycle_id, sequence)
);

-- Holdings as they follow from fills, and from nothing else; a long one opens with its first buy.
CREATE TABLE positions (
    position_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    security_id bigint REFERENCES securities (security_id),
    symbol text NOT NULL,
    side text NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    quantity integer NOT NULL,            -- held now; 0 exactly when closed
    entry_quantity integer NOT NULL,      -- bought in total
    entry_price numeric NOT NULL,         -- average cost of the shares held, or last held; without fees
    entry_reason text,
    stop_loss numeric,                    -- as intended at entry; what rests is in orders
    take_profit numeric,
    exit_price numeric,                   -- average of what was sold so far
    exit_reason text,
    fees numeric NOT NULL,                -- paid so far, entry and exit
    realized_pnl_gross numeric NOT NULL,  -- before fees
    realized_pnl numeric NOT NULL,        -- after all fees paid so far
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT positions_side_known CHECK (side IN ('long')),
    CONSTRAINT positions_status_known CHECK (status IN ('open', 'closed')),
    CONSTRAINT positions_open_means_held CHECK ((status = 'open') = (quantity > 0) AND quantity >= 0),
    CONSTRAINT positions_closed_at_when_closed CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CONSTRAINT positions_bought_covers_held CHECK (entry_quantity >= quantity AND entry_quantity > 0),
    CONSTRAINT positions_entry_price_positive CHECK (entry_price > 0)
);
CREATE UNIQUE INDEX positions_one_open_per_symbol ON positions (agent_id, symbol)
    WHERE status = 'open';
CREATE INDEX positions_by_closing ON positions (agent_id, closed_at);

-- Orders, ours and the legs a broker made for ours. The row is committed before the broker hears of it.
CREATE TABLE orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    position_id bigint REFERENCES positions (position_id),
    security_id bigint REFERENCES securities (security_id),
    parent_order_id bigint REFERENCES orders (order_id),  -- the entry whose leg this is
    client_order_id text,                                 -- NULL only for legs
    broker_order_id text,
    symbol text NOT NULL,
    side text NOT NULL,
    order_type text NOT NULL,
    order_class text NOT NULL,
    time_in_force text NOT NULL,
    order_purpose text NOT NULL,
    status text NOT NULL,
    quantity integer NOT NULL,
    limit_price numeric,
    stop_price numeric,
    stop_loss numeric,
    take_profit numeric,
    replaces text,                                        -- broker's id of the order it takes the place of
    currency text NOT NULL,
    reason text,
    filled_quantity integer NOT NULL,
    filled_price numeric,                                 -- average of the fills
    reject_reason text,
    created_at timestamptz NOT NULL,
    submitted_at timestamptz,
    filled_at timestamptz,
    broker_updated_at timestamptz,                        -- the broker's time of its last known word
    updated_at timestamptz NOT NULL,
    sender_role text,                                     -- who wrote the intent, by the lock it held;
    sender_token bigint,                                  -- NULL for legs
    CONSTRAINT orders_client_order_id_once UNIQUE (client_order_id),
    CONSTRAINT orders_broker_order_id_once UNIQUE (agent_id, broker_order_id),
    CONSTRAINT orders_own_or_leg CHECK (client_order_id IS NOT NULL OR parent_order_id IS NOT NULL),
    CONSTRAINT orders_ids_not_empty CHECK (client_order_id <> '' AND broker_order_id <> ''),
    CONSTRAINT orders_side_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT orders_order_type_known CHECK (order_type IN ('market', 'limit', 'stop')),
    CONSTRAINT orders_order_class_known CHECK (order_class IN ('simple', 'bracket', 'oco')),
    CONSTRAINT orders_time_in_force_known CHECK (time_in_force IN ('day', 'gtc')),
    CONSTRAINT orders_order_purpose_known
        CHECK (order_purpose IN ('entry', 'exit', 'stop_loss', 'take_profit')),
    CONSTRAINT orders_status_known CHECK (status IN (
        'intent', 'submitting', 'unknown', 'not_placed', 'accepted', 'partially_filled', 'filled',
        'cancel_pending', 'canceled', 'expired', 'replaced', 'rejected'
    )),
    CONSTRAINT orders_entry_buys CHECK ((order_purpose = 'entry') = (side = 'buy')),
    CONSTRAINT orders_quantity_positive CHECK (quantity > 0),
    CONSTRAINT orders_prices_positive
        CHECK (limit_price > 0 AND stop_price > 0 AND stop_loss > 0 AND take_profit > 0),
    CONSTRAINT orders_type_has_its_price CHECK (
        order_class = 'oco' -- its two prices are stop_loss and take_profit
        OR (
            (order_type = 'limit') = (limit_price IS NOT NULL)
            AND (order_type = 'stop') = (stop_price IS NOT NULL)
        )
    ),
    CONSTRAINT orders_filled_not_negative CHECK (filled_quantity >= 0),
    CONSTRAINT orders_sender_whole CHECK ((sender_role IS NULL) = (sender_token IS NULL))
);
CREATE INDEX orders_unfinished ON orders (agent_id, order_id) WHERE status IN (
    'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
);
CREATE INDEX orders_by_cycle ON orders (cycle_id);
CREATE INDEX orders_by_position ON orders (position_id);
CREATE INDEX orders_by_parent ON orders (parent_order_id);

-- Which state of an order may follow which, as shared/order_life.py has it; a test holds the two equal.
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

-- A position is left by one sale at a time, or by one for each target that is moved to the market.
CREATE UNIQUE INDEX orders_one_exit_at_a_time ON orders (agent_id, symbol, coalesce(replaces, ''))
    WHERE order_purpose = 'exit' AND status IN (
        'intent', 'submitting', 'unknown', 'accepted', 'partially_filled', 'cancel_pending'
    );

-- Everything that was ever noticed about an order; the order row holds only the latest.
CREATE TABLE order_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (order_id),
    kind text NOT NULL,
    from_status text,
    to_status text,
    source text NOT NULL,
    detail text,
    at timestamptz NOT NULL,
    CONSTRAINT order_events_kind_known CHECK (kind IN (
        'created', 'moved', 'fill', 'late_fill', 'unbooked_fill', 'overfill', 'fill_differs',
        'contradiction'
    ))
);
CREATE INDEX order_events_by_order ON order_events (order_id, event_id);

-- Full reads of the broker in which an unresolved order was not found, after whoever sent it was over.
CREATE TABLE order_absences (
    order_id bigint NOT NULL REFERENCES orders (order_id),
    read_at timestamptz NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (order_id, read_at)
);

-- Executions, one row each, whatever reported them first; `position_id` is NULL while one explains nothing.
CREATE TABLE fills (
    fill_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    fill_id text NOT NULL,                -- the broker's
    order_id bigint NOT NULL REFERENCES orders (order_id),
    position_id bigint REFERENCES positions (position_id),
    broker_order_id text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    quantity integer NOT NULL,
    price numeric NOT NULL,
    currency text NOT NULL,
    filled_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    booked_sequence integer,              -- place in its position's history
    realized_pnl numeric,                 -- what it changed of its position's realized_pnl
    CONSTRAINT fills_once UNIQUE (agent_id, fill_id),
    CONSTRAINT fills_booked_in_order UNIQUE (position_id, booked_sequence),
    CONSTRAINT fills_side_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT fills_quantity_positive CHECK (quantity > 0),
    CONSTRAINT fills_price_positive CHECK (price > 0),
    CONSTRAINT fills_booked_whole CHECK (
        (position_id IS NULL) = (booked_sequence IS NULL)
        AND (position_id IS NULL) = (realized_pnl IS NULL)
    )
);
CREATE INDEX fills_by_order ON fills (order_id);
CREATE INDEX fills_by_time ON fills (agent_id, filled_at);
CREATE INDEX fills_unbooked ON fills (agent_id, symbol) WHERE position_id IS NULL;

-- The charges on a fill, itemised; positive is paid.
CREATE TABLE fill_fees (
    fill_key bigint NOT NULL REFERENCES fills (fill_key),
    sequence integer NOT NULL,
    name text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    PRIMARY KEY (fill_key, sequence)
);

-- What the scanner offered, best first.
CREATE TABLE scan_results (
    scan_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text NOT NULL REFERENCES trading_cycles (cycle_id),
    security_id bigint REFERENCES securities (security_id),
    symbol text NOT NULL,
    rank integer NOT NULL,
    price numeric NOT NULL,
    volume bigint NOT NULL,
    change_pct numeric,
    relative_volume numeric,
    score numeric NOT NULL,
    scanned_at timestamptz NOT NULL,
    CONSTRAINT scan_results_price_positive CHECK (price > 0),
    CONSTRAINT scan_results_volume_not_negative CHECK (volume >= 0)
);
CREATE INDEX scan_results_by_cycle ON scan_results (cycle_id, rank);

-- What was decided and why, in Claude's words.
CREATE TABLE decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text NOT NULL REFERENCES trading_cycles (cycle_id),
    decision text NOT NULL,
    symbol text,
    reasoning text NOT NULL,
    confidence numeric,
    model text,
    created_at timestamptz NOT NULL,
    CONSTRAINT decisions_decision_known
        CHECK (decision IN ('trade', 'skip', 'close', 'emergency', 'observation')),
    CONSTRAINT decisions_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1)
);
CREATE INDEX decisions_by_cycle ON decisions (cycle_id);

-- Chart patterns that were seen, whether or not anything came of them.
CREATE TABLE patterns (
    pattern_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    security_id bigint REFERENCES securities (security_id),
    symbol text NOT NULL,
    pattern_type text NOT NULL,
    confidence numeric,
    entry_price numeric,
    stop_loss numeric,
    target_price numeric,
    detected_at timestamptz NOT NULL,
    expires_at timestamptz,
    outcome text,
    actual_pnl numeric,
    detection_data jsonb,
    notes text,
    CONSTRAINT patterns_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1)
);
CREATE INDEX patterns_by_symbol ON patterns (symbol, detected_at);

-- How the watch over each open position goes: one row per position, rewritten at every check.
CREATE TABLE position_monitor_status (
    monitor_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    position_id bigint NOT NULL REFERENCES positions (position_id),
    symbol text NOT NULL,
    status text NOT NULL,
    pid integer,
    started_at timestamptz,
    last_check_at timestamptz,
    next_check_at timestamptz,
    checks_completed integer NOT NULL,
    last_price numeric,
    high_watermark numeric,
    current_pnl_pct numeric,
    last_rsi numeric,
    last_macd_signal text,
    last_vwap_position text,
    last_ema20_position text,
    hold_signals text[] NOT NULL,
    exit_signals text[] NOT NULL,
    signal_strength text,
    recommendation text,
    recommendation_reason text,
    haiku_calls integer NOT NULL,
    last_haiku_recommendation text,
    estimated_cost numeric NOT NULL,
    last_error text,
    error_count integer NOT NULL,
    consecutive_errors integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_review_at timestamptz,
    CONSTRAINT position_monitor_status_once UNIQUE (position_id),
    CONSTRAINT position_monitor_status_status_known
        CHECK (status IN ('pending', 'starting', 'running', 'sleeping', 'stopped', 'error')),
    CONSTRAINT position_monitor_status_recommendation_known
        CHECK (recommendation IN ('HOLD', 'EXIT', 'REVIEW'))
);

-- Times in which shares of a position had no stop in force, from their first fill to the stop's acceptance.
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

-- What every comparison of broker and database came to; entries need a clean one of their session.
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

-- Symbols that are not bought until a person has settled what was found; no row is ever deleted.
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

-- What a person said a position comes to where fills cannot say it, such as after a split: no fill, no
-- profit; it has its place among the fills of its position.
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

-- Shares that a person said are not the agent's to manage; of a symbol the latest row counts.
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

-- Lines of the local journal that were taken over; each counts once, however often it is read.
CREATE TABLE journal_replays (
    entry_id uuid PRIMARY KEY,
    agent_id text NOT NULL,
    kind text NOT NULL,
    noted_at timestamptz NOT NULL,
    replayed_at timestamptz NOT NULL,
    result text NOT NULL
);

-- The position monitor's last sign of life; its silence forbids entries, and is an alarm.
CREATE TABLE monitor_heartbeats (
    agent_id text PRIMARY KEY,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    passed_at timestamptz,                 -- end of the last pass that could look at everything
    passes bigint NOT NULL,
    positions integer NOT NULL,
    problem text,
    CONSTRAINT monitor_heartbeats_counts_not_negative CHECK (passes >= 0 AND positions >= 0)
);

-- Requests that the safety layer refused, with every reason: codes[i] belongs to texts[i].
CREATE TABLE refusals (
    refusal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    tool text NOT NULL,
    request jsonb NOT NULL,
    codes text[] NOT NULL,
    texts text[] NOT NULL,
    refused_at timestamptz NOT NULL,
    CONSTRAINT refusals_say_why
        CHECK (cardinality(codes) > 0 AND cardinality(codes) = cardinality(texts))
);
CREATE INDEX refusals_by_cycle ON refusals (cycle_id);

-- Every tool call of a cycle with what it was given and what it answered.
CREATE TABLE tool_calls (
    tool_call_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cycle_id text NOT NULL REFERENCES trading_cycles (cycle_id),
    sequence integer NOT NULL,
    tool_use_id text NOT NULL,
    name text NOT NULL,
    arguments jsonb NOT NULL,
    result jsonb NOT NULL,
    is_error boolean NOT NULL,
    started_at timestamptz NOT NULL,
    duration_seconds numeric NOT NULL,
    CONSTRAINT tool_calls_in_order UNIQUE (cycle_id, sequence)
);

-- Money for Claude per agent and exchange day. What is reserved counts as spent until it is settled.
CREATE TABLE budget_days (
    agent_id text NOT NULL,
    budget_date date NOT NULL,
    budget_usd numeric NOT NULL,
    reserved_usd numeric NOT NULL,
    spent_usd numeric NOT NULL,
    overrun_usd numeric NOT NULL,         -- by how much settled calls passed the budget; 0 unless a price was wrong
    PRIMARY KEY (agent_id, budget_date),
    CONSTRAINT budget_days_not_negative CHECK (
        budget_usd >= 0 AND reserved_usd >= 0 AND spent_usd >= 0 AND overrun_usd >= 0
    ),
    CONSTRAINT budget_days_never_passed CHECK (spent_usd + reserved_usd <= budget_usd + overrun_usd)
);

-- Calls to Claude: reserved at their worst case first, then settled at what they really cost.
CREATE TABLE claude_calls (
    call_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    budget_date date NOT NULL,
    model text NOT NULL,
    status text NOT NULL,
    reserved_usd numeric NOT NULL,
    cost_usd numeric,
    passed_reservation boolean NOT NULL,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    stop_reason text,
    request_id text,
    error text,
    duration_seconds numeric,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    FOREIGN KEY (agent_id, budget_date) REFERENCES budget_days (agent_id, budget_date),
    CONSTRAINT claude_calls_status_known CHECK (status IN ('reserved', 'settled', 'failed')),
    CONSTRAINT claude_calls_reserved_until_cost_known CHECK ((status = 'reserved') = (cost_usd IS NULL)),
    CONSTRAINT claude_calls_failed_says_why CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT claude_calls_amounts_not_negative CHECK (reserved_usd >= 0 AND cost_usd >= 0)
);
CREATE INDEX claude_calls_by_cycle ON claude_calls (cycle_id);

-- What Claude leaves for the research database; it is pulled from there when somebody is ready.
CREATE TABLE claude_outputs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    output_uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    output_type text NOT NULL,
    category text,
    payload jsonb NOT NULL,
    symbol text,
    confidence numeric,
    tags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    synced_at timestamptz,
    CONSTRAINT claude_outputs_uuid_once UNIQUE (output_uuid),
    CONSTRAINT claude_outputs_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1)
);
CREATE INDEX claude_outputs_unsynced ON claude_outputs (id) WHERE synced_at IS NULL;

-- The outbox: what a person has to be told. A row stays queued until a mail server or another channel
-- took it.
CREATE TABLE alerts (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    severity text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    dedupe_key text NOT NULL,
    queued_on date NOT NULL,              -- UTC day of queued_at: the same key is queued once a day
    queued_at timestamptz NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL,
    last_error text,
    sent_at timestamptz,
    next_attempt_at timestamptz,          -- not before; a sender at work has moved it past its lease
    accepted_by text[],                   -- the channels that took it
    CONSTRAINT alerts_once_a_day UNIQUE (agent_id, dedupe_key, queued_on),
    CONSTRAINT alerts_severity_known CHECK (severity IN ('info', 'warning', 'critical')),
    CONSTRAINT alerts_status_known CHECK (status IN ('queued', 'sent', 'abandoned')),
    CONSTRAINT alerts_sent_at_when_sent CHECK ((status = 'sent') = (sent_at IS NOT NULL))
);
CREATE INDEX alerts_unsent ON alerts (agent_id, alert_id) WHERE status = 'queued';

-- Whether every open position is being watched; priority 0 needs a person first.
CREATE VIEW v_monitor_health AS
SELECT
    watched.*,
    CASE watched.health
        WHEN 'NO_MONITOR' THEN 0
        WHEN 'ERROR' THEN 1
        WHEN 'FAILING' THEN 2
        WHEN 'STALE' THEN 3
        ELSE 10
    END AS priority
FROM (
    SELECT
        position.agent_id,
        position.position_id,
        position.symbol,
        position.quantity,
        position.entry_price,
        position.stop_loss,
        position.take_profit,
        position.opened_at,
        coalesce(monitor.status, 'NO_MONITOR') AS monitor_status,
        monitor.pid,
        monitor.started_at AS monitor_started,
        monitor.last_check_at,
        monitor.next_check_at,
        monitor.checks_completed,
        extract(EPOCH FROM now() - monitor.last_check_at) / 60 AS minutes_since_check,
        extract(EPOCH FROM now() - position.opened_at) / 3600 AS hours_held,
        monitor.last_price,
        monitor.high_watermark,
        monitor.current_pnl_pct,
        monitor.hold_signals,
        monitor.exit_signals,
        monitor.signal_strength,
        monitor.recommendation,
        monitor.recommendation_reason,
        monitor.haiku_calls,
        monitor.estimated_cost,
        monitor.last_error,
        monitor.error_count,
        monitor.consecutive_errors,
        CASE
            WHEN monitor.monitor_id IS NULL THEN 'NO_MONITOR'
            WHEN monitor.status IN ('error', 'stopped') THEN 'ERROR'
            WHEN monitor.consecutive_errors >= 3 THEN 'FAILING'
            WHEN monitor.status IN ('pending', 'starting') THEN 'STARTING'
            WHEN monitor.last_check_at IS NULL THEN 'UNKNOWN'
            WHEN now() > greatest(monitor.next_check_at, monitor.last_check_at) + interval '150 seconds'
                THEN 'STALE'
            WHEN monitor.status = 'sleeping' THEN 'SLEEPING'
            ELSE 'ACTIVE'
        END AS health
    FROM positions AS position
    LEFT JOIN position_monitor_status AS monitor USING (position_id)
    WHERE position.status = 'open'
) AS watched;
