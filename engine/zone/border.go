package zone

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// claimForeign asks a neighbour for v on behalf of guest i: the claim goes out with the round's token, and the robot
// decides nothing else until it is answered.
func (s *State) claimForeign(i int32, v fleet.Vertex, p Priority) bool {
	g := &s.guests[i]
	n, ok := s.byZone[s.g.Zones[s.g.ZoneOf[v]].ID]
	if !ok {
		return false
	}
	nb := &s.neighbours[n]
	if !s.present(nb) {
		g.blame(v, fleet.CauseBorder, "")
		return false
	}
	if s.shutOut(nb, g, p) {
		g.blame(v, fleet.CauseAdmission, "")
		return false
	}
	b, known := nb.border[v]
	later := s.phase(nb.colour) > s.phase(s.g.Zones[s.number].Colour)
	push := false
	if known {
		switch {
		case b.Blocked:
			cause := fleet.CauseClosed
			if b.Occupant != "" {
				cause = fleet.CauseOccupied // by who cannot move
			}
			g.blame(v, cause, b.Occupant)
			return false
		case b.Claimed && (b.Firm || !later) && !s.longs(g): // who has stood for long says so, to come next
			g.blame(v, fleet.CauseClaimed, b.Occupant)
			return false
		case b.Occupant != "" && (b.Next == g.at || s.wantsMine(g, b.Occupant)):
			g.blame(v, fleet.CauseOccupied, b.Occupant)
			return false
		case b.Occupant != "" && (later || !b.Leaving):
			g.blame(v, fleet.CauseOccupied, b.Occupant)
			if !later {
				return false
			}
			push = true
		}
	}
	if len(g.base) > 0 && known && b.Occupant != "" {
		return false // a lease is extended over free vertices only
	}
	s.claims++
	g.pending = pending{neighbour: n, vertex: v, number: s.claims, push: push, tick: s.tick, prio: p}
	return true
}

// wantsMine says that robot id claims the vertex on which g stands: going to its vertex would be a swap.
func (s *State) wantsMine(g *guest, id fleet.RobotID) bool {
	l := s.ours(g.at)
	return l != none && s.claim[l] != none && s.guests[s.claim[l]].id == id
}

// sendTokens tells each neighbour what it may see and what we ask of it.
func (s *State) sendTokens(out []Effect) []Effect {
	s.claimants = s.claimants[:0]
	for i := range s.guests {
		if g := &s.guests[i]; g.used && g.pending.vertex != fleet.NoVertex {
			s.claimants = append(s.claimants, int32(i))
		}
	}
	for n := range s.neighbours {
		nb := &s.neighbours[n]
		t := Token{From: s.id, To: nb.id, Tick: s.tick, Epoch: s.epoch, Answers: slices.Clone(nb.answers), Wide: s.reachingOver(nb)}
		for _, l := range nb.mine {
			if b, told := s.borderOf(l); told {
				t.Border = append(t.Border, b)
			}
		}
		for _, i := range s.claimants {
			g := &s.guests[i]
			if g.pending.neighbour != int32(n) {
				continue
			}
			r := g.req
			r.At, r.Heading, r.Base, r.Version = g.at, g.heading, g.base, g.version
			t.Claims = append(t.Claims, Claim{
				Number: g.pending.number, Vertex: g.pending.vertex, Withdraw: g.pending.withdraw,
				Push: g.pending.push, Priority: g.pending.prio, Request: r, Yields: g.yieldUntil, Long: s.longs(g),
			})
		}
		out = append(out, SendToken{Token: t})
	}
	return out
}

// borderOf describes our vertex l to a neighbour; told is false where it is free and open.
func (s *State) borderOf(l int32) (b Border, told bool) {
	b = Border{Vertex: s.global(l), Next: fleet.NoVertex, Blocked: !s.enterable(l)}
	told = b.Blocked
	if o := s.occ[l]; o != none {
		g := &s.guests[o]
		b.Occupant, b.Leaving, b.Next = g.id, g.leaving(), g.towards()
		b.Blocked = b.Blocked || !g.movable() && !g.leaving()
		told = true
	}
	if s.claim[l] != none {
		b.Claimed, b.Firm, told = true, s.granted[l], true
	}
	return b, told
}

// tokenReceived takes a neighbour's state of a tick: its border, its answers to our claims, its claims on us.
func (s *State) tokenReceived(now time.Time, t Token, out []Effect) []Effect {
	n, ok := s.byZone[t.From]
	if !ok || t.Epoch < s.neighbours[n].epoch || t.Epoch == s.neighbours[n].epoch && t.Tick <= s.neighbours[n].tick {
		return out
	}
	nb := &s.neighbours[n]
	fresh := t.Epoch != nb.epoch
	if fresh {
		nb.answers = nil
	}
	nb.epoch, nb.tick, nb.heard, nb.wide = t.Epoch, t.Tick, true, s.soundWide(t.Wide)
	s.anyWide = s.anyWide || len(nb.wide) > 0
	clear(nb.border)
	for _, b := range t.Border {
		nb.border[b.Vertex] = b
	}
	out = s.voidClaims(now, n, t, fresh, out)
	nb.answers = slices.DeleteFunc(nb.answers, func(a Answer) bool {
		return !slices.ContainsFunc(t.Claims, func(c Claim) bool { return c.Number == a.Number })
	})
	for _, a := range t.Answers {
		out = s.answered(now, a, out)
	}
	for _, c := range t.Claims {
		out = s.claimed(now, n, c, out)
	}
	return s.planIfReady(now, out)
}

// voidClaims drops the neighbour's claims that its token does not repeat: it has withdrawn or forgotten them.
func (s *State) voidClaims(_ time.Time, n int32, t Token, fresh bool, out []Effect) []Effect {
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || g.foreign.neighbour != n {
			continue
		}
		number := g.foreign.number
		if fresh || !slices.ContainsFunc(t.Claims, func(c Claim) bool { return c.Number == number }) {
			out = s.endForeign(int32(i), out)
		}
	}
	return out
}

// endForeign clears an ungranted foreign claim without an answer.
func (s *State) endForeign(i int32, out []Effect) []Effect {
	g := &s.guests[i]
	if l := g.foreign.local; s.claim[l] == i && !s.granted[l] {
		s.claim[l] = none
	}
	g.foreign = foreignClaim{neighbour: none, local: none}
	if !s.holds(g) {
		return s.release(i, out)
	}
	return out
}

// claimed takes one claim of a neighbour's robot on one of our vertices. Each claim gets exactly one final answer,
// repeated for as long as the neighbour repeats the claim.
func (s *State) claimed(now time.Time, n int32, c Claim, out []Effect) []Effect {
	nb := &s.neighbours[n]
	if slices.ContainsFunc(nb.answers, func(a Answer) bool { return a.Number == c.Number }) {
		return out
	}
	l := s.ours(c.Vertex)
	if i, g := s.find(c.Request.Robot); g != nil {
		if g.foreign.neighbour == n && g.foreign.number == c.Number {
			g.foreign.push, g.foreign.prio = c.Push, c.Priority
			if c.Withdraw {
				return s.cancel(now, g.foreign.local, fleet.CauseNone, "", out)
			}
			return out
		}
		if l != none && s.claim[l] == i && s.granted[l] {
			return s.answer(n, c.Number, g.id, c.Vertex, ClaimGranted, fleet.CauseNone, "", out)
		}
		if g.foreign.neighbour != none {
			out = s.endForeign(i, out)
		}
	}
	if cause, holder := s.objection(l, c); cause != fleet.CauseNone {
		s.noteWish(l, c, cause)
		return s.answer(n, c.Number, c.Request.Robot, c.Vertex, ClaimDenied, cause, holder, out)
	}
	var ok bool
	if ok, out = s.introduce(now, c.Request, out); !ok {
		return s.answer(n, c.Number, c.Request.Robot, c.Vertex, ClaimDenied, fleet.CauseBorder, "", out)
	}
	delete(s.wishes, l)
	i, g := s.admit(c.Request.Robot)
	if c.Yields.After(g.yieldUntil) {
		g.yielded, g.yieldUntil = now, c.Yields
	}
	g.foreign = foreignClaim{neighbour: n, local: l, number: c.Number, push: c.Push, prio: c.Priority}
	s.claim[l] = i
	if g.entry == entryNone {
		out = s.recordEntry(now, g, out)
	}
	return s.tryGrant(now, l, out)
}

// objection says why a claim cannot even wait, CauseNone where it can.
func (s *State) objection(l int32, c Claim) (fleet.Cause, fleet.RobotID) {
	switch {
	case l == none || c.Withdraw || c.Request.Halted || c.Request.At == fleet.NoVertex || !s.sound(c.Request):
		return fleet.CauseBorder, ""
	case !s.enterable(l):
		return s.shutBy(l)
	case s.claim[l] != none:
		return fleet.CauseClaimed, s.guests[s.claim[l]].id
	case s.wide(c.Request.RadiusM):
		return fleet.CauseFootprint, ""
	}
	if o := s.occ[l]; o != none {
		occ := &s.guests[o]
		undecided := !s.planned && occ.movable() && occ.pending.vertex == fleet.NoVertex
		occ.wanted = true
		swap := occ.towards() == c.Request.At
		if swap || len(c.Request.Base) > 0 || !occ.leaving() && !(undecided && c.Push) {
			return fleet.CauseOccupied, occ.id
		}
	}
	if s.full(c) { // last: who is refused for another reason does not use up an exchange
		return fleet.CauseAdmission, ""
	}
	return fleet.CauseNone, ""
}

// introduce brings what we know of a neighbour's robot up to what the neighbour knows. Where we know better (the
// robot has reported since, or holds grants of ours that the neighbour does not know), it is not ok: the claim was
// made on old knowledge and must be made again.
func (s *State) introduce(now time.Time, r fleet.Request, out []Effect) (bool, []Effect) {
	i, g := s.find(r.Robot)
	if slices.ContainsFunc(r.Base, func(v fleet.Vertex) bool { return s.ours(v) != none && (g == nil || !s.granting(i, v)) }) {
		return false, out // granted in an earlier life of ours: that it must assert itself
	}
	if g == nil {
		if s.ours(r.At) != none {
			return false, out // it has left that vertex of ours, or we would know it
		}
		_, g = s.admit(r.Robot)
		g.course = course{}
		g.req, g.version, g.at, g.heading, g.base = r, r.Version, r.At, r.Heading, slices.Clone(r.Base)
		g.stands, g.faced = now, r.Heading
		s.noteWide(g)
		return true, out
	}
	if r.Version < g.version {
		return false, out
	}
	g.wanted = true // where we are the ones who know less, the robot will tell us
	k := -1
	if g.at != r.At {
		if k = slices.Index(g.base, r.At); k < 0 {
			return false, out
		}
	}
	for _, v := range g.base[k+1:] {
		if s.ours(v) != none && !slices.Contains(r.Base, v) {
			return false, out
		}
	}
	g.wanted = false
	g.req, g.version, g.heading, g.course = r, r.Version, r.Heading, course{}
	if g.at != r.At {
		out = s.pass(now, i, k, out)
	}
	g.base = slices.Clone(r.Base)
	return true, out
}

// answer remembers what became of a claim, for the tokens, and says it at once.
func (s *State) answer(n int32, number uint64, id fleet.RobotID, v fleet.Vertex, k AnswerKind, cause fleet.Cause, holder fleet.RobotID, out []Effect) []Effect {
	nb := &s.neighbours[n]
	a := Answer{From: s.id, To: nb.id, Number: number, Epoch: nb.epoch, Robot: id, Vertex: v, Kind: k, Cause: cause, Holder: holder}
	nb.answers = append(nb.answers, a)
	return append(out, SendAnswer{Answer: a})
}

// answered takes what became of a claim of ours.
func (s *State) answered(now time.Time, a Answer, out []Effect) []Effect {
	i, g := s.find(a.Robot)
	if g == nil || a.Epoch != s.epoch || g.pending.vertex == fleet.NoVertex || g.pending.number != a.Number || g.pending.vertex != a.Vertex || a.Kind == ClaimPending {
		return out
	}
	pushed := g.pending.push
	s.noteAnswer(g.pending.neighbour, g, a)
	g.pending = pending{neighbour: none, vertex: fleet.NoVertex}
	if a.Kind == ClaimGranted {
		if _, ok := s.g.Lane(g.tail(), a.Vertex); ok && !slices.Contains(g.base, a.Vertex) {
			g.base = append(slices.Clone(g.base), a.Vertex)
		}
		g.expires, g.answered = now.Add(s.rules.LeaseTTL), now
		g.wait = fleet.Wait{}
		return s.depart(now, i, out)
	}
	g.blame(a.Vertex, a.Cause, a.Holder)
	if pushed && a.Cause == fleet.CauseOccupied {
		s.noteFutile(now, g)
	}
	if here := s.ours(g.at); here != none && len(g.base) == 0 {
		if c := s.claim[here]; c != none && !s.granted[here] {
			out = s.cancel(now, here, fleet.CauseOccupied, g.id, out)
		}
	}
	return out
}

// cancel ends the ungranted claim on our vertex l: its robot stays where it is, and so must whoever claimed that
// robot's own vertex (the chain crosses zones by denials).
func (s *State) cancel(now time.Time, l int32, cause fleet.Cause, holder fleet.RobotID, out []Effect) []Effect {
	for l != none {
		c := s.claim[l]
		if c == none || s.granted[l] {
			return out
		}
		s.claim[l] = none
		g := &s.guests[c]
		g.blame(s.global(l), cause, holder)
		if f := g.foreign; f.neighbour != none {
			out = s.answer(f.neighbour, f.number, g.id, s.global(l), ClaimDenied, cause, holder, out)
			return s.endForeign(c, out)
		}
		g.next = fleet.NoVertex
		if g.prio.Robot == g.id && cause == fleet.CauseOccupied {
			s.noteFutile(now, g)
		}
		cause, holder = fleet.CauseOccupied, g.id
		l = s.ours(g.at)
		if len(g.base) > 0 {
			return out
		}
	}
	return out
}
