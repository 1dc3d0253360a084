package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"starling/persistence/kafka"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// replayFlags are what `starling replay` can be told.
type replayFlags struct {
	topic, from, to, group, into string
	speed                        float64
}

func newReplayCmd() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --topic T --from WHEN",
		Short: "Tell a window of a topic once more: as JSON lines, or into another topic; no consumer of the house moves",
		Long: `Replay reads a window of one of the topics of KAFKA_BROKERS and tells it in the order of its times, as fast as it goes or paced by
--speed (1 = as it was, 60 = a minute a second). WHEN is a time (2026-03-01T12:00:00Z) or how long ago (15m). With --group it remembers
how far it came, in a group of its own, and goes on there when it is started again.`,
		Example: "  starling replay --topic task.events --from 15m --speed 10\n  starling replay --topic task.events --from 2026-03-01T12:00:00Z --to 2026-03-01T13:00:00Z --group audit | jq .event.type",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return replay(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.topic, "topic", "", "one of the topics: task.events, robot.status, … or its .dlq")
	fs.StringVar(&f.from, "from", "", "where the window begins")
	fs.StringVar(&f.to, "to", "0s", "where it ends, itself not in it")
	fs.Float64Var(&f.speed, "speed", 0, "of time; 0 = as fast as it goes")
	fs.StringVar(&f.group, "group", "", "remembers how far the replay came, as replay.<group>")
	fs.StringVar(&f.into, "into", "", "topic to tell it into, none of the house's own; none = JSON lines to standard output")
	_ = cmd.MarkFlagRequired("topic") // they are there
	_ = cmd.MarkFlagRequired("from")
	return cmd
}

// when reads a time, or how long before now.
func when(name, s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usageError{fmt.Errorf("--%s: want a time such as 2026-03-01T12:00:00Z, or how long ago such as 15m", name)}
	}
	return t, nil
}

func (f *replayFlags) options(now time.Time) (o kafka.ReplayOptions, err error) {
	o = kafka.ReplayOptions{Topic: f.topic, Speed: f.speed, Group: f.group}
	if o.From, err = when("from", f.from, now); err != nil {
		return o, err
	}
	if o.To, err = when("to", f.to, now); err != nil {
		return o, err
	}
	switch {
	case !o.From.Before(o.To):
		return o, usageError{errors.New("--from: want a time before --to")}
	case f.speed < 0 || f.speed > 1e6:
		return o, usageError{errors.New("--speed: want 0..1000000")}
	case slices.ContainsFunc(kafka.Topics(true), func(t kafka.Topic) bool { return t.Name == f.into }):
		return o, usageError{errors.New("--into: consumers of the house read this topic: want one of your own")}
	}
	return o, nil
}

func replay(ctx context.Context, f replayFlags, out, says io.Writer) error {
	r, err := f.options(time.Now())
	if err != nil {
		return err
	}
	o, err := replayFrom(os.Getenv, os.ReadFile)
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(out)
	r.Emit = func(_ context.Context, m *kafka.Message) error {
		if err := writeMessage(lines, m); err != nil {
			return err
		}
		if r.Speed > 0 {
			return lines.Flush() // whoever reads follows the time
		}
		return nil
	}
	if f.into != "" {
		into, err := kafka.Open(ctx, o)
		if err != nil {
			return err
		}
		defer into.Close()
		r.Emit = func(ctx context.Context, m *kafka.Message) error { return tellInto(ctx, into, f.into, m) }
	}
	done, err := kafka.Replay(ctx, o, r)
	if e := lines.Flush(); err == nil {
		err = e
	}
	fmt.Fprintf(says, "replayed %d messages of %s in %s", done.Messages, done.Span.Round(time.Millisecond), done.Took.Round(time.Millisecond))
	if done.Skipped > 0 {
		fmt.Fprintf(says, ", after %d of an earlier run", done.Skipped)
	}
	fmt.Fprintln(says)
	return err
}

// replayFrom reads where Kafka is; what else the configuration says, or lacks, does not matter.
func replayFrom(env func(string) string, readFile func(string) ([]byte, error)) (kafka.Options, error) {
	c, faults := LoadConfig(env, readFile)
	if err := faults.Only(
		"KAFKA_BROKERS", "KAFKA_TLS", "KAFKA_TLS_CA_FILE", "KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_PASSWORD"+fileSuffix, "KAFKA_TOPIC_PREFIX", "CONFIG_PATH", "ENV",
	).Err(); err != nil {
		return kafka.Options{}, err
	}
	if len(c.KafkaBrokers) == 0 {
		return kafka.Options{}, errors.New("KAFKA_BROKERS: missing")
	}
	return c.kafkaOptions(), nil
}

// tellInto sends a message to another topic, as it was and with where it comes from.
func tellInto(ctx context.Context, c *kafka.Client, topic string, m *kafka.Message) error {
	headers := slices.Concat(m.Headers, []kafka.Header{
		{Key: "replayed_from", Value: fmt.Appendf(nil, "%s/%d@%d", m.Topic, m.Partition, m.Offset)},
	})
	if err := c.Publish(ctx, []kafka.Record{{Topic: topic, Key: m.Key, Value: m.Value, Headers: headers, At: m.At}})[0]; err != nil {
		return fmt.Errorf("tell it into %s: %w", topic, err)
	}
	return nil
}

// replayedLine is a message as a line of JSON. Event is what the value says where it is an envelope, else Value has its bytes.
type replayedLine struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	At        time.Time         `json:"at"`
	Key       string            `json:"key"`
	Headers   map[string]string `json:"headers"`
	Event     json.RawMessage   `json:"event,omitempty"`
	Value     []byte            `json:"value,omitempty"`
}

func writeMessage(w io.Writer, m *kafka.Message) error {
	l := replayedLine{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, At: m.At.UTC(), Key: m.Key, Headers: map[string]string{}}
	for _, h := range m.Headers {
		l.Headers[h.Key] = string(h.Value)
	}
	var env eventsv1.Envelope
	var err error
	switch {
	case json.Valid(m.Value) && len(m.Value) > 0 && m.Value[0] == '{':
		l.Event = m.Value // a mirror in JSON
	case env.UnmarshalVT(m.Value) == nil && env.EventId != "":
		if l.Event, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(&env); err != nil {
			return fmt.Errorf("write %s/%d@%d as JSON: %w", m.Topic, m.Partition, m.Offset, err)
		}
	default:
		l.Value = m.Value
	}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("write %s/%d@%d as JSON: %w", m.Topic, m.Partition, m.Offset, err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
