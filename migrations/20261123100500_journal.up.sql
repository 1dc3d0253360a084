-- What goes out, what has come in, what was answered, and who did what. All partitioned by time.
--
-- ensure_partitions makes the partitions of the days to come, forget_partitions drops those that nobody needs any
-- more. Each table has a default partition, so that a clock or a sleeping job never makes a write fail.
BEGIN;
SET LOCAL ROLE starling_migrate;

CREATE TABLE outbox_events (
    event_id       uuid NOT NULL,
    tenant_id      uuid NOT NULL,
    aggregate_type text NOT NULL, -- task, robot, map, decision
    aggregate_id   uuid NOT NULL,
    topic          text NOT NULL,
    key            text NOT NULL, -- of the message: robot, task, zone or warehouse
    payload        bytea NOT NULL, -- starling.events.v1.Envelope
    headers        jsonb NOT NULL DEFAULT '{}', -- with traceparent
    status         text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'SENT', 'DEAD')),
    attempts       integer NOT NULL DEFAULT 0,
    next_retry_at  timestamptz NOT NULL DEFAULT now(),
    created_at     timestamptz NOT NULL DEFAULT now(),
    sent_at        timestamptz,
    last_error     text,
    seq            bigint GENERATED ALWAYS AS IDENTITY, -- order within an aggregate: it has one writer at a time
    shard          smallint NOT NULL, -- hash of the aggregate, 0..15: one pump each
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE outbox_events_default PARTITION OF outbox_events DEFAULT;
CREATE INDEX outbox_events_claim ON outbox_events (shard, seq) WHERE status = 'PENDING';
CREATE INDEX outbox_events_dead ON outbox_events (tenant_id, created_at) WHERE status = 'DEAD';
ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox_events TO starling_app USING (tenant_id = (SELECT app_tenant()));
CREATE POLICY worker ON outbox_events TO starling_worker USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_events TO starling_worker;

CREATE TABLE inbox_events (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    consumer     text NOT NULL,
    event_id     uuid NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_events_age ON inbox_events (processed_at);
ALTER TABLE inbox_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON inbox_events TO starling_app USING (tenant_id = (SELECT app_tenant()));
CREATE POLICY worker ON inbox_events TO starling_worker USING (true);
GRANT SELECT, INSERT, DELETE ON inbox_events TO starling_worker;

-- First answers. Uniqueness holds within a day; a key used across midnight is guarded by the lock that recording it
-- takes, a task's for ever by tasks.idempotency_key.
CREATE TABLE idempotency_keys (
    tenant_id   uuid NOT NULL,
    route       text NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,
    status      integer NOT NULL,
    headers     jsonb NOT NULL, -- {"Location"}
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    day         date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    PRIMARY KEY (tenant_id, route, key, day)
) PARTITION BY RANGE (day);
CREATE TABLE idempotency_keys_default PARTITION OF idempotency_keys DEFAULT;
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE audit_logs (
    audit_id      uuid NOT NULL,
    occurred_at   timestamptz NOT NULL,
    tenant_id     uuid NOT NULL, -- nil: a refused sign-in whose tenant is unknown
    actor_user_id uuid,
    subject       text NOT NULL,
    action        text NOT NULL,
    resource_type text NOT NULL,
    resource_id   text NOT NULL,
    request_id    text NOT NULL,
    trace_id      text NOT NULL,
    method        text NOT NULL,
    path          text NOT NULL,
    status_code   integer NOT NULL,
    duration_ms   double precision NOT NULL,
    client_ip     inet,
    user_agent    text NOT NULL,
    details       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (audit_id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;
CREATE INDEX audit_logs_newest ON audit_logs (tenant_id, occurred_at);
CREATE INDEX audit_logs_of_request ON audit_logs (request_id);
ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_logs TO starling_app USING (tenant_id = (SELECT app_tenant()));
REVOKE UPDATE, DELETE ON audit_logs FROM starling_app; -- the log is only added to

-- A partition is closed to the program itself: it goes through the parent, whose policies hold.
CREATE FUNCTION make_partition(parent text, suffix text, lower_bound text, upper_bound text, column_name text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := parent || '_' || suffix;
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    EXECUTE format('REVOKE ALL ON %I FROM starling_app', name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    -- What fell into the default partition moves to where it belongs.
    EXECUTE format('WITH moved AS (DELETE FROM %1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *) INSERT INTO %5$I SELECT * FROM moved',
        parent || '_default', column_name, lower_bound, upper_bound, name);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, lower_bound, upper_bound);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION make_partition(text, text, text, text, text) FROM PUBLIC;

-- ensure_partitions makes what is missing of a table from yesterday to so many days ahead; returns how many it made. One
-- table per transaction: it shuts writers out for a moment, and whoever holds one table and waits for another can be in
-- each other's way.
CREATE FUNCTION ensure_partitions(parent text, days_ahead integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    made integer := 0;
    d date;
    m date;
BEGIN
    PERFORM pg_advisory_xact_lock(7264120260002);
    FOR i IN -1..days_ahead LOOP
        d := current_date + i;
        m := date_trunc('month', d);
        CASE parent
            WHEN 'outbox_events' THEN
                made := made + make_partition(parent, to_char(d, 'YYYYMMDD'), d || ' 00:00:00+00', (d + 1) || ' 00:00:00+00', 'created_at')::integer;
            WHEN 'idempotency_keys' THEN
                made := made + make_partition(parent, to_char(d, 'YYYYMMDD'), d::text, (d + 1)::text, 'day')::integer;
            WHEN 'audit_logs' THEN
                made := made + make_partition(parent, to_char(m, 'YYYYMM'), m || ' 00:00:00+00', (m + interval '1 month')::date || ' 00:00:00+00', 'occurred_at')::integer;
        END CASE;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions(text, integer) TO starling_app;

-- forget_partitions drops the keys of days that ended more than 24 h ago; returns how many partitions went.
CREATE FUNCTION forget_partitions()
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    gone integer := 0;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(7264120260002);
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'idempotency_keys'::regclass AND c.relname ~ '_\d{8}$'
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - 1
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION forget_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_partitions() TO starling_app;

-- The default partitions too are reached through their parents alone.
REVOKE ALL ON outbox_events_default, idempotency_keys_default, audit_logs_default FROM starling_app;
ALTER TABLE outbox_events_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_logs_default ENABLE ROW LEVEL SECURITY;
COMMIT;
