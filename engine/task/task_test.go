package task_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/task"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// live performs records at once, as a shell with a good store does, and keeps the log.
type live struct {
	task.State
	log []task.Event
	at  []time.Time
	now time.Time
}

func (l *live) tell(m task.Msg) []task.Effect {
	l.now = l.now.Add(time.Second)
	out := l.Decide(l.now, m, nil)
	for _, e := range out {
		if r, ok := e.(task.Record); ok {
			l.Apply(l.now, r.Event)
			l.log, l.at = append(l.log, r.Event), append(l.at, l.now)
		}
	}
	return out
}

func fresh() *live {
	l := &live{now: t0}
	l.tell(task.CreateRequested{Spec: task.Spec{ID: "task-1", Errands: []fleet.Vertex{3, 7}, Places: []string{"3", "7"}}})
	return l
}

func has[E task.Effect](effects []task.Effect) (e E, ok bool) {
	for _, x := range effects {
		if e, ok = x.(E); ok {
			return e, true
		}
	}
	return e, false
}

func TestATaskGoesFromCreationToSuccess(t *testing.T) {
	t.Parallel()
	l := fresh()
	if a, ok := has[task.Award](l.tell(task.AwardOffered{Robot: "r1"})); !ok || a.Robot != "r1" || l.Status != fleet.TaskAssigned {
		t.Fatalf("award: %v %v", a, l.Status)
	}
	l.tell(task.RobotStarted{Robot: "r1"})
	if l.Status != fleet.TaskExecuting {
		t.Fatal(l.Status)
	}
	l.tell(task.RobotReached{Robot: "r1", Errand: 0})
	if out := l.tell(task.RobotReached{Robot: "r1", Errand: 0}); len(out) != 0 {
		t.Errorf("an errand reached twice has effects: %v", out)
	}
	l.tell(task.RobotReached{Robot: "r1", Errand: 1})
	if l.Status != fleet.TaskSucceeded || l.Errand != 2 || l.FinishedAt.IsZero() {
		t.Fatalf("%+v", l.State)
	}
	if r, _ := has[task.Reply](l.tell(task.CancelRequested{})); r.Outcome != task.Conflict {
		t.Error("a task that succeeded was cancelled")
	}
}

func TestCancelEndsWithoutTheRobot(t *testing.T) {
	t.Parallel()
	l := fresh()
	l.tell(task.AwardOffered{Robot: "r1"})
	out := l.tell(task.CancelRequested{Reason: "wrong place"})
	if w, ok := has[task.Withdraw](out); !ok || w.Robot != "r1" || l.Status != fleet.TaskCancelling {
		t.Fatalf("%v %v", l.Status, out)
	}
	if r, _ := has[task.Reply](l.tell(task.CancelRequested{})); r.Outcome != task.Done {
		t.Error("a second cancel was refused")
	}
	l.now = l.now.Add(task.CancelBound)
	l.tell(task.Woke{})
	if l.Status != fleet.TaskCancelled || l.Reason != "wrong place" {
		t.Fatalf("%v %q", l.Status, l.Reason)
	}
}

func TestARobotWithoutTheTaskIsToldToLetGo(t *testing.T) {
	t.Parallel()
	l := fresh()
	l.tell(task.AwardOffered{Robot: "r1"})
	if w, ok := has[task.Withdraw](l.tell(task.RobotStarted{Robot: "r2"})); !ok || w.Robot != "r2" {
		t.Error("r2 works on")
	}
}

func message(t *rapid.T) task.Msg {
	r := fleet.RobotID(rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "robot"))
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return task.AwardOffered{Robot: r, Decision: task.Decision{At: t0}}
	case 1:
		return task.RobotStarted{Robot: r}
	case 2:
		return task.RobotReached{Robot: r, Errand: rapid.IntRange(-1, 3).Draw(t, "errand")}
	case 3:
		return task.RobotRefused{Robot: r, Reason: "broken", Fatal: rapid.Bool().Draw(t, "fatal")}
	case 4:
		return task.RobotLetGo{Robot: r}
	case 5:
		return task.CancelRequested{Reason: "no"}
	case 6:
		return task.Woke{}
	case 7:
		return task.Restored{}
	case 8:
		return task.RecallRequested{Robot: r, Reason: "another is nearer"}
	default:
		return task.CreateRequested{}
	}
}

func TestReplayEqualsLiveAndAnEndIsFinal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := fresh()
		for range rapid.IntRange(0, 40).Draw(t, "messages") {
			was := l.Status
			l.tell(message(t))
			if was.Final() && l.Status != was {
				t.Fatalf("%v became %v", was, l.Status)
			}
		}
		var replay task.State
		for i, e := range l.log {
			replay.Apply(l.at[i], e)
		}
		if replay.Digest() != l.Digest() {
			t.Fatalf("replay %+v, live %+v", replay, l.State)
		}
		// However it went, a cancel ends it within the bound.
		l.tell(task.CancelRequested{})
		l.now = l.now.Add(task.CancelBound)
		l.tell(task.Woke{})
		if !l.Status.Final() {
			t.Fatalf("still %v after a cancel", l.Status)
		}
	})
}

func TestTheDigestKnowsEveryFieldOfTheSpec(t *testing.T) {
	t.Parallel()
	seen := map[uint64]string{}
	for name, change := range map[string]func(*task.Spec){
		"nothing":  func(*task.Spec) {},
		"type":     func(s *task.Spec) { s.Type++ },
		"priority": func(s *task.Spec) { s.Priority = 9 },
		"start":    func(s *task.Spec) { s.EarliestStart = time.Unix(1, 0) },
		"deadline": func(s *task.Spec) { s.Deadline = time.Unix(1, 0) },
		"created":  func(s *task.Spec) { s.CreatedAt = time.Unix(1, 0) },
		"payload":  func(s *task.Spec) { s.Payload = []byte("x") },
		"errands":  func(s *task.Spec) { s.Errands = []fleet.Vertex{1} },
		"places":   func(s *task.Spec) { s.Places = []string{"x"} },
		"robot":    func(s *task.Spec) { s.Robot = "x" },
		"fleet":    func(s *task.Spec) { s.Fleet = "x" },
		"source":   func(s *task.Spec) { s.Source = "x" },
		"creator":  func(s *task.Spec) { s.CreatedBy = "x" },
		"shard":    func(s *task.Spec) { s.Shard.Tenant = "x" },
	} {
		var s task.State
		spec := task.Spec{ID: "t"}
		change(&spec)
		s.Apply(time.Unix(0, 0), task.Created{Spec: spec})
		if other, twice := seen[s.Digest()]; twice {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[s.Digest()] = name
	}
}

func TestARecallTakesATaskThatNobodyHasBegun(t *testing.T) {
	t.Parallel()
	l := fresh()
	l.tell(task.AwardOffered{Robot: "r1"})
	if w, ok := has[task.Withdraw](l.tell(task.RecallRequested{Robot: "r1", Reason: "another is nearer"})); !ok || w.Robot != "r1" || !w.Untouched {
		t.Fatalf("%+v", w)
	}
	if l.Status == fleet.TaskCreated {
		t.Fatal("another may have it before its robot has let go")
	}
	if d, ok := has[task.TellDispatcher](l.tell(task.RobotLetGo{Robot: "r1"})); !ok || d.State != task.Open || l.Status != fleet.TaskCreated || l.Reason == "" {
		t.Fatalf("%+v, %s", d, l.Status)
	}
	if out := l.tell(task.RobotLetGo{Robot: "r1"}); len(out) != 0 {
		t.Errorf("let go again: %+v", out)
	}
}

func TestARecallThatComesTooLateChangesNothing(t *testing.T) {
	t.Parallel()
	l := fresh()
	l.tell(task.AwardOffered{Robot: "r1"})
	if out := l.tell(task.RobotLetGo{Robot: "r1"}); len(out) != 0 || l.Status != fleet.TaskAssigned {
		t.Errorf("let go unasked: %+v", out)
	}
	l.tell(task.RecallRequested{Robot: "r1", Reason: "another is nearer"})
	l.tell(task.RobotReached{Robot: "r1", Errand: 0})
	if out := l.tell(task.RobotLetGo{Robot: "r1"}); len(out) != 0 || l.Status != fleet.TaskExecuting {
		t.Errorf("%+v, %s", out, l.Status)
	}
	if d, ok := has[task.TellDispatcher](l.tell(task.RecallRequested{Robot: "r1"})); !ok || d.State != task.Held || d.Errand != 1 {
		t.Errorf("%+v", d)
	}
}

// A dispatcher that would take a task back that nobody has any more has missed what became of it.
func TestARecallOfATaskThatNobodyHasIsAnswered(t *testing.T) {
	t.Parallel()
	l := fresh()
	if d, ok := has[task.TellDispatcher](l.tell(task.RecallRequested{Robot: "r1"})); !ok || d.State != task.Open {
		t.Errorf("open: %+v", d)
	}
	l.tell(task.AwardOffered{Robot: "r1"})
	l.tell(task.CancelRequested{})
	if d, ok := has[task.TellDispatcher](l.tell(task.RecallRequested{Robot: "r1"})); !ok || d.State != task.Held {
		t.Errorf("being cancelled: %+v", d)
	}
	l.tell(task.RobotLetGo{Robot: "r1"})
	if d, ok := has[task.TellDispatcher](l.tell(task.RecallRequested{Robot: "r1"})); !ok || d.State != task.Closed {
		t.Errorf("ended: %+v, %s", d, l.Status)
	}
}
