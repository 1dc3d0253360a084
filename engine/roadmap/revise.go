package roadmap

import (
	"slices"

	"starling/engine/fleet"
)

// On is what t knows that still holds on layer l, a later one of the same graph. It looks at what has changed alone: a
// table is kept where no way that it knows leads over a lane that is dearer now, and none would be cheaper; else what is
// nearer to the goal than the nearest such lane is kept.
func (t *Table) On(l *Layer) *Table {
	if t.layer == l {
		return t
	}
	n := &Table{Goal: t.Goal, layer: l, more: t.more, pages: t.pages, count: t.count, open: t.open, cut: t.cut, whole: t.whole}
	if l.number == t.layer.number {
		return n
	}
	if t.count == 0 {
		return n
	}
	first := slices.IndexFunc(l.steps, func(s step) bool { return s.number == t.layer.number+1 })
	if first < 0 {
		return n.blank()
	}
	var stale []fleet.Vertex // of open
	known := *n              // what is cut by one change counts for the others
	for _, c := range over(l.steps[first:]) {
		cut, behind := known.touched(c)
		if n.cut = min(n.cut, cut); behind != fleet.NoVertex {
			stale = append(stale, behind)
		}
	}
	switch {
	case n.cut != Unreachable:
		n.open, n.whole = nil, false
	case len(stale) > 0:
		n.reopen(stale)
	}
	return n
}

// over lists what several steps have changed all together, lane by lane.
func over(steps []step) []laneStep {
	if len(steps) == 1 {
		return steps[0].lanes
	}
	var all []laneStep
	at := map[int32]int{}
	for _, s := range steps {
		for _, c := range s.lanes {
			if i, known := at[c.lane]; known {
				all[i].now = c.now
				continue
			}
			at[c.lane] = len(all)
			all = append(all, c)
		}
	}
	return slices.DeleteFunc(all, func(c laneStep) bool { return c.was == c.now })
}

// touched says from which cost on what the table knows may be wrong where a lane has changed so, and which vertex the
// search has reached over it and not settled.
func (t *Table) touched(c laneStep) (cut uint16, behind fleet.Vertex) {
	net := t.layer.net
	ln := &net.g.Lanes[c.lane]
	a, b := t.known(ln.From), t.known(ln.To)
	was, now := int(c.was), int(c.now)
	if c.now == shut || c.was != shut && now > was {
		switch {
		case b == Unreachable || c.was == shut:
			return Unreachable, fleet.NoVertex
		case a == Unreachable:
			return Unreachable, ln.From
		case int(a) < int(b)+was || t.otherWay(ln.From, a):
			return Unreachable, fleet.NoVertex
		}
		return a, fleet.NoVertex
	}
	if b != Unreachable {
		if to := int(b) + now; a == Unreachable || to < int(a) {
			return uint16(min(to, int(Unreachable))), fleet.NoVertex
		}
		return Unreachable, fleet.NoVertex
	}
	// What is not settled is so far off that by way of it nothing comes nearer: the estimate holds whatever a lane costs.
	return Unreachable, fleet.NoVertex
}

// otherWay says that a lane out of v, as lanes are now, leads on a way of cost c.
func (t *Table) otherWay(v fleet.Vertex, c uint16) bool {
	g := t.layer.net.g
	for _, l := range g.Out[v] {
		cost, open := t.layer.Lane(l)
		if b := t.known(g.Lanes[l].To); open && b != Unreachable && int(b)+int(cost) == int(c) {
			return true
		}
	}
	return false
}

// reopen computes again how far vertices are to which the search has come over lanes that have changed.
func (t *Table) reopen(stale []fleet.Vertex) {
	g := t.layer.net.g
	again := map[fleet.Vertex]bool{}
	for _, v := range stale {
		again[v] = true
	}
	open := make([]front, 0, len(t.open))
	for _, f := range t.open {
		if again[f.vertex] {
			best := int(Unreachable)
			for _, l := range g.Out[f.vertex] {
				cost, on := t.layer.Lane(l)
				if b := t.known(g.Lanes[l].To); on && b != Unreachable {
					best = min(best, int(b)+int(cost))
				}
			}
			if best > int(maxCost) {
				continue
			}
			f.cost = uint16(best)
		}
		open = append(open, f)
	}
	t.open = open
	t.whole = len(open) == 0
}
