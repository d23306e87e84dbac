-- Halts get a state, a kind and a reason for their end; what a person does by command is written down.

ALTER TABLE halts ADD COLUMN state text;
ALTER TABLE halts ADD COLUMN kind text;
ALTER TABLE halts ADD COLUMN lifted_why text;
UPDATE halts
SET state = 'halted',
    kind = CASE WHEN expires_at IS NULL THEN 'person' ELSE 'daily_loss' END,
    lifted_why = CASE WHEN lifted_at IS NOT NULL THEN 'not recorded' END;
ALTER TABLE halts ALTER COLUMN state SET NOT NULL;
ALTER TABLE halts ALTER COLUMN kind SET NOT NULL;
ALTER TABLE halts ADD CONSTRAINT halts_state_known CHECK (state IN ('reducing', 'halted'));
ALTER TABLE halts ADD CONSTRAINT halts_kind_known
    CHECK (kind IN ('person', 'unresolved', 'daily_loss'));
ALTER TABLE halts ADD CONSTRAINT halts_only_a_daily_loss_runs_out
    CHECK ((kind = 'daily_loss') = (expires_at IS NOT NULL));
ALTER TABLE halts ADD CONSTRAINT halts_lifted_says_why
    CHECK ((lifted_at IS NULL) = (lifted_why IS NULL));
CREATE UNIQUE INDEX halts_daily_loss_once ON halts (agent_id, expires_at)
    WHERE kind = 'daily_loss' AND lifted_at IS NULL;

CREATE TABLE operator_actions (
    action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id text NOT NULL,
    operator text NOT NULL,
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
        CHECK (command IN ('halt', 'reduce', 'resume', 'flatten')),
    CONSTRAINT operator_actions_status_known
        CHECK (status IN ('begun', 'done', 'nothing_to_do', 'failed')),
    CONSTRAINT operator_actions_why_given CHECK (why <> ''),
    CONSTRAINT operator_actions_ended_says_what
        CHECK ((status = 'begun') = (ended_at IS NULL) AND (ended_at IS NULL) = (result IS NULL))
);
CREATE INDEX operator_actions_by_start ON operator_actions (agent_id, action_id);
