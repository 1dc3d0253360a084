package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/engine/fleet"
	"starling/gateway/auth"
)

func TestAllFaultsOfARequestAreSaidAtOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	in := func(task string) string { return fmt.Sprintf(task, g.warehouse) }
	for name, c := range map[string]struct {
		path, body string
		fields     []string
	}{
		"nothing": {"/api/v1/tasks", `{}`, []string{"body.task_type", "body.warehouse_id"}},
		"schema and rules together": {
			"/api/v1/tasks", in(`{"task_type":"transport","warehouse_id":"%s","priority":12,"fleet":"a\u0007b","payload":{}}`),
			[]string{"body.priority", "body.fleet", "body.payload.pickup", "body.payload.dropoff"},
		},
		"wrong types": {"/api/v1/tasks", `{"task_type":7,"warehouse_id":[],"payload":"secret"}`, []string{"body.task_type", "body.warehouse_id", "body.payload"}},
		"unknown fields": {
			"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","colour":"secret","payload":{"dropoff":"0"}}`), []string{"body.colour"},
		},
		"places that are not": {
			"/api/v1/tasks", in(`{"task_type":"transport","warehouse_id":"%s","payload":{"pickup":"secret","dropoff":"secret2","waypoints":["0","secret"]}}`),
			[]string{"body.payload.pickup", "body.payload.dropoff", "body.payload.waypoints[1]"},
		},
		"a deadline before the start": {
			"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0"},"earliest_start":"2030-01-02T00:00:00Z","deadline":"2030-01-01T00:00:00Z"}`),
			[]string{"body.deadline"},
		},
		"a huge number":           {"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","priority":1e999}`), []string{"body"}},
		"a huge number inside":    {"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0","x":1e999}}`), []string{"body"}},
		"NUL inside":              {"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0","x":["a\u0000"]}}`), []string{"body.payload"}},
		"broken UTF-8 inside":     {"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0","x":"` + "\xff" + `"}}`), []string{"body.payload"}},
		"half a character inside": {"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0","x":"\ud800"}}`), []string{"body.payload"}},
		"too deep": {
			"/api/v1/tasks", in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0","x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}}`), []string{"body.payload"},
		},
		"a warehouse": {
			"/api/v1/warehouses", `{"warehouse_code":"a\u0000","name":"` + "\xff" + `","timezone":"secret/Nowhere"}`, []string{"body.warehouse_code", "body.name", "body.timezone"},
		},
		"a robot": {
			"/api/v1/robots", in(`{"robot_code":"","protocol":"secret","warehouse_id":"%s","priority":-1,"max_speed_mps":1e9,"allowed_zones":["secret"],"capabilities":["","a\n"]}`),
			[]string{"body.robot_code", "body.protocol", "body.priority", "body.max_speed_mps", "body.allowed_zones[0]", "body.capabilities[0]", "body.capabilities[1]"},
		},
		"a robot elsewhere": {"/api/v1/robots", `{"robot_code":"R9","protocol":"link","warehouse_id":"` + nobody + `"}`, []string{"body.warehouse_id"}},
		"a command":         {"/api/v1/robots/" + g.bot + "/commands", `{"command":"pause","vertex":"0","expires_in_s":0}`, []string{"body.vertex", "body.expires_in_s"}},
		"a goal":            {"/api/v1/robots/" + g.bot + "/commands", `{"command":"go_to"}`, []string{"body.vertex"}},
		"a map":             {"/api/v1/maps", in(`{"warehouse_id":"%s","name":"","format":"lif","content":7}`), []string{"body.name", "body.format", "body.content"}},
		"a path":            {"/api/v1/robots/secret/commands", `{"command":"pause"}`, []string{"path.robot_id"}},
		"a batch": {
			"/api/v1/tasks:batch", `{"items":[` + strings.Repeat(in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0"}},`), 3) + in(`{"task_type":"go_to","warehouse_id":"%s","priority":10,"payload":{}}]}`),
			[]string{"body.items[3].priority", "body.items[3].payload.dropoff"},
		},
		"a batch with a wrong place": {
			"/api/v1/tasks:batch", `{"items":[` + in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"0"}},`) + in(`{"task_type":"go_to","warehouse_id":"%s","payload":{"dropoff":"secret"}}]}`),
			[]string{"body.items[1].payload.dropoff"},
		},
		"a batch too large": {"/api/v1/tasks:batch", `{"items":[` + strings.Repeat(`{},`, 1000) + `{}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.post(c.path, admin, c.body)
			r.t = t
			if c.fields == nil {
				r.fails(422, codeInvalid)
			} else {
				r.faulty(c.fields...)
			}
			if strings.Contains(string(r.body), "secret") {
				t.Errorf("a value that was sent stands in the answer: %s", r.body)
			}
		})
	}
	if n := len(g.house.tasks); n != 0 {
		t.Errorf("%d tasks were made of bad requests", n)
	}
}

func TestQueriesAreHeldToTheirBounds(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	viewer := g.token(auth.Viewer)
	for query, field := range map[string]string{
		"limit=0": "query.limit", "limit=501": "query.limit", "limit=NaN": "query.limit", "limit=99999999999999999999": "query.limit", "limit=-1": "query.limit",
		"limits=5": "query.limits", "cursor=%00": "query.cursor", "cursor=bad": "query.cursor", "robot_code=%00": "query.robot_code", "fleet=%ff": "query.fleet",
		"warehouse_id=x": "query.warehouse_id", "warehouse_id=": "query.warehouse_id", "limit=": "query.limit",
	} {
		r := g.get("/api/v1/robots?"+query, viewer)
		r.what = query
		r.faulty(field)
	}
	g.get("/api/v1/tasks?status=secret&created_after=yesterday&source=x", viewer).faulty("query.status", "query.created_after", "query.source")
	g.get("/api/v1/tasks?status=&created_after=&source=", viewer).faulty("query.status", "query.created_after", "query.source")
	g.get("/api/v1/robots?limit=500&cursor=&fleet=", viewer).want(200)
	g.get("/api/v1/lanes", viewer).faulty("query.map_id")
	g.get("/api/v1/maps/"+g.floor+"/versions/1?cursor=15", viewer).faulty("query.cursor")
}

func TestListsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	viewer := g.token(auth.Viewer)
	seen, cursor := map[string]bool{}, ""
	for range 10 {
		m := g.get("/api/v1/maps/"+g.floor+"/versions/1?limit=4"+cursor, viewer).want(200).object()
		for _, v := range m["vertices"].([]any) {
			seen[v.(map[string]any)["id"].(string)] = true
		}
		next, more := m["next_cursor"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	if len(seen) != 15 {
		t.Errorf("saw %d vertices of 15", len(seen))
	}
	if l := g.get("/api/v1/scheduler/decisions", viewer).want(200); string(bytes.TrimSpace(l.body)) != `{"items":[],"next_cursor":null}` {
		t.Errorf("an empty list is %s", l.body)
	}
}

func TestAKeyGivesTheFirstAnswerAgain(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	task := `{"task_type":"go_to","warehouse_id":"` + g.warehouse + `","payload":{"dropoff":"0","note":"a&b"}}`
	for path, bodies := range map[string][2]string{
		"/api/v1/tasks":                         {task, strings.Replace(task, "a&b", "c", 1)},
		"/api/v1/tasks:batch":                   {`{"items":[` + task + `]}`, `{"items":[` + task + `,` + task + `]}`},
		"/api/v1/warehouses":                    {`{"warehouse_code":"W2","name":"n"}`, `{"warehouse_code":"W3","name":"n"}`},
		"/api/v1/robots":                        {`{"robot_code":"K1","protocol":"rest","warehouse_id":"` + g.warehouse + `"}`, `{"robot_code":"K2","protocol":"rest","warehouse_id":"` + g.warehouse + `"}`},
		"/api/v1/robots/" + g.bot + "/commands": {`{"command":"pause"}`, `{"command":"resume"}`},
		"/api/v1/maps/" + g.floor + "/versions": {`{"format":"movingai","content":"x"}`, `{"format":"movingai","content":"y"}`},
	} {
		first := g.post(path, admin, bodies[0], "Idempotency-Key", "k 1~")
		again := g.post(path, admin, bodies[0], "Idempotency-Key", "k 1~")
		if first.status/100 != 2 || again.status != first.status || !bytes.Equal(first.body, again.body) || first.header.Get("Location") != again.header.Get("Location") {
			t.Errorf("%s: got %d %s, then %d %s", path, first.status, first.body, again.status, again.body)
		}
		if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("X-Request-Id") == again.header.Get("X-Request-Id") {
			t.Errorf("%s: headers %v, then %v", path, first.header, again.header)
		}
		if first.header.Get("Location") == "" && path != "/api/v1/tasks:batch" {
			t.Errorf("%s: no Location", path)
		}
		g.post(path, admin, bodies[1], "Idempotency-Key", "k 1~").fails(409, codeConflict)
		g.post(path, admin, bodies[0], "Idempotency-Key", strings.Repeat("k", 129)).faulty("header.Idempotency-Key")
		g.post(path, admin, bodies[0], "Idempotency-Key", "ä").faulty("header.Idempotency-Key")
	}
	if n := len(g.house.tasks); n != 2 {
		t.Errorf("two keys made %d tasks", n)
	}
	g.post("/api/v1/tasks", admin, task, "Idempotency-Key", "").faulty("header.Idempotency-Key")
	g.post("/api/v1/tasks", admin, `{}`, "Idempotency-Key", "k2").fails(422, codeInvalid)
	g.post("/api/v1/tasks", admin, task, "Idempotency-Key", "k2").want(201) // a refusal is not kept
	other := g.grant(auth.Grant{Role: auth.Admin, Tenant: theirs})
	g.post("/api/v1/warehouses", other, `{"warehouse_code":"W9","name":"n"}`, "Idempotency-Key", "k 1~").want(201)
}

func TestABatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	op := g.token(auth.Operator)
	one := `{"task_type":"transport","warehouse_id":"` + g.warehouse + `","payload":{"pickup":"0","dropoff":"3"}}`
	m := g.post("/api/v1/tasks:batch", op, `{"items":[`+one+`,`+one+`]}`).want(201).object()
	for i, x := range m["items"].([]any) {
		b := x.(map[string]any)
		if b["index"] != float64(i) || b["status"] != "CREATED" {
			t.Errorf("item %d is %v", i, b)
		}
		got := g.get("/api/v1/tasks/"+b["task_id"].(string), op).want(200).object()
		if p := got["progress"].(map[string]any); p["of"] != 2.0 || got["source"] != "api" || got["reason"] != nil {
			t.Errorf("task %v", got)
		}
	}
	g.post("/api/v1/tasks:batch", op, `{"items":[`+one+`,{}]}`).fails(422, codeInvalid)
	if n := len(g.house.tasks); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

func TestATaskCanBeCancelledUntilItHasEnded(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	op := g.token(auth.Operator)
	r := g.post("/api/v1/tasks", op, `{"task_type":"patrol","warehouse_id":"`+g.warehouse+`","payload":{"waypoints":["0","1"]}}`).want(201)
	path := "/api/v1/tasks/" + r.text("task_id")
	if r.header.Get("Location") != path {
		t.Errorf("Location %q", r.header.Get("Location"))
	}
	g.post(path+"/cancel", op, `{"reason":"a\u0000"}`).faulty("body.reason")
	if s := g.post(path+"/cancel", op, `{"reason":"no more"}`).want(200).text("status"); s != "CANCELLED" {
		t.Errorf("status %s", s)
	}
	g.post(path+"/cancel", op, ``).want(200)
	g.house.tasks[0].Status = fleet.TaskSucceeded
	d := g.post(path+"/cancel", op, ``).fails(409, codeConflict)
	if cur, _ := d["current"].(map[string]any); cur["status"] != "SUCCEEDED" {
		t.Errorf("the conflict does not show the task: %v", d)
	}
	g.get(path+"/events", op).want(200)
	g.get(path+"/why", op).want(200)
}

func TestLostUpdatesAreRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	robot := "/api/v1/robots/" + g.bot
	tag := g.get(robot, admin).want(200).header.Get("Etag")
	r := g.do(http.MethodPatch, robot, admin, `{"priority":3.0}`, "If-Match", tag).want(200)
	if r.header.Get("Etag") == tag || r.object()["priority"] != 3.0 || r.object()["fleet"] != "f1" {
		t.Errorf("%v %s", r.header, r.body)
	}
	g.do(http.MethodPatch, robot, admin, `{"priority":4}`, "If-Match", tag).fails(412, codePrecondition)
	g.do(http.MethodDelete, robot, admin, "", "If-Match", tag).fails(412, codePrecondition)
	g.do(http.MethodPatch, robot, admin, `{"priority":4}`, "If-Match", "nonsense").fails(412, codePrecondition)
	g.do(http.MethodPatch, robot, admin, `{"priority":4}`, "If-Match", "").faulty("header.If-Match")
	g.do(http.MethodPatch, robot, admin, `{"priority":3.5}`).faulty("body.priority")

	zone := "/api/v1/zones/" + uuid.NewString()
	body := `{"map_id":"` + g.floor + `","kind":"keep_out","polygon":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}}`
	r = g.do(http.MethodPut, zone, admin, body).want(201)
	if tag = r.header.Get("Etag"); r.header.Get("Location") != zone {
		t.Errorf("Location %q", r.header.Get("Location"))
	}
	g.do(http.MethodPut, zone, admin, body, "If-Match", tag).want(200)
	g.do(http.MethodPut, zone, admin, body, "If-Match", tag).fails(412, codePrecondition)
	g.do(http.MethodDelete, zone, admin, "", "If-Match", tag).fails(412, codePrecondition)
	g.do(http.MethodDelete, zone, admin, "").want(204)
	g.get(zone, admin).fails(404, codeNotFound)
	open := strings.Replace(body, "[0,0]]]", "[5,5]]]", 1)
	g.do(http.MethodPut, zone, admin, open).faulty("body.polygon.coordinates")
	g.do(http.MethodPut, zone, admin, strings.Replace(body, "[1,1]", "[2,0]", 1)).faulty("body.polygon.coordinates") // a line

	tag = g.get("/api/v1/maps/"+g.floor, admin).want(200).header.Get("Etag")
	g.post("/api/v1/maps/"+g.floor+"/versions", admin, `{"format":"movingai","content":"x"}`, "If-Match", tag).want(201)
	g.post("/api/v1/maps/"+g.floor+"/versions/1/activate", admin, "", "If-Match", tag).fails(412, codePrecondition)
	g.post("/api/v1/maps/"+g.floor+"/versions/2/activate", admin, "").fails(412, codePrecondition) // its report has errors

	settings := "/api/v1/tenants/current/settings"
	tag = g.get(settings, admin).want(200).header.Get("Etag")
	g.do(http.MethodPatch, settings, admin, `{"quotas":{"robots":5}}`, "If-Match", tag).want(200)
	g.do(http.MethodPatch, settings, admin, `{"quotas":{"robots":6}}`, "If-Match", tag).fails(412, codePrecondition)
	g.do(http.MethodPatch, settings, admin, `{"a":"\u0000"}`).faulty("body")
}

func TestAStatusIsAcceptedOldOrWrong(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	own := g.grant(auth.Grant{Role: auth.RobotRole, Tenant: ours, Robot: fleet.RobotID(g.bot)})
	status := func(seq int, at time.Time, x float64) string {
		b, _ := json.Marshal(map[string]any{"seq": seq, "ts": at, "pose": map[string]any{"x": x, "y": 0.5, "theta": 0}, "battery_soc": 0.5, "state": "IDLE"})
		return string(b)
	}
	path, now := "/api/v1/robots/"+g.bot+"/status", time.Now()
	for _, c := range []struct{ body, want string }{
		{status(5, now, 0.5), `{"accepted":true,"reason":null}`},
		{status(5, now, 0.5), `{"accepted":false,"reason":"stale_seq"}`},
		{strings.Replace(status(1, now, 0.5), "{", `{"boot_id":"b2",`, 1), `{"accepted":true,"reason":null}`},
	} {
		if r := g.post(path, own, c.body).want(202); string(bytes.TrimSpace(r.body)) != c.want {
			t.Errorf("got %s, want %s", r.body, c.want)
		}
	}
	g.post(path, own, status(9, now.Add(-time.Hour), 0.5)).faulty("body.ts")
	g.post(path, own, status(9, now, 5000)).faulty("body.pose")
	g.post(path, own, `{"seq":-1,"ts":"secret","pose":{"x":1e7,"y":0},"battery_soc":2,"state":"SECRET"}`).
		faulty("body.seq", "body.ts", "body.pose.x", "body.pose.theta", "body.battery_soc", "body.state")
	other := g.grant(auth.Grant{Role: auth.RobotRole, Tenant: ours, Robot: nobody})
	g.post(path, other, status(10, now, 0.5)).fails(403, codeForbidden)
	g.post(path, g.grant(auth.Grant{Role: auth.RobotRole, Tenant: ours, Fleet: "f1"}), strings.Replace(status(10, now, 0.5), "{", `{"boot_id":"b2",`, 1)).want(202)

	item := func(id, s string) string { return strings.Replace(s, "{", `{"robot_id":"`+id+`",`, 1) }
	r := g.post("/api/v1/robots/status", own, `{"items":[`+item(g.bot, status(20, now, 0.5))+","+item(nobody, status(1, now, 0.5))+","+item(g.bot, status(21, now, 5000))+`]}`).want(200)
	items := r.object()["items"].([]any)
	if a := items[0].(map[string]any); a["accepted"] != true || a["error"] != nil {
		t.Errorf("%v", a)
	}
	for i, code := range map[int]string{1: codeNotFound, 2: codeInvalid} {
		a := items[i].(map[string]any)
		if e, _ := a["error"].(map[string]any); a["accepted"] != false || e["code"] != code || a["index"] != float64(i) {
			t.Errorf("item %d: %v", i, a)
		}
	}
}
