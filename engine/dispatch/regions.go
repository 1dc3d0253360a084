package dispatch

import (
	"container/heap"
	"math"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// regions are the zones of a floor as a small graph, each parted where it does not hang together, with the ways between them
// as they are open now: they say roughly which zones a way of many vertices leads through, at the cost of a few steps.
// Bound: a few nodes for each zone, and a row of next hops for each that somebody goes to.
type regions struct {
	of   []int32 // by vertex
	zone []int32 // by node: number of the zone
	x, y []float64
	out  [][]int32
	in   [][]int32
	next map[int32][]int32 // by goal's node: the next node on the way there from each, -1 = none
}

// newRegions parts the floor; shut says which lanes nobody drives.
func newRegions(g *roadmap.Graph, shut func(lane int32) bool) *regions {
	r := &regions{of: make([]int32, len(g.Vertices)), next: map[int32][]int32{}}
	for v := range r.of {
		r.of[v] = -1
	}
	var stack []fleet.Vertex
	for v := range g.Vertices {
		if r.of[v] >= 0 {
			continue
		}
		n, z := int32(len(r.zone)), g.ZoneOf[v]
		var x, y, count float64
		stack = append(stack[:0], fleet.Vertex(v))
		r.of[v] = n
		for len(stack) > 0 {
			u := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			x, y, count = x+g.Vertices[u].X, y+g.Vertices[u].Y, count+1
			for _, l := range g.Out[u] {
				if to := g.Lanes[l].To; r.of[to] < 0 && g.ZoneOf[to] == z && !shut(l) {
					r.of[to] = n
					stack = append(stack, to)
				}
			}
		}
		r.zone, r.x, r.y = append(r.zone, z), append(r.x, x/count), append(r.y, y/count)
	}
	r.out, r.in = make([][]int32, len(r.zone)), make([][]int32, len(r.zone))
	joined := map[[2]int32]bool{}
	for l := range g.Lanes {
		ln := &g.Lanes[l]
		k := [2]int32{r.of[ln.From], r.of[ln.To]}
		if k[0] == k[1] || joined[k] || shut(int32(l)) {
			continue
		}
		joined[k] = true
		r.out[k[0]], r.in[k[1]] = append(r.out[k[0]], k[1]), append(r.in[k[1]], k[0])
	}
	return r
}

// through calls see with the zone of each region on the way from a vertex to another, both ends' included.
func (r *regions) through(from, to fleet.Vertex, see func(zone int32)) {
	at, goal := r.of[from], r.of[to]
	see(r.zone[at])
	if at == goal {
		return
	}
	next := r.towards(goal)
	for at != goal && next[at] >= 0 {
		at = next[at]
		see(r.zone[at])
	}
}

// towards is the row of next hops to a node.
func (r *regions) towards(goal int32) []int32 {
	if n, ok := r.next[goal]; ok {
		return n
	}
	next, cost := make([]int32, len(r.zone)), make([]uint32, len(r.zone))
	for i := range next {
		next[i], cost[i] = -1, farAway
	}
	cost[goal] = 0
	q := frontier{reached{0, fleet.Vertex(goal)}}
	for len(q) > 0 {
		at := heap.Pop(&q).(reached) //nolint:forcetypeassert // the heap holds nothing else
		if at.cost > cost[at.vertex] {
			continue
		}
		for _, u := range r.in[at.vertex] {
			c := at.cost + uint32(10*(math.Abs(r.x[u]-r.x[at.vertex])+math.Abs(r.y[u]-r.y[at.vertex]))) + 1
			if c < cost[u] {
				cost[u], next[u] = c, int32(at.vertex)
				heap.Push(&q, reached{c, fleet.Vertex(u)})
			}
		}
	}
	r.next[goal] = next
	return next
}
