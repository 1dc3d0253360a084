package sim

import (
	"fmt"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// The stated bounds of liveness, counted from the end of all faults.
const (
	graceAfterFaults = 40 * time.Second // links come back, leases run out, zones hear their roll
	longestStand     = 60 * time.Second // of a healthy robot with a task
	longestCycle     = 45 * time.Second // of robots that wait for each other
)

// deadlocks is law 9, no deadlock stays: when faults have ended, no ring of robots that wait for each other stands for
// longer than its bound, no healthy robot with a task stands still for longer than its own, and every task ends.
type deadlocks struct {
	w        *World
	next     time.Duration
	over     bool // every task has ended
	standing map[string]standing
}

type standing struct{ since, seen time.Duration }

// stepped looks once a simulated second.
func (l *deadlocks) stepped() {
	w := l.w
	if w.clock.now < l.next {
		return
	}
	l.next = w.clock.now + time.Second
	l.over = w.calm && w.clock.now > w.Chaos+graceAfterFaults && l.finished()
	if !w.calm || w.DeadEnds || w.clock.now < w.Chaos+graceAfterFaults {
		return
	}
	for _, s := range w.sites {
		if w.clock.now > s.clearAt+graceAfterFaults {
			l.stuck(s)
			l.rings(s)
		}
	}
	for k, st := range l.standing {
		if st.seen != w.clock.now {
			delete(l.standing, k)
		}
	}
}

func (l *deadlocks) stuck(s *site) {
	w := l.w
	for _, r := range s.robotList {
		d := s.byID[r.id]
		if !r.up || d.gone || d.stray {
			continue
		}
		var v robot.View
		r.state.View(&v)
		if v.Task == "" || v.Move.Kind != robot.NoMove { // it charges, or waits for its turn: that has bounds of its own
			d.wishes = 0
			continue
		}
		d.wishes++ // seconds with a task
		still := min(w.clock.now-max(d.moved, s.clearAt), time.Duration(d.wishes)*time.Second)
		if still > longestStand {
			w.fail(9, "robot %s (on %d, engine says %d, base %v, robot's base %v) with task %s to %d has stood for %v; it waits for %s at %d (%s)",
				short(r.id), d.at, v.Vertex, v.Base, d.base, short(v.Task), v.Goal, still, short(v.Waiting.Holder), v.Waiting.Vertex, v.Waiting.Cause)
		}
	}
}

// rings holds robots that wait for each other against their bound.
func (l *deadlocks) rings(s *site) {
	for _, r := range s.rings() {
		l.ring(r)
	}
}

// rings finds robots that wait for each other, by what the zones say holds them up.
func (s *site) rings() (rings [][]fleet.RobotID) {
	next := map[fleet.RobotID]fleet.RobotID{}
	for _, z := range s.zones {
		for _, x := range z.view.Waits {
			if x.Holder != "" && x.Holder != x.Robot {
				next[x.Robot] = x.Holder
			}
		}
	}
	done := map[fleet.RobotID]bool{}
	for _, d := range s.devices {
		var path []fleet.RobotID
		r := d.id
		for !done[r] && next[r] != "" {
			done[r] = true
			path = append(path, r)
			r = next[r]
		}
		if k := slices.Index(path, r); k >= 0 {
			rings = append(rings, path[k:])
		}
	}
	return rings
}

func (l *deadlocks) ring(robots []fleet.RobotID) {
	w := l.w
	slices.Sort(robots)
	key := fmt.Sprint(robots)
	st, known := l.standing[key]
	if !known {
		st.since = w.clock.now
	}
	st.seen = w.clock.now
	l.standing[key] = st
	if w.clock.now-st.since > longestCycle {
		w.fail(9, "robots %v have waited for each other for %v", robots, w.clock.now-st.since)
	}
}

// finished says that every task has ended; then nothing is left to simulate.
func (l *deadlocks) finished() bool {
	for _, s := range l.w.sites {
		for _, id := range s.clients.acked {
			if t := s.journal.taskState(id); t != nil && !t.Status.Final() {
				return false
			}
		}
	}
	return true
}

// ended: every task has come to its end.
func (l *deadlocks) ended() {
	if l.w.DeadEnds {
		return
	}
	for _, s := range l.w.sites {
		for _, id := range s.clients.acked {
			if t := s.journal.taskState(id); t != nil && !t.Status.Final() {
				l.w.fail(9, "task %s of robot %s is still %s (since %v), errand %d of %v",
					short(id), short(t.Robot), t.Status, t.UpdatedAt.Sub(l.w.epoch), t.Errand, t.Spec.Errands)
			}
		}
	}
}
