package zone

import (
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Vertices keep robots apart whose footprints are no wider than the distance from a vertex to what does not touch it. Where
// one of two robots is wider, the ways of both are looked at: from where each stands along what it holds. They may not come
// nearer than the sum of their radii. What a wide robot needs of a neighbour zone cannot be had in one step: over a border,
// and along it, it is not granted anything (CauseFootprint). Where it is put there all the same, the zone beside is told.
// Maps for such robots want vertices further apart, or zones around their ways.

// WideRobot is where a robot stands that reaches over the border, for the zone on the other side.
type WideRobot struct {
	Robot   fleet.RobotID
	RadiusM float64
	Way     []fleet.Vertex // where it stands, and what it holds from there on
}

// roomy is twice the radius up to which robots of the zone need no look, in metres: the least distance of its vertices to
// other vertices and to lanes that do not end there.
func roomy(g *roadmap.Graph, number int) float64 {
	if g.Rows > 0 {
		return g.ResM
	}
	z := &g.Zones[number]
	around := slices.Clone(z.Vertices)
	for _, n := range z.Neighbours {
		around = append(around, g.Zones[n].Vertices...)
	}
	least := math.Inf(1)
	for _, v := range z.Vertices {
		a := &g.Vertices[v]
		for _, w := range around {
			if w == v {
				continue
			}
			b := &g.Vertices[w]
			least = min(least, math.Hypot(a.X-b.X, a.Y-b.Y))
			for _, lane := range g.Out[w] {
				if to := g.Lanes[lane].To; to != v {
					c := &g.Vertices[to]
					least = min(least, toSegment(a.X, a.Y, b.X, b.Y, c.X, c.Y))
				}
			}
		}
	}
	return least
}

// toSegment is the distance of a point to a segment.
func toSegment(x, y, ax, ay, bx, by float64) float64 {
	dx, dy := bx-ax, by-ay
	t := 0.0
	if l := dx*dx + dy*dy; l > 0 {
		t = min(1, max(0, ((x-ax)*dx+(y-ay)*dy)/l))
	}
	return math.Hypot(x-ax-t*dx, y-ay-t*dy)
}

// wide says that a robot needs more room than the zone's vertices leave.
func (s *State) wide(radius float64) bool { return 2*radius > s.apart+1e-9 }

// room says whether guest i can have our vertex l without touching anybody, and else what or who is in the way.
func (s *State) room(i, l int32) (fleet.Cause, fleet.RobotID) {
	g := &s.guests[i]
	wide := s.wide(g.req.RadiusM)
	if !wide && !s.anyWide {
		return fleet.CauseNone, ""
	}
	way := []fleet.Vertex{g.tail(), s.global(l)}
	if wide && s.overBorder(way, g.req.RadiusM) {
		return fleet.CauseFootprint, ""
	}
	for j := range s.guests {
		o := &s.guests[j]
		if !o.used || int32(j) == i || o.at == fleet.NoVertex || !wide && !s.wide(o.req.RadiusM) {
			continue
		}
		if s.touch(way, append([]fleet.Vertex{o.at}, o.base...), g.req.RadiusM+o.req.RadiusM) {
			return fleet.CauseOccupied, o.id
		}
	}
	for n := range s.neighbours {
		for _, o := range s.neighbours[n].wide {
			if o.Robot != g.id && s.touch(way, o.Way, g.req.RadiusM+o.RadiusM) {
				return fleet.CauseOccupied, o.Robot
			}
		}
	}
	return fleet.CauseNone, ""
}

// overBorder says that somebody on a vertex of another zone could be touched from this way.
func (s *State) overBorder(way []fleet.Vertex, radius float64) bool {
	for n := range s.neighbours {
		if s.reaches(way, s.neighbours[n].number, radius) {
			return true
		}
	}
	return false
}

func (s *State) reaches(way []fleet.Vertex, zone int32, radius float64) bool {
	return slices.ContainsFunc(s.g.Zones[zone].Vertices, func(v fleet.Vertex) bool { return s.touch(way, []fleet.Vertex{v}, 2*radius) })
}

// touch says that two ways come nearer to each other than d. Lanes are straight and cross at vertices alone, so one end of
// one of the lanes is the nearest.
func (s *State) touch(a, b []fleet.Vertex, d float64) bool {
	return s.within(a, b, d) || s.within(b, a, d)
}

// within says that a vertex of a is nearer than d to a lane of b.
func (s *State) within(a, b []fleet.Vertex, d float64) bool {
	for _, v := range a {
		p := &s.g.Vertices[v]
		for k := range b {
			from, to := &s.g.Vertices[b[k]], &s.g.Vertices[b[min(k+1, len(b)-1)]]
			if toSegment(p.X, p.Y, from.X, from.Y, to.X, to.Y) < d-1e-9 {
				return true
			}
		}
	}
	return false
}

// noteWide remembers whether anybody here or beside is wide: as long as nobody is, room costs nothing.
func (s *State) noteWide(g *guest) { s.anyWide = s.anyWide || s.wide(g.req.RadiusM) }

// wideBeside says that a neighbour has told us of a robot that reaches over to us.
func (s *State) wideBeside() bool {
	return slices.ContainsFunc(s.neighbours, func(nb neighbour) bool { return len(nb.wide) > 0 })
}

// reachingOver lists our robots that reach over to a neighbour.
func (s *State) reachingOver(nb *neighbour) []WideRobot {
	if !s.anyWide {
		return nil
	}
	var over []WideRobot
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || s.ours(g.at) == none || !s.wide(g.req.RadiusM) {
			continue
		}
		if way := append([]fleet.Vertex{g.at}, g.base...); s.reaches(way, nb.number, g.req.RadiusM) {
			over = append(over, WideRobot{Robot: g.id, RadiusM: g.req.RadiusM, Way: way})
		}
	}
	return over
}

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

// soundWide drops what the map does not have.
func (s *State) soundWide(ws []WideRobot) []WideRobot {
	return slices.DeleteFunc(slices.Clone(ws), func(w WideRobot) bool {
		return len(w.Way) == 0 || slices.ContainsFunc(w.Way, func(v fleet.Vertex) bool { return v < 0 || int(v) >= len(s.g.Vertices) })
	})
}
