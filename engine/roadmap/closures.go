package roadmap

import (
	"maps"
	"slices"

	"starling/engine/fleet"
)

// Closures are what keeps robots off lanes at run time: lanes closed or opened against the map, and vertices kept out.
// The zero value is none. Bound: the lanes of a map, and its zones.
type Closures struct {
	lanes map[int32]bool
	kept  map[fleet.ZoneID][]fleet.Vertex
}

// Lane closes a lane, or opens it; false where that is nothing new.
func (c *Closures) Lane(lane int32, closed bool) bool {
	if was, said := c.lanes[lane]; said && was == closed {
		return false
	}
	if c.lanes == nil {
		c.lanes = map[int32]bool{}
	}
	c.lanes[lane] = closed
	return true
}

// KeepOut says which vertices of a zone are kept out; false where that is nothing new.
func (c *Closures) KeepOut(zone fleet.ZoneID, vertices []fleet.Vertex) bool {
	if slices.Equal(c.kept[zone], vertices) {
		return false
	}
	if c.kept == nil {
		c.kept = map[fleet.ZoneID][]fleet.Vertex{}
	}
	c.kept[zone] = slices.Clone(vertices)
	return true
}

// Lanes says of the lanes that are not as g has them whether they are closed. Lanes into a kept-out vertex are, those
// that lead out of one are not: who is there may leave.
func (c *Closures) Lanes(g *Graph) map[int32]bool {
	out := maps.Clone(c.lanes)
	for _, vs := range c.kept {
		for _, v := range vs {
			for _, l := range g.In[v] {
				if out == nil {
					out = map[int32]bool{}
				}
				out[l] = true
			}
		}
	}
	return out
}
