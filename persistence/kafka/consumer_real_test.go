//go:build integration

package kafka_test

import (
	"testing"

	"starling/deploy/stack/stacktest"
)

func TestConsumerOfARealKafka(t *testing.T) {
	t.Parallel()
	for name, test := range consumerTests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, houseAt(t, stacktest.Kafka(t).Brokers()))
		})
	}
}

func TestMain(m *testing.M) { stacktest.Main(m) }
