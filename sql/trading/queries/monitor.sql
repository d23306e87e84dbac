-- The position monitor: its heartbeat, and what it sees of each position.

-- name: beat
-- Note a sign of life; `passed` says that a pass over everything has just ended.
INSERT INTO monitor_heartbeats (
    agent_id, cycle_id, host, pid, started_at, beat_at, passed_at, passes, positions, problem
) VALUES (
    :agent_id, :cycle_id, :host, :pid, :started_at, :at,
    CASE WHEN :passed::boolean THEN :at::timestamptz END,
    :passed::boolean::integer, :positions, :problem
)
ON CONFLICT (agent_id) DO UPDATE
SET cycle_id = excluded.cycle_id,
    host = excluded.host,
    pid = excluded.pid,
    started_at = excluded.started_at,
    beat_at = greatest(monitor_heartbeats.beat_at, excluded.beat_at),
    passed_at = coalesce(excluded.passed_at, monitor_heartbeats.passed_at),
    passes = monitor_heartbeats.passes + excluded.passes,
    positions = excluded.positions,
    problem = excluded.problem;

-- name: note_trouble
-- Note why a pass could not be made; this is no sign of life.
UPDATE monitor_heartbeats SET problem = :problem WHERE agent_id = :agent_id;

-- name: last_beat
-- Return the monitor's last sign of life, if there ever was one.
SELECT * FROM monitor_heartbeats WHERE agent_id = :agent_id;

-- name: monitor_status
-- Return what the monitor last saw of a position, if it ever looked.
SELECT * FROM position_monitor_status WHERE position_id = :position_id;

-- name: record_check
-- Write down what was seen of a position; errors in a row are counted, and forgotten when a look works.
INSERT INTO position_monitor_status (
    agent_id, position_id, symbol, status, pid, started_at, last_check_at, next_check_at,
    checks_completed, last_price, high_watermark, current_pnl_pct, last_rsi, last_macd_signal,
    last_vwap_position, last_ema20_position, hold_signals, exit_signals, signal_strength,
    recommendation, recommendation_reason, haiku_calls, last_haiku_recommendation, estimated_cost,
    last_error, error_count, consecutive_errors, created_at, updated_at, last_review_at
) VALUES (
    :agent_id, :position_id, :symbol, :status, :pid, :at, :at, :next_check_at, 1, :last_price,
    :high_watermark, :current_pnl_pct, :last_rsi, :last_macd_signal, :last_vwap_position,
    :last_ema20_position, :hold_signals, :exit_signals, :signal_strength, :recommendation,
    :recommendation_reason, :reviews, :last_review, :review_cost_usd, :error,
    (:error::text IS NOT NULL)::integer, (:error::text IS NOT NULL)::integer, :at, :at,
    CASE WHEN :reviews > 0 THEN :at::timestamptz END
)
ON CONFLICT (position_id) DO UPDATE
SET status = excluded.status,
    pid = excluded.pid,
    last_check_at = excluded.last_check_at,
    next_check_at = excluded.next_check_at,
    checks_completed = position_monitor_status.checks_completed + 1,
    last_price = coalesce(excluded.last_price, position_monitor_status.last_price),
    high_watermark = greatest(excluded.high_watermark, position_monitor_status.high_watermark),
    current_pnl_pct = coalesce(excluded.current_pnl_pct, position_monitor_status.current_pnl_pct),
    last_rsi = excluded.last_rsi,
    last_macd_signal = excluded.last_macd_signal,
    last_vwap_position = excluded.last_vwap_position,
    last_ema20_position = excluded.last_ema20_position,
    hold_signals = excluded.hold_signals,
    exit_signals = excluded.exit_signals,
    signal_strength = excluded.signal_strength,
    recommendation = excluded.recommendation,
    recommendation_reason = excluded.recommendation_reason,
    haiku_calls = position_monitor_status.haiku_calls + excluded.haiku_calls,
    last_haiku_recommendation = coalesce(
        excluded.last_haiku_recommendation, position_monitor_status.last_haiku_recommendation
    ),
    estimated_cost = position_monitor_status.estimated_cost + excluded.estimated_cost,
    last_error = coalesce(excluded.last_error, position_monitor_status.last_error),
    error_count = position_monitor_status.error_count + excluded.error_count,
    consecutive_errors = CASE
        WHEN excluded.last_error IS NULL THEN 0
        ELSE position_monitor_status.consecutive_errors + 1
    END,
    updated_at = excluded.updated_at,
    last_review_at = coalesce(excluded.last_review_at, position_monitor_status.last_review_at);

-- name: end_watch
-- Note that closed positions are not watched any more.
UPDATE position_monitor_status AS watched
SET status = 'stopped', updated_at = :at
FROM positions
WHERE positions.position_id = watched.position_id
    AND watched.agent_id = :agent_id
    AND positions.status = 'closed'
    AND watched.status <> 'stopped';

-- name: rest_watch
-- Note that what is still open is looked at again when the exchange opens.
UPDATE position_monitor_status AS watched
SET status = 'sleeping', next_check_at = :until, updated_at = :at
FROM positions
WHERE positions.position_id = watched.position_id
    AND watched.agent_id = :agent_id
    AND positions.status = 'open';

-- name: monitor_health
-- List the open positions of an agent with how well they are watched, what needs a person first.
SELECT symbol, quantity, health, last_check_at, last_price, current_pnl_pct, recommendation,
    recommendation_reason, last_error, consecutive_errors
FROM v_monitor_health
WHERE agent_id = :agent_id
ORDER BY priority, symbol;

-- name: naked_since
-- Sum the times since then in which shares of an agent had no stop in force, or nobody to be it.
SELECT
    count(*) AS spells,
    coalesce(sum(extract(EPOCH FROM coalesce(ended_at, :now) - began_at)), 0) AS seconds
FROM unprotected_spells
WHERE agent_id = :agent_id AND began_at >= :since;
