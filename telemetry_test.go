//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/influx"
)

// measuredHouse is a service with a real InfluxDB and a robot that says where it is over REST.
type measuredHouse struct {
	*service
	influx *stack.Influx
	store  *influx.Client
	db     *pgx.Conn
	tenant fleet.TenantID
	robot  fleet.RobotID
	seq    int
}

func newMeasuredHouse(t *testing.T) *measuredHouse {
	t.Helper()
	m := &measuredHouse{service: newService(t, 5*time.Second), influx: stacktest.OwnInflux(t)}
	m.env = append(m.env, "INFLUX_URL="+m.influx.URL(), "INFLUX_ORG="+m.influx.Org(), "INFLUX_TOKEN="+m.influx.Token(), "INFLUX_BUCKET=tiers", "INFLUX_DIR="+t.TempDir())
	keepSecrets(m.influx.Token())
	m.launch(t, "gateway,engine")
	m.ready(t)
	m.admit(t)
	var err error
	if m.db, err = pgx.Connect(t.Context(), m.setting("DATABASE_URL")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.db.Close(context.Background()) })
	if m.store, err = influx.Open(t.Context(), influx.Options{URL: m.influx.URL(), Org: m.influx.Org(), Token: m.influx.Token(), Bucket: "tiers"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.store.Close)
	warehouse := m.make(t, "/api/v1/warehouses", `{"warehouse_code":"W1","name":"One"}`)
	body, _ := json.Marshal(map[string]any{"warehouse_id": warehouse["warehouse_id"], "name": "floor", "format": "movingai", "content": "type octile\nheight 4\nwidth 40\nmap\n" + strings.Repeat(strings.Repeat(".", 40)+"\n", 4)})
	floor := m.make(t, "/api/v1/maps", string(body))
	if status, _, text := m.ask(t, http.MethodPost, "/api/v1/maps/"+floor["map_id"].(string)+"/versions/1/activate", ""); status != 200 {
		t.Fatal(text)
	}
	r := m.make(t, "/api/v1/robots", fmt.Sprintf(`{"robot_code":"R1","protocol":"rest","warehouse_id":%q}`, warehouse["warehouse_id"]))
	m.robot = fleet.RobotID(r["robot_id"].(string))
	m.tenant = fleet.TenantID(m.get(t, "/api/v1/tenants/current")["tenant_id"].(string))
	return m
}

func (m *measuredHouse) make(t *testing.T, path, body string) map[string]any {
	t.Helper()
	status, _, text := m.ask(t, http.MethodPost, path, body)
	if status != 201 {
		t.Fatalf("POST %s: %d %s", path, status, text)
	}
	return objectOf(t, text)
}

func (m *measuredHouse) get(t *testing.T, path string) map[string]any {
	t.Helper()
	status, _, text := m.ask(t, http.MethodGet, path, "")
	if status != 200 {
		t.Fatalf("GET %s: %d %s", path, status, text)
	}
	return objectOf(t, text)
}

func objectOf(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// report says that the robot has driven on by a tenth of a metre.
func (m *measuredHouse) report(t *testing.T) (x float64, at time.Time) {
	t.Helper()
	m.seq++
	x, at = .5+float64(m.seq)*.1, time.Now().Truncate(time.Millisecond)
	status, _, text := m.ask(t, http.MethodPost, "/api/v1/robots/"+string(m.robot)+"/status", fmt.Sprintf(
		`{"boot_id":"b","seq":%d,"ts":%q,"pose":{"x":%v,"y":0.5,"theta":0},"velocity_mps":1,"battery_soc":0.5,"state":"MOVING"}`, m.seq, at.UTC().Format(time.RFC3339Nano), x))
	if status != 202 || !strings.Contains(text, "true") {
		t.Fatalf("status %d: %d %s", m.seq, status, text)
	}
	return x, at
}

// within waits until f holds and says how long that took.
func within(t *testing.T, what string, most time.Duration, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > most {
			t.Fatalf("%s: not within %v", what, most)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

func (m *measuredHouse) stored(t *testing.T, from time.Time) []fact.HistoryPoint {
	points, err := m.store.RobotHistory(t.Context(), m.tenant, m.robot, fact.HistoryQuery{From: from, To: time.Now().Add(time.Minute), Columns: []fact.Column{{Field: "x", Agg: fact.Last}}, Limit: 5000})
	if err != nil {
		return nil
	}
	return points
}

// The tiers as docs/telemetry.md states them: the newest state at once from memory, at most 5 s old in Postgres, every
// measurement within seconds in InfluxDB; and while that is away nobody notices but the state of health.
func TestTiersOfWhatIsMeasured(t *testing.T) {
	m := newMeasuredHouse(t)
	began := time.Now().Add(-time.Second)
	path := "/api/v1/robots/" + string(m.robot)
	ready := func(want string) func() bool {
		return func() bool {
			status, _, text := m.ask(t, http.MethodGet, "/readyz", "")
			return status == 200 && strings.Contains(text, `"influxdb":"`+want) // the rest of the process stays ready
		}
	}
	within(t, "readyz says that InfluxDB is there", 10*time.Second, ready("ok"))
	var hot, warm, cold time.Duration
	for range 5 {
		x, at := m.report(t)
		hot = max(hot, within(t, "hot", 2*time.Second, func() bool { // memory: a save of 5 s would not do
			pose, _ := m.get(t, path)["pose"].(map[string]any)
			return pose != nil && pose["x"] == x
		}))
		cold = max(cold, within(t, "cold", 10*time.Second, func() bool {
			points := m.stored(t, began)
			return len(points) > 0 && points[len(points)-1].At.Equal(at)
		}))
		warm = max(warm, within(t, "warm", 7500*time.Millisecond, func() bool { // 5 s, and the save itself on a busy machine
			var seq int
			err := m.db.QueryRow(t.Context(), "SELECT seq FROM robots WHERE robot_id = $1", string(m.robot)).Scan(&seq)
			return err == nil && seq == m.seq
		}))
	}
	t.Logf("hot %v, cold %v, warm %v at most", hot, cold, warm)

	if err := m.influx.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, "readyz says that InfluxDB is away", 15*time.Second, func() bool {
		status, _, text := m.ask(t, http.MethodGet, "/readyz", "")
		return status == 200 && strings.Contains(text, `"degraded"`) && !strings.Contains(text, `"influxdb":"ok`)
	})
	var slowest time.Duration
	for range 10 { // a status a second is measured, each: none comes twice within one
		start := time.Now()
		m.report(t)
		slowest = max(slowest, time.Since(start))
		time.Sleep(time.Second)
	}
	h := m.get(t, path+"/history?from="+began.UTC().Format(time.RFC3339))
	if n := len(h["items"].([]any)); h["source"] != "memory" || n < 15 {
		t.Fatalf("history from %v of %d items", h["source"], n)
	}
	if status, _, text := m.ask(t, http.MethodGet, path+"/history?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", ""); status != 503 {
		t.Fatalf("what nobody can tell: %d %s", status, text)
	}
	if err := m.influx.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	caught := within(t, "all is there", time.Minute, func() bool { return len(m.stored(t, began)) >= 15 })
	within(t, "readyz says that InfluxDB is there again", 15*time.Second, ready("ok"))
	t.Logf("while away the slowest status took %v; caught up %v after it was back", slowest, caught)
	if n := len(m.stored(t, began)); n != 15 {
		t.Fatalf("%d measurements in the store, want 15", n)
	}
}

// A tenant that wants its robots watched more closely gets that within seconds, while they drive.
func TestSamplingIsATenantsOwnAndLive(t *testing.T) {
	m := newMeasuredHouse(t)
	rate := func(reports int) float64 { // of what is measured, a second of those that really passed
		from := time.Now()
		for range reports {
			m.report(t)
			time.Sleep(100 * time.Millisecond)
		}
		passed := time.Since(from)
		items, _ := m.get(t, "/api/v1/robots/"+string(m.robot)+"/history?from="+from.UTC().Format(time.RFC3339Nano)+"&limit=500")["items"].([]any)
		return float64(len(items)) / passed.Seconds()
	}
	rate(40)
	usual := rate(60)
	if usual < .4 || usual > 1.6 {
		t.Fatalf("%v measured a second, want one", usual)
	}
	if status, _, text := m.ask(t, http.MethodPatch, "/api/v1/tenants/current/settings", `{"sampling":{"moving_hz":5}}`); status != 200 {
		t.Fatal(text)
	}
	// The rules are looked up every ten seconds, the settings every three. How close it comes to five hangs on how fast the
	// robot is let report.
	var n float64
	within(t, "measured more closely", 45*time.Second, func() bool { n = rate(30); return n > 1.7*usual })
	t.Logf("%.2f measured a second, then %.2f", usual, n)
}
