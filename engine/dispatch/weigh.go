package dispatch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// Reweighing: zones report which lanes robots wait for; every reweighEvery the dispatcher says anew what those cost, and
// tables lead around them. That must not swing (everybody leaves the dear lane, it gets cheap, everybody comes back): a lane
// is dear only from dearFrom on and until it falls below dearUntil, and what is said of it changes with a change of more
// than reweighNews alone; zones smooth their counts over many robots.
const (
	reweighEvery = 10 * time.Second
	reweighNews  = 0.2
	dearFrom     = 1.5
	dearUntil    = 1.2
	reweighMost  = 256 // lanes dear at once, those that cost robots most: each change makes tables search again
)

// Reweigh says what lanes cost as robots drive them now, ascending by lane; every other lane costs what the map says.
type Reweigh struct{ Costs []zone.LaneFlow }

func (Reweigh) isDispatchEffect() {}

// flows is what zones have said of their lanes. Bound: the zones of the map, each with the lanes of one view.
type flows struct {
	on   bool
	zone map[fleet.ZoneID][]zone.LaneFlow
	said map[int32]uint16 // cost of the lanes that are dear
	last time.Time
}

// UseFlow switches on that routes are led around lanes for which robots wait.
func (s *State) UseFlow(on bool) { s.flows.on = on }

// note keeps a zone's newest word.
func (f *flows) note(v *zone.View) {
	if !f.on {
		return
	}
	if f.zone == nil {
		f.zone = map[fleet.ZoneID][]zone.LaneFlow{}
	}
	if len(v.Flow) == 0 {
		delete(f.zone, v.Zone)
	} else {
		f.zone[v.Zone] = v.Flow
	}
}

// ByLane gives the costs by lane.
func (r Reweigh) ByLane() map[int32]uint16 {
	costs := make(map[int32]uint16, len(r.Costs))
	for _, l := range r.Costs {
		costs[l.Lane] = l.Cost
	}
	return costs
}

// forget starts anew, on another map.
func (f *flows) forget() { *f = flows{on: f.on} }

// weigh says anew what lanes cost, where that is news.
func (f *flows) weigh(now time.Time, g *roadmap.Graph, out []Effect) []Effect {
	if !f.on || g == nil || now.Sub(f.last) < reweighEvery {
		return out
	}
	f.last = now
	var dear []zone.LaneFlow
	for i := range g.Zones { // of what zones of a former map have said, nothing counts
		for _, l := range f.zone[g.Zones[i].ID] {
			if l.Lane < 0 || int(l.Lane) >= len(g.Lanes) || g.ZoneOf[g.Lanes[l.Lane].From] != int32(i) {
				continue
			}
			from := dearFrom
			if _, said := f.said[l.Lane]; said {
				from = dearUntil
			}
			if float64(l.Cost) >= from*float64(l.Free) {
				dear = append(dear, l)
			}
		}
	}
	burden := func(l zone.LaneFlow) int { return int(l.Cost-l.Free) * int(l.Robots) }
	slices.SortFunc(dear, func(a, b zone.LaneFlow) int {
		if c := cmp.Compare(burden(b), burden(a)); c != 0 {
			return c
		}
		return cmp.Compare(a.Lane, b.Lane)
	})
	dear = dear[:min(len(dear), reweighMost)]
	said := make(map[int32]uint16, len(dear))
	for i := range dear {
		l := &dear[i]
		if was := f.said[l.Lane]; was > 0 && float64(max(was, l.Cost)-min(was, l.Cost)) <= reweighNews*float64(was) {
			l.Cost = was
		}
		said[l.Lane] = l.Cost
	}
	if maps.Equal(said, f.said) {
		return out
	}
	f.said = said
	slices.SortFunc(dear, func(a, b zone.LaneFlow) int { return cmp.Compare(a.Lane, b.Lane) })
	return append(out, Reweigh{Costs: dear})
}
