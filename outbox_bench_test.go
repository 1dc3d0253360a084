//go:build integration

package main

import (
	"sort"
	"syscall"
	"testing"
	"time"

	"starling/deploy/stack/stacktest"
)

// BenchmarkOutboxToKafka drains a backlog of 40,000 facts of 10,000 tasks from a real database into a real broker.
func BenchmarkOutboxToKafka(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := newOutboxRig(b, stacktest.Kafka(b).Brokers(), roleEngine, nil)
		r.topics(b)
		for _, round := range r.units(10_000, 3, `{"dropoff":"7"}`) {
			r.append(b, round)
		}
		before := cpuSeconds()
		b.StartTimer()
		w := r.process(b, roleWorker)
		r.empty(b)
		b.StopTimer()
		b.ReportMetric(40_000/b.Elapsed().Seconds(), "facts/s")
		b.ReportMetric((cpuSeconds()-before)*1e6/40_000, "own-cpu-µs/fact")
		w.forget()
		r.writer.forget()
		b.StartTimer()
	}
}

// BenchmarkOutboxDelay records one fact at a time, with nothing else to do, and tells how long it took from the call that
// records it until a reader of Kafka has it.
func BenchmarkOutboxDelay(b *testing.B) {
	r := newOutboxRig(b, stacktest.Kafka(b).Brokers(), roleWorker, nil)
	r.topics(b)
	arrived := r.follow(b, "task.events")
	var took []time.Duration
	for b.Loop() {
		round := r.units(1, 0, `{"dropoff":"7"}`)[0]
		began := time.Now()
		r.append(b, round)
		<-arrived
		took = append(took, time.Since(began))
		time.Sleep(10 * time.Millisecond)
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	for name, at := range map[string]int{"p50-ms": len(took) / 2, "p99-ms": len(took) * 99 / 100, "max-ms": len(took) - 1} {
		b.ReportMetric(took[at].Seconds()*1000, name)
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
