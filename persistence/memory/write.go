package memory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// keptCommands is how many commands of a robot are remembered; the oldest finished ones are forgotten.
const keptCommands = 64

// writer records one unit and can take it back.
type writer struct {
	store *Store
	shard *shard
	unit  *fact.Unit
	back  []func()
}

func (w *writer) undo() {
	for _, f := range slices.Backward(w.back) {
		f()
	}
}

// set puts a value into a map until the unit is taken back.
func set[K comparable, V any](w *writer, m map[K]V, k K, v V) {
	old, had := m[k]
	m[k] = v
	w.back = append(w.back, func() {
		if had {
			m[k] = old
		} else {
			delete(m, k)
		}
	})
}

// drop removes a key until the unit is taken back.
func drop[K comparable, V any](w *writer, m map[K]V, k K) {
	old, had := m[k]
	if had {
		delete(m, k)
		w.back = append(w.back, func() { m[k] = old })
	}
}

func (w *writer) all() error {
	if err := w.idempotency(); err != nil {
		return err
	}
	for i := range w.unit.Facts {
		f := &w.unit.Facts[i]
		if w.store.events[f.ID] {
			return fmt.Errorf("event %s is recorded with other ones: %w", f.ID, fact.ErrRejected)
		}
		if err := w.fact(f); err != nil {
			return err
		}
		set(w, w.store.events, f.ID, true)
	}
	return nil
}

func (w *writer) idempotency() error {
	i := w.unit.Idempotency
	if i == nil {
		return nil
	}
	k := answerKey{w.unit.Shard.Tenant, i.Route, i.Key}
	if first := w.store.answers[k]; first != nil {
		c := &fact.ConflictError{Key: "idempotency_key", SameFingerprint: bytes.Equal(first.fingerprint, i.Fingerprint)}
		if c.SameFingerprint {
			c.Answer = &fact.Answer{Status: first.answer.Status, Location: first.answer.Location, Body: bytes.Clone(first.answer.Body)}
		}
		return c
	}
	set(w, w.store.answers, k, &kept{fingerprint: bytes.Clone(i.Fingerprint), answer: i.Answer})
	return nil
}

func (w *writer) fact(f *fact.Fact) error {
	switch e := f.Event.(type) {
	case task.Event:
		return w.task(f, e)
	case robot.Event:
		return w.robot(f, e)
	case dispatch.Event:
		return w.dispatch(e)
	case alert.Event:
		return w.alert(f, &e)
	case fact.RosterEntered:
		if r := w.shard.robots[e.Entry.Robot]; r == nil {
			return unknownRobot(e.Entry.Robot)
		}
		if w.shard.roster[e.Zone] == nil {
			set(w, w.shard.roster, e.Zone, map[fleet.RobotID]zone.RosterEntry{})
		}
		set(w, w.shard.roster[e.Zone], e.Entry.Robot, e.Entry)
		return nil
	case fact.RosterLeft:
		drop(w, w.shard.roster[e.Zone], e.Robot)
		return nil
	}
	return fmt.Errorf("cannot record a %T: %w", f.Event, fact.ErrRejected)
}

func unknownRobot(id fleet.RobotID) error {
	return fmt.Errorf("robot %s is not registered: %w", id, fact.ErrRejected)
}

func (w *writer) task(f *fact.Fact, e task.Event) error {
	id := fleet.TaskID(f.Subject)
	if c, ok := e.(task.Created); ok {
		return w.create(f, id, c)
	}
	old := w.shard.tasks[id]
	if old == nil {
		return fmt.Errorf("task %s is not there: %w", id, fact.ErrRejected)
	}
	if f.Version != old.state.Version+1 {
		v := old.state
		return &fact.ConflictError{Key: "version", Existing: f.Subject, Task: &v}
	}
	if a, ok := e.(task.Assigned); ok {
		if w.shard.robots[a.Robot] == nil {
			return unknownRobot(a.Robot)
		}
		w.shard.decisions++
		w.back = append(w.back, func() { w.shard.decisions-- })
	}
	next := *old
	next.events = append(slices.Clip(old.events), fact.Recorded[task.Event]{At: f.At, Event: e})
	next.state.Apply(f.At, e)
	set(w, w.shard.tasks, id, &next)
	return nil
}

func (w *writer) create(f *fact.Fact, id fleet.TaskID, c task.Created) error {
	switch {
	case f.Version != 1 || c.Spec.ID != id:
		return fmt.Errorf("task %s: its first event has version %d and names %s: %w", id, f.Version, c.Spec.ID, fact.ErrRejected)
	case w.shard.tasks[id] != nil:
		return &fact.ConflictError{Key: "task_id", Existing: f.Subject}
	case !json.Valid(c.Spec.Payload):
		return fmt.Errorf("task %s: the payload is not JSON: %w", id, fact.ErrRejected)
	case c.Spec.Priority > 9:
		return fmt.Errorf("task %s: priority %d: %w", id, c.Spec.Priority, fact.ErrRejected)
	}
	l := &taskLog{events: []fact.Recorded[task.Event]{{At: f.At, Event: c}}}
	l.state.Apply(f.At, c)
	// The key of a batch stands with the first answers alone.
	if i := w.unit.Idempotency; i != nil && len(w.unit.Facts) == 1 && !strings.HasSuffix(i.Route, ":batch") {
		k := tenantKey{w.unit.Shard.Tenant, i.Key}
		if first, used := w.store.taskKey[k]; used {
			return &fact.ConflictError{
				Key: "idempotency_key", Existing: string(first.id), SameFingerprint: bytes.Equal(first.fingerprint, i.Fingerprint),
			}
		}
		set(w, w.store.taskKey, k, taskKey{id: id, fingerprint: bytes.Clone(i.Fingerprint)})
	}
	set(w, w.shard.tasks, id, l)
	return nil
}

func (w *writer) robot(f *fact.Fact, e robot.Event) error {
	id := fleet.RobotID(f.Subject)
	old := w.shard.robots[id]
	if r, ok := e.(robot.Registered); ok {
		return w.register(f, id, old, r)
	}
	if old == nil || old.removed {
		return unknownRobot(id)
	}
	next := *old
	switch e := e.(type) {
	case robot.Registered:
	case robot.Removed:
		if e.Version != old.version+1 {
			return &fact.ConflictError{Key: "version", Existing: f.Subject}
		}
		next.removed, next.version = true, e.Version
		drop(w, w.store.codes, tenantKey{w.unit.Shard.Tenant, old.spec.Code})
	case robot.ConnectionChanged:
		next.connection = &fact.Recorded[robot.Event]{At: f.At, Event: e}
	case robot.CommandAccepted:
		if i := next.find(e.Command.ID); i < 0 {
			next.commands = append(slices.Clip(next.forget()), command{
				id: e.Command.ID, events: []fact.Recorded[robot.Event]{{At: f.At, Event: e}}, stage: fleet.StageAccepted,
			})
		}
	case robot.CommandStaged:
		i := next.find(e.ID)
		if i < 0 {
			return fmt.Errorf("command %s is not there: %w", e.ID, fact.ErrRejected)
		}
		next.commands = slices.Clone(next.commands)
		c := &next.commands[i]
		c.events, c.stage = append(slices.Clip(c.events), fact.Recorded[robot.Event]{At: f.At, Event: e}), e.Stage
	}
	set(w, w.shard.robots, id, &next)
	return nil
}

func (w *writer) register(f *fact.Fact, id fleet.RobotID, old *robotLog, e robot.Registered) error {
	if old != nil && e.Version != old.version+1 {
		return &fact.ConflictError{Key: "version", Existing: f.Subject}
	}
	k := tenantKey{w.unit.Shard.Tenant, e.Spec.Code}
	if other, used := w.store.codes[k]; used && other != id {
		return &fact.ConflictError{Key: "robot_code", Existing: string(other)}
	}
	next := robotLog{}
	if old != nil {
		next = *old
		drop(w, w.store.codes, tenantKey{w.unit.Shard.Tenant, old.spec.Code})
	}
	next.spec, next.version, next.removed, next.registered = e.Spec, e.Version, false, f.At
	set(w, w.store.codes, k, id)
	set(w, w.shard.robots, id, &next)
	return nil
}

func (r *robotLog) find(id fleet.CommandID) int {
	return slices.IndexFunc(r.commands, func(c command) bool { return c.id == id })
}

// forget returns the commands without the oldest finished ones beyond the bound; the last that paused or resumed stays.
func (r *robotLog) forget() []command {
	out := r.commands
	for len(out) >= keptCommands {
		last := -1
		for i := range out {
			if e, ok := out[i].events[0].Event.(robot.CommandAccepted); ok && pauses(e.Command.Kind) {
				last = i
			}
		}
		i := slices.IndexFunc(out, func(c command) bool { return c.stage.Final() && c.id != idAt(out, last) })
		if i < 0 {
			break
		}
		out = slices.Delete(slices.Clone(out), i, i+1)
	}
	return out
}

func idAt(cs []command, i int) fleet.CommandID {
	if i < 0 {
		return ""
	}
	return cs[i].id
}

func pauses(k fleet.CommandKind) bool {
	return k == fleet.CommandPause || k == fleet.CommandResume || k == fleet.CommandStop
}

// inherit carries the rosters of zones over to those that have their vertices now.
func (w *writer) inherit(e dispatch.MapActivated) {
	for _, h := range e.Heirs {
		for r, in := range w.shard.roster[h.Zone] {
			if w.shard.roster[h.Heir] == nil {
				set(w, w.shard.roster, h.Heir, map[fleet.RobotID]zone.RosterEntry{})
			}
			if _, there := w.shard.roster[h.Heir][r]; !there {
				in.Vertex, in.MapID, in.MapVersion = fleet.NoVertex, "", 0
				set(w, w.shard.roster[h.Heir], r, in)
			}
		}
	}
	for _, z := range e.Ended {
		drop(w, w.shard.roster, z)
	}
}

func (w *writer) dispatch(e dispatch.Event) error {
	switch e := e.(type) {
	case dispatch.MapActivated:
		v := mapVersion{e.MapID, e.Version}
		if w.shard.maps[v] == nil {
			return fmt.Errorf("map %s version %d is not there: %w", e.MapID, e.Version, fact.ErrRejected)
		}
		old := w.shard.active
		w.shard.active = v
		w.back = append(w.back, func() { w.shard.active = old })
		w.inherit(e)
	case dispatch.LaneChanged:
		if !w.knows(e.State.Lane) {
			return fmt.Errorf("lane %s is not there: %w", e.State.Lane, fact.ErrRejected)
		}
		set(w, w.shard.lanes, e.State.Lane, e.State)
	case dispatch.CycleResolved:
		w.shard.decisions++
		w.back = append(w.back, func() { w.shard.decisions-- })
	}
	return nil
}

func (w *writer) knows(id fleet.LaneID) bool {
	for _, g := range w.shard.maps { // whichever version has it
		if _, ok := g.LaneNumber(id); ok {
			return true
		}
	}
	return false
}
