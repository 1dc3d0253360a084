package dispatch

import (
	"slices"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// blocked is a lane of a way that may not be driven now.
type blocked struct{ lane int32 }

// shut says that the lane may not be driven now.
func (f *Facts) shut(lane int32) bool { return f.Laid.Closed(f.Graph, lane) }

// search spends one of the searches that an explanation may do.
func (f *Facts) search() bool {
	f.searches++
	return f.Graph != nil && f.searches <= max(fewestSearches, searchWork/max(1, len(f.Graph.Vertices)))
}

// way finds, of all ways that the map has, one over the fewest lanes that may not be driven now, and lists those; found is
// false where the map has no way at all. Breadth first, with the shut lanes last: every lane is looked at once.
func (f *Facts) way(from, to fleet.Vertex) (bs []blocked, found bool) {
	if !on(f.Graph, from) || !on(f.Graph, to) || !f.search() {
		return nil, false
	}
	g := f.Graph
	by := make([]int32, len(g.Vertices)) // the lane by which a vertex was reached, plus one
	done := make([]bool, len(g.Vertices))
	now, next := []int32{}, []int32{} // lanes to take, at this number of shut ones and at one more
	visit := func(v fleet.Vertex) {
		done[v] = true
		for _, l := range g.Out[v] {
			if done[g.Lanes[l].To] {
				continue
			}
			if f.shut(l) {
				next = append(next, l)
			} else {
				now = append(now, l)
			}
		}
	}
	visit(from)
	for !done[to] {
		if len(now) == 0 {
			if len(next) == 0 {
				return nil, false
			}
			now, next = next, nil
		}
		for i := 0; i < len(now) && !done[to]; i++ { // visit appends to now
			if v := g.Lanes[now[i]].To; !done[v] {
				by[v] = now[i] + 1
				visit(v)
			}
		}
		now = now[:0]
	}
	for v := to; v != from; {
		l := by[v] - 1
		if f.shut(l) {
			bs = append(bs, blocked{l})
		}
		v = g.Lanes[l].From
	}
	slices.Reverse(bs)
	return bs, true
}

// blocking is the lane from a to b where it may not be driven now.
func (f *Facts) blocking(a, b fleet.Vertex) []blocked {
	if !on(f.Graph, a) || !on(f.Graph, b) {
		return nil
	}
	if l, ok := f.Graph.Lane(a, b); ok && f.shut(l) {
		return []blocked{{l}}
	}
	return nil
}

// blockLinks say by what lanes are shut: each keep-out zone once, and the lanes that are closed themselves.
func (f *Facts) blockLinks(bs []blocked) []Link {
	if !f.keptKnown && f.KeptOut != nil {
		f.kept = f.KeptOut()
	}
	f.keptKnown = true
	var out []Link
	said := map[fleet.ZoneID]bool{}
	for _, b := range bs {
		ln := &f.Graph.Lanes[b.lane]
		zones := f.kept[ln.To]
		for _, z := range zones {
			if !said[z.Zone] {
				said[z.Zone] = true
				out = append(out, keepOutLink(z, f.vertex(ln.To)))
			}
		}
		if l := f.laneLink(b.lane, len(zones) > 0); l != nil {
			out = append(out, *l)
		}
		if len(out) >= maxChain/2 {
			break
		}
	}
	return out
}

func keepOutLink(z KeepOut, vertex string) Link {
	name := "The keep-out zone"
	if z.Name != "" {
		name += " " + z.Name
	}
	return Link{
		Cause: causeKeepOut, Level: LevelZone, ObjectType: "zone", ObjectID: string(z.Zone), Text: name + " covers " + vertex,
		Remedy: &Remedy{Label: "Remove the keep-out zone " + z.Name, Method: "DELETE", Path: "/api/v1/zones/" + string(z.Zone), Door: "DELETE /api/v1/zones/{zone_id}"},
	}
}

// laneLink says that a lane is closed, nil where it is not: only kept out of.
func (f *Facts) laneLink(lane int32, keptOut bool) *Link {
	ln := &f.Graph.Lanes[lane]
	l := Link{
		Cause: causeLaneClosed, Level: LevelZone, ObjectType: "lane", ObjectID: string(ln.ID),
		Text: "The lane from " + f.vertex(ln.From) + " to " + f.vertex(ln.To) + " is closed",
	}
	var c *ChangedLane
	if f.Lane != nil {
		c = f.Lane(ln.ID)
	}
	switch {
	case c != nil && !c.Closed, c == nil && keptOut:
		return nil
	case c != nil:
		l.Since = c.Since
		if c.Reason != "" {
			l.Text += ": " + c.Reason
		}
	}
	l.Remedy = &Remedy{
		Label: "Open the lane from " + f.vertex(ln.From) + " to " + f.vertex(ln.To), Method: "PATCH", Path: "/api/v1/lanes/" + string(ln.ID),
		Door: "PATCH /api/v1/lanes/{lane_id}", Body: map[string]any{"closed": false},
	}
	return &l
}

// reach calls see for every vertex to which lanes lead that may be driven, the nearest first, until it returns false.
// around is what is not gone through, nil = nothing.
func (f *Facts) reach(from fleet.Vertex, around map[fleet.Vertex]bool, see func(fleet.Vertex) bool) {
	if !on(f.Graph, from) || !f.search() {
		return
	}
	seen := make([]bool, len(f.Graph.Vertices))
	seen[from] = true
	queue := []fleet.Vertex{from}
	for i := 0; i < len(queue); i++ {
		if !see(queue[i]) {
			return
		}
		for _, l := range f.Graph.Out[queue[i]] {
			if v := f.Graph.Lanes[l].To; !seen[v] && !around[v] && !f.shut(l) {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
}

// sendAway is a remedy that sends an idle robot out of another's way, nil where there is no place for it, or it would not go.
func (f *Facts) sendAway(v, waiter *robot.View) *Remedy {
	if !atLeisure(v) || v.Connection != fleet.Online || !on(f.Graph, v.Vertex) {
		return nil
	}
	taken, stood := map[fleet.Vertex]bool{}, map[fleet.Vertex]bool{}
	for _, r := range f.all() {
		if r.ID == v.ID {
			continue
		}
		stood[r.Vertex], taken[r.Vertex], taken[r.Goal] = true, true, true
		for _, b := range slices.Concat(r.Base, r.Horizon) {
			taken[b] = true
		}
	}
	goal := v.Vertex
	if waiter != nil && on(f.Graph, waiter.Goal) {
		goal = waiter.Goal
	}
	f.trace(waiter, taken)
	to := f.spot(v.Vertex, goal, stood, taken)
	if to == fleet.NoVertex { // past the others then: they make room
		to = f.spot(v.Vertex, goal, nil, taken)
	}
	if to == fleet.NoVertex {
		return nil
	}
	return command(v, "Send "+called(v)+" away to "+f.vertex(to), "go_to", "vertex", f.vertex(to))
}

// parkingNear is how many vertices are looked at for a parking place before any other will do.
const parkingNear = 200

// spot is the nearest vertex that nobody wants and past which everybody gets to goal: a parking place where one is near.
func (f *Facts) spot(from, goal fleet.Vertex, around, taken map[fleet.Vertex]bool) fleet.Vertex {
	best, looked := fleet.NoVertex, 0
	narrow := f.narrow(goal)
	f.reach(from, around, func(at fleet.Vertex) bool {
		looked++
		if at == from || taken[at] || narrow != nil && narrow[at] {
			return true
		}
		x := &f.Graph.Vertices[at]
		if best == fleet.NoVertex && !x.Charging || x.Parking {
			best = at
		}
		return !x.Parking && (best == fleet.NoVertex || looked < parkingNear)
	})
	return best
}

// narrow says which vertices part goal from something: who stands on one of them is in the way of others. Hopcroft and
// Tarjan's articulation points, seen from goal, over lanes in either direction; nil = not known.
func (f *Facts) narrow(goal fleet.Vertex) []bool {
	if !on(f.Graph, goal) || !f.search() {
		return nil
	}
	g := f.Graph
	type visit struct {
		v, from fleet.Vertex
		next    int
	}
	parts, number, low := make([]bool, len(g.Vertices)), make([]int32, len(g.Vertices)), make([]int32, len(g.Vertices))
	count := int32(1)
	number[goal], low[goal] = count, count
	for stack := []visit{{goal, fleet.NoVertex, 0}}; len(stack) > 0; {
		top := &stack[len(stack)-1]
		v, out := top.v, g.Out[top.v]
		if top.next >= len(out)+len(g.In[v]) {
			stack = stack[:len(stack)-1]
			if p := top.from; p != fleet.NoVertex {
				low[p] = min(low[p], low[v])
				parts[p] = parts[p] || low[v] >= number[p]
			}
			continue
		}
		var u fleet.Vertex
		if n := top.next; n < len(out) {
			u = g.Lanes[out[n]].To
		} else {
			u = g.Lanes[g.In[v][n-len(out)]].From
		}
		top.next++
		switch {
		case u == top.from:
		case number[u] != 0:
			low[v] = min(low[v], number[u])
		default:
			count++
			number[u], low[u] = count, count
			stack = append(stack, visit{u, v, 0})
		}
	}
	return parts
}

// trace notes the vertices of the waiter's shortest way to its goal.
func (f *Facts) trace(waiter *robot.View, taken map[fleet.Vertex]bool) {
	if waiter == nil || !on(f.Graph, waiter.Goal) || !on(f.Graph, waiter.Vertex) || !f.search() {
		return
	}
	from := map[fleet.Vertex]fleet.Vertex{waiter.Vertex: waiter.Vertex}
	queue := []fleet.Vertex{waiter.Vertex}
	for i := 0; i < len(queue); i++ {
		for _, l := range f.Graph.Out[queue[i]] {
			v := f.Graph.Lanes[l].To
			if _, seen := from[v]; seen || f.shut(l) {
				continue
			}
			from[v] = queue[i]
			queue = append(queue, v)
			if v != waiter.Goal {
				continue
			}
			for ; v != waiter.Vertex; v = from[v] {
				taken[v] = true
			}
			return
		}
	}
}
