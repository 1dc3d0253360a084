package link

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	streams  prometheus.Gauge
	robots   prometheus.Gauge
	frames   *prometheus.CounterVec
	statuses prometheus.Counter
	closed   *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	paced    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		streams:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_link_streams", Help: "Open streams."}),
		robots:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_link_robots", Help: "Robots that a stream carries."}),
		frames:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_link_frames_total", Help: "Frames by kind."}, []string{"kind"}),
		statuses: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_link_statuses_total", Help: "Statuses taken."}),
		closed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_link_closed_total", Help: "Streams ended by code."}, []string{"code"}),
		dropped:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_link_dropped_total", Help: "What a full queue refused."}, []string{"queue"}),
		paced:    prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_link_paced_total", Help: "Times a stream was read no further for a while."}),
	}
	if r != nil {
		r.MustRegister(m.streams, m.robots, m.frames, m.statuses, m.closed, m.dropped, m.paced)
	}
	return m
}
