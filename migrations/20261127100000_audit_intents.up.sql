-- An audit entry may be written in two steps: an intent (status_code = 0) in the transaction of what it speaks of, and its
-- completion when the request has been answered. Nothing else of the log can be changed, and a completion only once: the
-- rules of the server see to it, not the program.
--
-- Safe while the previous version runs: it only adds rows, which the rules allow as before.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';

DROP POLICY tenant ON audit_logs;
-- What stands under the nil tenant (no tenant is known) is for platform administrators alone.
CREATE POLICY tenant_reads ON audit_logs FOR SELECT TO starling_app USING (
    tenant_id = (SELECT app_tenant())
    AND (tenant_id <> '00000000-0000-0000-0000-000000000000' OR (SELECT app_platform())));
CREATE POLICY tenant_adds ON audit_logs FOR INSERT TO starling_app WITH CHECK (tenant_id = (SELECT app_tenant()));
CREATE POLICY tenant_completes ON audit_logs FOR UPDATE TO starling_app
    USING (status_code = 0 AND tenant_id = (SELECT app_tenant())
        AND (tenant_id <> '00000000-0000-0000-0000-000000000000' OR (SELECT app_platform())))
    WITH CHECK (status_code <> 0 AND tenant_id = (SELECT app_tenant()));
GRANT UPDATE (status_code, duration_ms, resource_id, details) ON audit_logs TO starling_app;

-- Open intents are few: those under way, and those whose process ended before it could complete them. (Writers wait
-- while indexes are built; before this version nothing wrote the log.)
CREATE INDEX audit_logs_open ON audit_logs (tenant_id, occurred_at) WHERE status_code = 0;
-- What did he do, what became of it: rare among millions.
CREATE INDEX audit_logs_of_user ON audit_logs (tenant_id, actor_user_id, occurred_at) WHERE actor_user_id IS NOT NULL;
CREATE INDEX audit_logs_of_resource ON audit_logs (tenant_id, resource_id, occurred_at) WHERE resource_id <> '';

-- forget_audit drops the months of the log that ended more than so many whole months before the present one; returns how
-- many partitions went. What fell into the default partition and is as old goes too. It is the worker's: the role by which
-- requests are served can erase nothing. Dropping shuts the log: it is given up where it does not come at once, since whoever
-- writes would wait behind it.
CREATE FUNCTION forget_audit(months integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s' AS $$
DECLARE
    gone integer := 0;
    oldest date;
    name text;
BEGIN
    IF months IS NULL OR months < 1 THEN
        RAISE EXCEPTION 'the audit log is kept for a month at least, not for %', months USING ERRCODE = 'invalid_parameter_value';
    END IF;
    oldest := (date_trunc('month', current_date) - make_interval(months => months))::date;
    PERFORM pg_advisory_xact_lock(7264120260002);
    DELETE FROM audit_logs_default WHERE occurred_at < oldest;
    PERFORM set_config('lock_timeout', '200ms', true);
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit_logs'::regclass AND c.relname ~ '_\d{6}$'
          AND to_date(right(c.relname, 6), 'YYYYMM') < oldest
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION forget_audit(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_audit(integer) TO starling_worker;
COMMIT;
