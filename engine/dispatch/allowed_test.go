package dispatch_test

import (
	"strings"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

// halls is an open floor of several zones, and two vertices of different ones.
func halls(t *testing.T) (g *roadmap.Graph, here, there fleet.Vertex) {
	t.Helper()
	row := "................................\n"
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 4\nwidth 32\nmap\n"+row+row+row+row), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1, MaxZone: 32})
	if err != nil {
		t.Fatal(err)
	}
	if g.ZoneOf[0] == g.ZoneOf[31] {
		t.Fatal("one zone")
	}
	return g, 0, 31
}

// A task goes only to a robot that is allowed into the zones of all its errands, be it nearest or the only one.
func TestATaskIsGivenOnlyToWhoIsAllowedWhereItLeads(t *testing.T) {
	t.Parallel()
	g, here, there := halls(t)
	spec := task.Spec{ID: "t", Errands: []fleet.Vertex{here, there}, CreatedAt: t0}
	confined, both := free("confined", here), free("free", there)
	confined.Robot.Allowed = []fleet.ZoneID{g.Zones[g.ZoneOf[here]].ID}
	for name, pin := range map[string]fleet.RobotID{"for any": "", "for one": "confined"} {
		s := dispatch.New(roadmap.NewTableMap(g, 100), 1)
		s.Decide(t0, dispatch.Restored{Graph: g}, nil)
		s.Decide(t0, confined, nil)
		own := spec
		own.Robot = pin
		s.Decide(t0, dispatch.TaskChanged{State: task.Open, Spec: own}, nil)
		if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 {
			t.Errorf("%s: offers %v", name, got)
		}
		if p, rest := dispatch.Plan(t0, dry(g, []dispatch.Robot{confined.Robot}, own)); len(p) != 0 || !strings.Contains(rest[0].Reason, "allowed") && pin == "" {
			t.Errorf("%s: %+v %+v", name, p, rest)
		}
		if pin != "" {
			continue
		}
		s.Decide(t0, both, nil)
		if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t"] != "free" {
			t.Errorf("%s: offers %v", name, got)
		}
	}
	v := &robot.View{
		ID: "confined", Connection: fleet.Online, State: fleet.Idle, Linked: true, Vertex: here, Goal: fleet.NoVertex, Battery: 1,
		Spec: &robot.Spec{Code: "confined", Control: fleet.ControlEngine, Protocol: "link", AllowedZones: confined.Robot.Allowed},
	}
	chain := shown(g, v).WhyTask(&task.View{Status: fleet.TaskCreated, Spec: spec})
	if root := chain[len(chain)-1]; root.Cause != "not_allowed" {
		t.Errorf("why: %+v", root)
	}
}
