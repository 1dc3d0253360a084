-- The newest holder of each lock that lives in Redis: a write that was decided under an older token is refused. Redis may
-- lose all it has; what is refused stands here.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';
CREATE TABLE lock_fences (
    tenant_id    uuid NOT NULL,
    warehouse_id uuid NOT NULL,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 64), -- dispatch, replan
    token        bigint NOT NULL CHECK (token > 0), -- never falls
    holder       text NOT NULL,
    raised_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, warehouse_id, name),
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
);
ALTER TABLE lock_fences ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON lock_fences TO starling_app USING (tenant_id = (SELECT app_tenant()));
GRANT SELECT, INSERT, UPDATE ON lock_fences TO starling_app;
COMMIT;
