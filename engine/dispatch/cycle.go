package dispatch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"starling/engine/fleet"
)

// scan looks for cycles in the wait-for graph; each robot waits for at most one other.
func (s *State) scan(now time.Time, out []Effect) []Effect {
	type edge struct {
		wait fleet.Wait
		zone fleet.ZoneID
	}
	next := map[fleet.RobotID]edge{}
	for _, z := range slices.Sorted(maps.Keys(s.zones)) { // of two zones that speak of the same robot, the lower id counts
		for _, w := range s.zones[z] {
			if _, known := next[w.Robot]; !known && w.Holder != "" && w.Holder != w.Robot {
				next[w.Robot] = edge{w, z}
			}
		}
	}
	s.standing = nil
	done := map[fleet.RobotID]bool{}
	for _, start := range sortedKeys(next) {
		path := map[fleet.RobotID]int{}
		var walk []fleet.RobotID
		r := start
		for _, on := next[r]; on && !done[r]; _, on = next[r] {
			path[r] = len(walk)
			walk = append(walk, r)
			done[r] = true
			r = next[r].wait.Holder
		}
		if at, back := path[r]; back && len(walk) > 0 {
			s.standing = append(s.standing, turnToLowest(walk[at:]))
		}
	}
	for _, c := range s.standing {
		key := fmt.Sprint(c)
		st, known := s.cycles[key]
		if !known {
			st.since = now
		}
		st.seen = now
		if now.Sub(st.since) >= cycleStanding && now.Sub(st.broken) >= cycleAgain {
			st.broken = now
			y := s.yielding(c, func(id fleet.RobotID) bool { return next[id].wait.Tasked })
			s.noteYield(y, now)
			reason := fmt.Sprintf("robots %v waited for each other since %s; %s gives way", c, st.since.UTC().Format(time.RFC3339), y)
			e := CycleResolved{DecisionID: fleet.DecisionID(s.uuid()), At: now, Robots: c, Yielding: y, Reason: reason}
			out = append(out, Record{Event: e, By: fleet.Actor{Part: "dispatcher"}}, Break{Zone: next[y].zone, Robot: y})
		}
		s.cycles[key] = st
	}
	for k, st := range s.cycles {
		if st.seen != now {
			delete(s.cycles, k)
		}
	}
	return out
}

func sortedKeys[V any](m map[fleet.RobotID]V) []fleet.RobotID {
	keys := make([]fleet.RobotID, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func turnToLowest(c []fleet.RobotID) []fleet.RobotID {
	i := slices.Index(c, slices.Min(c))
	return append(slices.Clone(c[i:]), c[:i]...)
}

// yielding is who gives way: one without a task where there is one, else who gave way longest ago, else the last by id.
func (s *State) yielding(c []fleet.RobotID, tasked func(fleet.RobotID) bool) fleet.RobotID {
	return slices.MinFunc(c, func(a, b fleet.RobotID) int {
		if tasked(a) != tasked(b) {
			if tasked(b) {
				return -1
			}
			return 1
		}
		if c := s.yielded[a].Compare(s.yielded[b]); c != 0 {
			return c
		}
		return cmp.Compare(b, a)
	})
}

// noteYield remembers who gave way, of those who did so lately.
func (s *State) noteYield(id fleet.RobotID, now time.Time) {
	maps.DeleteFunc(s.yielded, func(_ fleet.RobotID, at time.Time) bool { return now.Sub(at) > yieldMemory })
	s.yielded[id] = now
}
