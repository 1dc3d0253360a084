package actors

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the room measures. Never labelled by robot.
type metrics struct {
	drops          *prometheus.CounterVec // queue
	records        *prometheus.CounterVec // outcome
	panics         *prometheus.CounterVec // kind
	activations    *prometheus.CounterVec // kind
	alerts         *prometheus.CounterVec // action, cause
	active         *prometheus.GaugeVec   // kind
	errors         *prometheus.CounterVec // what
	coalesced      prometheus.Counter
	journalQueue   prometheus.Gauge
	journalGroup   prometheus.Histogram
	journalSeconds prometheus.Histogram
	assignment     prometheus.Histogram
	skippedTicks   prometheus.Counter
	snapshots      prometheus.Counter
	tables         prometheus.Counter
	tableVertices  prometheus.Counter
	tableGuesses   prometheus.Counter
	tableEvictions prometheus.Counter
	tableBytes     prometheus.Gauge
	tableSeconds   prometheus.Counter
	shards         prometheus.Gauge
	renewals       *prometheus.CounterVec // outcome
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_actors_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "starling_actors_" + name, Help: help}, labels)
	}
	plain := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_actors_" + name, Help: help})
	}
	m := &metrics{
		drops:        counter("dropped_total", "Mail and work refused or dropped at a bound.", "queue"),
		records:      counter("recorded_total", "Units by how their recording ended.", "outcome"),
		panics:       counter("panics_total", "Panics in actors.", "kind"),
		activations:  counter("activations_total", "Actors started.", "kind"),
		alerts:       counter("alert_steps_total", "Recorded steps of alerts.", "action", "cause"),
		active:       gauge("active", "Actors in memory.", "kind"),
		errors:       counter("errors_total", "Things that went wrong and were handled.", "what"),
		coalesced:    plain("statuses_coalesced_total", "Statuses overwritten by a newer one before they were read."),
		skippedTicks: plain("ticks_skipped_total", "Ticks not sent because the last one was not yet handled."),
		snapshots:    plain("snapshots_total", "Robot snapshots saved."),
		tables:       plain("tables_built_total", "Searches by which distance tables were made or grew."),
		tableSeconds: plain("tables_seconds_total", "Time spent in those searches."),

		tableVertices:  plain("tables_vertices_total", "Vertices settled by those searches."),
		tableGuesses:   plain("tables_guesses_total", "Tables that were estimated because the allowance for searches was used up."),
		tableEvictions: plain("tables_evicted_total", "Distance tables given up at the bound of memory."),
		renewals:       counter("renewals_total", "Lease renewals by outcome.", "outcome"),
		journalQueue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_actors_journal_queue", Help: "Units that wait for the journal.",
		}),
		tableBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_actors_tables_bytes", Help: "Memory of cached distance tables.",
		}),
		shards: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "starling_actors_shards", Help: "Shards in our hands.",
		}),
		journalGroup: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_actors_journal_group_units", Help: "Units of one group commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		journalSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_actors_journal_seconds", Help: "Duration of one group commit.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	m.assignment = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "starling_actors_assignment_seconds",
		Help:    "From when a task could be assigned (created, earliest start passed) to its first award recorded.",
		Buckets: prometheus.ExponentialBuckets(0.01, 2, 15),
	})
	if reg != nil {
		reg.MustRegister(m.drops, m.records, m.panics, m.activations, m.alerts, m.active, m.errors, m.coalesced, m.skippedTicks,
			m.snapshots, m.tables, m.tableSeconds, m.tableVertices, m.tableGuesses, m.tableEvictions, m.renewals, m.journalQueue, m.tableBytes, m.shards, m.journalGroup,
			m.journalSeconds, m.assignment)
	}
	return m
}

func (m *metrics) dropped(queue string) prometheus.Counter { return m.drops.WithLabelValues(queue) }
func (m *metrics) recorded(outcome string) prometheus.Counter {
	return m.records.WithLabelValues(outcome)
}
func (m *metrics) wrong(what string) prometheus.Counter { return m.errors.WithLabelValues(what) }
