package quota

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	refused *prometheus.CounterVec
	dropped *prometheus.CounterVec
	alone   prometheus.Counter
	late    prometheus.Counter
}

func newMetrics(r prometheus.Registerer, q *Quotas) *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_quota_refused_total", Help: "Units that tenants' quotas refused."}, []string{"quota"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_quota_dropped_total", Help: "What a bound of the quotas' own bookkeeping dropped: tenants forgotten, refreshes of settings put off or failed, origins beyond the most."}, []string{"queue"}),
		alone:   prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_quota_counter_failures_total", Help: "Calls of the shared count that failed; the process counted alone."}),
	}
	m.late = prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_quota_late_total", Help: "Requests that did not wait any longer for the shared count and were decided alone."})
	shared := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_quota_shared", Help: "1 = quotas are counted together with the other processes, 0 = by this one alone."}, func() float64 {
		if q.o.Counter == nil || q.circuit.open() {
			return 0
		}
		return 1
	})
	if r != nil {
		r.MustRegister(m.refused, m.dropped, m.alone, m.late, shared)
	}
	return m
}
