package actors

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/cluster"
	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// memory is a store and journal in memory with the rules of the real one that these tests need.
type memory struct {
	mu        sync.Mutex
	facts     []fact.Fact
	ids       map[fleet.EventID]bool
	keys      map[string]fact.Answer
	tasks     map[fleet.TaskID]*fact.TaskRecord
	robots    map[fleet.RobotID]*fact.RobotRecord
	rosters   map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry
	snapshots map[fleet.RobotID]robot.LastKnown
	alerts    map[alert.ID]alert.View
	graph     *roadmap.Graph
	warehouse fact.WarehouseRecord
	groups    []int
	loads     int

	// fault, where set, may decide a group's fate: the errors to return, and which units are recorded all the same.
	fault     func(units []fact.Unit) (errs []error, keep []bool)
	away      error // of every load and read-back
	silent    error // of every read-back
	awaySnaps error
}

func newMemory() *memory {
	return &memory{
		ids: map[fleet.EventID]bool{}, keys: map[string]fact.Answer{}, tasks: map[fleet.TaskID]*fact.TaskRecord{},
		robots: map[fleet.RobotID]*fact.RobotRecord{}, rosters: map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry{},
		snapshots: map[fleet.RobotID]robot.LastKnown{}, alerts: map[alert.ID]alert.View{},
	}
}

func (m *memory) Append(_ context.Context, units []fact.Unit) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = append(m.groups, len(units))
	errs := make([]error, len(units))
	if m.fault != nil {
		if forced, keep := m.fault(units); forced != nil {
			for i := range units {
				if errs[i] = forced[i]; errs[i] == nil || keep != nil && keep[i] {
					if err := m.unit(units[i]); errs[i] == nil {
						errs[i] = err
					}
				}
			}
			return errs
		}
	}
	for i := range units {
		errs[i] = m.unit(units[i])
	}
	return errs
}

func (m *memory) unit(u fact.Unit) error {
	if u.Idempotency != nil {
		if a, used := m.keys[u.Idempotency.Key]; used {
			return &fact.ConflictError{Key: "idempotency_key", Answer: &a, SameFingerprint: true}
		}
	}
	for _, f := range u.Facts {
		if err := m.check(f); err != nil {
			return err
		}
	}
	for _, f := range u.Facts {
		m.fold(f)
	}
	if u.Idempotency != nil {
		m.keys[u.Idempotency.Key] = u.Idempotency.Answer
	}
	return nil
}

func (m *memory) check(f fact.Fact) error {
	switch f.Event.(type) {
	case task.Event:
		have := int64(0)
		if r := m.tasks[fleet.TaskID(f.Subject)]; r != nil {
			have = r.Version
		}
		if f.Version <= have {
			return &fact.ConflictError{Key: "version"}
		}
	case robot.Event:
		have := int64(0)
		if r := m.robots[fleet.RobotID(f.Subject)]; r != nil {
			have = r.Version
		}
		if f.Version < have {
			return &fact.ConflictError{Key: "version"}
		}
	}
	return nil
}

func (m *memory) fold(f fact.Fact) {
	m.facts = append(m.facts, f)
	m.ids[f.ID] = true
	switch e := f.Event.(type) {
	case task.Event:
		r := m.tasks[fleet.TaskID(f.Subject)]
		if r == nil {
			r = &fact.TaskRecord{}
			m.tasks[fleet.TaskID(f.Subject)] = r
		}
		r.Events = append(r.Events, fact.Recorded[task.Event]{At: f.At, Event: e})
		r.Version = f.Version
	case robot.Event:
		r := m.robots[fleet.RobotID(f.Subject)]
		if r == nil {
			r = &fact.RobotRecord{}
			m.robots[fleet.RobotID(f.Subject)] = r
		}
		r.Events = append(r.Events, fact.Recorded[robot.Event]{At: f.At, Event: e})
		r.Version = f.Version
	case fact.RosterEntered:
		if m.rosters[e.Zone] == nil {
			m.rosters[e.Zone] = map[fleet.RobotID]zone.RosterEntry{}
		}
		m.rosters[e.Zone][e.Entry.Robot] = e.Entry
	case fact.RosterLeft:
		delete(m.rosters[e.Zone], e.Robot)
	case alert.Event:
		v := m.alerts[e.After.ID]
		v.Alert = e.After
		if e.Step.Action.Handles() {
			v.Handling = append(v.Handling, e.Step)
		}
		m.alerts[e.After.ID] = v
	}
}

func (m *memory) Recorded(_ context.Context, _ fleet.Shard, ids []fleet.EventID) ([]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(m.away, m.silent); err != nil {
		return nil, err
	}
	known := make([]bool, len(ids))
	for i, id := range ids {
		known[i] = m.ids[id]
	}
	return known, nil
}

func (m *memory) LoadTask(_ context.Context, _ fleet.Shard, id fleet.TaskID) (fact.TaskRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	if m.away != nil {
		return fact.TaskRecord{}, m.away
	}
	if r := m.tasks[id]; r != nil {
		return fact.TaskRecord{Events: slices.Clone(r.Events), Version: r.Version}, nil
	}
	return fact.TaskRecord{}, fact.ErrNotFound
}

func (m *memory) LoadRobot(_ context.Context, _ fleet.Shard, id fleet.RobotID) (fact.RobotRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	if m.away != nil {
		return fact.RobotRecord{}, m.away
	}
	if r := m.robots[id]; r != nil {
		rec := *r
		rec.Events = slices.Clone(r.Events)
		rec.Last = m.snapshots[id]
		return rec, nil
	}
	return fact.RobotRecord{}, fact.ErrNotFound
}

func (m *memory) LoadZone(_ context.Context, _ fleet.Shard, id fleet.ZoneID) ([]zone.RosterEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return nil, m.away
	}
	var out []zone.RosterEntry
	for _, e := range m.rosters[id] {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b zone.RosterEntry) int { return cmp.Compare(a.Robot, b.Robot) })
	return out, nil
}

func (m *memory) LoadWarehouse(context.Context, fleet.Shard) (fact.WarehouseRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return fact.WarehouseRecord{}, m.away
	}
	rec := m.warehouse
	rec.Graph = m.graph
	return rec, nil
}

func (m *memory) LoadAlerts(context.Context, fleet.Shard) (fact.AlertRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return fact.AlertRecord{}, m.away
	}
	var rec fact.AlertRecord
	for _, id := range slices.Sorted(maps.Keys(m.alerts)) {
		rec.Alerts = append(rec.Alerts, m.alerts[id])
	}
	return rec, nil
}

func (m *memory) LoadAlert(_ context.Context, _ fleet.Shard, id alert.ID) (alert.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.alerts[id]
	if !ok {
		return v, fact.ErrNotFound
	}
	return v, nil
}

func (m *memory) SaveSnapshots(_ context.Context, _ fleet.Shard, snapshots []fact.RobotSnapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.awaySnaps != nil {
		return m.awaySnaps
	}
	for _, s := range snapshots {
		m.snapshots[s.Robot] = s.Last
	}
	return nil
}

// unfinished lists the open tasks and those that are held.
func (m *memory) unfinished() (open []task.State, held []fleet.TaskID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.tasks {
		var s task.State
		for _, e := range r.Events {
			s.Apply(e.At, e.Event)
		}
		switch {
		case s.Status == fleet.TaskCreated:
			open = append(open, s)
		case !s.Status.Final():
			held = append(held, id)
			if rec := m.robots[s.Robot]; rec != nil {
				rec.Active = &s
			}
		}
	}
	slices.SortFunc(open, func(a, b task.State) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	slices.Sort(held)
	return open, held
}

func (m *memory) set(f func(units []fact.Unit) ([]error, []bool)) {
	m.mu.Lock()
	m.fault = f
	m.mu.Unlock()
}

func (m *memory) events(subject string) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []any
	for _, f := range m.facts {
		if f.Subject == subject {
			out = append(out, f.Event)
		}
	}
	return out
}

// always gives every unit of a group the same fate.
func always(err error, keep bool) func([]fact.Unit) ([]error, []bool) {
	return func(units []fact.Unit) ([]error, []bool) {
		errs, kept := make([]error, len(units)), make([]bool, len(units))
		for i := range units {
			errs[i], kept[i] = err, keep
		}
		return errs, kept
	}
}

// window is what the outside sees: views and links.
type window struct {
	mu        sync.Mutex
	tasks     map[fleet.TaskID]task.View
	robots    map[fleet.RobotID]int
	waits     map[fleet.RobotID]fleet.Cause
	places    map[fleet.RobotID]fleet.Vertex
	zones     int
	zonesGone []fleet.ZoneID
	orders    []robot.Order
	commands  []robot.Command
	progress  map[fleet.RobotID]uint64
	hungUp    []fleet.RobotID
	rates     map[fleet.RobotID]float64
	alerts    []alert.Event
}

func newWindow() *window {
	return &window{
		tasks: map[fleet.TaskID]task.View{}, robots: map[fleet.RobotID]int{}, waits: map[fleet.RobotID]fleet.Cause{},
		places: map[fleet.RobotID]fleet.Vertex{}, progress: map[fleet.RobotID]uint64{},
	}
}

func (w *window) ShowRobot(_ fleet.Shard, v *robot.View) {
	w.mu.Lock()
	w.robots[v.ID]++
	w.waits[v.ID], w.places[v.ID] = v.Waiting.Cause, v.Vertex
	w.mu.Unlock()
}

func (w *window) RobotGone(_ fleet.Shard, id fleet.RobotID) {
	w.mu.Lock()
	delete(w.robots, id)
	w.mu.Unlock()
}

func (w *window) ZoneGone(_ fleet.Shard, id fleet.ZoneID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zonesGone = append(w.zonesGone, id)
}
func (w *window) TaskChanged(fleet.Shard, task.Event, *task.View) {}

func (w *window) CommandHeard(fleet.Shard, time.Duration) {}

func (w *window) ShowTask(_ fleet.Shard, v *task.View) {
	w.mu.Lock()
	w.tasks[v.Spec.ID] = *v
	w.mu.Unlock()
}

func (w *window) ShowZone(fleet.Shard, *zone.View) {
	w.mu.Lock()
	w.zones++
	w.mu.Unlock()
}

func (w *window) AlertChanged(_ fleet.Shard, e *alert.Event, v *alert.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e == nil {
		return
	}
	w.alerts = append(w.alerts, *e)
	if v.ID != e.After.ID {
		panic("an alert's event with another alert")
	}
}
func (w *window) ShowWarehouse(fleet.Shard, *dispatch.View) {}

func (w *window) SendOrder(o robot.Order, _ *roadmap.Graph) bool {
	w.mu.Lock()
	w.orders = append(w.orders, o)
	w.mu.Unlock()
	return true
}

func (w *window) SendCommand(c robot.Command) bool {
	w.mu.Lock()
	w.commands = append(w.commands, c)
	w.mu.Unlock()
	return true
}

func (w *window) ProgressDone(id fleet.RobotID, n uint64) {
	w.mu.Lock()
	w.progress[id] = max(w.progress[id], n)
	w.mu.Unlock()
}

func (w *window) AskRate(id fleet.RobotID, hz float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rates == nil {
		w.rates = map[fleet.RobotID]float64{}
	}
	w.rates[id] = hz
}

func (w *window) HangUp(id fleet.RobotID) {
	w.mu.Lock()
	w.hungUp = append(w.hungUp, id)
	w.mu.Unlock()
}

func (w *window) task(id fleet.TaskID) (task.View, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.tasks[id]
	return v, ok
}

func (w *window) wait(id fleet.RobotID) fleet.Cause {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waits[id]
}

// registry is an ownership table in memory.
type registry struct {
	mu    sync.Mutex
	inc   map[fleet.Shard]fleet.Incarnation
	err   error
	wait  time.Duration
	calls int
}

func (r *registry) Take(_ context.Context, shard fleet.Shard, _ string) (fleet.Incarnation, time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, 0, r.err
	}
	if r.inc == nil {
		r.inc = map[fleet.Shard]fleet.Incarnation{}
	}
	r.inc[shard]++
	return r.inc[shard], r.wait, nil
}

func (r *registry) Renew(_ context.Context, _ string, held []fact.Held) ([]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.err != nil {
		return nil, r.err
	}
	ok := make([]bool, len(held))
	for i, h := range held {
		ok[i] = r.inc[h.Shard] == h.Incarnation
	}
	return ok, nil
}

func (r *registry) set(err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
}

var (
	testShard = fleet.Shard{Tenant: "t", Warehouse: "w"}
	testBy    = fleet.Actor{User: "u"}
	testTime  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// bed is a system with its surroundings in memory.
type bed struct {
	*System
	mem *memory
	win *window
	log *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newBed(tb testing.TB, change ...func(*Options)) *bed {
	tb.Helper()
	b := &bed{mem: newMemory(), win: newWindow(), log: &safeBuffer{}}
	o := Options{
		Journal: b.mem, Store: b.mem, Links: b.win, Views: b.win, Manual: true, Now: func() time.Time { return testTime },
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Place: func(as *actor.ActorSystem, h Host) (Placement, error) {
			return cluster.Start(as, h)
		},
	}
	for _, f := range change {
		f(&o)
	}
	s, err := NewSystem(o)
	if err != nil {
		tb.Fatal(err)
	}
	b.System = s
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 20*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			tb.Errorf("stop: %v", err)
		}
	})
	return b
}

func live(o *Options) { o.Manual, o.Now = false, nil }

func (b *bed) quiesce(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	if err := b.Quiesce(ctx); err != nil {
		tb.Fatalf("quiesce: %v", err)
	}
}

// pass lets time go by in steps of 50 ms (manual mode).
func (b *bed) pass(tb testing.TB, d time.Duration) {
	tb.Helper()
	for end := b.now().Add(d); b.now().Before(end); {
		b.Advance(b.now().Add(50 * time.Millisecond))
		b.quiesce(tb)
	}
}

func testSpec(i int) task.Spec {
	return task.Spec{
		ID: fleet.TaskID(fmt.Sprintf("task-%05d", i)), Shard: testShard, Type: fleet.Transport,
		Errands: []fleet.Vertex{1, 2}, CreatedAt: testTime,
	}
}

func testIdem(key string) *fact.Idempotency {
	return &fact.Idempotency{Key: key, Route: "POST /tasks", Answer: fact.Answer{Status: 201, Body: []byte(key)}}
}

var errLost = errors.New("connection lost")
