package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"starling/persistence/kafka"
)

// replayTests run against any broker.
func replayTests() map[string]func(*testing.T, house) {
	return map[string]func(*testing.T, house){
		"a window in the order of its times": aWindow,
		"a window of what was told late":     aLateWindow,
		"interrupted and resumed":            aReplayResumed,
		"what cannot be replayed":            noReplay,
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	for name, test := range replayTests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, houseAt(t, broker(t).ListenAddrs()))
		})
	}
}

// Brokers that do not answer for longer than silence would be taken for the end: the replay waits, and is whole.
func TestAReplayOutlivesSilentBrokers(t *testing.T) {
	t.Parallel()
	cluster := broker(t)
	h := houseAt(t, cluster.ListenAddrs())
	tell(t, h, 100, time.Millisecond)
	var first atomic.Int64
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		now := time.Now().UnixNano()
		if first.CompareAndSwap(0, now) || now-first.Load() < int64(8*time.Second) {
			return nil, errors.New("away"), true
		}
		return nil, nil, false
	})
	var got []string
	done, err := kafka.Replay(t.Context(), h.o, kafka.ReplayOptions{
		Topic: kafka.TopicTaskEvents, From: past, To: past.Add(time.Second),
		Emit: func(_ context.Context, m *kafka.Message) error { got = append(got, string(m.Value)); return nil },
	})
	if err != nil || done.Messages != 100 || !slices.Equal(got, numbers(0, 100)) {
		t.Fatal(done, err)
	}
}

// What the brokers refuse is said: the window is not whole.
func TestAReplayThatIsRefusedSaysSo(t *testing.T) {
	t.Parallel()
	cluster := broker(t)
	h := houseAt(t, cluster.ListenAddrs())
	tell(t, h, 100, time.Millisecond)
	cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req, _ := r.(*kmsg.FetchRequest)
		resp, _ := req.ResponseKind().(*kmsg.FetchResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	_, err := kafka.Replay(t.Context(), h.o, kafka.ReplayOptions{
		Topic: kafka.TopicTaskEvents, From: past, To: past.Add(time.Second), Emit: func(context.Context, *kafka.Message) error { return nil },
	})
	if !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Fatal(err)
	}
}

// past is when the window of the tests is: long before the probes of their topic.
var past = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tell sends one message a step to as many keys in turn, from past on.
func tell(t *testing.T, h house, n int, step time.Duration) {
	t.Helper()
	var records []kafka.Record
	for i := range n {
		v := fmt.Sprint(i)
		records = append(records, kafka.Record{
			Topic: kafka.TopicTaskEvents, Key: fmt.Sprint("k", i%17), Value: []byte(v), At: past.Add(time.Duration(i) * step),
			Headers: []kafka.Header{{Key: "ce_id", Value: []byte(v)}},
		})
	}
	for _, err := range h.client.Publish(t.Context(), records) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func aWindow(t *testing.T, h house) {
	const n = 5000 // more than one partition may be ahead
	tell(t, h, n, time.Millisecond)
	var got []string
	r := kafka.ReplayOptions{
		Topic: kafka.TopicTaskEvents, From: past.Add(100 * time.Millisecond), To: past.Add(4900 * time.Millisecond),
		Emit: func(_ context.Context, m *kafka.Message) error {
			if m.Topic != kafka.TopicTaskEvents || m.Header("ce_id") != string(m.Value) {
				t.Errorf("%+v", m)
			}
			got = append(got, string(m.Value))
			return nil
		},
	}
	done, err := kafka.Replay(t.Context(), h.o, r)
	if err != nil || done.Messages != 4800 || done.Span != 4799*time.Millisecond || done.Skipped != 0 {
		t.Fatal(done, err)
	}
	if want := numbers(100, 4900); !slices.Equal(got, want) {
		t.Fatalf("%d messages, not in order", len(got))
	}
	// Paced, it takes as long as it took, divided.
	r.To, r.Speed, got = past.Add(600*time.Millisecond), 2, nil
	if done, err = kafka.Replay(t.Context(), h.o, r); err != nil || done.Messages != 500 || done.Took < 240*time.Millisecond {
		t.Fatal(done, err)
	}
	r.From, r.To = past.Add(-time.Hour), past
	if done, err = kafka.Replay(t.Context(), h.o, r); err != nil || done.Messages != 0 {
		t.Fatal(done, err)
	}
}

// Facts that waited in the outbox stand behind younger ones, with the time when they were told; the window is of when they
// happened.
func aLateWindow(t *testing.T, h house) {
	const n, late = 100, 40 * time.Minute
	var records []kafka.Record
	for i := range n {
		at := past.Add(time.Duration(i) * time.Second)
		records = append(records, kafka.Record{
			Topic: kafka.TopicTaskEvents, Key: fmt.Sprint("k", i%17), Value: fmt.Append(nil, i), At: at.Add(late),
			Headers: []kafka.Header{{Key: "ce_time", Value: []byte(at.Format("2006-01-02T15:04:05.000000Z07:00"))}},
		})
	}
	for _, err := range h.client.Publish(t.Context(), records) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	r := kafka.ReplayOptions{
		Topic: kafka.TopicTaskEvents, From: past, To: past.Add(n / 2 * time.Second), Emit: func(_ context.Context, m *kafka.Message) error {
			if want := past.Add(time.Duration(len(got)) * time.Second); !m.At.Equal(want) {
				t.Errorf("message %s is of %v, want %v", m.Value, m.At, want)
			}
			got = append(got, string(m.Value))
			return nil
		},
	}
	if _, err := kafka.Replay(t.Context(), h.o, r); err != nil || !slices.Equal(got, numbers(0, n/2)) {
		t.Error(got, err)
	}
	r.From, r.To = past.Add(late), past.Add(late+n*time.Second)
	if done, err := kafka.Replay(t.Context(), h.o, r); err != nil || done.Messages != 0 {
		t.Errorf("by the time when they were told: %+v, %v", done, err)
	}
}

var errEnough = errors.New("enough")

// A replay that ends in the middle goes on where it was; no other group of the topic has moved.
func aReplayResumed(t *testing.T, h house) {
	e := newEffects()
	x := h.join(t, e, nil)
	tell(t, h, 1000, time.Millisecond)
	eventually(t, "the house has consumed", func() bool { return e.count() == 1000 })
	var got []string
	most := 300
	r := kafka.ReplayOptions{
		Topic: kafka.TopicTaskEvents, From: past, To: past.Add(time.Second), Group: "audit", Emit: func(_ context.Context, m *kafka.Message) error {
			if len(got) == most {
				return errEnough
			}
			got = append(got, string(m.Value))
			return nil
		},
	}
	if done, err := kafka.Replay(t.Context(), h.o, r); !errors.Is(err, errEnough) || done.Messages != 300 {
		t.Fatal(done, err)
	}
	most = 1001
	done, err := kafka.Replay(t.Context(), h.o, r)
	if err != nil || done.Messages != 700 || done.Skipped != 300 {
		t.Fatal(done, err)
	}
	if !slices.Equal(got, numbers(0, 1000)) {
		t.Fatal("messages are missing, or came twice")
	}
	x.Close()
	if e.twice > 0 || e.count() != 1000 {
		t.Errorf("the house's consumer got %d twice", e.twice)
	}
}

func noReplay(t *testing.T, h house) {
	r := kafka.ReplayOptions{Topic: "none", From: past, To: past.Add(time.Second), Emit: func(context.Context, *kafka.Message) error { return nil }}
	if _, err := kafka.Replay(t.Context(), h.o, r); err == nil {
		t.Error("a topic that is not there was replayed")
	}
	h.join(t, newEffects(), func(_ *kafka.Options, c *kafka.ConsumerOptions) { c.Group = "replay.busy" })
	r.Topic, r.Group = kafka.TopicTaskEvents, "busy"
	eventually(t, "a group with members is left alone", func() bool {
		_, err := kafka.Replay(t.Context(), h.o, r)
		return errors.Is(err, kafka.ErrGroupInUse)
	})
}
