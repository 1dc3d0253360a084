-- The switch of platform administrators opens the list of customers; it need not open their users, and no query asks it to.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE starling_migrate;
ALTER POLICY tenant ON users USING (tenant_id = (SELECT app_tenant()));
COMMIT;
