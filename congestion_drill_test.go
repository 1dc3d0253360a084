//go:build integration

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/influx"
)

// jamDrill is a house with a real InfluxDB and robots that say over REST that they drive, or that they wait for others.
type jamDrill struct {
	*measuredHouse
	warehouse fleet.WarehouseID
	zone      string
	robots    []string

	mu     sync.Mutex
	waits  bool
	second int
}

func newJamDrill(t *testing.T, robots int) *jamDrill {
	t.Helper()
	j := &jamDrill{measuredHouse: newMeasuredHouse(t)}
	list, _ := j.get(t, "/api/v1/warehouses")["items"].([]any)
	first, _ := list[0].(map[string]any)
	id, _ := first["warehouse_id"].(string)
	j.warehouse = fleet.WarehouseID(id)
	for i := range robots {
		r := j.make(t, "/api/v1/robots", fmt.Sprintf(`{"robot_code":"J%d","protocol":"rest","warehouse_id":%q}`, i, id))
		robot, _ := r["robot_id"].(string)
		j.robots = append(j.robots, robot)
	}
	return j
}

// set puts settings of congestion in force; they hold for the site that runs.
func (j *jamDrill) set(t *testing.T, settings string) {
	t.Helper()
	if status, _, text := j.ask(t, http.MethodPatch, "/api/v1/tenants/current/settings", `{"congestion":`+settings+`}`); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
}

func (j *jamDrill) jam(yes bool) {
	j.mu.Lock()
	j.waits = yes
	j.mu.Unlock()
}

// say lets all robots say where they are.
func (j *jamDrill) say(t *testing.T) {
	type pose struct {
		X     float64 `json:"x"`
		Y     float64 `json:"y"`
		Theta float64 `json:"theta"`
	}
	type status struct {
		Robot    string    `json:"robot_id"`
		Boot     string    `json:"boot_id"`
		Seq      int       `json:"seq"`
		At       time.Time `json:"ts"`
		Pose     pose      `json:"pose"`
		Velocity float64   `json:"velocity_mps"`
		Battery  float64   `json:"battery_soc"`
		State    string    `json:"state"`
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.waits {
		j.second++ // who waits stands
	}
	var items []status
	for i, id := range j.robots {
		x := float64(j.second % 38)
		s := status{Robot: id, Boot: "b", Seq: int(time.Now().UnixMilli()), At: time.Now(), Pose: pose{0.5 + x, 0.5 + float64(i%4), 0}, Velocity: 1, Battery: 0.9, State: "MOVING"}
		if j.waits {
			s.Velocity, s.State = 0, "WAITING"
		}
		items = append(items, s)
	}
	body, _ := json.Marshal(map[string]any{"items": items})
	if status, _, text := j.ask(t, http.MethodPost, "/api/v1/robots/status", string(body)); status != 200 && t.Context().Err() == nil {
		t.Errorf("statuses: %d %s", status, text)
	}
}

// speak lets them say so once a second until the drill is over.
func (j *jamDrill) speak(t *testing.T) (stop func()) {
	done := make(chan struct{})
	var speaking sync.WaitGroup
	speaking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				j.say(t)
			}
		}
	})
	return func() { close(done); speaking.Wait() }
}

// spots are the hotspots of now, and the worst of the zones among them.
func (j *jamDrill) worst(t *testing.T) (level int, zone string) {
	t.Helper()
	items, _ := j.get(t, "/api/v1/congestion/hotspots?warehouse_id="+string(j.warehouse))["items"].([]any)
	for _, x := range items {
		m, _ := x.(map[string]any)
		if m["kind"] != "zone" {
			continue
		}
		if l, _ := m["level"].(float64); int(l) > level || zone == "" {
			level = int(l)
			zone, _ = m["id"].(string)
		}
	}
	return level, zone
}

// heard are the levels of a zone that the live channel tells, in their order, each once.
func (j *jamDrill) heard(t *testing.T) (levels func(zone string) []int, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, j.URL+"/api/v1/stream?channel=congestion&warehouse_id="+string(j.warehouse), nil)
	req.Header.Set("Authorization", "Bearer "+j.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	var mu sync.Mutex
	all := map[string][]int{} // by zone: a bin may come in two deltas
	var listening sync.WaitGroup
	listening.Go(func() {
		defer func() { _ = res.Body.Close() }()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			var m struct {
				Events []struct {
					Type string
					Data struct {
						Kind, ID string
						Level    int
					}
				}
			}
			if raw, ok := strings.CutPrefix(lines.Text(), "data: "); !ok || json.Unmarshal([]byte(raw), &m) != nil {
				continue
			}
			mu.Lock()
			for _, e := range m.Events {
				l := all[e.Data.ID]
				if e.Type == "congestion_heatmap_update" && e.Data.Kind == "zone" && (len(l) == 0 || l[len(l)-1] != e.Data.Level) {
					all[e.Data.ID] = append(l, e.Data.Level)
				}
			}
			mu.Unlock()
		}
	})
	return func(zone string) []int { mu.Lock(); defer mu.Unlock(); return slices.Clone(all[zone]) }, func() { cancel(); listening.Wait() }
}

// A jam is seen level by level, up and down, one step at a time, by whoever asks, who listens and in the stores; settings hold
// at once, and what was learned outlives the process.
func TestAJamIsSeenEverywhere(t *testing.T) {
	t.Parallel()
	j := newJamDrill(t, 12)
	j.set(t, `{"l1":{"index":0.2,"percentile":0,"after_s":0},"l2":{"index":0.4,"percentile":0,"after_s":0},"l3":{"index":0.6,"after_s":0},
		"clear_after_s":0,"dwell_s":0,"cooldown_s":0}`)
	began := time.Now().Add(-time.Second)
	stop := j.speak(t)
	within(t, "scores of a floor that flows", time.Minute, func() bool { _, zone := j.worst(t); return zone != "" })
	levels, quiet := j.heard(t)
	defer quiet()
	j.jam(true)
	reached := func(want int) func() bool {
		return func() bool { level, zone := j.worst(t); j.zone = zone; return level == want }
	}
	within(t, "level 3", 3*time.Minute, reached(3))
	jammed := j.zone
	j.jam(false)
	within(t, "no level", 5*time.Minute, reached(0))
	within(t, "the live channel's last word", time.Minute, func() bool { got := levels(jammed); return len(got) > 0 && got[len(got)-1] == 0 })
	told := levels(jammed)
	for i := range told[1:] {
		if step := told[i+1] - told[i]; step != 1 && step != -1 {
			t.Errorf("the live channel told levels %v, want one step at a time", told)
			break
		}
	}
	if slices.Max(told) != 3 {
		t.Errorf("the live channel told levels %v, want 3 among them", told)
	}
	store, err := influx.Open(t.Context(), influx.Options{URL: j.influx.URL(), Org: j.influx.Org(), Token: j.influx.Token(), Bucket: "tiers"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	within(t, "the jam in InfluxDB", 20*time.Second, func() bool {
		points, err := store.CongestionHistory(t.Context(), j.tenant, congestion.OfZone, jammed, fact.HistoryQuery{
			From: began, To: time.Now().Add(time.Minute), Columns: []fact.Column{{Field: "level", Agg: fact.Max}, {Field: "confidence", Agg: fact.Last}}, Limit: 500,
		})
		return err == nil && slices.ContainsFunc(points, func(p fact.HistoryPoint) bool { return p.Values[0] == 3.0 && p.Values[1] != nil })
	})
	history := j.get(t, "/api/v1/congestion/zones/"+jammed+"/history?every=10m&fields=level.max,congestion_index.max&from="+began.UTC().Format(time.RFC3339))
	if items, _ := history["items"].([]any); len(items) == 0 || !strings.Contains(fmt.Sprint(items), "level.max:3") {
		t.Errorf("history %v", history)
	}
	stop()
	if took := j.terminate(t); took > 30*time.Second {
		t.Errorf("it took %v to end", took)
	}
	var bins int
	if err := j.db.QueryRow(t.Context(), "SELECT jsonb_array_length(learned -> 'zones' -> $1 -> 'diagram') FROM congestion_diagrams", jammed).Scan(&bins); err != nil || bins == 0 {
		t.Fatalf("%d bins of the diagram are kept, %v", bins, err)
	}
	j.launch(t, "gateway,engine")
	j.ready(t)
	defer j.speak(t)()
	within(t, "the diagram after a restart", time.Minute, func() bool {
		status, _, text := j.ask(t, http.MethodGet, "/api/v1/congestion/zones/"+jammed+"/diagram", "")
		if status != 200 {
			return false
		}
		points, _ := objectOf(t, text)["points"].([]any)
		return len(points) >= bins
	})
}
