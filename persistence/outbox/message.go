package outbox

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"

	eventsv1 "starling/proto/gen/starling/events/v1"
)

// The names of topics beside a topic.
const (
	deadSuffix   = ".dlq"
	mirrorSuffix = ".json"
)

const (
	protobufType = "application/protobuf"
	jsonType     = "application/json"
)

// envelope reads a fact's payload. One that cannot be read is refused: it would be by every reader.
func envelope(e *Event) (*eventsv1.Envelope, error) {
	env := &eventsv1.Envelope{}
	if err := env.UnmarshalVT(e.Payload); err != nil {
		return nil, fmt.Errorf("%w: the envelope cannot be read: %w", ErrRefused, err)
	}
	if env.EventId != e.EventID {
		return nil, fmt.Errorf("%w: the envelope is of event %q", ErrRefused, env.EventId)
	}
	return env, nil
}

// message is the fact as it leaves: the envelope as it was recorded, with the headers of CloudEvents 1.0 in binary mode. When it
// happened stands there; the record's time is the present, or brokers that keep records for so many days would drop one at
// once that has waited for longer.
func message(e *Event, env *eventsv1.Envelope) Message {
	return Message{Topic: e.Topic, Key: e.Key, TenantID: e.TenantID, Value: e.Payload, Headers: headers(e, env, protobufType)}
}

// mirror is the same in JSON.
func mirror(e *Event, env *eventsv1.Envelope) (Message, error) {
	value, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(env)
	if err != nil {
		return Message{}, fmt.Errorf("%w: the envelope cannot be written as JSON: %w", ErrRefused, err)
	}
	return Message{Topic: e.Topic + mirrorSuffix, Key: e.Key, TenantID: e.TenantID, Value: value, Headers: headers(e, env, jsonType)}, nil
}

func headers(e *Event, env *eventsv1.Envelope, contentType string) []Header {
	h := []Header{
		{"ce_specversion", "1.0"},
		{"ce_id", e.EventID},
		{"ce_type", "starling." + env.Type},
		{"ce_source", "/tenants/" + env.TenantId + "/warehouses/" + env.WarehouseId},
		{"ce_subject", e.AggregateType + "/" + e.AggregateID},
		{"ce_time", env.OccurredAt.AsTime().Format("2006-01-02T15:04:05.000000Z07:00")},
		{"ce_dataschema", "starling.events.v1.Envelope"},
		{"content-type", contentType},
		{"ce_warehouseid", env.WarehouseId},
	}
	if env.Version != 0 {
		h = append(h, Header{"ce_sequence", strconv.FormatInt(env.Version, 10)})
	}
	if e.Traceparent != "" {
		h = append(h, Header{"ce_traceparent", e.Traceparent}, Header{"traceparent", e.Traceparent})
	}
	return h
}

// deadMessage is a fact on its way to <topic>.dlq. bare: without its value, where that is what the brokers refuse.
func deadMessage(e *Event, cause string, bare bool) Message {
	m := Message{Topic: e.Topic + deadSuffix, Key: e.Key, TenantID: e.TenantID, Headers: []Header{
		{"ce_id", e.EventID},
		{"dead_cause", clip(cause, 1000)},
		{"dead_attempts", strconv.Itoa(e.Attempts + 1)},
		{"dead_topic", e.Topic},
		{"dead_by", "outbox"},
	}}
	if !bare {
		m.Value = e.Payload
	}
	return m
}

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
