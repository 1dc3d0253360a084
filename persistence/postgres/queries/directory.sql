-- name: CreateTenant :one
INSERT INTO tenants (tenant_id, slug, name, settings, limits, created_at)
VALUES (@tenant_id, @slug, @name, @settings, @limits, @created_at) RETURNING *;

-- name: GetTenant :one
SELECT * FROM tenants WHERE tenant_id = @tenant_id;

-- name: GetTenantBySlug :one
SELECT * FROM tenants WHERE slug = @slug;

-- name: LockTenant :one
SELECT * FROM tenants WHERE tenant_id = @tenant_id FOR UPDATE;

-- name: SetTenantSettings :one
UPDATE tenants SET settings = @settings, version = version + 1
WHERE tenant_id = @tenant_id AND (@if_version::bigint < 0 OR version = @if_version::bigint) RETURNING *;

-- name: SetTenantLimits :one
UPDATE tenants SET name = coalesce(sqlc.narg('name')::text, name), limits = coalesce(sqlc.narg('limits')::jsonb, limits), version = version + 1
WHERE tenant_id = @tenant_id RETURNING *;

-- name: TenantOrigins :many
-- The origins that any tenant lets in, in no order; a settings document of another shape gives none.
SELECT DISTINCT (jsonb_path_query(settings, '$.cors.allowed_origins[*] ? (@.type() == "string")') #>> '{}')::text AS origin
FROM tenants LIMIT @at_most;

-- name: CountRobots :one
SELECT count(*) FROM robots WHERE tenant_id = @tenant_id AND removed_at IS NULL;

-- name: UpsertUser :one
INSERT INTO users (user_id, tenant_id, subject, email, display_name)
VALUES (@user_id, @tenant_id, @subject, @email, @display_name)
ON CONFLICT (tenant_id, subject) DO UPDATE SET
    email = excluded.email, display_name = excluded.display_name, last_login_at = now()
RETURNING *;

-- name: GetUser :one
SELECT * FROM users WHERE tenant_id = @tenant_id AND user_id = @user_id;

-- name: GetUserRole :one
SELECT role FROM users WHERE tenant_id = @tenant_id AND subject = @subject;

-- name: CreateWarehouse :one
INSERT INTO warehouses (warehouse_id, tenant_id, warehouse_code, name, timezone, region, created_at)
VALUES (@warehouse_id, @tenant_id, @warehouse_code, @name, @timezone, @region, @created_at) RETURNING *;

-- name: GetWarehouse :one
SELECT * FROM warehouses WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id;

-- name: CreateMap :exec
INSERT INTO maps (map_id, tenant_id, warehouse_id, name, created_by_user_id, created_at)
VALUES (@map_id, @tenant_id, @warehouse_id, @name, @created_by_user_id, @created_at);

-- name: RaiseMapVersion :one
UPDATE maps SET newest_version = newest_version + 1, revision = revision + 1
WHERE tenant_id = @tenant_id AND map_id = @map_id RETURNING newest_version, warehouse_id, name;

-- name: CreateMapVersion :one
INSERT INTO map_versions (map_id, version, tenant_id, warehouse_id, source_format, geometry, options, report, vertices,
    lanes, zones, created_by_user_id, created_at)
VALUES (@map_id, @version, @tenant_id, @warehouse_id, @source_format, @geometry, @options, @report, @vertices, @lanes,
    @zones, @created_by_user_id, @created_at)
RETURNING created_at;

-- name: GetMap :one
SELECT m.*, coalesce((
    SELECT v.version FROM map_versions v
    WHERE v.tenant_id = m.tenant_id AND v.warehouse_id = m.warehouse_id AND v.map_id = m.map_id AND v.status = 'ACTIVE'), 0)::integer AS active
FROM maps m WHERE m.tenant_id = @tenant_id AND m.map_id = @map_id;

-- name: GetMapVersion :one
SELECT map_id, version, tenant_id, warehouse_id, status, source_format, options, report, vertices, lanes, zones,
    created_by_user_id, created_at, activated_at
FROM map_versions WHERE tenant_id = @tenant_id AND map_id = @map_id AND version = @version;

-- name: GetMapContent :one
SELECT source_format, geometry, options FROM map_versions
WHERE tenant_id = @tenant_id AND map_id = @map_id AND version = @version;

-- name: LanesOfVersion :many
SELECT lane_id, length_m, speed_limit_mps, closed,
    ST_X(ST_StartPoint(geom))::double precision AS x1, ST_Y(ST_StartPoint(geom))::double precision AS y1,
    ST_X(ST_EndPoint(geom))::double precision AS x2, ST_Y(ST_EndPoint(geom))::double precision AS y2
FROM lanes WHERE tenant_id = @tenant_id AND map_id = @map_id
  AND from_version <= @version AND (to_version IS NULL OR to_version > @version);

-- name: EndLanes :exec
UPDATE lanes l SET to_version = @version
FROM (SELECT unnest(@lane_ids::uuid[]) AS lane_id) i
WHERE l.tenant_id = @tenant_id AND l.lane_id = i.lane_id AND l.to_version IS NULL;

-- name: InsertLanes :exec
INSERT INTO lanes (lane_id, map_id, tenant_id, from_version, from_vertex, to_vertex, length_m, speed_limit_mps, closed, geom)
SELECT i.lane_id, @map_id::uuid, @tenant_id::uuid, @version::integer, i.from_vertex, i.to_vertex, i.length, i.speed,
    i.closed, line_of(i.x1, i.y1, i.x2, i.y2)
FROM (
    SELECT unnest(@lane_ids::uuid[]) AS lane_id, unnest(@froms::text[]) AS from_vertex, unnest(@tos::text[]) AS to_vertex,
        unnest(@lengths::double precision[]) AS length, unnest(@speeds::double precision[]) AS speed,
        unnest(@closeds::boolean[]) AS closed, unnest(@x1s::double precision[]) AS x1,
        unnest(@y1s::double precision[]) AS y1, unnest(@x2s::double precision[]) AS x2,
        unnest(@y2s::double precision[]) AS y2
) i;

-- name: KeepLaneChanges :exec
-- What an operator changed on a lane holds for the lane's new row too.
UPDATE lanes n SET run_closed = o.run_closed, run_speed_mps = o.run_speed_mps, run_reason = o.run_reason,
    changed_at = o.changed_at, changed_by_user_id = o.changed_by_user_id
FROM lanes o
WHERE n.tenant_id = @tenant_id AND n.map_id = @map_id AND n.from_version = @version
  AND o.tenant_id = n.tenant_id AND o.lane_id = n.lane_id AND o.to_version = n.from_version AND o.changed_at IS NOT NULL;

-- name: EndTrafficZones :exec
UPDATE zones SET to_version = @version, updated_at = now()
WHERE tenant_id = @tenant_id AND map_id = @map_id AND kind = 'traffic' AND to_version IS NULL;

-- name: InsertTrafficZones :exec
INSERT INTO zones (zone_id, map_id, tenant_id, from_version, kind, name, capacity, geom)
SELECT i.zone_id, @map_id::uuid, @tenant_id::uuid, @version::integer, 'traffic', i.name, i.capacity, polygon_of(i.polygon)
FROM (
    SELECT unnest(@zone_ids::uuid[]) AS zone_id, unnest(@names::text[]) AS name,
        unnest(@capacities::integer[]) AS capacity, unnest(@polygons::text[]) AS polygon
) i;

-- name: GetZone :one
-- A traffic zone as its newest version has it.
SELECT z.zone_id, z.map_id, z.kind, z.name, z.capacity, z.version, m.warehouse_id, geojson_of(z.geom)::text AS polygon
FROM zones z JOIN maps m ON m.tenant_id = z.tenant_id AND m.map_id = z.map_id
WHERE z.tenant_id = @tenant_id AND z.zone_id = @zone_id ORDER BY z.from_version DESC LIMIT 1;

-- name: InsertOverlay :one
INSERT INTO zones (zone_id, map_id, tenant_id, kind, name, capacity, geom)
VALUES (@zone_id, @map_id, @tenant_id, @kind, @name, @capacity, polygon_of(@polygon::text))
RETURNING version;

-- name: UpdateOverlay :one
UPDATE zones SET kind = @kind, name = @name, capacity = @capacity, geom = polygon_of(@polygon::text),
    version = version + 1, updated_at = now()
WHERE tenant_id = @tenant_id AND zone_id = @zone_id AND map_id = @map_id AND from_version = 0
  AND (@if_version::bigint < 0 OR version = @if_version::bigint)
RETURNING version;

-- name: DeleteOverlay :one
DELETE FROM zones
WHERE tenant_id = @tenant_id AND zone_id = @zone_id AND from_version = 0
  AND (@if_version::bigint < 0 OR version = @if_version::bigint)
RETURNING map_id;

-- name: GetLane :one
SELECT l.*, m.warehouse_id,
    ST_X(ST_StartPoint(l.geom))::double precision AS x1, ST_Y(ST_StartPoint(l.geom))::double precision AS y1,
    ST_X(ST_EndPoint(l.geom))::double precision AS x2, ST_Y(ST_EndPoint(l.geom))::double precision AS y2
FROM lanes l JOIN maps m ON m.tenant_id = l.tenant_id AND m.map_id = l.map_id
WHERE l.tenant_id = @tenant_id AND l.lane_id = @lane_id ORDER BY l.from_version DESC LIMIT 1;

-- name: GetRobotByCode :one
SELECT * FROM robots WHERE tenant_id = @tenant_id AND robot_code = @robot_code AND removed_at IS NULL;

-- name: GetCommand :one
SELECT * FROM commands WHERE tenant_id = @tenant_id AND robot_id = @robot_id AND command_id = @command_id;

-- name: GetDecision :one
SELECT * FROM decisions WHERE tenant_id = @tenant_id AND decision_id = @decision_id;

-- name: PlaceOfTask :one
SELECT warehouse_id FROM tasks WHERE tenant_id = @tenant_id AND task_id = @id;

-- name: PlaceOfRobot :one
SELECT warehouse_id FROM robots WHERE tenant_id = @tenant_id AND robot_id = @id AND removed_at IS NULL;

-- name: PlaceOfMap :one
SELECT warehouse_id FROM maps WHERE tenant_id = @tenant_id AND map_id = @id;

-- name: PlaceOfZone :one
SELECT m.warehouse_id, m.map_id FROM zones z JOIN maps m ON m.tenant_id = z.tenant_id AND m.map_id = z.map_id
WHERE z.tenant_id = @tenant_id AND z.zone_id = @id LIMIT 1;

-- name: PlaceOfLane :one
SELECT m.warehouse_id, m.map_id FROM lanes l JOIN maps m ON m.tenant_id = l.tenant_id AND m.map_id = l.map_id
WHERE l.tenant_id = @tenant_id AND l.lane_id = @id LIMIT 1;
