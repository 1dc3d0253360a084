//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"starling/gateway/auth"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// mark stands in every text that the owner chooses: where another tenant reads it, something has leaked.
const mark = "kept-by-its-owner"

// twoTenants are an owner with one of everything, and a stranger who has learnt all of the owner's ids.
type twoTenants struct {
	*ledger
	owner    *client
	ids      map[string]string // path parameter -> the owner's id
	stranger map[string]string // role -> token
	unknown  map[string]string // path parameter -> an id that nobody has
}

func newTwoTenants(t *testing.T) *twoTenants {
	t.Helper()
	w := &twoTenants{ledger: newLedger(t), stranger: map[string]string{}, unknown: map[string]string{}}
	w.owner = newClient(w.URL, w.Token)
	t.Cleanup(w.owner.http.CloseIdleConnections)
	must := func(method, path string, body any, out any) {
		t.Helper()
		if err := w.owner.call(t.Context(), method, path, "", body, out); err != nil {
			t.Fatal(err)
		}
	}
	var made struct {
		Task      string `json:"task_id"`
		Command   string `json:"command_id"`
		Robot     string `json:"robot_id"`
		Warehouse string `json:"warehouse_id"`
		Tenant    string `json:"tenant_id"`
	}
	robot := w.newRobot(mark)
	robot["fleet"], robot["model"] = mark, mark
	must("POST", "/api/v1/robots", robot, &made)
	task := w.newTask(1)
	task["payload"] = map[string]any{"waypoints": []string{"1"}, "note": mark}
	must("POST", "/api/v1/tasks", task, &made)
	must("POST", "/api/v1/robots/"+made.Robot+"/commands", map[string]any{"command": "pause", "expires_in_s": 3600}, &made)
	zone := uuid.NewString()
	must("PUT", "/api/v1/zones/"+zone, w.overlay(w.floor), nil)
	must("PATCH", "/api/v1/tenants/current/settings", map[string]any{"note": mark}, nil)
	var lanes struct {
		Items []struct {
			ID string `json:"lane_id"`
		} `json:"items"`
	}
	must("GET", "/api/v1/lanes?limit=1&map_id="+w.floor, nil, &lanes)
	must("GET", "/api/v1/tenants/current", nil, &made)
	w.ids = map[string]string{
		"tenant_id": made.Tenant, "warehouse_id": w.warehouse, "map_id": w.floor, "lane_id": lanes.Items[0].ID, "zone_id": zone, "robot_id": made.Robot,
		"command_id": made.Command, "task_id": made.Task, "n": "1",
	}
	w.ids["event_id"], w.ids["delivery_id"], w.ids["name"], w.ids["remedy_id"] = w.letter(t), w.delivery(t), hookOfOwner, uuid.NewString()
	var alert struct {
		ID string `json:"alert_id"`
	}
	must("POST", "/api/v1/alerts", w.newAlert(mark), &alert)
	w.ids["alert_id"] = alert.ID
	must("PATCH", "/api/v1/tenants/current/settings", map[string]any{"webhooks": map[string]any{hookOfOwner: map[string]any{
		"url": "https://hooks.example/x", "secret": strings.Repeat("s", 32), "off": true,
	}}}, nil)
	for name := range w.ids {
		w.unknown[name] = uuid.NewString()
	}
	w.unknown["n"], w.unknown["name"] = "1", "hook-of-nobody"
	platform := newClient(w.URL, w.platform)
	defer platform.http.CloseIdleConnections()
	if err := platform.call(t.Context(), "POST", "/api/v1/tenants", "", map[string]any{"slug": "stranger", "name": "Stranger"}, &made); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{auth.Viewer, auth.Operator, auth.Admin, auth.Service, auth.RobotRole} {
		w.stranger[role] = w.issue(t, map[string]any{"role": role, "tenant": made.Tenant, "robot": w.ids["robot_id"], "fleet": mark})
	}
	return w
}

const hookOfOwner = "hook-of-owner"

// delivery is a message of the owner's webhook that was given up.
func (w *twoTenants) delivery(t *testing.T) string {
	t.Helper()
	id := uuid.NewString()
	if _, err := w.db.Exec(t.Context(), `INSERT INTO webhook_deliveries (tenant_id, delivery_id, hook, event, body, state, cause, done_at)
		VALUES ($1, $2, $3, 'test', '{}', 'dead', $4, now())`, w.ids["tenant_id"], id, hookOfOwner, mark); err != nil {
		t.Fatal(err)
	}
	return id
}

// letter is a fact of the owner that could not be sent.
func (w *twoTenants) letter(t *testing.T) string {
	t.Helper()
	id := uuid.NewString()
	if _, err := w.db.Exec(t.Context(), `INSERT INTO dead_letters (event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, event_type, cause, attempts, created_at)
		VALUES ($1, $2, 0, 'task', $3, 'task.events', $4, 'task.created', $4, 8, now())`, id, w.ids["tenant_id"], w.ids["task_id"], mark); err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *twoTenants) overlay(floor string) map[string]any {
	return map[string]any{
		"map_id": floor, "kind": "slow", "name": mark, "capacity": 1,
		"polygon": map[string]any{"type": "Polygon", "coordinates": [][][2]float64{{{0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}}}},
	}
}

// bodies are what the routes that write take, with ids of somebody.
func (w *twoTenants) bodies(ids map[string]string) map[string]any {
	task := map[string]any{"task_type": "patrol", "warehouse_id": ids["warehouse_id"], "payload": map[string]any{"waypoints": []string{"1"}}}
	status := map[string]any{"seq": 1, "ts": "2026-01-01T00:00:00Z", "pose": map[string]any{"x": 0, "y": 0, "theta": 0, "map_id": ids["map_id"]}, "battery_soc": 0.5, "state": "IDLE", "robot_id": ids["robot_id"]}
	own := map[string]any{"seq": 1, "ts": "2026-01-01T00:00:00Z", "pose": map[string]any{"x": 0, "y": 0, "theta": 0}, "battery_soc": 0.5, "state": "IDLE"}
	return map[string]any{
		"POST /api/v1/maps":                       map[string]any{"warehouse_id": ids["warehouse_id"], "name": "n", "format": "movingai", "content": smallFloor, "resolution_m": 1},
		"POST /api/v1/maps/{map_id}/versions":     map[string]any{"format": "movingai", "content": smallFloor, "resolution_m": 1},
		"PATCH /api/v1/lanes/{lane_id}":           map[string]any{"closed": true, "reason": "r"},
		"PUT /api/v1/zones/{zone_id}":             w.overlay(ids["map_id"]),
		"POST /api/v1/robots":                     map[string]any{"robot_code": "c", "protocol": "link", "warehouse_id": ids["warehouse_id"]},
		"PATCH /api/v1/robots/{robot_id}":         map[string]any{"priority": 1},
		"POST /api/v1/robots/{robot_id}/status":   own,
		"POST /api/v1/robots/status":              map[string]any{"items": []any{status}},
		"POST /api/v1/robots/{robot_id}/commands": map[string]any{"command": "stop"},
		"POST /api/v1/tasks":                      task,
		"POST /api/v1/tasks:batch":                map[string]any{"items": []any{task}},
		"POST /api/v1/scheduler/plan":             map[string]any{"warehouse_id": ids["warehouse_id"], "tasks": []any{task}},
		"POST /api/v1/alerts":                     w.reportOf(ids),
		"POST /api/v1/alerts/{alert_id}/comments": map[string]any{"text": "t"},
		"POST /api/v1/alerts/{alert_id}/assign":   map[string]any{"assignee": "me"},
		"POST /api/v1/alerts/{alert_id}/mark":     map[string]any{"mark": "false"},
		"POST /api/v1/congestion/remedies": map[string]any{
			"warehouse_id": ids["warehouse_id"], "action": "reroute", "subject": map[string]any{"type": "zone", "id": ids["zone_id"]},
		},
		"POST /api/v1/tasks/{task_id}/cancel":              nil,
		"POST /api/v1/dead-letters/{event_id}/retry":       nil,
		"POST /api/v1/dead-letters/{event_id}/discard":     nil,
		"POST /api/v1/maps/{map_id}/versions/{n}/activate": nil,
	}
}

// reportOf is the report of an alert that was missing in somebody's warehouse.
func (w *twoTenants) reportOf(ids map[string]string) map[string]any {
	r := w.newAlert("t")
	r["warehouse_id"] = ids["warehouse_id"]
	return r
}

// filters are what lists may be narrowed by.
var filters = map[string]string{
	"GET /api/v1/lanes": "map_id={map_id}", "GET /api/v1/zones": "map_id={map_id}", "GET /api/v1/maps": "warehouse_id={warehouse_id}",
	"GET /api/v1/robots": "warehouse_id={warehouse_id}", "GET /api/v1/tasks": "warehouse_id={warehouse_id}&robot_id={robot_id}",
	"GET /api/v1/alerts": "warehouse_id={warehouse_id}", "GET /api/v1/congestion/hotspots": "warehouse_id={warehouse_id}",
	"GET /api/v1/congestion/remedies": "warehouse_id={warehouse_id}", "DELETE /api/v1/congestion/remedies/{remedy_id}": "warehouse_id={warehouse_id}",
	"GET /api/v1/webhooks/deliveries": "hook={name}", "GET /api/v1/scheduler/decisions": "task_id={task_id}", "GET /api/v1/overview": "warehouse_id={warehouse_id}",
	"GET /api/v1/maps/{map_id}/versions/{n}/diff": "against=1", "GET /api/v1/audit": "resource=robot:{robot_id}", "GET /api/v1/audit/export": "resource=task:{task_id}",
}

func filled(s string, ids map[string]string) string {
	for name, id := range ids {
		s = strings.ReplaceAll(s, "{"+name+"}", id)
	}
	return s
}

// said is an answer without what is new in every answer.
type said struct {
	status int
	body   string
}

var freshText = regexp.MustCompile(`"request_id":"[^"]*"|"generated_at":"[^"]*"`)

// asks sends a request as the stranger, with some ids in place of the path's and the body's.
func (w *twoTenants) asks(t *testing.T, rule *auth.Rule, token string, ids map[string]string) said {
	t.Helper()
	method, path, _ := strings.Cut(rule.Door, " ")
	url := filled(path, ids)
	if f := filters[rule.Door]; f != "" {
		url += "?" + filled(f, ids)
	}
	var body io.Reader = http.NoBody
	if b := w.bodies(ids)[rule.Door]; b != nil {
		raw, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL+url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != http.NoBody {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), mark) {
		t.Errorf("%s as the stranger shows what is the owner's: %s", rule.Door, text)
	}
	plain := freshText.ReplaceAllString(string(text), "")
	for name, id := range ids {
		if name != "n" {
			plain = strings.ReplaceAll(plain, id, name)
		}
	}
	return said{res.StatusCode, plain}
}

// TestAnotherTenantsIdsOpenNothing asks for everything by the owner's ids and by ids that nobody has: the answers are
// the same to the letter, so that not even that something is there can be learnt.
func TestAnotherTenantsIdsOpenNothing(t *testing.T) {
	t.Parallel()
	w := newTwoTenants(t)
	before, tried := w.things(t), 0
	for _, rule := range auth.NewPolicy().Rules() {
		named := strings.HasPrefix(rule.Door, "GET ") || strings.Contains(rule.Door, "{") || w.bodies(w.ids)[rule.Door] != nil
		named = named && rule.Door != "GET /api/v1/ws" && rule.Door != "GET /api/v1/stream" // watches has them
		if rule.Open || !named || rule.Scope == auth.NoTenant || !strings.Contains(rule.Door, " /api/") {
			continue
		}
		for role, token := range w.stranger {
			if !rule.Allows(&auth.Identity{Roles: []string{role}}) {
				continue
			}
			tried++
			nobodys, owners := w.asks(t, &rule, token, w.unknown), w.asks(t, &rule, token, w.ids)
			if nobodys != owners {
				t.Errorf("%s as %s: nobody's ids get %d %s, the owner's %d %s", rule.Door, role, nobodys.status, nobodys.body, owners.status, owners.body)
			}
			byID := strings.Contains(rule.Door, "{") && !strings.HasPrefix(rule.Door, "PUT ")
			if owners.status >= 500 || byID && owners.status != http.StatusNotFound {
				t.Errorf("%s as %s: %d %s", rule.Door, role, owners.status, owners.body)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d requests were tried", tried)
	}
	if after := w.things(t); after != before {
		t.Errorf("the owner's things were\n%s\nand are\n%s", before, after)
	}
	w.watches(t)
	w.links(t)
}

// things are all that the owner has, as its own administrator reads it.
func (w *twoTenants) things(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{
		"/robots/{robot_id}", "/tasks/{task_id}", "/tasks/{task_id}/events", "/zones/{zone_id}", "/maps/{map_id}", "/maps/{map_id}/versions", "/lanes?map_id={map_id}&limit=500",
		"/warehouses/{warehouse_id}", "/robots/{robot_id}/commands/{command_id}", "/tenants/current/settings", "/robots", "/tasks", "/warehouses",
	} {
		var out json.RawMessage
		if err := w.owner.call(t.Context(), "GET", filled("/api/v1"+path, w.ids), "", nil, &out); err != nil {
			t.Fatalf("the owner: %v", err)
		}
		fmt.Fprintf(&all, "%s %s\n", path, out)
	}
	return all.String()
}

// watches subscribes to all that the owner has, as the stranger and as the owner itself, while the owner is busy.
func (w *twoTenants) watches(t *testing.T) {
	t.Helper()
	foreign, own := w.watch(t, w.stranger[auth.Viewer]), w.watch(t, w.Token)
	events := w.follow(t, w.stranger[auth.Viewer])
	for n := range 5 {
		task := w.newTask(n)
		task["payload"] = map[string]any{"waypoints": []string{"2"}, "note": mark}
		if err := w.owner.call(t.Context(), "POST", "/api/v1/tasks", "", task, nil); err != nil {
			t.Fatal(err)
		}
	}
	if seen := own(5); !strings.Contains(seen, "task_progress") || !strings.Contains(seen, mark) {
		t.Errorf("the owner is not shown what it does: %s", seen)
	}
	for how, seen := range map[string]string{"WebSocket": foreign(0), "SSE": events()} {
		if strings.Contains(seen, mark) || strings.Contains(seen, `"robot_code"`) || strings.Contains(seen, "task_progress") {
			t.Errorf("by %s the stranger is shown %s", how, seen)
		}
	}
}

// watch opens a WebSocket; what is returned reads until a pong, and until so many task events have come.
func (w *twoTenants) watch(t *testing.T, token string) (read func(events int) string) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"starling.v1.json", "bearer." + token}}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(w.URL, "http")+"/api/v1/ws", nil) //nolint:bodyclose // a handshake's answer needs no closing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	for i, c := range [][2]string{
		{"robots", `{"warehouse_id":"{warehouse_id}"}`},
		{"robots", `{"warehouse_id":"{warehouse_id}","robot_ids":["{robot_id}"]}`},
		{"tasks", `{"warehouse_id":"{warehouse_id}"}`},
		{"tasks", `{"warehouse_id":"{warehouse_id}","task_ids":["{task_id}"]}`},
		{"zones", `{"warehouse_id":"{warehouse_id}"}`},
	} {
		if err := ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"op":"subscribe","id":%d,"channel":%q,"filter":%s}`, i+1, c[0], filled(c[1], w.ids))); err != nil {
			t.Fatal(err)
		}
	}
	return func(events int) string {
		t.Helper()
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"op":"ping","t":7}`)); err != nil {
			t.Fatal(err)
		}
		_ = ws.SetReadDeadline(time.Now().Add(30 * time.Second))
		var seen strings.Builder
		for pong := false; !pong || strings.Count(seen.String(), "task_progress") < events; {
			_, b, err := ws.ReadMessage()
			if err != nil {
				t.Fatalf("%v after %s", err, seen.String())
			}
			pong = pong || bytes.Contains(b, []byte(`"pong"`))
			seen.Write(b)
		}
		return seen.String()
	}
}

// follow opens an event stream of the owner's tasks; what is returned closes it and says what came.
func (w *twoTenants) follow(t *testing.T, token string) (read func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+filled("/api/v1/stream?channel=tasks&warehouse_id={warehouse_id}", w.ids), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // what is returned closes it
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Errorf("SSE: %d", res.StatusCode)
	}
	return func() string {
		time.AfterFunc(time.Second, cancel)
		b, _ := io.ReadAll(res.Body) // ended by cancel
		_ = res.Body.Close()
		return string(b)
	}
}

// links says hello on the robot link as the stranger, for the owner's robot by id and by code.
func (w *twoTenants) links(t *testing.T) {
	t.Helper()
	conn, err := grpc.NewClient(w.Link, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, role := range []string{auth.RobotRole, auth.Admin, auth.Service} {
		heard := map[string]string{}
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.stranger[role]), 20*time.Second)
		for name, robot := range map[string]*linkv1.RobotHello{"its id": {RobotId: w.ids["robot_id"]}, "its code": {RobotCode: mark}, "nobody's id": {RobotId: uuid.NewString()}} {
			s, err := linkv1.NewLinkClient(conn).Connect(ctx)
			if err == nil {
				hello := &linkv1.Hello{ProtocolVersion: 1, WarehouseId: w.warehouse, Robots: []*linkv1.RobotHello{robot}}
				err = s.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: hello}})
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.Recv()
			if err == nil && len(m.GetWelcome().GetRobots()) == 1 {
				heard[name] = m.GetWelcome().GetRobots()[0].GetRefused()
			}
		}
		cancel()
		if want := map[string]string{"its id": "NOT_FOUND", "its code": "NOT_FOUND", "nobody's id": "NOT_FOUND"}; !maps.Equal(heard, want) {
			t.Errorf("as %s: %v", role, heard)
		}
	}
}
