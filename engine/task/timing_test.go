package task_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/task"
)

// Whatever happens to a task, in whatever order of legal steps and however often each event is told, its phases add up to
// its life, and telling events again changes nothing.
func TestTheTimesOfATaskAddUpToItsLife(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		step := rapid.IntRange(0, 100_000)
		spec := task.Spec{ID: "t", Shard: fleet.Shard{Tenant: "a", Warehouse: "w"}}
		if ms := rapid.IntRange(-1000, 200_000).Draw(t, "start"); ms >= 0 {
			spec.EarliestStart = began.Add(time.Duration(ms) * time.Millisecond)
		}
		type told struct {
			at time.Time
			e  task.Event
		}
		log := []told{{began, task.Created{Spec: spec}}}
		var s task.State
		at := began
		s.Apply(at, log[0].e)
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			var legal []task.Event
			switch s.Status {
			case fleet.TaskCreated:
				legal = []task.Event{task.Assigned{Robot: "r"}, task.Cancelled{}}
			case fleet.TaskAssigned:
				legal = []task.Event{task.Started{}, task.Unassigned{Robot: "r"}, task.CancelStarted{}, task.Failed{}}
			case fleet.TaskExecuting:
				legal = []task.Event{task.ErrandReached{Errand: s.Errand}, task.Unassigned{Robot: "r"}, task.CancelStarted{}, task.Succeeded{}, task.Failed{}}
			case fleet.TaskCancelling:
				legal = []task.Event{task.Cancelled{}}
			case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
				continue
			}
			at = at.Add(time.Duration(step.Draw(t, "after")) * time.Millisecond)
			e := rapid.SampledFrom(legal).Draw(t, "event")
			s.Apply(at, e)
			log = append(log, told{at, e})
		}
		var x task.Timing
		for i, l := range log {
			for back := rapid.IntRange(0, i).Draw(t, "again from"); back < i; back++ {
				if x.Apply(log[back].at, int64(back+1), log[back].e) {
					t.Fatalf("event %d counted twice", back+1)
				}
			}
			if !x.Apply(l.at, int64(i+1), l.e) {
				t.Fatalf("event %d did not count", i+1)
			}
		}
		if sum := x.Delayed + x.Waiting + x.Approach + x.Executing + x.Cancelling; sum != at.Sub(began) {
			t.Fatalf("phases add up to %v of %v: %+v", sum, at.Sub(began), x)
		}
		if x.Phase != s.Status || x.Awards != s.Awards || x.Errands != s.Errand || x.Version != s.Version || !x.FinishedAt.Equal(s.FinishedAt) || !x.StartedAt.Equal(s.StartedAt) {
			t.Fatalf("%+v of %+v", x, s)
		}
	})
}

func TestAHistoryWithoutItsBeginningHasNoTimes(t *testing.T) {
	t.Parallel()
	var x task.Timing
	if x.Apply(time.Now(), 3, task.Started{}) || x != (task.Timing{}) {
		t.Fatalf("%+v", x)
	}
}

func TestALateTaskIsLateByItsEnd(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x := task.Timing{Deadline: at}
	if x.Late() != 0 {
		t.Error("late before its end")
	}
	if x.FinishedAt = at.Add(time.Minute); x.Late() != time.Minute {
		t.Error(x.Late())
	}
	if x.FinishedAt = at.Add(-time.Minute); x.Late() != 0 {
		t.Error(x.Late())
	}
}
