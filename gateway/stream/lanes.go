package stream

import (
	"math"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// groundFor is how long a map is taken for the active one before it is asked for again.
const groundFor = 2 * time.Second

// ground is the map of a warehouse, as it was asked for last.
type ground struct {
	graph *roadmap.Graph // nil = none
	asked time.Time
	lanes map[fleet.LaneID]int32 // of that graph; made when the first is looked for
}

// laneJSON is a lane that costs more than it does without traffic, with its ends in the map's frame: who draws it needs
// no list of lanes.
type laneJSON struct {
	LaneID string     `json:"lane_id"`
	Ratio  float64    `json:"cost_ratio"`
	From   [2]float64 `json:"from"`
	To     [2]float64 `json:"to"`
}

// survey asks for the maps that zones are told of. It is called before the zones' table is read: nobody is asked for
// anything while that is locked.
func (h *hub) survey(now time.Time, w fleet.WarehouseID) {
	if w != "" {
		h.note(w)
	}
	for w, g := range h.grounds {
		if now.Sub(g.asked) >= groundFor {
			graph := h.srv.o.Graph(fleet.Shard{Tenant: h.tenant, Warehouse: w})
			if graph != g.graph {
				g.lanes = nil
			}
			g.graph, g.asked = graph, now
		}
	}
}

func (h *hub) note(w fleet.WarehouseID) *ground {
	g := h.grounds[w]
	if g == nil {
		if h.grounds == nil {
			h.grounds = map[fleet.WarehouseID]*ground{}
		}
		g = &ground{}
		h.grounds[w] = g
	}
	return g
}

// lanes are the lanes of a zone that are dearer than without traffic; none before the map is known.
func (h *hub) lanes(w fleet.WarehouseID, flow []zone.LaneFlow) []laneJSON {
	out := make([]laneJSON, 0, len(flow))
	if len(flow) == 0 {
		return out
	}
	g := h.note(w).graph
	for _, f := range flow {
		if g == nil || f.Lane < 0 || int(f.Lane) >= len(g.Lanes) || f.Free == 0 {
			continue
		}
		l := &g.Lanes[f.Lane]
		out = append(out, laneJSON{
			LaneID: string(l.ID), Ratio: math.Round(100*float64(f.Cost)/float64(f.Free)) / 100, From: place(g, l.From), To: place(g, l.To),
		})
	}
	return out
}

// lane finds a lane by id.
func (g *ground) lane(id fleet.LaneID) (*roadmap.Lane, bool) {
	if g.graph == nil {
		return nil, false
	}
	if g.lanes == nil {
		g.lanes = make(map[fleet.LaneID]int32, len(g.graph.Lanes))
		for i := range g.graph.Lanes {
			g.lanes[g.graph.Lanes[i].ID] = int32(i)
		}
	}
	i, ok := g.lanes[id]
	if !ok {
		return nil, false
	}
	return &g.graph.Lanes[i], true
}

// zoneOf is the zone in which a lane starts; "" = that is not known.
func zoneOf(g *roadmap.Graph, l *roadmap.Lane) fleet.ZoneID {
	if int(l.From) >= len(g.ZoneOf) {
		return ""
	}
	return g.Zones[g.ZoneOf[l.From]].ID
}

func place(g *roadmap.Graph, v fleet.Vertex) [2]float64 {
	at := &g.Vertices[v]
	return [2]float64{math.Round(1000*at.X) / 1000, math.Round(1000*at.Y) / 1000}
}
