//go:build integration

package kafka_test

import (
	"maps"
	"testing"

	"starling/deploy/stack/stacktest"
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
