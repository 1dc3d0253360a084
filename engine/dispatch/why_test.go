package dispatch_test

import (
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

func TestWhyFollowsTheChainToItsRoot(t *testing.T) {
	t.Parallel()
	views := map[fleet.RobotID]*robot.View{
		"a": {ID: "a", Connection: fleet.Online, Waiting: fleet.Wait{Cause: fleet.CauseOccupied, Holder: "b"}},
		"b": {ID: "b", Connection: fleet.Online, Waiting: fleet.Wait{Cause: fleet.CauseOccupied, Holder: "c"}},
		"c": {ID: "c", Connection: fleet.Online, State: fleet.Paused},
	}
	f := dispatch.Facts{Robot: func(id fleet.RobotID) *robot.View { return views[id] }}
	chain := f.WhyRobot("a")
	if len(chain) != 3 || chain[2].Cause != "paused" || chain[2].ObjectID != "c" || chain[2].Remedy == nil {
		t.Fatalf("%+v", chain)
	}
	views["c"] = &robot.View{ID: "c", Connection: fleet.Offline}
	chain = f.WhyRobot("a")
	if l := chain[len(chain)-1]; l.Cause != "silent" || l.Remedy == nil || l.Remedy.Method != "DELETE" || l.Remedy.Path != "/api/v1/robots/c" {
		t.Fatalf("of a robot that is offline: %+v", l)
	}
}

func TestWhyOfATaskForOneRobotSaysWhatKeepsThatRobot(t *testing.T) {
	t.Parallel()
	f := dispatch.Facts{Robot: func(fleet.RobotID) *robot.View {
		return &robot.View{ID: "a", Connection: fleet.Online, State: fleet.Paused}
	}}
	v := &task.View{Status: fleet.TaskCreated}
	if chain := f.WhyTask(v); len(chain) != 1 || chain[0].Cause != "no_robot" {
		t.Errorf("of whichever robot: %+v", chain)
	}
	v.Spec.Robot = "a"
	if chain := f.WhyTask(v); len(chain) != 2 || chain[1].Cause != "paused" || chain[1].Remedy == nil {
		t.Errorf("of a paused robot: %+v", chain)
	}
}
