-- Letters between agents.

-- name: unread_messages
-- List an agent's unread letters that still matter, most urgent first, then oldest.
SELECT id, from_agent, to_agent, msg_type, priority, subject, body, data, reply_to_id, created_at,
    expires_at, requires_response
FROM claude_messages
WHERE to_agent = :agent_id
    AND status = 'pending'
    AND (expires_at IS NULL OR expires_at > :at)
ORDER BY array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority), created_at, id
LIMIT :limit;

-- name: mark_read
-- Note that an agent has read letters of its own.
UPDATE claude_messages
SET status = 'read', read_at = :at
WHERE to_agent = :agent_id AND id = ANY (:message_ids::bigint[]) AND status = 'pending';

-- name: send_message
-- Leave a letter for an agent.
INSERT INTO claude_messages (
    from_agent, to_agent, msg_type, priority, subject, body, data, reply_to_id, status, created_at,
    expires_at, requires_response
) VALUES (
    :from_agent, :to_agent, :msg_type, :priority, :subject, :body, :data, :reply_to_id, 'pending',
    :at, :expires_at, :requires_response
)
RETURNING id;
