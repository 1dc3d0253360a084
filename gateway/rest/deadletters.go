package rest

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

type letterBody struct {
	EventID       string  `json:"event_id" format:"uuid"`
	Topic         string  `json:"topic" doc:"where it should have gone"`
	Key           string  `json:"key"`
	AggregateType string  `json:"aggregate_type" doc:"task, robot, map, lane, decision"`
	AggregateID   string  `json:"aggregate_id" format:"uuid" doc:"its later facts wait until the letter is retried or discarded"`
	Type          string  `json:"type" doc:"task.created, …; empty where its envelope cannot be read"`
	Cause         string  `json:"cause"`
	Attempts      int     `json:"attempts"`
	Deaths        int     `json:"deaths" doc:"more than 1: it was retried and died again"`
	CreatedAt     string  `json:"created_at" format:"date-time"`
	DeadAt        string  `json:"dead_at" format:"date-time"`
	State         string  `json:"state" enum:"open,retrying,discarding,retried,discarded"`
	HandledAt     *string `json:"handled_at" format:"date-time"`
	HandledBy     *string `json:"handled_by" format:"uuid"`
	Waiting       int     `json:"waiting" doc:"later facts of the aggregate, counted up to 1,000"`
	Event         object  `json:"event" doc:"the fact; empty in lists, and where it cannot be read"`
}

func letterOf(l *fact.DeadLetter) letterBody {
	b := letterBody{
		EventID: string(l.ID), Topic: l.Topic, Key: l.Key, AggregateType: l.AggregateType, AggregateID: l.AggregateID, Type: l.Type,
		Cause: l.Cause, Attempts: l.Attempts, Deaths: l.Deaths, CreatedAt: ts(l.At), DeadAt: ts(l.DeadAt), State: string(l.State),
		HandledBy: text(l.HandledBy), Waiting: l.Waiting, Event: object("{}"),
	}
	if !l.HandledAt.IsZero() {
		at := ts(l.HandledAt)
		b.HandledAt = &at
	}
	var env eventsv1.Envelope
	if len(l.Payload) > 0 && env.UnmarshalVT(l.Payload) == nil {
		if raw, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(&env); err == nil {
			b.Event = raw
		}
	}
	return b
}

func (a *api) deadLetters() {
	type query struct {
		Paged
		Topic string `query:"topic" maxLength:"64" pattern:"^[a-z._]*$"`
		State string `query:"state" enum:"open,retrying,discarding,retried,discarded"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/dead-letters", id: "list-dead-letters", summary: "Facts that could not be sent to Kafka, the newest first", tag: "events"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[letterBody], error) {
			l, err := a.Facts.ListDeadLetters(ctx, who.Tenant, fact.LetterFilter{Topic: in.Topic, State: fact.LetterState(in.State)}, in.page())
			return listOf(l, letterOf), err
		})
	type one struct {
		ID string `path:"event_id" format:"uuid"`
	}
	type out struct{ Body letterBody }
	answer := func(l fact.DeadLetter, err error) (*out, error) {
		if err != nil {
			return nil, err
		}
		return &out{letterOf(&l)}, nil
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/dead-letters/{event_id}", id: "get-dead-letter", summary: "One of them, with what it says", tag: "events"},
		func(ctx context.Context, who *auth.Identity, in *one) (*out, error) {
			return answer(a.Facts.GetDeadLetter(ctx, who.Tenant, fleet.EventID(in.ID)))
		})
	ask := func(verb, summary string, to fact.LetterState) {
		add(a, op{method: http.MethodPost, path: "/api/v1/dead-letters/{event_id}/" + verb, id: verb + "-dead-letter", summary: summary, tag: "events", status: http.StatusAccepted},
			func(ctx context.Context, who *auth.Identity, in *one) (*out, error) {
				return answer(a.Facts.AskDeadLetter(ctx, who.Tenant, fleet.EventID(in.ID), to, by(who).User))
			})
	}
	ask("retry", "Send it again, and what waits behind it", fact.LetterRetrying)
	ask("discard", "Leave it out for ever, and send what waits behind it", fact.LetterDiscarding)
}
