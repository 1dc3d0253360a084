package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/persistence/kafka"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

func TestTheWindowOfAReplay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		flags    replayFlags
		from, to time.Time
		fault    string
	}{
		"a quarter of an hour": {flags: replayFlags{from: "15m", to: "0s"}, from: now.Add(-15 * time.Minute), to: now},
		"an hour in winter":    {flags: replayFlags{from: "2026-01-01T01:00:00+01:00", to: "2026-01-01T01:00:00Z"}, from: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), to: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)},
		"backwards":            {flags: replayFlags{from: "1m", to: "2m"}, fault: "before --to"},
		"no time":              {flags: replayFlags{from: "yesterday", to: "0s"}, fault: "--from"},
		"in the future":        {flags: replayFlags{from: "1m", to: "-1m"}, fault: "--to"},
		"slower than nothing":  {flags: replayFlags{from: "1m", to: "0s", speed: -1}, fault: "--speed"},
		"into the house":       {flags: replayFlags{from: "1m", to: "0s", into: kafka.TopicTaskEvents}, fault: "--into"},
		"into a mirror":        {flags: replayFlags{from: "1m", to: "0s", into: "task.events.json"}, fault: "--into"},
		"into one's own":       {flags: replayFlags{from: "1m", to: "0s", into: "mine"}, from: now.Add(-time.Minute), to: now},
	} {
		o, err := c.flags.options(now)
		var usage usageError
		switch {
		case c.fault != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v", name, err)
		case c.fault == "" && (err != nil || !o.From.Equal(c.from) || !o.To.Equal(c.to)):
			t.Errorf("%s: %v %v %v", name, o.From, o.To, err)
		}
	}
}

// A replay reaches the brokers that the house does: by TLS, with a name and a password.
func TestAReplaySpeaksWithBrokersAsTheHouseDoes(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"KAFKA_BROKERS": "k1:9093", "KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": "/ca.pem", "KAFKA_USER": "u", "KAFKA_PASSWORD": "p", "KAFKA_TOPIC_PREFIX": "x.",
	}
	from := func() (kafka.Options, error) {
		return replayFrom(func(k string) string { return env[k] }, func(string) ([]byte, error) { return nil, os.ErrNotExist })
	}
	o, err := from()
	if err != nil || !slices.Equal(o.Brokers, []string{"k1:9093"}) || !o.TLS || o.CAFile != "/ca.pem" || o.User != "u" || o.Password != "p" || o.Prefix != "x." {
		t.Fatalf("%+v %v", o, err)
	}
	env["KAFKA_TLS"] = "perhaps"
	if _, err := from(); err == nil || !strings.Contains(err.Error(), "KAFKA_TLS") {
		t.Error(err)
	}
}

func TestAReplayedMessageIsALineOfJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	env := &eventsv1.Envelope{
		EventId: "e", TenantId: "t", Type: "task.started", OccurredAt: timestamppb.New(at),
		Body: &eventsv1.Envelope_TaskStarted{TaskStarted: &eventsv1.TaskStarted{}},
	}
	packed, err := env.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		string(packed): `"event":{"event_id":"e","tenant_id":"t","type":"task.started","occurred_at":"2026-03-01T12:00:00Z","task_started":{}}`,
		`{"a":1}`:      `"event":{"a":1}`,
		"\x00\xff":     `"value":"AP8="`,
	} {
		var b bytes.Buffer
		m := kafka.Message{Topic: "task.events", Partition: 3, Offset: 7, Key: "k", At: at, Value: []byte(value), Headers: []kafka.Header{{Key: "ce_id", Value: []byte("e")}}}
		if err := writeMessage(&b, &m); err != nil {
			t.Fatal(err)
		}
		line := b.String()
		if !strings.Contains(line, want) || !json.Valid(b.Bytes()) || strings.Count(line, "\n") != 1 ||
			!strings.HasPrefix(line, `{"topic":"task.events","partition":3,"offset":7,"at":"2026-03-01T12:00:00Z","key":"k","headers":{"ce_id":"e"}`) {
			t.Errorf("%s, want %s", line, want)
		}
	}
}
