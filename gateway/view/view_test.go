package view_test

import (
	"strconv"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/view"
)

func TestTheNewestStateWinsAndTenantsDoNotMix(t *testing.T) {
	t.Parallel()
	s, a, b := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}, fleet.Shard{Tenant: "b", Warehouse: "w"}
	s.ShowRobot(a, &robot.View{ID: "r", Battery: 0.5})
	s.ShowRobot(a, &robot.View{ID: "r", Battery: 0.4})
	if v, version, ok := s.Robot(a, "r"); !ok || v.Battery != 0.4 || version != 2 {
		t.Errorf("%v %v %v", v.Battery, version, ok)
	}
	if _, _, ok := s.Robot(b, "r"); ok {
		t.Error("another tenant sees the robot")
	}
	n := 0
	s.Robots(a, func(*robot.View) bool { n++; return true })
	if s.RobotGone(a, "r"); n != 1 {
		t.Errorf("%d robots", n)
	}
	if _, _, ok := s.Robot(a, "r"); ok {
		t.Error("a robot that is gone is shown")
	}
}

func TestAFinishedTaskIsForgotten(t *testing.T) {
	t.Parallel()
	s, a := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}
	v := task.View{Spec: task.Spec{ID: "t", Shard: a}, Version: 1}
	s.ShowTask(a, &v)
	v.Status, v.Version = fleet.TaskSucceeded, 2
	s.ShowTask(a, &v)
	if _, ok := s.Task(a, "t"); ok {
		t.Error("still there")
	}
}

func TestAStatusOverwritesInPlace(t *testing.T) {
	s, a, v := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}, &robot.View{ID: "r"}
	s.ShowRobot(a, v)
	if n := testing.AllocsPerRun(100, func() { s.ShowRobot(a, v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestARobotThatMovesLeavesTheOldWarehouse(t *testing.T) {
	t.Parallel()
	s, a, b := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}, fleet.Shard{Tenant: "a", Warehouse: "x"}
	s.ShowRobot(a, &robot.View{ID: "r"})
	rev, _ := s.Tenant("a").Robots.Now()
	s.ShowRobot(b, &robot.View{ID: "r"})
	s.RobotGone(a, "r") // the old warehouse's word comes late
	var left, there []fleet.WarehouseID
	s.Tenant("a").Robots.Changes(rev, func(g *view.Gone[fleet.RobotID]) { left = append(left, g.Warehouse) },
		func(r *view.Row[robot.View]) { there = append(there, r.Warehouse) })
	if len(left) != 1 || left[0] != "w" || len(there) != 1 || there[0] != "x" {
		t.Errorf("left %v, there %v", left, there)
	}
}

func TestALogSaysHowFarBehindAPlaceIs(t *testing.T) {
	t.Parallel()
	s, a, now := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}, time.Now()
	board := s.Tenant("a").Tasks
	at := board.Head(now, "w")
	const steps = 20_000
	for n := range int64(steps) {
		s.TaskChanged(a, task.Started{}, &task.View{Spec: task.Spec{ID: fleet.TaskID("t" + strconv.FormatInt(n, 10)), Shard: a}, Version: 1})
	}
	later := time.Now().Add(time.Second)
	if _, _, ok := board.After(later, "w", at); ok {
		t.Error("a log that has been cut says it has not")
	}
	at = board.Head(later, "w")
	at.Seq -= 3
	told := 0
	for want := -1; ; {
		next, behind, ok := board.After(later, "w", at)
		if !ok {
			t.Fatal("not ok")
		}
		if next == nil {
			break
		}
		if want >= 0 && behind != want {
			t.Errorf("%d behind, want %d", behind, want)
		}
		want, told, at.Seq = behind-len(next.Events), told+len(next.Events), next.Seq
	}
	if told == 0 || told > 600 {
		t.Errorf("%d in three batches", told)
	}
	if open, place := board.Join("nowhere"); len(open) != 0 || place != (view.Place{}) {
		t.Errorf("%v %v", open, place)
	}
}

func TestALogHoldsSoManyBytes(t *testing.T) {
	t.Parallel()
	s, a := view.New(), fleet.Shard{Tenant: "a", Warehouse: "w"}
	board := s.Tenant("a").Tasks
	for n := range 5_000 { // of the largest tasks
		spec := task.Spec{ID: fleet.TaskID("t" + strconv.Itoa(n)), Shard: a, Payload: make([]byte, 16<<10)}
		s.TaskChanged(a, task.Created{}, &task.View{Spec: spec, Version: 1})
	}
	later := time.Now().Add(time.Second)
	at, kept := board.Head(later, "w"), 0
	for ; at.Seq > 0; at.Seq-- {
		_, behind, ok := board.After(later, "w", at)
		if !ok {
			break
		}
		kept = behind
	}
	if bytes := kept * 16 << 10; bytes > 32<<20 || bytes < 16<<20 {
		t.Errorf("%d transitions of 16 KiB are kept", kept)
	}
}

func TestALargeTransitionIsNotKeptEncoded(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{500: 1, 16 << 10: 3} {
		made := 0
		x := &view.Transition{}
		for range 3 {
			if b := x.Body(func(*view.Transition) []byte { made++; return make([]byte, size) }); len(b) != size {
				t.Errorf("%d bytes", len(b))
			}
		}
		if made != want {
			t.Errorf("%d bytes are encoded %d times, want %d", size, made, want)
		}
	}
}
