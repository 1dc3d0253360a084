-- What background jobs read across tenants, what consumers make of events, and what is forgotten.
--
-- Safe while the previous version runs: it only adds.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';

-- Jobs look for tasks and robots that do not get on by themselves, of all tenants: the columns that say so and no others,
-- to read and not to write. What they find is done by the engine, for its tenant.
CREATE POLICY worker ON tasks FOR SELECT TO starling_worker USING (true);
GRANT SELECT (tenant_id, warehouse_id, task_id, status, robot_id, earliest_start, deadline, created_at, updated_at, version) ON tasks TO starling_worker;
CREATE POLICY worker ON robots FOR SELECT TO starling_worker USING (true);
GRANT SELECT (tenant_id, warehouse_id, robot_id, removed_at, connection, connection_at, reported_at) ON robots TO starling_worker;

-- How long each task spent in which phase: a projection of task.events, made by a consumer. Times in milliseconds.
CREATE TABLE task_timing (
    task_id        uuid NOT NULL,
    tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    warehouse_id   uuid NOT NULL,
    task_type      text NOT NULL,
    robot_id       uuid, -- of the last award
    fleet          text NOT NULL,
    priority       smallint NOT NULL,
    version        bigint NOT NULL, -- of the last event that is in it
    phase          text NOT NULL, -- the status since phase_at
    phase_at       timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    due_at         timestamptz NOT NULL, -- created, or the earliest start where that is later
    deadline       timestamptz,
    assigned_at    timestamptz, -- first award
    started_at     timestamptz,
    finished_at    timestamptz,
    awards         integer NOT NULL DEFAULT 0,
    errands        integer NOT NULL DEFAULT 0, -- done
    delayed_ms     bigint NOT NULL DEFAULT 0, -- CREATED before it was due
    waiting_ms     bigint NOT NULL DEFAULT 0, -- CREATED and due
    approach_ms    bigint NOT NULL DEFAULT 0, -- ASSIGNED: until its robot set off
    executing_ms   bigint NOT NULL DEFAULT 0,
    cancelling_ms  bigint NOT NULL DEFAULT 0
);
CREATE INDEX task_timing_finished ON task_timing (tenant_id, warehouse_id, finished_at DESC, task_id DESC) WHERE finished_at IS NOT NULL;
ALTER TABLE task_timing ADD PRIMARY KEY (tenant_id, task_id);
ALTER TABLE task_timing ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON task_timing TO starling_app USING (tenant_id = (SELECT app_tenant()));
-- What a consumer has had it forgets only when the worker says so.
REVOKE UPDATE, DELETE ON inbox_events FROM starling_app;

-- forget_outbox drops the days of sent events that ended more than so many days before today; returns how many went. What
-- is not sent in them moves to the default partition first, so that nothing is lost however long the brokers are away. It is
-- the worker's. Dropping shuts the outbox for a moment: it is given up where it does not come at once, since whoever writes
-- would wait behind it.
CREATE FUNCTION forget_outbox(days integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s' AS $$
DECLARE
    gone integer := 0;
    name text;
BEGIN
    IF days IS NULL OR days < 1 THEN
        RAISE EXCEPTION 'sent events are kept for a day at least, not for %', days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(7264120260002);
    DELETE FROM outbox_events_default WHERE status = 'SENT' AND created_at < current_date - days;
    PERFORM set_config('lock_timeout', '200ms', true);
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox_events'::regclass AND c.relname ~ '_\d{8}$'
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - days
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE outbox_events DETACH PARTITION %I', name);
        EXECUTE format('INSERT INTO outbox_events OVERRIDING SYSTEM VALUE SELECT * FROM %I WHERE status <> ''SENT''', name);
        EXECUTE format('DROP TABLE %I', name);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION forget_outbox(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_outbox(integer) TO starling_worker;
COMMIT;
