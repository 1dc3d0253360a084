package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/postgres/gen"
)

func writePolygon(p roadmap.Polygon) (string, error) {
	b, err := json.Marshal(map[string]any{"type": "Polygon", "coordinates": [][][2]float64{p}})
	return string(b), err
}

func zoneOf(tenant fleet.TenantID, z *gen.ListZonesRow) (fact.Zone, error) {
	polygon, err := roadmap.ParsePolygon([]byte(z.Polygon))
	if err != nil {
		return fact.Zone{}, fmt.Errorf("read the polygon of zone %s: %w", z.ZoneID, err)
	}
	return fact.Zone{
		ID: fleet.ZoneID(z.ZoneID), Tenant: tenant, Map: fleet.MapID(z.MapID), Warehouse: fleet.WarehouseID(z.WarehouseID),
		Kind: z.Kind, Name: z.Name, Capacity: int(z.Capacity), Polygon: polygon, Version: z.Version,
	}, nil
}

// PutZone draws or changes an overlay. ifVersion 0 = create only, > 0 = must equal the present version, -1 = whatever
// is there. Errors: fact.ErrNotFound for an unknown map (and for ifVersion > 0 an unknown zone); *fact.ConflictError
// with Key "version", or "zone_id" where the id is a traffic zone's or another map's.
func (r *ZonesRepo) PutZone(ctx context.Context, z fact.Zone, ifVersion int64) (saved fact.Zone, created bool, err error) {
	saved, created, err = r.putZone(ctx, z, ifVersion)
	var c *fact.ConflictError
	if ifVersion < 0 && errors.As(err, &c) && c.Key == "version" { // put, or taken away, by somebody else at the same time
		return r.putZone(ctx, z, ifVersion)
	}
	return saved, created, err
}

func (r *ZonesRepo) putZone(ctx context.Context, z fact.Zone, ifVersion int64) (saved fact.Zone, created bool, err error) {
	if err := known(string(z.Tenant), string(z.ID), string(z.Map)); err != nil {
		return z, false, err
	}
	polygon, err := writePolygon(z.Polygon)
	if err != nil {
		return z, false, fmt.Errorf("%w: %w", fact.ErrRejected, err)
	}
	tenant, id := string(z.Tenant), string(z.ID)
	saved = z
	err = r.s.inTenant(ctx, writing, z.Tenant, func(q *gen.Queries) error {
		warehouse, err := q.PlaceOfMap(ctx, gen.PlaceOfMapParams{TenantID: tenant, ID: string(z.Map)})
		if err != nil {
			return err
		}
		saved.Warehouse = fleet.WarehouseID(warehouse)
		there, err := q.GetZone(ctx, gen.GetZoneParams{TenantID: tenant, ZoneID: id})
		switch {
		case absent(err) && ifVersion > 0:
			return fact.ErrNotFound
		case absent(err):
			created = true
			saved.Version, err = q.InsertOverlay(ctx, gen.InsertOverlayParams{
				ZoneID: id, MapID: string(z.Map), TenantID: tenant, Kind: z.Kind, Name: z.Name, Capacity: int32(z.Capacity), Polygon: polygon,
			})
			if broke(err, "zones_pkey") {
				return &fact.ConflictError{Key: "version", Existing: id} // put by somebody else at the same time
			}
			return err
		case err != nil:
			return err
		case there.Kind == "traffic" || there.MapID != string(z.Map):
			return &fact.ConflictError{Key: "zone_id", Existing: id}
		case ifVersion == 0:
			return &fact.ConflictError{Key: "version", Existing: id}
		}
		saved.Version, err = q.UpdateOverlay(ctx, gen.UpdateOverlayParams{
			Kind: z.Kind, Name: z.Name, Capacity: int32(z.Capacity), Polygon: polygon, TenantID: tenant, ZoneID: id, MapID: string(z.Map),
			IfVersion: ifVersion,
		})
		if absent(err) {
			return &fact.ConflictError{Key: "version", Existing: id}
		}
		return err
	})
	return saved, created && err == nil, err
}

// DeleteZone takes an overlay away. Errors: fact.ErrNotFound; *fact.ConflictError with Key "version", or "zone_id"
// for a traffic zone.
func (r *ZonesRepo) DeleteZone(ctx context.Context, tenant fleet.TenantID, id fleet.ZoneID, ifVersion int64) error {
	if err := known(string(tenant), string(id)); err != nil {
		return err
	}
	return r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		there, err := q.GetZone(ctx, gen.GetZoneParams{TenantID: string(tenant), ZoneID: string(id)})
		if err != nil {
			return err
		}
		if there.Kind == "traffic" {
			return &fact.ConflictError{Key: "zone_id", Existing: string(id)}
		}
		_, err = q.DeleteOverlay(ctx, gen.DeleteOverlayParams{TenantID: string(tenant), ZoneID: string(id), IfVersion: ifVersion})
		if absent(err) {
			return &fact.ConflictError{Key: "version", Existing: string(id)}
		}
		return err
	})
}

// GetZone returns a zone, a traffic zone as its newest map version has it; fact.ErrNotFound where there is none.
func (r *ZonesRepo) GetZone(ctx context.Context, tenant fleet.TenantID, id fleet.ZoneID) (z fact.Zone, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return z, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetZone(ctx, gen.GetZoneParams{TenantID: string(tenant), ZoneID: string(id)})
		if err != nil {
			return err
		}
		as := gen.ListZonesRow(row)
		z, err = zoneOf(tenant, &as)
		return err
	})
	return z, err
}

// ListZones lists overlays, and the traffic zones of active map versions, by id.
func (r *ZonesRepo) ListZones(ctx context.Context, tenant fleet.TenantID, f fact.ZoneFilter, p fact.Page) (l fact.List[fact.Zone], err error) {
	c, err := from(p, "zones", cursor{ID: firstID})
	if err != nil || !sieve(f.Map) || !sieve(f.Warehouse) {
		return fact.List[fact.Zone]{Items: []fact.Zone{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := zonesOf(ctx, q, tenant, &f, c, p)
		if err != nil {
			return err
		}
		l, err = page(p, rows, func(z *gen.ListZonesRow) (fact.Zone, error) { return zoneOf(tenant, z) },
			func(z *gen.ListZonesRow) cursor { return cursor{ID: z.ZoneID} }, "zones")
		return err
	})
	return l, err
}

// zonesOf reads a page of rows, by place where an area is asked for.
func zonesOf(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, f *fact.ZoneFilter, c cursor, p fact.Page) ([]gen.ListZonesRow, error) {
	if f.At.Ring == nil {
		return q.ListZones(ctx, gen.ListZonesParams{
			TenantID: string(tenant), AfterID: c.ID, MapID: string(f.Map), WarehouseID: string(f.Warehouse), Kind: f.Kind, PageSize: size(p),
		})
	}
	rows, err := q.ListZonesAt(ctx, gen.ListZonesAtParams{
		TenantID: string(tenant), AfterID: c.ID, Area: flat(f.At.Ring), Inside: f.At.Inside, MapID: string(f.Map), WarehouseID: string(f.Warehouse),
		Kind: f.Kind, PageSize: size(p),
	})
	out := make([]gen.ListZonesRow, len(rows))
	for i := range rows {
		out[i] = gen.ListZonesRow(rows[i])
	}
	return out, err
}

// flat is a ring as x, y, x, y …
func flat(ring roadmap.Polygon) []float64 {
	out := make([]float64, 0, 2*len(ring))
	for _, p := range ring {
		out = append(out, p[0], p[1])
	}
	return out
}

func laneOf(l *gen.ListLanesRow) (fact.Lane, error) {
	out := fact.Lane{
		ID: fleet.LaneID(l.LaneID), Map: fleet.MapID(l.MapID), Warehouse: fleet.WarehouseID(l.WarehouseID), From: l.FromVertex,
		To: l.ToVertex, LengthM: l.LengthM, SpeedMPS: l.SpeedLimitMps, Closed: l.Closed, Points: [2][2]float64{{l.X1, l.Y1}, {l.X2, l.Y2}},
	}
	if l.ChangedAt != nil {
		out.ChangedAt, out.Reason = instant(l.ChangedAt), given[string](l.RunReason)
		if l.RunClosed != nil {
			out.Closed = *l.RunClosed
		}
		if l.RunSpeedMps != nil && *l.RunSpeedMps > 0 {
			out.SpeedMPS = *l.RunSpeedMps
		}
	}
	return out, nil
}

// GetLane returns a lane as its newest version has it; fact.ErrNotFound where there is none.
func (r *LanesRepo) GetLane(ctx context.Context, tenant fleet.TenantID, id fleet.LaneID) (l fact.Lane, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetLane(ctx, gen.GetLaneParams{TenantID: string(tenant), LaneID: string(id)})
		if err != nil {
			return err
		}
		as := gen.ListLanesRow(row)
		l, err = laneOf(&as)
		return err
	})
	return l, err
}

// ListLanes lists the lanes of a map's active version, or its newest where none is active, by id; fact.ErrNotFound
// where there is no such map.
func (r *LanesRepo) ListLanes(ctx context.Context, tenant fleet.TenantID, f fact.LaneFilter, p fact.Page) (l fact.List[fact.Lane], err error) {
	id := f.Map
	if err := known(string(tenant), string(id)); err != nil {
		return l, err
	}
	c, err := from(p, "lanes", cursor{ID: firstID})
	if err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		m, err := q.GetMap(ctx, gen.GetMapParams{TenantID: string(tenant), MapID: string(id)})
		if err != nil {
			return err
		}
		version := m.Active
		if version == 0 {
			version = m.NewestVersion
		}
		rows, err := lanesOf(ctx, q, tenant, &f, version, c, p)
		if err != nil {
			return err
		}
		l, err = page(p, rows, laneOf, func(l *gen.ListLanesRow) cursor { return cursor{ID: l.LaneID} }, "lanes")
		return err
	})
	return l, err
}

// lanesOf reads a page of rows, by place where an area is asked for.
func lanesOf(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, f *fact.LaneFilter, version int32, c cursor, p fact.Page) ([]gen.ListLanesRow, error) {
	if f.At.Ring == nil {
		return q.ListLanes(ctx, gen.ListLanesParams{TenantID: string(tenant), MapID: string(f.Map), AfterID: c.ID, Version: version, PageSize: size(p)})
	}
	rows, err := q.ListLanesAt(ctx, gen.ListLanesAtParams{
		TenantID: string(tenant), MapID: string(f.Map), AfterID: c.ID, Area: flat(f.At.Ring), Inside: f.At.Inside, Version: version, PageSize: size(p),
	})
	out := make([]gen.ListLanesRow, len(rows))
	for i := range rows {
		out[i] = gen.ListLanesRow(rows[i])
	}
	return out, err
}

// verticesInside returns the vertices that lie in any of the polygons, ascending, each once.
func verticesInside(g *roadmap.Graph, polygons []roadmap.Polygon) []fleet.Vertex {
	var out []fleet.Vertex
	for _, p := range polygons {
		out = append(out, g.Inside(p)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
