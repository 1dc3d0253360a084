package rest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// The house's maps, zones and lanes.

func (h *house) CreateMap(_ context.Context, u fact.MapUpload, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(u.Map.Tenant, i); err != nil {
		return err
	}
	m := u.Map
	m.Newest, m.Revision = 1, 1
	h.maps = append(h.maps, &m)
	h.addVersion(u, 1)
	return nil
}

func (h *house) addVersion(u fact.MapUpload, n int) {
	v := &version{content: u.Content, graph: u.Graph}
	v.MapVersion = fact.MapVersion{
		Map: u.Map.ID, Tenant: u.Map.Tenant, Warehouse: u.Map.Warehouse, Version: n, Status: "DRAFT", Format: u.Format, ResM: u.ResM, Report: u.Report, CreatedAt: time.Now(),
	}
	if u.Graph != nil {
		v.Vertices, v.Lanes, v.Zones = len(u.Graph.Vertices), len(u.Graph.Lanes), len(u.Graph.Zones)
	}
	h.versions = append(h.versions, v)
}

func (h *house) AddMapVersion(_ context.Context, u fact.MapUpload, i *fact.Idempotency) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := find(h.maps, func(m *fact.Map) bool { return m.ID == u.Map.ID })
	if err == nil {
		err = h.keep(m.Tenant, i)
	}
	if err != nil {
		return 0, err
	}
	m.Newest++
	m.Revision++
	h.addVersion(u, m.Newest)
	return m.Newest, nil
}

func (h *house) GetMap(_ context.Context, tenant fleet.TenantID, id fleet.MapID) (fact.Map, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := find(h.maps, func(m *fact.Map) bool { return m.Tenant == tenant && sameID(m.ID, id) })
	if err != nil {
		return fact.Map{}, err
	}
	return *m, nil
}

func (h *house) ListMaps(_ context.Context, tenant fleet.TenantID, w fleet.WarehouseID, p fact.Page) (fact.List[fact.Map], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.maps, func(m *fact.Map) bool { return m.Tenant == tenant && cmp.Or(w, m.Warehouse) == m.Warehouse }), p)
}

func (h *house) ListMapVersions(_ context.Context, tenant fleet.TenantID, id fleet.MapID, p fact.Page) (fact.List[fact.MapVersion], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []fact.MapVersion
	for _, v := range h.versions {
		if v.Tenant == tenant && v.Map == id {
			out = append(out, v.MapVersion)
		}
	}
	return page(out, p)
}

func (h *house) GetMapVersion(_ context.Context, tenant fleet.TenantID, id fleet.MapID, n int) (fact.MapVersion, []byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, err := find(h.versions, func(v *version) bool { return v.Tenant == tenant && v.Map == id && v.Version == n })
	if err != nil {
		return fact.MapVersion{}, nil, err
	}
	return v.MapVersion, v.content, nil
}

func (h *house) PutZone(_ context.Context, z fact.Zone, ifVersion int64) (fact.Zone, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := find(h.zones, func(o *fact.Zone) bool { return o.ID == z.ID })
	if err != nil {
		if ifVersion >= 0 {
			return fact.Zone{}, false, &fact.ConflictError{Key: "version"}
		}
		z.Version = 1
		h.zones = append(h.zones, &z)
		return z, true, nil
	}
	if ifVersion >= 0 && ifVersion != old.Version {
		return fact.Zone{}, false, &fact.ConflictError{Key: "version"}
	}
	z.Version = old.Version + 1
	*old = z
	return z, false, nil
}

func (h *house) GetZone(_ context.Context, tenant fleet.TenantID, id fleet.ZoneID) (fact.Zone, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	z, err := find(h.zones, func(z *fact.Zone) bool { return z.Tenant == tenant && z.ID == id })
	if err != nil {
		return fact.Zone{}, err
	}
	return *z, nil
}

func (h *house) DeleteZone(_ context.Context, tenant fleet.TenantID, id fleet.ZoneID, ifVersion int64) error {
	z, err := h.GetZone(context.Background(), tenant, id)
	if err == nil && ifVersion >= 0 && ifVersion != z.Version {
		err = &fact.ConflictError{Key: "version"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.zones = slices.DeleteFunc(h.zones, func(z *fact.Zone) bool { return z.ID == id })
	}
	return err
}

func (h *house) ListZones(_ context.Context, tenant fleet.TenantID, f fact.ZoneFilter, p fact.Page) (fact.List[fact.Zone], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.zones, func(z *fact.Zone) bool {
		return z.Tenant == tenant && cmp.Or(f.Map, z.Map) == z.Map && cmp.Or(f.Kind, z.Kind) == z.Kind && lies(f.At, z.Polygon)
	}), p)
}

// laneRows are the lanes of a map's newest version; mu is held.
func (h *house) laneRows(tenant fleet.TenantID) []fact.Lane {
	var out []fact.Lane
	for _, v := range h.versions {
		if v.Tenant != tenant || v.graph == nil {
			continue
		}
		for i := range v.graph.Lanes {
			l := &v.graph.Lanes[i]
			from, to := &v.graph.Vertices[l.From], &v.graph.Vertices[l.To]
			s := h.lanes[l.ID]
			out = append(out, fact.Lane{
				ID: l.ID, Map: v.Map, Warehouse: v.Warehouse, From: from.ID, To: to.ID, LengthM: l.LengthM, SpeedMPS: s.SpeedMPS, Closed: s.Closed, Reason: s.Reason,
				Points: [2][2]float64{{from.X, from.Y}, {to.X, to.Y}},
			})
		}
	}
	return out
}

func (h *house) GetLane(_ context.Context, tenant fleet.TenantID, id fleet.LaneID) (fact.Lane, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.laneRows(tenant) {
		if l.ID == id {
			return l, nil
		}
	}
	return fact.Lane{}, fact.ErrNotFound
}

func (h *house) ListLanes(_ context.Context, tenant fleet.TenantID, f fact.LaneFilter, p fact.Page) (fact.List[fact.Lane], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(slices.DeleteFunc(h.laneRows(tenant), func(l fact.Lane) bool { return l.Map != f.Map || !lies(f.At, l.Points[:]) }), p)
}
