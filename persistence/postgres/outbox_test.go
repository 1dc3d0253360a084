//go:build integration

package postgres_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestEachFactLeavesItsOutboxRow(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	warehouse := string(shard.Warehouse)
	g := addMap(t, s, shard, "", floor)
	r, register := registration(shard, "r1")
	spec := newTask(shard, day)
	award := task.Assigned{Robot: r.ID, Decision: task.Decision{
		ID: newID[fleet.DecisionID](), At: day, Task: spec.ID, Robot: r.ID, Cost: task.Cost{Total: 4}, Reason: "nearest",
		Alternatives: []task.Alternative{{Robot: newID[fleet.RobotID](), Total: 5, Reason: "farther"}},
	}}
	cycle := dispatch.CycleResolved{DecisionID: newID[fleet.DecisionID](), At: day, Robots: []fleet.RobotID{r.ID}, Yielding: r.ID, Reason: "lower id"}
	id, taskID, mapID := string(r.ID), string(spec.ID), string(g.MapID)
	var want []string
	record := func(subject string, version int64, event any, rows ...string) {
		t.Helper()
		f := oneFact(subject, version, day, event)
		f.Trace = traceparent
		mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{f}})
		want = append(want, rows...)
	}
	record(id, 1, register.Facts[0].Event, "robot.events "+id+" robot.registered")
	record(id, 1, robot.ConnectionChanged{To: fleet.Online, At: day}, "robot.events "+id+" robot.connection_changed")
	record(taskID, 1, task.Created{Spec: spec}, "task.events "+taskID+" task.created")
	record(taskID, 2, award, "scheduler.decisions "+warehouse+" decision.award", "task.events "+taskID+" task.assigned")
	record(taskID, 3, task.Started{}, "task.events "+taskID+" task.started")
	record(taskID, 4, task.ErrandReached{}, "task.events "+taskID+" task.errand_reached")
	record(taskID, 5, task.Unassigned{Robot: r.ID, Reason: "lost"}, "task.events "+taskID+" task.unassigned")
	record(taskID, 6, task.CancelStarted{Reason: "asked"}, "task.events "+taskID+" task.cancel_started")
	record(taskID, 7, task.Cancelled{Reason: "asked"}, "task.events "+taskID+" task.cancelled")
	record(warehouse, 0, dispatch.MapActivated{MapID: g.MapID, Version: 1}, "map.events "+warehouse+" map.activated")
	record(warehouse, 0, dispatch.LaneChanged{State: dispatch.LaneState{Lane: g.Lanes[0].ID, Closed: true}}, "map.events "+warehouse+" lane.changed")
	record(warehouse, 0, cycle, "scheduler.decisions "+warehouse+" decision.cycle")
	record(id, 2, robot.Removed{Version: 2}, "robot.events "+id+" robot.removed")

	rows, err := connect(t, url, "").Query(t.Context(), "SELECT topic, key, payload, status, headers->>'traceparent' FROM outbox_events ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var topic, key, status, trace string
		var payload []byte
		if err := rows.Scan(&topic, &key, &payload, &status, &trace); err != nil {
			t.Fatal(err)
		}
		var env eventsv1.Envelope
		if err := proto.Unmarshal(payload, &env); err != nil {
			t.Fatal(err)
		}
		got = append(got, topic+" "+key+" "+env.Type)
		if status != "PENDING" || trace != traceparent || env.Traceparent != traceparent || env.TenantId != string(shard.Tenant) ||
			env.WarehouseId != warehouse || !env.OccurredAt.AsTime().Equal(day) || env.Body == nil || env.Actor.GetPart() != "test" {
			t.Errorf("row %s %s: %s %s %v", topic, status, trace, env.Type, &env)
		}
		if a := env.GetAwardDecided(); a != nil && (a.TaskId != taskID || a.Cost.GetTotal() != 4 || len(a.Alternatives) != 1) {
			t.Errorf("award %v", a)
		}
		if m := env.GetMapActivated(); m != nil && (m.MapId != mapID || m.MapVersion != 1) {
			t.Errorf("activation %v", m)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("outbox rows\n got %q\nwant %q", got, want)
	}
}
