-- The outbox learns when an alert is due again, who has it in hand until then, and who took it.

ALTER TABLE alerts ADD COLUMN next_attempt_at timestamptz;
ALTER TABLE alerts ADD COLUMN accepted_by text[];
