package zone

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// escalate begins a domain where the zone's first robot has not come nearer to its goal for long and what is in its way
// leads over a border, renews the one there is, and ends it when that robot has come nearer or its time is over.
func (s *State) escalate(now time.Time, out []Effect) []Effect {
	if s.dom.on {
		_, g := s.find(s.dom.robot)
		if g == nil || s.ours(g.at) == none || g.nearer.After(s.dom.since) {
			s.dom.level = 0
			return s.endDomain(now, out)
		}
		if now.Sub(s.dom.since) >= domainTime {
			return s.endDomain(now, out)
		}
		return s.renew(out)
	}
	if s.follows() || len(s.neighbours) == 0 || now.Sub(s.dom.ended) < domainRest && !s.dom.ended.IsZero() {
		return out
	}
	i := s.first()
	if i == none || now.Sub(s.guests[i].nearer) < stallTime {
		s.dom.level = 0
		return out
	}
	z := s.leadsTo(i)
	if z == none {
		return out
	}
	d := &s.dom
	d.on, d.since, d.robot, d.prio = true, now, s.guests[i].id, s.guests[i].prio
	d.term, d.level = d.term+1, min(d.level+1, maxLevel)
	d.members = d.members[:0]
	for _, n := range s.reach(z, d.level) {
		d.members = append(d.members, member{zone: n})
	}
	return s.renew(out)
}

// first is the guest of greatest priority that has a task and could move, none where there is none.
func (s *State) first() int32 {
	best := none
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || s.ours(g.at) == none || !g.req.Tasked || !g.movable() || g.req.Goal == fleet.NoVertex || g.req.Goal == g.at || g.prio.Age < 0 || g.nearer.IsZero() {
			continue
		}
		if best == none || g.prio.compare(s.guests[best].prio) > 0 {
			best = int32(i)
		}
	}
	return best
}

// leadsTo follows what is in guest i's way to the zone beyond the border where it leads; none where it stays within.
func (s *State) leadsTo(i int32) int32 {
	for range len(s.guests) {
		g := &s.guests[i]
		if g.wait.Cause == fleet.CauseAdmission {
			return none // a domain would undo the window; it ends by itself
		}
		v := g.wait.Vertex
		if g.pending.vertex != fleet.NoVertex {
			v = g.pending.vertex
		}
		if v == fleet.NoVertex || g.wait.Cause == fleet.CauseNone && g.pending.vertex == fleet.NoVertex {
			return none
		}
		if z := s.g.ZoneOf[v]; z != s.number {
			return z
		}
		next, h := s.find(g.wait.Holder)
		if h == nil || s.ours(h.at) == none {
			return none
		}
		i = next
	}
	return none
}

// reach lists the zones of a level, the zone in the way first.
func (s *State) reach(z int32, level int) []int32 {
	zones := []int32{z}
	add := func(n int32) {
		if n != s.number && !slices.Contains(zones, n) && len(zones) < maxMembers {
			zones = append(zones, n)
		}
	}
	if level > 1 {
		for _, n := range s.g.Zones[s.number].Neighbours {
			add(n)
		}
	}
	if level > 2 {
		for _, n := range slices.Clone(zones) {
			for _, m := range s.g.Zones[n].Neighbours {
				add(m)
			}
		}
	}
	return zones
}

// renew asks each member again: a Lead that is lost costs a tick.
func (s *State) renew(out []Effect) []Effect {
	for i := range s.dom.members {
		if m := &s.dom.members[i]; !m.refused {
			out = append(out, SendLead{Lead: s.leadTo(m.zone)})
		}
	}
	return out
}

func (s *State) leadTo(z int32) Lead {
	return Lead{From: s.id, To: s.g.Zones[z].ID, Epoch: s.epoch, Term: s.dom.term, Tick: s.tick, Priority: s.dom.prio}
}

// endDomain tells the members that the term is over; who does not hear it notices the silence.
func (s *State) endDomain(now time.Time, out []Effect) []Effect {
	for i := range s.dom.members {
		if m := &s.dom.members[i]; !m.refused {
			l := s.leadTo(m.zone)
			l.End = true
			out = append(out, SendLead{Lead: l})
		}
	}
	s.dom.on, s.dom.ended, s.dom.members = false, now, nil
	s.own = s.own[:0]
	return out
}

// domainView says to others in which domain the zone is.
func (s *State) domainView() Domain {
	switch {
	case s.follows():
		return Domain{Term: s.lord.term, Leader: s.g.Zones[s.lord.leader].ID}
	case s.dom.on:
		return Domain{Term: s.dom.term, Leader: s.id}
	}
	return Domain{}
}
