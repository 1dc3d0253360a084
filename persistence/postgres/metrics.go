package postgres

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// storeMetrics are what the room tells about itself.
type storeMetrics struct {
	groups  *prometheus.CounterVec // by outcome: together, split, fenced, unavailable, unknown
	units   prometheus.Counter
	dropped prometheus.Counter
}

func (s *Store) register(r prometheus.Registerer) error {
	s.metrics = storeMetrics{
		groups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_postgres_groups_total", Help: "Group commits by how they went.",
		}, []string{"outcome"}),
		units: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_postgres_units_total", Help: "Units recorded.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_postgres_dropped_total", Help: "Units of unknown outcome forgotten at the bound.",
			ConstLabels: prometheus.Labels{"queue": "doubt"},
		}),
	}
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		s.metrics.groups, s.metrics.units, s.metrics.dropped,
		s.gauge("starling_postgres_connections", "Open connections.", func() float64 { return float64(s.pool.Stat().TotalConns()) }),
		s.gauge("starling_postgres_connections_in_use", "Connections in use.", func() float64 { return float64(s.pool.Stat().AcquiredConns()) }),
		s.gauge("starling_postgres_acquire_waits", "Waits for a connection since the start.", func() float64 { return float64(s.pool.Stat().EmptyAcquireCount()) }),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the store's metrics: %w", err)
		}
	}
	return nil
}

func (s *Store) gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}
