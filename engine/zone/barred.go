package zone

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

const (
	barAfter  = 3 * time.Second // of standing, before others are led round a robot that cannot move
	barredMax = 64              // vertices named; who stands longest first is not worth the effort: such zones have other troubles
)

// barred lists our vertices on which robots stand that cannot move (paused, in error, silent beyond their lease, under
// others' control): nobody can push them away, so routes should lead round them.
func (s *State) barred(now time.Time) []fleet.Vertex {
	var vs []fleet.Vertex
	for i := range s.guests {
		g := &s.guests[i]
		stuck := !g.movable() || len(g.base) > 0 && now.After(g.expires)
		if g.used && stuck && !g.expected && s.ours(g.at) != none && now.Sub(g.stands) > barAfter {
			vs = append(vs, g.at)
			for _, v := range g.base {
				if s.ours(v) != none {
					vs = append(vs, v)
				}
			}
		}
	}
	slices.Sort(vs)
	vs = slices.Compact(vs)
	return vs[:min(len(vs), barredMax)]
}
