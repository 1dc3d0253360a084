package kafka

import "github.com/prometheus/client_golang/prometheus"

type consumerMetrics struct {
	consumed   *prometheus.CounterVec
	retries    *prometheus.CounterVec
	rebalances *prometheus.CounterVec
	lag        *prometheus.GaugeVec
	partitions prometheus.Gauge
	age        prometheus.Gauge
	took       prometheus.Histogram
	all        []prometheus.Collector
}

// newConsumerMetrics are those of one group; the label tells it from others of the process.
func newConsumerMetrics(group string) *consumerMetrics {
	own := prometheus.Labels{"group": group}
	m := &consumerMetrics{
		consumed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_kafka_consumed_total", Help: "Messages by outcome: handled, dead (put into <topic>.dlq). Repeated ones count again.",
			ConstLabels: own,
		}, []string{"topic", "outcome"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_kafka_consumer_retries_total", Help: "Failures by cause: fetch, away (the store), bad (a message), commit.",
			ConstLabels: own,
		}, []string{"cause"}),
		rebalances: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_kafka_rebalances_total", Help: "Moves of partitions: assigned, revoked, lost.",
			ConstLabels: own,
		}, []string{"how"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_kafka_consumer_lag", Help: "Messages that the group has not committed: sum of a topic's partitions, and the worst of them.",
			ConstLabels: own,
		}, []string{"topic", "of"}),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_kafka_consumer_partitions", Help: "Partitions that this process reads.", ConstLabels: own,
		}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_kafka_consumer_age_seconds", Help: "Age of the last message when it had been handled.", ConstLabels: own,
		}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_kafka_consumer_batch_seconds", Help: "How long a batch took to be handled.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 11), ConstLabels: own,
		}),
	}
	m.all = []prometheus.Collector{m.consumed, m.retries, m.rebalances, m.lag, m.partitions, m.age, m.took}
	return m
}

// register registers them.
func (m *consumerMetrics) register(r prometheus.Registerer) error {
	for _, c := range m.all {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
