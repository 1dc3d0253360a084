package dispatch_test

import (
	"slices"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

func grid(t testing.TB, version int, text string) *roadmap.Graph {
	t.Helper()
	d, _ := roadmap.Import("movingai", []byte(text), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func small(t testing.TB) *roadmap.Graph {
	return grid(t, 2, "type octile\nheight 2\nwidth 4\nmap\n....\n....\n")
}

// activate performs what the shell performs of an activation, and returns the effects.
func activate(s *dispatch.State, g *roadmap.Graph) []dispatch.Effect {
	out := s.Decide(t0, dispatch.ActivateRequested{Graph: g}, nil)
	for _, e := range out {
		switch e := e.(type) {
		case dispatch.Record:
			s.Apply(t0, e.Event)
		case dispatch.UseMap:
			s.SetGraph(e.Graph, roadmap.NewTableMap(e.Graph, 10))
		}
	}
	return out
}

func cause(s *dispatch.State, id fleet.TaskID) fleet.Cause {
	var v dispatch.View
	s.FillView(&v)
	for _, w := range v.TaskWaits {
		if w.Task == id {
			return w.Cause
		}
	}
	return fleet.CauseNone
}

func TestOpenTasksAreFoundAgainOnAnotherMap(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task dispatch.TaskChanged
		want fleet.Cause
	}{
		"by the vertex's id":     {open("t", 3), fleet.CauseNone},
		"by the client's name":   {open("t", 31, func(s *task.Spec) { s.Places = []string{"5"} }), fleet.CauseNone},
		"gone with its vertex":   {open("t", 31), fleet.CauseNoWay},
		"gone by its name":       {open("t", 3, func(s *task.Spec) { s.Places = []string{"31"} }), fleet.CauseNoWay},
		"never on any map":       {open("t", 4711), fleet.CauseNoWay},
		"a later errand is gone": {open("t", 3, func(s *task.Spec) { s.Errands = []fleet.Vertex{3, 31} }), fleet.CauseNoWay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			s.Decide(t0, c.task, nil)
			activate(s, small(t))
			s.Decide(t0, free("a", 0), nil)
			got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
			if (got["t"] == "a") != (c.want == fleet.CauseNone) || cause(s, "t") != c.want {
				t.Errorf("offers %v, waits for %v", got, cause(s, "t"))
			}
		})
	}
}

func TestRobotsCountOnAnotherMapWhenTheyHaveReported(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.Decide(t0, free("a", 31), nil)
	activate(s, small(t))
	s.Decide(t0, open("t", 1), nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 {
		t.Fatalf("offered to a robot of the former map: %v", got)
	}
	s.Decide(t0, free("b", 31), nil) // said before it had heard of the map
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 {
		t.Fatalf("offered to a robot that is not on the map: %v", got)
	}
	s.Decide(t0, free("a", 2), nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t"] != "a" {
		t.Fatalf("offers %v", got)
	}
}

func TestNewZonesAreToldWhatWasClosedAndKeptOut(t *testing.T) {
	t.Parallel()
	s, g := fresh(t)
	l, _ := g.Lane(1, 2)
	closed := true
	for _, e := range s.Decide(t0, dispatch.LaneRequested{Lane: g.Lanes[l].ID, Closed: &closed}, nil) {
		if r, ok := e.(dispatch.Record); ok {
			s.Apply(t0, r.Event)
		}
	}
	far, _ := g.Lane(30, 31)
	s.Apply(t0, dispatch.LaneChanged{State: dispatch.LaneState{Lane: g.Lanes[far].ID, Closed: true}})
	second, _ := g.Find("32")
	s.Decide(t0, dispatch.OverlaysChanged{KeepOut: []fleet.Vertex{3, second, 127}}, nil)
	to := grid(t, 2, "type octile\nheight 2\nwidth 32\nmap\n@...............................\n................................\n")
	out := activate(s, to)
	use := slices.IndexFunc(out, func(e dispatch.Effect) bool { _, ok := e.(dispatch.UseMap); return ok })
	lanes, kept := 0, []string(nil)
	for _, e := range out[use+1:] {
		switch e := e.(type) {
		case dispatch.TellLane:
			lanes++
			if id := to.Lanes[e.Lane].ID; !e.Closed || id != g.Lanes[l].ID && id != g.Lanes[far].ID || len(e.Zones) == 0 {
				t.Errorf("told %+v", e)
			}
		case dispatch.TellKeepOut:
			for _, v := range e.Vertices {
				kept = append(kept, to.Vertices[v].ID)
			}
		}
	}
	slices.Sort(kept)
	if lanes != 2 || !slices.Equal(kept, []string{"3", "32"}) {
		t.Errorf("%d lanes told, kept out %v", lanes, kept)
	}
	// What is lifted later is lifted on the new map's vertices.
	lifted := 0
	for _, e := range s.Decide(t0, dispatch.OverlaysChanged{}, nil) {
		if k, ok := e.(dispatch.TellKeepOut); ok && len(k.Vertices) == 0 {
			lifted++
		}
	}
	if lifted == 0 {
		t.Error("nothing lifted")
	}
}

func TestATaskWithoutAPlaceWaits(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.Decide(t0, free("a", 0), nil)
	s.Decide(t0, dispatch.TaskChanged{State: task.Open, Spec: task.Spec{ID: "c", Type: fleet.Charge, CreatedAt: t0}}, nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 || cause(s, "c") != fleet.CauseNoWay {
		t.Errorf("offers %v, waits for %v", got, cause(s, "c"))
	}
	p, rest := dispatch.Plan(t0, dry(floor(t), []dispatch.Robot{free("a", 0).Robot}, task.Spec{ID: "c"}))
	if len(p) != 0 || len(rest) != 1 {
		t.Errorf("%v %v", p, rest)
	}
}
