package sim

import (
	"errors"
	"slices"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// journal is the durable truth of one site: it alone survives crashes. Units are settled one after the other, in the
// order of their coming; reads wait for the units before them.
type journal struct {
	site *site
	inc  fleet.Incarnation

	facts    []fact.Fact
	recorded map[fleet.EventID]bool
	versions map[string]int64
	bySubj   map[string][]int // facts of a task or robot
	roster   map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry
	keys     map[string]string // idempotency key -> task
	snaps    map[fleet.RobotID]robot.LastKnown

	queue   []*entry
	busy    bool
	awayTil time.Duration
	life    int // of the queue: a crash of the process empties it
}

// entry is a unit to be recorded, or (read set) somebody who waits to read.
type entry struct {
	unit fact.Unit
	done func(error)
	read func()
}

func newJournal(s *site) *journal {
	return &journal{
		site: s, recorded: map[fleet.EventID]bool{}, versions: map[string]int64{}, bySubj: map[string][]int{},
		roster: map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry{}, keys: map[string]string{},
		snaps: map[fleet.RobotID]robot.LastKnown{},
	}
}

// append records a unit in time; done gets the outcome.
func (j *journal) append(u fact.Unit, done func(error)) { j.push(&entry{unit: u, done: done}) }

// load calls read when all units before it are settled and the journal answers.
func (j *journal) load(read func()) { j.push(&entry{read: read}) }

func (j *journal) push(e *entry) {
	j.queue = append(j.queue, e)
	j.site.w.laws.bounds.queue("journal", len(j.queue))
	if !j.busy {
		j.serve()
	}
}

// serve takes the next entry.
func (j *journal) serve() {
	if len(j.queue) == 0 {
		j.busy = false
		return
	}
	j.busy = true
	group, life, w := len(j.queue), j.life, j.site.w
	w.clock.after(w.upTo(w.Journal.Commit), "commit", func() {
		if j.life == life {
			j.settle(group)
		}
	})
}

// settle ends the commit of the first so many entries.
func (j *journal) settle(group int) {
	w, life := j.site.w, j.life
	away := w.clock.now < j.awayTil && !w.peace() || w.chance(w.Journal.Unavailable)
	for ; group > 0; group-- {
		e := j.queue[0]
		j.queue = j.queue[1:]
		switch {
		case e.read != nil && away:
			w.clock.after(w.pause(time.Second), "read again", func() {
				if j.life == life {
					j.push(e)
				}
			})
		case e.read != nil:
			e.read()
		case away:
			e.done(fact.ErrUnavailable)
		case w.chance(w.Journal.Unknown):
			j.doubt(e, group-1)
			return
		default:
			e.done(j.record(e.unit))
		}
		if j.life != life {
			return
		}
	}
	j.serve()
}

// doubt settles a unit whose outcome is read back later, before the rest of its group; nothing else is recorded
// meanwhile.
func (j *journal) doubt(e *entry, rest int) {
	w, life := j.site.w, j.life
	err := error(fact.ErrUnavailable)
	if w.rng.IntN(2) == 0 {
		err = j.record(e.unit)
	}
	w.clock.after(w.pause(w.upTo(3*time.Second)), "read back", func() {
		if j.life == life {
			e.done(err)
			j.settle(rest)
		}
	})
}

// record makes a unit durable, all of it or nothing.
func (j *journal) record(u fact.Unit) error {
	if u.Incarnation != j.inc {
		return fact.ErrFenced
	}
	if len(u.Facts) > 0 && j.recorded[u.Facts[0].ID] {
		return nil // a second try of what was recorded
	}
	if k := u.Idempotency; k != nil {
		if old, ok := j.keys[k.Key]; ok {
			return &fact.ConflictError{Key: "idempotency_key", Existing: old, SameFingerprint: true}
		}
	}
	for i, f := range u.Facts {
		if f.Version > 0 && f.Version != j.versions[f.Subject]+int64(i)+1 {
			return &fact.ConflictError{Key: "version", Existing: f.Subject}
		}
	}
	for _, f := range u.Facts {
		j.fold(f)
	}
	if k := u.Idempotency; k != nil {
		j.keys[k.Key] = u.Facts[0].Subject
	}
	return nil
}

func (j *journal) fold(f fact.Fact) {
	w := j.site.w
	j.recorded[f.ID] = true
	if f.Version > 0 {
		j.versions[f.Subject] = f.Version
	}
	switch e := f.Event.(type) {
	case fact.RosterEntered:
		if j.roster[e.Zone] == nil {
			j.roster[e.Zone] = map[fleet.RobotID]zone.RosterEntry{}
		}
		j.roster[e.Zone][e.Entry.Robot] = e.Entry
		w.trace("recorded: %s enters zone %s at %d", short(e.Entry.Robot), short(e.Zone), e.Entry.Vertex)
		return // the roster is a set of rows, not a log
	case fact.RosterLeft:
		delete(j.roster[e.Zone], e.Robot)
		w.trace("recorded: %s leaves zone %s", short(e.Robot), short(e.Zone))
		return
	}
	j.bySubj[f.Subject] = append(j.bySubj[f.Subject], len(j.facts))
	j.facts = append(j.facts, f)
	w.trace("recorded: %s %T%+v", short(f.Subject), f.Event, brief(f.Event))
	w.laws.recorded(j.site, f)
	w.stage.recorded(f)
}

// brief leaves out what is long.
func brief(e any) any {
	switch e := e.(type) {
	case task.Created:
		return e.Spec.Errands
	case task.Assigned:
		return short(e.Robot)
	case robot.Registered:
		return e.Version
	}
	return e
}

// crash loses what was not recorded; what was under way may just have been.
func (j *journal) crash() {
	if j.busy && len(j.queue) > 0 && j.queue[0].read == nil && j.site.w.rng.IntN(2) == 0 {
		err := j.record(j.queue[0].unit)
		j.site.w.trace("crash while committing: %v", err)
	}
	j.life++
	j.queue, j.busy = nil, false
}

// refused says that an outcome is one that waiting does not mend.
func refused(err error) bool {
	return errors.Is(err, fact.ErrConflict) || errors.Is(err, fact.ErrRejected)
}

// taskState folds a task's log; nil where there is none.
func (j *journal) taskState(id fleet.TaskID) *task.State {
	at := j.bySubj[string(id)]
	if len(at) == 0 {
		return nil
	}
	s := &task.State{}
	for _, i := range at {
		if e, ok := j.facts[i].Event.(task.Event); ok {
			s.Apply(j.facts[i].At, e)
		}
	}
	return s
}

// robotState folds a robot's log into s.
func (j *journal) robotState(id fleet.RobotID, s *robot.State) (events int64) {
	for _, i := range j.bySubj[string(id)] {
		if e, ok := j.facts[i].Event.(robot.Event); ok {
			s.Apply(j.facts[i].At, e)
			events++
		}
	}
	return events
}

// active is the open task that names a robot.
func (j *journal) active(id fleet.RobotID) *task.State {
	for _, t := range j.site.clients.known {
		if s := j.taskState(t); s != nil && s.Robot == id && (s.Status == fleet.TaskAssigned || s.Status == fleet.TaskExecuting) {
			return s
		}
	}
	return nil
}

// rosterOf lists a zone's roster by robot.
func (j *journal) rosterOf(z fleet.ZoneID) []zone.RosterEntry {
	out := make([]zone.RosterEntry, 0, len(j.roster[z]))
	for _, e := range j.roster[z] {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b zone.RosterEntry) int {
		if a.Robot < b.Robot {
			return -1
		}
		return 1
	})
	return out
}
