package zone

import (
	"math"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
)

// A zone at the limit of its congestion window refuses robots that only pass through (motion notes §4). What keeps that
// from standing still for ever:
//   - Only transit is refused: never who has no task (it is sent out of the way), has its goal here, is pushed by another,
//     goes to charge, holds something here
//     already, is planned in a domain, or has waited for its goal for congestion.Oldest.
//   - Who rests here, or has its goal here, does not make room by waiting: beside them the zone admits
//     congestion.Transit robots whatever the limit says.
//   - For each robot of ours that another zone refuses for the same reason, we admit one: two full zones exchange one for
//     one, and so does a ring of them.
// So a robot is refused for congestion.Oldest at the longest, and what is refused to all is never more than a full zone.

// fullTicks is for how many ticks a neighbour that has refused a robot is not asked again for others on their way through.
const fullTicks = 2

// tradeTicks is for how long it counts that a neighbour has refused a robot of ours.
const tradeTicks = 8

// noteMove counts a robot's way from vertex to vertex. A union of zones has no window.
func (s *State) noteMove(from, to fleet.Vertex) {
	if s.window == nil || from == to || from == fleet.NoVertex {
		return
	}
	if s.ours(to) != none {
		s.window.Moved()
	} else if s.ours(from) != none {
		s.window.Left()
	}
}

// meter tells the window, once a tick, how many robots there are.
func (s *State) meter(now time.Time) {
	if s.window == nil {
		return
	}
	s.window.Tick(now, len(s.byRobot))
	if !s.traded {
		return
	}
	s.traded = false
	for i := range s.guests {
		g := &s.guests[i]
		if g.used && g.traded && s.tick-g.shutOut > tradeTicks {
			g.traded = false
		}
		s.traded = s.traded || g.traded
	}
}

// full says that the zone does not admit the claimant now.
func (s *State) full(c Claim) bool {
	if s.window == nil || !s.window.Enforced() || s.passes(&c.Request, c.Priority, s.number) {
		return false
	}
	resting := 0
	for i := range s.guests {
		if g := &s.guests[i]; g.used && (g.req.Goal == fleet.NoVertex || s.ours(g.req.Goal) != none) {
			resting++
		}
	}
	if len(s.byRobot) < max(s.window.Limit(), resting+s.window.Transit()) {
		return false
	}
	return !s.trade()
}

// passes says that a full zone must let the robot in.
func (s *State) passes(r *fleet.Request, p Priority, zone int32) bool {
	switch {
	case !r.Tasked || s.g.ZoneOf[r.Goal] == zone || s.g.Vertices[r.Goal].Charging:
		return true
	case p.Robot != r.Robot || p.Age < 0: // pushed
		return true
	case s.now.Sub(r.Since) >= congestion.Oldest:
		return true
	case s.dom.on || s.follows():
		return true
	}
	if s.g.ZoneOf[r.At] == zone {
		return true
	}
	for _, v := range r.Base {
		if s.g.ZoneOf[v] == zone {
			return true
		}
	}
	return false
}

// trade admits one robot for one of ours that another zone refuses, once for each.
func (s *State) trade() bool {
	for i := range s.guests {
		if g := &s.guests[i]; g.used && !g.traded && g.shutOut > 0 && s.tick-g.shutOut <= tradeTicks {
			g.traded, s.traded = true, true
			return true
		}
	}
	return false
}

// shutOut says that the neighbour has just refused others for want of room, so that guest g need not ask.
func (s *State) shutOut(nb *neighbour, g *guest, p Priority) bool {
	if nb.full < s.tick || s.window == nil || s.passes(&g.req, p, nb.number) {
		return false
	}
	g.shutOut = s.tick
	return true
}

// noteAnswer counts what a neighbour has said to a claim of guest g.
func (s *State) noteAnswer(n int32, g *guest, a Answer) {
	if s.window == nil {
		return
	}
	refused := a.Cause == fleet.CauseAdmission
	s.window.Asked(refused)
	if refused {
		g.shutOut, s.neighbours[n].full = s.tick, s.tick+fullTicks
	}
}

// windowView is the window as others see it, with so many robots here.
func (s *State) windowView(here int) Window {
	if s.window == nil {
		return Window{}
	}
	w := s.window
	return Window{
		Admitted: here, Inbound: len(s.byRobot) - here, Limit: w.Limit(), Enforced: w.Enforced(), Shadow: w.Shadow(),
		Critical: w.Critical(), Production: w.Production(),
	}
}

// quiet is the production, in moves per second, below which a zone counts as standing.
const quiet = 0.05

// materially says that the windows differ by more than what changes from tick to tick: in what is enforced, by a tenth in
// what was learned, or in that robots move at all. The rest is seen when robots come and go.
func (w Window) materially(o Window) bool {
	far := func(a, b float64) bool { return math.Abs(a-b) > 0.1*max(a, b) }
	return w.Enforced != o.Enforced || w.Limit != o.Limit || far(float64(w.Shadow), float64(o.Shadow)) || far(w.Critical, o.Critical) ||
		w.Production < quiet && o.Production >= quiet
}
