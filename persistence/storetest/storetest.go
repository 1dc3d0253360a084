// Package storetest is the conformance suite of the stores of facts: what is recorded comes back, what conflicts is
// told from what is broken, a bad unit fails alone, and only the owner of a shard writes. One suite for every store
// and its twin in memory. Only tests import it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Facts is what a store of facts does.
type Facts interface {
	Append(ctx context.Context, units []fact.Unit) []error
	Recorded(ctx context.Context, shard fleet.Shard, ids []fleet.EventID) ([]bool, error)
	FirstAnswer(ctx context.Context, tenant fleet.TenantID, route, key string) (fingerprint []byte, answer *fact.Answer, err error)
	LoadTask(ctx context.Context, shard fleet.Shard, id fleet.TaskID) (fact.TaskRecord, error)
	LoadRobot(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (fact.RobotRecord, error)
	LoadZone(ctx context.Context, shard fleet.Shard, id fleet.ZoneID) ([]zone.RosterEntry, error)
	LoadWarehouse(ctx context.Context, shard fleet.Shard) (fact.WarehouseRecord, error)
	SaveSnapshots(ctx context.Context, shard fleet.Shard, snapshots []fact.RobotSnapshot) error
	Take(ctx context.Context, shard fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error)
	Renew(ctx context.Context, owner string, held []fact.Held) ([]bool, error)
}

// Audit is what a store of audit entries does.
type Audit interface {
	WriteAuditLog(ctx context.Context, entries []fact.AuditEntry) error
	ListAudit(ctx context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page) (fact.List[fact.AuditEntry], error)
}

// Fixture is one empty store.
type Fixture struct {
	Facts Facts
	Audit Audit
	// Shard makes a tenant with one warehouse.
	Shard func(t *testing.T) fleet.Shard
	// AddMap uploads a movingai map: a new one for "", else the next version of it.
	AddMap func(t *testing.T, shard fleet.Shard, id fleet.MapID, content string) *roadmap.Graph
}

// Run runs the suite; open is called once per test.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"a task comes back as it was recorded", taskComesBack},
		{"the same events sent again are a success and change nothing", repeated},
		{"a bad unit of a group fails alone", badUnit},
		{"a batch is recorded as a whole or not at all", wholeBatch},
		{"an idempotency key answers once", idempotency},
		{"an idempotency key used twice in one group makes one task", idempotencyInGroup},
		{"an event on an old version conflicts and shows the task", oldVersion},
		{"steps of one task in one group follow each other", stepsInGroup},
		{"only the owner writes", fenced},
		{"ownership is raised and renewed", ownership},
		{"a robot comes back as it was recorded", robotComesBack},
		{"a pause outlives later commands that said nothing", pauseOutlives},
		{"a robot's code is its own until it is removed", robotCode},
		{"a robot's registration has versions", robotVersion},
		{"snapshots keep the newest", snapshots},
		{"a roster holds who is inside", roster},
		{"a warehouse comes back with its work", warehouseComesBack},
		{"maps are activated and lanes changed", mapsAndLanes},
		{"a large group is recorded as a small one", largeGroup},
		{"tenants are apart", tenantsApart},
		{"a command is recorded with its key", commandKey},
		{"nobody names another tenant's robot", foreignRobot},
		{"an intent is recorded with its unit and completed once", auditIntents},
		{"an audit entry written twice is there once", auditTwice},
		{"audit entries are kept whatever the client sent", auditBounds},
		{"the audit log is listed by filters and pages", auditLists},
		{"alerts come back as they were recorded, with their handling", alertComesBack},
		{"an alert's steps have versions, and one incident is open once", alertConflicts},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t)
			c.run(t, &bench{t: t, Fixture: f, shard: f.Shard(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)})
		})
	}
}

// bench is one test's store, shard and clock.
type bench struct {
	Fixture
	t     *testing.T
	shard fleet.Shard
	now   time.Time
}

func (b *bench) tick() time.Time {
	b.now = b.now.Add(time.Second)
	return b.now
}

func newID[T ~string]() T { return T(uuid.NewString()) }

func (b *bench) fact(subject string, version int64, event any) fact.Fact {
	return fact.Fact{
		ID: newID[fleet.EventID](), At: b.tick(), By: fleet.Actor{Part: "storetest"}, Subject: subject, Version: version, Event: event,
		Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

func (b *bench) unit(facts ...fact.Fact) fact.Unit { return fact.Unit{Shard: b.shard, Facts: facts} }

// record appends units and returns their errors.
func (b *bench) record(units ...fact.Unit) []error {
	b.t.Helper()
	errs := b.Facts.Append(b.t.Context(), units)
	if len(errs) != len(units) {
		b.t.Fatalf("%d results for %d units", len(errs), len(units))
	}
	return errs
}

func (b *bench) mustRecord(units ...fact.Unit) {
	b.t.Helper()
	for i, err := range b.record(units...) {
		if err != nil {
			b.t.Fatalf("unit %d: %v", i, err)
		}
	}
}

func (b *bench) spec() task.Spec {
	return task.Spec{
		ID: newID[fleet.TaskID](), Shard: b.shard, Type: fleet.Transport, Priority: 3,
		EarliestStart: b.now.Add(time.Minute), Deadline: b.now.Add(time.Hour),
		Payload: []byte(`{"dropoff" : "B",  "pickup":"A", "n": 1.50, "u":"\u00e4"}`),
		Errands: []fleet.Vertex{4, 7}, Places: []string{"A", "B"}, Fleet: "f1", Source: "api",
		CreatedAt: b.now, CreatedBy: newID[fleet.UserID](),
	}
}

func (b *bench) created(s task.Spec) fact.Unit {
	u := b.unit(b.fact(string(s.ID), 1, task.Created{Spec: s}))
	u.Facts[0].By = fleet.Actor{User: s.CreatedBy}
	return u
}

func (b *bench) robotSpec() robot.Spec {
	id := newID[fleet.RobotID]()
	return robot.Spec{
		ID: id, Tenant: b.shard.Tenant, Warehouse: b.shard.Warehouse, Code: "r-" + string(id[:13]), DisplayName: "Robot",
		Fleet: "f1", Model: "m", Protocol: "link", Control: fleet.ControlEngine, Capabilities: []string{"lift", "tow"},
		AllowedZones: []fleet.ZoneID{newID[fleet.ZoneID]()}, Priority: 2, RadiusM: 0.4, MaxSpeedMPS: 1.5, CreatedAt: b.now,
	}
}

// robot registers a robot.
func (b *bench) robot() robot.Spec {
	b.t.Helper()
	s := b.robotSpec()
	b.mustRecord(b.unit(b.fact(string(s.ID), 1, robot.Registered{Spec: s, Version: 1})))
	return s
}

func (b *bench) assigned(id fleet.TaskID, r fleet.RobotID) task.Assigned {
	return task.Assigned{Robot: r, Decision: task.Decision{
		ID: newID[fleet.DecisionID](), At: b.now, Task: id, Robot: r,
		Cost:         task.Cost{Travel: 10.5, Queue: 1, Battery: 0.25, Priority: -2, Deadline: -1, Total: 8.75},
		Alternatives: []task.Alternative{{Robot: newID[fleet.RobotID](), Total: 12.5, Reason: "farther"}},
		Reason:       "nearest", InputsDigest: "d1", Before: newID[fleet.RobotID](), Because: "robot is lost",
	}}
}

// fold loads a task and folds its log.
func (b *bench) fold(id fleet.TaskID) *task.State {
	b.t.Helper()
	r, err := b.Facts.LoadTask(b.t.Context(), b.shard, id)
	if err != nil {
		b.t.Fatalf("load task: %v", err)
	}
	s := &task.State{}
	for _, e := range r.Events {
		s.Apply(e.At, e.Event)
	}
	if s.Version != r.Version {
		b.t.Fatalf("%d events, version %d", s.Version, r.Version)
	}
	return s
}

func (b *bench) absent(id fleet.TaskID) {
	b.t.Helper()
	if r, err := b.Facts.LoadTask(b.t.Context(), b.shard, id); !errors.Is(err, fact.ErrNotFound) {
		b.t.Fatalf("task %s: %v with %d events, want ErrNotFound", id, err, len(r.Events))
	}
}

// conflict says which rule the error names.
func conflict(t *testing.T, err error, key string) *fact.ConflictError {
	t.Helper()
	var c *fact.ConflictError
	if !errors.As(err, &c) || c.Key != key {
		t.Fatalf("got %v, want a conflict over %s", err, key)
	}
	return c
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}
