package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
)

type metrics struct {
	groups  *prometheus.CounterVec
	units   *prometheus.CounterVec
	size    prometheus.Histogram
	append  prometheus.Histogram
	commit  prometheus.Histogram
	audit   *prometheus.CounterVec
	dropped *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		groups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_postgres_groups_total", Help: "Group commits by outcome.",
		}, []string{"outcome"}),
		units: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_postgres_units_total", Help: "Recorded units by outcome.",
		}, []string{"outcome"}),
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_postgres_group_units", Help: "Units in a group commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_postgres_append_seconds", Help: "From the start of a group commit to its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_postgres_commit_seconds", Help: "COMMIT of group commits, with their audit intents where there are some.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		audit: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_postgres_audit_total",
			Help: "Audit rows: intents recorded or lost with what they are about, entries written or refused; intent_waited: transactions that waited for a locked log in vain.",
		}, []string{"outcome"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_postgres_dropped_total", Help: "What a full queue refused: transactions, or lists of the audit log, of a tenant with too many waiting.",
		}, []string{"queue"}),
	}
}

func (m *metrics) register(r prometheus.Registerer, pool *pgxpool.Pool) error {
	gauge := func(name, help string, read func(*pgxpool.Stat) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_postgres_pool_" + name, Help: help},
			func() float64 { return read(pool.Stat()) })
	}
	counter := func(name, help string, read func(*pgxpool.Stat) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "starling_postgres_pool_" + name, Help: help},
			func() float64 { return read(pool.Stat()) })
	}
	for _, c := range []prometheus.Collector{
		m.groups, m.units, m.size, m.append, m.commit, m.audit, m.dropped,
		gauge("conns", "Open connections.", func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		gauge("acquired", "Connections in use.", func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		gauge("max", "Bound of open connections.", func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
		counter("waits_total", "Acquisitions that had to wait for a connection.", func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }),
		counter("wait_seconds_total", "Time spent waiting for connections.", func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }),
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// outcome names how a unit or a group ended.
func outcome(err error) string {
	switch {
	case err == nil:
		return "recorded"
	case errors.Is(err, fact.ErrFenced):
		return "fenced"
	case errors.Is(err, fact.ErrConflict):
		return "conflict"
	case errors.Is(err, fact.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, fact.ErrUnknown):
		return "unknown"
	case errors.Is(err, fact.ErrBusy):
		return "busy"
	}
	return "rejected"
}
