package stream

import (
	"math"
	"math/bits"
	"slices"

	"starling/engine/fleet"
)

// news is the rows that changed since a number: made once a look for all who ask.
type news struct {
	rows  []int32
	bits  []uint64
	cells map[cell][]int32 // by place; nil = nobody has asked
}

// cell is a square of the floor.
type cell struct{ x, y int32 }

const cellM = 25.0

func cellOf(x, y float64) cell {
	return cell{int32(math.Floor(x / cellM)), int32(math.Floor(y / cellM))}
}

func (m *mirror) since(from uint64) *news {
	if m.newsAt != m.upto || m.news == nil {
		m.news, m.newsAt = map[uint64]*news{}, m.upto
	}
	n := m.news[from]
	if n == nil {
		n = &news{bits: make([]uint64, len(m.revs)>>6+1)}
		for i, rev := range m.revs {
			if rev > from {
				n.rows = append(n.rows, int32(i))
				n.bits[i>>6] |= 1 << (i & 63)
			}
		}
		m.news[from] = n
	}
	return n
}

// near lists the changed rows in and around a rectangle, in no order: all, where the rectangle is larger than that pays.
func (n *news) near(m *mirror, r *rect) []int32 {
	from, to := cellOf(r.x0, r.y0), cellOf(r.x1, r.y1)
	if (float64(to.x-from.x)+1)*(float64(to.y-from.y)+1) > float64(len(n.rows))/4 {
		return n.rows
	}
	if n.cells == nil {
		n.cells = map[cell][]int32{}
		for _, row := range n.rows {
			if x := &m.rows[row]; x.located {
				c := cellOf(x.x, x.y)
				n.cells[c] = append(n.cells[c], row)
			}
		}
	}
	var out []int32
	for y := from.y; y <= to.y; y++ {
		for x := from.x; x <= to.x; x++ {
			out = append(out, n.cells[cell{x, y}]...)
		}
	}
	return out
}

// leaver is a robot that a client is told has gone.
type leaver struct {
	row int
	id  fleet.RobotID
}

// sighting is a robot that a client is told of, fresh where it does not have it yet.
type sighting struct {
	row   int32
	fresh bool
}

// tell finds what left and what changed for a subscription since it was told last, in the order of rows, and notes what
// it will know.
func (m *mirror) tell(s *sub) (left []leaver, changed []sighting) {
	left = m.removals(s)
	s.marks, s.sum = nil, 0
	n := m.since(s.rev)
	switch {
	case s.partial():
		return m.tellPart(s, n, left)
	case s.robots != nil && len(s.robots) < len(n.rows)/8:
		for id := range s.robots {
			row, ok := m.hub.views.Robots.Find(id)
			if ok && row < len(m.rows) && m.rows[row].id == id && m.revs[row] > s.rev && s.wants(&m.rows[row]) {
				changed = append(changed, sighting{int32(row), m.rows[row].born > s.rev})
			}
		}
		slices.SortFunc(changed, byRow)
	default:
		for _, row := range n.rows {
			if x := &m.rows[row]; s.wants(x) {
				changed = append(changed, sighting{row, x.born > s.rev})
			}
		}
	}
	return left, changed
}

func byRow(a, b sighting) int { return int(a.row) - int(b.row) }

// removals lists what the client has and is no more.
func (m *mirror) removals(s *sub) (left []leaver) {
	i, _ := slices.BinarySearch(m.rev, s.rev+1)
	for ; i < len(m.gone); i++ {
		g := &m.gone[i]
		switch {
		case g.born > s.rev, s.unsent(g.Row, g.Rev()): // it came and went between two looks, or before its turn
			continue
		case s.partial():
			if !s.knows(g.Row) {
				continue
			}
			s.know(g.Row, false)
		case s.warehouse != "" && s.warehouse != g.Warehouse, s.robots != nil && !s.robots[g.ID]:
			continue
		}
		left = append(left, leaver{g.Row, g.ID})
	}
	return left
}

// tellPart is for a subscription with a rectangle: what it knows of has moved or left, what is near may have entered.
func (m *mirror) tellPart(s *sub, n *news, left []leaver) (_ []leaver, changed []sighting) {
	for i := range min(len(s.known), len(n.bits)) {
		for both := s.known[i] & n.bits[i]; both != 0; both &= both - 1 {
			row := i<<6 + bits.TrailingZeros64(both)
			if x := &m.rows[row]; s.wants(x) {
				changed = append(changed, sighting{int32(row), false})
			} else {
				s.know(row, false)
				left = append(left, leaver{row, x.id})
			}
		}
	}
	knew := len(changed)
	for _, row := range n.near(m, s.rect) {
		if !s.knows(int(row)) && s.wants(&m.rows[row]) {
			s.know(int(row), true)
			changed = append(changed, sighting{row, true})
		}
	}
	if len(changed) > knew && knew > 0 || len(changed)-knew > 1 {
		slices.SortFunc(changed, byRow)
	}
	return left, changed
}
