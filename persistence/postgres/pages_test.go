//go:build integration

package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres"
)

// What is held elsewhere is listed as rows are: the same order, filters and cursors, from one to the other and back.
func TestPagesOfOthersAreThoseOfRows(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard, other := newShard(t, s), newShard(t, s)
	var robots []*robot.View
	var tasks []*task.View
	for i := range 11 {
		at := shard
		if i%4 == 3 {
			at.Warehouse = other.Warehouse
			at.Tenant = other.Tenant
		}
		spec, u := registration(at, fmt.Sprintf("r%02d", 17*i%11))
		mustAppend(t, s, u)
		v, err := s.Robots.GetRobot(t.Context(), at.Tenant, spec.ID)
		if err != nil {
			t.Fatal(err)
		}
		n := newTask(at, day.Add(time.Duration(i/3)*time.Minute))
		if i%2 == 0 {
			n.Type, n.Source = fleet.Patrol, "rmf"
		}
		mustAppend(t, s, creation(n))
		w, err := s.Tasks.GetTaskByID(t.Context(), at.Tenant, n.ID)
		if err != nil {
			t.Fatal(err)
		}
		if at.Tenant == shard.Tenant { // the others are another tenant's
			robots, tasks = append(robots, v), append(tasks, &w)
		}
	}
	for _, f := range []fact.RobotFilter{{}, {Warehouse: shard.Warehouse}, {Warehouse: other.Warehouse}, {Fleet: "f"}, {Fleet: "g"}, {Code: "r05"}} {
		turn := 0
		code := func(v *robot.View) string { return v.Spec.Code }
		rows := walk(t, func(p fact.Page) (fact.List[*robot.View], error) {
			return s.Robots.ListRobots(t.Context(), shard.Tenant, f, p)
		}, code)
		mixed := walk(t, func(p fact.Page) (fact.List[*robot.View], error) {
			if turn++; turn%2 == 0 {
				return s.Robots.ListRobots(t.Context(), shard.Tenant, f, p)
			}
			return postgres.PageRobots(robots, f, p)
		}, code)
		if !slices.Equal(rows, mixed) {
			t.Errorf("robots %+v: rows %v, mixed %v", f, rows, mixed)
		}
	}
	for _, f := range []fact.TaskFilter{{}, {Warehouse: shard.Warehouse}, {Warehouse: other.Warehouse}, {Type: "patrol"}, {Source: "api"}, {Status: "CREATED"}, {Status: "FAILED"}, {CreatedAfter: day}, {Robot: robots[0].ID}} {
		turn := 0
		id := func(v task.View) string { return string(v.Spec.ID) }
		rows := walk(t, func(p fact.Page) (fact.List[task.View], error) {
			return s.Tasks.ListTasks(t.Context(), shard.Tenant, f, p)
		}, id)
		mixed := walk(t, func(p fact.Page) (fact.List[task.View], error) {
			if turn++; turn%2 == 1 {
				return s.Tasks.ListTasks(t.Context(), shard.Tenant, f, p)
			}
			return postgres.PageTasks(tasks, f, p)
		}, id)
		if !slices.Equal(rows, mixed) {
			t.Errorf("tasks %+v: rows %v, mixed %v", f, rows, mixed)
		}
	}
}
