-- What happened besides orders: decisions, refusals, tool calls, scans, alerts.

-- name: record_decision
-- Keep what was decided and why.
INSERT INTO decisions (
    agent_id, cycle_id, decision, symbol, reasoning, confidence, model, created_at
) VALUES (:agent_id, :cycle_id, :decision, :symbol, :reasoning, :confidence, :model, :at)
RETURNING decision_id;

-- name: decision_exists
-- Say whether a decision is there already.
SELECT EXISTS (
    SELECT FROM decisions
    WHERE cycle_id = :cycle_id AND created_at = :at AND reasoning = :reasoning
) AS is_there;

-- name: refusal_exists
-- Say whether a refusal is there already.
SELECT EXISTS (
    SELECT FROM refusals
    WHERE cycle_id IS NOT DISTINCT FROM :cycle_id AND refused_at = :at AND request = :request
) AS is_there;

-- name: record_refusal
-- Keep a refused request with every reason.
INSERT INTO refusals (agent_id, cycle_id, tool, request, codes, texts, refused_at)
VALUES (:agent_id, :cycle_id, :tool, :request, :codes, :texts, :at);

-- name: record_tool_call
-- Keep one tool call with its answer.
INSERT INTO tool_calls (
    cycle_id, sequence, tool_use_id, name, arguments, result, is_error, started_at, duration_seconds
) VALUES (
    :cycle_id, :sequence, :tool_use_id, :name, :arguments, :result, :is_error, :started_at,
    :duration_seconds
)
ON CONFLICT (cycle_id, sequence) DO NOTHING;

-- name: record_candidate
-- Keep one candidate of a scan.
INSERT INTO scan_results (
    agent_id, cycle_id, security_id, symbol, rank, price, volume, change_pct, relative_volume, score,
    scanned_at
) VALUES (
    :agent_id, :cycle_id, (SELECT security_id FROM securities WHERE symbol = :symbol), :symbol,
    :rank, :price, :volume, :change_pct, :relative_volume, :score, :at
);

-- name: queue_alert
-- Put an alert into the outbox; gives no row when the same key is there already that day.
INSERT INTO alerts (
    agent_id, cycle_id, severity, subject, body, dedupe_key, queued_on, queued_at, status, attempts
) VALUES (
    :agent_id, :cycle_id, :severity, :subject, :body, :dedupe_key,
    (:at::timestamptz AT TIME ZONE 'UTC')::date, :at, 'queued', 0
)
ON CONFLICT (agent_id, dedupe_key, queued_on) DO NOTHING
RETURNING alert_id;

-- name: alert_is_told
-- Say whether an alert of that key was ever put into the outbox.
SELECT EXISTS (
    SELECT FROM alerts WHERE agent_id = :agent_id AND dedupe_key = :dedupe_key
) AS is_told;

-- name: queued_alerts
-- List what a person has still to be told, oldest first.
SELECT alert_id, cycle_id, severity, subject, body, queued_at, attempts, next_attempt_at FROM alerts
WHERE agent_id = :agent_id AND status = 'queued'
ORDER BY alert_id
LIMIT :limit;

-- name: count_due_alerts
-- Count what a person has still to be told and may be tried now.
SELECT count(*) AS due FROM alerts
WHERE agent_id = :agent_id AND status = 'queued'
    AND (next_attempt_at IS NULL OR next_attempt_at <= :at);

-- name: claim_alert
-- Take the most pressing alert that is due, for nobody else until the lease ends.
UPDATE alerts SET next_attempt_at = :leased_until
WHERE alert_id = (
    SELECT alert_id FROM alerts
    WHERE agent_id = :agent_id AND status = 'queued'
        AND (next_attempt_at IS NULL OR next_attempt_at <= :at)
    ORDER BY severity = 'critical' DESC, alert_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING alert_id, cycle_id, severity, subject, body, queued_at, attempts, next_attempt_at;

-- name: mark_alert_sent
-- Note who took an alert, and what went wrong on the way.
UPDATE alerts
SET status = 'sent', sent_at = :at, attempts = attempts + 1, accepted_by = :accepted_by,
    last_error = coalesce(:error, last_error), next_attempt_at = NULL
WHERE alert_id = :alert_id AND status = 'queued';

-- name: mark_alert_failed
-- Note that an alert could not be sent, unless its lease ran out; it stays queued.
UPDATE alerts
SET attempts = attempts + 1, last_error = :error, next_attempt_at = :next_attempt_at
WHERE alert_id = :alert_id AND status = 'queued' AND next_attempt_at = :leased_until;

-- name: recent_decisions
-- List an agent's latest decisions, newest first.
SELECT decision, symbol, reasoning, created_at
FROM decisions
WHERE agent_id = :agent_id
ORDER BY decision_id DESC
LIMIT :limit;
