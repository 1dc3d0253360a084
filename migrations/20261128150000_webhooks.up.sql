-- Webhooks: what was sent to tenants' receivers of alerts, and how these do. Where they are stands in the settings.
--
-- Safe while the previous version runs: it only adds.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';
CREATE TABLE webhook_hooks (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    hook         text NOT NULL CHECK (length(hook) BETWEEN 1 AND 32), -- its name in the settings
    fingerprint  bytea NOT NULL, -- of its URL: another receiver begins anew
    since        timestamptz NOT NULL DEFAULT now(), -- steps from then on are told
    looked_at    timestamptz NOT NULL DEFAULT now(), -- steps were last looked for
    failures     integer NOT NULL DEFAULT 0, -- deliveries in a row that were given up
    disabled_at  timestamptz, -- it has no messages any more
    last_sent_at timestamptz,
    PRIMARY KEY (tenant_id, hook)
);
ALTER TABLE webhook_hooks ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_hooks TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE webhook_deliveries (
    tenant_id   uuid NOT NULL REFERENCES tenants ON DELETE NO ACTION,
    delivery_id uuid NOT NULL,
    hook        text NOT NULL,
    handling_id uuid, -- the step of an alert that it tells of; NULL = a test
    alert_id    uuid,
    event       text NOT NULL,
    body        bytea NOT NULL,
    state       text NOT NULL CHECK (state IN ('pending', 'sent', 'dead', 'dropped')),
    attempts    integer NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(), -- when a pending one is due
    status      integer NOT NULL DEFAULT 0, -- of the last answer, 0 = there was none
    cause       text NOT NULL DEFAULT '', -- why the last try failed
    created_at  timestamptz NOT NULL DEFAULT now(),
    done_at     timestamptz,
    PRIMARY KEY (tenant_id, delivery_id),
    CHECK ((state = 'pending') = (done_at IS NULL))
);
-- A step is told to a receiver once, however many processes look.
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (tenant_id, hook, handling_id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (tenant_id, next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (tenant_id, created_at DESC, delivery_id DESC);
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_deliveries TO starling_app USING (tenant_id = (SELECT app_tenant()));
COMMIT;
