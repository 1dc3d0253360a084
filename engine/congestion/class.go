package congestion

import "starling/engine/roadmap"

// Class says how a zone's vertices hang together: how well robots get past each other there.
type Class uint8

// The classes, by the share of the vertices that have at most two neighbours.
const (
	Open    Class = iota // under 30 %
	Aisle                // up to 70 %
	OneLane              // above
)

// narrowAisle and narrowLane bound the classes. Judgement: an open floor with a fifth of its cells blocked has 22 %, the
// large warehouse map of the League of Robot Runners 64 %, a single road 100 %.
const (
	narrowAisle = 0.3
	narrowLane  = 0.7
)

// ClassOf looks at the zone's vertices: O(lanes of the zone).
func ClassOf(g *roadmap.Graph, zone int) Class {
	narrow := 0
	z := &g.Zones[zone]
	for _, v := range z.Vertices {
		n := len(g.Out[v])
		for _, l := range g.In[v] {
			if _, back := g.Lane(v, g.Lanes[l].From); !back {
				n++
			}
		}
		if n <= 2 {
			narrow++
		}
	}
	switch share := float64(narrow) / float64(max(1, len(z.Vertices))); {
	case share < narrowAisle:
		return Open
	case share <= narrowLane:
		return Aisle
	}
	return OneLane
}

func (c Class) critical() float64 {
	switch c {
	case Open:
		return criticalOpen
	case Aisle, OneLane:
		return criticalAisle
	}
	return criticalAisle
}

// String is the wire name.
func (c Class) String() string {
	switch c {
	case Open:
		return "open"
	case Aisle:
		return "aisle"
	case OneLane:
		return "one_lane"
	}
	return "INVALID"
}
