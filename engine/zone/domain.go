package zone

import (
	"cmp"
	"slices"
	"time"

	"starling/engine/fleet"
)

// Where priorities inherited across borders do not help (a cycle over several zones, a chain of denials that comes back
// each tick), zones plan together for a bounded time: one leads, others lend it their floor at the beginning of each
// tick, it plans all of it as one and advises each what its robots should do next. Advice is no command: the owner of
// a vertex claims and grants as ever, so a domain costs no safety, whatever is lost or late, whoever crashes. A follower
// plans by itself as soon as its leader is silent; a leader that has been restarted has another epoch, and its terms
// begin anew.
const (
	stallTime  = 8 * time.Second  // without coming nearer to its goal, before the first robot of a zone asks for a domain
	domainTime = 16 * time.Second // most that one term lasts
	domainRest = 8 * time.Second  // between two terms of a leader
	maxLevel   = 3                // 1: the zone in the way, 2: all adjacent, 3: those adjacent to these
	maxMembers = 25               // zones that one leads, itself not counted
)

// Lead asks a zone to lend its floor, again in each tick of the term.
type Lead struct {
	From, To fleet.ZoneID
	Epoch    uint64 // of the leader's activation
	Term     uint64 // rises with every domain of the leader's life
	Tick     uint64
	Priority Priority // of the robot for whose sake: who is asked by two follows the greater
	End      bool     // the term is over
}

// Lend is a zone's floor as it is at the beginning of a tick.
type Lend struct {
	From, To    fleet.ZoneID
	Epoch, Term uint64 // of the Lead that it answers
	Tick        uint64
	Refused     bool // it follows another, or leads itself
	Guests      []LentGuest
	Held        []fleet.Vertex // granted to who does not stand there yet
	Shut        []fleet.Vertex // nobody may enter
	Closed      []int32        // lanes closed at run time
}

// LentGuest is a robot that stands in a lent zone.
type LentGuest struct {
	Request  fleet.Request // without a goal where the robot yields
	Priority Priority
	Movable  bool // it may be moved in this tick
}

// Advice is what a leader would have a zone's robots do in a tick. Robots that are not named plan as ever.
type Advice struct {
	From, To    fleet.ZoneID
	Epoch, Term uint64
	Tick        uint64
	Moves       []Move
}

// Move is one robot's next vertex.
type Move struct {
	Robot    fleet.RobotID
	From, To fleet.Vertex
}

// leading is the domain that the zone leads; term 0 = it has led none yet.
type leading struct {
	on      bool
	term    uint64
	level   int
	robot   fleet.RobotID // for whose sake
	prio    Priority
	since   time.Time
	ended   time.Time
	members []member
	advised bool // in this tick
}

// member is a zone that is asked to lend.
type member struct {
	zone    int32
	refused bool
	lent    Lend
}

// following is whom the zone has lent its floor to; leader none = nobody.
type following struct {
	leader      int32
	epoch, term uint64
	tick        uint64 // of the newest Lead
	prio        Priority
	advice      Advice
}

// follows says that the zone has a leader that it has heard of lately.
func (s *State) follows() bool { return s.lord.leader != none && s.lord.tick+silentTicks >= s.tick }

// awaitsAdvice says that the round waits for the leader's word. The next tick ends the wait.
func (s *State) awaitsAdvice() bool { return s.follows() && s.lord.advice.Tick < s.tick }

// awaitsFloors says that a member that has lent in the last ticks has not in this one.
func (s *State) awaitsFloors() bool {
	return s.dom.on && slices.ContainsFunc(s.dom.members, func(m member) bool {
		return !m.refused && m.lent.Tick > 0 && m.lent.Tick < s.tick && m.lent.Tick+silentTicks >= s.tick
	})
}

// openDomain begins a tick of a domain: a follower lends its floor, a leader plans where all floors are there.
func (s *State) openDomain(now time.Time, out []Effect) []Effect {
	s.dom.advised = false
	if s.lord.leader != none && !s.follows() {
		s.lord = following{leader: none}
	}
	if s.lord.leader != none {
		l := s.floor(now)
		l.To, l.Epoch, l.Term = s.g.Zones[s.lord.leader].ID, s.lord.epoch, s.lord.term
		out = append(out, SendLend{Lend: l})
	}
	return s.advise(now, out)
}

// floor describes what the zone has now, for a leader to plan with.
func (s *State) floor(now time.Time) Lend {
	l := Lend{From: s.id, Tick: s.tick}
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || s.ours(g.at) == none || g.displaced {
			continue
		}
		r := g.req
		r.At, r.Heading, r.Base, r.Version = g.at, g.heading, g.base, g.version
		if now.Before(g.yieldUntil) {
			r.Goal = fleet.NoVertex
		}
		l.Guests = append(l.Guests, LentGuest{
			Request: r, Priority: s.priorityOf(now, g), Movable: g.movable() && !g.leaving() && g.foreign.neighbour == none && g.entry == entryRecorded,
		})
	}
	for i := range s.occ {
		switch v := s.global(int32(i)); {
		case !s.enterable(int32(i)):
			l.Shut = append(l.Shut, v)
		case s.claim[i] != none:
			l.Held = append(l.Held, v)
		}
	}
	for lane, closed := range s.closed {
		if closed {
			l.Closed = append(l.Closed, lane)
		}
	}
	slices.Sort(l.Closed)
	return l
}

func (s *State) zoneNumber(id fleet.ZoneID) (int32, bool) {
	n, ok := s.g.ZoneNumber(id)
	return int32(n), ok
}

// led takes a leader's wish. Who leads or follows already goes with whose robot has the greater priority.
func (s *State) led(now time.Time, l Lead, out []Effect) []Effect {
	from, ok := s.zoneNumber(l.From)
	if !ok || l.To != s.id {
		return out
	}
	same := s.lord.leader == from && s.lord.epoch == l.Epoch && s.lord.term == l.Term
	if l.End {
		if same {
			s.lord = following{leader: none}
			return s.planIfReady(now, out)
		}
		return out
	}
	if same {
		s.lord.tick, s.lord.prio = max(s.lord.tick, l.Tick), l.Priority
		return out
	}
	if s.lord.leader == from && (l.Epoch < s.lord.epoch || l.Epoch == s.lord.epoch && l.Term < s.lord.term) {
		return out // of a term that is over
	}
	if s.follows() && s.lord.leader != from && s.lord.prio.compare(l.Priority) >= 0 || s.dom.on && s.dom.prio.compare(l.Priority) >= 0 {
		return append(out, SendLend{Lend: Lend{From: s.id, To: l.From, Epoch: l.Epoch, Term: l.Term, Tick: s.tick, Refused: true}})
	}
	if s.dom.on {
		out = s.endDomain(now, out)
	}
	if s.follows() && s.lord.leader != from { // or it would wait for our floor
		out = append(out, SendLend{Lend: Lend{From: s.id, To: s.g.Zones[s.lord.leader].ID, Epoch: s.lord.epoch, Term: s.lord.term, Tick: s.tick, Refused: true}})
	}
	s.lord = following{leader: from, epoch: l.Epoch, term: l.Term, tick: l.Tick, prio: l.Priority}
	s.lord.advice.Tick = s.tick // it takes effect with the next tick
	return out
}

// lent takes a member's floor.
func (s *State) lent(now time.Time, l Lend, out []Effect) []Effect {
	from, ok := s.zoneNumber(l.From)
	if !ok || !s.dom.on || l.Epoch != s.epoch || l.Term != s.dom.term {
		return out
	}
	k := slices.IndexFunc(s.dom.members, func(m member) bool { return m.zone == from })
	if k < 0 || l.Tick < s.dom.members[k].lent.Tick {
		return out
	}
	m := &s.dom.members[k]
	m.refused, m.lent = l.Refused, l
	return s.advise(now, out)
}

// advised takes the leader's word for this tick.
func (s *State) advised(now time.Time, a Advice, out []Effect) []Effect {
	from, ok := s.zoneNumber(a.From)
	if !ok || s.lord.leader != from || s.lord.epoch != a.Epoch || s.lord.term != a.Term || a.Tick < s.lord.advice.Tick {
		return out
	}
	s.lord.advice = a
	return s.planIfReady(now, out)
}

// advise plans the domain as one as soon as the floors of this tick are there, and tells each member.
func (s *State) advise(now time.Time, out []Effect) []Effect {
	if !s.dom.on || s.dom.advised || s.planned || s.awaitsFloors() {
		return out
	}
	u, owner := s.union(now)
	if u == nil {
		return out
	}
	s.dom.advised = true
	moves := u.consider(now)
	for k := range s.dom.members {
		m := &s.dom.members[k]
		if m.refused || m.lent.Tick != s.tick {
			continue
		}
		a := Advice{From: s.id, To: m.lent.From, Epoch: s.epoch, Term: s.dom.term, Tick: s.tick}
		for _, mv := range moves {
			if owner[mv.Robot] == m.zone {
				a.Moves = append(a.Moves, mv)
			}
		}
		out = append(out, SendAdvice{Advice: a})
	}
	s.own = s.own[:0]
	for _, mv := range moves {
		if owner[mv.Robot] == s.number {
			s.own = append(s.own, mv)
		}
	}
	return s.planIfReady(now, out)
}

// union is the domain as one zone, with the floors of this tick; nil where nobody has lent.
func (s *State) union(now time.Time) (*State, map[fleet.RobotID]int32) {
	floors, zones := []Lend{s.floor(now)}, []int32{s.number}
	for i := range s.dom.members {
		if m := &s.dom.members[i]; !m.refused && m.lent.Tick == s.tick {
			floors, zones = append(floors, m.lent), append(zones, m.zone)
		}
	}
	if len(floors) == 1 {
		return nil, nil
	}
	u := &State{
		g: s.g, number: none, id: s.id, tables: s.tables, rules: s.rules, now: now, tick: s.tick, apart: s.apart, anyWide: s.anyWide, span: map[fleet.Vertex]int32{},
		byRobot: map[fleet.RobotID]int32{}, closed: map[int32]bool{},
	}
	u.rules.Lockstep = false // a ring over a border cannot turn at once
	for _, z := range zones {
		for _, v := range s.g.Zones[z].Vertices {
			u.span[v] = int32(len(u.spanned))
			u.spanned = append(u.spanned, v)
		}
	}
	n := len(u.spanned)
	u.occ, u.claim, u.granted, u.blocked, u.keepOut = fill(n), fill(n), make([]bool, n), make([]int16, n), make([]bool, n)
	owner := map[fleet.RobotID]int32{}
	for k := range floors {
		for i := range floors[k].Guests {
			owner[floors[k].Guests[i].Request.Robot] = zones[k]
		}
		u.take(&floors[k])
	}
	return u, owner
}

func fill(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = none
	}
	return s
}

// take adds a floor to the union.
func (s *State) take(l *Lend) {
	for i := range l.Guests {
		lg := &l.Guests[i]
		if _, known := s.byRobot[lg.Request.Robot]; known || !s.sound(lg.Request) || s.ours(lg.Request.At) == none || s.occ[s.ours(lg.Request.At)] != none {
			continue
		}
		k, g := s.admit(lg.Request.Robot)
		g.req, g.at, g.heading, g.base, g.prio = lg.Request, lg.Request.At, lg.Request.Heading, lg.Request.Base, lg.Priority
		g.decided = !lg.Movable
		s.noteWide(g)
		s.occ[s.ours(g.at)] = k
	}
	for _, v := range l.Shut {
		if k := s.ours(v); k != none {
			s.keepOut[k] = true
		}
	}
	for _, v := range l.Held {
		if s.ours(v) == none {
			continue
		}
		if o := s.occ[s.ours(v)]; o == none || len(s.guests[o].base) > 0 {
			s.keepOut[s.ours(v)] = true // for this tick
		} else {
			s.guests[o].decided = true
		}
	}
	for _, lane := range l.Closed {
		s.closed[lane] = true
	}
}

// consider plans the union by priority inheritance and returns who should move, by priority.
func (s *State) consider(now time.Time) []Move {
	order := make([]int32, 0, len(s.guests))
	for i := range s.guests {
		order = append(order, int32(i))
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := s.guests[b].prio.compare(s.guests[a].prio); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for _, i := range order {
		if g := &s.guests[i]; !g.decided {
			_, _ = s.decide(now, i, none, g.prio, nil)
		}
	}
	var moves []Move
	for _, i := range order {
		if g := &s.guests[i]; g.next != fleet.NoVertex && len(g.base) == 0 {
			moves = append(moves, Move{Robot: g.id, From: g.at, To: g.next})
		}
	}
	return moves
}

// heed claims what the leader has advised for this tick, before anybody else decides.
func (s *State) heed(out []Effect) []Effect {
	moves := s.own
	if s.follows() {
		moves = nil
		if s.lord.advice.Tick == s.tick {
			moves = s.lord.advice.Moves
		}
	}
	s.own = s.own[:0]
	if len(moves) == 0 {
		return out
	}
	to := make(map[int32]fleet.Vertex, len(moves))
	for _, m := range moves {
		if i, g := s.find(m.Robot); g != nil && !g.decided && g.at == m.From && !s.now.Before(g.yieldUntil) {
			to[i] = m.To
		}
	}
	for _, m := range moves {
		if i, _ := s.find(m.Robot); i != none {
			s.heedOne(i, to)
		}
	}
	return out
}

// heedOne claims one robot's advised vertex; who stands there must leave by advice or have left already.
func (s *State) heedOne(i int32, to map[int32]fleet.Vertex) bool {
	v, ok := to[i]
	if !ok {
		return false
	}
	g := &s.guests[i]
	delete(to, i)
	lane, ok := s.g.Lane(g.at, v)
	if !ok || s.laneClosed(lane) || !s.allowed(g, v) {
		return false
	}
	l := s.ours(v)
	if l == none {
		g.decided = s.claimForeign(i, v, g.prio)
		return g.decided
	}
	if !s.enterable(l) || s.claim[l] != none {
		return false
	}
	if b := s.occ[l]; b != none && (s.guests[b].towards() == g.at || !s.guests[b].leaving() && !s.heedOne(b, to)) {
		return false
	}
	if s.claim[l] != none {
		return false
	}
	s.claim[l], g.next, g.decided = i, v, true
	return true
}
