package rest

import (
	"strings"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// peopled is a rig whose robot is seen on vertex 0 and does what change says.
func peopled(t *testing.T, change func(*robot.View)) (*rig, *view.Store, fleet.Shard) {
	t.Helper()
	views := view.New()
	g := newRig(t, func(o *Options) { o.Views = views }).furnish()
	shard := fleet.Shard{Tenant: ours, Warehouse: fleet.WarehouseID(g.warehouse)}
	v := robot.View{
		ID: fleet.RobotID(g.bot), Connection: fleet.Online, State: fleet.Idle, Linked: true, Located: true, Battery: 0.9, Vertex: 0, Goal: fleet.NoVertex,
		ReceivedAt: time.Now(), Spec: &robot.Spec{ID: fleet.RobotID(g.bot), Tenant: ours, Warehouse: shard.Warehouse, Code: "R1", Fleet: "f1", Protocol: "link"},
	}
	change(&v)
	views.ShowRobot(shard, &v)
	return g, views, shard
}

func TestARemedySaysWhoMayPressIt(t *testing.T) {
	t.Parallel()
	g, _, _ := peopled(t, func(v *robot.View) { v.State = fleet.Paused })
	for role, may := range map[string]bool{auth.Viewer: false, auth.Operator: true, auth.Admin: true} {
		chain, _ := g.get("/api/v1/robots/"+g.bot+"/why", g.token(role)).want(200).object()["chain"].([]any)
		if len(chain) != 1 {
			t.Fatalf("%v", chain)
		}
		link, _ := chain[0].(map[string]any)
		remedy, _ := link["remedy"].(map[string]any)
		if link["cause"] != "paused" || link["text"] != "R1 is paused" || link["level"] != "robot" || remedy["allowed"] != may {
			t.Errorf("%s: %v", role, link)
		}
		path, _ := remedy["path"].(string)
		if want := map[bool]int{true: 202, false: 403}[may]; g.post(path, g.token(role), `{"command":"resume"}`).status != want {
			t.Errorf("%s: pressing it is not answered with %d", role, want)
		}
	}
	overview := g.get("/api/v1/overview?warehouse_id="+g.warehouse, g.token(auth.Viewer)).want(200)
	if !strings.Contains(string(overview.body), `"allowed":null`) { // it is shared by all who ask
		t.Errorf("%s", overview.body)
	}
}

func TestAPlanTellsWaitsAndReasons(t *testing.T) {
	t.Parallel()
	g, views, shard := peopled(t, func(*robot.View) {})
	plan := func(task string) map[string]any {
		body := `{"warehouse_id":"` + g.warehouse + `","tasks":[{"warehouse_id":"` + g.warehouse + `",` + task + `}]}`
		return g.post("/api/v1/scheduler/plan", g.token(auth.Operator), body).want(200).object()
	}
	wait := func() float64 {
		all, _ := plan(`"task_type":"go_to","payload":{"dropoff":"3"}`)["assignments"].([]any)
		if len(all) != 1 {
			t.Fatal("no robot")
		}
		a, _ := all[0].(map[string]any)
		s, ok := a["expected_wait_s"].(float64)
		if !ok || a["robot_id"] != g.bot || a["alternatives"] == nil || a["reason"] == "" {
			t.Fatalf("%v", a)
		}
		return s
	}
	if s := wait(); s != 0 {
		t.Errorf("without traffic it waits %v s", s)
	}
	graph, err := g.house.ActiveGraph(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	lane, _ := graph.Lane(1, 2)
	views.ShowZone(shard, &zone.View{Zone: graph.Zones[graph.ZoneOf[1]].ID, Flow: []zone.LaneFlow{{Lane: lane, Cost: 30, Free: 10}}})
	if s := wait(); s != 2 {
		t.Errorf("a lane costs two seconds more, and the way leads over it: %v", s)
	}
	for want, task := range map[string]string{
		"no robot is of the fleet f9": `"task_type":"go_to","fleet":"f9","payload":{"dropoff":"3"}`,
		"can lift":                    `"task_type":"go_to","payload":{"dropoff":"3","requires":["lift"]}`,
	} {
		all, _ := plan(task)["unassigned"].([]any)
		if len(all) != 1 {
			t.Fatalf("%s: %v", want, all)
		}
		if u, _ := all[0].(map[string]any); !strings.Contains(u["reason"].(string), want) {
			t.Errorf("want %q: %v", want, u)
		}
	}
	g.post("/api/v1/scheduler/plan", g.token(auth.Operator), `{"warehouse_id":"`+g.warehouse+`","tasks":[{"warehouse_id":"`+g.warehouse+
		`","task_type":"go_to","payload":{"dropoff":"3","requires":[7]}}]}`).faulty("body.tasks[0].payload.requires[0]")
}

func TestWithoutAMapWhySaysWhichToActivate(t *testing.T) {
	t.Parallel()
	g, _, shard := peopled(t, func(v *robot.View) { v.Vertex = fleet.NoVertex })
	g.house.mu.Lock()
	for _, v := range g.house.versions {
		v.Status = "DRAFT"
	}
	g.house.mu.Unlock()
	a := &api{Options: Options{Engine: g.house, Facts: g.house, Views: view.New(), Now: time.Now}, policy: auth.NewPolicy()}
	m := a.activatable(t.Context(), shard)
	if m == nil || string(m.Map) != g.floor || m.Version != 1 {
		t.Fatalf("%+v", m)
	}
	chain, _ := g.get("/api/v1/robots/"+g.bot+"/why", g.token(auth.Admin)).want(200).object()["chain"].([]any)
	last, _ := chain[len(chain)-1].(map[string]any)
	remedy, _ := last["remedy"].(map[string]any)
	path, _ := remedy["path"].(string)
	if last["cause"] != "no_map" || remedy["allowed"] != true {
		t.Fatalf("%v", chain)
	}
	g.post(path, g.token(auth.Admin), "").want(200)
	if w := g.get("/api/v1/robots/"+g.bot+"/why", g.token(auth.Admin)).want(200).body; strings.Contains(string(w), "no_map") {
		t.Errorf("%s", w)
	}
}

func TestADecisionSaysWhatItChanged(t *testing.T) {
	t.Parallel()
	b := decisionOf(&fact.Decision{Task: "t", Robot: "b", Before: "a", Because: "robot is lost"})
	if b.Kind != "reassignment" || b.Changed == nil || b.Changed.Before != "a" || b.Changed.Because != "robot is lost" {
		t.Errorf("%+v", b)
	}
	if b = decisionOf(&fact.Decision{Task: "t", Robot: "b"}); b.Kind != "award" || b.Changed != nil {
		t.Errorf("%+v", b)
	}
	if b = decisionOf(&fact.Decision{Robot: "b", Cycle: []fleet.RobotID{"a", "b"}}); b.Kind != "cycle" || len(b.Cycle) != 2 {
		t.Errorf("%+v", b)
	}
}
