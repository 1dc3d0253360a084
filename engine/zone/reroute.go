package zone

import (
	"slices"
	"time"
)

// reroute tells robots under way where they go beyond what they are granted, where that is another way than they were told
// since lanes were closed, slowed or crowded: they need not come to the end of their grants to hear of it.
func (s *State) reroute(now time.Time, out []Effect) []Effect {
	if !s.relaid || !s.mayGrant(now) {
		return out
	}
	s.relaid = false
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || len(g.base) == 0 || s.ours(g.tail()) == none || g.foreign.neighbour != none || now.After(g.expires) {
			continue // a lease that has ended is not renewed by this: what it was for is suspect
		}
		if !slices.Equal(s.horizon(g, g.tail()), g.ahead) {
			out = s.regrant(now, int32(i), out)
		}
	}
	return out
}
