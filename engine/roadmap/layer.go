package roadmap

import (
	"math"

	"starling/engine/fleet"
)

// net is a graph as searches towards a goal walk it: the lanes into each vertex side by side, and what a straight way
// costs at least. Immutable.
type net struct {
	g     *Graph
	start []int32        // lanes into v are start[v]..start[v+1]
	from  []fleet.Vertex // where each of those comes from
	slot  []int32        // of each lane, in from
	free  []uint16       // what each of those costs by the map; shut = closed
	grid  bool
	unit  float64 // least cost per metre of straight way; of a cell along the axes, on a grid
	px    []int32 // on a grid: where the vertices are, in units
	py    []int32
	near  int // how much farther than what is asked for a search goes, so that who drives there need not ask again
}

// shut is the cost of a lane that may not be driven.
const shut uint16 = 0

func newNet(g *Graph) *net {
	n := &net{
		g: g, start: make([]int32, len(g.Vertices)+1), from: make([]fleet.Vertex, len(g.Lanes)), slot: make([]int32, len(g.Lanes)),
		free: make([]uint16, len(g.Lanes)), grid: g.Rows > 0, px: make([]int32, len(g.Vertices)), py: make([]int32, len(g.Vertices)),
	}
	for i := range g.Lanes {
		n.start[g.Lanes[i].To+1]++
	}
	for v := range g.Vertices {
		n.start[v+1] += n.start[v]
	}
	at := append([]int32(nil), n.start...)
	n.unit = math.Inf(1)
	total := 0
	for i := range g.Lanes {
		l := &g.Lanes[i]
		k := at[l.To]
		at[l.To]++
		n.from[k], n.slot[i] = l.From, k
		if n.free[k] = g.LaneCost(int32(i)); l.Closed {
			n.free[k] = shut
		}
		least := g.costAt(int32(i), 0)
		total += int(least)
		if d := n.straight(l.From, l.To); d > 0 {
			n.unit = min(n.unit, float64(least)/d)
		}
	}
	switch {
	case math.IsInf(n.unit, 1):
		n.unit = 0
	case n.grid:
		n.unit = math.Floor(n.unit)
		for v := range g.Vertices {
			n.px[v], n.py[v] = n.cell(v, int32(n.unit))
		}
	default:
		n.unit *= 1 - 1e-9 // what floating point adds to a sum must not make an estimate too great
	}
	n.near = 6 * total / max(1, len(g.Lanes))
	return n
}

// cell is where a vertex of a grid is, in cells of so many units.
func (n *net) cell(v int, units int32) (x, y int32) {
	p := &n.g.Vertices[v]
	return int32(math.Round(p.X/n.g.ResM)) * units, int32(math.Round(p.Y/n.g.ResM)) * units
}

func (n *net) straight(a, b fleet.Vertex) float64 {
	if n.grid {
		ax, ay := n.cell(int(a), 1)
		bx, by := n.cell(int(b), 1)
		return math.Abs(float64(ax-bx)) + math.Abs(float64(ay-by))
	}
	u, v := &n.g.Vertices[a], &n.g.Vertices[b]
	return math.Hypot(u.X-v.X, u.Y-v.Y)
}

// least is what the way from a to b costs at least, whatever is closed or slowed.
func (n *net) least(a, b fleet.Vertex) int {
	if n.grid {
		dx, dy := n.px[a]-n.px[b], n.py[a]-n.py[b]
		return int(max(dx, -dx) + max(dy, -dy))
	}
	return int(n.unit * n.straight(a, b))
}

// Layer is a graph with what differs from it at run time, as tables are made on it. Immutable.
type Layer struct {
	net     *net
	changes *Changes
	cost    []uint16 // by slot
	number  uint64   // grows with each layer of a graph
	steps   []step   // how it came about from earlier layers, the newest last
}

// step is what the layer with this number changed.
type step struct {
	number uint64
	lanes  []laneStep
}

type laneStep struct {
	lane     int32
	was, now uint16 // cost; shut = closed
}

// The bounds of what a layer remembers of earlier ones; tables of still earlier ones are made anew.
const (
	maxSteps     = 64
	maxStepLanes = 4096
)

// NewLayer returns the layer of g as the map has it.
func NewLayer(g *Graph) *Layer {
	n := newNet(g)
	return &Layer{net: n, cost: n.free}
}

// Number grows with every layer that follows.
func (l *Layer) Number() uint64 { return l.number }

// Changes is what differs from the map; nil = nothing.
func (l *Layer) Changes() *Changes { return l.changes }

// Lane says what a lane costs in deciseconds, and whether it is open.
func (l *Layer) Lane(lane int32) (cost uint16, open bool) {
	c := l.cost[l.net.slot[lane]]
	return c, c != shut
}

// next lays c on the graph; lanes are those whose cost may be another than in l.
func (l *Layer) next(c *Changes, lanes []int32) *Layer {
	n := &Layer{net: l.net, changes: c, cost: l.cost, number: l.number + 1, steps: l.steps}
	var steps []laneStep
	for _, lane := range lanes {
		k := n.net.slot[lane]
		now := c.cost(n.net.g, lane)
		if now == n.cost[k] {
			continue
		}
		if len(steps) == 0 {
			n.cost = append([]uint16(nil), l.cost...)
		}
		steps = append(steps, laneStep{lane, n.cost[k], now})
		n.cost[k] = now
	}
	n.steps = append(append([]step(nil), l.steps...), step{n.number, steps})
	total := 0
	for i := len(n.steps) - 1; i >= 0; i-- {
		if total += len(n.steps[i].lanes); total > maxStepLanes || len(n.steps)-i > maxSteps {
			n.steps = n.steps[i+1:]
			break
		}
	}
	return n
}
