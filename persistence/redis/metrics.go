package redis

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// mirrorMetrics counts what the mirror does.
type mirrorMetrics struct {
	written, older, stored, removed, missing, failures prometheus.Counter
	dropped, reads, fills                              *prometheus.CounterVec
	fillSeconds                                        prometheus.Histogram
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "starling", Subsystem: "redis", Name: name, Help: help})
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "starling", Subsystem: "redis", Name: name, Help: help}, []string{label})
}

func newMirrorMetrics() *mirrorMetrics {
	return &mirrorMetrics{
		written:  counter("views_written_total", "Views written as they changed."),
		older:    counter("views_older_total", "Views that were older than what Redis had, and left out."),
		stored:   counter("views_stored_total", "Views filled in from the store of facts."),
		removed:  counter("views_removed_total", "Views taken out that no row has any more."),
		missing:  counter("views_missing_total", "Reads that found a warehouse's views not whole."),
		failures: counter("views_failures_total", "Rounds of the mirror that failed; what was marked is written later."),
		dropped:  counters("dropped_total", "What was given up for want of room or sense; views are told anew by the next comparison.", "queue"),
		reads:    counters("view_reads_total", "Reads of views, by how they ended (ok, failed, away = not tried).", "outcome"),
		fills:    counters("fills_total", "Fillings of a warehouse's views from the store of facts.", "outcome"),
		fillSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "starling", Subsystem: "redis", Name: "fill_seconds", Help: "How long a filling took.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}),
	}
}

func (m *mirrorMetrics) filled(err error, took time.Duration) {
	outcome := "filled"
	if err != nil {
		outcome = "failed"
	}
	m.fills.WithLabelValues(outcome).Inc()
	m.fillSeconds.Observe(took.Seconds())
}

func (m *mirrorMetrics) register(r prometheus.Registerer, mirror *Mirror) error {
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "starling", Subsystem: "redis", Name: "views_pending", Help: "Changed views that wait to be written.",
	}, func() float64 {
		mirror.mu.Lock()
		defer mirror.mu.Unlock()
		return float64(mirror.pending)
	})
	for _, c := range []prometheus.Collector{
		m.written, m.older, m.stored, m.removed, m.missing, m.failures, m.dropped, m.reads, m.fills, m.fillSeconds, pending,
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of redis: %w", err)
		}
	}
	return nil
}
