package roadmap

import "starling/engine/fleet"

// checkExtent finds maps so wide that travel tables cannot hold what ways across them cost. No way costs more than the one
// by way of some vertex m; as m it tries ever more central ones, so that few maps are refused that would just fit.
func (d *Draft) checkExtent(home int, r *notes) {
	const tries = 8 // the middle of a grid takes five
	there := d.costs()
	back := there.reversed() // its tables hold the cost from a vertex
	worst := make([]uint16, len(d.Vertices))
	far := fleet.Vertex(home)
	for m, try := far, 0; try < tries; try++ {
		in, out := there.Build(m, nil), back.Build(m, nil)
		if !there.whole(in) || !back.whole(out) {
			break
		}
		if longest(in.Cost, out.Cost) <= int(maxCost) {
			return
		}
		far = farthest(in.Cost, out.Cost)
		in, out = there.Build(far, nil), back.Build(far, nil)
		if !there.whole(in) || !back.whole(out) {
			break
		}
		m = far
		for v := range worst {
			if i, o := in.Cost[v], out.Cost[v]; i != Unreachable && o != Unreachable {
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

// costs returns a builder of tables over the draft as it is.
func (d *Draft) costs() *TableBuilder {
	n := len(d.Vertices)
	g := &Graph{Vertices: d.Vertices, Lanes: d.Lanes, Rows: d.Rows, ResM: d.ResM, Out: make([][]int32, n), In: make([][]int32, n)}
	for i := range g.Lanes {
		l := &g.Lanes[i]
		g.Out[l.From], g.In[l.To] = append(g.Out[l.From], int32(i)), append(g.In[l.To], int32(i))
	}
	return NewTableBuilder(g)
}

// reversed returns a builder whose tables hold the cost from a vertex instead of towards it.
func (b *TableBuilder) reversed() *TableBuilder {
	g := *b.g
	g.Out, g.In = g.In, g.Out
	g.Lanes = make([]Lane, len(b.g.Lanes))
	for i, l := range b.g.Lanes {
		l.From, l.To = l.To, l.From
		g.Lanes[i] = l
	}
	return &TableBuilder{g: &g, cost: b.cost, buckets: make([][]fleet.Vertex, len(b.buckets))}
}

// whole says that the table lacks no vertex because it is too far.
func (b *TableBuilder) whole(t *Table) bool {
	for i := range b.g.Lanes {
		if l := &b.g.Lanes[i]; !l.Closed && t.Cost[l.To] != Unreachable && t.Cost[l.From] == Unreachable {
			return false
		}
	}
	return true
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
