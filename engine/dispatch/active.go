package dispatch

import (
	"fmt"
	"math"
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// LimitActive bounds how many robots may hold tasks at once. 0 = what the floor takes (congestion.Active), less than 0 =
// all.
func (s *State) LimitActive(n int) { s.mostActive = n }

// active is how many robots may hold tasks at once.
func (s *State) active() int {
	n := activeOn(s.graph, s.saidActive())
	if s.relief.Active > 0 {
		n = min(n, s.relief.Active)
	}
	return n
}

// BySight says whether that number follows what is seen (congestion.Crowd) where LimitActive says nothing.
func (s *State) BySight(on bool) {
	if s.bySight = on; !on {
		s.crowd = congestion.Crowd{}
	}
}

// saidActive is the limit that is set or that what is seen calls for; 0 = what the floor takes.
func (s *State) saidActive() int {
	switch {
	case s.mostActive != 0:
		return s.mostActive
	case s.ruledActive > 0:
		return s.ruledActive
	case !s.bySight || s.graph == nil:
		return 0
	case s.crowd.Limit() == 0:
		return congestion.CrowdFirst(len(s.graph.Vertices))
	}
	return s.crowd.Limit()
}

// reviewCrowd counts the robots with tasks that stand.
func (s *State) reviewCrowd(now time.Time) {
	if s.graph == nil || s.mostActive != 0 || s.ruledActive > 0 || !s.bySight {
		return
	}
	standing := 0
	for _, waits := range s.zones { // a count: in any order
		for i := range waits {
			if waits[i].Tasked && now.Sub(waits[i].Since) >= congestion.StandsFor {
				standing++
			}
		}
	}
	s.crowd.Review(now, len(s.graph.Vertices), len(s.heldBy), standing)
}

// activeOn is how many robots may hold tasks at once on a floor, where so many are said.
func activeOn(g *roadmap.Graph, said int) int {
	switch {
	case said > 0:
		return said
	case said < 0 || g == nil:
		return math.MaxInt
	}
	return congestion.Active(len(g.Vertices))
}

// room is how many more robots may get tasks now: those that hold one, or have been offered one just now, count.
func (s *State) room(now time.Time) int {
	most := s.active()
	if len(s.robots) <= most {
		return math.MaxInt
	}
	busy := len(s.heldBy)
	for id, w := range s.robots {
		idles, offered := s.idles(now, w), !w.offered.IsZero() && now.Sub(w.offered) < offerPatience
		if !idles && !offered {
			continue // most of them
		}
		_, held := s.heldBy[id]
		switch {
		case held && idles: // the end of its task has not been heard of
			busy--
		case !held && offered:
			busy++
		}
	}
	return max(0, most-busy)
}

// crowded says why tasks wait though robots are free, "" where they need not.
func (s *State) crowded(now time.Time) string {
	if s.room(now) > 0 {
		return ""
	}
	return fullFloor(s.active())
}

func fullFloor(active int) string {
	return fmt.Sprintf("%d robots hold tasks already: more would get into each other's way on this floor", active)
}

// few serves the most urgent of the tasks, as far as the room goes. Those that nobody can do now leave their place to the
// next.
func (d *deal) few(jobs []*job) {
	slices.SortFunc(jobs, compareJobs)
	jobs = jobs[:min(len(jobs), MaxBatch)]
	for len(jobs) > 0 && len(d.matches) < d.room {
		n := min(len(jobs), d.room-len(d.matches))
		d.serve(jobs[:n])
		jobs = jobs[n:]
	}
}

// calm bounds how many idle robots are sent away, of at most so many, on a floor with more robots than may hold tasks: who
// goes aside is traffic too, and is pushed aside anyhow.
func (s *State) calm(now time.Time, most int) int {
	active := s.active()
	if len(s.robots) <= active {
		return most
	}
	left := max(1, active/calmShare)
	for _, w := range s.robots {
		if s.yard.moveOf(now, w).Kind == robot.MovePark {
			left--
		}
	}
	return max(0, min(most, left))
}

// calmShare is how many robots may hold tasks for one that goes aside. Judgement: some must, where pushes do not help.
const calmShare = 16
