package roadmap

import (
	"maps"
	"slices"

	"starling/engine/fleet"
)

// Overlay is what differs from the map at run time: lanes closed, opened or slowed, and vertices kept out. The zero
// value is nothing. Bound: the lanes of a map, and its zones.
type Overlay struct {
	lanes map[int32]LaneOverlay
	kept  map[fleet.ZoneID][]fleet.Vertex
}

// LaneOverlay replaces what the map says of a lane. SpeedMPS 0 = the map's limit.
type LaneOverlay struct {
	Closed   bool
	SpeedMPS float64
}

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

// Changes is an overlay laid on a graph, immutable. Nil = none.
type Changes struct {
	closed map[int32]bool
	speeds map[int32]float64
}

// On lays the overlay on g. Lanes into a kept-out vertex are closed, those that lead out of one are not: who is there
// may leave.
func (o *Overlay) On(g *Graph) *Changes {
	c := &Changes{closed: map[int32]bool{}, speeds: map[int32]float64{}}
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

// slowed lists the lanes whose limit is not the map's, ascending.
func (c *Changes) slowed() []int32 {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.speeds))
}
