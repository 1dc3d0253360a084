package roadmap

import (
	"math"

	"starling/engine/fleet"
)

// The bounds of what a map may ask of the importer.
const (
	// MaxZones bounds the zones given with a map, and the zones made automatically: each has an actor.
	MaxZones = 4096
	// maxCorners bounds the points of all zones together, maxZoneTests the corners that vertices are compared with: about
	// a second of work. A zone costs its corners times the vertices in the rectangle around it.
	maxCorners   = 200_000
	maxZoneTests = 1 << 29
	// maxDegree bounds the lanes that leave a vertex, and those that enter it: the colours of zones take its square.
	maxDegree = 64
)

// Area is a polygon with a name that makes its vertices one zone.
type Area struct {
	ID      fleet.ZoneID
	Name    string
	Polygon Polygon
	at      int // its index in the source
}

// places says of each vertex in which areas it lies: the first, and the next where they overlap; none = -1.
type places struct{ first, second []int32 }

const none = int32(-1)

// locate puts the vertices into the areas. It looks only at the vertices in the rectangle around each, and returns false
// when it would take more than the given number of comparisons.
func (d *Draft) locate(tests int) (places, bool) {
	p := places{make([]int32, len(d.Vertices)), make([]int32, len(d.Vertices))}
	for v := range p.first {
		p.first[v], p.second[v] = none, none
	}
	if len(d.Areas) == 0 {
		return p, true
	}
	b := newBuckets(d.Vertices)
	for i := range d.Areas {
		ring := d.Areas[i].Polygon
		x0, y0, x1, y1 := ring.bounds()
		row0, col0 := b.at(x0, y0)
		row1, col1 := b.at(x1, y1)
		tests -= (row1 - row0 + 1) * (col1 - col0 + 1)
		for row := row0; row <= row1 && tests >= 0; row++ {
			// the buckets of a row lie one after another
			for _, v := range b.list[b.start[row*b.side+col0]:b.start[row*b.side+col1+1]] {
				tests--
				x, y := d.Vertices[v].X, d.Vertices[v].Y
				if x < x0 || x > x1 || y < y0 || y > y1 || p.second[v] != none {
					continue
				}
				if tests -= len(ring); tests < 0 {
					break
				}
				switch {
				case !ring.Contains(x, y):
				case p.first[v] == none:
					p.first[v] = int32(i)
				default:
					p.second[v] = int32(i)
				}
			}
		}
		if tests < 0 {
			return p, false
		}
	}
	return p, true
}

// buckets is a grid of side*side rectangles over the vertices, about four vertices in each.
type buckets struct {
	side                  int
	x0, y0, width, height float64
	start                 []int32 // where in list the vertices of a bucket begin; one more at the end
	list                  []int32
}

func newBuckets(vs []Vertex) *buckets {
	b := &buckets{side: max(1, int(math.Sqrt(float64(len(vs))/4))), x0: math.Inf(1), y0: math.Inf(1)}
	x1, y1 := math.Inf(-1), math.Inf(-1)
	for i := range vs {
		b.x0, b.y0, x1, y1 = min(b.x0, vs[i].X), min(b.y0, vs[i].Y), max(x1, vs[i].X), max(y1, vs[i].Y)
	}
	b.width, b.height = max(x1-b.x0, 1e-9)/float64(b.side), max(y1-b.y0, 1e-9)/float64(b.side)
	b.start, b.list = make([]int32, b.side*b.side+1), make([]int32, len(vs))
	for i := range vs {
		row, col := b.at(vs[i].X, vs[i].Y)
		b.start[row*b.side+col]++
	}
	for i, sum := 0, int32(0); i < len(b.start); i++ {
		sum += b.start[i]
		b.start[i] = sum // the end of bucket i; the vertices are put in from behind
	}
	for i := len(vs) - 1; i >= 0; i-- {
		row, col := b.at(vs[i].X, vs[i].Y)
		at := &b.start[row*b.side+col]
		*at--
		b.list[*at] = int32(i)
	}
	return b
}

// at is the bucket of a point; of one beyond the edge the nearest.
func (b *buckets) at(x, y float64) (row, col int) {
	bound := func(f float64) int { return int(max(0, min(f, float64(b.side-1)))) }
	return bound((y - b.y0) / b.height), bound((x - b.x0) / b.width)
}

// checkAreas finds zones with one id, and vertices in more than one zone.
func (d *Draft) checkAreas(r *notes) {
	ids := map[fleet.ZoneID]bool{}
	for _, a := range d.Areas {
		if a.ID != "" && ids[a.ID] {
			r.fail(CodeDuplicateID, nil, nil, "zones[%d]: zone id appears more than once", a.at)
		}
		ids[a.ID] = true
	}
	p, ok := d.locate(maxZoneTests)
	if !ok {
		r.fail(CodeTooLarge, nil, nil, "the zones have too many corners around too many vertices: more than %d comparisons", maxZoneTests)
		return
	}
	for v, second := range p.second {
		if second != none {
			r.fail(CodeZoneOverlap, []string{d.Vertices[v].ID}, nil, "the vertex lies in zones[%d] and zones[%d]", d.Areas[p.first[v]].at, d.Areas[second].at)
		}
	}
}

// checkDegrees finds vertices with too many lanes.
func (d *Draft) checkDegrees(r *notes) {
	out, in := make([]int32, len(d.Vertices)), make([]int32, len(d.Vertices))
	for i := range d.Lanes {
		out[d.Lanes[i].From]++
		in[d.Lanes[i].To]++
	}
	for v := range d.Vertices {
		if n := max(out[v], in[v]); n > maxDegree {
			r.fail(CodeTooLarge, []string{d.Vertices[v].ID}, nil, "%d lanes leave or enter the vertex, at most %d may", n, maxDegree)
		}
	}
}

func (p Polygon) bounds() (x0, y0, x1, y1 float64) {
	x0, y0, x1, y1 = math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, c := range p {
		x0, y0, x1, y1 = min(x0, c[0]), min(y0, c[1]), max(x1, c[0]), max(y1, c[1])
	}
	return x0, y0, x1, y1
}
