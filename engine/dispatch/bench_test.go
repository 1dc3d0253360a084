package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// hall is a floor of 140 rows of 500 cells with shelves on it, as a large warehouse has.
func hall(b testing.TB) *roadmap.Graph {
	b.Helper()
	aisle, shelves := strings.Repeat(".", 500), "...."+strings.Repeat("@@@@...", 70)+"......"
	var rows strings.Builder
	for r := range 140 {
		if r%7 < 3 {
			rows.WriteString(aisle + "\n")
		} else {
			rows.WriteString(shelves + "\n")
		}
	}
	return grid(b, 1, "type octile\nheight 140\nwidth 500\nmap\n"+rows.String())
}

// crowd puts robots and tasks of two errands anywhere on the floor, the same ones for the same seed.
func crowd(g *roadmap.Graph, tasks, robots int, seed uint64) []dispatch.Msg {
	rng := rand.New(rand.NewPCG(seed, 1))
	anywhere := func() fleet.Vertex { return fleet.Vertex(rng.IntN(len(g.Vertices))) }
	var ms []dispatch.Msg
	for i := range robots {
		ms = append(ms, free(fmt.Sprintf("r%05d", i), anywhere()))
	}
	for i := range tasks {
		ms = append(ms, open(fmt.Sprintf("t%05d", i), anywhere(), func(s *task.Spec) { s.Errands = append(s.Errands, anywhere()) }))
	}
	return ms
}

func BenchmarkBatch(b *testing.B) {
	g := hall(b)
	for _, n := range []struct{ tasks, robots int }{{200, 300}, {1000, 1000}, {200, 10_000}, {7500, 5000}} {
		b.Run(fmt.Sprintf("%dx%d", n.tasks, n.robots), func(b *testing.B) { batches(b, g, n.tasks, n.robots, dispatch.Optimal) })
	}
}

// The policies side by side: what a batch costs to work out, and to drive.
func BenchmarkPolicies(b *testing.B) {
	g := hall(b)
	for _, n := range []struct{ tasks, robots int }{{1000, 1000}, {7500, 5000}} {
		for _, p := range []dispatch.Policy{dispatch.Greedy, dispatch.Optimal, dispatch.Hierarchical} {
			b.Run(fmt.Sprintf("%dx%d/%s", n.tasks, n.robots, p), func(b *testing.B) { batches(b, g, n.tasks, n.robots, p) })
		}
	}
}

// batches runs one batch again and again, and says what CPU time it took, the collector's too, and what its awards cost.
func batches(b *testing.B, g *roadmap.Graph, tasks, robots int, p dispatch.Policy) {
	b.Helper()
	ms := crowd(g, tasks, robots, 1)
	at, _, specs, _ := placed(ms)
	var spent time.Duration
	var out []dispatch.Effect
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
		s.Decide(t0, dispatch.Restored{Graph: g}, nil)
		s.Decide(t0, dispatch.RulesChanged{Policy: p, Charging: dispatch.UsualCharging()}, nil)
		for _, m := range ms {
			s.Decide(t0, m, nil)
		}
		runtime.GC()
		before := cpu(b)
		b.StartTimer()
		out = s.Decide(t0, dispatch.Ticked{}, nil)
		b.StopTimer()
		spent += cpu(b) - before
		b.StartTimer()
	}
	got, sum := offers(out), 0.0
	if len(got) != min(tasks, robots) {
		b.Fatalf("%d offered", len(got))
	}
	for id, r := range got {
		sum += priced(g, at[r], specs[id])
	}
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(sum, "cost")
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A warehouse of 10,000 robots, nine of ten at work: 50 tasks come a second and as many end. One operation is a second:
// all that is said of tasks and robots, and 20 batches of what has changed.
func BenchmarkChanges10000Robots50TasksASecond(b *testing.B) {
	g := hall(b)
	const robots, idle = 10_000, 1000
	s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	rng := rand.New(rand.NewPCG(1, 1))
	anywhere := func() fleet.Vertex { return fleet.Vertex(rng.IntN(len(g.Vertices))) }
	for i := range robots {
		m := free(fmt.Sprintf("r%05d", i), anywhere())
		m.Robot.Free = i < idle
		s.Decide(t0, m, nil)
	}
	now, n := t0, 0
	var worst time.Duration
	var out []dispatch.Effect
	b.ReportAllocs()
	for b.Loop() {
		for range 50 {
			now = now.Add(20 * time.Millisecond)
			n++
			began := time.Now()
			out = s.Decide(now, open(fmt.Sprintf("t%09d", n), anywhere(), func(s *task.Spec) { s.CreatedAt = now }), out[:0])
			out = s.Decide(now, dispatch.Woke{}, out)
			if n%50 == 0 {
				out = s.Decide(now, dispatch.Ticked{}, out)
			}
			worst = max(worst, time.Since(began))
			for id, r := range offers(out) {
				s.Decide(now, dispatch.TaskChanged{State: task.Held, Robot: r, Spec: task.Spec{ID: id}}, nil)
				s.Decide(now, dispatch.RobotChanged{Robot: dispatch.Robot{ID: r, At: anywhere(), Battery: 1}}, nil)
				s.Decide(now, dispatch.TaskChanged{State: task.Closed, Robot: r, Spec: task.Spec{ID: id}}, nil)
				other := free(fmt.Sprintf("r%05d", rng.IntN(robots)), anywhere())
				s.Decide(now, other, nil)
			}
		}
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}
