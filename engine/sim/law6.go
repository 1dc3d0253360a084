package sim

import (
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
)

// once is law 6, at least once on the wire and exactly once in effect: however often messages arrive, a task's log
// has each transition once and in order, and an errand counts only when the robot of the award has really been there,
// after the errand before it.
type once struct {
	w     *World
	tasks map[string]*life
}

// life is a task as its log tells it.
type life struct {
	spec    task.Spec
	robot   fleet.RobotID
	started bool // since the award
	errand  int
	since   time.Duration // of the award, then of the visit of the last errand
	cancel  bool
	final   bool
}

func (l *once) recorded(s *site, f fact.Fact) {
	e, ok := f.Event.(task.Event)
	if !ok {
		return
	}
	t := l.tasks[f.Subject]
	created, isNew := e.(task.Created)
	if isNew != (t == nil) {
		l.w.fail(6, "task %s: %T recorded, created before: %v", short(f.Subject), e, t != nil)
		return
	}
	if isNew {
		l.tasks[f.Subject] = &life{spec: created.Spec}
		return
	}
	if t.final || !t.takes(e) {
		l.w.fail(6, "task %s: %T recorded after %+v", short(f.Subject), e, *t)
		return
	}
	l.fold(s, f, t, e)
}

// takes says whether the event may follow what the log has so far.
func (t *life) takes(e task.Event) bool {
	switch e := e.(type) {
	case task.Created:
		return false
	case task.Assigned:
		return t.robot == "" && !t.cancel
	case task.Unassigned:
		return t.robot == e.Robot && !t.cancel
	case task.Started:
		return t.robot != "" && !t.started && !t.cancel
	case task.ErrandReached:
		return t.started && e.Errand >= t.errand && e.Errand < len(t.spec.Errands)
	case task.Succeeded:
		return t.started && t.errand == len(t.spec.Errands)
	case task.CancelStarted:
		return t.robot != "" && !t.cancel
	case task.Cancelled:
		return t.cancel || t.robot == ""
	case task.Failed:
		return true
	}
	return false
}

func (l *once) fold(s *site, f fact.Fact, t *life, e task.Event) {
	switch e := e.(type) {
	case task.Created:
	case task.Assigned:
		t.robot, t.started = e.Robot, false
		t.since = f.At.Sub(l.w.epoch)
	case task.Unassigned:
		t.robot = ""
	case task.Started:
		t.started = true
	case task.ErrandReached:
		for ; t.errand <= e.Errand; t.errand++ {
			at, ok := s.byID[t.robot].visited(t.spec.Errands[t.errand], t.since)
			if !ok {
				l.w.fail(6, "task %s: errand %d at %d counts, but robot %s has not been there since %v",
					short(f.Subject), t.errand, t.spec.Errands[t.errand], short(t.robot), t.since)
			}
			t.since = max(t.since, at)
		}
	case task.CancelStarted:
		t.cancel = true
	case task.Cancelled, task.Succeeded, task.Failed:
		t.final = true
	}
}

// visited says when the robot stood on a vertex at or after since, for the first time.
func (d *device) visited(v fleet.Vertex, since time.Duration) (time.Duration, bool) {
	for i, x := range d.visits {
		left := d.site.w.clock.now
		if i+1 < len(d.visits) {
			left = d.visits[i+1].at
		}
		if x.vertex == v && left >= since {
			return x.at, true
		}
	}
	return 0, false
}
