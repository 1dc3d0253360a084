package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/kafka"
)

// steps are how many facts a task has: created, and three errands reached.
const steps = 4

// units are the facts of n tasks, in the order in which they happen.
func (h *house) units(n int) []fact.Unit {
	now := time.Now().UTC()
	out := make([]fact.Unit, 0, n*steps)
	specs := make([]task.Spec, n)
	one := func(s *task.Spec, version int64, e task.Event) fact.Unit {
		return fact.Unit{Shard: h.shard, Facts: []fact.Fact{{
			ID: fleet.EventID(uuid.NewString()), At: now, By: fleet.Actor{Part: "bench"}, Subject: string(s.ID), Version: version, Event: e,
			Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}}}
	}
	for i := range specs {
		specs[i] = task.Spec{
			ID: fleet.TaskID(uuid.NewString()), Shard: h.shard, Type: fleet.Transport, Payload: []byte(`{"pickup":"dock-1","dropoff":"shelf-7"}`),
			Errands: []fleet.Vertex{1, 7}, Places: []string{"dock-1", "shelf-7"}, Source: "api", CreatedAt: now,
		}
	}
	for step := range steps {
		for i := range specs {
			if step == 0 {
				out = append(out, one(&specs[i], 1, task.Created{Spec: specs[i]}))
			} else {
				out = append(out, one(&specs[i], int64(step+1), task.ErrandReached{Errand: step - 1}))
			}
		}
	}
	return out
}

// pending is how many facts wait in the outbox.
func (h *house) pending(ctx context.Context) (n int, err error) {
	out, err := h.pg.Exec(ctx, "starling", "SELECT count(*) FROM outbox_events WHERE status = 'PENDING'")
	if err == nil {
		_, err = fmt.Sscan(strings.TrimSpace(out), &n)
	}
	return n, err
}

func (h *house) drained(ctx context.Context) error {
	for {
		n, err := h.pending(ctx)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// backlog lets a worker send what has gathered while there was none.
func (h *house) backlog(ctx context.Context, to io.Writer, s settings) error {
	if err := h.startWorker(ctx); err != nil { // the robots' facts go, and topics come
		return err
	}
	if err := h.drained(ctx); err != nil {
		return err
	}
	h.stopWorker()
	before, began := h.usage(), time.Now()
	if err := h.append(ctx, h.units(s.facts/steps)); err != nil {
		return err
	}
	h.row(to, fmt.Sprintf("facts written, groups of %d", group), s.facts, time.Since(began), before, h.usage(), "outbox rows and events, nobody sends")
	before = h.usage()
	if err := h.startWorker(ctx); err != nil {
		return err
	}
	if err := h.drained(ctx); err != nil {
		return err
	}
	after := h.usage()
	out, err := h.pg.Exec(ctx, "starling", fmt.Sprintf("SELECT extract(epoch FROM max(sent_at) - min(sent_at)) FROM (SELECT sent_at FROM outbox_events ORDER BY sent_at DESC LIMIT %d) x", s.facts))
	if err != nil {
		return err
	}
	var seconds float64 // from the first marks to the last
	if _, err := fmt.Sscan(strings.TrimSpace(out), &seconds); err != nil {
		return err
	}
	h.row(to, "facts sent, a backlog", s.facts, time.Duration(seconds*float64(time.Second)), before, after, fmt.Sprintf("%d facts; the worker's start is in its CPU", s.facts))
	return nil
}

// sustained writes as fast as it can while the worker sends, and holds back where more than two seconds' worth waits.
func (h *house) sustained(ctx context.Context, to io.Writer, s settings) error {
	before, began := h.usage(), time.Now()
	written, most := 0, 0
	for time.Since(began) < time.Duration(s.seconds)*time.Second {
		if err := h.append(ctx, h.units(1024)); err != nil {
			return err
		}
		written += 1024 * steps
		for {
			n, err := h.pending(ctx)
			if err != nil {
				return err
			}
			most = max(most, n)
			if n < 10_000 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err := h.drained(ctx); err != nil {
		return err
	}
	h.row(to, "facts written and sent at the same time", written, time.Since(began), before, h.usage(), fmt.Sprintf("at most %d waited", most))
	return nil
}

// oneJobEach sends facts as one job in Redis for each would: enqueued by the writer, taken by a handler that publishes one
// record and waits for the brokers.
func (h *house) oneJobEach(ctx context.Context, to io.Writer, s settings) error {
	h.stopWorker()
	uri, err := asynq.ParseRedisURI(h.redis.URL())
	if err != nil {
		return err
	}
	n := max(1000, s.facts/20)
	client := asynq.NewClient(uri)
	defer func() { _ = client.Close() }()
	producer, err := kafka.Open(ctx, kafka.Options{Brokers: h.kafka.Brokers()})
	if err != nil {
		return err
	}
	defer producer.Close()
	payload, err := json.Marshal(map[string]string{"event_id": uuid.NewString(), "body": strings.Repeat("x", 400)})
	if err != nil {
		return err
	}
	before, began := h.usage(), time.Now()
	for i := range n {
		if _, err := client.EnqueueContext(ctx, asynq.NewTask("fact", payload, asynq.TaskID(fmt.Sprint("bench-", i)))); err != nil {
			return err
		}
	}
	var done atomic.Int64
	server := asynq.NewServer(uri, asynq.Config{Concurrency: 20, LogLevel: asynq.FatalLevel})
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		err := producer.Publish(ctx, []kafka.Record{{Topic: kafka.TopicTaskEvents, Key: t.ResultWriter().TaskID(), Value: t.Payload()}})[0]
		if err == nil {
			done.Add(1)
		}
		return err
	})); err != nil {
		return err
	}
	for int(done.Load()) < n && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(began)
	after := h.usage()
	server.Shutdown()
	h.row(to, "for comparison: one job for each fact", n, took, before, after, fmt.Sprintf("%d facts, 20 at a time, in one process with the bench", n))
	return ctx.Err()
}
