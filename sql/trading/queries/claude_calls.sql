-- Money for Claude: reserved before a call, settled after it.

-- name: reserve_budget
-- Set money aside for a call, in one step; gives no row when the day's budget would be passed.
INSERT INTO budget_days AS day (
    agent_id, budget_date, budget_usd, reserved_usd, spent_usd, overrun_usd
)
SELECT :agent_id, :budget_date, :budget_usd, :worst_case_usd, 0, 0
WHERE :worst_case_usd::numeric <= :budget_usd::numeric
ON CONFLICT (agent_id, budget_date) DO UPDATE
SET budget_usd = excluded.budget_usd,
    reserved_usd = day.reserved_usd + excluded.reserved_usd
WHERE day.spent_usd + day.reserved_usd + excluded.reserved_usd <= excluded.budget_usd
RETURNING reserved_usd;

-- name: insert_call
-- Write a call down with what was set aside for it.
INSERT INTO claude_calls (
    agent_id, cycle_id, budget_date, model, status, reserved_usd, passed_reservation, started_at
) VALUES (
    :agent_id, :cycle_id, :budget_date, :model, 'reserved', :worst_case_usd, false, :at
)
RETURNING call_id;

-- name: settle_call
-- Write down what a call really used; gives no row unless it was still reserved.
UPDATE claude_calls
SET status = 'settled',
    cost_usd = :cost_usd,
    passed_reservation = :cost_usd > reserved_usd,
    input_tokens = :input_tokens,
    output_tokens = :output_tokens,
    cache_read_tokens = :cache_read_tokens,
    cache_write_tokens = :cache_write_tokens,
    stop_reason = :stop_reason,
    request_id = :request_id,
    duration_seconds = :duration_seconds,
    ended_at = :at
WHERE call_id = :call_id AND status = 'reserved'
RETURNING agent_id, budget_date, reserved_usd;

-- name: fail_call
-- Write down that a call failed, and what it may have cost; gives no row unless it was still reserved.
UPDATE claude_calls
SET status = 'failed',
    cost_usd = :charged_usd,
    passed_reservation = :charged_usd > reserved_usd,
    error = :error,
    ended_at = :at
WHERE call_id = :call_id AND status = 'reserved'
RETURNING agent_id, budget_date, reserved_usd;

-- name: settle_budget
-- Turn a reservation into what was really spent; what passes the budget is kept as overrun.
UPDATE budget_days
SET reserved_usd = reserved_usd - :reserved_usd,
    spent_usd = spent_usd + :cost_usd,
    overrun_usd = greatest(
        overrun_usd, spent_usd + :cost_usd + reserved_usd - :reserved_usd - budget_usd
    )
WHERE agent_id = :agent_id AND budget_date = :budget_date;

-- name: budget_used
-- Return what a day's calls have spent and set aside.
SELECT spent_usd, reserved_usd FROM budget_days
WHERE agent_id = :agent_id AND budget_date = :budget_date;

-- name: cycle_cost
-- Sum up what the calls of one run have cost.
SELECT coalesce(sum(cost_usd), 0) AS cost_usd FROM claude_calls WHERE cycle_id = :cycle_id;
