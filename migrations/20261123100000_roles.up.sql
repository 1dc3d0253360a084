-- Roles, the extension, and what row-level security and identifiers stand on.
--
-- starling_migrate owns everything; starling_app is what the program becomes after it has connected (SET ROLE), so
-- that row-level security holds for it even where DATABASE_URL names a superuser; starling_worker sees all tenants,
-- but only the tables of the outbox, the jobs and the shards. None of them can log in: whoever connects is granted
-- the right to become them. Roles belong to the whole server, hence the checks: no lock spans its databases.
BEGIN;
CREATE EXTENSION IF NOT EXISTS postgis;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['starling_migrate', 'starling_app', 'starling_worker'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', name);
            END IF;
            IF NOT pg_has_role(current_user, name, 'MEMBER') THEN
                EXECUTE format('GRANT %I TO %I', name, current_user);
            END IF;
        EXCEPTION WHEN unique_violation OR duplicate_object THEN
            NULL; -- another database of the server was migrated at the same time
        END;
    END LOOP;
END $$;
GRANT USAGE, CREATE ON SCHEMA public TO starling_migrate;
GRANT USAGE ON SCHEMA public TO starling_app, starling_worker;

SET LOCAL ROLE starling_migrate;
-- What migrations make is for the program to use, unless they say otherwise; schema_migrations is not among it.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO starling_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO starling_app;

-- app_tenant is the tenant of this transaction (SET LOCAL app.tenant_id), NULL = none: no rows.
CREATE FUNCTION app_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT nullif(current_setting('app.tenant_id', true), '')::uuid $$;

-- app_platform says that this transaction acts for a platform administrator, who stands above tenants. It opens the
-- tables tenants and users alone.
CREATE FUNCTION app_platform() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(current_setting('app.platform', true), '') = 'on' $$;
COMMIT;
