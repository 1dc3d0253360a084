//go:build integration

package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/kafka"
	"starling/persistence/outbox"
	"starling/persistence/postgres"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// outboxRig is a database, brokers, and whoever writes facts and sends them.
type outboxRig struct {
	url     string
	config  Config
	writer  *app // records, and tells
	metrics []*prometheus.Registry
	shard   fleet.Shard
}

// newOutboxRig makes an empty database and topics of its own. role is the writer's: worker sends what it writes itself.
func newOutboxRig(t testing.TB, brokers []string, role string, change func(*Config)) *outboxRig {
	t.Helper()
	r := &outboxRig{url: stacktest.Database(t)}
	if _, err := postgres.Migrate(t.Context(), r.url, "up"); err != nil {
		t.Fatal(err)
	}
	r.config = Config{KafkaBrokers: brokers, KafkaPrefix: uuid.NewString()[:8] + ".", ServiceName: "rig", DBMaxConns: 4}
	if change != nil {
		change(&r.config)
	}
	r.writer = r.process(t, role)
	r.shard = fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	now := time.Now()
	if err := r.writer.store.Tenants.CreateTenant(t.Context(), fact.Tenant{
		ID: r.shard.Tenant, Slug: "t-" + string(r.shard.Tenant[:30]), Name: "Tenant", CreatedAt: now,
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.writer.store.Warehouses.CreateWarehouse(t.Context(), fact.Warehouse{
		ID: r.shard.Warehouse, Tenant: r.shard.Tenant, Code: "w1", Name: "Warehouse", Timezone: "UTC", CreatedAt: now,
	}, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// process starts what a process of the role has of the outbox.
func (r *outboxRig) process(t testing.TB, role string) *app {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(logWriter{t}, nil))
	}
	a := &app{wiring: wiring{Config: r.config, Log: log, Roles: []string{role}}}
	var err error
	if a.store, err = postgres.Open(context.Background(), postgres.Options{
		URL: r.url, MaxConns: r.config.DBMaxConns, Outbox: a.factsCommitted, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	a.forget = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := a.stopOutbox(ctx); err != nil {
				t.Error(err)
			}
			a.store.Close()
		})
	}
	t.Cleanup(a.forget)
	registry := prometheus.NewRegistry()
	r.metrics = append(r.metrics, registry)
	if err := a.startOutbox(context.Background(), registry); err != nil {
		t.Fatal(err)
	}
	return a
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// topics makes the topics, so that what is measured is not their making.
func (r *outboxRig) topics(t testing.TB) {
	t.Helper()
	if err := r.writer.outbox.kafka.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// units are those of n tasks: each is created and then does so many steps, in rounds.
func (r *outboxRig) units(n, steps int, payload string) [][]fact.Unit {
	specs := make([]task.Spec, n)
	rounds := make([][]fact.Unit, steps+1)
	now := time.Now()
	one := func(s *task.Spec, version int64, e task.Event) fact.Unit {
		return fact.Unit{Shard: r.shard, Facts: []fact.Fact{{
			ID: fleet.EventID(uuid.NewString()), At: now, By: fleet.Actor{Part: "test"}, Subject: string(s.ID), Version: version, Event: e,
			Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}}}
	}
	for i := range specs {
		specs[i] = task.Spec{
			ID: fleet.TaskID(uuid.NewString()), Shard: r.shard, Type: fleet.GoTo, Payload: []byte(payload), Errands: []fleet.Vertex{7},
			Places: []string{"7"}, Source: "api", CreatedAt: now,
		}
		rounds[0] = append(rounds[0], one(&specs[i], 1, task.Created{Spec: specs[i]}))
		for s := range steps {
			rounds[s+1] = append(rounds[s+1], one(&specs[i], int64(s+2), task.ErrandReached{Errand: s}))
		}
	}
	return rounds
}

func (r *outboxRig) append(t testing.TB, units []fact.Unit) {
	t.Helper()
	for from := 0; from < len(units); from += 500 {
		for i, err := range r.writer.store.Append(t.Context(), units[from:min(from+500, len(units))]) {
			if err != nil {
				t.Fatalf("unit %d: %v", from+i, err)
			}
		}
	}
}

// read takes n facts of a topic that have not been seen before, as a reader that drops doubles does, and what there is behind
// them; doubles are counted.
func (r *outboxRig) read(t testing.TB, topic string, n int) (records []*kgo.Record, doubles int) {
	t.Helper()
	o := kafka.Options{Brokers: r.config.KafkaBrokers, Prefix: r.config.KafkaPrefix}
	c, err := kafka.NewClient(o, kgo.ConsumeTopics(o.Name(topic)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen, at := map[string]bool{}, map[int32]int64{}
	for end := (kadm.ListedOffsets)(nil); len(records) < n || !reached(at, end); {
		if len(records) >= n && end == nil {
			if end, err = kadm.NewClient(c).ListEndOffsets(ctx, o.Name(topic)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d facts of %s", len(records), n, topic)
		}
		f.EachRecord(func(rec *kgo.Record) {
			at[rec.Partition] = rec.Offset + 1
			if id := headerOf(rec, "ce_id"); !seen[id] {
				seen[id] = true
				records = append(records, rec)
			} else {
				doubles++
			}
		})
	}
	return records, doubles
}

// reached says whether a reader is where the topic ends; false: that is not known.
func reached(at map[int32]int64, end kadm.ListedOffsets) bool {
	done := end != nil
	end.Each(func(l kadm.ListedOffset) { done = done && at[l.Partition] >= l.Offset })
	return done
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// inOrder fails where a task's facts do not come as 1, 2, 3, …
func inOrder(t testing.TB, records []*kgo.Record) {
	t.Helper()
	last := map[string]int64{}
	for _, rec := range records {
		var env eventsv1.Envelope
		if err := env.UnmarshalVT(rec.Value); err != nil {
			t.Fatal(err)
		}
		if env.Version != last[env.AggregateId]+1 || string(rec.Key) != env.AggregateId {
			t.Fatalf("task %s: version %d after %d, key %s", env.AggregateId, env.Version, last[env.AggregateId], rec.Key)
		}
		last[env.AggregateId] = env.Version
	}
}

// empty waits until nothing of the outbox is pending.
func (r *outboxRig) empty(t testing.TB) {
	t.Helper()
	o, err := r.writer.store.OpenOutbox(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for end := time.Now().Add(2 * time.Minute); ; {
		pending, _, err := o.Pending(t.Context())
		if err == nil && len(pending) == 0 {
			return
		}
		if time.Now().After(end) {
			for _, m := range r.metrics {
				families, _ := m.Gather()
				for _, f := range families {
					if f.GetType().String() != "HISTOGRAM" {
						t.Log(f)
					}
				}
			}
			t.Fatalf("still pending: %v, %v", pending, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var _ outbox.Store = outboxStore{}

// follow tells of each record of a topic that comes from now on.
func (r *outboxRig) follow(t testing.TB, topic string) <-chan struct{} {
	t.Helper()
	o := kafka.Options{Brokers: r.config.KafkaBrokers, Prefix: r.config.KafkaPrefix}
	c, err := kafka.NewClient(o, kgo.ConsumeTopics(o.Name(topic)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan struct{}, 1000)
	go func() { // ends with the client
		for {
			f := c.PollFetches(context.Background())
			if f.IsClientClosed() {
				return
			}
			f.EachRecord(func(*kgo.Record) { out <- struct{}{} })
		}
	}()
	t.Cleanup(c.Close)
	return out
}
