package rest

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
)

func TestTheTimesOfATaskAreShown(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var x task.Timing
	spec := task.Spec{ID: "t", Shard: fleet.Shard{Tenant: "a", Warehouse: "w"}, Type: fleet.GoTo, EarliestStart: at.Add(2 * time.Second), Deadline: at.Add(9 * time.Second)}
	for i, e := range []task.Event{task.Created{Spec: spec}, task.Assigned{Robot: "r"}, task.Started{}, task.ErrandReached{}, task.Succeeded{}} {
		x.Apply(at.Add(time.Duration(i)*3*time.Second), int64(i+1), e)
	}
	b := timingOf(&x)
	if b.RobotID == nil || *b.RobotID != "r" || b.Phase != "SUCCEEDED" || b.DelayedMS != 2000 || b.WaitingMS != 1000 || b.ApproachMS != 3000 ||
		b.ExecutingMS != 6000 || b.CancelMS != 0 || b.LateMS != 3000 || b.FinishedAt == nil || b.Awards != 1 || b.Errands != 1 || b.DueAt != "2026-03-01T12:00:02.000Z" {
		t.Errorf("%+v", b)
	}
}

func TestTheTimesOfATaskHaveADoor(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	op := g.token(auth.Operator)
	path := g.post("/api/v1/tasks", op, `{"task_type":"go_to","warehouse_id":"`+g.warehouse+`","payload":{"dropoff":"0"}}`).want(201).header.Get("Location") + "/timing"
	if m := g.get(path, op).want(200).object(); m["phase"] != "CREATED" || m["version"] != 1.0 || m["finished_at"] != nil || m["robot_id"] != nil {
		t.Errorf("%v", m)
	}
	g.get("/api/v1/tasks/"+nobody+"/timing", op).fails(404, codeNotFound)
}
