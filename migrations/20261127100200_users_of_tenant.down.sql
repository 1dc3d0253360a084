BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE starling_migrate;
ALTER POLICY tenant ON users USING (tenant_id = (SELECT app_tenant()) OR (SELECT app_platform()));
COMMIT;
