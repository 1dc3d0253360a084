package actors

import (
	"context"
	"fmt"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// taskShell holds a task's core.
type taskShell struct {
	shell[task.Msg, task.Event, task.Effect]
	state *task.State
	alarm time.Time
	under tokens
}

var _ trade[task.Msg, task.Event, task.Effect] = (*taskShell)(nil)

func newTaskShell(b *box) *taskShell {
	t := &taskShell{state: &task.State{}}
	t.box, t.self, t.trade, t.subject = b, t, t, b.id
	t.fresh, b.fresh = b.fresh, false
	return t
}

// load implements living.
func (t *taskShell) load() (any, error) {
	ctx, cancel := context.WithTimeout(t.box.sys.ctx, appendTimeout)
	defer cancel()
	rec, err := t.box.sys.Store.LoadTask(ctx, t.box.sh.id, fleet.TaskID(t.box.id))
	if err != nil {
		return nil, fmt.Errorf("load task %s: %w", t.box.id, err)
	}
	return rec, nil
}

// restore implements living: it folds the log, then lets the core say again what must be said again.
func (t *taskShell) restore(rec any, absent bool) {
	t.state = &task.State{}
	if absent {
		return
	}
	r, _ := rec.(fact.TaskRecord)
	for _, e := range r.Events {
		t.state.Apply(e.At, e.Event)
	}
	t.state.Version = max(t.state.Version, r.Version)
	t.decide(task.Restored{}, nil)
}

// idle implements living.
func (t *taskShell) idle() bool {
	return t.settled() && (t.state.Version == 0 || t.state.Status.Final())
}

// Decide implements core.
func (t *taskShell) Decide(now time.Time, m task.Msg, out []task.Effect) []task.Effect {
	t.takeTokens(m)
	return t.state.Decide(now, m, out)
}

func (t *taskShell) apply(at time.Time, e task.Event) {
	t.state.Apply(at, e)
	v := *t.state
	t.box.sys.Views.TaskChanged(t.box.sh.id, e, &v)
	if t.box.sys.Telemetry != nil && v.Status.Final() {
		t.box.sys.Telemetry.TaskEnded(&v)
	}
	if _, ok := e.(task.Assigned); ok && t.state.Awards == 1 {
		since := t.state.Spec.CreatedAt
		if start := t.state.Spec.EarliestStart; start.After(since) {
			since = start
		}
		t.box.sys.metrics.assignment.Observe(t.box.sys.now().Sub(since).Seconds())
	}
}
func (t *taskShell) same(_, _ task.Event) bool { return false }

// version implements trade: each event is a version.
func (t *taskShell) version(_ task.Event, n int) int64 { return t.state.Version + int64(n) + 1 }

func (t *taskShell) admit(m task.Msg) error {
	if _, create := m.(task.CreateRequested); !create && t.state.Version == 0 {
		return fmt.Errorf("task %s: %w", t.box.id, fact.ErrNotFound)
	}
	return nil
}

// soft implements trade: each message may be a transition.
func (t *taskShell) soft(task.Msg) bool { return false }

func (t *taskShell) after(task.Msg) {}
func (t *taskShell) other(any)      {}

func (t *taskShell) woke() (task.Msg, bool) {
	due := !t.alarm.IsZero() && !t.box.sys.now().Before(t.alarm)
	return task.Woke{}, due
}

func (t *taskShell) rank(f task.Effect) rank {
	switch f.(type) {
	case task.Record:
		return rankRecord
	case task.Show:
		return rankShow
	default:
		return rankTell
	}
}

func (t *taskShell) event(f task.Effect) (task.Event, fleet.Actor, fleet.Trace) {
	r, _ := f.(task.Record)
	return r.Event, r.By, r.Trace
}

func (t *taskShell) perform(f task.Effect, a *ask) {
	sh, id := t.box.sh, fleet.TaskID(t.box.id)
	switch f := f.(type) {
	case task.Record:
	case task.Reply:
		v := *t.state
		if f.Outcome == task.Conflict {
			key := "state"
			if _, create := a.request().(task.CreateRequested); create {
				key = "task_id"
			}
			a.fail(&fact.ConflictError{Key: key, Existing: t.box.id, Task: &v})
			return
		}
		a.reply(v)
	case task.Award:
		t.tell(kindRobot, string(f.Robot), robot.TaskAwarded{
			Task: id, Errands: f.Errands, Places: f.Places, First: f.First, Priority: f.Spec.Priority, Since: f.Spec.CreatedAt, Trace: f.Trace,
		})
	case task.Withdraw:
		t.tell(kindRobot, string(f.Robot), robot.TaskWithdrawn{Task: id, Untouched: f.Untouched})
	case task.TellDispatcher:
		t.tell(kindWarehouse, "", dispatch.TaskChanged{State: f.State, Robot: f.Robot, Spec: f.Spec, Errand: f.Errand})
	case task.Show:
		v := *t.state
		t.box.sys.Views.ShowTask(sh.id, &v)
	case task.WakeAt:
		t.alarm = f.At
		t.box.wakeAt(f.At)
	}
}

// tell sends; what does not arrive was counted, and is said again after a restart or a wake.
func (t *taskShell) tell(k kind, id string, m any) { _ = t.box.sh.tell(k, id, m) }
