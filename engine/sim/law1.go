package sim

import (
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// told is law 1, record, then tell, then show: what is told is looked up in the journal at the moment of telling.
type told struct {
	w        *World
	commands map[string]bool
}

func (l *told) recorded(f fact.Fact) {
	if e, ok := f.Event.(robot.CommandAccepted); ok {
		l.commands[string(e.Command.ID)] = true
	}
}

// grant: a zone lets a robot in, or on, only when its stay is on the roster.
func (l *told) grant(z *zoneActor, g fleet.Grant) {
	if _, ok := z.site.journal.roster[z.id][g.Robot]; !ok && len(g.Vertices) > 0 {
		l.w.fail(1, "%v grants %v to robot %s, which is not on its recorded roster", z, g.Vertices, short(g.Robot))
	}
}

// award: a robot hears of a task only when the assignment is recorded.
func (l *told) award(s *site, id fleet.TaskID, a task.Award) {
	t := s.journal.taskState(id)
	if t == nil || t.Robot != a.Robot || t.Status != fleet.TaskAssigned && t.Status != fleet.TaskExecuting {
		l.w.fail(1, "robot %s is told of task %s, whose record is %+v", short(a.Robot), short(id), t)
	}
}

// answered: a client hears "done" only when the task, or its end, is recorded.
func (l *told) answered(s *site, id fleet.TaskID) {
	if s.journal.taskState(id) == nil {
		l.w.fail(1, "task %s is acknowledged and not recorded", short(id))
	}
}

// cancelled: a client hears that a task is being cancelled, or has ended, only when that is recorded.
func (l *told) cancelled(s *site, id fleet.TaskID) {
	if t := s.journal.taskState(id); t == nil || t.Status != fleet.TaskCancelling && !t.Status.Final() {
		l.w.fail(1, "the cancelling of task %s is acknowledged and not recorded: %+v", short(id), t)
	}
}

// command: a robot hears of a command only when it is recorded.
func (l *told) command(_ *site, c robot.Command) {
	if !l.commands[string(c.ID)] {
		l.w.fail(1, "command %s is sent and not recorded", short(c.ID))
	}
}
