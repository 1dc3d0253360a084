package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres/gen"
)

// How rows become the engine's nouns.

func taskState(r *gen.Task) (*task.State, error) {
	kind, ok := fleet.ParseTaskType(r.TaskType)
	status, known := fleet.ParseTaskStatus(r.Status)
	if !ok || !known {
		return nil, fmt.Errorf("task %s has type %q and status %q", r.TaskID, r.TaskType, r.Status)
	}
	st := &task.State{
		Spec: task.Spec{
			ID: fleet.TaskID(r.TaskID), Type: kind, Priority: uint8(r.Priority),
			Shard:         fleet.Shard{Tenant: fleet.TenantID(r.TenantID), Warehouse: fleet.WarehouseID(r.WarehouseID)},
			EarliestStart: instant(r.EarliestStart), Deadline: instant(r.Deadline),
			Robot: given[fleet.RobotID](r.WantedRobotID), Fleet: r.Fleet, Source: r.Source, CreatedAt: r.CreatedAt.UTC(),
			CreatedBy: given[fleet.UserID](r.CreatedByUserID),
		},
		Status: status, Robot: given[fleet.RobotID](r.RobotID), Errand: int(r.Errand), Reason: r.Reason, Version: r.Version,
		Awards: int(r.Awards), AssignedAt: instant(r.AssignedAt), StartedAt: instant(r.StartedAt),
		FinishedAt: instant(r.FinishedAt), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if string(r.Payload) != "null" {
		st.Spec.Payload = r.Payload
	}
	return st, decodeErrands(r.Errands, &st.Spec)
}

func getTask(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, id fleet.TaskID) (*task.State, error) {
	row, err := q.GetTask(ctx, gen.GetTaskParams{TenantID: string(tenant), TaskID: string(id)})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("task %s: %w", id, fact.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return taskState(&row)
}

// robotView shows a robot as its row has it: the registration, and the last snapshot of its soft state.
func robotView(r *gen.Robot) *robot.View {
	control, _ := fleet.ParseControl(r.Control)
	state, _ := fleet.ParseRobotState(r.Status)
	spec := &robot.Spec{
		ID: fleet.RobotID(r.RobotID), Tenant: fleet.TenantID(r.TenantID), Warehouse: fleet.WarehouseID(r.WarehouseID),
		Code: r.RobotCode, DisplayName: r.DisplayName, Fleet: r.Fleet, Model: r.Model, Protocol: r.Protocol, Control: control,
		Priority: uint8(r.Priority), RadiusM: r.FootprintRadiusM, MaxSpeedMPS: r.MaxSpeedMps, CreatedAt: r.CreatedAt.UTC(),
	}
	if len(r.Capabilities) > 0 {
		spec.Capabilities = r.Capabilities
	}
	if r.AllowedZones != nil {
		spec.AllowedZones = []fleet.ZoneID{}
	}
	for _, z := range r.AllowedZones {
		spec.AllowedZones = append(spec.AllowedZones, fleet.ZoneID(z))
	}
	v := &robot.View{
		ID: spec.ID, Spec: spec, Version: r.Version, State: state, Vertex: fleet.NoVertex, Goal: fleet.NoVertex,
		Pose:    fleet.Pose{X: r.PoseX, Y: r.PoseY, Theta: r.PoseTheta},
		Located: r.ReportedAt != nil, Battery: r.BatterySoc, BootID: r.BootID, Seq: uint64(r.Seq), ReportedAt: instant(r.ReportedAt),
		ReceivedAt: instant(r.ReportedAt),
	}
	for c := fleet.NeverSeen; c <= fleet.Offline; c++ {
		if c.String() == r.Connection {
			v.Connection = c
		}
	}
	return v
}

// commandRecord lists the stages in their order; the first is always StageAccepted.
func commandRecord(r *gen.Command) (fact.Command, error) {
	kind, ok := fleet.ParseCommand(r.Command)
	if !ok {
		return fact.Command{}, fmt.Errorf("command %s is %q", r.CommandID, r.Command)
	}
	_, place, err := decodeArgs(r.Args)
	if err != nil {
		return fact.Command{}, err
	}
	c := fact.Command{
		ID: fleet.CommandID(r.CommandID), Robot: fleet.RobotID(r.RobotID), Kind: kind, Place: place,
		ExpiresAt: r.ExpiresAt.UTC(), By: given[fleet.UserID](r.ActorUserID), Reason: r.Reason,
	}
	for stage, at := range []*time.Time{&r.AcceptedAt, r.SentAt, r.AcknowledgedAt, r.DoneAt, r.FailedAt, r.ExpiredAt} {
		if at != nil {
			c.Stages = append(c.Stages, fact.CommandStage{Stage: fleet.Stage(stage), At: at.UTC()})
		}
	}
	return c, nil
}

func decisionRecord(r *gen.Decision) (fact.Decision, error) {
	d := fact.Decision{
		ID: fleet.DecisionID(r.DecisionID), Warehouse: fleet.WarehouseID(r.WarehouseID), At: r.DecidedAt.UTC(),
		Task: given[fleet.TaskID](r.TaskID), Robot: given[fleet.RobotID](r.RobotID), Reason: r.Reason, InputsDigest: r.InputsDigest,
	}
	var a assignments
	var others []alternativeJSON
	if err := errors.Join(json.Unmarshal(r.Assignments, &a), json.Unmarshal(r.Alternatives, &others)); err != nil {
		return d, fmt.Errorf("read decision %s: %w", d.ID, err)
	}
	if a.Cost != nil {
		d.Cost = task.Cost(*a.Cost)
	}
	d.Cycle, d.Before, d.Because = a.Robots, a.Before, a.Because
	for _, o := range others {
		d.Alternatives = append(d.Alternatives, task.Alternative(o))
	}
	return d, nil
}
