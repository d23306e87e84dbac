-- The research database: the memory that all agents share, and how they talk to each other.
--
-- A new database is exactly this file; `python -m shared.migrate` gets there through migrations/.
-- Dollars are numeric, times are timestamptz. What stands here is text by agents, and data to its reader.


-- Which migrations have been applied, and what they said when they were.
CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- One row per agent: what it is doing, when it last woke, what it has spent on Claude.
CREATE TABLE claude_state (
    agent_id text PRIMARY KEY,
    current_mode text NOT NULL,
    last_wake_at timestamptz,
    last_think_at timestamptz,
    last_action_at timestamptz,
    last_poll_at timestamptz,
    daily_budget numeric NOT NULL,
    api_spend_day date,                   -- exchange day that api_spend_today belongs to
    api_spend_today numeric NOT NULL,
    api_spend_month numeric NOT NULL,     -- of the month that api_spend_day lies in
    current_schedule text,
    next_scheduled_wake timestamptz,
    status_message text,
    error_count_today integer NOT NULL,   -- of the UTC day of last_error_at
    last_error text,
    last_error_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT claude_state_current_mode_known CHECK (
        current_mode IN ('sleeping', 'awake', 'thinking', 'trading', 'researching', 'error')
    ),
    CONSTRAINT claude_state_amounts_not_negative CHECK (
        daily_budget >= 0 AND api_spend_today >= 0 AND api_spend_month >= 0
    ),
    CONSTRAINT claude_state_errors_not_negative CHECK (error_count_today >= 0)
);

-- Letters between agents.
CREATE TABLE claude_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    from_agent text NOT NULL,
    to_agent text NOT NULL,
    msg_type text NOT NULL,
    priority text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    data jsonb,
    reply_to_id bigint REFERENCES claude_messages (id),
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    read_at timestamptz,
    processed_at timestamptz,
    expires_at timestamptz,
    requires_response boolean NOT NULL,
    response_deadline timestamptz,
    CONSTRAINT claude_messages_uuid_once UNIQUE (message_uuid),
    CONSTRAINT claude_messages_msg_type_known
        CHECK (msg_type IN ('message', 'signal', 'question', 'task', 'response', 'alert')),
    CONSTRAINT claude_messages_priority_known
        CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    CONSTRAINT claude_messages_status_known
        CHECK (status IN ('pending', 'read', 'processed', 'archived')),
    CONSTRAINT claude_messages_subject_length CHECK (length(subject) BETWEEN 1 AND 500)
);
CREATE INDEX claude_messages_pending ON claude_messages (to_agent, created_at)
    WHERE status = 'pending';

-- What an agent noticed.
CREATE TABLE claude_observations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    source_id bigint,
    source_db text,
    observation_type text NOT NULL,
    subject text NOT NULL,
    content text NOT NULL,
    confidence numeric,
    horizon text,
    market text,
    tags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    acted_upon boolean NOT NULL,
    action_taken text,
    action_at timestamptz,
    CONSTRAINT claude_observations_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT claude_observations_horizon_known CHECK (horizon IN ('h1', 'h2', 'h3', 'perpetual'))
);
CREATE INDEX claude_observations_by_time ON claude_observations (agent_id, created_at);

-- What an agent believes to know, and how often that held.
CREATE TABLE claude_learnings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    source_id bigint,
    source_db text,
    category text NOT NULL,
    learning text NOT NULL,
    source text NOT NULL,
    context text,
    confidence numeric NOT NULL,
    times_validated integer NOT NULL,
    times_contradicted integer NOT NULL,
    applies_to_markets text[] NOT NULL,
    created_at timestamptz NOT NULL,
    last_validated_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT claude_learnings_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT claude_learnings_counts_not_negative
        CHECK (times_validated >= 0 AND times_contradicted >= 0)
);
CREATE INDEX claude_learnings_by_category ON claude_learnings (category, confidence);

-- What an agent, or the family where agent_id is NULL, would like to know.
CREATE TABLE claude_questions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text,
    source_id bigint,
    source_db text,
    question text NOT NULL,
    context text,
    horizon text NOT NULL,
    priority integer NOT NULL,
    category text,
    status text NOT NULL,
    current_hypothesis text,
    evidence_for text,
    evidence_against text,
    answer text,
    think_frequency text,
    last_thought_at timestamptz,
    next_think_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    answered_at timestamptz,
    CONSTRAINT claude_questions_horizon_known CHECK (horizon IN ('h1', 'h2', 'h3', 'perpetual')),
    CONSTRAINT claude_questions_priority_known CHECK (priority BETWEEN 1 AND 10),
    CONSTRAINT claude_questions_status_known
        CHECK (status IN ('open', 'investigating', 'answered', 'parked')),
    CONSTRAINT claude_questions_answered_has_answer
        CHECK ((status = 'answered') = (answered_at IS NOT NULL))
);
CREATE INDEX claude_questions_open ON claude_questions (priority) WHERE status = 'open';

-- Exchanges worth remembering.
CREATE TABLE claude_conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    with_whom text NOT NULL,
    summary text NOT NULL,
    key_decisions text[] NOT NULL,
    action_items text[] NOT NULL,
    learnings_extracted text[] NOT NULL,
    importance text NOT NULL,
    conversation_at timestamptz NOT NULL,
    CONSTRAINT claude_conversations_importance_known
        CHECK (importance IN ('low', 'normal', 'high', 'urgent'))
);
CREATE INDEX claude_conversations_by_time ON claude_conversations (agent_id, conversation_at);

-- Long thoughts: what was turned over, and what came of it.
CREATE TABLE claude_thinking (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    thinking_type text NOT NULL,
    topic text NOT NULL,
    thinking_process text NOT NULL,
    conclusions text,
    action_items text[] NOT NULL,
    duration_seconds numeric,
    tokens_used bigint,
    api_cost numeric,
    model_used text,
    started_at timestamptz NOT NULL,
    completed_at timestamptz
);
CREATE INDEX claude_thinking_by_time ON claude_thinking (agent_id, started_at);

-- Which rows of the trading databases have been taken over, so that none is taken twice.
CREATE TABLE sync_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_db text NOT NULL,
    source_table text NOT NULL,
    source_id bigint NOT NULL,
    target_table text NOT NULL,
    target_id bigint NOT NULL,
    synced_at timestamptz NOT NULL,
    synced_by text NOT NULL,
    CONSTRAINT sync_log_once UNIQUE (source_db, source_table, source_id)
);
