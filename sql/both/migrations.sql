-- Statements about the state of a schema; the same in every database.

-- name: lock_migrations
-- Let one process at a time migrate this database, until its transaction ends however it ends.
SELECT pg_advisory_xact_lock(hashtextextended('catalyst.migrate', 0));

-- name: has_migrations
-- Say whether anything has ever been migrated here.
SELECT to_regclass('schema_migrations') IS NOT NULL AS found;

-- name: applied_migrations
-- List what has been applied, in order.
SELECT name, sha256 FROM schema_migrations ORDER BY name;

-- name: record_migration
-- Note that a migration has been applied.
INSERT INTO schema_migrations (name, sha256) VALUES (:name, :sha256);
