-- Slots that nobody served.

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
