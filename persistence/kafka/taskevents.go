package kafka

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// errEnvelope: the message is no envelope of a task's event.
var errEnvelope = errors.New("not a task's event")

// ErrUnknownEvent: the event is of a type, or of a task of a type, that this version does not know: a later one recorded it.
// It is no fault of the message: whoever cannot use it passes it over.
var ErrUnknownEvent = errors.New("event of a later version")

// TaskEvent reads a message of task.events. A spec that it makes has what the message has of it: no errands as vertices.
// Every error is the message's own, unless it is ErrUnknownEvent.
func TaskEvent(m *Message) (fact.Told, error) {
	var env eventsv1.Envelope
	if err := env.UnmarshalVT(m.Value); err != nil {
		return fact.Told{}, fmt.Errorf("read %s/%d@%d: %w", m.Topic, m.Partition, m.Offset, err)
	}
	if env.AggregateType != "task" || env.EventId == "" || env.AggregateId == "" || env.OccurredAt == nil || env.Version <= 0 {
		return fact.Told{}, fmt.Errorf("read %s/%d@%d of type %q: %w", m.Topic, m.Partition, m.Offset, env.Type, errEnvelope)
	}
	told := fact.Told{
		Shard: fleet.Shard{Tenant: fleet.TenantID(env.TenantId), Warehouse: fleet.WarehouseID(env.WarehouseId)},
		Fact: fact.Fact{
			ID: fleet.EventID(env.EventId), At: env.OccurredAt.AsTime(), Subject: env.AggregateId, Version: env.Version,
			By: fleet.Actor{User: fleet.UserID(env.Actor.GetUserId()), Part: env.Actor.GetPart()}, Trace: fleet.Trace(env.Traceparent),
		},
	}
	var err error
	if told.Event, err = taskEvent(&env, told.Shard, told.At); err != nil {
		return fact.Told{}, fmt.Errorf("read %s/%d@%d of type %q: %w", m.Topic, m.Partition, m.Offset, env.Type, err)
	}
	return told, nil
}

// laterType says that no version up to this one calls an event so.
func laterType(name string) bool {
	switch name {
	case "", "task.created", "task.assigned", "task.unassigned", "task.started", "task.errand_reached", "task.cancel_started", "task.cancelled",
		"task.succeeded", "task.failed":
		return false
	}
	return true
}

func taskEvent(env *eventsv1.Envelope, shard fleet.Shard, at time.Time) (task.Event, error) {
	switch b := env.Body.(type) {
	case nil:
		if laterType(env.Type) {
			return nil, ErrUnknownEvent
		}
	case *eventsv1.Envelope_TaskCreated:
		c := b.TaskCreated
		if c.TaskType == eventsv1.TaskType_TASK_TYPE_UNSPECIFIED {
			return nil, errEnvelope
		}
		if _, known := eventsv1.TaskType_name[int32(c.TaskType)]; !known {
			return nil, fmt.Errorf("%w: type of task %d", ErrUnknownEvent, c.TaskType)
		}
		return task.Created{Spec: task.Spec{
			ID: fleet.TaskID(env.AggregateId), Shard: shard, Type: fleet.TaskType(c.TaskType - 1), Priority: uint8(min(c.Priority, 9)),
			EarliestStart: timeOf(c.EarliestStart), Deadline: timeOf(c.Deadline), Payload: c.Payload, Places: c.Places,
			Robot: fleet.RobotID(c.RobotId), Fleet: c.Fleet, Source: c.Source, CreatedAt: at, CreatedBy: fleet.UserID(env.Actor.GetUserId()),
		}}, nil
	case *eventsv1.Envelope_TaskAssigned:
		return task.Assigned{Robot: fleet.RobotID(b.TaskAssigned.RobotId), Decision: task.Decision{ID: fleet.DecisionID(b.TaskAssigned.DecisionId)}}, nil
	case *eventsv1.Envelope_TaskUnassigned:
		return task.Unassigned{Robot: fleet.RobotID(b.TaskUnassigned.RobotId), Reason: b.TaskUnassigned.Reason}, nil
	case *eventsv1.Envelope_TaskStarted:
		return task.Started{}, nil
	case *eventsv1.Envelope_TaskErrandReached:
		return task.ErrandReached{Errand: int(b.TaskErrandReached.Errand)}, nil
	case *eventsv1.Envelope_TaskCancelStarted:
		return task.CancelStarted{Reason: b.TaskCancelStarted.Reason}, nil
	case *eventsv1.Envelope_TaskCancelled:
		return task.Cancelled{Reason: b.TaskCancelled.Reason, Confirmed: b.TaskCancelled.Confirmed}, nil
	case *eventsv1.Envelope_TaskSucceeded:
		return task.Succeeded{}, nil
	case *eventsv1.Envelope_TaskFailed:
		return task.Failed{Reason: b.TaskFailed.Reason}, nil
	}
	return nil, errEnvelope
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
