//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/deploy/stack/stacktest"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/kafka"
	"starling/persistence/postgres"
)

// jammedHouse is a service with a real Kafka and robots that say over REST that they drive, and then that they wait.
type jammedHouse struct {
	*service
	kafka  kafka.Options
	shard  fleet.Shard
	robots []string
	second int
}

func newJammedHouse(t *testing.T, robots int) *jammedHouse {
	t.Helper()
	j := &jammedHouse{service: newService(t, 5*time.Second)}
	j.kafka = kafka.Options{Brokers: stacktest.Kafka(t).Brokers(), Prefix: uuid.NewString()[:8] + "."}
	j.env = append(j.env, "KAFKA_BROKERS="+strings.Join(j.kafka.Brokers, ","), "KAFKA_TOPIC_PREFIX="+j.kafka.Prefix)
	j.launch(t, "gateway,engine,worker")
	j.ready(t)
	j.admit(t)
	create := func(path, body, id string) string {
		status, _, text := j.ask(t, http.MethodPost, path, body)
		if status != 201 {
			t.Fatalf("POST %s: %d %s", path, status, text)
		}
		s, _ := objectOf(t, text)[id].(string)
		return s
	}
	j.shard.Warehouse = fleet.WarehouseID(create("/api/v1/warehouses", `{"warehouse_code":"W1","name":"One"}`, "warehouse_id"))
	body, _ := json.Marshal(map[string]any{
		"warehouse_id": j.shard.Warehouse, "name": "floor", "format": "movingai",
		"content": "type octile\nheight 20\nwidth 20\nmap\n" + strings.Repeat(strings.Repeat(".", 20)+"\n", 20),
	})
	floor := create("/api/v1/maps", string(body), "map_id")
	if status, _, text := j.ask(t, http.MethodPost, "/api/v1/maps/"+floor+"/versions/1/activate", ""); status != 200 {
		t.Fatal(text)
	}
	_, _, text := j.ask(t, http.MethodGet, "/api/v1/tenants/current", "")
	tenant, _ := objectOf(t, text)["tenant_id"].(string)
	j.shard.Tenant = fleet.TenantID(tenant)
	for i := range robots {
		j.robots = append(j.robots, create("/api/v1/robots", fmt.Sprintf(`{"robot_code":"R%d","protocol":"rest","warehouse_id":%q}`, i, j.shard.Warehouse), "robot_id"))
	}
	j.topic(t)
	return j
}

// topic waits until there is a topic for statuses: what is measured before is not on record.
func (j *jammedHouse) topic(t *testing.T) {
	t.Helper()
	within(t, "a topic for statuses", time.Minute, func() bool {
		_, err := kafka.Replay(t.Context(), j.kafka, kafka.ReplayOptions{
			Topic: kafka.TopicRobotStatus, From: time.Now().Add(-time.Hour), To: time.Now(), Emit: func(context.Context, *kafka.Message) error { return nil },
		})
		return err == nil
	})
}

// say lets all robots say where they are: they drive to and fro in rows of five, or stand and wait.
func (j *jammedHouse) say(t *testing.T, waiting int) {
	t.Helper()
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
	j.second++
	items := make([]status, len(j.robots))
	for i, id := range j.robots {
		s := &items[i]
		*s = status{Robot: id, Boot: "b", Seq: j.second, At: time.Now().UTC().Truncate(time.Millisecond), Battery: 0.5, State: "MOVING", Velocity: 1}
		s.Pose = pose{X: 0.5 + float64(i%10), Y: 0.5 + float64(i/10)}
		if i < waiting {
			s.State, s.Velocity = "WAITING", 0
		} else {
			s.Pose.X += float64(j.second % 2)
		}
	}
	body, err := json.Marshal(map[string]any{"items": items})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, text := j.ask(t, http.MethodPost, "/api/v1/robots/status", string(body)); code != 200 || strings.Contains(text, `"accepted":false`) {
		t.Fatalf("statuses: %d %s", code, text)
	}
}

// window reads what a topic has of the warehouse.
func window[T any](t *testing.T, j *jammedHouse, topic string, read func(*kafka.Message) (T, error), of func(T) fleet.Shard) (out []T) {
	t.Helper()
	_, err := kafka.Replay(t.Context(), j.kafka, kafka.ReplayOptions{
		Topic: topic, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour),
		Emit: func(_ context.Context, m *kafka.Message) error {
			x, err := read(m)
			if err == nil && of(x) == j.shard {
				out = append(out, x)
			}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A consumer that knows robot.status alone comes to the figures and levels that congestion.metrics told, to the last digit.
func TestStatusesOfKafkaGiveTheSameScoresToTheLastDigit(t *testing.T) {
	t.Parallel()
	j := newJammedHouse(t, 60)
	told := func() []fact.Congestion {
		return window(t, j, kafka.TopicCongestion, kafka.Congestion, func(c fact.Congestion) fleet.Shard { return c.Shard })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 80*time.Second; <-tick.C {
		waiting := 0
		if time.Since(began) > 30*time.Second {
			waiting = 50
		}
		j.say(t, waiting)
	}
	var want []fact.Congestion
	within(t, "scores of all that was said", time.Minute, func() bool {
		want = told()
		return len(want) > 0 && slices.MaxFunc(want, func(a, b fact.Congestion) int { return a.At.Compare(b.At) }).At.After(time.Now().Add(-30*time.Second))
	})

	store, err := postgres.Open(t.Context(), postgres.Options{URL: j.setting("DATABASE_URL"), MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	house, err := store.LoadWarehouse(t.Context(), j.shard)
	if err != nil {
		t.Fatal(err)
	}
	var samples []congestion.Sample
	for _, s := range window(t, j, kafka.TopicRobotStatus, kafka.Status, func(s fact.Status) fleet.Shard { return s.Shard }) {
		var m congestion.Sample
		fact.SampleOf(&s, &m)
		samples = append(samples, m)
	}
	settings := congestion.Usual()
	settings.Version = want[0].Version
	type key struct {
		congestion.Subject
		at int64
	}
	got := map[key]congestion.Score{}
	counts := congestion.Replay(congestion.SiteSpec{Graph: house.Graph, Settings: settings}, nil, samples, func(_ time.Time, scores []congestion.Score) {
		for _, sc := range scores {
			if sc.Of == congestion.OfWarehouse {
				sc.ID = string(j.shard.Warehouse) // as it is told
			}
			got[key{sc.Subject, sc.At.UnixMilli()}] = sc
		}
	})
	if counts.Late+counts.Early+counts.Dropped > 0 || len(samples) < 60*20 {
		t.Fatalf("%d statuses, counted %+v", len(samples), counts)
	}
	if _, _, text := j.metrics(t); strings.Contains(text, `starling_congestion_statuses{how="late"}`) && !strings.Contains(text, `starling_congestion_statuses{how="late"} 0`) {
		t.Fatal("the machine is so busy that statuses came to their scorer more than three seconds after they were received")
	}
	level, compared := 0, 0
	for _, c := range want {
		sc, there := got[key{c.Subject, c.At.UnixMilli()}]
		if !there {
			continue // after the last status
		}
		sc.At = c.At
		if compared++; sc != c.Score {
			t.Fatalf("recomputed %+v\ntold       %+v", sc, c.Score)
		}
		level = max(level, c.Level)
	}
	if compared < 5*len(house.Graph.Zones) || level < 1 {
		t.Errorf("%d scores compared, %d told, level %d at most: that proves little", compared, len(want), level)
	}
	t.Logf("%d statuses, %d scores equal, level %d", len(samples), compared, level)
}

func (j *jammedHouse) metrics(t *testing.T) (int, http.Header, string) {
	t.Helper()
	return j.ask(t, http.MethodGet, "/metrics", "")
}
