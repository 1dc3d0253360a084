package task

import (
	"time"

	"starling/engine/fleet"
)

// Timing is how long a task spent in which phase: a fold of its recorded events, for statistics. It holds no more of the
// task than statistics are asked by.
type Timing struct {
	Task      fleet.TaskID
	Shard     fleet.Shard
	Type      fleet.TaskType
	Priority  uint8
	Fleet     string
	Robot     fleet.RobotID // of the last award
	Version   int64         // of the last event folded; 0 = none
	Phase     fleet.TaskStatus
	PhaseAt   time.Time // since when
	CreatedAt time.Time
	DueAt     time.Time // created, or the earliest start where that is later
	Deadline  time.Time // zero = none

	AssignedAt time.Time // first award
	StartedAt  time.Time
	FinishedAt time.Time
	Awards     int
	Errands    int // done

	Delayed    time.Duration // CREATED, before it was due
	Waiting    time.Duration // CREATED and due: for a robot
	Approach   time.Duration // ASSIGNED: until its robot set off
	Executing  time.Duration
	Cancelling time.Duration
}

// Late is by how much the task ended after its deadline; 0 = in time, or it has none, or has not ended.
func (t *Timing) Late() time.Duration {
	if t.Deadline.IsZero() || t.FinishedAt.IsZero() {
		return 0
	}
	return max(0, t.FinishedAt.Sub(t.Deadline))
}

// Apply folds the event that made the task's version; one that is in already changes nothing, and counts says so. An event
// before Created was folded (its beginning is lost) changes nothing either. Clocks may step back: no phase is shorter than
// nothing.
func (t *Timing) Apply(at time.Time, version int64, e Event) (counts bool) {
	c, first := e.(Created)
	if version <= t.Version || t.Version == 0 && !first {
		return false
	}
	if first {
		s := &c.Spec
		*t = Timing{
			Task: s.ID, Shard: s.Shard, Type: s.Type, Priority: s.Priority, Fleet: s.Fleet, Phase: fleet.TaskCreated, PhaseAt: at,
			CreatedAt: at, DueAt: at, Deadline: s.Deadline,
		}
		if s.EarliestStart.After(at) {
			t.DueAt = s.EarliestStart
		}
	}
	t.Version = version
	t.spend(at)
	switch e := e.(type) {
	case Created:
	case Assigned:
		t.enter(fleet.TaskAssigned, at)
		t.Robot = e.Robot
		t.Awards++
		if t.AssignedAt.IsZero() {
			t.AssignedAt = at
		}
	case Unassigned:
		t.enter(fleet.TaskCreated, at)
	case Started:
		t.enter(fleet.TaskExecuting, at)
		if t.StartedAt.IsZero() {
			t.StartedAt = at
		}
	case ErrandReached:
		t.Errands = max(t.Errands, e.Errand+1)
	case CancelStarted:
		t.enter(fleet.TaskCancelling, at)
	case Cancelled:
		t.end(fleet.TaskCancelled, at)
	case Succeeded:
		t.end(fleet.TaskSucceeded, at)
	case Failed:
		t.end(fleet.TaskFailed, at)
	}
	return true
}

// spend adds the time since PhaseAt to the phase.
func (t *Timing) spend(at time.Time) {
	d := at.Sub(t.PhaseAt)
	if d <= 0 {
		return
	}
	switch t.Phase {
	case fleet.TaskCreated:
		delayed := min(d, max(0, t.DueAt.Sub(t.PhaseAt)))
		t.Delayed += delayed
		t.Waiting += d - delayed
	case fleet.TaskAssigned:
		t.Approach += d
	case fleet.TaskExecuting:
		t.Executing += d
	case fleet.TaskCancelling:
		t.Cancelling += d
	case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
	}
	t.PhaseAt = at
}

func (t *Timing) enter(s fleet.TaskStatus, at time.Time) {
	t.Phase = s
	if at.After(t.PhaseAt) {
		t.PhaseAt = at
	}
}

func (t *Timing) end(s fleet.TaskStatus, at time.Time) {
	t.enter(s, at)
	t.FinishedAt = at
}
