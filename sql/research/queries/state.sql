-- What each agent is doing.

-- name: wake_up
-- Note that an agent is awake, and what it may spend a day.
INSERT INTO claude_state AS state (
    agent_id, current_mode, last_wake_at, daily_budget, api_spend_today, api_spend_month,
    error_count_today, created_at, updated_at
) VALUES (:agent_id, :current_mode, :at, :daily_budget, 0, 0, 0, :at, :at)
ON CONFLICT (agent_id) DO UPDATE
SET current_mode = excluded.current_mode,
    last_wake_at = excluded.last_wake_at,
    daily_budget = excluded.daily_budget,
    updated_at = excluded.updated_at
RETURNING *;

-- name: sleep
-- Note that an agent has gone to sleep, and what it said last.
UPDATE claude_state
SET current_mode = 'sleeping', status_message = :status_message, updated_at = :at
WHERE agent_id = :agent_id
RETURNING *;

-- name: record_error
-- Note what went wrong; the count begins anew each UTC day.
UPDATE claude_state
SET current_mode = 'error',
    error_count_today = CASE
        WHEN (last_error_at AT TIME ZONE 'UTC')::date = (:at::timestamptz AT TIME ZONE 'UTC')::date
            THEN error_count_today + 1
        ELSE 1
    END,
    last_error = :message,
    last_error_at = :at,
    updated_at = :at
WHERE agent_id = :agent_id
RETURNING *;

-- name: record_api_spend
-- Add to what an agent has spent; day and month begin anew with the exchange's date.
UPDATE claude_state
SET api_spend_today = CASE
        WHEN api_spend_day = :day THEN api_spend_today + :cost_usd
        ELSE :cost_usd
    END,
    api_spend_month = CASE
        WHEN date_trunc('month', api_spend_day) = date_trunc('month', :day::date)
            THEN api_spend_month + :cost_usd
        ELSE :cost_usd
    END,
    api_spend_day = :day,
    updated_at = :at
WHERE agent_id = :agent_id
RETURNING *;
