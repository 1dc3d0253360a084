package roadmap

import (
	"math"

	"starling/engine/fleet"
)

// contraFlow makes driving against the direction of a grid's row or column dearer: even rows run east, odd rows west,
// even columns south, odd columns north. Robots that meet head-on are what costs most throughput (motion.md of the
// design notes: +13..17 % on structured floors).
const contraFlow = 1.6

// maxCost is the greatest cost in a table. What is farther is left out; the importer refuses maps where that can be without
// closures.
const maxCost = Unreachable - 1

// LaneCost is what a lane costs in deciseconds of free-flow travel at the map's own speed limit, 1..maxCost.
func (g *Graph) LaneCost(lane int32) uint16 { return g.costAt(lane, g.Lanes[lane].SpeedMPS) }

func (g *Graph) costAt(lane int32, limit float64) uint16 {
	l := &g.Lanes[lane]
	c := l.LengthM * 10
	if limit > 0 {
		c /= min(limit, 1)
	}
	if g.Rows > 0 && g.againstFlow(l) {
		c *= contraFlow
	}
	return uint16(max(1, min(c, float64(maxCost))))
}

func (g *Graph) againstFlow(l *Lane) bool {
	a, b := &g.Vertices[l.From], &g.Vertices[l.To]
	row, col := int(float64(g.Rows)-a.Y/g.ResM), int(a.X/g.ResM)
	switch {
	case b.X > a.X:
		return row%2 == 1
	case b.X < a.X:
		return row%2 == 0
	case b.Y < a.Y:
		return col%2 == 1
	}
	return col%2 == 0
}

// TableBuilder makes tables; it keeps its scratch memory between calls. Not for concurrent use.
type TableBuilder struct {
	g       *Graph
	cost    []uint16
	buckets [][]fleet.Vertex
}

// NewTableBuilder returns a builder for g. Lane costs are computed once.
func NewTableBuilder(g *Graph) *TableBuilder {
	b := &TableBuilder{g: g, cost: make([]uint16, len(g.Lanes))}
	most := uint16(1)
	for i := range g.Lanes {
		b.cost[i] = g.LaneCost(int32(i))
		most = max(most, b.cost[i])
	}
	b.buckets = make([][]fleet.Vertex, int(most)+1)
	return b
}

// Build returns the table towards goal, as the overlay has it (nil = as the map says). Dial's bucket form of Dijkstra's
// algorithm over the lanes backwards: O(vertices + lanes + greatest cost).
func (b *TableBuilder) Build(goal fleet.Vertex, changes *Changes) *Table {
	for _, l := range changes.slowed() {
		was := b.cost[l]
		b.cost[l] = b.g.costAt(l, changes.speeds[l])
		defer func() { b.cost[l] = was }()
		for len(b.buckets) <= int(b.cost[l]) {
			b.buckets = append(b.buckets, nil)
		}
	}
	g := b.g
	t := &Table{Goal: goal, Cost: make([]uint16, len(g.Vertices)), laid: changes}
	for i := range t.Cost {
		t.Cost[i] = Unreachable
	}
	t.Cost[goal] = 0
	n := len(b.buckets)
	b.buckets[0] = append(b.buckets[0], goal)
	left := 1
	for d := 0; left > 0; d++ {
		at := d % n
		for i := 0; i < len(b.buckets[at]); i++ {
			v := b.buckets[at][i]
			left--
			if int(t.Cost[v]) != d {
				continue // reached cheaper since
			}
			for _, l := range g.In[v] {
				if changes.Closed(g, l) {
					continue
				}
				c := d + int(b.cost[l])
				if u := g.Lanes[l].From; c <= int(maxCost) && c < int(t.Cost[u]) {
					t.Cost[u] = uint16(c)
					b.buckets[c%n] = append(b.buckets[c%n], u)
					left++
				}
			}
		}
		b.buckets[at] = b.buckets[at][:0]
	}
	return t
}

// TableMap keeps the tables of one graph for a single owner, oldest out first.
type TableMap struct {
	builder *TableBuilder
	bound   int
	tables  map[fleet.Vertex]*Table
	order   []fleet.Vertex
	overlay Overlay
	laid    *Changes
	changes uint64
}

// NewTableMap returns an empty map of at most bound tables (at least 1).
func NewTableMap(g *Graph, bound int) *TableMap {
	return &TableMap{builder: NewTableBuilder(g), bound: max(bound, 1), tables: map[fleet.Vertex]*Table{}}
}

// Lane closes, opens or slows a lane at run time.
func (m *TableMap) Lane(lane int32, l LaneOverlay) {
	if m.overlay.Lane(lane, l) {
		m.change()
	}
}

// KeepOut says which vertices of a zone are kept out.
func (m *TableMap) KeepOut(zone fleet.ZoneID, vertices []fleet.Vertex) {
	if m.overlay.KeepOut(zone, vertices) {
		m.change()
	}
}

func (m *TableMap) change() {
	clear(m.tables)
	m.order = m.order[:0]
	m.laid = m.overlay.On(m.builder.g)
	m.changes++
}

// Changes implements Tables.
func (m *TableMap) Changes() uint64 { return m.changes }

// Cached says whether Get has the table already.
func (m *TableMap) Cached(goal fleet.Vertex) bool {
	_, ok := m.tables[goal]
	return ok
}

// Get implements Tables.
func (m *TableMap) Get(goal fleet.Vertex) *Table {
	if t, ok := m.tables[goal]; ok {
		return t
	}
	if len(m.order) >= m.bound {
		delete(m.tables, m.order[0])
		m.order = m.order[1:]
	}
	t := m.builder.Build(goal, m.laid)
	m.tables[goal] = t
	m.order = append(m.order, goal)
	return t
}

// Lane says what a lane of g costs in deciseconds, and whether it is open, as they were when t was made.
func (t *Table) Lane(g *Graph, lane int32) (cost uint16, open bool) {
	return g.costAt(lane, t.laid.Speed(g, lane)), !t.laid.Closed(g, lane)
}

// Route follows t from a vertex to its goal, both included, over the lanes that were open when t was made; nil where there
// is no way. At most limit vertices. Each vertex is nearer to the goal than the one before, over the cheapest lane there is.
func (g *Graph) Route(t *Table, from fleet.Vertex, limit int) []fleet.Vertex {
	if t.Cost[from] == Unreachable {
		return nil
	}
	route := []fleet.Vertex{from}
	for v := from; v != t.Goal && len(route) < limit; {
		best, to := math.MaxInt, fleet.NoVertex
		for _, l := range g.Out[v] {
			w := g.Lanes[l].To
			if t.Cost[w] >= t.Cost[v] {
				continue
			}
			if cost, open := t.Lane(g, l); open && int(t.Cost[w])+int(cost) < best {
				best, to = int(t.Cost[w])+int(cost), w
			}
		}
		if to == fleet.NoVertex {
			return route
		}
		v = to
		route = append(route, v)
	}
	return route
}
