//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// rule is what becomes of a constraint of the schema: which requests would break it and how they are answered, or why no
// request can.
type rule struct {
	tries []try
	never string
}

// try is a request that would break a constraint.
type try struct {
	method, path string
	body         any
	status       int
	names        string // the field in details.fields, or details.key
	token        string // "" = the administrator's
	race         bool   // sent by many at once: one succeeds, the others are answered so
}

const (
	ours      = "its id is made by the program, for this row"
	written   = "the value is one of the program's own, whatever is asked"
	engine    = "rows of the engine's, about objects that it holds: none of them is ever deleted"
	checked   = "the object was found in the same transaction, and none is ever deleted"
	upserted  = "a row that is there is updated, or left as it is"
	besides   = "written beside requests, in batches: what is refused is logged and counted, and no answer depends on it"
	mapWriter = "versions of a map are written one at a time: its row is locked first"
)

// rules has an entry for each constraint of the schema.
func (l *ledger) rules(t *testing.T) map[string]rule {
	t.Helper()
	post := func(path string, body any, status int, names string) try {
		return try{method: http.MethodPost, path: path, body: body, status: status, names: names}
	}
	long, nowhere := strings.Repeat("x", 1000), uuid.NewString()
	with := func(base map[string]any, name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range base {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	room := map[string]any{"warehouse_code": "rule", "name": "Rule", "timezone": "UTC"}
	tenant := map[string]any{"slug": "rule", "name": "Rule"}
	robot := l.newRobot("rule")
	floor := map[string]any{"warehouse_id": l.warehouse, "name": "Rule", "format": "movingai", "content": smallFloor, "resolution_m": 1}
	zone := map[string]any{"map_id": l.floor, "kind": "keep_out", "name": "Rule", "capacity": 1, "polygon": map[string]any{
		"type": "Polygon", "coordinates": [][][]float64{{{0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}}},
	}}
	put := func(name string, value any, names string) rule {
		return rule{tries: []try{{method: http.MethodPut, path: "/api/v1/zones/" + uuid.NewString(), body: with(zone, name, value), status: 422, names: names}}}
	}
	bad := func(path string, base map[string]any, name string, values ...any) rule {
		var r rule
		for _, v := range values {
			r.tries = append(r.tries, post(path, with(base, name, v), 422, "body."+name))
		}
		return r
	}
	asPlatform := func(r rule) rule {
		for i := range r.tries {
			r.tries[i].token = l.platform
		}
		return r
	}
	raced := func(path string, body any, names string) rule {
		one := post(path, body, 409, names)
		all := one
		all.race = true
		return rule{tries: []try{all, one}}
	}
	ghost := l.issue(t, map[string]any{"role": "admin", "tenant": nowhere}) // of a tenant that nobody has created
	return map[string]rule{
		"tenants_pkey":           {never: ours},
		"tenants_slug_key":       asPlatform(raced("/api/v1/tenants", tenant, "slug")),
		"tenants_slug_check":     asPlatform(bad("/api/v1/tenants", tenant, "slug", "", "Not a slug", "-x", strings.Repeat("x", 64), long)),
		"tenants_name_check":     asPlatform(bad("/api/v1/tenants", tenant, "name", "", strings.Repeat("x", 201), long)),
		"tenants_limits_check":   {never: written},
		"tenants_settings_check": {tries: []try{{method: http.MethodPatch, path: "/api/v1/tenants/current/settings", body: []int{1}, status: 422, names: "body"}}},

		"users_pkey": {never: ours}, "users_tenant_id_subject_key": {never: upserted}, "users_tenant_id_fkey": {never: besides},
		"users_subject_check": {never: besides},

		"warehouses_pkey":                         {never: ours},
		"warehouses_tenant_id_warehouse_code_key": raced("/api/v1/warehouses", room, "warehouse_code"),
		"warehouses_tenant_id_fkey": {tries: []try{{
			method: http.MethodPost, path: "/api/v1/warehouses", body: room, status: 404, token: ghost,
		}}},
		"warehouses_warehouse_code_check": bad("/api/v1/warehouses", room, "warehouse_code", "", strings.Repeat("x", 65), long),
		"warehouses_name_check":           bad("/api/v1/warehouses", room, "name", "", strings.Repeat("ä", 201), long),

		"shard_incarnations_pkey": {never: upserted}, "shard_incarnations_incarnation_check": {never: written},
		"shard_incarnations_tenant_id_warehouse_id_fkey": {never: engine},

		"maps_pkey":                        {never: ours},
		"maps_name_check":                  bad("/api/v1/maps", floor, "name", "", strings.Repeat("x", 201), long),
		"maps_tenant_id_warehouse_id_fkey": bad("/api/v1/maps", floor, "warehouse_id", nowhere),
		"map_versions_pkey":                {never: mapWriter}, "map_versions_active": {never: "one engine at a time activates a warehouse's maps, and retires the one before"},
		"map_versions_status_check": {never: written}, "map_versions_version_check": {never: mapWriter},
		"map_versions_tenant_id_map_id_fkey": {tries: []try{
			post("/api/v1/maps/"+nowhere+"/versions", map[string]any{"format": "movingai", "content": smallFloor, "resolution_m": 1}, 404, ""),
			post("/api/v1/maps/"+nowhere+"/versions/1/activate", nil, 404, ""),
		}},
		"lanes_pkey": {never: mapWriter}, "lanes_from_version_check": {never: mapWriter}, "lanes_tenant_id_map_id_fkey": {never: checked},

		"zones_pkey":                  {tries: []try{{method: http.MethodPut, path: "/api/v1/zones/" + uuid.NewString(), body: zone, status: 200, race: true}}},
		"zones_kind_check":            put("kind", "traffic", "body.kind"),
		"zones_check":                 put("kind", "traffic", "body.kind"),
		"zones_capacity_check":        put("capacity", -1, "body.capacity"),
		"zones_name_check":            put("name", strings.Repeat("x", 201), "body.name"),
		"zones_tenant_id_map_id_fkey": put("map_id", nowhere, "body.map_id"),

		"robots_pkey": {never: ours}, "robots_control_check": {never: written}, "robots_connection_check": {never: written},
		"robots_code":                        raced("/api/v1/robots", robot, "robot_code"),
		"robots_robot_code_check":            bad("/api/v1/robots", robot, "robot_code", "", strings.Repeat("x", 65), strings.Repeat("x", 128), long),
		"robots_tenant_id_warehouse_id_fkey": bad("/api/v1/robots", robot, "warehouse_id", nowhere),
		"zone_roster_pkey":                   {never: upserted}, "zone_roster_tenant_id_robot_id_fkey": {never: engine},
		"commands_pkey":                    {never: ours},
		"commands_tenant_id_robot_id_fkey": {tries: []try{post("/api/v1/robots/"+nowhere+"/commands", map[string]any{"command": "pause"}, 404, "")}},

		"tasks_pkey": {never: ours}, "tasks_status_check": {never: written},
		"tasks_idempotency":                 {never: "a clash is the answer to a retry: TestOfManyTwinsOneIsMade and TestATasksKeyOutlivesItsFirstAnswer"},
		"tasks_task_type_check":             bad("/api/v1/tasks", l.newTask(1), "task_type", "", "dance"),
		"tasks_priority_check":              bad("/api/v1/tasks", l.newTask(1), "priority", -1, 10, 70000),
		"tasks_tenant_id_warehouse_id_fkey": bad("/api/v1/tasks", l.newTask(1), "warehouse_id", nowhere),
		"tasks_tenant_id_robot_id_fkey":     bad("/api/v1/tasks", l.newTask(1), "robot_id", nowhere),
		"task_events_pkey":                  {never: ours}, "task_events_tenant_id_task_id_fkey": {never: engine},
		"decisions_pkey": {never: ours}, "decisions_kind_check": {never: written}, "decisions_tenant_id_warehouse_id_fkey": {never: engine},

		"alerts_pkey": {never: ours}, "alerts_once": {never: "a warehouse's alerts are decided one after the other, by its actor"},
		"alerts_check": {never: written}, "alerts_check1": {never: written}, "alerts_resolution_check": {never: written},
		"alerts_tenant_id_warehouse_id_fkey": bad("/api/v1/alerts", l.newAlert("rule"), "warehouse_id", nowhere),
		"alerts_cause_check":                 bad("/api/v1/alerts", l.newAlert("rule"), "cause", "", "weather", long),
		"alerts_level_check":                 bad("/api/v1/alerts", l.newAlert("rule"), "level", "", "L4"),
		"alerts_subject_kind_check": {tries: []try{
			post("/api/v1/alerts", with(l.newAlert("rule"), "subject", map[string]any{"type": "", "id": "x"}), 422, "body.subject.type"),
		}},
		"alerts_subject_id_check": {tries: []try{
			post("/api/v1/alerts", with(l.newAlert("rule"), "subject", map[string]any{"type": "zone", "id": ""}), 422, "body.subject.id"),
			post("/api/v1/alerts", with(l.newAlert("rule"), "subject", map[string]any{"type": "zone", "id": long}), 422, "body.subject.id"),
		}},
		"alerts_mark_check":   {tries: []try{post("/api/v1/alerts/"+l.alert+"/mark", map[string]any{"mark": "perhaps"}, 422, "body.mark")}},
		"alerts_status_check": {never: written},
		"alert_handling_pkey": {never: ours}, "alert_handling_action_check": {never: written}, "alert_handling_of_alert": {never: "steps of an alert are recorded one after the other, with its version"},
		"alert_handling_tenant_id_alert_id_fkey": {never: engine},
		"congestion_diagrams_pkey":               {never: upserted}, "congestion_diagrams_learned_check": {never: written},
		"congestion_diagrams_tenant_id_warehouse_id_fkey": {never: engine},
		"webhook_hooks_pkey":                              {never: upserted},
		"webhook_hooks_hook_check": {tries: []try{{
			method: http.MethodPatch, path: "/api/v1/tenants/current/settings", body: map[string]any{"webhooks": map[string]any{strings.Repeat("x", 33): map[string]any{"url": "https://hooks.example/x", "secret": strings.Repeat("s", 32)}}}, status: 422, names: "webhooks",
		}}},
		"webhook_hooks_tenant_id_fkey": {never: engine},
		"webhook_deliveries_pkey":      {never: ours}, "webhook_deliveries_once": {never: "what is there already is left as it is"},
		"webhook_deliveries_check": {never: written}, "webhook_deliveries_state_check": {never: written}, "webhook_deliveries_tenant_id_fkey": {never: engine},

		"outbox_events_pkey": {never: ours}, "outbox_events_status_check": {never: written},
		"inbox_events_pkey": {never: upserted}, "inbox_events_tenant_id_fkey": {never: engine},
		"lock_fences_pkey": {never: upserted}, "lock_fences_name_check": {never: written}, "lock_fences_token_check": {never: written},
		"lock_fences_tenant_id_warehouse_id_fkey": {never: engine},
		"task_timing_pkey":                        {never: upserted}, "task_timing_tenant_id_fkey": {never: "the worker folds facts of tenants that there are"},
		"dead_letters_pkey": {never: upserted}, "dead_letters_state_check": {never: written}, "dead_letters_tenant_id_fkey": {never: "the pump copies it from the fact's row"},
		"idempotency_keys_pkey": {never: "who looked is locked out until the one before has written: TestOfManyTwinsOneIsMade"},
		"audit_logs_pkey":       {never: upserted},
	}
}

// constraints of the schema: keys, unique rules, references and checks, not those of partitions.
const constraints = `SELECT c.conname::text FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_roles r ON r.oid = t.relowner
	WHERE r.rolname = 'starling_migrate' AND t.relkind IN ('r', 'p') AND NOT t.relispartition AND c.contype IN ('p', 'u', 'f', 'c', 'x')
	UNION SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
	JOIN pg_roles r ON r.oid = t.relowner
	WHERE r.rolname = 'starling_migrate' AND t.relkind IN ('r', 'p') AND NOT t.relispartition AND x.indisunique ORDER BY 1`

// Whatever a request would break in the database, it is told what is wrong with it: which field, in the contract's codes.
func TestEachConstraintHasAPreciseAnswer(t *testing.T) {
	l := newLedger(t)
	rows, err := l.db.Query(t.Context(), constraints)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(all) < 60 {
		t.Fatalf("%d constraints: %v", len(all), err)
	}
	rules := l.rules(t)
	there, tried := map[string]bool{}, 0
	for _, name := range all {
		there[name] = true
		r, ok := rules[name]
		if !ok || (r.never == "") == (len(r.tries) == 0) {
			t.Errorf("constraint %s: say in constraints_test.go how a request that breaks it is answered, or why none can", name)
		}
		for i := range r.tries {
			tried++
			l.break1(t, name, &r.tries[i])
		}
	}
	for name := range rules {
		if !there[name] {
			t.Errorf("there is no constraint %s", name)
		}
	}
	if l.printed(`"status":500`) {
		t.Error("a request ended as an internal error")
	}
	t.Logf("%d constraints, %d requests", len(all), tried)
	l.terminate(t)
}

func (l *ledger) break1(t *testing.T, name string, r *try) {
	t.Helper()
	if !r.race {
		if g := l.attempt(t, r); !r.answered(g) {
			t.Errorf("%s: %s %s %.80v: %+v, want %d naming %q", name, r.method, r.path, r.body, g, r.status, r.names)
		}
		return
	}
	const racers = 16
	answers := make([]given, racers)
	var running sync.WaitGroup
	for i := range racers {
		running.Go(func() { answers[i] = l.attempt(t, r) })
	}
	running.Wait()
	won := 0
	for _, g := range answers {
		switch {
		case g.Status == http.StatusCreated:
			won++
		case !r.answered(g):
			t.Errorf("%s: %s %s, many at once: %+v, want %d naming %q", name, r.method, r.path, g, r.status, r.names)
		}
	}
	if won != 1 {
		t.Errorf("%s: %d of %d were first", name, won, racers)
	}
}

func (l *ledger) attempt(t *testing.T, r *try) given {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, l.URL+r.path, bytes.NewReader(encoded(t, r.body)))
	if err != nil {
		t.Error(err)
		return given{}
	}
	token := r.token
	if token == "" {
		token = l.Token
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := l.client.Do(req)
	if err != nil {
		t.Error(err)
		return given{}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return given{res.StatusCode, res.Header.Get("Location"), string(b)}
}

// answered says that an answer is the one wanted, and names the field at fault.
func (r *try) answered(g given) bool {
	if g.Status != r.status || r.names == "" {
		return g.Status == r.status
	}
	var e struct {
		Error struct {
			Code    string
			Details struct {
				Key    string
				Fields []struct{ Field string }
			}
		}
	}
	if err := json.Unmarshal([]byte(g.Body), &e); err != nil {
		return false
	}
	code := map[int]string{404: "NOT_FOUND", 409: "CONFLICT", 422: "INVALID_ARGUMENT"}[g.Status]
	names := []string{e.Error.Details.Key}
	for _, f := range e.Error.Details.Fields {
		names = append(names, f.Field)
	}
	return e.Error.Code == code && strings.Contains(fmt.Sprint(names), r.names)
}
