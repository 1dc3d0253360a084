package zone

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// Decide appends to out, in order, what the shell must do about m.
func (s *State) Decide(now time.Time, m Msg, out []Effect) []Effect {
	s.now = now
	switch m := m.(type) {
	case Ticked:
		return s.ticked(now, m, out)
	case Asked:
		return s.asked(now, m.Request, out)
	case Arrived:
		return s.arrived(now, m.Arrival, out)
	case TokenReceived:
		return s.tokenReceived(now, m.Token, out)
	case Answered:
		return s.answered(now, m.Answer, out)
	case EntryRecorded:
		return s.entryRecorded(now, m.Robot, m.Number, out)
	case EntryFailed:
		if _, g := s.find(m.Robot); g != nil && g.entry == entryRecording && g.entryNo == m.Number {
			g.entry = entryNone
		}
		return out
	case Restored:
		return s.restored(now, m, out)
	case RobotGone:
		return s.robotGone(now, m.Robot, out)
	case LaneChanged:
		s.closed[m.Lane] = m.Closed
		s.shuts++
		return out
	case KeepOutChanged:
		clear(s.keepOut)
		for _, v := range m.Vertices {
			if l := s.ours(v); l != none {
				s.keepOut[l] = true
			}
		}
		return out
	case BreakRequested:
		return s.breakRequested(now, m.Robot, out)
	case Led:
		return s.led(now, m.Lead, out)
	case Lent:
		return s.lent(now, m.Lend, out)
	case Advised:
		return s.advised(now, m.Advice, out)
	}
	return out
}

func (s *State) forgetTables() {
	for i := range s.guests {
		g := &s.guests[i]
		g.dated, g.sure, g.course = true, fleet.NoVertex, course{}
	}
}

// asked takes a robot's standing request: what it holds, where it stands, what it wants.
func (s *State) asked(now time.Time, r fleet.Request, out []Effect) []Effect {
	i, g := s.find(r.Robot)
	if r.At == fleet.NoVertex || !s.sound(r) || g != nil && r.Version <= g.version && !g.expected {
		return out // who does not know where it is asserts nothing, nor does who speaks of what cannot be
	}
	if g == nil {
		if !s.concerns(r) {
			return out
		}
		i, g = s.admit(r.Robot)
	}
	if g.expected {
		g.expected = false
		s.unblock(&g.reach)
	}
	again := g.at == r.At && g.req.Goal == r.Goal && len(g.base)+len(r.Base) == 0
	g.version, g.heard = r.Version, now
	if g.req.Goal != r.Goal {
		g.table, g.yields, g.yieldUntil, g.futile, g.best, g.nearer = nil, 0, time.Time{}, time.Time{}, 0, now
	}
	g.req, g.heading, g.course = r, r.Heading, course{}
	s.noteWide(g)
	out = s.adopt(now, i, r, out)
	if !s.holds(g) {
		return s.release(i, out)
	}
	s.setMargin(g)
	if r.Control == fleet.ControlEngine && (g.entry == entryNone || r.SpeedMPS > g.entrySpeed) {
		out = s.recordEntry(now, g, out)
	}
	out = s.regrant(now, i, out)
	if again && g.told.Cause != fleet.CauseNone {
		out = append(out, SendRefusal{Wait: g.told}) // it may not have heard, or have forgotten
	}
	if !g.movable() {
		return s.dropClaims(now, i, out)
	}
	return s.extend(now, i, out)
}

// sound says that the map has every vertex that a request names, and that its base does not lead back to itself.
func (s *State) sound(r fleet.Request) bool {
	missing := func(v fleet.Vertex) bool { return v < 0 || int(v) >= len(s.g.Vertices) }
	if r.At != fleet.NoVertex && missing(r.At) || r.Goal != fleet.NoVertex && missing(r.Goal) {
		return false
	}
	for i, v := range r.Base {
		if missing(v) || v == r.At || slices.Contains(r.Base[:i], v) {
			return false
		}
	}
	return true
}

func (s *State) concerns(r fleet.Request) bool {
	if s.ours(r.At) != none {
		return true
	}
	return slices.ContainsFunc(r.Base, func(v fleet.Vertex) bool { return s.ours(v) != none })
}

// adopt brings what the zone believes of a robot in line with what the robot says. Where the robot is on the path
// that the zone knows, grants beyond what the robot has seen stand (they may be under way); otherwise it has
// deviated, and what it does not assert is free.
func (s *State) adopt(now time.Time, i int32, r fleet.Request, out []Effect) []Effect {
	g := &s.guests[i]
	if g.at == r.At && follows(g.base, r.Base) {
		if len(r.Base) < len(g.base) && r.Firm > g.sent {
			return s.deviate(now, i, r.At, r.Base, out) // it has refused the rest, and will
		}
		s.forgetUnseen(now, g, len(r.Base))
		return out
	}
	if k := slices.Index(g.base, r.At); g.at != fleet.NoVertex && k >= 0 && follows(g.base[k+1:], r.Base) {
		out = s.pass(now, i, k, out)
		s.forgetUnseen(now, g, len(r.Base))
		return out
	}
	return s.deviate(now, i, r.At, r.Base, out)
}

// forgetUnseen drops what neighbours have granted to the robot beyond the n vertices that it asserts, once it has had
// time to hear of it: the grant was lost, or is void, and only the zones that gave it can repeat it. Nothing becomes
// free by this: what is not ours is not ours to free.
func (s *State) forgetUnseen(now time.Time, g *guest, n int) {
	if now.Sub(g.answered) < doubtAfter || slices.ContainsFunc(g.base[n:], func(v fleet.Vertex) bool { return s.ours(v) != none }) {
		return
	}
	g.base = g.base[:n:n]
}

// follows says that what the robot asserts is what the zone knows it to hold, or the beginning of it.
func follows(known, asserted []fleet.Vertex) bool {
	return len(asserted) <= len(known) && slices.Equal(known[:len(asserted)], asserted)
}

// pass moves the guest to base[k], giving back all before it.
func (s *State) pass(now time.Time, i int32, k int, out []Effect) []Effect {
	g := &s.guests[i]
	old, passed := g.at, g.base[:k]
	g.cornered, g.evictUntil = time.Time{}, time.Time{}
	to := g.base[k]
	s.noteProgress(g, to)
	g.base = g.base[k+1:]
	g.departing = false
	s.stand(i, to)
	for _, v := range passed {
		out = s.giveBack(now, i, v, out)
	}
	out = s.vacate(now, i, old, out)
	if len(g.base) > 0 {
		g.expires = now.Add(s.rules.LeaseTTL)
	}
	return out
}

// deviate takes the robot's word: it stands on at and holds base, up to what is granted to another (which cannot be, and
// whoever was granted it keeps it); everything else is given back.
func (s *State) deviate(now time.Time, i int32, at fleet.Vertex, base []fleet.Vertex, out []Effect) []Effect {
	out = s.dropClaims(now, i, out)
	g := &s.guests[i]
	if k := slices.IndexFunc(base, func(v fleet.Vertex) bool { return s.taken(i, v) }); k >= 0 {
		base = base[:k]
	}
	old, held := g.at, g.base
	g.base, g.departing = nil, false
	s.stand(i, at)
	for _, v := range held {
		if !slices.Contains(base, v) {
			out = s.giveBack(now, i, v, out)
		}
	}
	for _, v := range base {
		if l := s.ours(v); l != none {
			out = s.denyHolder(now, l, i, out)
			s.claim[l], s.granted[l] = i, true
		}
	}
	g.base = slices.Clone(base)
	g.next = fleet.NoVertex
	g.expires = now.Add(s.rules.LeaseTTL)
	if old != at {
		out = s.vacate(now, i, old, out)
	}
	return out
}

// taken says that our vertex v is granted to another than guest i.
func (s *State) taken(i int32, v fleet.Vertex) bool {
	l := s.ours(v)
	return l != none && s.granted[l] && s.claim[l] != i
}

// stand puts the guest on v. Where somebody else still stands there (its report of leaving is under way, or two
// robots really met), that one is displaced: the vertex is free only when both have left.
func (s *State) stand(i int32, v fleet.Vertex) {
	g := &s.guests[i]
	if g.at != v {
		s.noteLane(g, v)
		g.stands, g.faced = s.now, g.heading
		s.noteMove(g.at, v)
	}
	g.at = v
	l := s.ours(v)
	if l == none {
		return
	}
	if o := s.occ[l]; o != none && o != i && !s.guests[o].displaced {
		s.guests[o].displaced = true
		s.displaced++
	}
	s.occ[l] = i
	if s.claim[l] == i {
		s.claim[l], s.granted[l] = none, false
		if g.next == v {
			g.next = fleet.NoVertex
		}
	}
}

// vacate frees the vertex that guest i stood on and grants it to who waits for it.
func (s *State) vacate(now time.Time, i int32, v fleet.Vertex, out []Effect) []Effect {
	l := s.ours(v)
	if g := &s.guests[i]; g.displaced {
		g.displaced = false
		s.displaced--
		if l == none || s.occ[l] != i {
			return out
		}
	}
	if l == none || s.occ[l] != i {
		return out
	}
	s.occ[l] = none
	if s.displaced > 0 {
		for j := range s.guests {
			if o := &s.guests[j]; o.used && o.displaced && o.at == v && int32(j) != i {
				o.displaced = false
				s.displaced--
				s.occ[l] = int32(j)
				return out
			}
		}
	}
	return s.tryGrant(now, l, out)
}

// giveBack ends guest i's hold on v (a grant or claim that it will not use).
func (s *State) giveBack(_ time.Time, i int32, v fleet.Vertex, out []Effect) []Effect {
	l := s.ours(v)
	if l == none || s.claim[l] != i {
		return out
	}
	s.claim[l], s.granted[l] = none, false
	return out
}

// denyHolder clears an ungranted claim on l in favour of guest i.
func (s *State) denyHolder(now time.Time, l, i int32, out []Effect) []Effect {
	if c := s.claim[l]; c != none && c != i && !s.granted[l] {
		return s.cancel(now, l, fleet.CauseClaimed, s.guests[i].id, out)
	}
	return out
}

// arrived takes a report: the robot stands on a vertex, ours or the next zone's.
func (s *State) arrived(now time.Time, a fleet.Arrival, out []Effect) []Effect {
	i, g := s.find(a.Robot)
	if a.Vertex < 0 || int(a.Vertex) >= len(s.g.Vertices) {
		return out
	}
	if g == nil {
		if s.ours(a.Vertex) == none {
			return out
		}
		i, g = s.admit(a.Robot)
		g.req = fleet.Request{Robot: a.Robot, Goal: fleet.NoVertex, Window: 1}
	}
	if g.expected { // where it stands says nothing of what it may enter: that it must assert itself
		return append(out, CallRoll{Robot: g.id, Epoch: s.epoch})
	}
	if a.Version <= g.version {
		return out
	}
	g.version, g.heading, g.heard = a.Version, a.Heading, now
	switch k := slices.Index(g.base, a.Vertex); {
	case a.Vertex == g.at: // turned on the spot
	case k >= 0:
		out = s.pass(now, i, k, out)
	default:
		out = s.deviate(now, i, a.Vertex, nil, out)
	}
	if !s.holds(g) {
		return s.release(i, out)
	}
	s.setMargin(g)
	if g.entry == entryNone && g.req.Control == fleet.ControlEngine {
		out = s.recordEntry(now, g, out)
	}
	return s.extend(now, i, out)
}

func (s *State) robotGone(now time.Time, id fleet.RobotID, out []Effect) []Effect {
	i, g := s.find(id)
	if g == nil {
		return out
	}
	out = s.dropClaims(now, i, out)
	for _, v := range g.base {
		out = s.giveBack(now, i, v, out)
	}
	at := g.at
	g.base, g.at, g.expected = nil, fleet.NoVertex, false
	out = s.vacate(now, i, at, out)
	if g.foreign.neighbour != none {
		out = s.cancel(now, g.foreign.local, fleet.CauseNone, "", out)
		if _, g = s.find(id); g == nil {
			return out
		}
	}
	return s.release(i, out)
}

func (s *State) breakRequested(now time.Time, id fleet.RobotID, out []Effect) []Effect {
	i, g := s.find(id)
	if g == nil {
		return out
	}
	g.yielded, g.yieldUntil = now, now.Add(yieldTime)
	return s.dropClaims(now, i, out)
}

// dropClaims gives up what the guest has asked for and not been granted.
func (s *State) dropClaims(_ time.Time, i int32, out []Effect) []Effect {
	g := &s.guests[i]
	if g.next != fleet.NoVertex {
		if l := s.ours(g.next); l != none && s.claim[l] == i && !s.granted[l] {
			s.claim[l] = none
		}
		g.next = fleet.NoVertex
	}
	if g.pending.vertex != fleet.NoVertex {
		g.pending.withdraw = true
	}
	return out
}

// setMargin blocks the vertices around a robot that we do not control.
func (s *State) setMargin(g *guest) {
	if g.req.Control == fleet.ControlEngine && len(g.margin) == 0 {
		return
	}
	s.unblock(&g.margin)
	if g.req.Control == fleet.ControlEngine || g.at == fleet.NoVertex {
		return
	}
	const clearance = 0.5 // metres, half of a usual robot
	a := &s.g.Vertices[g.at]
	for _, lane := range s.g.Out[g.at] {
		v := s.g.Lanes[lane].To
		b := &s.g.Vertices[v]
		d := (a.X-b.X)*(a.X-b.X) + (a.Y-b.Y)*(a.Y-b.Y)
		if l := s.ours(v); l != none && d < (g.req.RadiusM+clearance)*(g.req.RadiusM+clearance) {
			s.block(&g.margin, l)
		}
	}
}
