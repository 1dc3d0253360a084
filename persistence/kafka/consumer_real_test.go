//go:build integration

package kafka_test

import (
	"maps"
	"testing"

	"starling/deploy/stack/stacktest"
	"starling/persistence/kafka"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

func TestARealKafkaIsConsumedAndReplayed(t *testing.T) {
	t.Parallel()
	tests := consumerTests()
	maps.Copy(tests, replayTests())
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, houseAt(t, stacktest.Kafka(t).Brokers()))
		})
	}
}

// The broker is killed while two members consume, and comes back with what it had: each message takes effect once, in order.
func TestConsumersOutliveTheBroker(t *testing.T) {
	t.Parallel()
	const keys, each = 20, 60
	server := stacktest.OwnKafka(t)
	h := houseAt(t, server.Brokers())
	e := newEffects()
	h.join(t, e, nil)
	h.join(t, e, nil)
	publish(t, h.client, keys, 0, 20)
	eventually(t, "the first messages", func() bool { return e.count() == 20*keys })
	publish(t, h.client, keys, 20, 40) // the broker ends while these are on their way to the members
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "those from before the crash", func() bool { return e.count() == 40*keys })
	eventually(t, "the broker takes messages", func() bool {
		return h.client.Publish(t.Context(), []kafka.Record{{Topic: kafka.TopicTaskEvents, Key: probe, Value: []byte("x")}})[0] == nil
	})
	publish(t, h.client, keys, 40, each)
	eventually(t, "those after it", func() bool { return e.count() == keys*each })
	e.inOrder(t, keys, each)
}
