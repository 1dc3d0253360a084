-- Tasks, their histories, and why each was given to whom.
BEGIN;
SET LOCAL ROLE starling_migrate;

CREATE TABLE tasks (
    task_id                 uuid NOT NULL,
    tenant_id               uuid NOT NULL,
    warehouse_id            uuid NOT NULL,
    task_type               text NOT NULL CHECK (task_type IN ('transport', 'patrol', 'go_to', 'charge')),
    status                  text NOT NULL CHECK (status IN
        ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    priority                smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    idempotency_key         text, -- NULL for tasks of a batch, whose key stands in idempotency_keys alone
    idempotency_fingerprint bytea,
    payload                 json NOT NULL, -- as the client sent it, byte for byte
    errands                 jsonb NOT NULL, -- [{"vertex", "place"}], in order
    errand                  integer NOT NULL DEFAULT 0, -- errands done
    robot_id                uuid, -- of the award in force, or the last one
    wanted_robot_id         uuid,
    fleet                   text NOT NULL,
    source                  text NOT NULL,
    external_id             text,
    external_epoch          bigint,
    external_status         text,
    reason                  text NOT NULL DEFAULT '',
    awards                  integer NOT NULL DEFAULT 0,
    created_by_user_id      uuid,
    earliest_start          timestamptz,
    deadline                timestamptz,
    created_at              timestamptz NOT NULL,
    assigned_at             timestamptz,
    started_at              timestamptz,
    finished_at             timestamptz,
    updated_at              timestamptz NOT NULL,
    version                 bigint NOT NULL,
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION,
    FOREIGN KEY (tenant_id, robot_id) REFERENCES robots ON DELETE NO ACTION
);
CREATE UNIQUE INDEX tasks_idempotency ON tasks (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_newest ON tasks (tenant_id, created_at DESC, task_id DESC);
CREATE INDEX tasks_of_warehouse ON tasks (tenant_id, warehouse_id, created_at DESC, task_id DESC);
CREATE INDEX tasks_by_status ON tasks (tenant_id, status, created_at DESC, task_id DESC);
CREATE INDEX tasks_of_robot ON tasks (tenant_id, robot_id, created_at DESC, task_id DESC) WHERE robot_id IS NOT NULL;
CREATE INDEX tasks_open ON tasks (tenant_id, warehouse_id, created_at, task_id)
    WHERE status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING');
ALTER TABLE tasks ADD PRIMARY KEY (tenant_id, task_id);
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tasks TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE task_events (
    event_id      uuid NOT NULL,
    tenant_id     uuid NOT NULL,
    task_id       uuid NOT NULL,
    seq           bigint NOT NULL, -- the task's version after it
    event_type    text NOT NULL,
    from_status   text, -- NULL for the first
    to_status     text NOT NULL,
    occurred_at   timestamptz NOT NULL,
    actor_user_id uuid,
    actor_part    text NOT NULL DEFAULT '', -- the part of the engine, where no person did it
    payload       jsonb NOT NULL,
    traceparent   text NOT NULL DEFAULT '',
    FOREIGN KEY (tenant_id, task_id) REFERENCES tasks ON DELETE NO ACTION
);
CREATE INDEX task_events_of_task ON task_events (tenant_id, task_id, occurred_at);
ALTER TABLE task_events ADD PRIMARY KEY (tenant_id, event_id);
ALTER TABLE task_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON task_events TO starling_app USING (tenant_id = (SELECT app_tenant()));

-- One award, or one deadlock that was found and broken.
CREATE TABLE decisions (
    decision_id   uuid NOT NULL,
    tenant_id     uuid NOT NULL,
    warehouse_id  uuid NOT NULL,
    decided_at    timestamptz NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('award', 'cycle')),
    task_id       uuid, -- of an award
    robot_id      uuid, -- that got the task, or that must yield
    inputs_digest text NOT NULL,
    assignments   jsonb NOT NULL, -- {"cost": {…}} of an award, {"robots": […]} of a cycle
    alternatives  jsonb NOT NULL, -- [{"robot_id", "total", "reason"}], best first
    reason        text NOT NULL,
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
);
CREATE INDEX decisions_newest ON decisions (tenant_id, decided_at DESC, decision_id DESC);
CREATE INDEX decisions_of_warehouse ON decisions (tenant_id, warehouse_id, decided_at DESC, decision_id DESC);
CREATE INDEX decisions_of_task ON decisions (tenant_id, task_id, decided_at DESC, decision_id DESC) WHERE task_id IS NOT NULL;
CREATE INDEX decisions_of_robot ON decisions (tenant_id, robot_id, decided_at DESC, decision_id DESC) WHERE robot_id IS NOT NULL;
ALTER TABLE decisions ADD PRIMARY KEY (tenant_id, decision_id);
ALTER TABLE decisions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON decisions TO starling_app USING (tenant_id = (SELECT app_tenant()));
COMMIT;
