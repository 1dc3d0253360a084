package dispatch

import (
	"cmp"
	"maps"
	"math"
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
	dear []zone.LaneFlow  // the same, as it was worked out
	last time.Time

	barred map[fleet.ZoneID][]fleet.Vertex // where robots stand that cannot move
	detour []fleet.ZoneID                  // of relief: zones in which others are led round those by far ways too
}

// UseFlow switches on that routes are led around lanes for which robots wait.
func (s *State) UseFlow(on bool) { s.flows.on = on }

// note keeps a zone's newest word.
func (f *flows) note(v *zone.View) {
	if f.barred == nil {
		f.barred = map[fleet.ZoneID][]fleet.Vertex{}
	}
	if f.barred[v.Zone] = v.Barred; len(v.Barred) == 0 {
		delete(f.barred, v.Zone)
	}
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
func (f *flows) forget() { *f = flows{on: f.on, detour: f.detour} }

// weigh says anew what lanes cost, where that is news: of traffic every while, of robots that cannot move at once.
func (f *flows) weigh(now time.Time, g *roadmap.Graph, out []Effect) []Effect {
	if g == nil {
		return out
	}
	if f.on && now.Sub(f.last) >= reweighEvery {
		f.last = now
		f.dear = f.count(g)
	}
	costs := f.bar(g, f.dear)
	said := make(map[int32]uint16, len(costs))
	for i := range costs {
		said[costs[i].Lane] = costs[i].Cost
	}
	if maps.Equal(said, f.said) {
		return out
	}
	f.said = said
	return append(out, Reweigh{Costs: costs})
}

// bar adds to what traffic makes dear, ascending by lane, the lanes that lead to where robots stand that cannot move.
func (f *flows) bar(g *roadmap.Graph, dear []zone.LaneFlow) []zone.LaneFlow {
	if len(f.barred) == 0 {
		return dear
	}
	bars := map[int32]zone.LaneFlow{}
	for _, z := range slices.Sorted(maps.Keys(f.barred)) { // in order: which are left out must be the same each time
		n, ok := g.ZoneNumber(z)
		dearer := roadmap.BarCost
		if slices.Contains(f.detour, z) {
			dearer = roadmap.DetourCost
		}
		for _, v := range f.barred[z] {
			if !ok || !on(g, v) || g.ZoneOf[v] != int32(n) || len(bars) >= reweighMost {
				continue // of a former map, or too much of it
			}
			for _, l := range g.In[v] {
				free := g.LaneCost(l)
				bars[l] = zone.LaneFlow{Lane: l, Cost: uint16(min(int(free)+dearer, math.MaxUint16-1)), Free: free, Robots: 1}
			}
		}
	}
	var costs []zone.LaneFlow
	for i := range dear {
		if _, barred := bars[dear[i].Lane]; !barred {
			costs = append(costs, dear[i])
		}
	}
	for _, l := range slices.Sorted(maps.Keys(bars)) {
		costs = append(costs, bars[l])
	}
	slices.SortFunc(costs, func(a, b zone.LaneFlow) int { return cmp.Compare(a.Lane, b.Lane) })
	return costs
}

// count lists the lanes that traffic makes dear, ascending.
func (f *flows) count(g *roadmap.Graph) []zone.LaneFlow {
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
	for i := range dear {
		l := &dear[i]
		if was := f.said[l.Lane]; was > 0 && float64(max(was, l.Cost)-min(was, l.Cost)) <= reweighNews*float64(was) {
			l.Cost = was
		}
	}
	slices.SortFunc(dear, func(a, b zone.LaneFlow) int { return cmp.Compare(a.Lane, b.Lane) })
	return dear
}
