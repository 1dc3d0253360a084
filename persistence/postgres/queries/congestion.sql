-- Zones and lanes by place: those that an area touches, or has wholly inside. The array is made first, by the index on
-- geometry (zones_at, lanes_at), and then looked up by key.

-- name: ListZonesAt :many
SELECT z.zone_id, z.map_id, z.kind, z.name, z.capacity, z.version, m.warehouse_id, geojson_of(z.geom)::text AS polygon
FROM zones z JOIN maps m ON m.tenant_id = z.tenant_id AND m.map_id = z.map_id
WHERE z.tenant_id = @tenant_id AND z.zone_id > @after_id::uuid
  AND z.zone_id = ANY (ARRAY(SELECT zones_at(area_of(@area::double precision[]), @inside::boolean)))
  AND (@map_id::text = '' OR z.map_id = nullif(@map_id::text, '')::uuid)
  AND (@warehouse_id::text = '' OR m.warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@kind::text = '' OR z.kind = @kind::text)
  AND (z.from_version = 0 OR EXISTS (
    SELECT FROM map_versions v WHERE v.tenant_id = z.tenant_id AND v.map_id = z.map_id AND v.status = 'ACTIVE'
      AND v.version >= z.from_version AND (z.to_version IS NULL OR v.version < z.to_version)))
ORDER BY z.zone_id LIMIT @page_size;

-- name: ListLanesAt :many
SELECT l.*, m.warehouse_id,
    ST_X(ST_StartPoint(l.geom))::double precision AS x1, ST_Y(ST_StartPoint(l.geom))::double precision AS y1,
    ST_X(ST_EndPoint(l.geom))::double precision AS x2, ST_Y(ST_EndPoint(l.geom))::double precision AS y2
FROM lanes l JOIN maps m ON m.tenant_id = l.tenant_id AND m.map_id = l.map_id
WHERE l.tenant_id = @tenant_id AND l.map_id = @map_id AND l.lane_id > @after_id::uuid
  AND l.lane_id = ANY (ARRAY(SELECT lanes_at(area_of(@area::double precision[]), @inside::boolean)))
  AND l.from_version <= @version AND (l.to_version IS NULL OR l.to_version > @version)
ORDER BY l.lane_id LIMIT @page_size;

-- name: SaveDiagrams :exec
INSERT INTO congestion_diagrams (tenant_id, warehouse_id, map_id, map_version, learned)
VALUES (@tenant_id, @warehouse_id, @map_id, @map_version, @learned)
ON CONFLICT (tenant_id, warehouse_id) DO UPDATE SET
    map_id = excluded.map_id, map_version = excluded.map_version, learned = excluded.learned, saved_at = now();

-- name: GetDiagrams :one
SELECT map_id, map_version, learned, saved_at FROM congestion_diagrams WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id;
