package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
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

// cells is a floor of cells, in one zone.
func cells(t *testing.T, rows ...string) *roadmap.Graph {
	t.Helper()
	text := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n%s\n", len(rows), len(rows[0]), strings.Join(rows, "\n"))
	d, report := roadmap.Import("movingai", []byte(text), 1)
	if d == nil {
		t.Fatal(report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// shown makes facts of some robots on a floor.
func shown(g *roadmap.Graph, views ...*robot.View) *dispatch.Facts {
	return &dispatch.Facts{
		Now: t0, Graph: g,
		Robot: func(id fleet.RobotID) *robot.View {
			for _, v := range views {
				if v.ID == id {
					return v
				}
			}
			return nil
		},
		Robots: func(see func(*robot.View) bool) {
			for _, v := range views {
				if !see(v) {
					return
				}
			}
		},
	}
}

// at is a robot that is well and stands on a cell.
func at(t *testing.T, g *roadmap.Graph, id, cell string) *robot.View {
	t.Helper()
	v, ok := g.Find(cell)
	if !ok {
		t.Fatalf("no cell %s", cell)
	}
	return &robot.View{
		ID: fleet.RobotID(id), Connection: fleet.Online, State: fleet.Idle, Linked: true, Vertex: v, Goal: fleet.NoVertex, Battery: 1,
		Spec: &robot.Spec{Code: id, Control: fleet.ControlEngine, Protocol: "link"},
	}
}

func TestWhyNamesTheLanesThatCutAGoalOff(t *testing.T) {
	t.Parallel()
	g := cells(t, "......", ".@@@@.", "......")
	shut := func(a, b string) {
		from, _ := g.Find(a)
		to, _ := g.Find(b)
		l, ok := g.Lane(from, to)
		if !ok {
			t.Fatalf("no lane from %s to %s", a, b)
		}
		g.Lanes[l].Closed = true
	}
	shut("1", "2") // the upper way, once; the lower way, twice
	shut("13", "14")
	shut("15", "16")
	a := at(t, g, "a", "0")
	a.Goal, _ = g.Find("5")
	a.Task, a.Waiting = "t", fleet.Wait{Cause: fleet.CauseNoWay, Vertex: fleet.NoVertex}
	f := shown(g, a)
	chain := f.WhyRobot("a")
	if len(chain) != 2 || chain[1].Cause != "lane_closed" || !strings.Contains(chain[1].Text, "1 to 2") || chain[1].Remedy == nil || chain[1].Remedy.Method != "PATCH" {
		t.Fatalf("%+v", chain)
	}
	shut("4", "5") // nothing leads there but over two of them
	shut("11", "5")
	if chain = f.WhyRobot("a"); len(chain) != 3 || chain[1].Remedy == nil || chain[2].Remedy == nil {
		t.Errorf("two lanes are to be opened: %+v", chain)
	}
	f.KeptOut = func() map[fleet.Vertex][]dispatch.KeepOut {
		v, _ := g.Find("2")
		return map[fleet.Vertex][]dispatch.KeepOut{v: {{Zone: "z", Name: "visitors"}}}
	}
	f.Lane = func(id fleet.LaneID) *dispatch.ChangedLane { return &dispatch.ChangedLane{Closed: false} }
	f = &dispatch.Facts{Now: f.Now, Graph: g, Robot: f.Robot, Robots: f.Robots, KeptOut: f.KeptOut, Lane: f.Lane}
	if chain = f.WhyRobot("a"); len(chain) != 2 || chain[1].Cause != "keep_out" || chain[1].Remedy.Path != "/api/v1/zones/z" {
		t.Errorf("kept out, and no lane is closed by itself: %+v", chain)
	}
}

func TestWhySendsAnIdleRobotWhereItIsInNobodysWay(t *testing.T) {
	t.Parallel()
	g := cells(t, "...@@@@...", "..........", "...@@@@...")
	a, b := at(t, g, "a", "13"), at(t, g, "b", "14")
	a.Goal, _ = g.Find("19")
	a.Task, a.Waiting = "t", fleet.Wait{Cause: fleet.CauseOccupied, Holder: "b", Vertex: b.Vertex, Tasked: true}
	f := shown(g, a, b)
	chain := f.WhyRobot("a")
	r := chain[len(chain)-1].Remedy
	if r == nil || r.Body["command"] != "go_to" {
		t.Fatalf("%+v", chain)
	}
	if to := r.Body["vertex"]; slices.Contains([]any{"14", "15", "16", "17", "18", "19"}, to) || to == nil {
		t.Errorf("sent to %v: in the aisle, or on the way of a", to)
	}
	room := cells(t, "...@@@", "......", "...@@@") // with a dead end, in which both stand; 8 is its mouth
	c, d := at(t, room, "a", "9"), at(t, room, "b", "11")
	c.Goal, c.Task, c.Waiting = d.Vertex, "t", fleet.Wait{Cause: fleet.CauseOccupied, Holder: "b", Vertex: d.Vertex, Tasked: true}
	chain = shown(room, c, d).WhyRobot("a")
	if r = chain[len(chain)-1].Remedy; r == nil || r.Body["vertex"] == "8" || r.Body["vertex"] == "10" {
		t.Errorf("sent to where it is in the way again: %+v", r)
	}
	for name, change := range map[string]func(){
		"a task":               func() { b.Task, b.Goal = "u", b.Vertex },
		"another's commands":   func() { b.Task, b.Goal, b.Spec.Control = "", fleet.NoVertex, fleet.ControlExternal },
		"no link":              func() { b.Spec.Control, b.Linked = fleet.ControlEngine, false },
		"not been heard again": func() { b.Linked, b.Connection = true, fleet.Stale },
	} {
		change()
		f = shown(g, a, b)
		chain = f.WhyRobot("a")
		if r := chain[len(chain)-1].Remedy; r != nil {
			t.Errorf("%s: it would be refused, or do nothing: %+v", name, r)
		}
	}
}

func TestEveryCauseIsExplained(t *testing.T) {
	t.Parallel()
	g := cells(t, "....")
	for c := fleet.CauseNone + 1; c.String() != "INVALID"; c++ {
		a, b := at(t, g, "a", "0"), at(t, g, "b", "1")
		a.Goal, _ = g.Find("3")
		a.Task, a.Waiting = "t", fleet.Wait{Cause: c, Holder: "b", Vertex: b.Vertex, Since: t0}
		for _, f := range []*dispatch.Facts{shown(g, a, b), {Robot: shown(g, a, b).Robot}, shown(g, a)} {
			chain := f.WhyRobot("a")
			if len(chain) == 0 {
				t.Fatalf("%s: nothing", c)
			}
			for _, l := range chain {
				if l.Text == "" || l.Cause == "" || l.Level == "" || l.ObjectType == "" || l.Solves && l.Remedy != nil {
					t.Errorf("%s: %+v", c, l)
				}
			}
		}
	}
}

func TestWhyOfAnOpenTaskPicksWhatPassesFirst(t *testing.T) {
	t.Parallel()
	g := cells(t, "......")
	goal, _ := g.Find("5")
	open := &task.View{Status: fleet.TaskCreated, Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{goal}, Payload: []byte(`{"requires":["lift"]}`)}}
	lift := func(id, cell string) *robot.View {
		v := at(t, g, id, cell)
		v.Spec.Capabilities = []string{"lift"}
		return v
	}
	paused, busy, empty, free := lift("p", "0"), lift("b", "1"), lift("e", "2"), lift("f", "3")
	paused.State = fleet.Paused
	busy.Task, busy.Goal = "u", goal
	empty.Battery = 0.05
	other := at(t, g, "o", "4")
	for _, test := range []struct {
		cause  string
		remedy string
		solves bool
		views  []*robot.View
	}{
		{"no_capability", "POST /api/v1/tasks/t/cancel", false, []*robot.View{other}},
		{"no_robots", "POST /api/v1/tasks/t/cancel", false, nil},
		{"low_battery", "POST /api/v1/tasks/t/cancel", false, []*robot.View{other, empty}},
		{"paused", "POST /api/v1/robots/p/commands", false, []*robot.View{other, empty, paused}},
		{"busy", "", true, []*robot.View{other, empty, paused, busy}},
		{"queue", "", true, []*robot.View{other, empty, paused, busy, free}},
	} {
		chain := shown(g, test.views...).WhyTask(open)
		root := chain[len(chain)-1]
		remedy := ""
		if root.Remedy != nil {
			remedy = root.Remedy.Method + " " + root.Remedy.Path
		}
		if root.Cause != test.cause || remedy != test.remedy || root.Solves != test.solves {
			t.Errorf("want %s %q: %+v %q", test.cause, test.remedy, root, remedy)
		}
	}
}

// What a whole page of explanations needs is looked up once, however many robots and tasks there are.
func TestWhyLooksThingsUpOnce(t *testing.T) { //nolint:paralleltest // counts allocations
	f := &dispatch.Facts{Now: t0, Warehouse: &dispatch.View{}}
	asked := 0
	f.Activate = func() *dispatch.Activatable {
		asked++
		return &dispatch.Activatable{Map: "m", Version: 2, Name: "hall"}
	}
	for range 3 {
		chain := f.WhyTask(&task.View{Status: fleet.TaskCreated, Spec: task.Spec{ID: "t"}})
		if root := chain[len(chain)-1]; root.Remedy == nil {
			t.Fatalf("%+v", chain)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for a version to activate", asked)
	}
	g := cells(t, "......")
	goal, _ := g.Find("5")
	var views []*robot.View
	for i := range 100 {
		v := at(t, g, fmt.Sprint("r", i), "0")
		v.Spec.Capabilities = []string{"lift"}
		views = append(views, v)
	}
	allocs := func(payload string) float64 {
		open := &task.View{Status: fleet.TaskCreated, Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{goal}, Payload: []byte(payload)}}
		return testing.AllocsPerRun(5, func() { shown(g, views...).WhyTask(open) })
	}
	if plain, demanding := allocs("{}"), allocs(`{"requires":["lift"]}`); demanding > plain+50 {
		t.Errorf("%v allocations for 100 robots, %v without a payload: it is parsed for each", demanding, plain)
	}
}

// The list of what waits is read once, not for each task that is explained.
func TestWhyReadsTheWaitsOnce(t *testing.T) {
	t.Parallel()
	f := &dispatch.Facts{Now: t0, Warehouse: &dispatch.View{MapID: "m", TaskWaits: []dispatch.TaskWait{{Task: "t", Cause: fleet.CauseBattery}}}}
	cause := func(id fleet.TaskID) string {
		return f.WhyTask(&task.View{Status: fleet.TaskCreated, Spec: task.Spec{ID: id}})[0].Cause
	}
	if a, b := cause("t"), cause("u"); a != "battery" || b != "no_robot" {
		t.Errorf("causes %s, %s", a, b)
	}
	f.Warehouse.TaskWaits[0].Task = "u" // one Facts serves one moment
	if c := cause("u"); c != "no_robot" {
		t.Errorf("read again: %s", c)
	}
}
