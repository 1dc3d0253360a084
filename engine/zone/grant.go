package zone

import (
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// mayGrant says that the engine owns the zone right now.
func (s *State) mayGrant(now time.Time) bool {
	return now.Before(s.leaseUntil) && !now.Before(s.noGrantUntil)
}

// vacant says that a robot may be let into our vertex l: nobody stands there or, in lock-step, who stands there
// leaves in this very step.
func (s *State) vacant(l int32) bool {
	o := s.occ[l]
	return o == none || s.rules.Lockstep && s.guests[o].departing && s.displaced == 0
}

// tryGrant turns the claim on l into a grant where nothing stands in the way any more.
func (s *State) tryGrant(now time.Time, l int32, out []Effect) []Effect {
	c := s.claim[l]
	if c == none || s.granted[l] || !s.vacant(l) || !s.enterable(l) {
		return out
	}
	g := &s.guests[c]
	if lane, ok := s.g.Lane(g.tail(), s.global(l)); !ok || s.laneClosed(lane) {
		return s.cancel(now, l, fleet.CauseClosed, "", out) // it has left the place from which it claimed this
	}
	if cause, holder := s.room(c, l); cause != fleet.CauseNone {
		g.blame(s.global(l), cause, holder)
		return out
	}
	if g.entry != entryRecorded {
		g.blame(s.global(l), fleet.CauseRecording, "")
		return out
	}
	if !s.mayGrant(now) {
		g.blame(s.global(l), fleet.CauseNoLease, "")
		return out
	}
	return s.grant(now, c, l, out)
}

// grant leases our vertex l to guest c, which has claimed it.
func (s *State) grant(now time.Time, c, l int32, out []Effect) []Effect {
	g := &s.guests[c]
	v, after := s.global(l), g.tail()
	s.granted[l] = true
	g.hinted = fleet.NoVertex
	g.next, g.wait = fleet.NoVertex, fleet.Wait{}
	g.expires = now.Add(s.rules.LeaseTTL)
	g.base = append(slices.Clone(g.base), v)
	f := g.foreign
	if f.neighbour != none {
		g.foreign = foreignClaim{neighbour: none, local: none}
		out = s.answer(f.neighbour, f.number, g.id, v, ClaimGranted, fleet.CauseNone, "", out)
	}
	out = s.send(now, g, after, []fleet.Vertex{v}, out)
	if f.neighbour == none {
		out = s.depart(now, c, out)
	}
	return out
}

// send gives the robot vertices that it has been granted, with what it may expect beyond.
func (s *State) send(now time.Time, g *guest, after fleet.Vertex, vs []fleet.Vertex, out []Effect) []Effect {
	g.sent, g.ahead = g.version, s.horizon(g, vs[len(vs)-1])
	return append(out, SendGrant{Grant: fleet.Grant{
		Robot: g.id, Zone: s.id, After: after, Vertices: vs, Horizon: g.ahead,
		NotAfter: now.Add(s.rules.LeaseTTL), Incarnation: s.inc, Epoch: s.epoch, Version: g.version, Trace: g.req.Trace,
	}})
}

// hint tells a robot that waits where it will go next, so that it can turn meanwhile.
func (s *State) hint(g *guest, out []Effect) []Effect {
	v := g.next
	if v == fleet.NoVertex && !g.pending.withdraw {
		v = g.pending.vertex
	}
	if v == g.hinted || len(g.base) > 0 || v == fleet.NoVertex || g.foreign.neighbour != none || s.faces(g, v) {
		return out
	}
	g.hinted = v
	return append(out, SendGrant{Grant: fleet.Grant{
		Robot: g.id, Zone: s.id, After: g.at, Horizon: append([]fleet.Vertex{v}, s.horizon(g, v)...),
		Incarnation: s.inc, Epoch: s.epoch, Version: g.version, Trace: g.req.Trace,
	}})
}

// horizonLength is how many vertices beyond its grants a robot is told to expect.
const horizonLength = 3

// horizon follows the table from v on.
func (s *State) horizon(g *guest, v fleet.Vertex) []fleet.Vertex {
	t := s.tableOf(g)
	if t == nil {
		return nil
	}
	c := &g.course
	if c.table != t || c.shuts != s.shuts || !c.goOn(v) {
		*c = course{table: t, shuts: s.shuts, exact: !t.Coarse(), from: v, cost: t.To(v)}
	}
	for c.n < horizonLength {
		last, here := c.last()
		n, cost := s.descendFrom(t, g, last, here)
		if n == fleet.NoVertex {
			break
		}
		c.ahead[c.n], c.costs[c.n] = n, cost
		c.n++
	}
	if c.n == 0 {
		return nil
	}
	return slices.Clone(c.ahead[:c.n])
}

// descend is the neighbour of v over which the goal of t is nearest, itself nearer to it than v; NoVertex at the goal and where there is no way.
func (s *State) descend(t *roadmap.Table, g *guest, v fleet.Vertex) fleet.Vertex {
	to, _ := s.descendFrom(t, g, v, t.To(v))
	return to
}

// descendFrom is descend where the cost of v is known already; it gives that of the neighbour too.
func (s *State) descendFrom(t *roadmap.Table, g *guest, v fleet.Vertex, here uint16) (to fleet.Vertex, left uint16) {
	best, to := ^uint32(0), fleet.NoVertex
	for _, lane := range s.g.Out[v] {
		ln := &s.g.Lanes[lane]
		next := t.To(ln.To)
		if next >= here || s.laneClosed(lane) || !s.allowed(g, ln.To) {
			continue
		}
		cost, open := t.Lane(s.g, lane)
		if c := uint32(next) + uint32(cost); open && c < best {
			best, to, left = c, ln.To, next
		}
	}
	return to, left
}

// regrant sends again what we have granted to the robot and it, by its own request, may not know, and refreshes the
// lease of the rest. What other zones have granted is theirs to repeat: we cannot know whether it still stands.
func (s *State) regrant(now time.Time, i int32, out []Effect) []Effect {
	g := &s.guests[i]
	if len(g.base) == 0 || !s.mayGrant(now) || g.req.Control != fleet.ControlEngine || g.entry != entryRecorded || g.req.Halted {
		return out // who cannot drive gets no longer leases: what it holds becomes suspect
	}
	g.expires = now.Add(s.rules.LeaseTTL)
	after := g.at
	for k := 0; k < len(g.base); k++ {
		from := k
		for k < len(g.base) && s.granting(i, g.base[k]) {
			k++
		}
		if k > from {
			out = s.send(now, g, after, slices.Clone(g.base[from:k]), out)
		}
		if k < len(g.base) {
			after = g.base[k]
		}
	}
	return out
}

// granting says that our vertex v is granted to guest i.
func (s *State) granting(i int32, v fleet.Vertex) bool {
	l := s.ours(v)
	return l != none && s.claim[l] == i && s.granted[l]
}

// extend leases more of the way to a robot on the road, up to its window, over vertices that are free, unclaimed
// and strictly nearer to its goal. Never part of a push, and not between a tick and its plan: then nobody has a claim, and
// who has just been pushed aside would take back the vertex that another waits for.
func (s *State) extend(now time.Time, i int32, out []Effect) []Effect {
	g := &s.guests[i]
	if s.rules.Lockstep || !s.planned || !g.movable() || g.leaving() && len(g.base) == 0 || !s.mayGrant(now) || g.entry != entryRecorded {
		return out
	}
	for len(g.base) < min(max(g.req.Window, 1), s.rules.WindowMax) {
		tail := g.tail()
		t := s.tableOf(g)
		if t == nil || s.ours(tail) == none || tail == g.req.Goal || g.pending.vertex != fleet.NoVertex {
			return out
		}
		v := s.descend(t, g, tail)
		if v == fleet.NoVertex || slices.Contains(g.base, v) || v == g.at {
			return out
		}
		l := s.ours(v)
		if l == none {
			if len(g.base) > 0 {
				s.claimForeign(i, v, s.priorityOf(now, g))
			}
			return out
		}
		if s.occ[l] != none || s.claim[l] != none || !s.enterable(l) {
			return out
		}
		if cause, _ := s.room(i, l); cause != fleet.CauseNone {
			return out
		}
		if _, wished := s.wishedBy(l, s.priorityOf(now, g), g.id); wished {
			return out
		}
		s.claim[l] = i
		out = s.grant(now, i, l, out)
	}
	return out
}

// depart marks, in lock-step, that guest i leaves its vertex in this step: it is granted the next one and faces it.
// Whoever waits for its vertex may enter in the same step.
func (s *State) depart(now time.Time, i int32, out []Effect) []Effect {
	g := &s.guests[i]
	here := s.ours(g.at)
	if !s.rules.Lockstep || here == none || len(g.base) == 0 || g.departing || !s.faces(g, g.base[0]) {
		return out
	}
	g.departing = true
	return s.tryGrant(now, here, out)
}

func (s *State) faces(g *guest, v fleet.Vertex) bool {
	lane, ok := s.g.Lane(g.at, v)
	return ok && turns(g.heading, s.g.Lanes[lane].HeadingRad) == 0
}

// grantAll ends a round: departures first, then every claim whose vertex is vacant, closed rotations in lock-step,
// and longer leases for those on the road.
func (s *State) grantAll(now time.Time, out []Effect) []Effect {
	for i := range s.guests {
		if s.guests[i].used {
			out = s.depart(now, int32(i), out)
		}
	}
	for l := range s.claim {
		out = s.tryGrant(now, int32(l), out)
	}
	for i := range s.guests {
		if !s.guests[i].used {
			continue
		}
		if s.rules.Lockstep {
			out = s.rotate(now, int32(i), out)
		} else if len(s.guests[i].base) > 0 {
			out = s.extend(now, int32(i), out)
		}
	}
	return out
}

// rotate grants a closed ring of claims at once, where all robots of the ring stand here and face their next vertex.
func (s *State) rotate(now time.Time, i int32, out []Effect) []Effect {
	if !s.mayGrant(now) || s.anyWide { // whoever turns in a ring passes the others closely
		return out
	}
	for n, j := 0, i; ; n++ {
		g := &s.guests[j]
		l := s.ours(g.next)
		if l == none || len(g.base) > 0 || g.entry != entryRecorded || !s.faces(g, g.next) || s.occ[l] == none || n > len(s.guests) {
			return out
		}
		if j = s.occ[l]; j == i {
			break
		}
	}
	ring := []int32{i}
	for j := s.occ[s.ours(s.guests[i].next)]; j != i; j = s.occ[s.ours(s.guests[j].next)] {
		ring = append(ring, j)
	}
	if len(ring) < 3 {
		return out // two would change places
	}
	for _, j := range ring {
		s.guests[j].departing = true
	}
	for _, j := range ring {
		out = s.grant(now, j, s.ours(s.guests[j].next), out)
	}
	return out
}
