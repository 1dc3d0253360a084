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

-- forget_outbox drops one day of sent events that ended more than so many days before today; returns how many went, 0 or 1:
-- whoever calls it calls it again, in a transaction of its own. A day with events that are still to be sent stays as it is,
-- however old it is: nothing is moved. What died goes with its day once its letter was discarded. It is the worker's.
-- Dropping shuts the outbox for a moment: it is given up where it does not come at once, since whoever writes would wait
-- behind it.
CREATE FUNCTION forget_outbox(days integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s' AS $$
DECLARE
    name text;
    day date;
    kept boolean;
    ask CONSTANT text := 'SELECT EXISTS (SELECT FROM %1$I WHERE status = ''PENDING'' AND NOT held)
        OR EXISTS (SELECT FROM %1$I WHERE status = ''PENDING'' AND held)
        OR EXISTS (SELECT FROM dead_letters WHERE state IN (''open'', ''retrying'', ''discarding'')
            AND created_at >= %2$L::date AND created_at < %2$L::date + 1)';
BEGIN
    IF days IS NULL OR days < 1 THEN
        RAISE EXCEPTION 'sent events are kept for a day at least, not for %', days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(7264120260002);
    -- What had no day to fall into; some of it, the next call comes.
    DELETE FROM outbox_events_default WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox_events_default WHERE status = 'SENT' AND created_at < current_date - days LIMIT 10000));
    PERFORM set_config('lock_timeout', '200ms', true);
    PERFORM set_config('enable_seqscan', 'off', true); -- the indexes of what is to be sent are empty, or say so at once
    FOR name, day IN SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox_events'::regclass AND c.relname ~ '_\d{8}$'
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - days
        ORDER BY c.relname
    LOOP
        EXECUTE format(ask, name, day) INTO kept;
        IF kept THEN
            CONTINUE;
        END IF;
        LOCK TABLE ONLY outbox_events IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name);
        EXECUTE format(ask, name, day) INTO kept; -- nobody writes any more
        IF kept THEN
            RETURN 0;
        END IF;
        EXECUTE format('DROP TABLE %I', name);
        RETURN 1;
    END LOOP;
    RETURN 0;
END $$;
REVOKE ALL ON FUNCTION forget_outbox(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_outbox(integer) TO starling_worker;
COMMIT;
