package stream

import (
	"math"
	"slices"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// box is a part of the plane, empty where its zero value stands.
type box struct{ x0, y0, x1, y1 float64 }

func (b *box) holds(x, y float64) bool { return x >= b.x0 && x <= b.x1 && y >= b.y0 && y <= b.y1 }

func (b *box) widened(by float64) box { return box{b.x0 - by, b.y0 - by, b.x1 + by, b.y1 + by} }

func (b *box) size() float64 { return max(b.x1-b.x0, b.y1-b.y0) }

// grid quantises positions: a unit is step metres from x0, y0.
type grid struct {
	box
	step  float64
	since uint64 // when it became what it is
}

// room is how far a grid goes beyond what it has to hold, so that it rarely changes.
const room = 64

// cover widens the grid to hold a box.
func (g *grid) cover(b box) (wider bool) {
	if g.step > 0 && g.holds(b.x0, b.y0) && g.holds(b.x1, b.y1) {
		return false
	}
	if g.step == 0 {
		g.box = b
	}
	g.x0, g.x1 = min(g.x0, math.Floor(b.x0)-room), max(g.x1, math.Ceil(b.x1)+room)
	g.y0, g.y1 = min(g.y0, math.Floor(b.y0)-room), max(g.y1, math.Ceil(b.y1)+room)
	g.step = g.unit()
	return true
}

// unit is the step that lets a box of this size be told in 16 bits: a centimetre, or as many millimetres as it takes.
func (b *box) unit() float64 { return max(0.01, math.Ceil(b.size()/65535*1000)/1000) }

func (g *grid) units(x, y float64) (qx, qy uint16) {
	if g.step == 0 {
		return 0, 0
	}
	unit := func(v float64) uint16 { return uint16(min(65535, max(0, math.Round(v)))) }
	return unit((x - g.x0) / g.step), unit((y - g.y0) / g.step)
}

// floor is what the pictures of one warehouse are measured by. A pose far from everything would make a unit so large that
// nobody's place can be told any more: it is not believed, and the robot is shown as one whose pose is not known.
type floor struct {
	grid
	graph    *roadmap.Graph // the map that bounds it, nil = none
	believed box            // where poses are
	known    bool           // that has been found out
	robots   int            // of so many
	strays   int            // how often somebody has been seen elsewhere since
}

// due says that so many have been seen elsewhere that it is worth while to look over the warehouse again.
func (f *floor) due(g *roadmap.Graph) bool {
	return f.strays > 0 && 3*f.strays >= f.robots || g != nil && !sameMap(g, f.graph)
}

func sameMap(a, b *roadmap.Graph) bool {
	return a == b || a != nil && b != nil && a.MapID == b.MapID && a.Version == b.Version
}

// measure takes a robot's place into its warehouse's grid, or says that it is not known.
func (m *mirror) measure(w fleet.WarehouseID, x *mirrored, rev uint64) {
	f := m.floors[w]
	if f == nil {
		if m.floors == nil {
			m.floors = map[fleet.WarehouseID]*floor{}
		}
		f = &floor{}
		m.floors[w] = f
	}
	switch {
	case !x.located:
	case !f.known || !f.believed.holds(x.x, x.y):
		f.strays++
		x.bin.flags &^= poseKnown
	case f.cover(box{x.x, x.y, x.x, x.y}):
		f.since, m.widened = rev, true
	}
}

// survey looks over the warehouses where many strayed, or that have another map. It ends a refreshing.
func (m *mirror) survey() {
	var rows map[fleet.WarehouseID][]int32
	for w, f := range m.floors {
		if f.due(m.graphs[w]) {
			if rows == nil {
				rows = map[fleet.WarehouseID][]int32{}
			}
			rows[w] = nil
		}
	}
	if rows != nil {
		for i := range m.rows {
			if x := &m.rows[i]; m.revs[i] > 0 && x.located {
				if l, ok := rows[x.warehouse]; ok {
					rows[x.warehouse] = append(l, int32(i))
				}
			}
		}
	}
	again := false
	for w, l := range rows {
		f := m.floors[w]
		known := f.known
		f.known, f.robots, f.strays = true, len(l), 0
		if m.lookOver(w, f, l) {
			again = again || known
			f.since, m.widened = m.upto, true
		}
	}
	if m.widened {
		m.widened = false
		var all grid
		for _, f := range m.floors {
			switch {
			case f.step == 0:
			case all.step == 0:
				all = f.grid
			default:
				all.x0, all.y0, all.x1, all.y1 = min(all.x0, f.x0), min(all.y0, f.y0), max(all.x1, f.x1), max(all.y1, f.y1)
			}
		}
		if all.box != m.all.box {
			m.all = grid{all.box, all.unit(), m.upto}
		}
	}
	if again { // a finer grid is of use where the robots' places are told anew
		for i, rev := range m.revs {
			if rev > 0 {
				m.revs[i] = max(rev, m.upto)
			}
		}
	}
}

// outvote is how many robots it takes to believe them where their map says otherwise.
const outvote = 3

// lookOver finds out where in a warehouse poses are believed: about its map, if it has one, unless most of several robots are
// not on it; or else about where most of the robots are. changed says that the grid begins anew.
func (m *mirror) lookOver(w fleet.WarehouseID, f *floor, rows []int32) (changed bool) {
	m.ask(w)
	g := m.graphs[w]
	held := func(b *box) (n int) {
		for _, row := range rows {
			if b.holds(m.rows[row].x, m.rows[row].y) {
				n++
			}
		}
		return n
	}
	if sameMap(g, f.graph) && f.step > 0 && 4*held(&f.believed) >= 3*len(rows) {
		return false // some have strayed from where the others are
	}
	f.graph = g
	extent, ok := extentOf(g)
	believed := extent.widened(max(room, extent.size()))
	if ok = ok && (len(rows) < outvote || 2*held(&believed) >= len(rows)); !ok {
		if len(rows) == 0 {
			return false
		}
		believed = m.midst(rows)
	}
	f.believed, f.grid = believed, grid{}
	if ok {
		f.cover(extent)
	}
	for _, row := range rows {
		x := &m.rows[row]
		x.bin.flags &^= poseKnown
		if believed.holds(x.x, x.y) {
			f.cover(box{x.x, x.y, x.x, x.y})
			x.bin.flags |= poseKnown
		}
	}
	return true
}

// extentOf is where a map's vertices are.
func extentOf(g *roadmap.Graph) (b box, ok bool) {
	if g == nil || len(g.Vertices) == 0 {
		return b, false
	}
	b = box{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
	for i := range g.Vertices {
		v := &g.Vertices[i]
		b.x0, b.y0, b.x1, b.y1 = min(b.x0, v.X), min(b.y0, v.Y), max(b.x1, v.X), max(b.y1, v.Y)
	}
	return b, true
}

// midst is where the middle half of the robots is, and a kilometre about it.
func (m *mirror) midst(rows []int32) box {
	half := func(of func(*mirrored) float64) (low, high float64) {
		all := make([]float64, len(rows))
		for i, row := range rows {
			all[i] = of(&m.rows[row])
		}
		slices.Sort(all)
		last := len(all) - 1
		low, high = all[(last+3)/4], all[last*3/4]
		return min(low, high), max(low, high)
	}
	var b box
	b.x0, b.x1 = half(func(x *mirrored) float64 { return x.x })
	b.y0, b.y1 = half(func(x *mirrored) float64 { return x.y })
	return b.widened(1000 + 2*b.size())
}

// gridOf is what a subscription's frames are measured by.
func (m *mirror) gridOf(s *sub) *grid {
	if s.warehouse == "" {
		return &m.all
	}
	if f := m.floors[s.warehouse]; f != nil {
		return &f.grid
	}
	return &grid{}
}
