-- Zones and lanes by place, and what was learned of how zones flow.
BEGIN;
SET LOCAL ROLE starling_migrate;
SET LOCAL lock_timeout = '5s';
CREATE INDEX lanes_geom ON lanes USING gist (geom);

-- Which zones and lanes an area touches, or has wholly inside. Row-level security lets no operator of geometry, none of
-- which is leakproof, use an index before the tenant's rows have been found; so these look on behalf of the owner, and see
-- no rows but those of the transaction's tenant. NULL as an area = no zone or lane; both may be of versions long gone.
CREATE FUNCTION area_of(ring double precision[]) RETURNS geometry LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ST_MakePolygon(ST_MakeLine(array(SELECT ST_MakePoint(ring[i], ring[i + 1]) FROM generate_series(1, array_length(ring, 1) - 1, 2) AS i ORDER BY i))) $$;
CREATE FUNCTION zones_at(area geometry, inside boolean) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp ROWS 100 AS
$$ SELECT zone_id FROM zones WHERE tenant_id = app_tenant() AND geom && area AND CASE WHEN inside THEN ST_CoveredBy(geom, area) ELSE ST_Intersects(geom, area) END $$;
CREATE FUNCTION lanes_at(area geometry, inside boolean) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp ROWS 1000 AS
$$ SELECT lane_id FROM lanes WHERE tenant_id = app_tenant() AND geom && area AND CASE WHEN inside THEN ST_CoveredBy(geom, area) ELSE ST_Intersects(geom, area) END $$;

-- One row a warehouse: it is learned anew where it is lost, and written by whoever has the shard, the last one wins.
CREATE TABLE congestion_diagrams (
    tenant_id    uuid NOT NULL,
    warehouse_id uuid NOT NULL,
    map_id       uuid NOT NULL, -- on which it was learned
    map_version  integer NOT NULL,
    learned      jsonb NOT NULL CHECK (jsonb_typeof(learned) = 'object'), -- by zone, and by class
    saved_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, warehouse_id),
    FOREIGN KEY (tenant_id, warehouse_id) REFERENCES warehouses ON DELETE NO ACTION
);
ALTER TABLE congestion_diagrams ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON congestion_diagrams TO starling_app USING (tenant_id = (SELECT app_tenant()));
COMMIT;
