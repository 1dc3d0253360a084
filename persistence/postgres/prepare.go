package postgres

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres/gen"
)

// item is one unit taken apart into the rows that it writes.
type item struct {
	unit *fact.Unit
	// solo: it touches several aggregates or needs statements of its own; it is applied alone, within a savepoint.
	solo bool
	// keys are the aggregates it touches: two items that share one do not go into the same statement.
	keys []string

	creates   []*task.Spec
	created   []time.Time
	moves     []*move
	events    []*eventRow
	decisions []decisionRow
	outbox    []outboxRow
	roster    []rosterRow
	conns     []connRow
	steps     []stepRow

	lost bool  // its versions or keys did not fit: nothing of it was written
	err  error // how it ended, where not with its group
}

// move is the sum of a unit's events of one task.
type move struct {
	task       fleet.TaskID
	from, to   int64
	status     string // "" = stays
	known      string // status after the events so far, "" = as before them
	setRobot   bool
	robot      fleet.RobotID
	errand     int32 // -1 = stays
	setReason  bool
	reason     string
	awards     int32
	assignedAt time.Time
	startedAt  time.Time
	finishedAt time.Time
	updatedAt  time.Time
}

type eventRow struct {
	fact     *fact.Fact
	kind     string
	first    bool   // the task's first: there is no status before it
	from, to string // "" = the task's status before the unit
	before   string // the task's status before the unit, once known
	payload  string
}

type decisionRow struct {
	id, kind, task, robot, digest, assignments, alternatives, reason string
	at                                                               time.Time
}

type outboxRow struct {
	id, aggregateType, aggregateID, topic, key, headers string
	payload                                             []byte
}

type rosterRow struct {
	zone    fleet.ZoneID
	robot   fleet.RobotID
	entered *fact.RosterEntered // nil = left
	at      time.Time
}

type connRow struct {
	robot fleet.RobotID
	to    string
	at    time.Time
}

// stepRow is a fact that has a statement of its own.
type stepRow struct {
	fact  *fact.Fact
	event any
}

// prepare takes a unit apart. Errors wrap fact.ErrRejected.
func prepare(u *fact.Unit) (*item, error) {
	it := &item{unit: u}
	if len(u.Facts) == 0 {
		return nil, fmt.Errorf("a unit without facts: %w", fact.ErrRejected)
	}
	for i := range u.Facts {
		f := &u.Facts[i]
		if !isUUID(string(f.ID)) || !isUUID(f.Subject) || f.By.User != "" && !isUUID(string(f.By.User)) {
			return nil, fmt.Errorf("fact %T: event, subject and user want uuids: %w", f.Event, fact.ErrRejected)
		}
		if err := it.take(f); err != nil {
			return nil, fmt.Errorf("fact %T of %s: %w: %w", f.Event, f.Subject, fact.ErrRejected, err)
		}
	}
	kinds := len(it.creates) + len(it.moves) + len(it.conns)
	if len(it.roster) > 0 {
		kinds++
	}
	// The key of a batch, even of one task, stands with the first answers alone; a single task keeps its own for ever.
	single := len(it.creates) == 1 && len(u.Facts) == 1 && (u.Idempotency == nil || !strings.HasSuffix(u.Idempotency.Route, ":batch"))
	it.solo = kinds > 1 || len(it.steps) > 0 || u.Idempotency != nil && !single
	return it, nil
}

func (it *item) take(f *fact.Fact) error {
	switch e := f.Event.(type) {
	case task.Event:
		return it.takeTask(f, e)
	case robot.Event:
		return it.takeRobot(f, e)
	case dispatch.Event:
		return it.takeWarehouse(f, e)
	case alert.Event:
		return it.takeAlert(f, &e)
	case fact.RosterEntered:
		if !isUUID(string(e.Zone)) || !isUUID(string(e.Entry.Robot)) {
			return errNotUUID
		}
		it.roster = append(it.roster, rosterRow{zone: e.Zone, robot: e.Entry.Robot, entered: &e, at: f.At})
	case fact.RosterLeft:
		if !isUUID(string(e.Zone)) || !isUUID(string(e.Robot)) {
			return errNotUUID
		}
		it.roster = append(it.roster, rosterRow{zone: e.Zone, robot: e.Robot, at: f.At})
	default:
		return fmt.Errorf("unknown event")
	}
	return nil
}

func (it *item) takeRobot(f *fact.Fact, e robot.Event) error {
	it.keys = append(it.keys, f.Subject)
	switch e := e.(type) {
	case robot.ConnectionChanged:
		it.conns = append(it.conns, connRow{robot: fleet.RobotID(f.Subject), to: e.To.String(), at: e.At})
		return it.publish(f, "robot", f.Subject, 0, envelopeOf(e))
	case robot.Registered:
		it.steps = append(it.steps, stepRow{f, e})
		return it.publish(f, "robot", f.Subject, e.Version, envelopeOf(e))
	case robot.Removed:
		it.steps = append(it.steps, stepRow{f, e})
		return it.publish(f, "robot", f.Subject, e.Version, envelopeOf(e))
	case robot.CommandAccepted:
		if !isUUID(string(e.Command.ID)) {
			return errNotUUID
		}
		it.steps = append(it.steps, stepRow{f, e})
	case robot.CommandStaged:
		if !isUUID(string(e.ID)) {
			return errNotUUID
		}
		it.steps = append(it.steps, stepRow{f, e})
	}
	return nil
}

func (it *item) takeWarehouse(f *fact.Fact, e dispatch.Event) error {
	it.keys = append(it.keys, f.Subject)
	switch e := e.(type) {
	case dispatch.MapActivated:
		it.steps = append(it.steps, stepRow{f, e})
		return it.publish(f, "map", string(e.MapID), int64(e.Version), envelopeOf(e))
	case dispatch.LaneChanged:
		it.steps = append(it.steps, stepRow{f, e})
		return it.publish(f, "lane", string(e.State.Lane), 0, envelopeOf(e))
	case dispatch.CycleResolved:
		robots, err := json.Marshal(map[string]any{"robots": e.Robots})
		if err != nil {
			return err
		}
		it.decisions = append(it.decisions, decisionRow{
			id: string(e.DecisionID), at: e.At, kind: "cycle", robot: string(e.Yielding), assignments: string(robots),
			alternatives: "[]", reason: e.Reason,
		})
		return it.publish(f, "decision", string(e.DecisionID), 0, envelopeOf(e))
	}
	return nil
}

// takeTask adds a task's event to the row changes of its unit.
func (it *item) takeTask(f *fact.Fact, e task.Event) error {
	row := &eventRow{fact: f}
	var err error
	if row.kind, row.payload, err = encodeTaskEvent(e); err != nil {
		return err
	}
	if c, ok := e.(task.Created); ok {
		if err := checkSpec(&c.Spec, f); err != nil {
			return err
		}
		row.first, row.to = true, fleet.TaskCreated.String()
		it.creates, it.created = append(it.creates, &c.Spec), append(it.created, f.At)
		it.keys = append(it.keys, f.Subject)
	} else {
		m, err := it.moveOf(f)
		if err != nil {
			return err
		}
		row.from = m.known
		m.fold(f.At, e)
		row.to = m.known
	}
	it.events = append(it.events, row)
	if a, ok := e.(task.Assigned); ok {
		if err := it.takeAward(f, &a.Decision); err != nil {
			return err
		}
	}
	return it.publish(f, "task", f.Subject, f.Version, envelopeOf(e))
}

func checkSpec(s *task.Spec, f *fact.Fact) error {
	switch {
	case string(s.ID) != f.Subject || f.Version != 1:
		return fmt.Errorf("creation has another id or version")
	case s.Robot != "" && !isUUID(string(s.Robot)) || s.CreatedBy != "" && !isUUID(string(s.CreatedBy)):
		return errNotUUID
	case len(s.Places) != 0 && len(s.Places) != len(s.Errands):
		return fmt.Errorf("%d places for %d errands", len(s.Places), len(s.Errands))
	case len(s.Payload) > 0 && !json.Valid(s.Payload):
		return fmt.Errorf("payload is not JSON")
	}
	return nil
}

// moveOf finds or starts the unit's changes of the task.
func (it *item) moveOf(f *fact.Fact) (*move, error) {
	for _, m := range it.moves {
		if string(m.task) == f.Subject {
			if f.Version != m.to+1 {
				return nil, fmt.Errorf("version %d follows %d", f.Version, m.to)
			}
			m.to = f.Version
			return m, nil
		}
	}
	m := &move{task: fleet.TaskID(f.Subject), from: f.Version - 1, to: f.Version, errand: -1}
	it.moves = append(it.moves, m)
	it.keys = append(it.keys, f.Subject)
	return m, nil
}

// fold mirrors task.State.Apply in terms of columns.
func (m *move) fold(at time.Time, e task.Event) {
	m.updatedAt = at
	status := func(s fleet.TaskStatus) { m.status, m.known = s.String(), s.String() }
	why := func(reason string) { m.setReason, m.reason = true, reason }
	switch e := e.(type) {
	case task.Created:
	case task.Assigned:
		status(fleet.TaskAssigned)
		why("")
		m.setRobot, m.robot, m.assignedAt = true, e.Robot, at
		m.awards++
	case task.Unassigned:
		status(fleet.TaskCreated)
		why(e.Reason)
		m.setRobot, m.robot = true, ""
	case task.Started:
		status(fleet.TaskExecuting)
		if m.startedAt.IsZero() {
			m.startedAt = at
		}
	case task.ErrandReached:
		m.errand = int32(e.Errand + 1)
	case task.CancelStarted:
		status(fleet.TaskCancelling)
		why(e.Reason)
	case task.Cancelled:
		status(fleet.TaskCancelled)
		why(e.Reason)
		m.finishedAt = at
	case task.Succeeded:
		status(fleet.TaskSucceeded)
		m.finishedAt = at
	case task.Failed:
		status(fleet.TaskFailed)
		why(e.Reason)
		m.finishedAt = at
	}
}

// takeAward records why the task was given to the robot, in the same unit.
func (it *item) takeAward(f *fact.Fact, d *task.Decision) error {
	if d.ID == "" {
		return nil // an award without the dispatcher
	}
	if !isUUID(string(d.ID)) {
		return errNotUUID
	}
	cost, err := json.Marshal(assignments{Cost: (*costJSON)(&d.Cost), Before: d.Before, Because: d.Because})
	if err != nil {
		return err
	}
	others := make([]alternativeJSON, len(d.Alternatives))
	for i, a := range d.Alternatives {
		others[i] = alternativeJSON(a)
	}
	alternatives, err := json.Marshal(others)
	if err != nil {
		return err
	}
	it.decisions = append(it.decisions, decisionRow{
		id: string(d.ID), at: d.At, kind: "award", task: f.Subject, robot: string(d.Robot), digest: d.InputsDigest,
		assignments: string(cost), alternatives: string(alternatives), reason: d.Reason,
	})
	award := *f
	award.ID, award.At = fleet.EventID(d.ID), d.At
	return it.publish(&award, "decision", string(d.ID), 0, envelopeOf(d))
}

// dedicated statements.

func registerParams(shard fleet.Shard, at time.Time, e *robot.Registered) gen.RegisterRobotParams {
	p := gen.RegisterRobotParams{
		RobotID: string(e.Spec.ID), TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse),
		RobotCode: e.Spec.Code, DisplayName: e.Spec.DisplayName, Fleet: e.Spec.Fleet, Model: e.Spec.Model,
		Protocol: e.Spec.Protocol, Capabilities: append([]string{}, e.Spec.Capabilities...), Priority: int16(e.Spec.Priority),
		Control: e.Spec.Control.String(), FootprintRadiusM: e.Spec.RadiusM, MaxSpeedMps: e.Spec.MaxSpeedMPS,
		Version: e.Version, CreatedAt: e.Spec.CreatedAt, UpdatedAt: at,
	}
	if e.Spec.AllowedZones != nil {
		p.AllowedZones = []string{}
	}
	for _, z := range e.Spec.AllowedZones {
		p.AllowedZones = append(p.AllowedZones, string(z))
	}
	if p.CreatedAt.IsZero() {
		p.CreatedAt = at
	}
	return p
}
