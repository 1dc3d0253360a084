package view_test

import (
	"testing"

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
