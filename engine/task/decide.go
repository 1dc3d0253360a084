package task

import (
	"fmt"
	"hash/fnv"
	"time"

	"starling/engine/fleet"
)

// maxAwards is how many robots may have the task before it fails: a task that every robot refuses must end.
const maxAwards = 10

// awardPatience is how long an awarded robot may take to set off before the award is told again; retellAfter is after
// how long an open task tells the dispatcher again, and a task under way its robot: one of them may have missed it.
const (
	awardPatience = 5 * time.Second
	retellAfter   = 15 * time.Second
)

// Apply folds one recorded event into s: the only writer of its fields, live and in recovery.
func (s *State) Apply(at time.Time, e Event) {
	s.Version++
	s.UpdatedAt = at
	switch e := e.(type) {
	case Created:
		s.Spec, s.Status = e.Spec, fleet.TaskCreated
	case Assigned:
		s.Status, s.Robot, s.AssignedAt, s.Reason = fleet.TaskAssigned, e.Robot, at, ""
		s.Awards++
		s.recall = ""
	case Unassigned:
		s.recall = ""
		s.Status, s.Robot, s.Reason, s.before = fleet.TaskCreated, "", e.Reason, e.Robot
	case Started:
		s.Status = fleet.TaskExecuting
		if s.StartedAt.IsZero() {
			s.StartedAt = at
		}
	case ErrandReached:
		s.Errand = e.Errand + 1
	case CancelStarted:
		s.Status, s.Reason = fleet.TaskCancelling, e.Reason
	case Cancelled:
		s.Status, s.Reason, s.FinishedAt = fleet.TaskCancelled, e.Reason, at
	case Succeeded:
		s.Status, s.FinishedAt = fleet.TaskSucceeded, at
	case Failed:
		s.Status, s.Reason, s.FinishedAt = fleet.TaskFailed, e.Reason, at
	}
}

// Digest is a hash of the durable fields: equal digests mean equal tasks.
func (s *State) Digest() uint64 {
	h := fnv.New64a()
	t := &s.Spec
	fmt.Fprintf(h, "%q %q %d %d %q %v %q %q %q %q %q %d %d %d ", t.ID, t.Shard.Key(), t.Type, t.Priority, t.Payload, t.Errands, t.Places, t.Robot,
		t.Fleet, t.Source, t.CreatedBy, t.EarliestStart.UnixMilli(), t.Deadline.UnixMilli(), t.CreatedAt.UnixMilli())
	fmt.Fprintf(h, "%d %q %d %q %d %d %d %d %d", s.Status, s.Robot, s.Errand, s.Reason, s.Version, s.Awards,
		s.AssignedAt.UnixMilli(), s.StartedAt.UnixMilli(), s.FinishedAt.UnixMilli())
	return h.Sum64()
}

// Decide appends to out, in order, what the shell must do about m. It changes nothing: Apply does.
func (s *State) Decide(now time.Time, m Msg, out []Effect) []Effect {
	if s.Version == 0 {
		if c, ok := m.(CreateRequested); ok {
			return append(out, Record{Event: Created{Spec: c.Spec}, By: c.By, Trace: c.Trace},
				Reply{Outcome: Done}, TellDispatcher{State: Open, Spec: c.Spec}, WakeAt{At: now.Add(retellAfter)}, Show{})
		}
		return out
	}
	switch m := m.(type) {
	case CreateRequested:
		return append(out, Reply{Outcome: Conflict})
	case AwardOffered:
		return s.awardOffered(now, m, out)
	case RobotStarted:
		if m.Robot == s.Robot && s.Status == fleet.TaskAssigned {
			out = s.record(out, Started{}, "robot")
			return append(out, WakeAt{At: now.Add(retellAfter)}, Show{})
		}
		return s.correct(m.Robot, out)
	case RobotReached:
		return s.robotReached(now, m, out)
	case RobotRefused:
		return s.robotRefused(now, m, out)
	case RecallRequested:
		return s.recallRequested(m, out)
	case RobotLetGo:
		return s.robotLetGo(now, m, out)
	case CancelRequested:
		return s.cancelRequested(now, m, out)
	case Woke:
		return s.woke(now, out)
	case Restored:
		return s.restored(now, out)
	}
	return out
}

func (s *State) record(out []Effect, e Event, part string) []Effect {
	return append(out, Record{Event: e, By: fleet.Actor{Part: part}})
}

func (s *State) closed(out []Effect) []Effect {
	return append(out, TellDispatcher{State: Closed, Robot: s.Robot, Spec: s.Spec}, WakeAt{}, Show{})
}

func (s *State) held() Effect {
	return TellDispatcher{State: Held, Robot: s.Robot, Spec: s.Spec, Errand: s.Errand}
}

// active says that the robot has the task now.
func (s *State) active() bool {
	return s.Status == fleet.TaskAssigned || s.Status == fleet.TaskExecuting
}

func (s *State) award(trace fleet.Trace) Award {
	return Award{Robot: s.Robot, Errands: s.Spec.Errands, Places: s.Spec.Places, First: s.Errand, Spec: s.Spec, Trace: trace}
}

func (s *State) awardOffered(now time.Time, m AwardOffered, out []Effect) []Effect {
	switch {
	case s.Status == fleet.TaskCreated:
		a := s.award(m.Trace)
		a.Robot = m.Robot
		if s.Awards > 0 {
			m.Decision.Before, m.Decision.Because = s.before, s.Reason
		}
		return append(out, Record{Event: Assigned{Robot: m.Robot, Decision: m.Decision}, By: fleet.Actor{Part: "dispatcher"}, Trace: m.Trace},
			a, TellDispatcher{State: Held, Robot: m.Robot, Spec: s.Spec, Errand: s.Errand}, WakeAt{At: now.Add(awardPatience)}, Show{})
	case s.active():
		return append(out, s.held())
	default:
		return append(out, TellDispatcher{State: Closed, Robot: s.Robot, Spec: s.Spec})
	}
}

// correct tells a robot that works for a task it does not have (any more) to let go.
func (s *State) correct(robot fleet.RobotID, out []Effect) []Effect {
	if robot == s.Robot && s.active() {
		return out
	}
	return append(out, Withdraw{Robot: robot})
}

func (s *State) robotReached(now time.Time, m RobotReached, out []Effect) []Effect {
	if m.Robot != s.Robot || !s.active() {
		return s.correct(m.Robot, out)
	}
	if m.Errand < s.Errand || m.Errand >= len(s.Spec.Errands) {
		return out
	}
	if s.Status == fleet.TaskAssigned {
		out = s.record(out, Started{}, "robot")
	}
	out = s.record(out, ErrandReached{Errand: m.Errand}, "robot")
	if m.Errand == len(s.Spec.Errands)-1 {
		out = s.record(out, Succeeded{}, "robot")
		return s.closed(out)
	}
	if s.Errand == 0 { // from here on its robot keeps it
		out = append(out, TellDispatcher{State: Held, Robot: s.Robot, Spec: s.Spec, Errand: m.Errand + 1})
	}
	return append(out, WakeAt{At: now.Add(retellAfter)}, Show{})
}

// recallRequested asks the robot to let go. It may have done an errand by then: it says so, and keeps the task.
func (s *State) recallRequested(m RecallRequested, out []Effect) []Effect {
	switch {
	case s.Status == fleet.TaskCreated:
		return append(out, TellDispatcher{State: Open, Spec: s.Spec})
	case s.Status.Final(): // the dispatcher has missed its end
		return append(out, TellDispatcher{State: Closed, Robot: s.Robot, Spec: s.Spec})
	case s.Status == fleet.TaskCancelling, m.Robot != s.Robot, s.Errand > 0:
		return append(out, s.held())
	}
	s.recall = m.Reason
	return append(out, Withdraw{Robot: s.Robot, Untouched: true})
}

func (s *State) robotLetGo(now time.Time, m RobotLetGo, out []Effect) []Effect {
	switch {
	case m.Robot != s.Robot:
		return out
	case s.Status == fleet.TaskCancelling:
		out = s.record(out, Cancelled{Reason: s.Reason, Confirmed: true}, "robot")
		return s.closed(out)
	case s.active() && s.recall != "" && s.Errand == 0:
		return s.reopen(now, s.recall, "dispatcher", out)
	}
	return out
}

// reopen takes the task from its robot, for another to have it.
func (s *State) reopen(now time.Time, reason, part string, out []Effect) []Effect {
	out = s.record(out, Unassigned{Robot: s.Robot, Reason: reason}, part)
	return append(out, TellDispatcher{State: Open, Spec: s.Spec}, WakeAt{At: now.Add(retellAfter)}, Show{})
}

func (s *State) robotRefused(now time.Time, m RobotRefused, out []Effect) []Effect {
	if m.Robot != s.Robot {
		return out
	}
	switch {
	case s.Status == fleet.TaskCancelling:
		out = s.record(out, Cancelled{Reason: s.Reason, Confirmed: true}, "robot")
		return s.closed(out)
	case !s.active():
		return out
	case m.Fatal || s.Awards >= maxAwards:
		out = s.record(out, Failed{Reason: m.Reason}, "robot")
		return s.closed(out)
	}
	return s.reopen(now, m.Reason, "robot", out)
}

func (s *State) cancelRequested(now time.Time, m CancelRequested, out []Effect) []Effect {
	switch s.Status {
	case fleet.TaskSucceeded, fleet.TaskFailed:
		return append(out, Reply{Outcome: Conflict})
	case fleet.TaskCancelling, fleet.TaskCancelled:
		return append(out, Reply{Outcome: Done})
	case fleet.TaskCreated:
		out = append(out, Record{Event: Cancelled{Reason: m.Reason}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done})
		return s.closed(out)
	case fleet.TaskAssigned, fleet.TaskExecuting:
	}
	return append(out, Record{Event: CancelStarted{Reason: m.Reason}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done},
		Withdraw{Robot: s.Robot}, WakeAt{At: now.Add(CancelBound)}, Show{})
}

// woke tells an award again that nobody has taken up, and ends a cancellation that nobody confirms.
func (s *State) woke(now time.Time, out []Effect) []Effect {
	switch s.Status {
	case fleet.TaskAssigned:
		return append(out, s.award(""), WakeAt{At: now.Add(awardPatience)})
	case fleet.TaskCreated:
		return append(out, TellDispatcher{State: Open, Spec: s.Spec}, WakeAt{At: now.Add(retellAfter)})
	case fleet.TaskExecuting:
		return append(out, s.award(""), WakeAt{At: now.Add(retellAfter)})
	case fleet.TaskCancelling:
		if now.Sub(s.UpdatedAt) < CancelBound {
			return append(out, Withdraw{Robot: s.Robot}, WakeAt{At: s.UpdatedAt.Add(CancelBound)})
		}
		out = s.record(out, Cancelled{Reason: s.Reason}, "engine")
		return s.closed(append(out, Withdraw{Robot: s.Robot}))
	case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
	}
	return out
}

func (s *State) restored(now time.Time, out []Effect) []Effect {
	switch s.Status {
	case fleet.TaskCreated:
		return append(out, TellDispatcher{State: Open, Spec: s.Spec}, WakeAt{At: now.Add(retellAfter)}, Show{})
	case fleet.TaskAssigned:
		return append(out, s.held(), s.award(""), WakeAt{At: now.Add(awardPatience)}, Show{})
	case fleet.TaskExecuting:
		return append(out, s.held(), s.award(""), WakeAt{At: now.Add(retellAfter)}, Show{})
	case fleet.TaskCancelling:
		return append(out, s.held(), Withdraw{Robot: s.Robot}, WakeAt{At: now.Add(CancelBound)}, Show{})
	case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
	}
	return append(out, Show{})
}
