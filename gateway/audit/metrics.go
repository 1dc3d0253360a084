package audit

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	entries *prometheus.CounterVec
	dropped *prometheus.CounterVec
	signIns *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_audit_entries_total",
			Help: "Audit entries: queued, written to the store, spilled to the local journal, replayed from it, torn there.",
		}, []string{"step"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_audit_dropped_total", Help: "Audit entries and sign-ins that were lost, by the queue that had no room.",
		}, []string{"queue"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_audit_sign_ins_total", Help: "First uses of tokens: seen, and users kept or not.",
		}, []string{"outcome"}),
	}
}

func (m *metrics) register(to prometheus.Registerer, r *Recorder) error {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_audit_" + name, Help: help}, read)
	}
	for _, c := range []prometheus.Collector{
		m.entries, m.dropped, m.signIns,
		gauge("queue", "Audit entries in memory.", func() float64 { return float64(len(r.queue)) }),
		gauge("journal_bytes", "Size of the local journal of audit entries.", func() float64 { return float64(r.journal.size()) }),
		gauge("sink_down", "1 while the store does not take audit entries.", func() float64 {
			if r.down.Load() {
				return 1
			}
			return 0
		}),
	} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
