-- Lines of the local journal that were taken over.

-- name: begin_replay
-- Note a line before it is written; gives no row when it was taken over before.
INSERT INTO journal_replays (entry_id, agent_id, kind, noted_at, replayed_at, result)
VALUES (:entry_id, :agent_id, :kind, :noted_at, :at, 'begun')
ON CONFLICT (entry_id) DO NOTHING
RETURNING entry_id;

-- name: finish_replay
-- Say what came of it.
UPDATE journal_replays SET result = :result WHERE entry_id = :entry_id;
