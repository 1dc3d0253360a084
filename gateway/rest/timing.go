package rest

import (
	"context"
	"net/http"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
)

// timingBody says how long a task spent in which phase, as far as its events have been consumed.
type timingBody struct {
	TaskID      string  `json:"task_id" format:"uuid"`
	WarehouseID string  `json:"warehouse_id" format:"uuid"`
	TaskType    string  `json:"task_type" enum:"transport,patrol,go_to,charge"`
	RobotID     *string `json:"robot_id" format:"uuid" doc:"of the last award"`
	Version     int64   `json:"version" doc:"of the last event that is in it"`
	Phase       string  `json:"phase" doc:"its status by then"`
	PhaseSince  string  `json:"phase_since" format:"date-time"`
	CreatedAt   string  `json:"created_at" format:"date-time"`
	DueAt       string  `json:"due_at" format:"date-time" doc:"created, or the earliest start where that is later"`
	AssignedAt  *string `json:"assigned_at" format:"date-time" doc:"first award"`
	StartedAt   *string `json:"started_at" format:"date-time"`
	FinishedAt  *string `json:"finished_at" format:"date-time"`
	Awards      int     `json:"awards"`
	Errands     int     `json:"errands_done"`
	DelayedMS   int64   `json:"delayed_ms" doc:"CREATED and not due yet"`
	WaitingMS   int64   `json:"waiting_ms" doc:"CREATED and due: for a robot"`
	ApproachMS  int64   `json:"approach_ms" doc:"ASSIGNED: until its robot set off"`
	ExecutingMS int64   `json:"executing_ms"`
	CancelMS    int64   `json:"cancelling_ms"`
	LateMS      int64   `json:"late_ms" doc:"ended so long after its deadline"`
}

func timingOf(t *task.Timing) timingBody {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	return timingBody{
		TaskID: string(t.Task), WarehouseID: string(t.Shard.Warehouse), TaskType: t.Type.String(), RobotID: text(string(t.Robot)), Version: t.Version,
		Phase: t.Phase.String(), PhaseSince: ts(t.PhaseAt), CreatedAt: ts(t.CreatedAt), DueAt: ts(t.DueAt), AssignedAt: tsp(t.AssignedAt),
		StartedAt: tsp(t.StartedAt), FinishedAt: tsp(t.FinishedAt), Awards: t.Awards, Errands: t.Errands, DelayedMS: ms(t.Delayed),
		WaitingMS: ms(t.Waiting), ApproachMS: ms(t.Approach), ExecutingMS: ms(t.Executing), CancelMS: ms(t.Cancelling), LateMS: ms(t.Late()),
	}
}

func (a *api) taskTiming() {
	type get struct {
		ID string `path:"task_id" format:"uuid"`
	}
	type answer struct{ Body timingBody }
	add(a, op{
		method: http.MethodGet, path: "/api/v1/tasks/{task_id}/timing", id: "get-task-timing", tag: "tasks",
		summary: "How long a task spent in which phase; 404 until its first event has been consumed",
	}, func(ctx context.Context, who *auth.Identity, in *get) (*answer, error) {
		if _, err := a.task(ctx, who, in.ID); err != nil {
			return nil, err
		}
		t, err := a.Facts.GetTiming(ctx, who.Tenant, fleet.TaskID(in.ID))
		if err != nil {
			return nil, err
		}
		return &answer{timingOf(&t)}, nil
	})
}
