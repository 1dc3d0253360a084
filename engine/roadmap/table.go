package roadmap

import (
	"math"
	"time"

	"starling/engine/fleet"
)

// contraFlow makes driving against the direction of a grid's row or column dearer. Robots that meet head-on are what costs
// most throughput, the more so where each waits for the report of the one before. What other factors showed stands in
// docs/adr/0011.
const contraFlow = 4.0

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
	if g.streets != nil && g.againstFlow(l) {
		c *= contraFlow
	}
	return uint16(max(1, min(c, float64(maxCost))))
}

// Table is the cost to reach one goal, in deciseconds of free-flow travel at unit speed (10 per metre on an unlimited
// lane). It knows the cost from where robots have been and from what lies between: a search goes no farther than it is
// asked to. Immutable: what knows more is another table. Each is exact in what it knows, but for coarse ones.
type Table struct {
	Goal fleet.Vertex

	layer  *Layer // what it was made on
	pages  []*page
	count  int32   // pages that there are
	open   []front // where the search goes on
	cut    uint16  // a cost from here on may be another on this layer
	whole  bool    // what it does not know cannot be reached
	coarse bool    // it estimates what it does not know
	more   Grower
}

// Unreachable is the cost of a vertex from which the goal cannot be reached, or only by a way of more than 6,553 s, which
// closures alone can bring about on a map that was imported without errors.
const Unreachable = ^uint16(0)

// Grower keeps a table that grows.
type Grower interface {
	// Grow returns a table of the same goal and layer as t that knows the cost from a vertex.
	Grow(t *Table, from fleet.Vertex) *Table
}

// front is a vertex that the search has reached and not settled.
type front struct {
	vertex fleet.Vertex
	cost   uint16
}

const (
	pageBits = 7
	pageMask = 1<<pageBits - 1
)

// page is the cost from vertices with neighbouring numbers, Unreachable = not known.
type page [1 << pageBits]uint16

func pagesOf(vertices int) int { return (vertices + pageMask) >> pageBits }

// NewTable returns the table towards goal that knows nothing yet; more lets it know more, when somebody asks.
func NewTable(l *Layer, goal fleet.Vertex, more Grower) *Table {
	return (&Table{Goal: goal, layer: l, more: more}).blank()
}

// blank is t without what it knows.
func (t *Table) blank() *Table {
	return &Table{
		Goal: t.Goal, layer: t.layer, more: t.more, cut: Unreachable, open: []front{{t.Goal, 0}},
		pages: make([]*page, pagesOf(len(t.layer.net.g.Vertices))),
	}
}

// known is the cost from v where t knows it.
func (t *Table) known(v fleet.Vertex) uint16 {
	if p := t.pages[v>>pageBits]; p != nil {
		if c := p[v&pageMask]; c < t.cut {
			return c
		}
	}
	return Unreachable
}

// Known is the cost from v; ok is false where t does not know it, and would have to search.
func (t *Table) Known(v fleet.Vertex) (cost uint16, ok bool) {
	c := t.known(v)
	return c, c != Unreachable || t.whole
}

// To is the cost of the way from v, Unreachable where there is none. Where t does not know it, it searches: up to some
// milliseconds on a large map.
func (t *Table) To(v fleet.Vertex) uint16 {
	if c := t.known(v); c != Unreachable || t.whole {
		return c
	}
	if t.coarse {
		return uint16(min(t.layer.net.least(v, t.Goal), int(maxCost)))
	}
	return t.more.Grow(t, v).known(v)
}

// Keeper is what lets t grow.
func (t *Table) Keeper() Grower { return t.more }

// Same says that t and o are of the same goal and layer: what one knows holds for the other.
func (t *Table) Same(o *Table) bool { return t.Goal == o.Goal && t.layer == o.layer }

// Coarse says that costs are estimates, of the straight way: there was no time for a search yet.
func (t *Table) Coarse() bool { return t.coarse }

// Around says that t knows the cost from v and from where lanes lead from there.
func (t *Table) Around(v fleet.Vertex) bool {
	if t.coarse || v == fleet.NoVertex {
		return false
	}
	return t.whole || t.missing(v) == fleet.NoVertex
}

// missing is a vertex among v and those next to it whose cost t does not know, NoVertex = none.
func (t *Table) missing(v fleet.Vertex) fleet.Vertex {
	if t.whole {
		return fleet.NoVertex
	}
	if t.known(v) == Unreachable {
		return v
	}
	g := t.layer.net.g
	for _, l := range g.Out[v] {
		if w := g.Lanes[l].To; t.known(w) == Unreachable {
			if _, open := t.layer.Lane(l); open {
				return w
			}
		}
	}
	return fleet.NoVertex
}

// GrowAround is Grow for v and where lanes lead from there.
func (s *Searcher) GrowAround(t *Table, v fleet.Vertex) (grown *Table, settled int) {
	for m := t.missing(v); m != fleet.NoVertex; m = t.missing(v) {
		var n int
		t, n = s.Grow(t, m)
		settled += n
	}
	return t, settled
}

// Guess is a table by which a robot at v may drive until there is time for a search: what was known before something
// changed where that is known around it, else the straight way.
func (t *Table) Guess(v fleet.Vertex) *Table {
	g := &Table{Goal: t.Goal, layer: t.layer, more: t.more, cut: Unreachable, coarse: true, pages: t.pages}
	if v == fleet.NoVertex || g.missing(v) != fleet.NoVertex {
		g.pages = make([]*page, len(t.pages))
	}
	return g
}

// Bytes is about how much memory t takes.
func (t *Table) Bytes() int64 {
	return int64(t.count)<<(pageBits+1) + 8*int64(len(t.pages)+len(t.open)) + 160
}

// Lane says what a lane of g costs in deciseconds, and whether it is open, as they were when t was made.
func (t *Table) Lane(g *Graph, lane int32) (cost uint16, open bool) {
	if cost, open = t.layer.Lane(lane); open {
		return cost, true
	}
	return g.costAt(lane, t.layer.changes.Speed(g, lane)), false
}

// Route follows t from a vertex to its goal, both included, over the lanes that were open when t was made; nil where there
// is no way. At most limit vertices. Each vertex is nearer to the goal than the one before, over the cheapest lane there is.
func (g *Graph) Route(t *Table, from fleet.Vertex, limit int) []fleet.Vertex {
	if t.To(from) == Unreachable {
		return nil
	}
	route := []fleet.Vertex{from}
	for v := from; v != t.Goal && len(route) < limit; {
		best, to, here := math.MaxInt, fleet.NoVertex, t.To(v)
		for _, l := range g.Out[v] {
			w := g.Lanes[l].To
			cost, open := t.Lane(g, l)
			if !open || t.To(w) >= here {
				continue
			}
			if c := int(t.To(w)) + int(cost); c < best {
				best, to = c, w
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

// SearchRate is how many vertices the searches of a warehouse may settle each second of its time, some 200 ms of CPU
// time. What robots want to know beyond that waits: they drive by guess meanwhile.
const SearchRate = 8_000_000

// Allowance is what may be searched. The zero value allows a second's worth at first.
type Allowance struct {
	at    time.Time
	spent int // of a second's worth
}

// Refill gives what has come together since the last time, at most a second's worth.
func (a *Allowance) Refill(now time.Time) {
	if d := now.Sub(a.at); d > 0 {
		a.at = now
		a.spent = max(0, a.spent-int(min(d.Seconds(), 2)*SearchRate))
	}
}

// Left says that there is some.
func (a *Allowance) Left() bool { return a.spent < SearchRate }

// Spend takes some, at most a second's worth in advance.
func (a *Allowance) Spend(vertices int) { a.spent = min(a.spent+vertices, 2*SearchRate) }
