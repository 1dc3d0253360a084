package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/robot"
	"starling/engine/task"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// The topics of outgoing facts, as proto/starling/events/v1 describes them.
const (
	topicTasks     = "task.events"
	topicDecisions = "scheduler.decisions"
	topicRobots    = "robot.events"
	topicMaps      = "map.events"
	topicAlerts    = "alerts"
)

// publish adds the fact's outbox row; its envelope holds what the body function has set.
func (it *item) publish(f *fact.Fact, aggregateType, aggregateID string, version int64, body func(*eventsv1.Envelope)) error {
	if !isUUID(aggregateID) {
		return errNotUUID
	}
	shard := it.unit.Shard
	env := &eventsv1.Envelope{
		EventId: string(f.ID), TenantId: string(shard.Tenant), WarehouseId: string(shard.Warehouse),
		AggregateType: aggregateType, AggregateId: aggregateID, Version: version,
		OccurredAt:  timestamppb.New(f.At),
		Actor:       &eventsv1.Actor{UserId: string(f.By.User), Part: f.By.Part},
		Traceparent: string(f.Trace),
	}
	body(env)
	payload, err := env.MarshalVT()
	if err != nil {
		return fmt.Errorf("marshal the envelope: %w", err)
	}
	row := outboxRow{
		id: string(f.ID), aggregateType: aggregateType, aggregateID: aggregateID, payload: payload, headers: "{}",
		key: string(shard.Warehouse),
	}
	switch aggregateType {
	case "task":
		row.topic, row.key = topicTasks, aggregateID
	case "robot":
		row.topic, row.key = topicRobots, aggregateID
	case "alert":
		row.topic, row.key = topicAlerts, aggregateID
	case "decision":
		row.topic = topicDecisions
	default:
		row.topic = topicMaps
	}
	if f.Trace != "" {
		headers, err := json.Marshal(map[string]string{"traceparent": string(f.Trace)})
		if err != nil {
			return err
		}
		row.headers = string(headers)
	}
	it.outbox = append(it.outbox, row)
	return nil
}

// envelopeOf says what sets the type and body of an event's envelope.
func envelopeOf(event any) func(*eventsv1.Envelope) {
	return func(env *eventsv1.Envelope) {
		switch e := event.(type) {
		case task.Event:
			taskBody(env, e)
		case *task.Decision:
			env.Type, env.Body = "decision.award", &eventsv1.Envelope_AwardDecided{AwardDecided: awardBody(e)}
		case robot.Event:
			robotBody(env, e)
		case dispatch.Event:
			warehouseBody(env, e)
		}
	}
}

func taskBody(env *eventsv1.Envelope, e task.Event) {
	switch e := e.(type) {
	case task.Created:
		s := &e.Spec
		env.Type, env.Body = "task.created", &eventsv1.Envelope_TaskCreated{TaskCreated: &eventsv1.TaskCreated{
			TaskType: eventsv1.TaskType(s.Type + 1), Priority: uint32(s.Priority), Payload: s.Payload, Places: s.Places,
			RobotId: string(s.Robot), Fleet: s.Fleet, Source: s.Source,
			EarliestStart: stamp(s.EarliestStart), Deadline: stamp(s.Deadline),
		}}
	case task.Assigned:
		env.Type, env.Body = "task.assigned", &eventsv1.Envelope_TaskAssigned{TaskAssigned: &eventsv1.TaskAssigned{
			RobotId: string(e.Robot), DecisionId: string(e.Decision.ID),
		}}
	case task.Unassigned:
		env.Type, env.Body = "task.unassigned", &eventsv1.Envelope_TaskUnassigned{TaskUnassigned: &eventsv1.TaskUnassigned{
			RobotId: string(e.Robot), Reason: e.Reason,
		}}
	case task.Started:
		env.Type, env.Body = "task.started", &eventsv1.Envelope_TaskStarted{TaskStarted: &eventsv1.TaskStarted{}}
	case task.ErrandReached:
		env.Type, env.Body = "task.errand_reached", &eventsv1.Envelope_TaskErrandReached{
			TaskErrandReached: &eventsv1.TaskErrandReached{Errand: uint32(e.Errand)},
		}
	case task.CancelStarted:
		env.Type, env.Body = "task.cancel_started", &eventsv1.Envelope_TaskCancelStarted{
			TaskCancelStarted: &eventsv1.TaskCancelStarted{Reason: e.Reason},
		}
	case task.Cancelled:
		env.Type, env.Body = "task.cancelled", &eventsv1.Envelope_TaskCancelled{
			TaskCancelled: &eventsv1.TaskCancelled{Reason: e.Reason, Confirmed: e.Confirmed},
		}
	case task.Succeeded:
		env.Type, env.Body = "task.succeeded", &eventsv1.Envelope_TaskSucceeded{TaskSucceeded: &eventsv1.TaskSucceeded{}}
	case task.Failed:
		env.Type, env.Body = "task.failed", &eventsv1.Envelope_TaskFailed{TaskFailed: &eventsv1.TaskFailed{Reason: e.Reason}}
	}
}

func awardBody(d *task.Decision) *eventsv1.AwardDecided {
	b := &eventsv1.AwardDecided{
		TaskId: string(d.Task), RobotId: string(d.Robot), Reason: d.Reason, InputsDigest: d.InputsDigest,
		Cost: &eventsv1.Cost{
			Travel: d.Cost.Travel, Queue: d.Cost.Queue, Battery: d.Cost.Battery, Priority: d.Cost.Priority, Total: d.Cost.Total,
		},
	}
	for _, a := range d.Alternatives {
		b.Alternatives = append(b.Alternatives, &eventsv1.Alternative{RobotId: string(a.Robot), Total: a.Total, Reason: a.Reason})
	}
	return b
}

func robotBody(env *eventsv1.Envelope, e robot.Event) {
	switch e := e.(type) {
	case robot.Registered:
		b := &eventsv1.RobotRegistered{
			RobotCode: e.Spec.Code, DisplayName: e.Spec.DisplayName, Fleet: e.Spec.Fleet, Model: e.Spec.Model,
			Protocol: e.Spec.Protocol, Control: eventsv1.Control(e.Spec.Control + 1), Capabilities: e.Spec.Capabilities,
			Priority: uint32(e.Spec.Priority), FootprintRadiusM: e.Spec.RadiusM, MaxSpeedMps: e.Spec.MaxSpeedMPS,
		}
		for _, z := range e.Spec.AllowedZones {
			b.AllowedZoneIds = append(b.AllowedZoneIds, string(z))
		}
		env.Type, env.Body = "robot.registered", &eventsv1.Envelope_RobotRegistered{RobotRegistered: b}
	case robot.Removed:
		env.Type, env.Body = "robot.removed", &eventsv1.Envelope_RobotRemoved{RobotRemoved: &eventsv1.RobotRemoved{}}
	case robot.ConnectionChanged:
		env.Type, env.Body = "robot.connection_changed", &eventsv1.Envelope_RobotConnectionChanged{
			RobotConnectionChanged: &eventsv1.RobotConnectionChanged{
				From: eventsv1.Connection(e.From + 1), To: eventsv1.Connection(e.To + 1),
			},
		}
	case robot.CommandAccepted, robot.CommandStaged:
		// Commands have rows of their own and leave the house by none of the topics.
	}
}

func warehouseBody(env *eventsv1.Envelope, e dispatch.Event) {
	switch e := e.(type) {
	case dispatch.MapActivated:
		env.Type, env.Body = "map.activated", &eventsv1.Envelope_MapActivated{
			MapActivated: &eventsv1.MapActivated{MapId: string(e.MapID), MapVersion: int32(e.Version)},
		}
	case dispatch.LaneChanged:
		env.Type, env.Body = "lane.changed", &eventsv1.Envelope_LaneChanged{LaneChanged: &eventsv1.LaneChanged{
			LaneId: string(e.State.Lane), Closed: e.State.Closed, SpeedLimitMps: e.State.SpeedMPS, Reason: e.State.Reason,
		}}
	case dispatch.CycleResolved:
		b := &eventsv1.CycleResolved{YieldingRobotId: string(e.Yielding), Reason: e.Reason}
		for _, r := range e.Robots {
			b.RobotIds = append(b.RobotIds, string(r))
		}
		env.Type, env.Body = "decision.cycle", &eventsv1.Envelope_CycleResolved{CycleResolved: b}
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// pump is the outbox shard of an aggregate: FNV-1a of its id.
func pump(aggregateID string) int16 {
	h := uint32(2166136261)
	for i := range len(aggregateID) {
		h = (h ^ uint32(aggregateID[i])) * 16777619
	}
	return int16(h % OutboxShards)
}
