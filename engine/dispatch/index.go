package dispatch

import (
	"cmp"
	"math"
	"slices"

	"starling/engine/roadmap"
)

// frame divides the floor into square buckets.
type frame struct {
	x0, y0, edge float64
	rows, cols   int
}

// perBucket is how many vertices a bucket has on average.
const perBucket = 16

func newFrame(g *roadmap.Graph) *frame {
	if len(g.Vertices) == 0 {
		return &frame{edge: 1, rows: 1, cols: 1}
	}
	x0, y0, x1, y1 := g.Extent()
	w, h := x1-x0, y1-y0
	edge := max(math.Sqrt(max(w, 1)*max(h, 1)*perBucket/float64(len(g.Vertices))), (w+h)/2000, 0.1)
	return &frame{x0: x0, y0: y0, edge: edge, rows: int(h/edge) + 1, cols: int(w/edge) + 1}
}

// at is the bucket of a point; points outside count to the nearest bucket.
func (f *frame) at(x, y float64) (row, col int) {
	return min(max(int((y-f.y0)/f.edge), 0), f.rows-1), min(max(int((x-f.x0)/f.edge), 0), f.cols-1)
}

// spot is an item of an index and where it is.
type spot[T any] struct {
	x, y float64
	id   string // the lower one goes first where two are as near
	item *T
}

// few is how many items an index keeps in one list before it makes buckets.
const few = 32

// index finds the items that are nearest to a point along the axes: buckets of a few vertices each, searched ring by
// ring. Adding and taking out are O(items of a bucket), a search looks at as few buckets as there are nearer ones.
type index[T any] struct {
	frame   *frame
	list    []spot[T]   // all of them, while they are few
	buckets [][]spot[T] // nil while they are few
	n       int
}

func (x *index[T]) bucket(px, py float64) *[]spot[T] {
	if x.buckets == nil {
		return &x.list
	}
	r, c := x.frame.at(px, py)
	return &x.buckets[r*x.frame.cols+c]
}

func (x *index[T]) add(s spot[T]) {
	if x.buckets == nil && x.n >= few {
		x.buckets = make([][]spot[T], x.frame.rows*x.frame.cols)
		for _, o := range x.list {
			b := x.bucket(o.x, o.y)
			*b = append(*b, o)
		}
		x.list = nil
	}
	b := x.bucket(s.x, s.y)
	*b = append(*b, s)
	x.n++
}

// each calls f with every item, in no order.
func (x *index[T]) each(f func(*T)) {
	for i := range x.list {
		f(x.list[i].item)
	}
	for _, b := range x.buckets {
		for i := range b {
			f(b[i].item)
		}
	}
}

// remove takes an item out that was added at this place.
func (x *index[T]) remove(px, py float64, item *T) {
	b := x.bucket(px, py)
	for i := range *b {
		if (*b)[i].item == item {
			last := len(*b) - 1
			(*b)[i] = (*b)[last]
			(*b)[last] = spot[T]{}
			*b = (*b)[:last]
			x.n--
			return
		}
	}
}

// found is an item and how far it is.
type found[T any] struct {
	dist float64
	id   string
	item *T
}

func nearer[T any](a, b found[T]) int {
	return cmp.Or(cmp.Compare(a.dist, b.dist), cmp.Compare(a.id, b.id))
}

// nearest adds to out, which is in order and has at most k, what is nearer than its last: the k nearest of both that ok
// lets pass.
func (x *index[T]) nearest(px, py float64, k int, ok func(*T) bool, out []found[T]) []found[T] {
	for i := range x.list {
		out = offerSpot(&x.list[i], px, py, k, ok, out)
	}
	if x.buckets == nil {
		return out
	}
	row, col := x.frame.at(px, py)
	left := x.n
	for ring := 0; left > 0 && ring < max(x.frame.rows, x.frame.cols); ring++ {
		// Nothing of this ring is nearer than what the rings inside it span.
		if len(out) == k && out[k-1].dist < float64(ring-1)*x.frame.edge {
			break
		}
		for r := row - ring; r <= row+ring; r++ {
			if r < 0 || r >= x.frame.rows {
				continue
			}
			step := 2 * ring
			if r == row-ring || r == row+ring || ring == 0 {
				step = 1
			}
			for c := col - ring; c <= col+ring; c += step {
				if c < 0 || c >= x.frame.cols {
					continue
				}
				b := x.buckets[r*x.frame.cols+c]
				left -= len(b)
				for i := range b {
					out = offerSpot(&b[i], px, py, k, ok, out)
				}
			}
		}
	}
	return out
}

func offerSpot[T any](s *spot[T], px, py float64, k int, ok func(*T) bool, out []found[T]) []found[T] {
	f := found[T]{dist: math.Abs(s.x-px) + math.Abs(s.y-py), id: s.id, item: s.item}
	if len(out) == k && nearer(f, out[k-1]) >= 0 || !ok(s.item) {
		return out
	}
	if len(out) == k {
		out = out[:k-1]
	}
	at, _ := slices.BinarySearchFunc(out, f, nearer[T])
	return slices.Insert(out, at, f)
}
