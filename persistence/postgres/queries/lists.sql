-- name: ListTenants :many
SELECT * FROM tenants
WHERE (created_at, tenant_id) < (@before_at::timestamptz, @before_id::uuid) AND slug <> 'platform'
ORDER BY created_at DESC, tenant_id DESC LIMIT @page_size;

-- name: ListWarehouses :many
SELECT * FROM warehouses
WHERE tenant_id = @tenant_id AND (created_at, warehouse_id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, warehouse_id DESC LIMIT @page_size;

-- name: ListMaps :many
SELECT m.*, coalesce((
    SELECT v.version FROM map_versions v
    WHERE v.tenant_id = m.tenant_id AND v.warehouse_id = m.warehouse_id AND v.map_id = m.map_id AND v.status = 'ACTIVE'), 0)::integer AS active
FROM maps m
WHERE m.tenant_id = @tenant_id AND (m.created_at, m.map_id) < (@before_at::timestamptz, @before_id::uuid)
  AND (@warehouse_id::text = '' OR m.warehouse_id = nullif(@warehouse_id::text, '')::uuid)
ORDER BY m.created_at DESC, m.map_id DESC LIMIT @page_size;

-- name: ListMapVersions :many
SELECT map_id, version, tenant_id, warehouse_id, status, source_format, options, report, vertices, lanes, zones,
    created_by_user_id, created_at, activated_at
FROM map_versions
WHERE tenant_id = @tenant_id AND map_id = @map_id AND version < @before
ORDER BY version DESC LIMIT @page_size;

-- name: ListLanes :many
SELECT l.*, m.warehouse_id,
    ST_X(ST_StartPoint(l.geom))::double precision AS x1, ST_Y(ST_StartPoint(l.geom))::double precision AS y1,
    ST_X(ST_EndPoint(l.geom))::double precision AS x2, ST_Y(ST_EndPoint(l.geom))::double precision AS y2
FROM lanes l JOIN maps m ON m.tenant_id = l.tenant_id AND m.map_id = l.map_id
WHERE l.tenant_id = @tenant_id AND l.map_id = @map_id AND l.lane_id > @after_id::uuid
  AND l.from_version <= @version AND (l.to_version IS NULL OR l.to_version > @version)
ORDER BY l.lane_id LIMIT @page_size;

-- name: ListZones :many
SELECT z.zone_id, z.map_id, z.kind, z.name, z.capacity, z.version, m.warehouse_id, geojson_of(z.geom)::text AS polygon
FROM zones z JOIN maps m ON m.tenant_id = z.tenant_id AND m.map_id = z.map_id
WHERE z.tenant_id = @tenant_id AND z.zone_id > @after_id::uuid
  AND (@map_id::text = '' OR z.map_id = nullif(@map_id::text, '')::uuid)
  AND (@warehouse_id::text = '' OR m.warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@kind::text = '' OR z.kind = @kind::text)
  AND (z.from_version = 0 OR EXISTS (
    SELECT FROM map_versions v WHERE v.tenant_id = z.tenant_id AND v.map_id = z.map_id AND v.status = 'ACTIVE'
      AND v.version >= z.from_version AND (z.to_version IS NULL OR v.version < z.to_version)))
ORDER BY z.zone_id LIMIT @page_size;

-- name: ListRobots :many
SELECT * FROM robots
WHERE tenant_id = @tenant_id AND removed_at IS NULL AND robot_code > @after_code
  AND (@warehouse_id::text = '' OR warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@fleet::text = '' OR fleet = @fleet::text)
  AND (@code::text = '' OR robot_code = @code::text)
ORDER BY robot_code LIMIT @page_size;

-- name: ListTasks :many
SELECT * FROM tasks
WHERE tenant_id = @tenant_id AND (created_at, task_id) < (@before_at::timestamptz, @before_id::uuid)
  AND created_at > @created_after::timestamptz
  AND (@status::text = '' OR status = @status::text)
  AND (@task_type::text = '' OR task_type = @task_type::text)
  AND (@warehouse_id::text = '' OR warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@robot_id::text = '' OR robot_id = nullif(@robot_id::text, '')::uuid)
  AND (@source::text = '' OR source = @source::text)
ORDER BY created_at DESC, task_id DESC LIMIT @page_size;

-- name: ListTaskEvents :many
SELECT * FROM task_events
WHERE tenant_id = @tenant_id AND task_id = @task_id AND seq > @after
ORDER BY seq LIMIT @page_size;

-- name: ListDecisions :many
SELECT * FROM decisions
WHERE tenant_id = @tenant_id AND (decided_at, decision_id) < (@before_at::timestamptz, @before_id::uuid)
  AND (@warehouse_id::text = '' OR warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@task_id::text = '' OR task_id = nullif(@task_id::text, '')::uuid)
  AND (@robot_id::text = '' OR robot_id = nullif(@robot_id::text, '')::uuid)
ORDER BY decided_at DESC, decision_id DESC LIMIT @page_size;
