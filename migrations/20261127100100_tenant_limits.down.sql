BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TRIGGER limits_are_the_platforms_at_first ON tenants;
DROP TRIGGER limits_are_the_platforms ON tenants;
DROP FUNCTION keep_tenant_limits();
ALTER TABLE tenants DROP COLUMN limits;
COMMIT;
