package zone

import (
	"cmp"
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// silentTicks is after how many ticks without a token a neighbour is not waited for, and not entered, any more.
const silentTicks = 3

// claimTicks is for how many ticks a claim on a neighbour's vertex may stand ungranted before it is withdrawn, so
// that a ring of claims over several zones dissolves. On the road a tick is a fraction of a move.
func (s *State) claimTicks() uint64 {
	if s.rules.Lockstep {
		return 1
	}
	return 4
}

// Costs are in deciseconds of free-flow travel, as in roadmap.Table.
const (
	quarterTurnCost = 3
	evictCost       = 100_000
	aheadCost       = 400 // for who has nowhere to go: to go ahead of who pushes, instead of out of its way
	waitCost        = 15  // to stay comes after every move that leads nearer (two quarter turns cost 12), before every other
)

// ticked opens a round. Where the round before still waits for a neighbour, it is decided now without.
func (s *State) ticked(now time.Time, m Ticked, out []Effect) []Effect {
	if m.Tick <= s.tick {
		return out
	}
	if !s.planned && s.tick > 0 {
		out = s.plan(now, out)
	}
	s.tick, s.planned, s.leaseUntil = m.Tick, false, m.LeaseUntil
	s.tables.Refill(now)
	if c := s.tables.Changes(); c != s.changes {
		s.changes = c
		s.forgetTables()
		s.relaid = true
	}
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used {
			continue
		}
		g.departing = false
		if g.next != fleet.NoVertex {
			if l := s.ours(g.next); l != none && s.claim[l] == int32(i) && !s.granted[l] {
				s.claim[l] = none
			}
			g.next = fleet.NoVertex
		}
		if m.Tick%4 == 0 {
			if g.expected || s.doubtful(now, g) {
				out = append(out, CallRoll{Robot: g.id, Epoch: s.epoch})
			}
			g.wanted = false
		}
		if g.entry == entryNone && !g.expected && g.req.Control == fleet.ControlEngine && g.foreign.neighbour == none {
			out = s.recordEntry(now, g, out)
		}
		if now.Before(g.yieldUntil) && now.Sub(g.yielded) > yieldIdle && now.Sub(g.pushed) > yieldIdle {
			g.yieldUntil = time.Time{}
		}
		if p := &g.pending; p.vertex != fleet.NoVertex && s.tick-p.tick > s.claimTicks() {
			p.withdraw = true
		}
	}
	s.meter(now)
	out = s.openDomain(now, out)
	return s.planIfReady(now, out)
}

// doubtAfter is for how long a robot that is in somebody's way may be silent before it is asked what it holds: a
// grant or its report may have got lost, or it may have gone elsewhere by the grants of others. Who claims from beyond the
// border is spoken for by its own zone, with every tick.
const doubtAfter = 3 * time.Second

// longSilence is for how long a robot that nobody can move may be silent before it is asked whether it is still there.
const longSilence = 45 * time.Second

// doubtful says that what we believe of the robot may be old news. In lock-step no mail is late.
func (s *State) doubtful(now time.Time, g *guest) bool {
	silent := now.Sub(g.heard)
	return !s.rules.Lockstep && g.foreign.neighbour == none && (silent >= doubtAfter && (len(g.base) > 0 || g.wanted) || silent >= longSilence && !g.movable())
}

func (s *State) phase(colour int) int {
	return (colour + int(s.tick%uint64(s.colours))) % s.colours
}

// planIfReady decides the round once every neighbour of an earlier phase has sent its token of this tick.
func (s *State) planIfReady(now time.Time, out []Effect) []Effect {
	if s.planned || s.tick == 0 || s.awaitsAdvice() || s.awaitsFloors() {
		return out
	}
	own := s.phase(s.g.Zones[s.number].Colour)
	for i := range s.neighbours {
		nb := &s.neighbours[i]
		if s.present(nb) && s.phase(nb.colour) < own && nb.tick < s.tick {
			return out
		}
	}
	return s.plan(now, out)
}

// present says that the neighbour has been heard of lately.
func (s *State) present(nb *neighbour) bool {
	return nb.heard && nb.tick+silentTicks >= s.tick
}

// plan decides what every robot that stands and wants to move does next, in order of priority, then grants what is
// free, and tells the neighbours.
func (s *State) plan(now time.Time, out []Effect) []Effect {
	s.planned, s.anyWide = true, s.wideBeside()
	s.ranks = s.ranks[:0]
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used {
			continue
		}
		g.decided = true
		s.noteWide(g)
		if g.foreign.neighbour != none {
			s.ranks = append(s.ranks, rank{g.foreign.prio, int32(i)})
			continue
		}
		if s.ours(g.at) == none || !g.movable() || g.leaving() || g.pending.vertex != fleet.NoVertex {
			continue
		}
		g.decided, g.prio = false, s.priorityOf(now, g)
		s.ranks = append(s.ranks, rank{g.prio, int32(i)})
	}
	s.rank()
	out = s.heed(out)
	for _, i := range s.order {
		if g := &s.guests[i]; g.foreign.neighbour != none {
			out = s.planForeign(now, i, out)
		} else if !g.decided {
			_, out = s.decide(now, i, none, g.prio, out)
		}
	}
	out = s.grantAll(now, out)
	out = s.reroute(now, out)
	out = s.noteWaits(now, out)
	out = s.escalate(now, out)
	out = s.sendTokens(out)
	return s.show(now, out)
}

// rank is a guest with the priority with which its wish counts in a round.
type rank struct {
	prio  Priority
	guest int32
}

// rank orders the guests of a round, greatest priority first.
func (s *State) rank() {
	slices.SortFunc(s.ranks, func(a, b rank) int {
		if c := b.prio.compare(a.prio); c != 0 {
			return c
		}
		return cmp.Compare(a.guest, b.guest)
	})
	s.order = s.order[:0]
	for i := range s.ranks {
		s.order = append(s.order, s.ranks[i].guest)
	}
}

func (p Priority) compare(q Priority) int {
	if c := cmp.Compare(p.Age, q.Age); c != 0 {
		return c
	}
	return cmp.Compare(q.Robot, p.Robot)
}

// A robot that has stood for so long counts each further second as so many: else whoever got its goal last stands for as
// long as all others around it travel. (Measured on random_100, 100 robots, 300 s, 150 runs: without it 9 of 10 runs had a
// robot that stood for more than 60 s, with it 1 of 50, and as many tasks were finished.) 30 and not 10, for on a large
// floor goals are hundreds of seconds old, and who joins a stream of such robots waits for as long as its own is younger.
const (
	standsLong  = 20 * time.Second
	standWeight = 30
)

// priorityOf grows with the time for which the robot has wanted its goal: whoever waits longest goes first.
func (s *State) priorityOf(now time.Time, g *guest) Priority {
	p := Priority{Age: -1, Robot: g.id}
	if g.req.Goal == fleet.NoVertex || g.req.Goal == g.at || s.now.Before(g.yieldUntil) {
		if s.now.Before(g.evictUntil) {
			p.Age = 0 // before those who yield to let it out
		}
		return p
	}
	p.Age = max(0, now.Sub(g.req.Since).Milliseconds()) + standWeight*max(0, (now.Sub(g.stands)-standsLong).Milliseconds()) + int64(g.req.Priority)*10_000
	return p
}

// planForeign settles the claim of a neighbour's robot: it stands where its vertex is free or about to be; where
// the occupant has not decided, it is pushed with the claimant's priority.
func (s *State) planForeign(now time.Time, i int32, out []Effect) []Effect {
	f := s.guests[i].foreign
	l := f.local
	if s.claim[l] != i || s.granted[l] {
		return out
	}
	o := s.occ[l]
	switch {
	case !s.enterable(l):
		cause, holder := s.shutBy(l)
		return s.cancel(now, l, cause, holder, out)
	case o == none || s.guests[o].leaving():
		return out
	case s.guests[o].decided || !f.push:
		return s.cancel(now, l, fleet.CauseOccupied, s.guests[o].id, out)
	}
	var ok bool
	if ok, out = s.decide(now, o, i, f.prio, out); !ok && s.claim[l] == i {
		out = s.cancel(now, l, fleet.CauseOccupied, s.guests[o].id, out)
	}
	return out
}

// option is one thing a robot could do next.
type option struct {
	vertex fleet.Vertex
	lane   int32 // none = stay
	cost   int32
}

// decide finds the next vertex of guest i by priority inheritance with backtracking; parent is the guest that wants
// its vertex (none where nobody does). It reports whether the vertex will be left or, without a parent, may be kept.
func (s *State) decide(now time.Time, i, parent int32, p Priority, out []Effect) (bool, []Effect) {
	g := &s.guests[i]
	g.decided, g.prio = true, p
	if parent != none {
		g.pushed = now
	}
	var buf [12]option
	opts := s.options(g, s.wayOf(parent, p), buf[:0])
	here := s.ours(g.at)
	g.wait = fleet.Wait{}
	for _, o := range opts {
		if o.lane == none {
			c := s.claim[here]
			if c == none {
				if parent == none {
					return true, out
				}
				continue
			}
			if c != parent && s.guests[c].foreign.neighbour != none && s.guests[c].foreign.prio.compare(p) < 0 && !s.granted[here] {
				return true, s.cancel(now, here, fleet.CauseOccupied, g.id, out)
			}
			continue
		}
		var ok bool
		if ok, out = s.tryOption(now, i, parent, o, p, out); ok {
			if parent != none {
				g.goOnYielding(now)
			}
			return true, out
		}
	}
	g.next = fleet.NoVertex
	if c := s.claim[here]; c != none && c != parent && !s.granted[here] {
		out = s.cancel(now, here, fleet.CauseOccupied, g.id, out)
	}
	s.noteCornered(now, g, parent)
	return false, out
}

// evictTime is for how long a cornered robot tries to come out.
const evictTime = 15 * time.Second

// noteCornered counts the pushes that an idle robot could not follow: it rests where the only way out is past who
// pushes it. That one will yield; then this one must come out by itself, for nobody pushes it any more.
func (s *State) noteCornered(now time.Time, g *guest, parent int32) {
	if parent == none || g.req.Goal != fleet.NoVertex && g.req.Goal != g.at {
		return
	}
	switch {
	case g.cornered.IsZero() || now.Sub(g.cornered) > evictTime:
		g.cornered = now
	case now.Sub(g.cornered) >= futileTime/2:
		g.evictUntil = now.Add(evictTime)
	}
}

// tryOption claims one vertex for guest i, moving its occupant away where need be.
func (s *State) tryOption(now time.Time, i, parent int32, o option, p Priority, out []Effect) (bool, []Effect) {
	g := &s.guests[i]
	l := s.ours(o.vertex)
	if l == none {
		return s.claimForeign(i, o.vertex, p), out
	}
	if !s.enterable(l) {
		if g.wait.Cause == fleet.CauseNone {
			cause, holder := s.shutBy(l)
			g.blame(o.vertex, cause, holder)
		}
		return false, out
	}
	if cause, holder := s.room(i, l); cause == fleet.CauseFootprint || cause != fleet.CauseNone && holder != s.standing(l) {
		g.blame(o.vertex, cause, holder)
		if out = s.asksAside(now, i, holder, p, out); parent == none {
			s.noteFutile(now, g)
		}
		return false, out
	}
	if c := s.claim[l]; c != none && s.longs(g) && s.givesWay(c, l, p) {
		out = s.cancel(now, l, fleet.CauseClaimed, g.id, out)
	}
	if c := s.claim[l]; c != none {
		s.guests[c].wanted = true
		g.blame(o.vertex, fleet.CauseClaimed, s.guests[c].id)
		return false, out
	}
	if by, ok := s.wishedBy(l, p, g.id); ok {
		g.blame(o.vertex, fleet.CauseClaimed, by)
		return false, out
	}
	b := s.occ[l]
	if b == none {
		s.claim[l], g.next = i, o.vertex
		return true, out
	}
	occupant := &s.guests[b]
	occupant.wanted = true
	g.blame(o.vertex, fleet.CauseOccupied, occupant.id)
	if b == parent || occupant.towards() == g.at || !occupant.leaving() && occupant.decided {
		if parent == none {
			s.noteFutile(now, g)
		}
		return false, out
	}
	if !s.rules.Lockstep && s.closesRing(i, b) {
		return false, out
	}
	s.claim[l], g.next = i, o.vertex
	if occupant.leaving() {
		return true, out
	}
	var ok bool
	if ok, out = s.decide(now, b, i, p, out); ok {
		return true, out
	}
	if s.claim[l] == i {
		s.claim[l] = none
	}
	g.next = fleet.NoVertex
	if parent == none {
		s.noteFutile(now, g)
	}
	return false, out
}

// How long a robot pushes in vain before it yields, longer where it has stood long: then it is others' turn; and for how
// long it yields at first (doubling twice).
const (
	futileTime = 1 * time.Second
	patience   = 25 * time.Second
	yieldTime  = 6 * time.Second
	yieldStep  = 5 * time.Second  // longer, each time that it is moved meanwhile
	yieldMost  = 40 * time.Second // since it began
	yieldIdle  = 6 * time.Second  // without being pushed
	// forgetFailure is after how long without another failed push the ones before do not count any more.
	forgetFailure = 4 * time.Second
)

// noteProgress forgets failed pushes of a robot that has come nearer to its goal than ever. To and fro is no progress:
// who dances before somebody who can only leave past it would never give way.
func (s *State) noteProgress(g *guest, to fleet.Vertex) {
	t := s.tableOf(g)
	if t == nil {
		g.futile = time.Time{}
		return
	}
	cost, exact := g.course.to(t, to)
	if !exact {
		return // an estimate may be less than any way
	}
	if g.best == 0 || cost+1 < g.best {
		g.futile = time.Time{}
		g.best, g.nearer = cost+1, s.now
	}
}

// noteFutile counts the pushes of a robot that could not move who is in its way: that one has no way out but past
// the pusher (a dead end, a corridor), so after a while the pusher gives way. Without this, priority inheritance
// stands still for ever where the roadmap is not biconnected.
func (s *State) noteFutile(now time.Time, g *guest) {
	if g.prio.Age < 0 || len(g.base) > 0 {
		return
	}
	last := g.failed
	if g.failed = now; g.futile.IsZero() || now.Sub(last) > forgetFailure {
		g.futile = now
		return
	}
	jitter := time.Duration(hashOf(g.id)%8) * 250 * time.Millisecond
	if now.Sub(g.stands) > standsLong {
		jitter += patience
	}
	if now.Sub(g.futile) < futileTime+jitter {
		return
	}
	g.futile = time.Time{}
	g.yielded, g.yieldUntil = now, now.Add(yieldTime<<min(g.yields, 2))
	g.yields++
	s.endYield(g)
}

// endYield ends the yielding of who stands in the way of g, which begins to yield: on the road, where it takes seconds to
// make room, one of the two must want to go on, or both stand.
func (s *State) endYield(g *guest) {
	if s.rules.Lockstep || g.wait.Cause == fleet.CauseNone {
		return
	}
	if l := s.ours(g.wait.Vertex); l != none && s.occ[l] != none {
		if o := &s.guests[s.occ[l]]; s.now.Before(o.yieldUntil) {
			o.yieldUntil, o.futile = time.Time{}, time.Time{}
		}
	}
}

// goOnYielding lets a robot that gives way and is being moved do so a little longer: where its time ended while it is
// still in the way, it would push back, and both would start anew.
func (g *guest) goOnYielding(now time.Time) {
	if now.Before(g.yieldUntil) && now.Sub(g.yielded) < yieldMost {
		g.yieldUntil = later(g.yieldUntil, now.Add(yieldStep))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// closesRing says that following the claims from guest b on leads back to guest i: a rotation, which robots on the
// road cannot do (each would have to enter before the other has left).
func (s *State) closesRing(i, b int32) bool {
	for range len(s.guests) + 1 {
		if b == i {
			return true
		}
		o := &s.guests[b]
		if len(o.base) > 0 || o.next == fleet.NoVertex {
			return false
		}
		l := s.ours(o.next)
		if l == none || s.occ[l] == none {
			return false
		}
		b = s.occ[l]
	}
	return true
}

// blame remembers the first thing that was in the way.
func (g *guest) blame(v fleet.Vertex, c fleet.Cause, holder fleet.RobotID) {
	if g.wait.Cause == fleet.CauseNone {
		g.wait = fleet.Wait{Cause: c, Vertex: v, Holder: holder}
	}
}

// wayOf is the table towards the goal of who pushes in the end, nil where nobody does or that is not known here.
func (s *State) wayOf(parent int32, p Priority) *roadmap.Table {
	if parent == none {
		return nil
	}
	if _, g := s.find(p.Robot); g != nil {
		return s.tableOf(g)
	}
	return s.tableOf(&s.guests[parent])
}

// before orders options by cost; chance of the tick breaks ties.
func (o option) before(p option, seed uint64) bool {
	if o.cost != p.cost {
		return o.cost < p.cost
	}
	return mix(seed^uint64(o.vertex)) < mix(seed^uint64(p.vertex))
}

// options lists what the robot could do next, best first: each lane out of its vertex, and to stay.
func (s *State) options(g *guest, way *roadmap.Table, opts []option) []option {
	t := s.tableOf(g)
	seed := mix(uint64(s.tick)<<20 ^ g.hash)
	stay := option{vertex: g.at, lane: none, cost: waitCost}
	if s.now.Before(g.evictUntil) {
		stay.cost += evictCost
	}
	if t != nil {
		stay.cost += 2 * int32(t.To(g.at))
	}
	opts = append(opts, stay)
	for _, lane := range s.g.Out[g.at] {
		ln := &s.g.Lanes[lane]
		if s.laneClosed(lane) || !s.allowed(g, ln.To) {
			continue
		}
		o := option{vertex: ln.To, lane: lane, cost: 2 * quarterTurnCost * turns(g.heading, ln.HeadingRad)}
		if t != nil {
			to := t.To(ln.To)
			if to == roadmap.Unreachable {
				continue
			}
			cost, open := t.Lane(s.g, lane)
			if !open {
				continue // into a kept-out vertex, of another zone perhaps
			}
			o.cost += 2*int32(to) + 2*int32(cost)
		} else if l := s.ours(ln.To); l == none || s.occ[l] != none || s.claim[l] != none {
			o.cost += 1000 // an idle robot that is pushed prefers room
		} else {
			o.cost += 100
		}
		if t == nil && way != nil && way.To(ln.To) < way.To(g.at) {
			o.cost += aheadCost
		}
		opts = append(opts, o)
	}
	for i := 1; i < len(opts); i++ { // a handful: by insertion
		for k := i; k > 0 && opts[k].before(opts[k-1], seed); k-- {
			opts[k], opts[k-1] = opts[k-1], opts[k]
		}
	}
	return opts
}

func (s *State) allowed(g *guest, v fleet.Vertex) bool {
	return g.req.Allowed == nil || slices.Contains(g.req.Allowed, s.g.Zones[s.g.ZoneOf[v]].ID)
}

// tableOf is the table towards the guest's goal, nil where it has none or stands on it.
func (s *State) tableOf(g *guest) *roadmap.Table {
	if g.req.Goal == fleet.NoVertex || s.now.Before(g.yieldUntil) {
		return nil
	}
	if g.table != nil && g.sure == g.req.Goal && g.around == g.at {
		return g.table // without a look at it: it is seldom near
	}
	switch {
	case g.table == nil || g.table.Goal != g.req.Goal:
		g.table = s.tables.Reach(g.req.Goal, g.at)
	case g.dated || !g.table.Around(g.at):
		g.table = s.tables.Again(g.table, g.at)
	}
	g.around, g.dated = g.at, false
	if g.sure = g.req.Goal; g.table.Coarse() {
		g.sure = fleet.NoVertex
	}
	return g.table
}

// turns counts the quarter turns (0..2) from one heading to another.
func turns(from, to float64) int32 {
	const quarter = 1.5707963267948966
	return int32(math.Abs(math.Remainder(to-from, 4*quarter))/quarter + 0.5)
}

func hashOf(id fleet.RobotID) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return h
}

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
