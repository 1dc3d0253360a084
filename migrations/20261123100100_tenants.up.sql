-- Who uses the house and where robots drive.
BEGIN;
SET LOCAL ROLE starling_migrate;

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY,
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    settings   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'), -- quotas, sampling, dispatch policy, CORS, degradation level
    version    bigint NOT NULL DEFAULT 1, -- of settings
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenants TO starling_app USING (tenant_id = (SELECT app_tenant()) OR (SELECT app_platform()));

-- Platform administrators, who have no tenant, stand under the nil tenant, which has a row for their sake.
INSERT INTO tenants (tenant_id, slug, name) VALUES ('00000000-0000-0000-0000-000000000000', 'platform', 'Platform');

CREATE TABLE users (
    user_id       uuid NOT NULL,
    tenant_id     uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    subject       text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255), -- the token's
    email         text NOT NULL DEFAULT '',
    display_name  text NOT NULL DEFAULT '',
    role          text, -- overrides the token's where the tenant's settings allow it; NULL = does not
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, subject)
);
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users TO starling_app USING (tenant_id = (SELECT app_tenant()) OR (SELECT app_platform()));

CREATE TABLE warehouses (
    warehouse_id   uuid NOT NULL,
    tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    warehouse_code text NOT NULL CHECK (length(warehouse_code) BETWEEN 1 AND 64),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    timezone       text NOT NULL DEFAULT 'UTC', -- IANA name
    region         text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, warehouse_code)
);
CREATE INDEX warehouses_newest ON warehouses (tenant_id, created_at DESC, warehouse_id DESC);
ALTER TABLE warehouses ADD PRIMARY KEY (tenant_id, warehouse_id);
ALTER TABLE warehouses ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON warehouses TO starling_app USING (tenant_id = (SELECT app_tenant()));

-- Who owns a shard: the fence of every durable write, and the lease of every grant.
CREATE TABLE shard_incarnations (
    tenant_id    uuid NOT NULL,
    warehouse_id uuid NOT NULL,
    incarnation  bigint NOT NULL CHECK (incarnation >= 0), -- raised by one by each taker
    owner        text NOT NULL,
    taken_at     timestamptz NOT NULL,
    renewed_at   timestamptz, -- stamped here at each renewal; NULL = never renewed
    PRIMARY KEY (tenant_id, warehouse_id),
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
) WITH (fillfactor = 50); -- renewed three times a second: updates stay on the page
ALTER TABLE shard_incarnations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON shard_incarnations TO starling_app USING (tenant_id = (SELECT app_tenant()));
CREATE POLICY worker ON shard_incarnations TO starling_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON shard_incarnations TO starling_worker;
COMMIT;
