package stream

import (
	"math"
	"math/bits"
	"slices"

	"starling/engine/fleet"
)

// cell is a square of the floor.
type cell struct{ x, y int32 }

const cellM = 25.0

func cellOf(x, y float64) cell {
	return cell{int32(math.Floor(x / cellM)), int32(math.Floor(y / cellM))}
}

// since lists the rows that changed after a number, made once a look for all who ask.
func (m *mirror) since(from uint64) []int32 {
	if m.newsAt != m.upto || m.news == nil {
		m.news, m.newsAt = map[uint64][]int32{}, m.upto
	}
	rows, ok := m.news[from]
	if !ok {
		for i, rev := range m.revs {
			if rev > from {
				rows = append(rows, int32(i))
			}
		}
		m.news[from] = rows
	}
	return rows
}

// place notes in which square a robot is, and unplace that it is in none.
func (m *mirror) place(row int32, x *mirrored) {
	if m.cells == nil {
		m.cells = map[cell][]int32{}
	}
	x.cell = cellOf(x.x, x.y)
	m.cells[x.cell] = append(m.cells[x.cell], row)
}

func (m *mirror) unplace(row int32, x *mirrored) {
	l := m.cells[x.cell]
	if i := slices.Index(l, row); i >= 0 {
		l[i] = l[len(l)-1]
		l = l[:len(l)-1]
	}
	if m.cells[x.cell] = l; len(l) == 0 {
		delete(m.cells, x.cell)
	}
}

// near lists the rows in and around a rectangle that changed after a number, in no order: all, where the rectangle is so
// large that squares do not pay.
func (m *mirror) near(r *rect, from uint64) (out []int32) {
	low, high := cellOf(r.x0, r.y0), cellOf(r.x1, r.y1)
	if (float64(high.x-low.x)+1)*(float64(high.y-low.y)+1) > float64(len(m.rows))/8 {
		return m.since(from)
	}
	for y := low.y; y <= high.y; y++ {
		for x := low.x; x <= high.x; x++ {
			for _, row := range m.cells[cell{x, y}] {
				if m.revs[row] > from {
					out = append(out, row)
				}
			}
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
	switch {
	case s.partial():
		return m.tellPart(s, left)
	case s.robots != nil && len(s.robots) < len(m.rows)/16:
		for _, key := range s.robots {
			if row, ok := m.byKey[key]; ok && m.revs[row] > s.rev && s.wants(&m.rows[row]) {
				changed = append(changed, sighting{row, m.rows[row].born > s.rev})
			}
		}
		slices.SortFunc(changed, byRow)
	default:
		for _, row := range m.since(s.rev) {
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
		case s.warehouse != "" && s.warehouse != g.Warehouse, s.robots != nil && !s.robots.has(g.key):
			continue
		}
		left = append(left, leaver{g.Row, g.ID})
	}
	return left
}

// tellPart is for a subscription with a rectangle: what it knows of has moved or left, what is near may have entered.
func (m *mirror) tellPart(s *sub, left []leaver) (_ []leaver, changed []sighting) {
	for i, word := range s.known {
		for ; word != 0; word &= word - 1 {
			row := i<<6 + bits.TrailingZeros64(word)
			if m.revs[row] <= s.rev {
				continue
			}
			if x := &m.rows[row]; s.wants(x) {
				changed = append(changed, sighting{int32(row), false})
			} else {
				s.know(row, false)
				left = append(left, leaver{row, x.id})
			}
		}
	}
	knew := len(changed)
	for _, row := range m.near(s.rect, s.rev) {
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
