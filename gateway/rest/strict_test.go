package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/gateway/auth"
)

func TestAnIDIsTheSameInAnyCase(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin, up := g.token(auth.Admin), strings.ToUpper
	r := g.post("/api/v1/tasks", admin, `{"task_type":"go_to","warehouse_id":"`+up(g.warehouse)+`","robot_id":"`+up(g.bot)+`","payload":{"dropoff":"0"}}`).want(201)
	if r.text("warehouse_id") != g.warehouse || r.text("robot_id") != g.bot {
		t.Errorf("the task is of %s and %s", r.text("warehouse_id"), r.text("robot_id"))
	}
	if s := g.house.tasks[0].Spec; string(s.Shard.Warehouse) != g.warehouse || string(s.Robot) != g.bot {
		t.Errorf("the engine was told %+v", s)
	}
	g.get("/api/v1/tasks/"+up(r.text("task_id")), admin).want(200)
	w := g.get("/api/v1/robots/"+up(g.bot)+"/why", admin).want(200).object()
	if o, _ := w["object"].(map[string]any); o["id"] != g.bot {
		t.Errorf("why of %v", o)
	}
	zone := strings.ReplaceAll(nobody, "9", "A")
	body := `{"map_id":"` + up(g.floor) + `","kind":"slow","polygon":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}}`
	if z := g.do(http.MethodPut, "/api/v1/zones/"+zone, admin, body).want(201); z.text("zone_id") != strings.ToLower(zone) || z.text("map_id") != g.floor {
		t.Errorf("zone %s", z.body)
	}
	for _, form := range []string{"urn:uuid:" + g.bot, "{" + g.bot + "}", strings.ReplaceAll(g.bot, "-", "")} {
		g.get("/api/v1/robots/"+form, admin).faulty("path.robot_id")
		g.post("/api/v1/tasks", admin, `{"task_type":"go_to","warehouse_id":"`+g.warehouse+`","robot_id":"`+form+`","payload":{"dropoff":"0"}}`).faulty("body.robot_id")
	}
}

func TestAFieldIsKnownByItsExactNameAlone(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	task := `{"task_type":"go_to","warehouse_id":"` + g.warehouse + `","payload":{"dropoff":"0"},"priority":1,%s}`
	g.post("/api/v1/tasks", admin, fmt.Sprintf(task, `"Priority":200`)).faulty("body.Priority")
	g.do(http.MethodPatch, "/api/v1/robots/"+g.bot, admin, `{"MAX_SPEED_MPS":1e300}`).faulty("body.MAX_SPEED_MPS")
}

func TestWhatIsNotNeededMayBeNull(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	task := `{"task_type":"charge","warehouse_id":"` + g.warehouse + `","priority":null,"earliest_start":null,"deadline":null,"robot_id":null,"fleet":null,"payload":%s}`
	r := g.post("/api/v1/tasks", admin, fmt.Sprintf(task, `{"dropoff":"0","pickup":null,"waypoints":null}`)).want(201)
	if r.object()["robot_id"] != nil || r.object()["priority"] != 0.0 {
		t.Errorf("%s", r.body)
	}
	g.post("/api/v1/tasks", admin, fmt.Sprintf(task, "null")).faulty("body.payload.dropoff")
	g.post("/api/v1/robots/"+g.bot+"/commands", admin, `{"command":"stop","expires_in_s":null,"vertex":null}`).want(202)
	if c := g.house.commands[0]; c.ExpiresAt.Sub(c.Stages[0].At) != 30*time.Second {
		t.Errorf("a command with a null expiry lasts %s", c.ExpiresAt.Sub(c.Stages[0].At))
	}
	doc := g.get("/openapi.json", "").want(200)
	var d struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Type any }
			}
		}
	}
	if err := json.Unmarshal(doc.body, &d); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"priority": "[integer null]", "deadline": "[string null]", "task_type": "string"} {
		if got := fmt.Sprint(d.Components.Schemas["NewTask"].Properties[field].Type); got != want {
			t.Errorf("%s is documented as %s, want %s", field, got, want)
		}
	}
}

func TestOneOfTwoAtOnceWinsAndBothHearOfIt(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	for path, body := range map[string]string{
		"/api/v1/tasks":      `{"task_type":"go_to","warehouse_id":"` + g.warehouse + `","payload":{"dropoff":"0"}}`,
		"/api/v1/robots":     `{"robot_code":"twin","protocol":"link","warehouse_id":"` + g.warehouse + `"}`,
		"/api/v1/warehouses": `{"warehouse_code":"twin","name":"n"}`,
	} {
		const many = 8
		replies := make([]*reply, many)
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() { replies[i] = g.post(path, admin, body, "Idempotency-Key", "at once") })
		}
		all.Wait()
		first := 0
		for _, r := range replies {
			if r.status != 201 || !bytes.Equal(r.body, replies[0].body) {
				t.Errorf("%s: got %d %s beside %s", path, r.status, r.body, replies[0].body)
			}
			if r.header.Get("Idempotent-Replayed") == "" {
				first++
			}
		}
		if first != 1 {
			t.Errorf("%s: %d first answers", path, first)
		}
	}
	if n := len(g.house.tasks); n != 1 {
		t.Errorf("%d tasks of one key", n)
	}
}

func TestATenantIsMadeOncePerKey(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	// A platform administrator may belong to a tenant as well: the key is the platform's all the same.
	admin := g.grant(auth.Grant{Role: auth.PlatformAdmin, Tenant: ours})
	for range 2 {
		g.post("/api/v1/tenants", admin, `{"slug":"new","name":"New"}`, "Idempotency-Key", "k").want(201)
	}
	g.post("/api/v1/tenants", admin, `{"slug":"new","name":"New"}`).fails(409, codeConflict)
}

func TestAnUnconditionalChangeIsNotLostToAnother(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin, path := g.token(auth.Admin), "/api/v1/robots/"+g.bot
	const many = 6
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() { g.do(http.MethodPatch, path, admin, fmt.Sprintf(`{"capabilities":["c%d"]}`, i)).want(200) })
	}
	all.Wait()
	if v := g.get(path, admin).object()["version"]; v != 1.0+many {
		t.Errorf("version %v after %d changes", v, many)
	}
}

func TestKeptOutVerticesFollowTheMapInUse(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	told := func() []fleet.Vertex { g.house.mu.Lock(); defer g.house.mu.Unlock(); return g.house.keptOut }
	zone := "/api/v1/zones/" + uuid.NewString()
	square := func(m string) string { // around the lower right cell
		return `{"map_id":"` + m + `","kind":"keep_out","polygon":{"type":"Polygon","coordinates":[[[3,0],[4,0],[4,1],[3,1],[3,0]]]}}`
	}
	g.do(http.MethodPut, zone, admin, square(g.floor)).want(201)
	if !slices.Equal(told(), []fleet.Vertex{14}) {
		t.Fatalf("kept out: %v", told())
	}
	// The next version has a cell less before it: the same place has another number.
	body, _ := json.Marshal(map[string]any{"format": "movingai", "content": strings.Replace(grid, ".@..", ".@@.", 1)})
	g.post("/api/v1/maps/"+g.floor+"/versions", admin, string(body)).want(201)
	g.post("/api/v1/maps/"+g.floor+"/versions/2/activate", admin, "").want(200)
	if !slices.Equal(told(), []fleet.Vertex{13}) {
		t.Errorf("kept out on version 2: %v", told())
	}
	other := g.post("/api/v1/maps", admin, `{"warehouse_id":"`+g.warehouse+`","name":"other","format":"movingai","content":"type octile\nheight 1\nwidth 4\nmap\n....\n"}`).want(201).text("map_id")
	g.do(http.MethodPut, zone, admin, square(other)).want(200)
	if len(told()) != 0 {
		t.Errorf("a zone that has moved to another map still keeps out %v", told())
	}
}

func TestLargeUploadsWaitForOneAnother(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.MaxUploads = 1 }).furnish()
	admin := g.token(auth.Admin)
	entered, leave := make(chan struct{}), make(chan struct{})
	g.house.beforeWarehouse = func() { entered <- struct{}{}; <-leave }
	upload := `{"warehouse_id":"` + g.warehouse + `","name":"n","format":"movingai","content":"x"}`
	done := make(chan *reply)
	go func() { done <- g.post("/api/v1/maps", admin, upload) }()
	<-entered
	g.post("/api/v1/maps:validate", admin, `{"format":"movingai","content":"x"}`).fails(429, codeExhausted)
	g.get("/api/v1/maps", admin).want(200)
	close(leave)
	(<-done).want(201)
	g.post("/api/v1/maps:validate", admin, `{"format":"movingai","content":"x"}`).want(200)
}

func TestBodiesAndListsHaveTheirBounds(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	g.post("/api/v1/maps:validate", admin, `{"format":"movingai","content":"`+strings.Repeat("x", maxMap)+`"}`).fails(413, codeInvalid)
	g.post("/api/v1/maps:validate", admin, `{"format":"movingai","content":"`+strings.Repeat("x", 2*maxBody)+`"}`).want(200)
	status := `{"robot_id":"` + g.bot + `","seq":1,"ts":"2026-01-01T00:00:00Z","pose":{"x":0,"y":0,"theta":0},"battery_soc":1,"state":"IDLE"}`
	g.post("/api/v1/robots/status", admin, `{"items":[`+strings.Repeat(status+",", 1000)+status+`]}`).faulty("body.items")
	g.post("/api/v1/robots/status", admin, `{"items":[]}`).faulty("body.items")
	point := `[0,0]`
	zone := `{"map_id":"` + g.floor + `","kind":"slow","polygon":{"type":"Polygon","coordinates":[[` + strings.Repeat(point+",", 1000) + point + `]]}}`
	g.do(http.MethodPut, "/api/v1/zones/"+nobody, admin, zone).faulty("body.polygon.coordinates", "body.polygon.coordinates[0]")
	payload := `"` + strings.Repeat("x", maxKept) + `"`
	g.post("/api/v1/tasks", admin, `{"task_type":"go_to","warehouse_id":"`+g.warehouse+`","payload":{"dropoff":"0","x":`+payload+`}}`).faulty("body.payload")
}

func TestARobotThatNobodyWatchesGoesOffline(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for age, want := range map[time.Duration]fleet.Connection{time.Second: fleet.Online, 10 * time.Second: fleet.Stale, time.Minute: fleet.Offline} {
		g := newRig(t, nil).furnish()
		g.house.robots[0].Last.Connection, g.house.robots[0].Last.ReportedAt = fleet.Online, now.Add(-age)
		if c := g.get("/api/v1/robots/"+g.bot, g.token(auth.Viewer)).want(200).text("connection"); c != want.String() {
			t.Errorf("%s after its last status it is %s, want %s", age, c, want)
		}
	}
	g := newRig(t, nil).furnish()
	if c := g.get("/api/v1/robots/"+g.bot, g.token(auth.Viewer)).want(200).text("connection"); c != fleet.NeverSeen.String() {
		t.Errorf("a robot that never reported is %s", c)
	}
}

func TestChargersAreShared(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	content := `{"vertices":[{"id":"a","x":0,"y":0,"charging":true},{"id":"b","x":1,"y":0},{"id":"c","x":2,"y":0,"charging":true}],` +
		`"lanes":[{"from":"a","to":"b"},{"from":"b","to":"a"},{"from":"b","to":"c"},{"from":"c","to":"b"}]}`
	m := g.post("/api/v1/maps", admin, `{"warehouse_id":"`+g.warehouse+`","name":"two","format":"starling","content":`+content+`}`).want(201).text("map_id")
	g.post("/api/v1/maps/"+m+"/versions/1/activate", admin, "").want(200)
	one := `{"task_type":"charge","warehouse_id":"` + g.warehouse + `"}`
	g.post("/api/v1/tasks:batch", admin, `{"items":[`+one+","+one+","+one+","+one+`]}`).want(201)
	n := map[string]int{}
	for _, v := range g.house.tasks {
		n[v.Spec.Places[0]]++
	}
	if n["a"] != 2 || n["c"] != 2 {
		t.Errorf("four charges go to %v", n)
	}
}

func TestMethodsNobodyKnowsMakeNoMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	g := newRig(t, func(o *Options) { o.Registr = registry })
	for i := range 20 {
		g.do(fmt.Sprintf("M%d", i), fmt.Sprintf("/api/v1/x%d", i), "", "").fails(405, codeNotFound)
		g.get(fmt.Sprintf("/api/v1/y%d", i), "").fails(404, codeNotFound)
	}
	g.get("/api/v1/robots/"+nobody, g.token(auth.Viewer)).fails(404, codeNotFound)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]bool{}
	for _, f := range families {
		if len(f.GetMetric()) > 3 {
			t.Errorf("%s has %d series", f.GetName(), len(f.GetMetric()))
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "route" {
					routes[l.GetValue()] = true
				}
			}
		}
	}
	if !routes["/api/v1/robots/{robot_id}"] {
		t.Errorf("routes %v", routes)
	}
}

func TestHeadAsksWithoutABody(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	if r := g.do(http.MethodHead, "/healthz", "", "").want(200); len(r.body) != 0 {
		t.Errorf("a body: %s", r.body)
	}
	g.do(http.MethodHead, "/api/v1/me", g.token(auth.Viewer), "").want(200)
	g.do(http.MethodHead, "/api/v1/tasks:batch", "", "").want(405)
}

func TestALogLinePerRequestButNotPerStatus(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	status := `{"seq":1,"ts":"` + time.Now().UTC().Format(time.RFC3339) + `","pose":{"x":0.5,"y":0.5,"theta":0},"battery_soc":1,"state":"IDLE"}`
	for _, c := range []struct{ id, method, path, body, first, last string }{
		{"a", http.MethodGet, "/api/v1/me", "", "INFO", "INFO"},
		{"b", http.MethodGet, "/healthz", "", "DEBUG", "DEBUG"},
		{"c", http.MethodPost, "/api/v1/robots/" + g.bot + "/status", status, "DEBUG", "DEBUG"},
		{"d", http.MethodPost, "/api/v1/robots/" + g.bot + "/status", `{}`, "DEBUG", "INFO"},
	} {
		g.do(c.method, c.path, g.token(auth.Admin), c.body, "X-Request-ID", c.id)
		if l := g.log.ended(t, c.id); l[0]["level"] != c.first || l[len(l)-1]["level"] != c.last {
			t.Errorf("%s %s: begins at %v, ends at %v", c.method, c.path, l[0]["level"], l[len(l)-1]["level"])
		}
	}
	g.house.before = func(context.Context) error { return context.Canceled }
	g.get("/api/v1/tenants/current", g.token(auth.Viewer), "X-Request-ID", "e")
	if l := g.log.ended(t, "e"); l[1]["level"] != "ERROR" {
		t.Errorf("a failure ends at %v", l[1]["level"])
	}
}

func TestAnUnknownErrorLeavesAStackInTheLog(t *testing.T) {
	t.Parallel()
	for _, stacks := range []bool{true, false} {
		g := newRig(t, func(o *Options) { o.Stacks = stacks })
		g.house.before = func(context.Context) error { return fmt.Errorf("strange: %w", fact.ErrNotFound) }
		g.get("/api/v1/tenants/current", g.token(auth.Viewer), "X-Request-ID", "known").fails(404, codeNotFound)
		g.house.before = func(context.Context) error { return fmt.Errorf("strange") }
		g.get("/api/v1/tenants/current", g.token(auth.Viewer), "X-Request-ID", "unknown").fails(500, codeInternal)
		for id, want := range map[string]bool{"known": false, "unknown": stacks} {
			l := g.log.ended(t, id)
			if _, has := l[1]["stack"]; has != want {
				t.Errorf("%s with stacks %v: %v", id, stacks, l[1])
			}
		}
	}
}

func TestTheGraphsReadLastAreKept(t *testing.T) {
	t.Parallel()
	var kept graphs
	g := newRig(t, nil).furnish()
	v, err := find(g.house.versions, func(*version) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 * maxGraphs {
		g := *v.graph
		g.Version = n
		kept.put(&g)
	}
	if _, ok := kept.get(v.Map, 0); ok {
		t.Error("the oldest is still kept")
	}
	if _, ok := kept.get(v.Map, 2*maxGraphs-1); !ok || len(kept.list) != maxGraphs {
		t.Errorf("%d are kept", len(kept.list))
	}
	kept.put(&roadmap.Graph{MapID: v.Map, Version: 1, Vertices: make([]roadmap.Vertex, maxGraphVertices-1)})
	if _, ok := kept.get(v.Map, 1); !ok || len(kept.list) != 1 {
		t.Errorf("%d are kept beside a large one", len(kept.list)-1)
	}
	viewer := g.token(auth.Viewer)
	first := g.get("/api/v1/maps/"+g.floor+"/versions/1", viewer).want(200)
	if again := g.get("/api/v1/maps/"+g.floor+"/versions/1", viewer).want(200); !bytes.Equal(first.body, again.body) {
		t.Errorf("%s, then %s", first.body, again.body)
	}
}
