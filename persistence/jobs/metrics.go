package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	made    *prometheus.CounterVec
	done    *prometheus.CounterVec
	took    *prometheus.HistogramVec
	running *prometheus.GaugeVec
	queue   *prometheus.GaugeVec
	age     *prometheus.GaugeVec
	dropped *prometheus.CounterVec
	found   *prometheus.CounterVec
	last    *prometheus.GaugeVec
}

func newMetrics() *metrics {
	return &metrics{
		made: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_jobs_made_total", Help: "Jobs asked for, by outcome: made, there (one of its key exists), again (a failed one runs once more), failed.",
		}, []string{"job", "outcome"}),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_jobs_done_total", Help: "Tries of jobs by outcome: done, failed, elsewhere (another process must do it).",
		}, []string{"job", "outcome"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "starling_jobs_seconds", Help: "How long a try took.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"job"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_jobs_running", Help: "Jobs under way in this process.",
		}, []string{"job"}),
		queue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_jobs_queue", Help: "Jobs in a queue by state.",
		}, []string{"queue", "state"}),
		age: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_jobs_queue_age_seconds", Help: "Age of the oldest pending job of a queue.",
		}, []string{"queue"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_jobs_dropped_total", Help: "What a full queue refused; local: beats that found earlier ones still running while there is no Redis.",
		}, []string{"queue"}),
		found: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_jobs_found_total", Help: "What the periodic jobs found: stuck tasks by cause, idle shards, stale robots, mismatches by kind, what was forgotten.",
		}, []string{"job", "what"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_jobs_last_found", Help: "What the last run of a periodic job found.",
		}, []string{"job", "what"}),
	}
}

func (m *metrics) register(r prometheus.Registerer, run *Runner) error {
	away := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "starling_jobs_away", Help: "1 while Redis does not answer.",
	}, func() float64 {
		if run.away.Load() {
			return 1
		}
		return 0
	})
	for _, c := range []prometheus.Collector{m.made, m.done, m.took, m.running, m.queue, m.age, m.dropped, m.found, m.last, away} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// complaints takes what the library would print.
type complaints struct{ log *slog.Logger }

func (c complaints) say(args []any) {
	c.log.LogAttrs(context.Background(), slog.LevelDebug, "job queue client", slog.String("event", "jobs.client"), slog.String("detail", strings.TrimSpace(fmt.Sprint(args...))))
}

// Debug implements the library's logger, as the others do.
func (c complaints) Debug(args ...any) { c.say(args) }

// Info implements the library's logger.
func (c complaints) Info(args ...any) { c.say(args) }

// Warn implements the library's logger.
func (c complaints) Warn(args ...any) { c.say(args) }

// Error implements the library's logger.
func (c complaints) Error(args ...any) { c.say(args) }

// Fatal implements the library's logger; it ends nothing.
func (c complaints) Fatal(args ...any) { c.say(args) }
