package dispatch

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
)

// Until a task's first errand is done, it may be given to another robot: to one that has become free and is there much
// sooner, or its robot is taken for something far more urgent. Both only where the gain is clear, and not again and again:
// the task itself decides, the robot must have let go first.
const (
	swapGain    = 10.0 // seconds that a swap must gain
	swapShare   = 0.3  // and this share of the way that is left
	maxSwaps    = 2    // of one task
	swapsAtOnce = 32   // of one batch
	preemptFrom = 5    // priority from which a task may take the robot of another
	preemptBy   = 3    // that has so much less
	preemptMost = 8    // tasks of one batch that look for such a robot

	preemptAgain = 3 * offerPatience // until a task that got none looks again: a recall may be refused
	speedMPS     = 1.0               // of robots that do not say theirs
)

// engaged is a task that a robot has and has not begun to carry out.
type engaged struct {
	job      // not on the market
	robot    fleet.RobotID
	from     fleet.Vertex // where the robot was when it got it
	at       time.Time
	recalled time.Time // zero = not
}

// engage notes who has the task, and whether it may still be taken away.
func (s *State) engage(now time.Time, m TaskChanged) {
	id := m.Spec.ID
	e := s.engaged[id]
	if m.State != task.Held || m.Errand > 0 || e != nil && e.robot != m.Robot {
		if e != nil {
			s.disengage(e)
			e = nil
		}
	}
	switch {
	case m.State == task.Closed || m.State == task.Held && m.Errand > 0:
		delete(s.swaps, id)
	case m.State == task.Held && e == nil:
		w := s.robots[m.Robot]
		if w == nil || !on(s.graph, w.At) {
			return
		}
		e = &engaged{job: job{spec: m.Spec, needs: m.Spec.Requires()}, robot: m.Robot, from: w.At, at: now}
		e.place(nil, s.graph)
		if e.goal == fleet.NoVertex {
			return
		}
		v := &s.graph.Vertices[e.goal]
		e.x, e.y = v.X, v.Y
		s.measure(&e.job)
		s.engaged[id] = e
		s.pickups.add(spot[engaged]{e.x, e.y, string(id), e})
	}
}

func (s *State) disengage(e *engaged) {
	delete(s.engaged, e.spec.ID)
	s.pickups.remove(e.x, e.y, e)
}

// left is what the robot still has to drive to the task's first errand, in seconds, if nothing has kept it since: rather
// too little than too much, so that nothing is swapped in vain. Share is how much of the way that is.
func (s *State) left(now time.Time, e *engaged) (seconds, share float64) {
	speed := speedMPS
	if w := s.robots[e.robot]; w != nil && w.SpeedMPS > 0 {
		speed = w.SpeedMPS
	}
	all := s.graph.Manhattan(e.from, e.goal)
	rest := max(0, all-speed*now.Sub(e.at).Seconds())
	return rest, rest / max(all, 1)
}

// swap takes tasks back for robots that have become free and got nothing, where they would be there much sooner.
func (s *State) swap(now time.Time, free []*worker, out []Effect) []Effect {
	n := 0
	free = slices.SortedFunc(slices.Values(free), func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) })
	for _, w := range free {
		if !w.in || n >= swapsAtOnce || len(s.engaged) == 0 {
			continue
		}
		var near []found[engaged]
		near = s.pickups.nearest(w.x, w.y, 4, func(e *engaged) bool { return s.mayRecall(now, e) && s.could(w, &e.job) }, near)
		var best *engaged
		gain := 0.0
		for _, f := range near {
			left, _ := s.left(now, f.item)
			if g := left - f.dist; g > max(swapGain, swapShare*left) && g > gain {
				best, gain = f.item, g
			}
		}
		if best == nil {
			continue
		}
		n++
		w.offered = now // it is kept for that task until its robot has let go, or patience ends
		s.market.dropWorker(w)
		s.keep(now, best.spec.ID, w)
		out = append(out, s.recall(now, best, fmt.Sprintf("robot %s has become free and is there %.0f s sooner", w.ID, gain)))
	}
	return out
}

// could says that the robot may have the task and can get there.
func (s *State) could(w *worker, j *job) bool {
	return on(s.graph, w.At) && suits(j, w) && s.market.ground.sure(w.At, j.goal) && w.lasts(j, s.graph.Manhattan(w.At, j.goal))
}

func (s *State) mayRecall(now time.Time, e *engaged) bool {
	return s.swaps[e.spec.ID] < maxSwaps && (e.recalled.IsZero() || now.Sub(e.recalled) > offerPatience)
}

func (s *State) recall(now time.Time, e *engaged, reason string) Effect {
	e.recalled = now
	s.swaps[e.spec.ID]++
	return Recall{Task: e.spec.ID, Robot: e.robot, Reason: reason}
}

// keep notes that a robot waits for a task that is being taken back for it.
func (s *State) keep(now time.Time, id fleet.TaskID, w *worker) {
	s.holds[id] = hold{w, now}
}

// hold is a robot that waits for a task.
type hold struct {
	worker *worker
	since  time.Time
}

// release ends the wait of a robot when its task has come back, or has not.
func (s *State) release(now time.Time, id fleet.TaskID) {
	h, ok := s.holds[id]
	if !ok {
		return
	}
	delete(s.holds, id)
	if h.worker.offered.Equal(h.since) && s.robots[h.worker.ID] == h.worker {
		h.worker.offered = time.Time{}
		s.seat(now, h.worker)
	}
}

// stillUrgent lists the urgent tasks that have not looked for a robot that another task has, or not lately: there was none,
// or it did not let go. In no order.
func (s *State) stillUrgent(now time.Time) []*job {
	var again []*job
	see := func(j *job) {
		if j.spec.Priority >= preemptFrom && now.Sub(j.looked) >= preemptAgain {
			again = append(again, j)
		}
	}
	for _, sh := range s.market.shelves {
		for _, j := range sh.all {
			see(j)
		}
	}
	for _, own := range s.market.pinned {
		for _, j := range own {
			see(j)
		}
	}
	return again
}

// preempt takes robots from tasks that are far less urgent than one that nobody free can do.
func (s *State) preempt(now time.Time, open []*job, out []Effect) []Effect {
	urgentOnes := make([]*job, 0, preemptMost)
	for _, j := range open {
		if j.in && j.spec.Priority >= preemptFrom && (j.preempted.IsZero() || now.Sub(j.preempted) > offerPatience) {
			urgentOnes = append(urgentOnes, j)
		}
	}
	if len(urgentOnes) == 0 || len(s.engaged) == 0 {
		return out
	}
	slices.SortFunc(urgentOnes, compareJobs)
	for _, j := range urgentOnes[:min(len(urgentOnes), preemptMost)] {
		j.looked = now
		var best *engaged
		cost := math.Inf(1)
		for _, e := range s.engaged {
			w := s.robots[e.robot]
			if w == nil || e.spec.Priority+preemptBy > j.spec.Priority || !s.mayRecall(now, e) || !s.could(w, j) {
				continue
			}
			// The robot is somewhere between where it was and where it goes.
			left, share := s.left(now, e)
			c := share*s.graph.Manhattan(e.from, j.goal) + (1-share)*s.graph.Manhattan(e.goal, j.goal)
			if c-bonus(now, &j.spec) > left-bonus(now, &e.spec)-swapGain { // it would go on with what it has
				continue
			}
			if c < cost || c == cost && e.spec.ID < best.spec.ID {
				best, cost = e, c
			}
		}
		if best == nil {
			continue
		}
		j.preempted = now
		out = append(out, s.recall(now, best, fmt.Sprintf("its robot is wanted for task %s of priority %d", j.spec.ID, j.spec.Priority)))
	}
	return out
}
