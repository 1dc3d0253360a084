package zone

import (
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// course is the way that a guest was last told to expect: what it costs from there. As the guest drives on, all but its end
// is known already, and tables are far from the processor: a look at one costs as much as the rest of a decision.
type course struct {
	table *roadmap.Table // by which it goes; nil = none
	shuts uint64         // lanes are closed as they were then
	exact bool
	from  fleet.Vertex
	cost  uint16 // from there
	ahead [horizonLength]fleet.Vertex
	costs [horizonLength]uint16
	n     int
}

// last is the end of the way.
func (c *course) last() (fleet.Vertex, uint16) {
	if c.n == 0 {
		return c.from, c.cost
	}
	return c.ahead[c.n-1], c.costs[c.n-1]
}

// goOn lets the way begin at v, if that is where it begins already or its first vertex.
func (c *course) goOn(v fleet.Vertex) bool {
	switch {
	case c.from == v:
		return true
	case c.n == 0 || c.ahead[0] != v:
		return false
	}
	c.from, c.cost = v, c.costs[0]
	copy(c.ahead[:], c.ahead[1:])
	copy(c.costs[:], c.costs[1:])
	c.n--
	return true
}

// to is what the way from v costs by table t; exact is false where t estimates.
func (c *course) to(t *roadmap.Table, v fleet.Vertex) (cost uint16, exact bool) {
	if c.table == t && c.from == v {
		return c.cost, c.exact
	}
	if t.Coarse() {
		return 0, false
	}
	return t.To(v), true
}
