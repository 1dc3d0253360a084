package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/gateway/rest"
	"starling/persistence/jobs"
	"starling/persistence/kafka"
	"starling/persistence/outbox"
	"starling/persistence/postgres"
)

// outboxParts is what this process has of the way from the outbox to Kafka; without KAFKA_BROKERS nothing.
type outboxParts struct {
	kafka *kafka.Client
	bell  *postgres.Bell
	rows  *postgres.Outbox
	pumps *outbox.Pumps // workers alone
}

// pumpConns are the connections of a worker's pumps, besides that of its locks and its ear.
const pumpConns = 6

// kafkaOptions are the same for all parts of a process that speak with Kafka.
func (a *app) kafkaOptions(registry prometheus.Registerer) kafka.Options {
	o := a.Config.kafkaOptions()
	o.Log, o.Registerer = a.Log, registry
	return o
}

// kafkaOptions say where Kafka is and how it is spoken with.
func (c *Config) kafkaOptions() kafka.Options {
	return kafka.Options{
		Brokers: c.KafkaBrokers, TLS: c.KafkaTLS, CAFile: c.KafkaCAFile, User: c.KafkaUser, Password: c.KafkaPassword.Reveal(), Prefix: c.KafkaPrefix, ClientID: c.ServiceName, Replication: c.KafkaReplication, JSON: c.KafkaJSON,
	}
}

// startOutbox starts the pumps of a worker, and what an engine tells them with. It waits for no server.
func (a *app) startOutbox(ctx context.Context, registry prometheus.Registerer) error {
	worker := slices.Contains(a.Roles, roleWorker)
	if len(a.Config.KafkaBrokers) == 0 || !worker && !slices.Contains(a.Roles, roleEngine) {
		return nil
	}
	p := &a.outbox
	var err error
	if p.kafka, err = kafka.Open(ctx, a.kafkaOptions(registry)); err != nil {
		return err
	}
	p.bell = a.store.NewBell(ctx)
	if !worker {
		return nil
	}
	if p.rows, err = a.store.OpenOutbox(ctx, pumpConns); err != nil {
		return err
	}
	var topics []string
	for _, t := range kafka.Topics(false) {
		if t.Facts {
			topics = append(topics, t.Name)
		}
	}
	p.pumps, err = outbox.Start(ctx, outbox.Options{
		Store: outboxStore{p.rows}, Locks: p.rows.NewLocks(), Sink: outboxSink{p.kafka}, Shards: postgres.OutboxShards, Topics: topics,
		Mirror: a.Config.KafkaJSON, Ring: p.bell.Ring, Log: a.Log, Registerer: registry,
	})
	return err
}

// stopOutbox ends the pumps: what is with the brokers is marked, the rest stays in the outbox.
func (a *app) stopOutbox(ctx context.Context) error {
	p := &a.outbox
	var err error
	if p.pumps != nil {
		err = p.pumps.Stop(ctx)
	}
	if p.rows != nil {
		p.rows.Close()
	}
	if p.bell != nil {
		p.bell.Stop()
	}
	if p.kafka != nil {
		p.kafka.Close()
	}
	return err
}

// factsCommitted hears of each commit that left facts in the outbox: this process's pumps look at once, those of others are
// told, and a job sees to it that it happens.
func (a *app) factsCommitted(shards uint16) {
	p := &a.outbox
	switch {
	case p.pumps != nil:
		p.pumps.WakeAll(shards)
	case p.bell != nil:
		p.bell.Ring(shards)
	default:
		return
	}
	if runner := a.wakes.Load(); runner != nil {
		for i := range postgres.OutboxShards {
			if shards&(1<<i) != 0 {
				runner.Wake(i)
			}
		}
	}
}

// pumps are what wake-ups are for; nil = this process pumps nothing.
func (a *app) pumps() jobs.Outbox {
	if a.outbox.pumps == nil {
		return nil
	}
	return a.outbox.pumps
}

// kafkaChecks are what the state of health tells of Kafka: away, it degrades the process and no more.
func (a *app) kafkaChecks() []rest.Check {
	if a.outbox.kafka == nil {
		return nil
	}
	return []rest.Check{{Name: "kafka", Probe: a.outbox.kafka.Ping}}
}

// outboxSink is Kafka as pumps want it.
type outboxSink struct{ client *kafka.Client }

// Publish implements outbox.Sink.
func (s outboxSink) Publish(ctx context.Context, messages []outbox.Message) []error {
	records := make([]kafka.Record, len(messages))
	for i := range messages {
		m := &messages[i]
		headers := make([]kafka.Header, len(m.Headers))
		for j, h := range m.Headers {
			headers[j] = kafka.Header{Key: h.Key, Value: []byte(h.Value)}
		}
		records[i] = kafka.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: headers, TenantID: m.TenantID}
	}
	errs := s.client.Publish(ctx, records)
	for i, err := range errs {
		if errors.Is(err, kafka.ErrRefused) {
			errs[i] = fmt.Errorf("%w: %w", outbox.ErrRefused, err)
		}
	}
	return errs
}

// Ping implements outbox.Sink.
func (s outboxSink) Ping(ctx context.Context) error { return s.client.Ping(ctx) }

// outboxStore is the store as pumps want it.
type outboxStore struct{ *postgres.Outbox }

func rowsOf(events []outbox.Event) []postgres.OutboxRow {
	rows := make([]postgres.OutboxRow, len(events))
	for i := range events {
		rows[i] = rowOf(&events[i])
	}
	return rows
}

func rowOf(e *outbox.Event) postgres.OutboxRow {
	return postgres.OutboxRow{
		EventID: e.EventID, TenantID: e.TenantID, AggregateType: e.AggregateType, AggregateID: e.AggregateID, Topic: e.Topic, Key: e.Key,
		Payload: e.Payload, Traceparent: e.Traceparent, Attempts: e.Attempts, CreatedAt: e.CreatedAt, Parked: e.Parked,
	}
}

// Claim implements outbox.Store.
func (s outboxStore) Claim(ctx context.Context, shard int, topics, except []string, atMost int) ([]outbox.Event, error) {
	rows, err := s.Outbox.Claim(ctx, shard, topics, except, atMost)
	events := make([]outbox.Event, len(rows))
	for i := range rows {
		r := &rows[i]
		events[i] = outbox.Event{
			EventID: r.EventID, TenantID: r.TenantID, AggregateType: r.AggregateType, AggregateID: r.AggregateID, Topic: r.Topic, Key: r.Key,
			Payload: r.Payload, Traceparent: r.Traceparent, Attempts: r.Attempts, CreatedAt: r.CreatedAt, Parked: r.Parked,
		}
	}
	return events, err
}

// Sent implements outbox.Store.
func (s outboxStore) Sent(ctx context.Context, events []outbox.Event) error {
	return s.Outbox.Sent(ctx, rowsOf(events))
}

// Hold implements outbox.Store.
func (s outboxStore) Hold(ctx context.Context, events []outbox.Event) error {
	return s.Outbox.Hold(ctx, rowsOf(events))
}

// Refuse implements outbox.Store.
func (s outboxStore) Refuse(ctx context.Context, e *outbox.Event, cause string, next time.Time) error {
	r := rowOf(e)
	return s.Outbox.Refuse(ctx, &r, cause, next)
}

// Bury implements outbox.Store.
func (s outboxStore) Bury(ctx context.Context, e *outbox.Event, eventType, cause string) error {
	r := rowOf(e)
	return s.Outbox.Bury(ctx, &r, eventType, cause)
}

// Waiting implements outbox.Store.
func (s outboxStore) Waiting(ctx context.Context, shard, atMost int) ([]outbox.Wait, error) {
	rows, err := s.Outbox.Waiting(ctx, shard, atMost)
	waits := make([]outbox.Wait, len(rows))
	for i, r := range rows {
		waits[i] = outbox.Wait(r)
	}
	return waits, err
}

// Lag implements outbox.Store.
func (s outboxStore) Lag(ctx context.Context, shards []int, topics []string) ([]outbox.Lag, map[string]int, error) {
	rows, parked, err := s.Outbox.Lag(ctx, shards, topics)
	lag := make([]outbox.Lag, len(rows))
	for i, r := range rows {
		lag[i] = outbox.Lag{Topic: r.Topic, Pending: r.Pending, Age: r.Age}
	}
	return lag, parked, err
}
