package stream

import (
	"encoding/json"
	"time"

	"starling/engine/fleet"
	"starling/engine/zone"
	"starling/gateway/view"
)

type zoneStatus struct {
	ZoneID    string     `json:"zone_id"`
	Occupancy int        `json:"occupancy"`
	Capacity  int        `json:"capacity"`
	Queue     int        `json:"queue_length"`
	Window    windowJSON `json:"window"`
	Domain    *domain    `json:"domain"` // null = the zone is planned alone
	Lanes     []laneJSON `json:"lanes"`
	Version   uint64     `json:"version"`
}

type windowJSON struct {
	Limit    int  `json:"limit"`
	Admitted int  `json:"admitted"`
	Inbound  int  `json:"inbound"`
	Enforced bool `json:"enforced"`
	Shadow   int  `json:"shadow"`
}

type domain struct {
	Term   uint64 `json:"term"`
	Leader string `json:"leader"`
}

func (h *hub) zoneItem(r *view.Row[zone.View]) []byte {
	v := &r.Value
	z := zoneStatus{
		ZoneID: string(v.Zone), Occupancy: v.Occupancy, Capacity: v.Capacity, Queue: v.Queue, Version: r.Puts, Lanes: h.lanes(r.Warehouse, v.Flow),
		Window: windowJSON{v.Window.Limit, v.Window.Admitted, v.Window.Inbound, v.Window.Enforced, v.Window.Shadow},
	}
	if v.Domain.Leader != "" {
		z.Domain = &domain{v.Domain.Term, string(v.Domain.Leader)}
	}
	b, _ := json.Marshal(z)
	return b
}

// zonesOf is how the zones' table is told.
func (h *hub) zonesOf(s *sub, base *stateBase) *stateOf[fleet.ZoneID, zone.View] {
	return &stateOf[fleet.ZoneID, zone.View]{
		table: h.views.Zones, kept: &h.zones, base: base, changed: "zone_status", item: h.zoneItem,
		before: func() { h.survey(time.Now(), s.warehouse) },
		gone: func(g *view.Gone[fleet.ZoneID]) (string, []byte) {
			return "zone_removed", []byte(`{"zone_id":"` + string(g.ID) + `"}`)
		},
	}
}
