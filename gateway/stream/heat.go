package stream

import (
	"encoding/json"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/view"
)

// heatOf is how scores of congestion are told: those of zones and lanes. What has gone, because another map is active or
// another process scores it now, is told once more as calm: who draws it knows no removal.
func (h *hub) heatOf(s *sub, base *stateBase) *stateOf[congestion.Subject, view.Heat] {
	return &stateOf[congestion.Subject, view.Heat]{
		table: h.views.Heat, kept: &h.heat, base: base, changed: "congestion_heatmap_update", item: h.heatItem, gone: h.heatGone,
		before: func() { h.survey(time.Now(), s.warehouse) },
	}
}

func (h *hub) heatGone(g *view.Gone[congestion.Subject]) (event string, b []byte) {
	if g.ID.Of == congestion.OfWarehouse {
		return "", nil
	}
	calm := fact.Congestion{Shard: fleet.Shard{Tenant: h.tenant, Warehouse: g.Warehouse}, Score: congestion.Score{Subject: g.ID, At: time.Now(), SpeedRatio: 1}}
	b, _ = json.Marshal(h.srv.o.Heat(&calm))
	return "congestion_heatmap_update", b
}

func (h *hub) heatItem(r *view.Row[view.Heat]) []byte {
	if r.Value.Of == congestion.OfWarehouse {
		return nil
	}
	b, _ := json.Marshal(h.srv.o.Heat(&r.Value.Congestion))
	if r.Value.Of != congestion.OfLane {
		return b
	}
	// Who draws a lane needs no list of lanes. Before the map is known, and of one that is not active any more, nothing is said of that.
	g := h.note(r.Warehouse)
	l, ok := g.lane(fleet.LaneID(r.Value.ID))
	if !ok {
		return b
	}
	at, _ := json.Marshal(laneAt{zoneOf(g.graph, l), place(g.graph, l.From), place(g.graph, l.To)})
	return append(append(b[:len(b)-1], ','), at[1:]...)
}

// laneAt says of a lane where it starts and leads.
type laneAt struct {
	Zone fleet.ZoneID `json:"zone_id,omitempty"`
	From [2]float64   `json:"from"`
	To   [2]float64   `json:"to"`
}
