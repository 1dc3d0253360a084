package zone

import "starling/engine/fleet"

// A robot that waits at a border for a vertex on which others come and go cannot keep its claim there: each time that the
// vertex is free, one of the neighbour's own has it already, for a claim takes a round to cross the border. So who has
// stood for long is remembered there: until it has come, or has not asked for a while, nobody of less priority enters.
// (Without it robots stood before a passing stream for up to 340 s.)

// wishTicks is for how long a wish holds that is not repeated.
const wishTicks = 8

// wish is that of a neighbour's robot which has long stood before a vertex of ours.
type wish struct {
	robot fleet.RobotID
	prio  Priority
	until uint64 // tick
}

// longs says that the guest has stood for long. In lock-step nobody waits for a report, and claims take their turns.
func (s *State) longs(g *guest) bool {
	return !s.rules.Lockstep && !g.stands.IsZero() && s.now.Sub(g.stands) > standsLong
}

// noteWish remembers a claim that cannot wait at our vertex l for others being there. Of several the greatest priority
// counts. Bound: the vertices at our borders.
func (s *State) noteWish(l int32, c Claim, cause fleet.Cause) {
	if !c.Long || l == none || cause != fleet.CauseClaimed && cause != fleet.CauseOccupied {
		return
	}
	if w, ok := s.wishes[l]; !ok || s.tick > w.until || w.robot == c.Request.Robot || w.prio.compare(c.Priority) < 0 {
		s.wishes[l] = wish{robot: c.Request.Robot, prio: c.Priority, until: s.tick + wishTicks}
	}
}

// wishedBy says who comes to our vertex l before a robot with priority p.
func (s *State) wishedBy(l int32, p Priority, id fleet.RobotID) (fleet.RobotID, bool) {
	if len(s.wishes) == 0 {
		return "", false
	}
	w, ok := s.wishes[l]
	switch {
	case !ok:
		return "", false
	case s.tick > w.until:
		delete(s.wishes, l)
		return "", false
	case w.robot == id || w.prio.compare(p) < 0:
		return "", false
	}
	return w.robot, true
}

// givesWay says that the claim of guest c on our vertex l is that of a neighbour's robot and comes after priority p. It was
// there first: unlike the claims of our own it stands from round to round, and when it is gone another may follow.
func (s *State) givesWay(c, l int32, p Priority) bool {
	f := &s.guests[c].foreign
	return f.neighbour != none && !s.granted[l] && f.prio.compare(p) < 0
}
