-- The position monitor: its rows among the cycles, its heartbeat, whose silence forbids entries and is an
-- alarm, and a view that calls a watch stale when the alarm does.

ALTER TABLE trading_cycles DROP CONSTRAINT trading_cycles_mode_known;
ALTER TABLE trading_cycles ADD CONSTRAINT trading_cycles_mode_known
    CHECK (mode IN ('scan', 'trade', 'close', 'heartbeat', 'monitor'));

CREATE TABLE monitor_heartbeats (
    agent_id text PRIMARY KEY,
    cycle_id text REFERENCES trading_cycles (cycle_id),
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    passed_at timestamptz,
    passes bigint NOT NULL,
    positions integer NOT NULL,
    problem text,
    CONSTRAINT monitor_heartbeats_counts_not_negative CHECK (passes >= 0 AND positions >= 0)
);

ALTER TABLE position_monitor_status ADD COLUMN last_review_at timestamptz;

CREATE OR REPLACE VIEW v_monitor_health AS
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
