package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/kafka"
)

// taskProjector is the group, and the name in the inbox, of what makes timings out of task.events.
const taskProjector = "starling.task-timing"

// startConsumers lets a worker read facts back from Kafka; without KAFKA_BROKERS there is nothing to read.
func (a *app) startConsumers(registry prometheus.Registerer) error {
	if a.outbox.kafka == nil || !slices.Contains(a.Roles, roleWorker) {
		return nil
	}
	skipped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "starling_task_timing_skipped_total", Help: "Events of tasks that a later version recorded, and this one does not know.",
	})
	if err := registry.Register(skipped); err != nil {
		return fmt.Errorf("register the metrics of timings: %w", err)
	}
	c, err := kafka.NewConsumer(a.kafkaOptions(registry), kafka.ConsumerOptions{
		Group: taskProjector, Topics: []string{kafka.TopicTaskEvents}, Dead: a.outbox.kafka.Publish,
		Handle: func(ctx context.Context, batch []kafka.Message) error {
			return projectTasks(ctx, a.store.ProjectTasks, skipped.Inc, batch)
		},
	})
	if err != nil {
		return err
	}
	a.consumers = append(a.consumers, c)
	return nil
}

// stopConsumers ends them: what was handled is committed.
func (a *app) stopConsumers() {
	for _, c := range a.consumers {
		c.Close()
	}
}

// projectTasks folds task events into timings, tenant by tenant: what concerns one of them becomes durable together with
// the memory of it, and where one fails the others go on. A tenant's events that are refused make the batch come again
// message by message; what has been done of it by then is remembered. Events that are unknown here are passed over.
func projectTasks(
	ctx context.Context, project func(context.Context, string, fleet.TenantID, []fact.Told) (int, error), skip func(), batch []kafka.Message,
) error {
	var tenants []fleet.TenantID
	told := map[fleet.TenantID][]fact.Told{}
	for i := range batch {
		e, err := kafka.TaskEvent(&batch[i])
		if errors.Is(err, kafka.ErrUnknownEvent) {
			skip()
			continue
		}
		if err != nil {
			return err
		}
		t := e.Shard.Tenant
		if told[t] == nil {
			tenants = append(tenants, t)
		}
		told[t] = append(told[t], e)
	}
	var refused, away error
	for _, t := range tenants {
		_, err := project(ctx, taskProjector, t, told[t])
		switch {
		case err == nil:
		case errors.Is(err, fact.ErrRejected):
			refused = err
		default:
			away = fmt.Errorf("%w: %w", kafka.ErrAway, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if refused != nil { // one by one, those that are not done are told apart
		return refused
	}
	return away
}
