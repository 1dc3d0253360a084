package dispatch

import (
	"cmp"
	"slices"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// The bounds of a search for a place.
const (
	placeSearch = 400 // vertices around the robot, where the map has no parking places
	placeTries  = 3   // parking places whose way is looked at
	onTheWay    = 20  // steps that one would rather go than rest where somebody is about to pass
	around      = 80  // vertices by which those beside a place must be joined without it
)

// places says which vertices nobody may be sent to: taken, promised or wanted.
type places struct {
	needed   map[fleet.Vertex]fleet.RobotID // somebody wants to be there
	occupied map[fleet.Vertex]fleet.RobotID // somebody is, or will stop, there
	promised map[fleet.Vertex]fleet.RobotID // somebody has been sent there to rest, or to charge
}

// open says that the robot may be sent to rest there, as far as others go.
func (p *places) open(id fleet.RobotID, v fleet.Vertex) bool {
	for _, m := range []map[fleet.Vertex]fleet.RobotID{p.needed, p.occupied, p.promised} {
		if by, ok := m[v]; ok && by != id {
			return false
		}
	}
	return true
}

// place finds where the robot can rest: the nearest free parking place, or where there is none, or it is only to be out
// of the way of a robot ("" = of nobody in particular), the best free vertex off the ways of others; NoVertex = none.
func (s *State) place(w *worker, p *places, by fleet.RobotID) fleet.Vertex {
	if v := s.parkingPlace(w, p); v != fleet.NoVertex {
		return v
	}
	return s.quietPlace(w, p, s.wayOf(by, w.At))
}

// wayOf says which vertices are on the way on which a robot comes to a vertex: by its table, or because it is not longer
// past them.
func (s *State) wayOf(id fleet.RobotID, to fleet.Vertex) func(fleet.Vertex) bool {
	w, g := s.robots[id], s.graph
	if w == nil || !on(g, w.At) {
		return nobodysWay
	}
	route := g.Route(s.tables.Get(to), w.At, placeSearch)
	straight := g.Manhattan(w.At, to)
	return func(v fleet.Vertex) bool {
		return slices.Contains(route, v) || g.Manhattan(w.At, v)+g.Manhattan(v, to) <= straight+0.1
	}
}

func nobodysWay(fleet.Vertex) bool { return false }

// parkingPlace is the nearest parking place that is free and to which there is a way.
func (s *State) parkingPlace(w *worker, p *places) fleet.Vertex {
	type near struct {
		v    fleet.Vertex
		dist float64
	}
	var all []near
	for _, v := range s.yard.parks {
		if p.open(w.ID, v) && !s.keepOut[v] && s.market.ground.parts[v] == s.market.ground.parts[w.At] && s.mayEnter(&w.Robot, v) && !s.graph.Vertices[v].Charging {
			all = append(all, near{v, s.graph.Manhattan(w.At, v)})
		}
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Or(cmp.Compare(a.dist, b.dist), cmp.Compare(a.v, b.v)) })
	for _, n := range all[:min(len(all), placeTries)] {
		if costFrom(s.tables.Get(n.v), w.At) != roadmap.Unreachable {
			return n.v
		}
	}
	return fleet.NoVertex
}

// quietPlace searches outwards from the robot for a vertex that nobody needs and that joins nothing: no cut, no mouth of a
// dead end. Of those it prefers the nearest, and corners to crossings.
func (s *State) quietPlace(w *worker, p *places, way func(fleet.Vertex) bool) fleet.Vertex {
	g := s.graph
	t := s.laneTable()
	seen := map[fleet.Vertex]int{w.At: 0}
	best, least := fleet.NoVertex, 1<<30
	for queue := []fleet.Vertex{w.At}; len(queue) > 0 && len(seen) < placeSearch; queue = queue[1:] {
		v := queue[0]
		steps := seen[v]
		if steps >= least {
			break // nothing beyond is better
		}
		cost := steps + 3*len(g.Out[v])
		if way(v) {
			cost += onTheWay
		}
		if cost < least && p.open(w.ID, v) && !g.Vertices[v].Charging && !s.keepOut[v] && !s.joins(t, v, p, w.ID) {
			best, least = v, cost
		}
		for _, l := range g.Out[v] {
			to := g.Lanes[l].To
			if _, known := seen[to]; known || s.keepOut[to] || !s.mayEnter(&w.Robot, to) {
				continue
			}
			if _, open := t.Lane(g, l); open {
				seen[to] = steps + 1
				queue = append(queue, to)
			}
		}
	}
	return best
}

// laneTable is a table by which to know which lanes are open: any will do.
func (s *State) laneTable() *roadmap.Table {
	if len(s.yard.bays) > 0 {
		return s.tables.Get(s.yard.bays[0].at)
	}
	return s.tables.Get(0)
}

// joins says that a vertex is needed to get from one side of it to another: without it, and without others that rest,
// those beside it do not reach each other close by.
func (s *State) joins(t *roadmap.Table, v fleet.Vertex, p *places, id fleet.RobotID) bool {
	g := s.graph
	var beside []fleet.Vertex
	for _, l := range g.Out[v] {
		to := g.Lanes[l].To
		if by, ok := p.promised[to]; ok && by != id {
			continue // somebody rests there: nobody comes this way
		}
		if _, open := t.Lane(g, l); open {
			beside = append(beside, to)
		}
	}
	if len(beside) < 2 {
		return false // a dead end's end
	}
	left := len(beside) - 1
	seen := map[fleet.Vertex]bool{v: true, beside[0]: true}
	for queue := []fleet.Vertex{beside[0]}; len(queue) > 0 && len(seen) < around; queue = queue[1:] {
		for _, l := range g.Out[queue[0]] {
			to := g.Lanes[l].To
			if seen[to] {
				continue
			}
			if by, ok := p.promised[to]; ok && by != id {
				continue
			}
			if _, open := t.Lane(g, l); !open {
				continue
			}
			seen[to] = true
			queue = append(queue, to)
			if slices.Contains(beside, to) {
				if left--; left == 0 {
					return false
				}
			}
		}
	}
	return true
}
