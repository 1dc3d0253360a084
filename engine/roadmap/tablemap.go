package roadmap

import (
	"time"

	"starling/engine/fleet"
)

// TableMap keeps the tables of one graph for a single owner, oldest out first.
type TableMap struct {
	search  *Searcher
	layer   *Layer
	bound   int
	tables  map[fleet.Vertex]*mapped
	order   []fleet.Vertex
	overlay Overlay
	allowed *Allowance
}

// mapped is a table of a map. It lets itself grow.
type mapped struct {
	table   *Table
	search  *Searcher
	allowed *Allowance
}

// Grow implements Grower.
func (m *mapped) Grow(t *Table, from fleet.Vertex) *Table {
	newest := t.layer == m.table.layer
	if newest {
		t = m.table
	}
	t, n := m.search.Grow(t, from)
	m.allowed.Spend(n)
	if newest {
		m.table = t
	}
	return t
}

// NewTableMap returns an empty map of at most bound tables (at least 1).
func NewTableMap(g *Graph, bound int) *TableMap {
	l := NewLayer(g)
	return &TableMap{search: NewSearcher(l), layer: l, bound: max(bound, 1), tables: map[fleet.Vertex]*mapped{}, allowed: &Allowance{}}
}

// Lane closes, opens or slows a lane at run time.
func (m *TableMap) Lane(lane int32, l LaneOverlay) {
	if m.overlay.Lane(lane, l) {
		m.layer = m.overlay.Lay(m.layer)
	}
}

// KeepOut says which vertices of a zone are kept out.
func (m *TableMap) KeepOut(zone fleet.ZoneID, vertices []fleet.Vertex) {
	if m.overlay.KeepOut(zone, vertices) {
		m.layer = m.overlay.Lay(m.layer)
	}
}

// Weigh says what lanes cost as robots drive them now; a lane that is not named costs what it does without traffic.
func (m *TableMap) Weigh(costs map[int32]uint16) {
	if m.overlay.Weigh(costs) {
		m.layer = m.overlay.Lay(m.layer)
	}
}

// Changes implements Tables.
func (m *TableMap) Changes() uint64 { return m.layer.Number() }

// Cached says whether there is a table already.
func (m *TableMap) Cached(goal fleet.Vertex) bool {
	_, ok := m.tables[goal]
	return ok
}

// Get implements Tables.
func (m *TableMap) Get(goal fleet.Vertex) *Table { return m.get(goal).table }

func (m *TableMap) get(goal fleet.Vertex) *mapped {
	t, ok := m.tables[goal]
	if !ok {
		if len(m.order) >= m.bound {
			delete(m.tables, m.order[0])
			m.order = m.order[1:]
		}
		t = &mapped{search: m.search, allowed: m.allowed}
		t.table = NewTable(m.layer, goal, t)
		m.tables[goal] = t
		m.order = append(m.order, goal)
	}
	t.table = t.table.On(m.layer)
	return t
}

// Reach implements Tables.
func (m *TableMap) Reach(goal, from fleet.Vertex) *Table {
	t := m.get(goal)
	if from == fleet.NoVertex || t.table.Around(from) {
		return t.table
	}
	if !m.allowed.Left() {
		return t.table.Guess(from)
	}
	grown, n := m.search.GrowAround(t.table, from)
	m.allowed.Spend(n)
	t.table = grown
	return grown
}

// Again implements Tables.
func (m *TableMap) Again(t *Table, from fleet.Vertex) *Table { return m.Reach(t.Goal, from) }

// Refill implements Tables.
func (m *TableMap) Refill(now time.Time) { m.allowed.Refill(now) }
