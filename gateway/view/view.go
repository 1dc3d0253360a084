// Package view keeps the newest state of everything that clients look at, and what has just happened to tasks: latest
// wins, nothing is promised. Writers are the actors' shells and never wait long; readers get copies.
//
// Size: about 600 bytes a robot, and a transition of a task 1 to 2 kB and what its customer has put into it, at most
// 16,384 of them or 32 MiB a warehouse. A robot's status overwrites its entry in place: no allocation in steady state.
package view

import (
	"maps"
	"slices"
	"sync"
	"time"

	"starling/engine/congestion"
	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Store holds the views of all tenants.
type Store struct {
	now func() time.Time

	mu      sync.RWMutex
	tenants map[fleet.TenantID]*Tenant
}

// Tenant is what one tenant may look at.
type Tenant struct {
	Robots *Table[fleet.RobotID, robot.View]
	Zones  *Table[fleet.ZoneID, zone.View]
	Heat   *Table[congestion.Subject, Heat] // of a warehouse by its id
	Tasks  *Board
	Alerts *Incidents

	mu     sync.RWMutex
	floors map[fleet.WarehouseID]*floor
}

// floor is what is known of a warehouse besides what is in it.
type floor struct {
	shown    dispatch.View
	versions uint64
	tempo    tempo
}

// New returns an empty store.
func New() *Store { return &Store{now: time.Now, tenants: map[fleet.TenantID]*Tenant{}} }

// Tenant returns what a tenant may look at.
func (s *Store) Tenant(id fleet.TenantID) *Tenant {
	s.mu.RLock()
	t := s.tenants[id]
	s.mu.RUnlock()
	if t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t = s.tenants[id]; t == nil {
		t = &Tenant{
			// What a robot's view points to is never changed after it was shown.
			Robots: newTable[fleet.RobotID](func(dst, src *robot.View) { *dst = *src }),
			Zones:  newTable[fleet.ZoneID](func(dst, src *zone.View) { *dst = *src }),
			Heat:   newTable[congestion.Subject](func(dst, src *Heat) { *dst = *src }),
			Tasks:  newBoard(), Alerts: newIncidents(), floors: map[fleet.WarehouseID]*floor{},
		}
		s.tenants[id] = t
	}
	return t
}

// ShowRobot takes a robot's newest state.
func (s *Store) ShowRobot(shard fleet.Shard, v *robot.View) {
	s.Tenant(shard.Tenant).Robots.put(v.ID, shard.Warehouse, v)
}

// RobotGone forgets a robot.
func (s *Store) RobotGone(shard fleet.Shard, id fleet.RobotID) {
	s.Tenant(shard.Tenant).Robots.drop(id, shard.Warehouse)
}

// ShowTask takes a task's newest state; finished tasks are forgotten, the store of facts has them.
func (s *Store) ShowTask(shard fleet.Shard, v *task.View) { s.Tenant(shard.Tenant).Tasks.show(v) }

// TaskChanged takes a recorded step of a task and the task after it: each once, in the order of a task's versions.
func (s *Store) TaskChanged(shard fleet.Shard, e task.Event, v *task.View) {
	t, now := s.Tenant(shard.Tenant), s.now()
	t.Tasks.changed(now, e, v)
	switch e.(type) {
	case task.Succeeded:
		t.floor(shard.Warehouse, func(f *floor) { f.tempo.finished.add(now) })
	case task.Assigned:
		if v.Awards != 1 {
			return
		}
		since := v.Spec.CreatedAt
		if v.Spec.EarliestStart.After(since) {
			since = v.Spec.EarliestStart
		}
		t.floor(shard.Warehouse, func(f *floor) { f.tempo.decisions.add(now, v.AssignedAt.Sub(since)) })
	}
}

// CommandHeard says how long it took from accepting a command to the robot's acknowledgement.
func (s *Store) CommandHeard(shard fleet.Shard, took time.Duration) {
	now := s.now()
	s.Tenant(shard.Tenant).floor(shard.Warehouse, func(f *floor) { f.tempo.commands.add(now, took) })
}

// ShowZone takes a zone's newest state.
func (s *Store) ShowZone(shard fleet.Shard, v *zone.View) {
	s.Tenant(shard.Tenant).Zones.put(v.Zone, shard.Warehouse, v)
}

// ZoneGone forgets a zone that the active map no longer has.
func (s *Store) ZoneGone(shard fleet.Shard, id fleet.ZoneID) {
	s.Tenant(shard.Tenant).Zones.drop(id, shard.Warehouse)
}

// ShowWarehouse takes a dispatcher's newest state.
func (s *Store) ShowWarehouse(shard fleet.Shard, v *dispatch.View) {
	s.Tenant(shard.Tenant).floor(shard.Warehouse, func(f *floor) { f.shown, f.versions = *v, f.versions+1 })
}

func (t *Tenant) floor(w fleet.WarehouseID, f func(*floor)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.floors[w]
	if x == nil {
		x = &floor{}
		t.floors[w] = x
	}
	f(x)
}

// Robot returns a robot's newest state; version rises with every change.
func (s *Store) Robot(shard fleet.Shard, id fleet.RobotID) (v robot.View, version uint64, ok bool) {
	return s.Tenant(shard.Tenant).Robots.in(shard.Warehouse, id)
}

// Task returns an open task's newest state.
func (s *Store) Task(shard fleet.Shard, id fleet.TaskID) (v task.View, ok bool) {
	return s.Tenant(shard.Tenant).Tasks.get(shard.Warehouse, id)
}

// Tasks calls f for every open task of a shard, in no order, until f returns false.
func (s *Store) Tasks(shard fleet.Shard, f func(*task.View) bool) {
	for _, v := range s.Tenant(shard.Tenant).Tasks.Open(shard.Warehouse) {
		if !f(v) {
			return
		}
	}
}

// Zone returns a zone's newest state.
func (s *Store) Zone(shard fleet.Shard, id fleet.ZoneID) (v zone.View, version uint64, ok bool) {
	return s.Tenant(shard.Tenant).Zones.in(shard.Warehouse, id)
}

// Warehouse returns a dispatcher's newest state.
func (s *Store) Warehouse(shard fleet.Shard) (v dispatch.View, version uint64, ok bool) {
	t := s.Tenant(shard.Tenant)
	t.mu.RLock()
	defer t.mu.RUnlock()
	f := t.floors[shard.Warehouse]
	if f == nil || f.versions == 0 {
		return v, 0, false
	}
	return f.shown, f.versions, true
}

// Tempo says how fast things went in a warehouse during the last minute.
func (s *Store) Tempo(shard fleet.Shard) Tempo {
	t, now := s.Tenant(shard.Tenant), s.now()
	var out Tempo
	t.floor(shard.Warehouse, func(f *floor) { out = f.tempo.read(now) })
	return out
}

// Robots calls f for a copy of every robot of a shard, in no order, until f returns false.
func (s *Store) Robots(shard fleet.Shard, f func(*robot.View) bool) {
	more := true
	s.Tenant(shard.Tenant).Robots.Changes(0, nil, func(r *Row[robot.View]) {
		if more && r.Warehouse == shard.Warehouse {
			more = f(&r.Value)
		}
	})
}

// EachZone calls f for a copy of every zone of all tenants, in no order.
func (s *Store) EachZone(f func(shard fleet.Shard, v *zone.View)) {
	s.mu.RLock()
	tenants := maps.Clone(s.tenants)
	s.mu.RUnlock()
	for id, t := range tenants {
		t.Zones.Changes(0, nil, func(r *Row[zone.View]) { f(fleet.Shard{Tenant: id, Warehouse: r.Warehouse}, &r.Value) })
	}
}

// in returns an entry of a warehouse.
func (t *Table[K, V]) in(w fleet.WarehouseID, id K) (v V, puts uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, ok := t.rows[id]
	if !ok || t.list[i].warehouse != w {
		return v, 0, false
	}
	t.keep(&v, &t.list[i].value)
	return v, t.list[i].puts, true
}

// window is how far back a tempo looks, and samples how many values it keeps of each kind.
const (
	window  = time.Minute
	samples = 4096
)

// Tempo is what happened within the last minute.
type Tempo struct {
	Finished            int // tasks that succeeded
	Decisions, Commands Quantiles
}

// Quantiles of durations; Of = 0: there were none.
type Quantiles struct {
	Of       int
	P50, P99 time.Duration
}

type tempo struct {
	finished            perSecond
	decisions, commands ring
}

// perSecond counts what happened in each second of the window.
type perSecond struct {
	second [int(window / time.Second)]int64 // since 1970, by its remainder
	count  [int(window / time.Second)]int
}

func (p *perSecond) add(now time.Time) {
	s := now.Unix()
	i := int(s % int64(len(p.count)))
	if p.second[i] != s {
		p.second[i], p.count[i] = s, 0
	}
	p.count[i]++
}

func (p *perSecond) within(now time.Time) int {
	n := 0
	for i, s := range p.second {
		if s > now.Unix()-int64(len(p.count)) {
			n += p.count[i]
		}
	}
	return n
}

// ring keeps the newest values.
type ring struct {
	at   []time.Time
	took []time.Duration
	next int
}

func (r *ring) add(now time.Time, d time.Duration) {
	if len(r.at) < samples {
		r.at, r.took = append(r.at, now), append(r.took, d)
		return
	}
	r.at[r.next], r.took[r.next] = now, d
	r.next = (r.next + 1) % samples
}

func (r *ring) since(from time.Time) []time.Duration {
	var out []time.Duration
	for i, at := range r.at {
		if at.After(from) {
			out = append(out, r.took[i])
		}
	}
	return out
}

func (t *tempo) read(now time.Time) Tempo {
	from := now.Add(-window)
	return Tempo{Finished: t.finished.within(now), Decisions: quantiles(t.decisions.since(from)), Commands: quantiles(t.commands.since(from))}
}

func quantiles(d []time.Duration) Quantiles {
	n := len(d)
	if n == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	return Quantiles{Of: n, P50: d[n/2], P99: d[min(n-1, n*99/100)]}
}
