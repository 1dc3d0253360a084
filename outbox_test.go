//go:build integration

package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/kafka"
	"starling/persistence/outbox"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

func TestFactsReachKafkaInOrderByTwoWorkersAndTheirMirrorToo(t *testing.T) {
	t.Parallel()
	r := newOutboxRig(t, stacktest.Kafka(t).Brokers(), roleWorker, func(c *Config) { c.KafkaJSON = true })
	r.process(t, roleWorker)
	const tasks, steps = 200, 9
	rounds := r.units(tasks, steps, `{"dropoff":"7"}`)
	for _, round := range rounds {
		r.append(t, round)
	}
	records, doubles := r.read(t, "task.events", tasks*(steps+1))
	inOrder(t, records)
	t.Logf("%d doubles", doubles) // a shard that changes hands in the middle of a batch may make some, as may a machine that stalls
	id := string(rounds[0][0].Facts[0].ID)
	for _, rec := range records {
		if headerOf(rec, "ce_id") != id {
			continue
		}
		for name, want := range map[string]string{
			"ce_specversion": "1.0", "ce_type": "starling.task.created", "ce_source": "/tenants/" + string(r.shard.Tenant) + "/warehouses/" + string(r.shard.Warehouse),
			"content-type": "application/protobuf", "tenant_id": string(r.shard.Tenant), "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		} {
			if got := headerOf(rec, name); got != want {
				t.Errorf("header %s is %q, want %q", name, got, want)
			}
		}
	}
	mirrors, _ := r.read(t, "task.events.json", tasks*(steps+1))
	if !strings.Contains(string(mirrors[0].Value), `"task_created"`) || headerOf(mirrors[0], "content-type") != "application/json" {
		t.Errorf("mirror %s", mirrors[0].Value)
	}
	r.empty(t)
}

// A process that only records tells the worker in another one; the sweep, which would find the fact too, is not needed.
func TestAWorkerHearsOfWhatAnotherProcessRecords(t *testing.T) {
	t.Parallel()
	r := newOutboxRig(t, stacktest.Kafka(t).Brokers(), roleEngine, nil)
	r.topics(t)
	rows, err := r.writer.store.OpenOutbox(t.Context(), pumpConns)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	client, err := kafka.Open(t.Context(), r.writer.kafkaOptions(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	heard := make(chan uint16, 1000)
	pumps, err := outbox.Start(t.Context(), outbox.Options{
		Store: listening{outboxStore{rows}, heard}, Locks: rows.NewLocks(), Sink: outboxSink{client}, SweepEvery: time.Hour, Topics: []string{"task.events"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pumps.Stop(context.WithoutCancel(t.Context())) }()
	<-heard // it has begun to listen
	arrived := r.follow(t, "task.events")
	for _, u := range r.units(20, 0, `{"dropoff":"7"}`)[0] {
		r.append(t, []fact.Unit{u})
		select {
		case <-arrived:
		case <-time.After(30 * time.Second):
			t.Fatal("nobody has sent the fact")
		}
	}
}

// listening tells what its listener hears, after that one has.
type listening struct {
	outboxStore
	heard chan<- uint16
}

func (l listening) Listen(ctx context.Context, heard func(uint16)) {
	l.outboxStore.Listen(ctx, func(mask uint16) { heard(mask); l.heard <- mask })
}

// A worker whose session is cut off, again and again, in the middle of its work: another one goes on, in order.
func TestWorkersWhoseSessionsAreCutLoseAndReorderNothing(t *testing.T) {
	t.Parallel()
	r := newOutboxRig(t, stacktest.Kafka(t).Brokers(), roleWorker, nil)
	r.process(t, roleWorker)
	const tasks, steps = 300, 5
	admin, err := pgx.Connect(t.Context(), r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	cuts := 0
	done.Go(func() {
		for ctx.Err() == nil {
			var n int
			// Whoever holds locks, claims or marks.
			if err := admin.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND query ~ '^-- name: (ClaimOutbox|MarkSent|TryLock|CountLockers|PendingOutbox)'`).Scan(&n); err == nil {
				cuts += n
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	for _, round := range r.units(tasks, steps, `{"dropoff":"7"}`) {
		r.append(t, round)
	}
	time.Sleep(time.Second)
	cancel()
	done.Wait()
	records, doubles := r.read(t, "task.events", tasks*(steps+1))
	inOrder(t, records)
	r.empty(t)
	if cuts == 0 {
		t.Error("no session was cut")
	}
	t.Logf("%d sessions cut, %d doubles", cuts, doubles)
}

// A fact that the brokers refuse: its task waits, others go on, people send it again once they take it.
func TestARefusedFactIsADeadLetterUntilSomebodyDecides(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	r := newOutboxRig(t, cluster.ListenAddrs(), roleEngine, nil)
	r.topics(t)
	rounds := r.units(2, 2, `{"note":"`+strings.Repeat("x", 3000)+`"}`)
	var poisoned sync.Map
	poisoned.Store(string(rounds[0][0].Facts[0].ID), true)
	rows, err := r.writer.store.OpenOutbox(t.Context(), pumpConns)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	reg := prometheus.NewRegistry()
	pumps, err := outbox.Start(t.Context(), outbox.Options{
		Store: outboxStore{rows}, Locks: rows.NewLocks(), Sink: picky{outboxSink{r.writer.outbox.kafka}, &poisoned}, Attempts: 3,
		MinRetry: 10 * time.Millisecond, SweepEvery: 50 * time.Millisecond, Registerer: reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pumps.Stop(context.WithoutCancel(t.Context())) }()
	for _, round := range rounds {
		r.append(t, round)
	}
	others, _ := r.read(t, "task.events", 3)
	inOrder(t, others)
	dead, _ := r.read(t, "task.events.dlq", 1)
	if !strings.Contains(headerOf(dead[0], "dead_cause"), "poison") || headerOf(dead[0], "dead_attempts") != "3" || len(dead[0].Value) == 0 {
		t.Errorf("on the dead letters' topic %v", dead[0].Headers)
	}
	letters := r.writer.store.DeadLetters
	var l fact.DeadLetter
	eventually(t, "the later facts are held", func() bool {
		list, err := letters.ListDeadLetters(t.Context(), r.shard.Tenant, fact.LetterFilter{State: fact.LetterOpen}, fact.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 {
			return false
		}
		l = list.Items[0]
		return l.Waiting == 2
	})
	if l.Type != "task.created" || l.Attempts != 3 || !strings.Contains(l.Cause, "poison") || l.AggregateID != rounds[0][0].Facts[0].Subject {
		t.Errorf("letter %+v", l)
	}
	poisoned.Clear()
	user := fleet.UserID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
	if _, err := letters.AskDeadLetter(t.Context(), r.shard.Tenant, l.ID, fact.LetterRetrying, user); err != nil {
		t.Fatal(err)
	}
	all, _ := r.read(t, "task.events", 6)
	inOrder(t, all)
	r.empty(t)
	eventually(t, "the letter is dealt with", func() bool {
		l, err = letters.GetDeadLetter(t.Context(), r.shard.Tenant, l.ID)
		return err == nil && l.State == fact.LetterRetried && l.HandledBy == user
	})
	if _, err := letters.AskDeadLetter(t.Context(), r.shard.Tenant, l.ID, fact.LetterDiscarding, user); err == nil {
		t.Error("a letter that was sent can be discarded")
	}
	var env eventsv1.Envelope
	if err := env.UnmarshalVT(l.Payload); err != nil || env.EventId != string(l.ID) {
		t.Errorf("payload of %v, %v", env.EventId, err)
	}
}

// picky refuses some facts, as brokers do that were told to.
type picky struct {
	outbox.Sink
	poisoned *sync.Map
}

func (p picky) Publish(ctx context.Context, messages []outbox.Message) []error {
	errs := make([]error, len(messages))
	for i := range messages {
		id := ""
		for _, h := range messages[i].Headers {
			if h.Key == "ce_id" {
				id = h.Value
			}
		}
		if _, bad := p.poisoned.Load(id); bad && !strings.HasSuffix(messages[i].Topic, ".dlq") {
			errs[i] = &refusal{}
			continue
		}
		errs[i] = p.Sink.Publish(ctx, messages[i:i+1])[0]
	}
	return errs
}

type refusal struct{}

func (*refusal) Error() string { return "poison" }
func (*refusal) Unwrap() error { return outbox.ErrRefused }

// Brokers that are away at the start, and again later: the process serves, facts wait, and arrive when they are back.
func TestBrokersThatComeLateGetEverything(t *testing.T) {
	t.Parallel()
	k := stacktest.OwnKafka(t)
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	r := newOutboxRig(t, k.Brokers(), roleWorker, nil)
	const tasks, steps = 50, 3
	for _, round := range r.units(tasks, steps, `{"dropoff":"7"}`) {
		r.append(t, round)
	}
	if checks := r.writer.kafkaChecks(); len(checks) != 1 || checks[0].Critical || checks[0].Probe(t.Context()) == nil {
		t.Error("the state of health does not tell that Kafka is away, or takes it too seriously")
	}
	if err := k.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	records, _ := r.read(t, "task.events", tasks*(steps+1))
	inOrder(t, records)
	r.empty(t)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
