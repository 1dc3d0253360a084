-- Alerts, and what people and rules have done about each.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';
CREATE TABLE alerts (
    tenant_id               uuid NOT NULL,
    alert_id                uuid NOT NULL,
    warehouse_id            uuid NOT NULL,
    subject_kind            text NOT NULL CHECK (length(subject_kind) BETWEEN 1 AND 64), -- zone, lane, robot, warehouse, topic, store
    subject_id              text NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 255),
    cause                   text NOT NULL CHECK (length(cause) BETWEEN 1 AND 64), -- congestion, robot_lost, …
    feed                    text NOT NULL, -- that saw it first, '' = a person
    level                   smallint NOT NULL CHECK (level BETWEEN 1 AND 3),
    peak                    smallint NOT NULL CHECK (peak BETWEEN level AND 3), -- the highest level it has had
    status                  text NOT NULL CHECK (status IN ('OPEN', 'ACKNOWLEDGED', 'RESOLVED')),
    message                 text NOT NULL,
    details                 json, -- figures of the feed, as it gave them
    count                   integer NOT NULL, -- how often its signal has come
    escalations             integer NOT NULL,
    assignee_user_id        uuid,
    acknowledged_by_user_id uuid,
    acknowledged_by_part    text NOT NULL DEFAULT '',
    resolution              text NOT NULL CHECK (resolution IN ('', 'cleared', 'person', 'reported')),
    mark                    text NOT NULL CHECK (mark IN ('', 'false', 'missed', 'right')), -- a person's verdict
    remedies                jsonb NOT NULL, -- [{"id", "kind", "state", …}], oldest first
    unsettled               boolean NOT NULL, -- a remedy is in force, or being undone
    opened_at               timestamptz NOT NULL,
    seen_at                 timestamptz NOT NULL, -- when its signal was there last, as far as recorded
    called_at               timestamptz, -- when it has called for attention last
    acknowledged_at         timestamptz,
    snoozed_until           timestamptz,
    cleared_at              timestamptz, -- when it was resolved
    updated_at              timestamptz NOT NULL,
    version                 bigint NOT NULL,
    PRIMARY KEY (tenant_id, alert_id),
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION,
    CHECK ((status = 'RESOLVED') = (cleared_at IS NOT NULL))
);
CREATE INDEX alerts_newest ON alerts (tenant_id, opened_at DESC, alert_id DESC);
CREATE INDEX alerts_of_warehouse ON alerts (tenant_id, warehouse_id, opened_at DESC, alert_id DESC);
CREATE INDEX alerts_by_status ON alerts (tenant_id, status, opened_at DESC, alert_id DESC);
CREATE INDEX alerts_marked ON alerts (tenant_id, opened_at) WHERE mark <> '';
-- What a warehouse's actor loads.
CREATE INDEX alerts_unsettled ON alerts (tenant_id, warehouse_id) WHERE unsettled OR status <> 'RESOLVED';
CREATE INDEX alerts_recent ON alerts (tenant_id, warehouse_id, cleared_at) WHERE status = 'RESOLVED';
-- One incident for each subject and cause.
CREATE UNIQUE INDEX alerts_once ON alerts (tenant_id, warehouse_id, subject_kind, subject_id, cause) WHERE status <> 'RESOLVED';
ALTER TABLE alerts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON alerts TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE alert_handling (
    tenant_id     uuid NOT NULL,
    handling_id   uuid NOT NULL, -- the event's
    alert_id      uuid NOT NULL,
    seq           bigint NOT NULL, -- the alert's version after it
    action        text NOT NULL CHECK (length(action) BETWEEN 1 AND 32), -- open, raise, acknowledge, resolve, rollback, comment, remedy, …
    actor_user_id uuid,
    actor_part    text NOT NULL DEFAULT '', -- the part of the engine, where no person did it
    occurred_at   timestamptz NOT NULL,
    details       jsonb NOT NULL,
    traceparent   text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, handling_id),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES alerts ON DELETE NO ACTION
);
CREATE UNIQUE INDEX alert_handling_of_alert ON alert_handling (tenant_id, alert_id, seq);
CREATE INDEX alert_handling_newest ON alert_handling (tenant_id, occurred_at);
ALTER TABLE alert_handling ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON alert_handling TO starling_app USING (tenant_id = (SELECT app_tenant()));
REVOKE DELETE ON alerts, alert_handling FROM starling_app;
REVOKE UPDATE ON alert_handling FROM starling_app;
COMMIT;
