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
	c, err := kafka.NewConsumer(a.kafkaOptions(registry), kafka.ConsumerOptions{
		Group: taskProjector, Topics: []string{kafka.TopicTaskEvents}, Dead: a.outbox.kafka.Publish,
		Handle: func(ctx context.Context, batch []kafka.Message) error {
			return projectTasks(ctx, a.store.ProjectTasks, batch)
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
// the memory of it. A tenant's events that are refused make the batch come again message by message; what has been done of
// it by then is remembered.
func projectTasks(
	ctx context.Context, project func(context.Context, string, fleet.TenantID, []fact.Told) (int, error), batch []kafka.Message,
) error {
	var tenants []fleet.TenantID
	told := map[fleet.TenantID][]fact.Told{}
	for i := range batch {
		e, err := kafka.TaskEvent(&batch[i])
		if err != nil {
			return err
		}
		t := e.Shard.Tenant
		if told[t] == nil {
			tenants = append(tenants, t)
		}
		told[t] = append(told[t], e)
	}
	for _, t := range tenants {
		if _, err := project(ctx, taskProjector, t, told[t]); errors.Is(err, fact.ErrRejected) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", kafka.ErrAway, err)
		}
	}
	return nil
}
