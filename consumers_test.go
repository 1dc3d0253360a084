package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/kafka"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

func taskMessage(t *testing.T, tenant string, change func(*eventsv1.Envelope)) kafka.Message {
	t.Helper()
	env := &eventsv1.Envelope{
		EventId: "e", TenantId: tenant, AggregateType: "task", AggregateId: "t", Version: 1, OccurredAt: timestamppb.New(time.Unix(1, 0)),
		Type: "task.started", Body: &eventsv1.Envelope_TaskStarted{TaskStarted: &eventsv1.TaskStarted{}},
	}
	change(env)
	b, err := env.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return kafka.Message{Topic: kafka.TopicTaskEvents, Value: b}
}

// A later version has recorded what this one does not know: it stands in nobody's way, and is no poison.
func TestEventsOfALaterVersionArePassedOver(t *testing.T) {
	t.Parallel()
	batch := []kafka.Message{
		taskMessage(t, "a", func(e *eventsv1.Envelope) { e.Type, e.Body = "task.pondered", nil }),
		taskMessage(t, "a", func(e *eventsv1.Envelope) {
			e.Type, e.Body = "task.created", &eventsv1.Envelope_TaskCreated{TaskCreated: &eventsv1.TaskCreated{TaskType: 257}}
		}),
		taskMessage(t, "a", func(*eventsv1.Envelope) {}),
	}
	skipped, told := 0, 0
	project := func(_ context.Context, _ string, _ fleet.TenantID, e []fact.Told) (int, error) {
		told += len(e)
		return len(e), nil
	}
	if err := projectTasks(t.Context(), project, func() { skipped++ }, batch); err != nil || skipped != 2 || told != 1 {
		t.Fatal(skipped, told, err)
	}
	for name, change := range map[string]func(*eventsv1.Envelope){
		"its body is missing": func(e *eventsv1.Envelope) { e.Body = nil },
		"no type":             func(e *eventsv1.Envelope) { e.Type, e.Body = "", nil },
		"no type of task": func(e *eventsv1.Envelope) {
			e.Body = &eventsv1.Envelope_TaskCreated{TaskCreated: &eventsv1.TaskCreated{}}
		},
	} {
		m := taskMessage(t, "a", change)
		if _, err := kafka.TaskEvent(&m); err == nil || errors.Is(err, kafka.ErrUnknownEvent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATenantThatFailsKeepsNothingFromTheOthers(t *testing.T) {
	t.Parallel()
	fails := map[fleet.TenantID]error{"refused": fact.ErrRejected, "away": fact.ErrUnavailable}
	same := func(*eventsv1.Envelope) {}
	batch := []kafka.Message{taskMessage(t, "refused", same), taskMessage(t, "away", same), taskMessage(t, "fine", same)}
	for name, c := range map[string]struct {
		batch []kafka.Message
		away  bool
	}{"refused first": {batch, false}, "away first": {batch[1:], true}} {
		var done []fleet.TenantID
		err := projectTasks(t.Context(), func(_ context.Context, _ string, tenant fleet.TenantID, _ []fact.Told) (int, error) {
			if err := fails[tenant]; err != nil {
				return 0, err
			}
			done = append(done, tenant)
			return 1, nil
		}, func() {}, c.batch)
		if err == nil || errors.Is(err, kafka.ErrAway) != c.away || !slices.Equal(done, []fleet.TenantID{"fine"}) {
			t.Errorf("%s: %v, done %v", name, err, done)
		}
	}
}
