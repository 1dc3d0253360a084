package main

import (
	"context"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/rest"
	"starling/persistence/postgres"
)

// facts are the repositories as the HTTP door wants them.
type facts struct {
	*postgres.TenantsRepo
	*postgres.WarehousesRepo
	*postgres.MapsRepo
	*postgres.ZonesRepo
	*postgres.LanesRepo
	*postgres.CommandsRepo
	*postgres.DecisionsRepo
	*postgres.TasksRepo
	*postgres.AuditRepo
	*postgres.DeadLettersRepo
	store *postgres.Store
}

func newFacts(s *postgres.Store) rest.Facts {
	return facts{s.Tenants, s.Warehouses, s.Maps, s.Zones, s.Lanes, s.Commands, s.Decisions, s.Tasks, s.Audit, s.DeadLetters, s}
}

// FirstAnswer finds the answer that a key got first.
func (f facts) FirstAnswer(ctx context.Context, tenant fleet.TenantID, route, key string) ([]byte, *fact.Answer, error) {
	return f.store.FirstAnswer(ctx, tenant, route, key)
}

// RememberAnswer keeps an answer for its key.
func (f facts) RememberAnswer(ctx context.Context, tenant fleet.TenantID, idem *fact.Idempotency) error {
	return f.store.RememberAnswer(ctx, tenant, idem)
}

// GetTenant finds a tenant by id.
func (f facts) GetTenant(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) {
	return f.GetTenantByID(ctx, id)
}

// CountRobots counts a tenant's registered robots.
func (f facts) CountRobots(ctx context.Context, tenant fleet.TenantID) (int, error) {
	return f.store.Robots.CountRobots(ctx, tenant)
}

// GetTask finds a task by id.
func (f facts) GetTask(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.View, error) {
	return f.GetTaskByID(ctx, tenant, id)
}

// GetRobot finds a robot by id.
func (f facts) GetRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID) (rest.Robot, error) {
	v, err := f.store.Robots.GetRobot(ctx, tenant, id)
	if err != nil {
		return rest.Robot{}, err
	}
	return storedRobot(v), nil
}

// ListRobots lists robots.
func (f facts) ListRobots(ctx context.Context, tenant fleet.TenantID, w fact.RobotFilter, p fact.Page) (fact.List[rest.Robot], error) {
	l, err := f.store.Robots.ListRobots(ctx, tenant, w, p)
	out := fact.List[rest.Robot]{Next: l.Next}
	for _, v := range l.Items {
		out.Items = append(out.Items, storedRobot(v))
	}
	return out, err
}

func storedRobot(v *robot.View) rest.Robot {
	return rest.Robot{Spec: *v.Spec, Version: v.Version, Last: robot.LastKnown{
		BootID: v.BootID, Seq: v.Seq, ReportedAt: v.ReportedAt, Pose: v.Pose, Battery: v.Battery, State: v.State, Connection: v.Connection,
	}}
}
