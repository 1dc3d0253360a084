// Package view keeps the newest state of everything that clients look at: latest wins, nothing is promised. Writers
// are the actors' shells and never wait long; readers get copies.
//
// Size: about 600 bytes a robot. A robot's status overwrites its entry in place: no allocation in steady state.
package view

import (
	"sync"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

const parts = 64

// Store holds the views of all shards.
type Store struct {
	robots [parts]table[fleet.RobotID, robot.View]
	tasks  [parts]table[fleet.TaskID, task.View]
	zones  table[fleet.ZoneID, zone.View]
	floors table[fleet.WarehouseID, dispatch.View]
}

type key[K comparable] struct {
	shard fleet.Shard
	id    K
}

type entry[V any] struct {
	value   V
	version uint64 // rises with every change: what a live channel compares
}

type table[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[key[K]]*entry[V]
}

func (t *table[K, V]) put(k key[K], v *V) {
	t.mu.Lock()
	if t.m == nil {
		t.m = map[key[K]]*entry[V]{}
	}
	e := t.m[k]
	if e == nil {
		e = &entry[V]{}
		t.m[k] = e
	}
	e.value = *v
	e.version++
	t.mu.Unlock()
}

func (t *table[K, V]) get(k key[K]) (v V, version uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.m[k]; e != nil {
		return e.value, e.version, true
	}
	return v, 0, false
}

func (t *table[K, V]) drop(k key[K]) {
	t.mu.Lock()
	delete(t.m, k)
	t.mu.Unlock()
}

// New returns an empty store.
func New() *Store { return &Store{} }

func part[K ~string](id K) int {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return int(h % parts)
}

// ShowRobot takes a robot's newest state.
func (s *Store) ShowRobot(shard fleet.Shard, v *robot.View) {
	s.robots[part(v.ID)].put(key[fleet.RobotID]{shard, v.ID}, v)
}

// RobotGone forgets a robot.
func (s *Store) RobotGone(shard fleet.Shard, id fleet.RobotID) {
	s.robots[part(id)].drop(key[fleet.RobotID]{shard, id})
}

// ShowTask takes a task's newest state; finished tasks are forgotten, the store of facts has them.
func (s *Store) ShowTask(shard fleet.Shard, v *task.View) {
	k := key[fleet.TaskID]{shard, v.Spec.ID}
	if v.Status.Final() {
		s.tasks[part(v.Spec.ID)].drop(k)
		return
	}
	s.tasks[part(v.Spec.ID)].put(k, v)
}

// ShowZone takes a zone's newest state.
func (s *Store) ShowZone(shard fleet.Shard, v *zone.View) {
	s.zones.put(key[fleet.ZoneID]{shard, v.Zone}, v)
}

// ShowWarehouse takes a dispatcher's newest state.
func (s *Store) ShowWarehouse(shard fleet.Shard, v *dispatch.View) {
	s.floors.put(key[fleet.WarehouseID]{shard, shard.Warehouse}, v)
}

// Robot returns a robot's newest state; version rises with every change.
func (s *Store) Robot(shard fleet.Shard, id fleet.RobotID) (v robot.View, version uint64, ok bool) {
	return s.robots[part(id)].get(key[fleet.RobotID]{shard, id})
}

// Task returns an open task's newest state.
func (s *Store) Task(shard fleet.Shard, id fleet.TaskID) (v task.View, version uint64, ok bool) {
	return s.tasks[part(id)].get(key[fleet.TaskID]{shard, id})
}

// Zone returns a zone's newest state.
func (s *Store) Zone(shard fleet.Shard, id fleet.ZoneID) (v zone.View, version uint64, ok bool) {
	return s.zones.get(key[fleet.ZoneID]{shard, id})
}

// Warehouse returns a dispatcher's newest state.
func (s *Store) Warehouse(shard fleet.Shard) (v dispatch.View, version uint64, ok bool) {
	return s.floors.get(key[fleet.WarehouseID]{shard, shard.Warehouse})
}

// Robots calls f for a copy of every robot of a shard, in no order, until f returns false.
func (s *Store) Robots(shard fleet.Shard, f func(*robot.View) bool) {
	for i := range s.robots {
		t := &s.robots[i]
		t.mu.RLock()
		var vs []robot.View
		for k, e := range t.m {
			if k.shard == shard {
				vs = append(vs, e.value)
			}
		}
		t.mu.RUnlock()
		for j := range vs {
			if !f(&vs[j]) {
				return
			}
		}
	}
}
