package postgres

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/postgres/gen"
)

// laneBatch is how many lanes one statement writes.
const laneBatch = 10_000

// CreateMap stores a new map with its version 1, a draft. A version's lanes and traffic zones are written with it, so
// that activating one (a fact of the journal) only flips a status. u.Map has ID, Tenant, Warehouse, Name, CreatedBy and
// CreatedAt. Errors: fact.ErrNotFound where there is no such warehouse, *fact.ConflictError with Key "idempotency_key".
func (r *MapsRepo) CreateMap(ctx context.Context, u fact.MapUpload, idem *fact.Idempotency) error {
	tenant, warehouse := string(u.Map.Tenant), string(u.Map.Warehouse)
	_, err := r.s.upload(ctx, &u, idem, func(q *gen.Queries) error {
		if _, err := q.GetWarehouse(ctx, gen.GetWarehouseParams{TenantID: tenant, WarehouseID: warehouse}); err != nil {
			return err
		}
		return q.CreateMap(ctx, gen.CreateMapParams{
			MapID: string(u.Map.ID), TenantID: tenant, WarehouseID: warehouse, Name: u.Map.Name,
			CreatedByUserID: optional(u.Map.CreatedBy), CreatedAt: u.Map.CreatedAt,
		})
	})
	if err != nil {
		return fmt.Errorf("create map %s: %w", u.Map.ID, err)
	}
	return nil
}

// AddMapVersion stores a further version of the map, a draft, and returns its number. u.Map has ID, Tenant, CreatedBy
// and CreatedAt, the last two of the version. Errors: fact.ErrNotFound, *fact.ConflictError with Key "idempotency_key",
// or "version" where the graph was built for another number than the next.
func (r *MapsRepo) AddMapVersion(ctx context.Context, u fact.MapUpload, idem *fact.Idempotency) (version int, err error) {
	version, err = r.s.upload(ctx, &u, idem, func(*gen.Queries) error { return nil })
	if err != nil {
		return 0, fmt.Errorf("add a version to map %s: %w", u.Map.ID, err)
	}
	return version, nil
}

// upload packs the source before the transaction begins, which first does what comes before the version.
func (s *Store) upload(
	ctx context.Context, u *fact.MapUpload, idem *fact.Idempotency, first func(*gen.Queries) error,
) (version int, err error) {
	if err := known(string(u.Map.ID), string(u.Map.Tenant)); err != nil {
		return 0, err
	}
	packed, err := pack(u.Content)
	if err != nil {
		return 0, fmt.Errorf("pack the source: %w", err)
	}
	err = s.inTenant(ctx, writing, u.Map.Tenant, func(q *gen.Queries) error {
		if err := remember(ctx, q, u.Map.Tenant, idem); err != nil {
			return err
		}
		if err := first(q); err != nil {
			return err
		}
		v, err := addVersion(ctx, q, u.Map.Tenant, u, packed)
		version = v.Version
		return err
	})
	return version, err
}

func addVersion(
	ctx context.Context, q *gen.Queries, tenant fleet.TenantID, u *fact.MapUpload, packed []byte,
) (fact.MapVersion, error) {
	m, err := q.RaiseMapVersion(ctx, gen.RaiseMapVersionParams{TenantID: string(tenant), MapID: string(u.Map.ID)})
	if err != nil {
		return fact.MapVersion{}, err
	}
	if u.Graph != nil && u.Graph.Version != int(m.NewestVersion) {
		// Somebody added a version meanwhile: the answer that the caller has prepared is wrong.
		return fact.MapVersion{}, &fact.ConflictError{Key: "version", Existing: string(u.Map.ID)}
	}
	v := fact.MapVersion{
		Map: u.Map.ID, Tenant: tenant, Warehouse: fleet.WarehouseID(m.WarehouseID), Version: int(m.NewestVersion),
		Status: "DRAFT", Format: u.Format, ResM: u.ResM, Report: u.Report, CreatedBy: u.Map.CreatedBy, CreatedAt: u.Map.CreatedAt,
	}
	if u.Graph != nil {
		v.Vertices, v.Lanes, v.Zones = len(u.Graph.Vertices), len(u.Graph.Lanes), len(u.Graph.Zones)
	}
	options, err := json.Marshal(buildOptions{ResM: u.ResM})
	if err != nil {
		return v, err
	}
	report, err := json.Marshal(reportJSON(u.Report))
	if err != nil {
		return v, err
	}
	if _, err := q.CreateMapVersion(ctx, gen.CreateMapVersionParams{
		MapID: string(v.Map), Version: int32(v.Version), TenantID: string(tenant), WarehouseID: m.WarehouseID,
		SourceFormat: v.Format, Geometry: packed, Options: options, Report: report, Vertices: int32(v.Vertices),
		Lanes: int32(v.Lanes), Zones: int32(v.Zones), CreatedByUserID: optional(v.CreatedBy), CreatedAt: v.CreatedAt,
	}); err != nil {
		return v, err
	}
	if u.Graph == nil {
		return v, nil
	}
	if err := writeLanes(ctx, q, &v, u.Graph); err != nil {
		return v, fmt.Errorf("write the lanes: %w", err)
	}
	if err := writeTrafficZones(ctx, q, &v, u.Graph); err != nil {
		return v, fmt.Errorf("write the traffic zones: %w", err)
	}
	return v, nil
}

// writeLanes writes what differs from the version before.
func writeLanes(ctx context.Context, q *gen.Queries, v *fact.MapVersion, g *roadmap.Graph) error {
	tenant, id := string(v.Tenant), string(v.Map)
	before, err := q.LanesOfVersion(ctx, gen.LanesOfVersionParams{TenantID: tenant, MapID: id, Version: int32(v.Version - 1)})
	if err != nil {
		return err
	}
	was := make(map[string]int, len(before))
	for i := range before {
		was[before[i].LaneID] = i
	}
	p := gen.InsertLanesParams{TenantID: tenant, MapID: id, Version: int32(v.Version)}
	ended := []string{}
	for i := range g.Lanes {
		l := &g.Lanes[i]
		if j, ok := was[string(l.ID)]; ok {
			delete(was, string(l.ID))
			if same(&before[j], g, l) {
				continue
			}
			ended = append(ended, string(l.ID))
		}
		a, b := &g.Vertices[l.From], &g.Vertices[l.To]
		p.LaneIds, p.Froms, p.Tos = append(p.LaneIds, string(l.ID)), append(p.Froms, a.ID), append(p.Tos, b.ID)
		p.Lengths, p.Speeds, p.Closeds = append(p.Lengths, l.LengthM), append(p.Speeds, l.SpeedMPS), append(p.Closeds, l.Closed)
		p.X1s, p.Y1s, p.X2s, p.Y2s = append(p.X1s, a.X), append(p.Y1s, a.Y), append(p.X2s, b.X), append(p.Y2s, b.Y)
	}
	for i := range before {
		if _, gone := was[before[i].LaneID]; gone {
			ended = append(ended, before[i].LaneID)
		}
	}
	if len(ended) > 0 {
		if err := q.EndLanes(ctx, gen.EndLanesParams{Version: &p.Version, LaneIds: ended, TenantID: tenant}); err != nil {
			return err
		}
	}
	for from := 0; from < len(p.LaneIds); from += laneBatch {
		to := min(from+laneBatch, len(p.LaneIds))
		part := gen.InsertLanesParams{
			TenantID: tenant, MapID: id, Version: p.Version, LaneIds: p.LaneIds[from:to], Froms: p.Froms[from:to],
			Tos: p.Tos[from:to], Lengths: p.Lengths[from:to], Speeds: p.Speeds[from:to], Closeds: p.Closeds[from:to],
			X1s: p.X1s[from:to], Y1s: p.Y1s[from:to], X2s: p.X2s[from:to], Y2s: p.Y2s[from:to],
		}
		if err := q.InsertLanes(ctx, part); err != nil {
			return err
		}
	}
	if len(ended) == 0 {
		return nil
	}
	return q.KeepLaneChanges(ctx, gen.KeepLaneChangesParams{TenantID: tenant, MapID: id, Version: p.Version})
}

// same says that the lane is in this version what it was in the last.
func same(old *gen.LanesOfVersionRow, g *roadmap.Graph, l *roadmap.Lane) bool {
	a, b := &g.Vertices[l.From], &g.Vertices[l.To]
	return old.LengthM == l.LengthM && old.SpeedLimitMps == l.SpeedMPS && old.Closed == l.Closed &&
		old.X1 == a.X && old.Y1 == a.Y && old.X2 == b.X && old.Y2 == b.Y
}

func writeTrafficZones(ctx context.Context, q *gen.Queries, v *fact.MapVersion, g *roadmap.Graph) error {
	version := int32(v.Version)
	if err := q.EndTrafficZones(ctx, gen.EndTrafficZonesParams{
		Version: &version, TenantID: string(v.Tenant), MapID: string(v.Map),
	}); err != nil {
		return err
	}
	p := gen.InsertTrafficZonesParams{TenantID: string(v.Tenant), MapID: string(v.Map), Version: version}
	for i := range g.Zones {
		polygon, err := writePolygon(g.Outline(i))
		if err != nil {
			return err
		}
		z := &g.Zones[i]
		p.ZoneIds, p.Names = append(p.ZoneIds, string(z.ID)), append(p.Names, z.Name)
		p.Capacities, p.Polygons = append(p.Capacities, int32(z.Capacity)), append(p.Polygons, polygon)
	}
	return q.InsertTrafficZones(ctx, p)
}

// GetMap returns the map. Errors: fact.ErrNotFound.
func (r *MapsRepo) GetMap(ctx context.Context, tenant fleet.TenantID, id fleet.MapID) (m fact.Map, err error) {
	err = r.s.byID(ctx, tenant, string(id), func(q *gen.Queries) error {
		row, err := q.GetMap(ctx, gen.GetMapParams{TenantID: string(tenant), MapID: string(id)})
		m, _ = mapOf((*gen.ListMapsRow)(&row))
		return err
	})
	if err != nil {
		return fact.Map{}, fmt.Errorf("get map %s: %w", id, err)
	}
	return m, nil
}

// ListMaps lists the tenant's maps, newest first; warehouse "" = all.
func (r *MapsRepo) ListMaps(
	ctx context.Context, tenant fleet.TenantID, warehouse fleet.WarehouseID, p fact.Page,
) (l fact.List[fact.Map], err error) {
	c, err := from(p, "maps", newest())
	if err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListMaps(ctx, gen.ListMapsParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, WarehouseID: string(warehouse), PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, mapOf, func(m *gen.ListMapsRow) cursor { return cursor{At: m.CreatedAt, ID: m.MapID} }, "maps")
		return err
	})
	if err != nil {
		return l, fmt.Errorf("list maps: %w", err)
	}
	return l, nil
}

func mapOf(r *gen.ListMapsRow) (fact.Map, error) {
	return fact.Map{
		ID: fleet.MapID(r.MapID), Tenant: fleet.TenantID(r.TenantID), Warehouse: fleet.WarehouseID(r.WarehouseID), Name: r.Name,
		Newest: int(r.NewestVersion), Active: int(r.Active), Revision: r.Revision, CreatedBy: given[fleet.UserID](r.CreatedByUserID),
		CreatedAt: r.CreatedAt.UTC(),
	}, nil
}

// GetMapVersion returns the version with its source as it was uploaded. Errors: fact.ErrNotFound.
func (r *MapsRepo) GetMapVersion(
	ctx context.Context, tenant fleet.TenantID, id fleet.MapID, version int,
) (v fact.MapVersion, content []byte, err error) {
	var packed []byte
	err = r.s.byID(ctx, tenant, string(id), func(q *gen.Queries) error {
		row, err := q.GetMapVersion(ctx, gen.GetMapVersionParams{TenantID: string(tenant), MapID: string(id), Version: int32(version)})
		if err != nil {
			return err
		}
		source, err := q.GetMapContent(ctx, gen.GetMapContentParams{TenantID: string(tenant), MapID: string(id), Version: int32(version)})
		if err != nil {
			return err
		}
		packed = source.Geometry
		v, err = versionOf((*gen.ListMapVersionsRow)(&row))
		return err
	})
	if err == nil {
		content, err = unpack(packed)
	}
	if err != nil {
		return fact.MapVersion{}, nil, fmt.Errorf("get map %s version %d: %w", id, version, err)
	}
	return v, content, nil
}

// ListMapVersions lists the map's versions, newest first. A map that is not there has none.
func (r *MapsRepo) ListMapVersions(
	ctx context.Context, tenant fleet.TenantID, id fleet.MapID, p fact.Page,
) (l fact.List[fact.MapVersion], err error) {
	c, err := from(p, "map_versions", cursor{N: 1<<31 - 1})
	if err != nil {
		return l, err
	}
	err = r.s.byID(ctx, tenant, string(id), func(q *gen.Queries) error {
		rows, err := q.ListMapVersions(ctx, gen.ListMapVersionsParams{
			TenantID: string(tenant), MapID: string(id), Before: int32(c.N), PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, versionOf, func(v *gen.ListMapVersionsRow) cursor { return cursor{N: int64(v.Version)} }, "map_versions")
		return err
	})
	if err != nil {
		return l, fmt.Errorf("list the versions of map %s: %w", id, err)
	}
	return l, nil
}

// byID is inTenant for reading one object; an id that is no UUID names none.
func (s *Store) byID(ctx context.Context, tenant fleet.TenantID, id string, fn func(q *gen.Queries) error) error {
	if !isUUID(id) || !isUUID(string(tenant)) {
		return fact.ErrNotFound
	}
	return s.inTenant(ctx, reading, tenant, fn)
}

func versionOf(r *gen.ListMapVersionsRow) (fact.MapVersion, error) {
	v := fact.MapVersion{
		Map: fleet.MapID(r.MapID), Tenant: fleet.TenantID(r.TenantID), Warehouse: fleet.WarehouseID(r.WarehouseID),
		Version: int(r.Version), Status: r.Status, Format: r.SourceFormat, Vertices: int(r.Vertices), Lanes: int(r.Lanes),
		Zones: int(r.Zones), CreatedBy: given[fleet.UserID](r.CreatedByUserID), CreatedAt: r.CreatedAt.UTC(),
		ActivatedAt: instant(r.ActivatedAt),
	}
	var o buildOptions
	if err := json.Unmarshal(r.Options, &o); err != nil {
		return v, fmt.Errorf("read the options of map %s version %d: %w", v.Map, v.Version, err)
	}
	v.ResM = o.ResM
	var report storedReport
	if err := json.Unmarshal(r.Report, &report); err != nil {
		return v, fmt.Errorf("read the report of map %s version %d: %w", v.Map, v.Version, err)
	}
	v.Report = report.report()
	return v, nil
}

// storedReport is the column report.
type storedReport struct {
	Errors   []storedFinding `json:"errors"`
	Warnings []storedFinding `json:"warnings"`
}

type storedFinding struct {
	Code      string   `json:"code"`
	VertexIDs []string `json:"vertex_ids"`
	LaneIDs   []string `json:"lane_ids"`
	Message   string   `json:"message"`
}

func reportJSON(r roadmap.Report) storedReport {
	s := storedReport{Errors: []storedFinding{}, Warnings: []storedFinding{}}
	for _, f := range r.Errors {
		s.Errors = append(s.Errors, storedFinding(f))
	}
	for _, f := range r.Warnings {
		s.Warnings = append(s.Warnings, storedFinding(f))
	}
	return s
}

func (s *storedReport) report() roadmap.Report {
	var r roadmap.Report
	for _, f := range s.Errors {
		r.Errors = append(r.Errors, roadmap.Finding(f))
	}
	for _, f := range s.Warnings {
		r.Warnings = append(r.Warnings, roadmap.Finding(f))
	}
	return r
}

func pack(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, roadmap.MaxContent+1))
	if err != nil {
		return nil, err
	}
	return content, r.Close()
}
