//go:build integration

package kafka_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/persistence/kafka"
)

// cpuOf is what a process has used so far.
func cpuOf(b *testing.B, pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // of Linux's 100 ticks a second
}

// BenchmarkStatusesToKafka sends what robots say to the real broker, a batch at a time, as fast as it takes them; the
// processor's time is told of both sides.
func BenchmarkStatusesToKafka(b *testing.B) {
	s := stacktest.Kafka(b)
	reg := prometheus.NewPedanticRegistry()
	o := kafka.Options{Brokers: s.Brokers(), Prefix: "bench."}
	c, err := kafka.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if err := c.EnsureTopics(b.Context()); err != nil {
		b.Fatal(err)
	}
	o.Registerer, o.Buffered = reg, 1<<18
	p := statuses(b, o)
	sent := func() (n int) {
		all, err := reg.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range all {
			switch f.GetName() {
			case "starling_kafka_statuses_total":
				n += int(f.Metric[0].GetCounter().GetValue())
			case "starling_kafka_dropped_total":
				for _, m := range f.Metric {
					b.Fatalf("%v dropped: %v", m.GetCounter().GetValue(), m.Label)
				}
			}
		}
		return n
	}
	batch := make([]fact.Status, 5000)
	for i := range batch {
		batch[i] = measured(i)
	}
	n := 0
	server, own := cpuOf(b, s.PID()), cpuOf(b, os.Getpid())
	for b.Loop() {
		for n-sent() > 100_000 {
			time.Sleep(time.Millisecond)
		}
		p.WriteStatuses(b.Context(), batch)
		n += len(batch)
	}
	for end := time.Now().Add(time.Minute); sent() < n && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if sent() != n {
		b.Fatalf("%d of %d taken", sent(), n)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "statuses/s")
	b.ReportMetric(float64((cpuOf(b, s.PID())-server).Microseconds())/float64(n), "server-us/status")
	b.ReportMetric(float64((cpuOf(b, os.Getpid())-own).Microseconds())/float64(n), "client-us/status")
}
