-- The roles stay: other databases of the server may use them. So does the extension.
BEGIN;
SET LOCAL ROLE starling_migrate;
DROP FUNCTION app_platform();
DROP FUNCTION app_tenant();
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE USAGE ON SEQUENCES FROM starling_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM starling_app;
COMMIT;
