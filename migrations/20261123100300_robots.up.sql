-- Robots, where they stand, and what they were told.
BEGIN;
SET LOCAL ROLE starling_migrate;

CREATE TABLE robots (
    robot_id      uuid NOT NULL,
    tenant_id     uuid NOT NULL,
    warehouse_id  uuid NOT NULL,
    robot_code    text NOT NULL CHECK (length(robot_code) BETWEEN 1 AND 64),
    display_name  text NOT NULL,
    fleet         text NOT NULL,
    model         text NOT NULL,
    protocol      text NOT NULL,
    capabilities  text[] NOT NULL,
    allowed_zones uuid[], -- NULL = everywhere
    priority      smallint NOT NULL,
    control       text NOT NULL CHECK (control IN ('engine', 'external', 'mirrored', 'autonomous')),
    footprint_radius_m double precision NOT NULL,
    max_speed_mps double precision NOT NULL,
    version       bigint NOT NULL, -- of the registration
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    removed_at    timestamptz, -- removed: kept for what refers to it, its code is free again
    connection    text NOT NULL DEFAULT 'NEVER_SEEN' CHECK (connection IN ('NEVER_SEEN', 'ONLINE', 'STALE', 'OFFLINE')),
    connection_at timestamptz,
    -- The newest snapshot of its soft state, written in batches; the truth is with its actor.
    status        text NOT NULL DEFAULT 'UNKNOWN',
    pose_x        double precision NOT NULL DEFAULT 0,
    pose_y        double precision NOT NULL DEFAULT 0,
    pose_theta    double precision NOT NULL DEFAULT 0,
    battery_soc   double precision NOT NULL DEFAULT 0,
    boot_id       text NOT NULL DEFAULT '',
    seq           bigint NOT NULL DEFAULT 0,
    reported_at   timestamptz, -- NULL = never
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
) WITH (fillfactor = 70); -- snapshots change no indexed column and stay on the page
CREATE UNIQUE INDEX robots_code ON robots (tenant_id, robot_code) WHERE removed_at IS NULL;
CREATE INDEX robots_of_warehouse ON robots (tenant_id, warehouse_id, robot_code) WHERE removed_at IS NULL;
ALTER TABLE robots ADD PRIMARY KEY (tenant_id, robot_id);
ALTER TABLE robots ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON robots TO starling_app USING (tenant_id = (SELECT app_tenant()));

-- Which robots can be in a zone: a row is there before the first grant into the zone and goes after the reported
-- exit. Zones have no rows of their own in every set-up (simulation), so zone_id refers to none.
CREATE TABLE zone_roster (
    tenant_id    uuid NOT NULL,
    warehouse_id uuid NOT NULL,
    zone_id      uuid NOT NULL,
    robot_id     uuid NOT NULL,
    entered_at   timestamptz NOT NULL,
    vertex       integer NOT NULL, -- last recorded, -1 = unknown
    position_at  timestamptz NOT NULL,
    speed_mps    double precision NOT NULL,
    window_size  integer NOT NULL,
    FOREIGN KEY (tenant_id, robot_id) REFERENCES robots ON DELETE NO ACTION
);
CREATE INDEX zone_roster_of_robot ON zone_roster (tenant_id, robot_id);
ALTER TABLE zone_roster ADD PRIMARY KEY (tenant_id, warehouse_id, zone_id, robot_id);
ALTER TABLE zone_roster ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON zone_roster TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE commands (
    command_id      uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    robot_id        uuid NOT NULL,
    command         text NOT NULL,
    args            jsonb NOT NULL, -- {"vertex", "place"} of go_to and charge
    expires_at      timestamptz NOT NULL,
    accepted_at     timestamptz NOT NULL,
    sent_at         timestamptz,
    acknowledged_at timestamptz,
    done_at         timestamptz,
    failed_at       timestamptz,
    expired_at      timestamptz,
    reason          text NOT NULL DEFAULT '',
    actor_user_id   uuid,
    traceparent     text NOT NULL DEFAULT '',
    FOREIGN KEY (tenant_id, robot_id) REFERENCES robots ON DELETE NO ACTION
);
CREATE INDEX commands_of_robot ON commands (tenant_id, robot_id, accepted_at DESC);
CREATE INDEX commands_open ON commands (tenant_id, robot_id)
    WHERE done_at IS NULL AND failed_at IS NULL AND expired_at IS NULL;
ALTER TABLE commands ADD PRIMARY KEY (tenant_id, command_id);
ALTER TABLE commands ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON commands TO starling_app USING (tenant_id = (SELECT app_tenant()));
COMMIT;
