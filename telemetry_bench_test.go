//go:build integration

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
	"starling/deploy/stack/stacktest"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/influx"
	"starling/persistence/kafka"
)

// BenchmarkSampledTelemetry lets robots report once a second each, a third of them on the move and one in a thousand
// in trouble: their cores decide what is measured, and the writer hands it to the real Kafka and the real InfluxDB. One
// iteration is one second of theirs; it ends when both have taken all of it. The processor's time is told of each side.
func BenchmarkSampledTelemetry(b *testing.B) {
	const robots = 20_000
	in, ka := stacktest.Influx(b), stacktest.Kafka(b)
	reg := prometheus.NewPedanticRegistry()
	c, err := influx.Open(b.Context(), influx.Options{URL: in.URL(), Org: in.Org(), Token: in.Token(), Bucket: "scale", Dir: b.TempDir(), SpoolBytes: 1 << 30, Timeout: time.Minute, Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	o := kafka.Options{Brokers: ka.Brokers(), Prefix: "scale.", Buffered: 1 << 18, Registerer: reg}
	topics, err := kafka.Open(b.Context(), kafka.Options{Brokers: ka.Brokers(), Prefix: "scale."})
	if err != nil {
		b.Fatal(err)
	}
	defer topics.Close()
	if err := topics.EnsureTopics(b.Context()); err != nil {
		b.Fatal(err)
	}
	p, err := kafka.OpenStatuses(o)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	w := actors.NewTelemetryWriter(actors.TelemetryOptions{Sinks: map[string]actors.StatusSink{"influx": c, "kafka": p}, Ring: 1 << 18, Registerer: reg})
	defer w.Stop(context.Background())

	f := newSampledFleet(b, robots, w)
	count := func(name string) (n int) {
		all, err := reg.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range all {
			if m.GetName() == name {
				for _, x := range m.Metric {
					n += int(x.GetCounter().GetValue())
				}
			}
		}
		return n
	}
	second := func() {
		f.report(b)
		for end := time.Now().Add(10 * time.Minute); count("starling_influx_points_total") < f.measured || count("starling_kafka_statuses_total") < f.measured; time.Sleep(10 * time.Millisecond) {
			if lost := count("starling_telemetry_dropped_total") + count("starling_kafka_dropped_total") + count("starling_influx_dropped_total"); lost > 0 || time.Now().After(end) {
				b.Fatalf("%d dropped; %d measured, InfluxDB has %d, Kafka %d", lost, f.measured, count("starling_influx_points_total"), count("starling_kafka_statuses_total"))
			}
		}
	}
	for range 12 { // series are made, idle robots settle
		second()
	}
	before, began := f.measured, time.Now()
	cpu := func() [3]time.Duration {
		return [3]time.Duration{cpuTime(b, os.Getpid()), cpuTime(b, in.PID()), cpuTime(b, ka.PID())}
	}
	from, n := cpu(), 0
	for b.Loop() {
		second()
		n++
	}
	to := cpu()
	each := float64(n)
	b.ReportMetric(float64(f.measured-before)/each, "measured/s")
	b.ReportMetric(float64(f.measured-before)/time.Since(began).Seconds(), "statuses/s")
	for i, name := range []string{"engine", "influxdb", "kafka"} {
		b.ReportMetric((to[i]-from[i]).Seconds()/each, name+"-cpu-s/s")
	}
}

func cpuTime(b *testing.B, pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // of Linux's 100 ticks a second
}

// sampledFleet is the cores of many robots, without the rest of the house.
type sampledFleet struct {
	shard    fleet.Shard
	cores    []*robot.State
	specs    []robot.Spec
	now      time.Time
	seq      uint64
	out      []robot.Effect
	view     robot.View
	to       *actors.TelemetryWriter
	measured int
}

func newSampledFleet(b *testing.B, n int, w *actors.TelemetryWriter) *sampledFleet {
	f := &sampledFleet{
		shard: fleet.Shard{Tenant: "11111111-1111-4111-8111-111111111111", Warehouse: "22222222-2222-4222-8222-222222222222"},
		now:   time.Now().Add(-time.Hour), to: w,
	}
	for i := range n {
		spec := robot.Spec{ID: fleet.RobotID(fmt.Sprintf("33333333-3333-4333-8333-%012d", i)), Protocol: "rest", Control: fleet.ControlExternal, MaxSpeedMPS: 1.5}
		s := robot.New(f.now, robot.Rules{})
		s.Apply(f.now, robot.Registered{Spec: spec, Version: 1})
		s.Apply(f.now, robot.ConnectionChanged{From: fleet.NeverSeen, To: fleet.Online, At: f.now})
		f.cores, f.specs = append(f.cores, s), append(f.specs, spec)
	}
	return f
}

// report lets every robot report once, and a second pass.
func (f *sampledFleet) report(b *testing.B) {
	f.now = f.now.Add(time.Second)
	f.seq++
	for i, s := range f.cores {
		m := robot.StatusReported{BootID: "b", Seq: f.seq, At: f.now, ReceivedAt: f.now, Pose: fleet.Pose{X: float64(i % 500)}, Battery: .5, State: fleet.Idle}
		switch {
		case i%1000 == 0:
			m.State = fleet.Error
		case i%3 == 0:
			m.State, m.Velocity, m.Pose.Y = fleet.Moving, 1.5, float64(f.seq)*1.5
		}
		f.out = s.Decide(f.now, &m, f.out[:0])
		for _, e := range f.out {
			if _, ok := e.(robot.Measure); ok {
				s.View(&f.view)
				f.view.ID = f.specs[i].ID
				f.to.Measure(f.shard, &f.view)
				f.measured++
			}
		}
	}
	if f.measured == 0 {
		b.Fatal("nothing is measured")
	}
}
