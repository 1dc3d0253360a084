package roadmap

import (
	"maps"
	"slices"

	"starling/engine/fleet"
)

// Overlay is what differs from the map at run time: lanes closed, opened, slowed or crowded, and vertices kept out. The
// zero value is nothing. Bound: the lanes of a map, and its zones.
type Overlay struct {
	lanes map[int32]LaneOverlay
	kept  map[fleet.ZoneID][]fleet.Vertex
	flow  map[int32]uint16
}

// LaneOverlay replaces what the map says of a lane. SpeedMPS 0 = the map's limit.
type LaneOverlay struct {
	Closed   bool
	SpeedMPS float64
}

// MaxFlow bounds what traffic makes of the cost of a lane: so many times its free flow.
const MaxFlow = 4

// BarCost is how many deciseconds a lane costs more that leads to where a robot stands that cannot move: who has a way round
// of less than a minute takes it.
const BarCost = 600

// DetourCost is the same where such a robot jams those behind it: who has a way round at all, but for a very long one, takes it.
const DetourCost = 3000

// Lane says what holds of a lane now; false where that is nothing new.
func (o *Overlay) Lane(lane int32, l LaneOverlay) bool {
	if was, said := o.lanes[lane]; said && was == l {
		return false
	}
	if o.lanes == nil {
		o.lanes = map[int32]LaneOverlay{}
	}
	o.lanes[lane] = l
	return true
}

// KeepOut says which vertices of a zone are kept out; false where that is nothing new.
func (o *Overlay) KeepOut(zone fleet.ZoneID, vertices []fleet.Vertex) bool {
	if slices.Equal(o.kept[zone], vertices) {
		return false
	}
	if o.kept == nil {
		o.kept = map[fleet.ZoneID][]fleet.Vertex{}
	}
	o.kept[zone] = slices.Clone(vertices)
	return true
}

// Weigh says what lanes cost as robots drive them now, in deciseconds; a lane that is not named costs what it does
// without traffic. It returns the lanes for which that is something new.
func (o *Overlay) Weigh(costs map[int32]uint16) bool {
	if maps.Equal(o.flow, costs) {
		return false
	}
	o.flow = maps.Clone(costs)
	return true
}

// Changes is an overlay laid on a graph, immutable. Nil = none.
type Changes struct {
	closed map[int32]bool
	speeds map[int32]float64
	flow   map[int32]uint16
}

// On lays the overlay on g. Lanes into a kept-out vertex are closed, those that lead out of one are not: who is there
// may leave.
func (o *Overlay) On(g *Graph) *Changes {
	c := &Changes{closed: map[int32]bool{}, speeds: map[int32]float64{}, flow: maps.Clone(o.flow)}
	for l, lo := range o.lanes {
		c.closed[l] = lo.Closed
		if lo.SpeedMPS > 0 {
			c.speeds[l] = lo.SpeedMPS
		}
	}
	for _, vs := range o.kept {
		for _, v := range vs {
			for _, l := range g.In[v] {
				c.closed[l] = true
			}
		}
	}
	return c
}

// Said says that of some lane something was said at run time, be it that it is as on the map.
func (c *Changes) Said() bool { return c != nil && len(c.closed) > 0 }

// Closed says whether lane l of g may not be driven.
func (c *Changes) Closed(g *Graph, l int32) bool {
	if c != nil {
		if closed, said := c.closed[l]; said {
			return closed
		}
	}
	return g.Lanes[l].Closed
}

// Speed is the limit on lane l of g in m/s, 0 = none.
func (c *Changes) Speed(g *Graph, l int32) float64 {
	if c != nil {
		if v, said := c.speeds[l]; said {
			return v
		}
	}
	return g.Lanes[l].SpeedMPS
}

// cost is what lane l of g costs, shut where it is closed. Traffic makes it dearer, never cheaper.
func (c *Changes) cost(g *Graph, l int32) uint16 {
	if c.Closed(g, l) {
		return shut
	}
	free := g.costAt(l, c.Speed(g, l))
	if c == nil {
		return free
	}
	return max(free, min(c.flow[l], uint16(min(max(int(free)*MaxFlow, int(free)+DetourCost), int(maxCost)))))
}

// changed lists the lanes that the overlays of two layers treat differently, ascending.
func (c *Changes) changed(d *Changes) []int32 {
	lanes := map[int32]bool{}
	if c == nil {
		c = &Changes{}
	}
	diff(lanes, c.closed, d.closed)
	diff(lanes, c.speeds, d.speeds)
	diff(lanes, c.flow, d.flow)
	return slices.Sorted(maps.Keys(lanes))
}

func diff[V comparable](into map[int32]bool, a, b map[int32]V) {
	for l, v := range a {
		if w, said := b[l]; !said || w != v {
			into[l] = true
		}
	}
	for l := range b {
		if _, said := a[l]; !said {
			into[l] = true
		}
	}
}

// Lay is the layer that follows l where o is all that differs from the map.
func (o *Overlay) Lay(l *Layer) *Layer {
	c := o.On(l.net.g)
	return l.next(c, l.changes.changed(c))
}
