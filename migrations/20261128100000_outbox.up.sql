-- The outbox is drained: one pump a shard, facts that cannot be sent become dead letters, later facts of their aggregate
-- are held until somebody has decided about them.
--
-- Safe while the previous version runs: it adds rows as before and reads none by the index that goes. Writers wait while
-- the indexes are built; whoever has a large outbox makes them first, on each partition, by hand.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';

ALTER TABLE outbox_events ADD COLUMN held boolean NOT NULL DEFAULT false; -- an earlier fact of its aggregate is a dead letter

-- Whoever serves requests writes facts and reads them; what becomes of them is the pumps'.
REVOKE UPDATE, DELETE ON outbox_events FROM starling_app;

-- Topics are claimed one by one: one that the brokers do not take must not stand in the way of the others.
CREATE INDEX outbox_events_next ON outbox_events (shard, topic, seq) WHERE status = 'PENDING' AND NOT held;
CREATE INDEX outbox_events_held ON outbox_events (aggregate_id, seq) WHERE status = 'PENDING' AND held;
CREATE INDEX outbox_events_tried ON outbox_events (shard) WHERE status = 'PENDING' AND attempts > 0;
DROP INDEX outbox_events_claim;
DROP INDEX outbox_events_dead; -- dead letters have a table of their own

CREATE TABLE dead_letters (
    event_id       uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    shard          smallint NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id   uuid NOT NULL,
    topic          text NOT NULL,
    key            text NOT NULL,
    event_type     text NOT NULL, -- task.created, …; empty where the envelope cannot be read
    cause          text NOT NULL,
    attempts       integer NOT NULL, -- of the last round
    deaths         integer NOT NULL DEFAULT 1, -- rounds: a letter may be retried and die again
    created_at     timestamptz NOT NULL, -- of the fact
    dead_at        timestamptz NOT NULL DEFAULT now(),
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'retrying', 'discarding', 'retried', 'discarded')),
    handled_at     timestamptz, -- when it was asked for
    handled_by     uuid -- user; NULL = nobody, or no person
);
-- What parks its aggregate; and what a pump has been asked to do.
CREATE INDEX dead_letters_parked ON dead_letters (aggregate_id) WHERE state IN ('open', 'retrying', 'discarding');
CREATE INDEX dead_letters_asked ON dead_letters (shard) WHERE state IN ('retrying', 'discarding');
CREATE INDEX dead_letters_newest ON dead_letters (tenant_id, dead_at, event_id);
ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON dead_letters TO starling_app USING (tenant_id = (SELECT app_tenant()));
CREATE POLICY worker ON dead_letters TO starling_worker USING (true);
REVOKE INSERT, UPDATE, DELETE ON dead_letters FROM starling_app; -- people decide; pumps make, act and clear up
GRANT UPDATE (state, handled_at, handled_by) ON dead_letters TO starling_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letters TO starling_worker;

-- lockers says how many sessions hold advisory locks of a class in this database: that is how many workers there are.
CREATE FUNCTION lockers(class integer) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(DISTINCT pid) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = class::oid AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;
COMMIT;
