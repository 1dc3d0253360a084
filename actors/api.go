package actors

import (
	"context"
	"fmt"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

// The methods of this file and of link.go are what the gateway calls. Errors wrap fact.ErrUnavailable, ErrUnknown,
// ErrFenced, ErrConflict (*fact.ConflictError), ErrRejected, ErrNotFound, ErrPrecondition or ErrBusy, or are the
// context's.

// CreateTask records a new task and tells the dispatcher: when it returns nil, the task is durable. A reused
// idempotency key is a *fact.ConflictError with Key "idempotency_key".
func (s *System) CreateTask(
	ctx context.Context, spec task.Spec, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency,
) (task.View, error) {
	sh, err := s.open(ctx, spec.Shard)
	if err != nil {
		return task.View{}, err
	}
	sh.findOr(kindTask, string(spec.ID), true)
	m := task.CreateRequested{Spec: spec, By: by, Trace: trace}
	v, err := request[task.View](ctx, sh, kindTask, string(spec.ID), m, idem)
	if err != nil {
		return v, fmt.Errorf("create task %s: %w", spec.ID, err)
	}
	return v, nil
}

// CreateTasks records many new tasks, all or none, and tells the dispatcher.
func (s *System) CreateTasks(
	ctx context.Context, id fleet.Shard, specs []task.Spec, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency,
) error {
	if len(specs) == 0 {
		return nil
	}
	sh, err := s.open(ctx, id)
	if err != nil {
		return err
	}
	m := createTasks{specs: specs, by: by, trace: trace}
	if _, err := request[done](ctx, sh, kindWarehouse, "", m, idem); err != nil {
		return fmt.Errorf("create %d tasks: %w", len(specs), err)
	}
	return nil
}

// CancelTask starts cancelling a task, or returns it as it is where that has been asked before. A final task that
// was not cancelled is a *fact.ConflictError with Key "state".
func (s *System) CancelTask(
	ctx context.Context, shard fleet.Shard, id fleet.TaskID, reason string, by fleet.Actor, trace fleet.Trace,
) (task.View, error) {
	m := task.CancelRequested{Reason: reason, By: by, Trace: trace}
	v, err := call[task.View](ctx, s, shard, kindTask, string(id), m, nil)
	if err != nil {
		return v, fmt.Errorf("cancel task %s: %w", id, err)
	}
	return v, nil
}

// RegisterRobot records a robot's registration. ifVersion 0 = create only, > 0 = must equal the current version,
// -1 = whatever it is.
func (s *System) RegisterRobot(
	ctx context.Context, spec robot.Spec, ifVersion int64, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency,
) (robot.View, error) {
	shard := fleet.Shard{Tenant: spec.Tenant, Warehouse: spec.Warehouse}
	m := robot.RegisterRequested{Spec: spec, IfVersion: ifVersion, By: by, Trace: trace}
	v, err := call[robot.View](ctx, s, shard, kindRobot, string(spec.ID), m, idem)
	if err != nil {
		return v, fmt.Errorf("register robot %s: %w", spec.ID, err)
	}
	return v, nil
}

// RemoveRobot deletes a robot's registration.
func (s *System) RemoveRobot(
	ctx context.Context, shard fleet.Shard, id fleet.RobotID, ifVersion int64, by fleet.Actor, trace fleet.Trace,
) error {
	m := robot.RemoveRequested{IfVersion: ifVersion, By: by, Trace: trace}
	if _, err := call[robot.View](ctx, s, shard, kindRobot, string(id), m, nil); err != nil {
		return fmt.Errorf("remove robot %s: %w", id, err)
	}
	return nil
}

// CommandRobot records an operator's command; when it returns nil, the command is durable and on its way.
func (s *System) CommandRobot(
	ctx context.Context, shard fleet.Shard, c robot.Command, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency,
) error {
	m := robot.CommandRequested{Command: c, By: by, Trace: trace}
	if _, err := call[robot.View](ctx, s, shard, kindRobot, string(c.Robot), m, idem); err != nil {
		return fmt.Errorf("command robot %s: %w", c.Robot, err)
	}
	return nil
}

// ReportStatus takes a status from a device that wants to know whether it counted. accepted is false, with a
// reason, for a status that is not newer than the last one.
func (s *System) ReportStatus(
	ctx context.Context, shard fleet.Shard, id fleet.RobotID, m robot.StatusReported,
) (accepted bool, reason string, err error) {
	a, err := call[statusAnswer](ctx, s, shard, kindRobot, string(id), reportStatus{&m}, nil)
	if err != nil {
		return false, "", fmt.Errorf("report the status of robot %s: %w", id, err)
	}
	return a.accepted, a.reason, nil
}

// ActivateMap makes a checked and stored map version the active one of the warehouse; nil error = it is recorded,
// and the zones and robots are being told.
func (s *System) ActivateMap(
	ctx context.Context, g *roadmap.Graph, shard fleet.Shard, by fleet.Actor, trace fleet.Trace,
) error {
	m := dispatch.ActivateRequested{Graph: g, By: by, Trace: trace}
	if _, err := call[done](ctx, s, shard, kindWarehouse, "", m, nil); err != nil {
		return fmt.Errorf("activate map %s version %d: %w", g.MapID, g.Version, err)
	}
	return nil
}

// ChangeLane closes, opens or slows a lane and returns it as it is then.
func (s *System) ChangeLane(ctx context.Context, shard fleet.Shard, m dispatch.LaneRequested) (dispatch.LaneState, error) {
	l, err := call[dispatch.LaneState](ctx, s, shard, kindWarehouse, "", m, nil)
	if err != nil {
		return l, fmt.Errorf("change lane %s: %w", m.Lane, err)
	}
	return l, nil
}

// ChangeOverlays tells the warehouse its kept-out vertices, after an overlay was recorded.
func (s *System) ChangeOverlays(ctx context.Context, shard fleet.Shard, keepOut []fleet.Vertex) error {
	sh, err := s.open(ctx, shard)
	if err != nil {
		return err
	}
	return sh.tell(kindWarehouse, "", dispatch.OverlaysChanged{KeepOut: keepOut})
}

// ActiveGraph is the active map of the warehouse, nil = none. It opens the shard where needed and is cheap then.
func (s *System) ActiveGraph(ctx context.Context, shard fleet.Shard) (*roadmap.Graph, error) {
	sh, err := s.open(ctx, shard)
	if err != nil {
		return nil, err
	}
	return sh.graph(), nil
}

// call is request in a shard that may have to be opened first.
func call[A any](
	ctx context.Context, s *System, shard fleet.Shard, k kind, id string, msg any, idem *fact.Idempotency,
) (A, error) {
	sh, err := s.open(ctx, shard)
	if err != nil {
		var zero A
		return zero, err
	}
	return request[A](ctx, sh, k, id, msg, idem)
}
