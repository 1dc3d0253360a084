package roadmap

import (
	"math"

	"starling/engine/fleet"
)

// Searcher lets tables know more; it keeps its scratch memory between calls. Not for concurrent use.
//
// It searches backwards from the goal, first where the straight way to the vertex that is asked for is shortest (A*). The
// estimate is consistent: what has been settled is exact whatever was asked for, and the next search goes on from where
// this one ends, towards another vertex.
type Searcher struct {
	net     *net
	dist    []uint16 // Unreachable but during a search
	seen    []fleet.Vertex
	settled []fleet.Vertex
	heads   []int32 // by cost and estimate: the first entry in pool, plus one
	high    int     // the last head in use
	low     int     // the first one
	pool    []queued
	waiting int // entries in buckets
	fresh   []*page
	written []int32 // which of fresh
	aimX    int32
	aimY    int32
	aim     fleet.Vertex
}

// queued is a vertex in a bucket; next is the one behind it, plus one.
type queued struct {
	v    fleet.Vertex
	next int32
	cost uint16
}

// NewSearcher returns a searcher for tables of the graph that l lies on.
func NewSearcher(l *Layer) *Searcher {
	n := len(l.net.g.Vertices)
	s := &Searcher{net: l.net, dist: make([]uint16, n), fresh: make([]*page, pagesOf(n))}
	for i := range s.dist {
		s.dist[i] = Unreachable
	}
	return s
}

// Grow returns a table that knows what t does and what the way from a vertex costs, and says how many vertices it has
// settled for that.
func (s *Searcher) Grow(t *Table, from fleet.Vertex) (*Table, int) {
	if t.whole || t.known(from) != Unreachable {
		return t, 0
	}
	if t.cut != Unreachable || t.count == 0 {
		t = t.blank()
	}
	s.search(t, from, from)
	return s.note(t), len(s.settled)
}

// search settles vertices until it has settled the one to stop at and what is little farther, or all there are.
func (s *Searcher) search(t *Table, aim, stop fleet.Vertex) {
	n := s.net
	s.settled, s.seen, s.pool = s.settled[:0], s.seen[:0], s.pool[:0]
	s.waiting, s.low, s.high = 0, math.MaxInt, -1
	s.aim, s.aimX, s.aimY = aim, n.px[aim], n.py[aim]
	for _, f := range t.open {
		s.reach(f.vertex, int(f.cost))
	}
	cost, grown := t.layer.cost, t.count > 0
	limit := math.MaxInt
	for f := s.low; s.waiting > 0 && f <= limit; f++ {
		for s.heads[f] != 0 {
			e := s.pool[s.heads[f]-1]
			s.heads[f] = e.next
			s.waiting--
			if s.dist[e.v] != e.cost {
				continue // reached cheaper since
			}
			d := int(e.cost)
			s.settled = append(s.settled, e.v)
			if e.v == stop {
				limit = f + n.near
			}
			for k := n.start[e.v]; k < n.start[e.v+1]; k++ {
				c, u := cost[k], n.from[k]
				if to := d + int(c); c != shut && to < int(s.dist[u]) && to <= int(maxCost) && (!grown || s.dist[u] != Unreachable || t.known(u) == Unreachable) {
					s.reach(u, to)
				}
			}
		}
		s.low = f + 1
	}
}

// reach puts a vertex into its bucket.
func (s *Searcher) reach(v fleet.Vertex, cost int) {
	if s.dist[v] == Unreachable {
		s.seen = append(s.seen, v)
	}
	s.dist[v] = uint16(cost)
	f := cost + s.estimate(v)
	for f >= len(s.heads) {
		s.heads = append(s.heads, make([]int32, max(1024, len(s.heads)))...)
	}
	s.pool = append(s.pool, queued{v, s.heads[f], uint16(cost)})
	s.heads[f] = int32(len(s.pool))
	s.waiting++
	s.low, s.high = min(s.low, f), max(s.high, f)
}

// estimate is what the way to a vertex from the one that is asked for costs at least.
func (s *Searcher) estimate(v fleet.Vertex) int {
	n := s.net
	if !n.grid {
		return n.least(s.aim, v)
	}
	dx, dy := n.px[v]-s.aimX, n.py[v]-s.aimY
	return int(max(dx, -dx) + max(dy, -dy))
}

// note makes a table of what has been settled and of where the search has come to, and clears the scratch memory.
func (s *Searcher) note(t *Table) *Table {
	g := &Table{Goal: t.Goal, layer: t.layer, more: t.more, cut: Unreachable, count: t.count, pages: append([]*page(nil), t.pages...)}
	for _, v := range s.settled {
		i := v >> pageBits
		p := s.fresh[i]
		if p == nil {
			p = new(page)
			if old := g.pages[i]; old != nil {
				*p = *old
			} else {
				g.count++
				for k := range p {
					p[k] = Unreachable
				}
			}
			s.fresh[i], g.pages[i] = p, p
			s.written = append(s.written, int32(i))
		}
		p[v&pageMask] = s.dist[v]
		s.dist[v] = Unreachable
	}
	open := 0
	for _, v := range s.seen {
		if s.dist[v] != Unreachable {
			open++
		}
	}
	g.open = make([]front, 0, open)
	for _, v := range s.seen {
		if s.dist[v] != Unreachable {
			g.open = append(g.open, front{v, s.dist[v]})
			s.dist[v] = Unreachable
		}
	}
	g.whole = open == 0
	for _, i := range s.written {
		s.fresh[i] = nil
	}
	s.written = s.written[:0]
	for f := s.low; f <= s.high; f++ {
		s.heads[f] = 0
	}
	return g
}

// costs are those of the ways to goal from everywhere.
func (s *Searcher) costs(l *Layer, goal fleet.Vertex) []uint16 {
	s.search(NewTable(l, goal, nil), goal, fleet.NoVertex)
	cost := make([]uint16, len(s.dist))
	copy(cost, s.dist)
	for _, v := range s.seen {
		s.dist[v] = Unreachable
	}
	return cost
}
