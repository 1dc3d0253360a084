-- Maps, their versions, and what is derived from a version: traffic zones and lanes with their geometry.
--
-- Zones and lanes are written when a version is uploaded, so that activating one only flips a status. A row says
-- from which version on (from_version) and before which (to_version, NULL = no end) it is part of the map: a version
-- that changes little writes little. The ids are stable over versions.
--
-- Here and in what follows a table's key is made after its indexes: while a table is young, the planner knows nothing of
-- it, an index that begins with the tenant looks as good as the key, and of equals it takes the one made last. Sessions
-- keep such plans, those of foreign keys too.
BEGIN;
SET LOCAL ROLE starling_migrate;

CREATE TABLE maps (
    map_id             uuid NOT NULL,
    tenant_id          uuid NOT NULL,
    warehouse_id       uuid NOT NULL,
    name               text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    newest_version     integer NOT NULL DEFAULT 0,
    revision           bigint NOT NULL DEFAULT 1, -- raised by every change: uploads and activations
    created_by_user_id uuid, -- as the token said; a platform administrator has no row in this tenant
    created_at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
);
CREATE INDEX maps_newest ON maps (tenant_id, created_at DESC, map_id DESC);
CREATE INDEX maps_of_warehouse ON maps (tenant_id, warehouse_id, created_at DESC, map_id DESC);
ALTER TABLE maps ADD PRIMARY KEY (tenant_id, map_id);
ALTER TABLE maps ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON maps TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE map_versions (
    map_id             uuid NOT NULL,
    version            integer NOT NULL CHECK (version >= 1),
    tenant_id          uuid NOT NULL,
    warehouse_id       uuid NOT NULL,
    status             text NOT NULL DEFAULT 'DRAFT' CHECK (status IN ('DRAFT', 'ACTIVE', 'RETIRED')),
    source_format      text NOT NULL,
    geometry           bytea NOT NULL, -- the source as uploaded, gzip
    options            jsonb NOT NULL, -- what the graph is built with: resolution_m, max_zone
    report             jsonb NOT NULL, -- {"errors", "warnings"}; errors forbid activation
    vertices           integer NOT NULL,
    lanes              integer NOT NULL,
    zones              integer NOT NULL,
    created_by_user_id uuid,
    created_at         timestamptz NOT NULL DEFAULT now(),
    activated_at       timestamptz,
    FOREIGN KEY (tenant_id, map_id) REFERENCES maps ON DELETE NO ACTION
);
ALTER TABLE map_versions ALTER COLUMN geometry SET STORAGE EXTERNAL; -- it is compressed already
-- One active version per warehouse, hence per map.
CREATE UNIQUE INDEX map_versions_active ON map_versions (tenant_id, warehouse_id) WHERE status = 'ACTIVE';
ALTER TABLE map_versions ADD PRIMARY KEY (tenant_id, map_id, version);
ALTER TABLE map_versions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON map_versions TO starling_app USING (tenant_id = (SELECT app_tenant()));

-- kind traffic: made with a version, each has an actor. The others are overlays that people draw; they belong to the
-- map whatever its version (from_version 0, no end) and may overlap.
CREATE TABLE zones (
    zone_id      uuid NOT NULL,
    map_id       uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    from_version integer NOT NULL DEFAULT 0,
    to_version   integer,
    kind         text NOT NULL CHECK (kind IN ('traffic', 'keep_out', 'slow', 'parking', 'charging')),
    name         text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    capacity     integer NOT NULL CHECK (capacity >= 0),
    geom         geometry(Polygon) NOT NULL, -- metres in the map's frame
    version      bigint NOT NULL DEFAULT 1, -- of the row, for If-Match
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, map_id) REFERENCES maps ON DELETE NO ACTION,
    CHECK ((kind = 'traffic') = (from_version > 0))
);
CREATE INDEX zones_of_map ON zones (tenant_id, map_id, zone_id);
CREATE INDEX zones_geom ON zones USING gist (geom);
ALTER TABLE zones ADD PRIMARY KEY (tenant_id, zone_id, from_version);
ALTER TABLE zones ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON zones TO starling_app USING (tenant_id = (SELECT app_tenant()));

CREATE TABLE lanes (
    lane_id         uuid NOT NULL,
    map_id          uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    from_version    integer NOT NULL CHECK (from_version >= 1),
    to_version      integer,
    from_vertex     text NOT NULL,
    to_vertex       text NOT NULL,
    length_m        double precision NOT NULL,
    speed_limit_mps double precision NOT NULL, -- as in the map; 0 = none
    closed          boolean NOT NULL,          -- as in the map
    geom            geometry(LineString) NOT NULL,
    -- What an operator changed while robots drive; changed_at NULL = nothing.
    run_closed      boolean,
    run_speed_mps   double precision, -- 0 = as in the map
    run_reason      text,
    changed_at      timestamptz,
    changed_by_user_id uuid,
    FOREIGN KEY (tenant_id, map_id) REFERENCES maps ON DELETE NO ACTION
);
CREATE INDEX lanes_of_map ON lanes (tenant_id, map_id, lane_id);
CREATE INDEX lanes_changed ON lanes (tenant_id, map_id) WHERE changed_at IS NOT NULL;
ALTER TABLE lanes ADD PRIMARY KEY (tenant_id, lane_id, from_version);
ALTER TABLE lanes ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON lanes TO starling_app USING (tenant_id = (SELECT app_tenant()));

-- What the queries need of PostGIS, under names that the query compiler knows.
CREATE FUNCTION polygon_of(geojson text) RETURNS geometry LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ST_SetSRID(ST_GeomFromGeoJSON(geojson), 0) $$;
CREATE FUNCTION geojson_of(geom geometry) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ST_AsGeoJSON(geom, 9, 0) $$;
CREATE FUNCTION line_of(x1 double precision, y1 double precision, x2 double precision, y2 double precision)
RETURNS geometry LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ST_MakeLine(ST_MakePoint(x1, y1), ST_MakePoint(x2, y2)) $$;
COMMIT;
