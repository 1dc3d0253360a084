package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// LoadTask implements actors.Store.
func (s *Store) LoadTask(_ context.Context, id fleet.Shard, taskID fleet.TaskID) (fact.TaskRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.shard(id).tasks[taskID]
	if l == nil {
		return fact.TaskRecord{}, fmt.Errorf("load task %s: %w", taskID, fact.ErrNotFound)
	}
	return fact.TaskRecord{Events: slices.Clone(l.events), Version: l.state.Version}, nil
}

// LoadRobot implements actors.Store.
func (s *Store) LoadRobot(_ context.Context, id fleet.Shard, robotID fleet.RobotID) (fact.RobotRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shard(id)
	l := sh.robots[robotID]
	if l == nil || l.removed {
		return fact.RobotRecord{}, fmt.Errorf("load robot %s: %w", robotID, fact.ErrNotFound)
	}
	r := fact.RobotRecord{Version: l.version, Last: l.last}
	r.Events = append(r.Events, fact.Recorded[robot.Event]{At: l.registered, Event: robot.Registered{Spec: l.spec, Version: l.version}})
	if l.connection != nil {
		r.Events = append(r.Events, *l.connection)
	}
	for i := range l.commands {
		r.Events = append(r.Events, l.commands[i].events...)
	}
	r.Active = sh.activeTask(robotID)
	return r, nil
}

// activeTask copies the newest task that is under way with the robot.
func (sh *shard) activeTask(id fleet.RobotID) *task.State {
	var active *task.State
	for _, l := range sh.tasks { // the order does not matter: the greatest is one
		t := l.state
		if t.Robot == id && t.Status > fleet.TaskCreated && !t.Status.Final() && (active == nil || older(active, &t) < 0) {
			active = &t
		}
	}
	return active
}

func older(a, b *task.State) int {
	return cmp.Or(a.Spec.CreatedAt.Compare(b.Spec.CreatedAt), cmp.Compare(a.Spec.ID, b.Spec.ID))
}

// LoadZone implements actors.Store.
func (s *Store) LoadZone(_ context.Context, id fleet.Shard, zoneID fleet.ZoneID) ([]zone.RosterEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	roster := s.shard(id).roster[zoneID]
	out := make([]zone.RosterEntry, 0, len(roster))
	for _, r := range slices.Sorted(maps.Keys(roster)) {
		out = append(out, roster[r])
	}
	return out, nil
}

// LoadWarehouse implements actors.Store.
func (s *Store) LoadWarehouse(_ context.Context, id fleet.Shard) (fact.WarehouseRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shard(id)
	r := fact.WarehouseRecord{Graph: sh.maps[sh.active], KeepOut: slices.Clone(sh.keepOut)}
	for _, l := range slices.Sorted(maps.Keys(sh.lanes)) {
		if r.Graph == nil {
			break
		}
		if _, in := r.Graph.LaneNumber(l); in {
			r.Lanes = append(r.Lanes, sh.lanes[l])
		}
	}
	for _, t := range sh.sorted() {
		switch {
		case t.Status == fleet.TaskCreated:
			r.Tasks = append(r.Tasks, *t)
		case !t.Status.Final():
			r.Held = append(r.Held, t.Spec.ID)
		}
	}
	robots := make([]*robotLog, 0, len(sh.robots))
	for _, k := range slices.Sorted(maps.Keys(sh.robots)) {
		if !sh.robots[k].removed {
			robots = append(robots, sh.robots[k])
		}
	}
	slices.SortStableFunc(robots, func(a, b *robotLog) int { return cmp.Compare(a.spec.Code, b.spec.Code) })
	for _, l := range robots {
		r.Robots = append(r.Robots, l.spec.ID)
	}
	return r, nil
}

// sorted lists copies of the tasks, oldest first.
func (sh *shard) sorted() []*task.State {
	out := make([]*task.State, 0, len(sh.tasks))
	for _, l := range sh.tasks {
		st := l.state
		out = append(out, &st)
	}
	slices.SortFunc(out, older)
	return out
}

// SaveSnapshots implements actors.Store. An older one than what is kept changes nothing.
func (s *Store) SaveSnapshots(_ context.Context, id fleet.Shard, snapshots []fact.RobotSnapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shard(id)
	for _, n := range snapshots {
		if l := sh.robots[n.Robot]; l != nil && !n.Last.ReportedAt.Before(l.last.ReportedAt) {
			next := *l
			next.last = n.Last
			sh.robots[n.Robot] = &next
		}
	}
	return nil
}

// Tasks copies the tasks of a shard, oldest first: for benches and tests that count.
func (s *Store) Tasks(id fleet.Shard) []*task.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shard(id).sorted()
}
