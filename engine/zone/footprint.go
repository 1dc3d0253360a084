package zone

import (
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Vertices keep robots apart whose footprints are no wider than the vertices' distance. A wider robot keeps for itself,
// besides each vertex that it holds, every vertex nearer than twice its radius: of any two robots the wider one's circle
// has the other's vertex in it before they touch. What it needs of a neighbour zone cannot be had in one step: over a
// border, and along it, a wider robot is not granted anything (CauseFootprint). Maps for such robots want vertices
// further apart, or zones around their ways.

// distance says how near to each other vertices of this zone and around it are, in metres.
func distance(g *roadmap.Graph, number int) float64 {
	if g.Rows > 0 {
		return g.ResM
	}
	z := &g.Zones[number]
	around := slices.Clone(z.Vertices)
	for _, n := range z.Neighbours {
		around = append(around, g.Zones[n].Vertices...)
	}
	least := math.Inf(1)
	for i, v := range z.Vertices {
		a := &g.Vertices[v]
		for _, w := range around[i+1:] {
			b := &g.Vertices[w]
			least = min(least, (a.X-b.X)*(a.X-b.X)+(a.Y-b.Y)*(a.Y-b.Y))
		}
	}
	return math.Sqrt(least)
}

// wide says that the robot needs more room than the zone's vertices leave.
func (s *State) wide(radius float64) bool { return 2*radius > s.apart+1e-9 }

// near says that two vertices are less than d apart.
func (s *State) near(v, w fleet.Vertex, d float64) bool {
	a, b := &s.g.Vertices[v], &s.g.Vertices[w]
	return math.Hypot(a.X-b.X, a.Y-b.Y) < d-1e-9
}

// room says whether guest i (none = not known here yet) of this radius can have our vertex l without touching anybody, and
// else what or who is in the way.
func (s *State) room(i, l int32, radius float64) (fleet.Cause, fleet.RobotID) {
	v := s.global(l)
	if s.wide(radius) {
		if cause, holder := s.roomAround(i, v, 2*radius); cause != fleet.CauseNone {
			return cause, holder
		}
	}
	if !s.anyWide {
		return fleet.CauseNone, ""
	}
	for j := range s.guests {
		o := &s.guests[j]
		if !o.used || int32(j) == i || !s.wide(o.req.RadiusM) {
			continue
		}
		d := 2 * o.req.RadiusM
		if o.at != fleet.NoVertex && s.near(o.at, v, d) {
			return fleet.CauseOccupied, o.id
		}
		for _, h := range o.base {
			if s.near(h, v, d) {
				return fleet.CauseClaimed, o.id
			}
		}
	}
	return fleet.CauseNone, ""
}

// roomAround says what is in the way of a wide robot on v.
func (s *State) roomAround(i int32, v fleet.Vertex, d float64) (fleet.Cause, fleet.RobotID) {
	for n := range s.neighbours {
		for _, w := range s.g.Zones[s.neighbours[n].number].Vertices {
			if s.near(v, w, d) {
				return fleet.CauseFootprint, ""
			}
		}
	}
	for l := range s.occ {
		if !s.near(v, s.global(int32(l)), d) {
			continue
		}
		if o := s.occ[l]; o != none && o != i {
			return fleet.CauseOccupied, s.guests[o].id
		}
		if c := s.claim[l]; c != none && c != i && s.granted[l] {
			return fleet.CauseClaimed, s.guests[c].id
		}
	}
	return fleet.CauseNone, ""
}

// noteWide remembers whether any guest is wide: as long as none is, room costs nothing.
func (s *State) noteWide(g *guest) { s.anyWide = s.anyWide || s.wide(g.req.RadiusM) }

// asksAside moves who stands too near to where guest i wants to go, if it has not decided yet.
func (s *State) asksAside(now time.Time, i int32, id fleet.RobotID, p Priority, out []Effect) []Effect {
	j, o := s.find(id)
	if o == nil || j == i || o.decided || o.leaving() {
		return out
	}
	_, out = s.decide(now, j, i, p, out)
	return out
}

// standing is who stands on our vertex l, "" = nobody.
func (s *State) standing(l int32) fleet.RobotID {
	if o := s.occ[l]; o != none {
		return s.guests[o].id
	}
	return ""
}
