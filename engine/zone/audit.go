package zone

import (
	"fmt"
	"slices"

	"starling/engine/fleet"
)

// Audit says what is wrong within the zone's own books, nil where nothing is. For simulations, after every message:
// O(vertices + robots of the zone).
func (s *State) Audit() error {
	displaced := 0
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used {
			continue
		}
		if g.displaced {
			displaced++
		}
		if g.foreign.neighbour == none && g.req.Control == fleet.ControlEngine {
			for _, v := range g.base {
				if l := s.ours(v); l != none && (s.claim[l] != int32(i) || !s.granted[l]) {
					return fmt.Errorf("robot %s holds %d, which is not granted to it", g.id, v)
				}
			}
		}
		if l := s.ours(g.at); l != none && s.occ[l] != int32(i) && !g.displaced {
			return fmt.Errorf("robot %s stands on %d, whose occupant is guest %d", g.id, g.at, s.occ[l])
		}
	}
	if displaced != s.displaced {
		return fmt.Errorf("%d robots are displaced, %d are counted", displaced, s.displaced)
	}
	for l := range s.occ {
		v := s.global(int32(l))
		if o := s.occ[l]; o != none && (!s.guests[o].used || s.guests[o].at != v) {
			return fmt.Errorf("occupant of %d is guest %d (%q), which is on %d", v, o, s.guests[o].id, s.guests[o].at)
		}
		if err := s.auditClaim(int32(l), v); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) auditClaim(l int32, v fleet.Vertex) error {
	c := s.claim[l]
	if c == none {
		if s.granted[l] {
			return fmt.Errorf("vertex %d is granted to nobody", v)
		}
		return nil
	}
	g := &s.guests[c]
	switch {
	case !g.used:
		return fmt.Errorf("vertex %d is claimed by guest %d, who is gone", v, c)
	case s.granted[l] && !slices.Contains(g.base, v):
		return fmt.Errorf("vertex %d is granted to %s, which holds %v", v, g.id, g.base)
	case !s.granted[l] && g.next != v && g.foreign.local != l:
		return fmt.Errorf("vertex %d is claimed by %s, which goes to %d", v, g.id, g.next)
	}
	return nil
}
