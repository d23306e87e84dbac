-- Runs, the days they belong to, and what was said in them.

-- name: start_cycle
-- Write a run down before it does anything.
INSERT INTO trading_cycles (
    cycle_id, agent_id, mode, status, session_date, slot_at, started_at, forced, dry_run, brain,
    config_hash, prompt_hash, code_version, pid
) VALUES (
    :cycle_id, :agent_id, :mode, 'running', :session_date, :slot_at, :started_at, :forced, :dry_run,
    :brain, :config_hash, :prompt_hash, :code_version, :pid
);

-- name: finish_cycle
-- Complete a run's row; gives no row when the run is not running.
UPDATE trading_cycles
SET ended_at = :ended_at,
    status = :status,
    reason = :reason,
    summary = :summary,
    equity = :equity,
    session_pnl = :session_pnl,
    iterations = :iterations,
    tools_called = :tools_called,
    orders_placed = :orders_placed,
    refusals = :refusals,
    cost_usd = :cost_usd,
    input_tokens = :input_tokens,
    output_tokens = :output_tokens,
    cache_read_tokens = :cache_read_tokens,
    cache_write_tokens = :cache_write_tokens,
    duration_seconds = :duration_seconds
WHERE cycle_id = :cycle_id AND status = 'running'
RETURNING cycle_id;

-- name: cycle_exists
-- Give a row if a run of that id was ever written down.
SELECT cycle_id FROM trading_cycles WHERE cycle_id = :cycle_id;

-- name: record_prompt_hash
-- Note which prompts a run uses; gives no row when the run is not running.
UPDATE trading_cycles SET prompt_hash = :prompt_hash
WHERE cycle_id = :cycle_id AND status = 'running'
RETURNING cycle_id;

-- name: slot_has_run
-- Say whether a slot is used up: for entries by any start, otherwise by success only.
SELECT EXISTS (
    SELECT FROM trading_cycles
    WHERE agent_id = :agent_id
        AND mode = :mode
        AND slot_at = :slot_at
        AND NOT dry_run
        AND (status = 'done' OR mode = 'trade' AND status IN ('running', 'failed'))
) AS has_run;

-- name: slot_was_asked
-- Say whether another run of a slot began to talk with Claude.
SELECT EXISTS (
    SELECT FROM trading_cycles
    WHERE agent_id = :agent_id
        AND mode = :mode
        AND slot_at = :slot_at
        AND cycle_id <> :besides
        AND NOT dry_run
        AND prompt_hash IS NOT NULL
) AS was_asked;

-- name: agent_began
-- Say when an agent's first run was, and which session before that one it ran in last.
SELECT
    min(started_at) AS first_run_at,
    max(session_date) FILTER (WHERE session_date < :session_date) AS session_before
FROM trading_cycles
WHERE agent_id = :agent_id AND mode <> 'monitor' AND NOT dry_run;

-- name: runs_of_slots
-- List the runs that were for a slot of a session.
SELECT mode, slot_at, status FROM trading_cycles
WHERE agent_id = :agent_id
    AND session_date = :session_date
    AND slot_at IS NOT NULL
    AND mode <> 'monitor'
    AND NOT dry_run;

-- name: note_missed_slot
-- Keep a slot that nobody served; gives no row when that is known.
INSERT INTO missed_slots (agent_id, mode, slot_at, session_date, noticed_at, why)
VALUES (:agent_id, :mode, :slot_at, :session_date, :at, :why)
ON CONFLICT (agent_id, mode, slot_at) DO NOTHING
RETURNING slot_at;

-- name: running_cycle
-- Name the run of an agent that has not ended, the latest if there are several.
SELECT cycle_id FROM trading_cycles
WHERE agent_id = :agent_id AND status = 'running'
ORDER BY started_at DESC
LIMIT 1;

-- name: mark_abandoned_cycles
-- Close the rows of processes that ended without a word.
UPDATE trading_cycles
SET status = 'failed', ended_at = greatest(started_at, :at::timestamptz), reason = :reason
WHERE agent_id = :agent_id
    AND status = 'running'
    AND (mode = 'monitor') = :of_monitor::boolean
RETURNING cycle_id;

-- name: insert_session
-- Keep the equity that a day began with, unless it is known already.
INSERT INTO trading_sessions (
    agent_id, session_date, exchange, currency, starting_capital, started_at
) VALUES (:agent_id, :session_date, :exchange, :currency, :equity, :at)
ON CONFLICT (agent_id, session_date) DO NOTHING;

-- name: session_start
-- Return what a day began with.
SELECT exchange, currency, starting_capital FROM trading_sessions
WHERE agent_id = :agent_id AND session_date = :session_date;

-- name: keep_starting_cash
-- Keep the cash that a day began with, unless it is known already, and return what is known.
UPDATE trading_sessions SET starting_cash = coalesce(starting_cash, :cash)
WHERE agent_id = :agent_id AND session_date = :session_date
RETURNING starting_cash;

-- name: record_transcript
-- Keep one piece of what was said.
INSERT INTO cycle_transcripts (cycle_id, sequence, kind, content, recorded_at)
VALUES (:cycle_id, :sequence, :kind, :content, :at)
ON CONFLICT (cycle_id, sequence) DO NOTHING;

