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
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// twins is how many clients send the same request at the same time.
const twins = 64

// ledger is a program with a floor on which everything can be created, and its database.
type ledger struct {
	*service
	db        *pgx.Conn
	platform  string // a token
	warehouse string
	floor     string // its active map
	robot     string
	alert     string // one that somebody reported
	client    *http.Client
	again     atomic.Int64 // requests that were refused for the moment, or lost with the process, and sent again
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{service: newService(t, 5*time.Second), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: twins}, Timeout: 30 * time.Second}}
	t.Cleanup(l.client.CloseIdleConnections)
	l.launch(t, "gateway,engine")
	l.ready(t)
	l.admit(t)
	l.platform = l.issue(t, map[string]any{"role": "platform_admin"})
	for _, e := range l.env {
		if url, ok := strings.CutPrefix(e, "DATABASE_URL="); ok {
			var err error
			if l.db, err = pgx.Connect(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.db.Close(context.WithoutCancel(t.Context())) })
		}
	}
	c := newClient(l.URL, l.Token)
	defer c.http.CloseIdleConnections()
	var w struct {
		ID string `json:"warehouse_id"`
	}
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/warehouses", "", map[string]any{"warehouse_code": "ledger", "name": "Ledger", "timezone": "UTC"}, &w); err != nil {
		t.Fatal(err)
	}
	l.warehouse = w.ID
	var err error
	if l.floor, _, err = c.upload(t.Context(), w.ID, "floor", "movingai", smallFloor, 1, true); err != nil {
		t.Fatal(err)
	}
	l.robot = l.addRobot(t, "told")
	var a struct {
		ID string `json:"alert_id"`
	}
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/alerts", "", l.newAlert("told"), &a); err != nil {
		t.Fatal(err)
	}
	l.alert = a.ID
	return l
}

// addRobot registers a robot that never connects, and returns its id.
func (l *ledger) addRobot(t *testing.T, code string) string {
	t.Helper()
	c := newClient(l.URL, l.Token)
	defer c.http.CloseIdleConnections()
	var r struct {
		ID string `json:"robot_id"`
	}
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/robots", "", l.newRobot(code), &r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

const smallFloor = "type octile\nheight 3\nwidth 6\nmap\n......\n......\n......\n"

func (l *ledger) newRobot(code string) map[string]any {
	return map[string]any{
		"robot_code": code, "display_name": code, "fleet": "f", "model": "m", "protocol": "link", "warehouse_id": l.warehouse,
		"footprint_radius_m": 0.3, "max_speed_mps": 1.5,
	}
}

// newAlert is the report of an alert that was missing.
func (l *ledger) newAlert(text string) map[string]any {
	return map[string]any{
		"warehouse_id": l.warehouse, "subject": map[string]any{"type": "zone", "id": text}, "cause": "congestion", "level": "L2", "text": text,
		"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:10:00Z",
	}
}

func (l *ledger) newTask(n int) map[string]any {
	return map[string]any{"task_type": "patrol", "warehouse_id": l.warehouse, "payload": map[string]any{"waypoints": []string{strconv.Itoa(n % 18)}, "n": n}}
}

// creation is a route that creates: what to send for the n-th object, and the table and rows in which one is seen.
type creation struct {
	path  string // as the document has it
	body  func(n int) any
	table string
	rows  int // of one creation
}

func (l *ledger) creations() []creation {
	name := func(n int) string { return fmt.Sprintf("made-%d", n) }
	return []creation{
		{"/api/v1/tenants", func(n int) any { return map[string]any{"slug": name(n), "name": name(n)} }, "tenants", 1},
		{"/api/v1/warehouses", func(n int) any {
			return map[string]any{"warehouse_code": name(n), "name": name(n), "timezone": "UTC"}
		}, "warehouses", 1},
		{"/api/v1/maps", func(n int) any {
			return map[string]any{"warehouse_id": l.warehouse, "name": name(n), "format": "movingai", "content": smallFloor, "resolution_m": 1}
		}, "maps", 1},
		{"/api/v1/maps/{map_id}/versions", func(n int) any {
			return map[string]any{"format": "movingai", "content": smallFloor, "resolution_m": 1 + float64(n)/1000}
		}, "map_versions", 1},
		{"/api/v1/robots", func(n int) any { return l.newRobot(name(n)) }, "robots", 1},
		{"/api/v1/robots/{robot_id}/commands", func(n int) any { return map[string]any{"command": "pause", "expires_in_s": 60 + n} }, "commands", 1},
		{"/api/v1/alerts", func(n int) any { return l.newAlert(name(n)) }, "alerts", 1},
		{"/api/v1/alerts/{alert_id}/comments", func(n int) any { return map[string]any{"text": name(n)} }, "alert_handling WHERE action = 'comment'", 1},
		{"/api/v1/tasks", func(n int) any { return l.newTask(n) }, "tasks", 1},
		{"/api/v1/tasks:batch", func(n int) any {
			return map[string]any{"items": []any{l.newTask(n), l.newTask(n + 1), l.newTask(n + 2)}}
		}, "tasks", 3},
	}
}

// given is an answer as the client got it.
type given struct {
	Status   int
	Location string
	Body     string
}

func (l *ledger) path(p string) string {
	return strings.NewReplacer("{map_id}", l.floor, "{robot_id}", l.robot, "{alert_id}", l.alert).Replace(p)
}

// once sends a request once.
func (l *ledger) once(token, path, key string, body []byte) (given, bool, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, l.URL+l.path(path), bytes.NewReader(body))
	if err != nil {
		return given{}, false, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := l.client.Do(req)
	if err != nil {
		return given{}, false, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return given{}, false, err
	}
	g := given{res.StatusCode, res.Header.Get("Location"), string(b)}
	if g.Status == http.StatusTooManyRequests || g.Status == http.StatusServiceUnavailable {
		return g, false, fmt.Errorf("%d, to be tried again: %s", g.Status, b)
	}
	if res.Header.Get("X-Request-ID") == "" || res.Header.Get("Content-Type") != "application/json" {
		return g, false, fmt.Errorf("an answer without its headers: %v", res.Header)
	}
	return g, res.Header.Get("Idempotent-Replayed") == "true", nil
}

// send repeats a request until it is answered: uploads beyond a few at a time are refused for the moment.
func (l *ledger) send(token, path, key string, body []byte) (g given, replayed bool, err error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if g, replayed, err = l.once(token, path, key, body); err == nil {
			return g, replayed, nil
		}
		l.again.Add(1)
	}
	return g, replayed, err
}

// together sends one request per body, all at the same moment.
func (l *ledger) together(t *testing.T, token, path, key string, bodies [][]byte) (all []given, replayed int) {
	t.Helper()
	all = make([]given, len(bodies))
	var again atomic.Int64
	var running sync.WaitGroup
	begin := make(chan struct{})
	for i, body := range bodies {
		running.Go(func() {
			<-begin
			g, r, err := l.send(token, path, key, body)
			if err != nil {
				t.Errorf("POST %s: %v", path, err)
			}
			if all[i] = g; r {
				again.Add(1)
			}
		})
	}
	close(begin)
	running.Wait()
	return all, int(again.Load())
}

func (l *ledger) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := l.db.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (l *ledger) tokenFor(path string) string {
	if path == "/api/v1/tenants" {
		return l.platform
	}
	return l.Token
}

// Of 64 clients that create the same thing at the same time one does, on each route that creates, and all get its answer.
func TestOfManyTwinsOneIsMade(t *testing.T) {
	l := newLedger(t)
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	_, _, text := l.ask(t, http.MethodGet, "/openapi.json", "")
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	var keyed, tried []string
	for path, ops := range document.Paths {
		for _, p := range ops["post"].Parameters {
			if p.Name == "Idempotency-Key" {
				keyed = append(keyed, path)
			}
		}
	}
	for n, c := range l.creations() {
		tried = append(tried, c.path)
		l.twins(t, c, n*100)
	}
	tried = append(tried, "/api/v1/congestion/remedies") // against a jam: gateway/rest tries its twins
	slices.Sort(keyed)
	slices.Sort(tried)
	if !slices.Equal(keyed, tried) {
		t.Errorf("routes that create: %v, tried: %v", keyed, tried)
	}
	l.scopes(t)
	t.Logf("%d routes, %d twins each; %d requests were put off", len(tried), twins, l.again.Load())
	l.terminate(t)
}

func (l *ledger) twins(t *testing.T, c creation, n int) {
	t.Helper()
	token, key := l.tokenFor(c.path), "twins "+c.path
	body, other := encoded(t, c.body(n)), encoded(t, c.body(n+1))
	before := l.count(t, c.table)
	all, replayed := l.together(t, token, c.path, key, slices.Repeat([][]byte{body}, twins))
	if all[0].Status/100 != 2 || replayed != twins-1 || l.count(t, c.table) != before+c.rows {
		t.Errorf("%s: %d rows more, %d of %d replayed, first answer %+v", c.path, l.count(t, c.table)-before, replayed, twins, all[0])
	}
	if i := slices.IndexFunc(all, func(g given) bool { return g != all[0] }); i >= 0 {
		t.Errorf("%s: twins got %+v and %+v", c.path, all[0], all[i])
	}
	if g, _, err := l.send(token, c.path, key, other); err != nil || g.Status != http.StatusConflict || !strings.Contains(g.Body, `"CONFLICT"`) {
		t.Errorf("%s: another body under the same key: %+v %v", c.path, g, err)
	}
	// Two bodies at the same time under a new key: one wins, and the other's senders are told.
	bodies := append(slices.Repeat([][]byte{encoded(t, c.body(n+2))}, twins/2), slices.Repeat([][]byte{encoded(t, c.body(n+3))}, twins/2)...)
	before = l.count(t, c.table)
	all, _ = l.together(t, token, c.path, key+" rivals", bodies)
	seen := map[given]int{}
	conflicts := 0
	for i, g := range all {
		if g.Status == http.StatusConflict {
			conflicts++
		} else if seen[g]++; (i < twins/2) != (all[0].Status != http.StatusConflict) {
			t.Errorf("%s: both bodies were taken", c.path)
		}
	}
	if conflicts != twins/2 || len(seen) != 1 || l.count(t, c.table) != before+c.rows {
		t.Errorf("%s: two bodies under one key: %d rows, %d conflicts, answers %v", c.path, l.count(t, c.table)-before, conflicts, slices.Collect(maps.Keys(seen)))
	}
}

// scopes: a key is its tenant's and its route's, and what failed is not kept.
func (l *ledger) scopes(t *testing.T) {
	t.Helper()
	g, _, err := l.send(l.Token, "/api/v1/robots", "scoped", encoded(t, map[string]any{"robot_code": ""}))
	if err != nil || g.Status != http.StatusUnprocessableEntity {
		t.Errorf("a bad robot: %+v %v", g, err)
	}
	body := encoded(t, l.newRobot("scoped"))
	var replayed bool
	if g, replayed, err = l.send(l.Token, "/api/v1/robots", "scoped", body); err != nil || g.Status != http.StatusCreated || replayed {
		t.Errorf("a good robot under the key of a refusal: %+v %v", g, err)
	}
	if g, _, err = l.send(l.Token, "/api/v1/robots", "taken", body); err != nil || g.Status != http.StatusConflict || !strings.Contains(g.Body, "robot_code") {
		t.Errorf("the same robot under another key: %+v %v", g, err)
	}
	warehouse := encoded(t, map[string]any{"warehouse_code": "scoped", "name": "Scoped", "timezone": "UTC"})
	for _, token := range []string{l.Token, l.neighbour(t)} {
		if g, replayed, err = l.send(token, "/api/v1/warehouses", "scoped", warehouse); err != nil || g.Status != http.StatusCreated || replayed {
			t.Errorf("the same key on another route, or of another tenant: %+v %v", g, err)
		}
	}
}

// neighbour is the token of another tenant's administrator.
func (l *ledger) neighbour(t *testing.T) string {
	t.Helper()
	g, _, err := l.send(l.platform, "/api/v1/tenants", "neighbour", encoded(t, map[string]any{"slug": "neighbour", "name": "Neighbour"}))
	if err != nil || g.Status != http.StatusCreated {
		t.Fatalf("%+v %v", g, err)
	}
	return l.issue(t, map[string]any{"role": "admin", "tenant_slug": "neighbour"})
}

// Killed in the middle of many twins of many keys and started again, the program has made one thing for each key, and no
// answer that it gave was another one than it gives now.
func TestKilledAmongTwinsEachKeyIsMadeOnce(t *testing.T) {
	const each = 6 // keys of a route
	l := newLedger(t)
	type wish struct {
		creation
		key  string
		body []byte
	}
	var wishes []wish
	before := map[string]int{}
	for i := range each {
		for _, c := range l.creations() {
			if c.path == "/api/v1/maps" || c.path == "/api/v1/maps/{map_id}/versions" {
				continue // a few at a time: their twins do not meet
			}
			wishes = append(wishes, wish{c, fmt.Sprintf("drill %s %d", c.path, i), encoded(t, c.body(1000+10*i))})
			before[c.table] = l.count(t, c.table)
		}
	}
	first := make([]map[given]bool, len(wishes)) // all answers that were given, of each wish
	var mu sync.Mutex
	var answered, lost int
	flood := func(n int, send func(token, path, key string, body []byte) (given, bool, error), until func(answered int)) {
		slots := make(chan struct{}, twins)
		var running sync.WaitGroup
		for j := range n * len(wishes) {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				i := j / n
				w := &wishes[i]
				g, _, err := send(l.tokenFor(w.path), w.path, w.key, w.body)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					lost++
					return
				}
				if first[i] == nil {
					first[i] = map[given]bool{}
				}
				first[i][g] = true
				answered++
				until(answered)
			})
		}
		running.Wait()
	}
	flood(twins, l.once, func(n int) {
		if n == twins*len(wishes)/2+twins/2 { // in the middle of a key's twins
			l.kill()
		}
	})
	_ = l.cmd.Wait()
	told, gone := answered, lost
	if told >= twins*len(wishes) || gone == 0 {
		t.Fatalf("killed after %d answers, %d lost", told, gone)
	}
	l.launch(t, "gateway,engine")
	l.ready(t)
	lost = 0
	flood(4, l.send, func(int) {})
	if lost > 0 {
		t.Errorf("%d retries without an answer", lost)
	}
	want := map[string]int{}
	for i, w := range wishes {
		want[w.table] += w.rows
		if len(first[i]) != 1 {
			t.Errorf("key %q got %d answers: %v", w.key, len(first[i]), slices.Collect(maps.Keys(first[i])))
		}
		for g := range first[i] {
			if g.Status/100 != 2 {
				t.Errorf("key %q: %+v", w.key, g)
			}
		}
	}
	for table, rows := range want {
		if n := l.count(t, table) - before[table]; n != rows {
			t.Errorf("%d rows in %s were asked for, there are %d", rows, table, n)
		}
	}
	t.Logf("%d keys on %d routes with %d twins: killed after %d answers, %d without one; each key made one thing", len(wishes), len(want), twins, told, gone)
	l.terminate(t)
}

// When the first answers of a day are forgotten, a task's key still makes no second task.
func TestATasksKeyOutlivesItsFirstAnswer(t *testing.T) {
	l := newLedger(t)
	task, room := encoded(t, l.newTask(1)), encoded(t, map[string]any{"warehouse_code": "old", "name": "Old", "timezone": "UTC"})
	first, _, err := l.send(l.Token, "/api/v1/tasks", "old", task)
	if err != nil || first.Status != http.StatusCreated {
		t.Fatalf("%+v %v", first, err)
	}
	hall, _, err := l.send(l.Token, "/api/v1/warehouses", "old", room)
	if err != nil || hall.Status != http.StatusCreated {
		t.Fatalf("%+v %v", hall, err)
	}
	if status, _, body := l.ask(t, http.MethodPost, first.Location+"/cancel", ""); status != http.StatusOK {
		t.Fatalf("cancel: %d %s", status, body)
	}
	// Yesterday's answers are kept, whatever the hour.
	l.age(t, 1)
	for path, want := range map[string]given{"/api/v1/tasks": first, "/api/v1/warehouses": hall} {
		body := map[string][]byte{"/api/v1/tasks": task, "/api/v1/warehouses": room}[path]
		if g, replayed, err := l.send(l.Token, path, "old", body); err != nil || g != want || !replayed {
			t.Errorf("a day later %s: %+v %v, replayed %v %v", path, g, want, replayed, err)
		}
	}
	if dropped := l.age(t, 3); dropped == 0 {
		t.Fatal("no partition was dropped")
	}
	all, replayed := l.together(t, l.Token, "/api/v1/tasks", "old", slices.Repeat([][]byte{task}, twins))
	for _, g := range all {
		if g.Status != http.StatusCreated || g.Location != first.Location || g.Body == first.Body || !strings.Contains(g.Body, `"status":"CANCELLED"`) {
			t.Fatalf("days later: %+v, first %+v", g, first)
		}
	}
	other, _, err := l.send(l.Token, "/api/v1/tasks", "old", encoded(t, l.newTask(2)))
	if err != nil || other.Status != http.StatusConflict || replayed != twins || l.count(t, "tasks") != 1 {
		t.Errorf("days later: %d replayed, another body %+v %v, %d tasks", replayed, other, err, l.count(t, "tasks"))
	}
	// What is no task is asked for anew: here the code is in use.
	if g, _, err := l.send(l.Token, "/api/v1/warehouses", "old", room); err != nil || g.Status != http.StatusConflict || !strings.Contains(g.Body, "warehouse_code") {
		t.Errorf("days later a warehouse: %+v %v", g, err)
	}
	l.terminate(t)
}

// age makes all first answers so many days older and lets the program's upkeep drop what it would drop then.
func (l *ledger) age(t *testing.T, days int) (dropped int) {
	t.Helper()
	for d := 0; d <= days; d++ {
		if _, err := l.db.Exec(t.Context(), `SELECT make_partition('idempotency_keys', to_char(day, 'YYYYMMDD'), day::text, (day + 1)::text, 'day')
			FROM (SELECT (now() AT TIME ZONE 'UTC')::date - $1::integer AS day) d`, d); err != nil {
			t.Fatal(err)
		}
	}
	tag, err := l.db.Exec(t.Context(), `UPDATE idempotency_keys SET day = (now() AT TIME ZONE 'UTC')::date - $1::integer, created_at = now() - make_interval(days => $1)`, days)
	if err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("%d first answers were moved: %v", tag.RowsAffected(), err)
	}
	if err := l.db.QueryRow(t.Context(), "SELECT forget_partitions()").Scan(&dropped); err != nil {
		t.Fatal(err)
	}
	return dropped
}
