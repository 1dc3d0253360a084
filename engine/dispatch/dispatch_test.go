package dispatch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
	"starling/engine/zone"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func floor(t testing.TB) *roadmap.Graph {
	row := "................................\n"
	text := "type octile\nheight 4\nwidth 32\nmap\n" + row + row + row + row
	d, _ := roadmap.Import("movingai", []byte(text), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func fresh(t testing.TB) (*dispatch.State, *roadmap.Graph) {
	g := floor(t)
	s := dispatch.New(roadmap.NewTableMap(g, 100), 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	return s, g
}

func free(id string, at fleet.Vertex) dispatch.RobotChanged {
	return dispatch.RobotChanged{Robot: dispatch.Robot{ID: fleet.RobotID(id), Free: true, At: at, Battery: 1, Since: t0}}
}

func open(id string, to fleet.Vertex, change ...func(*task.Spec)) dispatch.TaskChanged {
	s := task.Spec{ID: fleet.TaskID(id), Errands: []fleet.Vertex{to}, CreatedAt: t0}
	for _, c := range change {
		c(&s)
	}
	return dispatch.TaskChanged{State: task.Open, Spec: s}
}

func offers(out []dispatch.Effect) map[fleet.TaskID]fleet.RobotID {
	m := map[fleet.TaskID]fleet.RobotID{}
	for _, e := range out {
		if o, ok := e.(dispatch.Offer); ok {
			m[o.Task] = o.Robot
		}
	}
	return m
}

func TestKeptOutVerticesOfAFormerMapAreForgotten(t *testing.T) {
	t.Parallel()
	s, g := fresh(t)
	s.Decide(t0, dispatch.OverlaysChanged{KeepOut: []fleet.Vertex{fleet.Vertex(len(g.Vertices) - 1)}}, nil)
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 2\nwidth 2\nmap\n..\n..\n"), 1)
	small, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	s.SetGraph(small, roadmap.NewTableMap(small, 100))
	var told []fleet.Vertex
	for _, f := range s.Decide(t0, dispatch.OverlaysChanged{KeepOut: []fleet.Vertex{1}}, nil) {
		if k, ok := f.(dispatch.TellKeepOut); ok {
			told = append(told, k.Vertices...)
		}
	}
	if len(told) != 1 || told[0] != 1 {
		t.Errorf("kept out on the new map: %v", told)
	}
}

func TestEachTaskGoesToTheRobotThatMakesTheSumLeast(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for _, m := range []dispatch.Msg{free("a", 0), free("b", 10), open("t1", 9), open("t2", 31)} {
		s.Decide(t0, m, nil)
	}
	// Greedy would give t1 to b (1 m) and leave a 31 m to t2; the same sum pairs a with t1 only if it is cheaper.
	got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
	if len(got) != 2 || got["t1"] == got["t2"] {
		t.Fatalf("offers %v", got)
	}
	if again := offers(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil)); len(again) != 0 {
		t.Errorf("offered again before an answer: %v", again)
	}
	if again := offers(s.Decide(t0.Add(10*time.Second), dispatch.Ticked{}, nil)); len(again) != 2 {
		t.Errorf("not offered again after the answer stayed out: %v", again)
	}
}

func TestARobotThatHoldsATaskGetsNoOther(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.Decide(t0, free("a", 0), nil)
	s.Decide(t0, open("t1", 9), nil)
	s.Decide(t0, dispatch.Ticked{}, nil)
	s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: "a", Spec: task.Spec{ID: "t1"}}, nil)
	s.Decide(t0, open("t2", 3), nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 {
		t.Fatalf("offers %v", got)
	}
	s.Decide(t0, dispatch.TaskChanged{State: task.Closed, Robot: "a", Spec: task.Spec{ID: "t1"}}, nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t2"] != "a" {
		t.Fatalf("offers %v", got)
	}
}

func TestWishesAreKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task dispatch.TaskChanged
		want fleet.RobotID
	}{
		"any":           {open("t", 2), "near"},
		"a robot":       {open("t", 2, func(s *task.Spec) { s.Robot = "far" }), "far"},
		"a fleet":       {open("t", 2, func(s *task.Spec) { s.Fleet = "forks" }), "far"},
		"nobody's":      {open("t", 2, func(s *task.Spec) { s.Fleet = "none" }), ""},
		"not yet":       {open("t", 2, func(s *task.Spec) { s.EarliestStart = t0.Add(time.Hour) }), ""},
		"battery is up": {open("t", 2, func(s *task.Spec) { s.Robot = "flat" }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			far := free("far", 30)
			far.Robot.Fleet = "forks"
			flat := free("flat", 2)
			flat.Robot.Battery = 0.1
			for _, m := range []dispatch.Msg{free("near", 0), far, flat, c.task} {
				s.Decide(t0, m, nil)
			}
			if got := offers(s.Decide(t0, dispatch.Ticked{}, nil))["t"]; got != c.want {
				t.Errorf("offered to %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnOldTaskIsServedBeforeNearNewOnes(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.Decide(t0, free("a", 0), nil)
	s.Decide(t0, open("old", 31), nil)
	now := t0.Add(10 * time.Minute)
	for i := range 30 {
		s.Decide(now, open(fmt.Sprint("new", i), 1, func(s *task.Spec) { s.CreatedAt = now }), nil)
	}
	if got := offers(s.Decide(now, dispatch.Ticked{}, nil)); got["old"] != "a" {
		t.Errorf("offers %v", got)
	}
}

func TestADeadlockThatStandsIsBrokenAndRecorded(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	wait := func(r, h fleet.RobotID) fleet.Wait { return fleet.Wait{Robot: r, Holder: h, Tasked: true} }
	s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z1", Waits: []fleet.Wait{wait("a", "b"), wait("x", "a")}}}, nil)
	s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z2", Waits: []fleet.Wait{wait("b", "a")}}}, nil)
	var broken []fleet.RobotID
	for i := range 5 {
		out := s.Decide(t0.Add(time.Duration(i)*time.Second), dispatch.Ticked{}, nil)
		for _, e := range out {
			switch e := e.(type) {
			case dispatch.Record:
				if c := e.Event.(dispatch.CycleResolved); len(c.Robots) != 2 || c.Reason == "" {
					t.Errorf("%+v", c)
				}
			case dispatch.Break:
				if e.Zone != "z2" {
					t.Errorf("told zone %s", e.Zone)
				}
				broken = append(broken, e.Robot)
			}
		}
	}
	if len(broken) != 1 || broken[0] != "b" {
		t.Errorf("broken: %v", broken)
	}
	s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z2"}}, nil)
	var v dispatch.View
	s.Decide(t0.Add(9*time.Second), dispatch.Ticked{}, nil)
	if s.FillView(&v); len(v.Cycles) != 0 || len(v.Waits) != 2 {
		t.Errorf("%+v", v)
	}
}

// Two zones speak of the same robot, which has just crossed: the same input has the same effects.
func TestTheLowerZoneCountsWhereTwoReportARobot(t *testing.T) {
	t.Parallel()
	wait := func(r, h fleet.RobotID) fleet.Wait { return fleet.Wait{Robot: r, Holder: h, Tasked: true} }
	for range 50 {
		s, _ := fresh(t)
		s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z1", Waits: []fleet.Wait{wait("a", "b"), wait("b", "a")}}}, nil)
		s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z2", Waits: []fleet.Wait{wait("b", "a")}}}, nil)
		for i := range 4 {
			for _, e := range s.Decide(t0.Add(time.Duration(i)*time.Second), dispatch.Ticked{}, nil) {
				if b, ok := e.(dispatch.Break); ok && b.Zone != "z1" {
					t.Fatalf("told zone %s", b.Zone)
				}
			}
		}
	}
}

func TestRobotsTakeTurnsInGivingWay(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	wait := func(r, h fleet.RobotID, tasked bool) fleet.Wait {
		return fleet.Wait{Robot: r, Holder: h, Tasked: tasked}
	}
	report := func(ws ...fleet.Wait) {
		s.Decide(t0, dispatch.ZoneReported{View: zone.View{Zone: "z1", Waits: ws}}, nil)
	}
	var turns []fleet.RobotID
	now := t0
	pass := func(seconds int) {
		for range seconds {
			now = now.Add(time.Second)
			for _, e := range s.Decide(now, dispatch.Ticked{}, nil) {
				if b, ok := e.(dispatch.Break); ok {
					turns = append(turns, b.Robot)
				}
			}
		}
	}
	report(wait("a", "b", true), wait("b", "c", true), wait("c", "a", true))
	pass(35)
	if !slices.Equal(turns, []fleet.RobotID{"c", "b", "a", "c"}) {
		t.Errorf("gave way: %v", turns)
	}
	turns = nil
	report(wait("a", "b", false), wait("b", "c", true), wait("c", "a", true))
	pass(25)
	if !slices.Equal(turns, []fleet.RobotID{"a", "a"}) {
		t.Errorf("gave way: %v, want the one without a task", turns)
	}
}
