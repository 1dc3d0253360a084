package outbox

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	sent    *prometheus.CounterVec
	failed  *prometheus.CounterVec
	dead    *prometheus.CounterVec
	dropped *prometheus.CounterVec
	faults  *prometheus.CounterVec
	pending *prometheus.GaugeVec
	oldest  *prometheus.GaugeVec
	parked  *prometheus.GaugeVec
	held    prometheus.Gauge
	apart   prometheus.Gauge
	delay   prometheus.Histogram
	batch   prometheus.Histogram
}

func newMetrics() *metrics {
	byTopic := []string{"topic"}
	return &metrics{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_outbox_sent_total", Help: "Facts that the brokers keep.",
		}, byTopic),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_outbox_failed_total", Help: "Tries that failed: refused (the fact's fault), away (the brokers').",
		}, []string{"topic", "reason"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_outbox_dead_total", Help: "Facts that became dead letters.",
		}, byTopic),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_outbox_dropped_total", Help: "What was left out: mirror, a JSON mirror that the brokers refuse. Facts never are.",
		}, []string{"queue"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_outbox_faults_total", Help: "What the store did not do: claim, mark, sweep, locks, lag, …; it is tried again.",
		}, []string{"step"}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_outbox_pending", Help: "Facts that wait, in the shards that this process pumps; counted up to 10,000 a shard.",
		}, byTopic),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_outbox_oldest_seconds", Help: "Age of the oldest fact that waits, in the shards that this process pumps.",
		}, byTopic),
		parked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_outbox_dead_letters", Help: "Dead letters that nobody has dealt with, in the shards that this process pumps.",
		}, byTopic),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_outbox_shards", Help: "Shards that this process pumps.",
		}),
		apart: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_outbox_apart", Help: "1 while this worker leaves its shards to others, since the brokers take nothing from it.",
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_outbox_delay_seconds", Help: "From recording a fact to the brokers' answer.",
			Buckets: []float64{0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60, 300, 1800},
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_outbox_batch_facts", Help: "Facts in a claim.", Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		m.sent, m.failed, m.dead, m.dropped, m.faults, m.pending, m.oldest, m.parked, m.held, m.apart, m.delay, m.batch,
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
