package actors

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// slowSink takes batches only while its gate is open.
type slowSink struct {
	gate chan struct{}
	mu   sync.Mutex
	got  []fact.Status
}

func (s *slowSink) WriteStatuses(ctx context.Context, batch []fact.Status) {
	select {
	case <-s.gate:
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, batch...)
}

func (s *slowSink) open() *slowSink { close(s.gate); return s }

func measured(pace robot.Pace, seq uint64) *robot.View {
	return &robot.View{ID: fleet.RobotID(fmt.Sprint("r", seq%7)), Seq: seq, Pace: pace}
}

// Whatever comes while a sink is away, the newest of each pace within its share is kept, in the order in which it was
// measured, and every one that is not is counted.
func TestTheNewestOfEachPaceIsKeptInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(4, 5000).Draw(rt, "ring")
		reg := prometheus.NewPedanticRegistry()
		sink := &slowSink{gate: make(chan struct{})}
		w := NewTelemetryWriter(TelemetryOptions{
			Sinks: map[string]StatusSink{"s": sink}, Ring: size, Batch: rapid.IntRange(1, 100).Draw(rt, "batch"), Every: time.Hour, Registerer: reg,
		})
		q := w.queues[0]
		q.batch = q.batch[:0] // nothing is taken before the end
		kept := map[robot.Pace][]uint64{}
		n := rapid.IntRange(0, 3*size).Draw(rt, "statuses")
		paces := rapid.SliceOfN(rapid.IntRange(0, robot.Paces-1), 1, 20).Draw(rt, "paces")
		for i := range n {
			p := robot.Pace(paces[i%len(paces)])
			w.Measure(testShard, measured(p, uint64(i)))
			kept[p] = append(kept[p], uint64(i))
		}
		want, lost := []uint64{}, 0
		for p, all := range kept {
			share := max(1, size/4)
			if p == robot.PaceMoving {
				share = max(1, size/2)
			}
			lost += max(0, len(all)-share)
			want = append(want, all[max(0, len(all)-share):]...)
		}
		slices.Sort(want)
		q.mu.Lock()
		q.batch = q.batch[:cap(q.batch)]
		q.mu.Unlock()
		sink.open()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		w.Stop(ctx)
		var got []uint64
		for i := range sink.got {
			got = append(got, sink.got[i].Seq)
		}
		if !slices.Equal(got, want) && len(got)+len(want) > 0 {
			rt.Fatalf("kept %v, want %v", got, want)
		}
		dropped := 0.0
		for _, p := range []robot.Pace{robot.PaceIdle, robot.PaceMoving, robot.PaceAlarmed} {
			dropped += testutil.ToFloat64(q.dropped[p])
		}
		if int(dropped) != lost {
			rt.Fatalf("%v counted as dropped, want %d", dropped, lost)
		}
	})
}

func TestASinkThatHangsHoldsUpNobodyAndEndsWithTheWriter(t *testing.T) {
	t.Parallel()
	hung, fine := &slowSink{gate: make(chan struct{})}, (&slowSink{gate: make(chan struct{})}).open()
	w := NewTelemetryWriter(TelemetryOptions{Sinks: map[string]StatusSink{"hung": hung, "fine": fine}, Ring: 64, Batch: 8, Every: time.Millisecond})
	for i := range 1000 {
		w.Measure(testShard, measured(robot.PaceMoving, uint64(i)))
		if i%16 == 0 {
			until := time.Now().Add(10 * time.Second)
			for { // the other sink has taken all so far
				fine.mu.Lock()
				n := len(fine.got)
				fine.mu.Unlock()
				if n == i+1 {
					break
				}
				if time.Now().After(until) {
					t.Fatalf("the sink that works has %d of %d", n, i+1)
				}
				runtime.Gosched()
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w.Stop(ctx) // returns although one hangs
	if len(fine.got) != 1000 || len(hung.got) != 0 {
		t.Fatalf("%d and %d taken", len(fine.got), len(hung.got))
	}
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	sink := (&slowSink{gate: make(chan struct{})})
	w := NewTelemetryWriter(TelemetryOptions{Sinks: map[string]StatusSink{"a": sink, "b": sink}, Ring: 1024, Every: time.Hour})
	defer func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.Stop(ctx)
	}()
	v := measured(robot.PaceMoving, 1)
	for range 2000 {
		w.Measure(testShard, v)
	}
	if n := testing.AllocsPerRun(1000, func() { w.Measure(testShard, v) }); n != 0 {
		t.Fatalf("%v allocations a status", n)
	}
}

// probe is a telemetry port that remembers.
type probe struct {
	mu    sync.Mutex
	views []robot.View
	ended []task.View
}

func (p *probe) Measure(_ fleet.Shard, v *robot.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.views = append(p.views, *v)
}

func (p *probe) TaskEnded(v *task.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, *v)
}

func (p *probe) count() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.views) }

// A tenant's rates are looked up again and again: a change reaches robots under way, their links and what is measured.
func TestARateThatChangesHoldsForRobotsAtWork(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	rates := robot.UsualSampling()
	p := &probe{}
	b := newBed(t, func(o *Options) {
		o.Telemetry = p
		o.Sampling = func(context.Context, fleet.Shard) robot.Sampling { mu.Lock(); defer mu.Unlock(); return rates }
	})
	r := testRobot(0)
	if _, err := b.RegisterRobot(t.Context(), r, 0, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	drive := func(d time.Duration) int { // ten reports a second
		t.Helper()
		before := p.count()
		for range int(d / (100 * time.Millisecond)) {
			seq++
			if _, _, err := b.ReportStatus(t.Context(), testShard, r.ID, robot.StatusReported{
				BootID: "b", Seq: seq, At: b.now(), ReceivedAt: b.now(), State: fleet.Moving, Velocity: 1,
			}); err != nil {
				t.Fatal(err)
			}
			b.pass(t, 100*time.Millisecond)
		}
		return p.count() - before
	}
	drive(2 * time.Second)
	if n := drive(10 * time.Second); n < 9 || n > 11 {
		t.Fatalf("%d measured in 10 s, want one a second", n)
	}
	mu.Lock()
	rates.MovingHz = 5
	mu.Unlock()
	drive(rulesAgain + time.Second)
	if n := drive(10 * time.Second); n < 45 || n > 55 {
		t.Fatalf("%d measured in 10 s, want five a second", n)
	}
}

func BenchmarkTelemetry(b *testing.B) {
	for _, sinks := range []int{1, 2} {
		b.Run(fmt.Sprint(sinks, " sinks"), func(b *testing.B) {
			s := map[string]StatusSink{}
			for i := range sinks {
				s[fmt.Sprint(i)] = (&emptySink{})
			}
			w := NewTelemetryWriter(TelemetryOptions{Sinks: s})
			defer w.Stop(b.Context())
			v := measured(robot.PaceMoving, 1)
			b.ReportAllocs()
			for b.Loop() {
				w.Measure(testShard, v)
			}
		})
	}
}

type emptySink struct{}

func (*emptySink) WriteStatuses(context.Context, []fact.Status) {}
