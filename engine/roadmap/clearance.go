package roadmap

import (
	"cmp"
	"math"
	"slices"
)

const (
	// clearanceM is what two robots of the size that is assumed where none is given (a footprint of 0.3 m around the
	// centre) need between their centres.
	clearanceM = 0.6
	// maxLaneTests bounds the comparisons of a lane with a lane or a vertex: some seconds of work. A map without faults
	// that travel tables can hold stays below it.
	maxLaneTests = 1 << 29
)

// checkClearance finds what grants cannot keep apart, since they are for vertices: lanes that cross away from a vertex, and
// vertices so close to another, or to a lane that does not end there, that robots would touch. Lanes are taken to be
// straight. The lanes of a grid cannot cross, and its cells are as wide as they are said to be: there it only warns.
func (d *Draft) checkClearance(r *notes) {
	if d.Rows > 0 {
		if d.ResM < clearanceM {
			r.warn(CodeTooClose, nil, nil, "cells of %g m: robots on neighbouring cells need %g m", d.ResM, clearanceM)
		}
		return
	}
	d.closeVertices(r)
	f := newField(d)
	for from := 0; from < len(f.entries); {
		to := from
		for to < len(f.entries) && f.entries[to].key == f.entries[from].key {
			to++
		}
		if !f.square(f.entries[from:to], r) {
			r.fail(CodeTooLarge, nil, nil, "the lanes are too long and too dense to be checked: more than %d comparisons", maxLaneTests)
			return
		}
		from = to
	}
}

// closeVertices names each vertex that is too close to one before it that is not itself named.
func (d *Draft) closeVertices(r *notes) {
	kept := make(map[[2]int32][]int32, len(d.Vertices)) // by square; at most four find room in one
	for v := range d.Vertices {
		x, y := d.Vertices[v].X, d.Vertices[v].Y
		col, row := int32(math.Floor(x/clearanceM)), int32(math.Floor(y/clearanceM))
		near, gap := none, clearanceM-1e-9
		for i := range int32(9) {
			for _, w := range kept[[2]int32{row + i/3 - 1, col + i%3 - 1}] {
				if g := math.Hypot(x-d.Vertices[w].X, y-d.Vertices[w].Y); g < gap {
					near, gap = w, g
				}
			}
		}
		if near == none {
			kept[[2]int32{row, col}] = append(kept[[2]int32{row, col}], int32(v))
			continue
		}
		r.warn(CodeTooClose, []string{d.Vertices[near].ID, d.Vertices[v].ID}, nil,
			"the vertices are %.2f m apart, robots on both need %g m", gap, clearanceM)
	}
}

// field is a uniform grid of squares over the plane, with the lanes that lead through each and the vertices around it.
type field struct {
	d       *Draft
	edge    float64
	x0, y0  float64
	lanes   [][2]int32 // both ways as one, the lower vertex first; ascending
	entries []entry    // by square, in it the vertices first
	tests   int        // still allowed
	crossed []bool     // lanes that are named
	hit     []bool     // vertices that are named
}

type entry struct {
	key  uint64
	item int32 // a lane, or ^vertex
}

func newField(d *Draft) *field {
	f := &field{d: d, tests: maxLaneTests, x0: math.Inf(1), y0: math.Inf(1), hit: make([]bool, len(d.Vertices))}
	for i := range d.Vertices {
		f.x0, f.y0 = min(f.x0, d.Vertices[i].X-1), min(f.y0, d.Vertices[i].Y-1)
	}
	for i := range d.Lanes {
		a, b := int32(d.Lanes[i].From), int32(d.Lanes[i].To)
		f.lanes = append(f.lanes, [2]int32{min(a, b), max(a, b)})
	}
	slices.SortFunc(f.lanes, func(a, b [2]int32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	f.lanes = slices.Compact(f.lanes)
	f.crossed = make([]bool, len(f.lanes))
	span := 0.0
	for i := range f.lanes {
		a, b := f.ends(i)
		span += math.Abs(a[0]-b[0]) + math.Abs(a[1]-b[1])
	}
	// Twice the mean length: all lanes together lead through few more squares than there are lanes.
	f.edge = max(4*clearanceM, 2*span/float64(max(1, len(f.lanes))))
	for i := range f.lanes {
		a, b := f.ends(i)
		if a[1] > b[1] {
			a, b = b, a
		}
		const eps = 1e-6
		for row := f.index(a[1] - f.y0 - eps); row <= f.index(b[1]-f.y0+eps); row++ {
			x0, x1 := within(a, b, f.y0+float64(row)*f.edge-eps, f.y0+float64(row+1)*f.edge+eps)
			f.put(row, x0-eps, x1+eps, int32(i))
		}
	}
	for v := range d.Vertices {
		x, y := d.Vertices[v].X, d.Vertices[v].Y
		for row := f.index(y - f.y0 - clearanceM); row <= f.index(y-f.y0+clearanceM); row++ {
			f.put(row, x-clearanceM, x+clearanceM, ^int32(v))
		}
	}
	slices.SortFunc(f.entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.item, b.item)) })
	return f
}

func (f *field) index(m float64) int { return int(m / f.edge) }

func (f *field) put(row int, x0, x1 float64, item int32) {
	for col := f.index(x0 - f.x0); col <= f.index(x1-f.x0); col++ {
		f.entries = append(f.entries, entry{uint64(row)<<32 | uint64(col), item})
	}
}

func (f *field) ends(lane int) (a, b [2]float64) {
	return f.at(f.lanes[lane][0]), f.at(f.lanes[lane][1])
}

func (f *field) at(v int32) [2]float64 { return [2]float64{f.d.Vertices[v].X, f.d.Vertices[v].Y} }

// within is the span in x of the part of a-b, a below b, that lies between two heights.
func within(a, b [2]float64, y0, y1 float64) (x0, x1 float64) {
	x0, x1 = a[0], b[0]
	if rise := b[1] - a[1]; rise > 0 {
		x0 = a[0] + (b[0]-a[0])*max(0, (y0-a[1])/rise)
		x1 = a[0] + (b[0]-a[0])*min(1, (y1-a[1])/rise)
	}
	return min(x0, x1), max(x0, x1)
}

// square compares what is in one square; false when that takes more than is allowed. Each fault is named once, though two
// lanes may share many squares: a lane that crosses several is named with one of them at least.
func (f *field) square(in []entry, r *notes) bool {
	vertices := 0
	for vertices < len(in) && in[vertices].item < 0 {
		vertices++
	}
	lanes := in[vertices:]
	if f.tests -= len(lanes)*vertices + len(lanes)*len(lanes)/2; f.tests < 0 {
		return false
	}
	for i := range lanes {
		n := int(lanes[i].item)
		a, b := f.ends(n)
		for _, e := range in[:vertices] {
			f.passes(n, ^e.item, a, b, r)
		}
		for _, e := range lanes[:i] {
			m := int(e.item)
			if f.crossed[n] && f.crossed[m] {
				continue
			}
			l, k := f.lanes[n], f.lanes[m]
			if l[0] == k[0] || l[0] == k[1] || l[1] == k[0] || l[1] == k[1] {
				continue
			}
			if c, d := f.ends(m); crosses(a, b, c, d) {
				f.crossed[n], f.crossed[m] = true, true
				r.fail(CodeCrossing, f.ids(k[0], k[1], l[0], l[1]), nil,
					"the lane between the first two vertices crosses the one between the others; put a vertex where they meet")
			}
		}
	}
	return true
}

// passes names vertex v where lane n, from a to b, leads past it too closely. How far its ends are is closeVertices' matter.
func (f *field) passes(n int, v int32, a, b [2]float64, r *notes) {
	if l := f.lanes[n]; f.hit[v] || v == l[0] || v == l[1] {
		return
	}
	p := f.at(v)
	dx, dy := b[0]-a[0], b[1]-a[1]
	along := ((p[0]-a[0])*dx + (p[1]-a[1])*dy) / (dx*dx + dy*dy)
	if along <= 0 || along >= 1 {
		return
	}
	if gap := math.Abs(cross(a, b, p)) / math.Hypot(dx, dy); gap < clearanceM-1e-9 {
		f.hit[v] = true
		r.warn(CodeTooClose, f.ids(v, f.lanes[n][0], f.lanes[n][1]), nil,
			"the lane between the last two vertices leads past the first at %.2f m, robots there need %g m", gap, clearanceM)
	}
}

func (f *field) ids(vs ...int32) []string {
	ids := make([]string, len(vs))
	for i, v := range vs {
		ids[i] = f.d.Vertices[v].ID
	}
	return ids
}
