-- What the platform grants a tenant at most: quotas in its settings never exceed these. Row-level security lets a
-- tenant's own administrators change their row; the trigger keeps this column for the platform's.
BEGIN;
SET LOCAL ROLE starling_migrate;
ALTER TABLE tenants ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');

CREATE FUNCTION keep_tenant_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'only the platform may set the limits of a tenant' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER limits_are_the_platforms BEFORE UPDATE ON tenants FOR EACH ROW
    WHEN (NEW.limits IS DISTINCT FROM OLD.limits AND current_user = 'starling_app' AND NOT app_platform())
    EXECUTE FUNCTION keep_tenant_limits();
CREATE TRIGGER limits_are_the_platforms_at_first BEFORE INSERT ON tenants FOR EACH ROW
    WHEN (NEW.limits <> '{}' AND current_user = 'starling_app' AND NOT app_platform())
    EXECUTE FUNCTION keep_tenant_limits();
COMMIT;
