package roadmap

import "starling/engine/fleet"

// checkExtent finds maps so wide that travel tables cannot hold what ways across them cost. No way costs more than the one
// by way of some vertex m; as m it tries ever more central ones, so that few maps are refused that would just fit.
func (d *Draft) checkExtent(home int, r *notes) {
	const tries = 8 // the middle of a grid takes five
	there := newBearing(d.graph())
	back := there.reversed() // its costs are those from a vertex
	worst := make([]uint16, len(d.Vertices))
	far := fleet.Vertex(home)
	for m, try := far, 0; try < tries; try++ {
		in, out := there.costs(m), back.costs(m)
		if !there.whole(in) || !back.whole(out) {
			break
		}
		if longest(in, out) <= int(maxCost) {
			return
		}
		far = farthest(in, out)
		in, out = there.costs(far), back.costs(far)
		if !there.whole(in) || !back.whole(out) {
			break
		}
		m = far
		for v := range worst {
			if i, o := in[v], out[v]; i != Unreachable && o != Unreachable {
				worst[v] = max(worst[v], i, o)
				if worst[v] < worst[m] {
					m = fleet.Vertex(v)
				}
			}
		}
	}
	r.fail(CodeTooFar, []string{d.Vertices[far].ID}, nil,
		"ways from or to the vertex may take more than the %d s of free-flow travel that a travel table holds", int(maxCost)/10)
}

// bearing finds what all the ways to a vertex cost.
type bearing struct {
	layer  *Layer
	search *Searcher
}

func newBearing(g *Graph) bearing {
	l := NewLayer(g)
	return bearing{l, NewSearcher(l)}
}

func (b bearing) costs(goal fleet.Vertex) []uint16 { return b.search.costs(b.layer, goal) }

// whole says that the costs lack no vertex because it is too far.
func (b bearing) whole(cost []uint16) bool {
	lanes := b.layer.net.g.Lanes
	for i := range lanes {
		if l := &lanes[i]; !l.Closed && cost[l.To] != Unreachable && cost[l.From] == Unreachable {
			return false
		}
	}
	return true
}

// graph is the draft as it is, as far as searches need it.
func (d *Draft) graph() *Graph {
	g := &Graph{Vertices: d.Vertices, Lanes: d.Lanes, Rows: d.Rows, ResM: d.ResM}
	g.LayStreets()
	return g
}

// reversed is g with every lane the other way round, at what it costs in g.
func (b bearing) reversed() bearing {
	g := *b.layer.net.g
	g.Lanes = make([]Lane, len(b.layer.net.g.Lanes))
	for i, l := range b.layer.net.g.Lanes {
		l.From, l.To = l.To, l.From
		g.Lanes[i] = l
	}
	r := newBearing(&g)
	for i := range g.Lanes {
		r.layer.cost[r.layer.net.slot[i]] = b.layer.cost[b.layer.net.slot[i]]
	}
	return r
}

// farthest is the vertex with the greatest cost in or out.
func farthest(in, out []uint16) fleet.Vertex {
	far, most := 0, uint16(0)
	for v := range in {
		for _, c := range [2]uint16{in[v], out[v]} {
			if c != Unreachable && c > most {
				far, most = v, c
			}
		}
	}
	return fleet.Vertex(far)
}

// longest is the greatest sum of a cost in and a cost out of two different vertices.
func longest(in, out []uint16) int {
	var first [2]int // the farthest: its cost and its vertex
	second, most := 0, 0
	for v, c := range out {
		switch c := int(c); {
		case c == int(Unreachable):
		case c >= first[0]:
			second, first = first[0], [2]int{c, v}
		default:
			second = max(second, c)
		}
	}
	for v, c := range in {
		if c == Unreachable {
			continue
		}
		if v == first[1] {
			most = max(most, int(c)+second)
		} else {
			most = max(most, int(c)+first[0])
		}
	}
	return most
}
