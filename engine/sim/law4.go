package sim

import (
	"time"

	"starling/engine/dispatch"
	"starling/engine/robot"
)

// folds is law 4, recovery folds the recorded events with the same Apply as live operation: whenever a live core has
// taken an event, a fresh one folds the whole log and must come to the same digest.
type folds struct{ w *World }

func (l *folds) robot(r *robotActor) {
	fresh := robot.New(time.Time{}, robot.Rules{})
	r.site.journal.robotState(r.id, fresh)
	l.same("robot", r.subject, fresh.Digest(), r.state.Digest())
}

func (l *folds) task(t *taskActor) {
	fresh := t.site.journal.taskState(t.id)
	if fresh == nil {
		l.w.fail(4, "task %s has taken an event that is not recorded", short(t.id))
		return
	}
	l.same("task", t.subject, fresh.Digest(), t.state.Digest())
}

func (l *folds) dispatch(d *dispatchActor) {
	fresh := dispatch.New(d.site.tables, 0)
	for _, i := range d.site.journal.bySubj[d.subject] {
		if e, ok := d.site.journal.facts[i].Event.(dispatch.Event); ok {
			fresh.Apply(d.site.journal.facts[i].At, e)
		}
	}
	l.same("warehouse", d.subject, fresh.Digest(), d.state.Digest())
}

func (l *folds) same(kind, id string, folded, live uint64) {
	if folded != live {
		l.w.fail(4, "the log of %s %s folds to %x, the live core is %x", kind, short(id), folded, live)
	}
}
