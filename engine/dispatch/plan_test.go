package dispatch_test

import (
	"strings"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

func dry(g *roadmap.Graph, robots []dispatch.Robot, tasks ...task.Spec) dispatch.Dry {
	return dispatch.Dry{Ground: dispatch.Ground{Graph: g, Tables: roadmap.NewTableMap(g, 10)}, Robots: robots, Tasks: tasks}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	_, g := fresh(t)
	p, rest := dispatch.Plan(t0, dry(g, []dispatch.Robot{free("a", 0).Robot}, task.Spec{ID: "1", Errands: []fleet.Vertex{3, 5}}, task.Spec{ID: "2", Errands: []fleet.Vertex{31}}))
	if len(p) != 1 || len(rest) != 1 || p[0].Route[len(p[0].Route)-1].Vertex != 5 || rest[0].Reason == "" {
		t.Fatalf("%+v %+v", p, rest)
	}
}

func TestADryRunTellsTimesWaitsAndAlternatives(t *testing.T) {
	t.Parallel()
	_, g := fresh(t)
	near, far := free("near", 0).Robot, free("far", 20).Robot
	near.SpeedMPS, far.SpeedMPS = 2, 2
	d := dry(g, []dispatch.Robot{near, far}, task.Spec{ID: "1", Errands: []fleet.Vertex{4}})
	lane, ok := g.Lane(1, 2)
	if !ok {
		t.Fatal("no lane")
	}
	d.Flow = map[int32]zone.LaneFlow{lane: {Lane: lane, Cost: 45, Free: 10}}
	p, rest := dispatch.Plan(t0, d)
	if len(p) != 1 || len(rest) != 0 || p[0].Robot != "near" {
		t.Fatalf("%+v %+v", p, rest)
	}
	if last := p[0].Route[len(p[0].Route)-1]; p[0].Wait != 3500*time.Millisecond || last.At.Sub(t0) != 5500*time.Millisecond {
		t.Errorf("four cells at 2 m/s and 3.5 s of traffic: there after %s, waits %s", last.At.Sub(t0), p[0].Wait)
	}
	if len(p[0].Alternatives) != 1 || p[0].Alternatives[0].Robot != "far" || p[0].Alternatives[0].Total <= p[0].Cost.Total {
		t.Errorf("alternatives %+v", p[0].Alternatives)
	}
}

func TestADryRunSaysWhyATaskHasNoRobot(t *testing.T) {
	t.Parallel()
	busy, empty, lift := free("busy", 0).Robot, free("empty", 1).Robot, free("lift", 2).Robot
	busy.Free, busy.Fleet = false, "carts"
	empty.Battery, empty.Fleet = 0.01, "tugs"
	lift.Capabilities, lift.Fleet = []string{"lift"}, "forks"
	spec := func(fleetName, payload string, errands ...fleet.Vertex) task.Spec {
		return task.Spec{ID: "1", Fleet: fleetName, Payload: []byte(payload), Errands: errands}
	}
	for want, s := range map[string]task.Spec{
		"is of the fleet ships":            spec("ships", "{}", 5),
		"can weld":                         spec("", `{"requires":["weld"]}`, 5),
		"none of the 1 robots":             spec("carts", "{}", 5),
		"batteries of the 1":               spec("tugs", "{}", 5),
		"a place is not on the active map": spec("", "{}"),
	} {
		_, g := fresh(t)
		p, rest := dispatch.Plan(t0, dry(g, []dispatch.Robot{busy, empty, lift}, s))
		if len(p) != 0 || len(rest) != 1 || !strings.Contains(rest[0].Reason, want) {
			t.Errorf("want %q: %+v %+v", want, p, rest)
		}
	}
}

func TestADryRunKnowsTheWayToAChargerAndTheLimitOfTheFloor(t *testing.T) {
	t.Parallel()
	_, g := fresh(t)
	g.Vertices[0].Charging = true
	weak := free("weak", 10).Robot
	weak.Battery = 0.38 // from 10 to 20, and home to 0: 30 m, 30 %, and 10 % in reserve
	d := dry(g, []dispatch.Robot{weak}, task.Spec{ID: "1", Errands: []fleet.Vertex{20}})
	d.Charging = hungry().Charging
	if p, rest := dispatch.Plan(t0, d); len(p) != 0 || len(rest) != 1 {
		t.Errorf("it would not get home: %+v %+v", p, rest)
	}
	busy := free("busy", 2).Robot
	busy.Free, busy.Reason = false, robot.HasTask
	d = dry(g, []dispatch.Robot{free("a", 0).Robot, free("b", 1).Robot, busy}, task.Spec{ID: "1", Errands: []fleet.Vertex{5}}, task.Spec{ID: "2", Errands: []fleet.Vertex{6}})
	d.Active = 2
	if p, rest := dispatch.Plan(t0, d); len(p) != 1 || len(rest) != 1 || !strings.Contains(rest[0].Reason, "2 robots hold tasks already") {
		t.Errorf("one more may have a task: %+v %+v", p, rest)
	}
	d.Active = 1
	if p, _ := dispatch.Plan(t0, d); len(p) != 0 {
		t.Errorf("nobody more may have a task: %+v", p)
	}
	d.Active = -1
	if p, _ := dispatch.Plan(t0, d); len(p) != 2 {
		t.Errorf("everybody may have a task: %+v", p)
	}
}

// asked counts the tables that are asked for.
type asked struct {
	roadmap.Tables
	gets int
}

func (c *asked) Get(v fleet.Vertex) *roadmap.Table {
	c.gets++
	return c.Tables.Get(v)
}

func TestARouteOfADryRunEndsSomewhere(t *testing.T) {
	t.Parallel()
	_, g := fresh(t)
	var errands []fleet.Vertex
	for range 1000 {
		errands = append(errands, 31, 0)
	}
	d := dry(g, []dispatch.Robot{free("a", 0).Robot}, task.Spec{ID: "1", Errands: errands})
	tables := &asked{Tables: d.Tables}
	d.Tables, d.Charging.Off = tables, true
	p, _ := dispatch.Plan(t0, d)
	if len(p) != 1 || len(p[0].Route) > 5000 || tables.gets > 300 {
		t.Errorf("%d awards, %d tables asked for", len(p), tables.gets)
	}
}
