package dispatch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

// yard is where robots are that do not work: chargers, parking places, and who has been sent where. All of it is soft: it
// is built anew from what robots report.
type yard struct {
	graph  *roadmap.Graph // that the rest speaks of
	bays   []bay          // chargers, by vertex
	parks  []fleet.Vertex // parking places, ascending; none where one may rest on most vertices
	field  field
	told   map[fleet.RobotID]*told
	aims   map[fleet.RobotID][]fleet.Vertex // errands of the task that it has
	by     map[fleet.TaskID]fleet.RobotID   // who has the task
	queue  map[fleet.RobotID]time.Time      // since when it has wanted a charger
	short  map[fleet.TaskID]string          // open tasks that batteries keep from every robot, with numbers
	chosen map[fleet.RobotID]bool           // for each of them the robot that lacks least, where charging helps
	next   time.Time
	tidied time.Time
}

func newYard() *yard {
	return &yard{
		told: map[fleet.RobotID]*told{}, aims: map[fleet.RobotID][]fleet.Vertex{}, by: map[fleet.TaskID]fleet.RobotID{},
		queue: map[fleet.RobotID]time.Time{}, short: map[fleet.TaskID]string{},
		chosen: map[fleet.RobotID]bool{},
	}
}

// bay is a charger. One robot at a time.
type bay struct {
	at fleet.Vertex
	by fleet.RobotID // has it, stands there, or is on its way; "" = free
}

// told is what a robot was told last.
type told struct {
	move   robot.Move
	at     time.Time
	fail   int // moves that led nowhere, one after another
	from   fleet.Vertex
	there  time.Time // since when it has stood at the charger that it was sent to, and its battery then
	had    float64
	futile time.Time // until then it is not sent to charge: it has stood at a charger for nothing
	looked time.Time // since when it had nothing to do, when it was last looked whether it stands in a narrow place
}

// The patiences of the yard.
const (
	yardEvery  = time.Second
	answers    = 5 * time.Second  // a robot has taken what it was told by then, or has not heard it
	idleFor    = 10 * time.Second // until a robot that nothing suits charges meanwhile
	maxSends   = 32               // moves of one round
	maxWanting = 256              // robots that a round looks for chargers for
	noGain     = 4 * time.Minute  // at a charger with hardly more battery: it does not charge
	noMore     = 30 * time.Minute // until it is sent there again
	tidyEvery  = time.Minute
)

// on takes a new map: bays and parking places are its own, what was told is void, aims are found again by their ids.
func (y *yard) on(g *roadmap.Graph) {
	if y.graph == g {
		return
	}
	old := y.graph
	y.graph, y.bays, y.parks, y.field = g, nil, nil, field{}
	clear(y.told)
	for id, vs := range y.aims {
		if old == nil {
			break // they speak of this one
		}
		moved := make([]fleet.Vertex, 0, len(vs))
		for _, v := range vs {
			if n, ok := translate(old, g, v); ok {
				moved = append(moved, n)
			}
		}
		y.aims[id] = moved
	}
	if g == nil {
		return
	}
	for v := range g.Vertices {
		if g.Vertices[v].Charging {
			y.bays = append(y.bays, bay{at: fleet.Vertex(v)})
		}
		if g.Vertices[v].Parking {
			y.parks = append(y.parks, fleet.Vertex(v))
		}
	}
	if 2*len(y.parks) > len(g.Vertices) {
		y.parks = nil // a map on which one may rest anywhere has no parking places
	}
}

// note remembers where a robot's task leads it.
func (y *yard) note(m TaskChanged) {
	id := m.Spec.ID
	if r, ok := y.by[id]; ok && (m.State != task.Held || r != m.Robot) {
		delete(y.by, id)
		delete(y.aims, r)
	}
	if m.State == task.Held {
		y.by[id], y.aims[m.Robot] = m.Robot, m.Spec.Errands
	}
}

// tend looks once a second after those that do not work.
func (s *State) tend(now time.Time, out []Effect) []Effect {
	y := s.yard
	y.on(s.graph)
	if s.graph == nil || now.Before(y.next) {
		return out
	}
	y.next = now.Add(yardEvery)
	if now.Sub(y.tidied) >= tidyEvery {
		y.tidied = now
		s.tidyYard()
	}
	n := len(out)
	if !s.charging.Off {
		s.noteShort()
	}
	if len(y.bays) > 0 && !s.charging.Off {
		if y.survey(now, s.market.ground) {
			for _, j := range s.tasks {
				s.measure(j)
			}
		}
		out = s.tendBays(now, out)
	}
	return s.tendIdle(now, s.calm(now, maxSends-(len(out)-n)), out)
}

// tidyYard forgets robots that are no more.
func (s *State) tidyYard() {
	y := s.yard
	maps.DeleteFunc(y.told, func(id fleet.RobotID, _ *told) bool { return s.robots[id] == nil })
	maps.DeleteFunc(y.queue, func(id fleet.RobotID, _ time.Time) bool { return s.robots[id] == nil })
	maps.DeleteFunc(y.by, func(_ fleet.TaskID, id fleet.RobotID) bool { return s.robots[id] == nil })
	maps.DeleteFunc(y.aims, func(id fleet.RobotID, _ []fleet.Vertex) bool { return s.robots[id] == nil })
}

// of is what is known of what the robot was told.
func (y *yard) of(id fleet.RobotID) *told {
	t := y.told[id]
	if t == nil {
		t = &told{from: fleet.NoVertex}
		y.told[id] = t
	}
	return t
}

// moveOf is what the robot is about, or will be when it has heard: what it reports, unless it has just been told.
func (y *yard) moveOf(now time.Time, w *worker) robot.Move {
	if t := y.told[w.ID]; t != nil && now.Sub(t.at) < answers {
		return t.move
	}
	return w.Move
}

// send tells a robot where to go.
func (s *State) send(now time.Time, w *worker, m robot.Move, out []Effect) []Effect {
	t := s.yard.of(w.ID)
	if m.Kind != robot.NoMove && m.Kind == t.move.Kind && w.At == t.from {
		t.fail = min(t.fail+1, 4) // it has not come away since
	} else {
		t.fail = 0
	}
	t.move, t.at, t.from, t.there = m, now, w.At, time.Time{}
	return append(out, Send{Robot: w.ID, Move: m})
}

// want is a robot that is to charge.
type want struct {
	w     *worker
	class wantClass
	since time.Time
}

// wantClass says how much it matters, the most urgent first.
type wantClass uint8

const (
	wantNothing wantClass = iota
	wantTopUp             // it has nothing to do
	wantTask              // a task waits for its battery
	wantLow               // below the level at which robots go to charge first
	wantUrgent            // it would not get to a charger for much longer
)

// wants says how much the robot is to charge.
func (s *State) wants(now time.Time, w *worker) wantClass {
	c := &s.charging
	if !on(s.graph, w.At) || w.Battery >= c.Full {
		return wantNothing
	}
	if t := s.yard.told[w.ID]; t != nil && now.Before(t.futile) {
		return wantNothing
	}
	away, _ := s.yard.toCharger(w.At)
	switch idle := now.Sub(w.Since); {
	case !w.Free && (s.heldBy[w.ID] == "" || w.Reason != robot.HasTask): // it would hold a charger and not get there
		return wantNothing
	case w.Battery < c.need(&w.Robot, away)+c.Reserve/2:
		return wantUrgent
	case !w.Free:
		return wantNothing
	case w.Battery < c.Low:
		return wantLow
	case s.yard.chosen[w.ID] && w.Battery < c.Comfort && idle >= answers:
		return wantTask
	case w.Battery < c.Comfort && idle >= idleFor:
		return wantTopUp
	}
	return wantNothing
}

// tendBays gives free chargers to those that want one, in order, and takes them from those that have enough where others
// wait.
func (s *State) tendBays(now time.Time, out []Effect) []Effect {
	s.claimBays(now)
	out = s.settleBays(now, out)
	for _, x := range s.wanting(now) {
		b := s.bayFor(x, false)
		if b == nil && x.class >= wantLow {
			if b = s.bayFor(x, true); b != nil {
				out = s.send(now, s.robots[b.by], robot.Move{To: fleet.NoVertex, Reason: "others need the charger more"}, out)
			}
		}
		if b == nil {
			continue
		}
		b.by = x.w.ID
		out = s.send(now, x.w, s.chargeMove(x, b), out)
	}
	return out
}

func (s *State) chargeMove(x want, b *bay) robot.Move {
	until := s.charging.Full
	if !x.w.Free {
		until = s.charging.Leave // its task waits
	}
	return robot.Move{
		Kind: robot.MoveCharge, To: b.at, Until: until,
		Reason: fmt.Sprintf("battery %s: to charger %s, about %.0f m away", percent(x.w.Battery), s.named(b.at), s.graph.Manhattan(x.w.At, b.at)),
	}
}

// claimBays finds out who has which charger.
func (s *State) claimBays(now time.Time) {
	y := s.yard
	at := map[fleet.Vertex]int{}
	for i := range y.bays {
		y.bays[i].by = ""
		at[y.bays[i].at] = i
	}
	claim := func(v fleet.Vertex, id fleet.RobotID, over bool) {
		if i, ok := at[v]; ok && (y.bays[i].by == "" || over) {
			y.bays[i].by = id
		}
	}
	ids := sortedKeys(s.robots)
	for _, id := range ids {
		if m := y.moveOf(now, s.robots[id]); m.Kind == robot.MoveCharge {
			claim(m.To, id, false)
		}
	}
	for _, id := range ids { // tasks of clients to charge, and whoever stands there and cannot be sent away
		for _, v := range y.aims[id] {
			claim(v, id, false)
		}
		w := s.robots[id]
		m := y.moveOf(now, w)
		charges := w.Free && w.Battery < s.charging.Full && (m.Kind == robot.NoMove || m.Kind == robot.MoveCharge && m.To == w.At)
		if charges || !w.Free {
			claim(w.At, id, s.stays(w))
		}
	}
}

// settleBays tells those at or on their way to a charger what has changed: another robot has it, they stand there without
// having been sent, they were pushed off it.
func (s *State) settleBays(now time.Time, out []Effect) []Effect {
	y := s.yard
	for i := range y.bays {
		b := &y.bays[i]
		w := s.robots[b.by]
		if w == nil || !w.Free {
			continue
		}
		m := y.moveOf(now, w)
		t := y.of(w.ID)
		if t.there.IsZero() && m.Kind == robot.MoveCharge && w.At == b.at {
			t.there, t.had = now, w.Battery
		}
		switch {
		case now.Sub(t.at) < answers, now.Before(t.futile):
		case m.Kind == robot.MoveCharge && w.At == b.at && s.inVain(now, t, w):
			t.futile = now.Add(noMore)
			out = s.send(now, w, robot.Move{To: fleet.NoVertex, Reason: "it does not charge here"}, out)
		case m.Kind == robot.MoveCharge && m.To == b.at && (w.At == b.at || now.Sub(t.at) < pushedAfter):
		case m.Kind == robot.NoMove, m.Kind == robot.MoveCharge:
			out = s.send(now, w, s.chargeMove(want{w: w}, b), out)
		case m.Kind == robot.MovePark, m.Kind == robot.MoveWait:
		}
	}
	for _, id := range sortedKeys(s.robots) {
		w := s.robots[id]
		if m := y.moveOf(now, w); m.Kind == robot.MoveCharge && w.Free {
			if i := slices.IndexFunc(y.bays, func(b bay) bool { return b.at == m.To }); i < 0 || y.bays[i].by != id {
				out = s.send(now, w, robot.Move{To: fleet.NoVertex, Reason: "another robot has the charger"}, out)
			}
		}
	}
	return out
}

// inVain says that the robot has stood at a charger for long and got less than a quarter of what is expected: the charger
// may be slow, which its statuses tell.
func (s *State) inVain(now time.Time, t *told, w *worker) bool {
	_, _, gain := s.charging.rates(&w.Power)
	stood := now.Sub(t.there)
	return stood >= noGain && w.Battery-t.had+robot.TellBattery < gain*stood.Seconds()/4 // the last step may not have been told
}

// pushedAfter is after how long a robot that is not at its charger is told again to go there: somebody may have pushed it
// off.
const pushedAfter = 20 * time.Second

// wanting lists who is to charge and has no charger yet, the most urgent first, then who has waited longest.
func (s *State) wanting(now time.Time) []want {
	y := s.yard
	has := map[fleet.RobotID]bool{}
	for i := range y.bays {
		has[y.bays[i].by] = true
	}
	var all []want
	for id, w := range s.robots {
		c := s.wants(now, w)
		if c == wantNothing {
			delete(y.queue, id)
			continue
		}
		since, ok := y.queue[id]
		if !ok {
			since = now
			y.queue[id] = now
		}
		if t := y.told[id]; has[id] || t != nil && now.Sub(t.at) < answers && t.move.Kind != robot.MovePark {
			continue
		}
		all = append(all, want{w, c, since})
	}
	slices.SortFunc(all, func(a, b want) int {
		return cmp.Or(cmp.Compare(b.class, a.class), a.since.Compare(b.since), cmp.Compare(a.w.ID, b.w.ID))
	})
	return all[:min(len(all), maxWanting)]
}

// bayFor is the nearest charger for the robot that is free or, where taken, one whose robot has enough for it to leave.
func (s *State) bayFor(x want, taken bool) *bay {
	y := s.yard
	near := make([]*bay, 0, len(y.bays))
	for i := range y.bays {
		b := &y.bays[i]
		if taken != (b.by != "") || s.keepOut[b.at] || s.market.ground.parts[b.at] != s.market.ground.parts[x.w.At] || !s.mayEnter(&x.w.Robot, b.at) {
			continue
		}
		if taken && !s.mayLeave(x, s.robots[b.by]) {
			continue
		}
		near = append(near, b)
	}
	away := func(b *bay) float64 { return s.graph.Manhattan(x.w.At, b.at) }
	slices.SortFunc(near, func(a, b *bay) int { return cmp.Or(cmp.Compare(away(a), away(b)), cmp.Compare(a.at, b.at)) })
	var best *bay
	cost := uint16(roadmap.Unreachable)
	for _, b := range near[:min(len(near), 3)] { // their tables the zones need anyway
		if c := costFrom(s.tables.Get(b.at), x.w.At); c < cost {
			best, cost = b, c
		}
	}
	return best
}

// mayLeave says that a robot at a charger has enough to make room for one that needs it more.
func (s *State) mayLeave(x want, w *worker) bool {
	if w == nil || !w.Free {
		return false
	}
	enough := s.charging.Leave
	if x.class == wantUrgent {
		enough = s.charging.Low
	}
	return w.Battery >= max(enough, x.w.Battery+s.charging.Reserve)
}

// mayEnter says that the robot is allowed into the vertex's zone.
func (s *State) mayEnter(r *Robot, v fleet.Vertex) bool {
	return r.Allowed == nil || slices.Contains(r.Allowed, s.graph.Zones[s.graph.ZoneOf[v]].ID)
}
