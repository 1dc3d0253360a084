package sim

import "starling/engine/fleet"

// lasting is law 5, acknowledged means durable: every task that a client was told of is there after every crash, and
// at the end has ended or is open.
type lasting struct{ w *World }

func (l *lasting) acknowledged(s *site, id fleet.TaskID) {
	if s.journal.taskState(id) == nil {
		l.w.fail(5, "task %s is acknowledged and not there", short(id))
	}
}

func (l *lasting) check(s *site) {
	for _, id := range s.clients.acked {
		l.acknowledged(s, id)
	}
}

func (l *lasting) ended() {
	for _, s := range l.w.sites {
		l.check(s)
		seen := map[fleet.TaskID]bool{}
		for _, id := range s.clients.acked {
			if seen[id] {
				l.w.fail(5, "task %s was given to two requests", short(id))
			}
			seen[id] = true
			t := s.journal.taskState(id)
			if t == nil {
				continue
			}
			l.w.result.Created++
			if t.Status.Final() {
				l.w.result.Ended++
			}
			if s.clients.cancels[id] && !t.Status.Final() {
				l.w.fail(5, "the cancelling of task %s was acknowledged, and it is still %s", short(id), t.Status)
			}
			if t.Status == fleet.TaskSucceeded {
				l.w.result.Finished++
			}
		}
		for _, id := range s.clients.known {
			if s.journal.taskState(id) != nil && !seen[id] {
				l.w.fail(5, "task %s exists, but no request was told of it", short(id))
			}
		}
	}
}
