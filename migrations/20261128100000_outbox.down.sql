BEGIN;
SET LOCAL ROLE starling_migrate;
DROP FUNCTION lockers(integer);
DROP TABLE dead_letters;
DROP INDEX outbox_events_next, outbox_events_held, outbox_events_tried;
ALTER TABLE outbox_events DROP COLUMN held;
CREATE INDEX outbox_events_claim ON outbox_events (shard, seq) WHERE status = 'PENDING';
CREATE INDEX outbox_events_dead ON outbox_events (tenant_id, created_at) WHERE status = 'DEAD';
COMMIT;
