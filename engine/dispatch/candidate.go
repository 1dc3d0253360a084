package dispatch

import (
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// ground is what robots drive on.
type ground struct {
	graph  *roadmap.Graph
	tables roadmap.Tables
	parts  []int32 // between vertices of different parts there is no way
	strong []int32 // between any two vertices of the same number there is a way
}

// cached says whether the table is there already, where the tables can tell.
func (g *ground) cached(goal fleet.Vertex) bool {
	c, ok := g.tables.(interface{ Cached(goal fleet.Vertex) bool })
	return ok && c.Cached(goal)
}

// sure says that there is a way, without asking a table.
func (g *ground) sure(from, to fleet.Vertex) bool { return g.strong[from] == g.strong[to] }

// parts numbers the parts of a map between which no lane leads, vertex by vertex. A way may be missing within a part
// too, where lanes lead one way or are closed: strong says where none is, tables where one is.
func parts(g *roadmap.Graph) []int32 {
	if g == nil {
		return nil
	}
	part := make([]int32, len(g.Vertices))
	for i := range part {
		part[i] = int32(i)
	}
	root := func(v int32) int32 {
		for part[v] != v {
			part[v] = part[part[v]]
			v = part[v]
		}
		return v
	}
	for i := range g.Lanes {
		part[root(int32(g.Lanes[i].From))] = root(int32(g.Lanes[i].To))
	}
	for i := range part {
		part[i] = root(int32(i))
	}
	return part
}

// strong numbers the strongly connected parts of a map over the lanes that are open (Tarjan 1972, without recursion).
func strong(g *roadmap.Graph, closed func(lane int32) bool) []int32 {
	if g == nil {
		return nil
	}
	n := len(g.Vertices)
	t := tarjan{order: make([]int32, n), low: make([]int32, n), part: make([]int32, n)}
	for v := range t.part {
		t.part[v] = -1
	}
	for v := range n {
		if t.order[v] == 0 {
			t.visit(g, int32(v), closed)
		}
	}
	return t.part
}

type tarjan struct {
	order, low, part []int32 // order 0 = not seen
	next, parts      int32
	stack            []int32
	walk             []step
}

// step is a vertex under way and how many of its lanes have been looked at.
type step struct{ v, lane int32 }

func (t *tarjan) enter(v int32) {
	t.next++
	t.order[v], t.low[v] = t.next, t.next
	t.stack = append(t.stack, v)
	t.walk = append(t.walk, step{v, 0})
}

func (t *tarjan) visit(g *roadmap.Graph, from int32, closed func(lane int32) bool) {
	t.enter(from)
	for len(t.walk) > 0 {
		at := &t.walk[len(t.walk)-1]
		v := at.v
		if lanes := g.Out[v]; int(at.lane) < len(lanes) {
			l := lanes[at.lane]
			at.lane++
			w := int32(g.Lanes[l].To)
			switch {
			case closed(l):
			case t.order[w] == 0:
				t.enter(w)
			case t.part[w] < 0:
				t.low[v] = min(t.low[v], t.order[w])
			}
			continue
		}
		t.walk = t.walk[:len(t.walk)-1]
		if len(t.walk) > 0 {
			p := t.walk[len(t.walk)-1].v
			t.low[p] = min(t.low[p], t.low[v])
		}
		if t.low[v] == t.order[v] {
			t.leave(v)
		}
	}
}

// leave ends the part whose first vertex is v.
func (t *tarjan) leave(v int32) {
	for {
		last := len(t.stack) - 1
		w := t.stack[last]
		t.stack = t.stack[:last]
		t.part[w] = t.parts
		if w == v {
			t.parts++
			return
		}
	}
}
