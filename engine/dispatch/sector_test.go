package dispatch_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// Matched by sectors, everybody gets something, it costs little more than the optimum, and the same thing is done each time.
func TestSectorsCostLittleMore(t *testing.T) {
	t.Parallel()
	g := hall(t)
	for _, n := range []struct{ tasks, robots int }{{300, 300}, {400, 420}, {600, 500}, {500, 2000}, {1000, 1000}, {1500, 1000}} {
		t.Run(fmt.Sprintf("%d tasks, %d robots", n.tasks, n.robots), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				ms := crowd(g, n.tasks, n.robots, seed)
				best, _ := costOf(t, g, ms, dispatch.Optimal)
				sum, got := costOf(t, g, ms, dispatch.Hierarchical)
				t.Logf("seed %d: %.0f m, the optimum is %.0f m: %.4f", seed, sum, best, sum/best)
				if len(got) != min(n.tasks, n.robots) || sum > 1.1*best {
					t.Errorf("seed %d: %d awards at %.0f m, the optimum is %.0f m", seed, len(got), sum, best)
				}
				if _, again := costOf(t, g, ms, dispatch.Hierarchical); !maps.Equal(got, again) {
					t.Errorf("seed %d: not the same again", seed)
				}
			}
		})
	}
}

// costOf is what the awards of a batch by the policy cost, and what they are.
func costOf(t testing.TB, g *roadmap.Graph, ms []dispatch.Msg, p dispatch.Policy) (float64, map[fleet.TaskID]fleet.RobotID) {
	t.Helper()
	robots, _, tasks, _ := placed(ms)
	got := offers(batchOf(g, ms, p))
	taken, sum := map[fleet.RobotID]bool{}, 0.0
	for id, r := range got {
		if taken[r] {
			t.Fatalf("%s has two tasks", r)
		}
		taken[r] = true
		sum += priced(g, robots[r], tasks[id])
	}
	return sum, got
}

func batchOf(g *roadmap.Graph, ms []dispatch.Msg, p dispatch.Policy) []dispatch.Effect {
	s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	s.Decide(t0, dispatch.RulesChanged{Policy: p, Charging: dispatch.UsualCharging()}, nil)
	for _, m := range ms {
		s.Decide(t0, m, nil)
	}
	return s.Decide(t0, dispatch.Ticked{}, nil)
}

// Where there are more tasks than robots, and robots stand where the tasks are not, the urgent ones of the whole floor go
// first; what a robot, a fleet or a capability is asked for holds as ever.
func TestSectorsServeTheUrgentAndTheParticular(t *testing.T) {
	t.Parallel()
	g := hall(t)
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var ms []dispatch.Msg
		robots, specs := map[fleet.RobotID]dispatch.Robot{}, map[fleet.TaskID]task.Spec{}
		for i := range 400 {
			m := free(fmt.Sprintf("r%05d", i), fleet.Vertex(rng.IntN(len(g.Vertices)/3)))
			if m.Robot.Fleet = "even"; i%2 == 1 {
				m.Robot.Fleet, m.Robot.Capabilities = "odd", []string{"lift"}
			}
			robots[m.Robot.ID] = m.Robot
			ms = append(ms, m)
		}
		for i := range 1000 {
			m := open(fmt.Sprintf("t%05d", i), fleet.Vertex(rng.IntN(len(g.Vertices))), func(s *task.Spec) {
				s.CreatedAt = t0.Add(-time.Duration(rng.IntN(2400)) * time.Second)
				switch i % 50 {
				case 0, 10, 20, 30, 40:
					s.Fleet = "odd"
				case 1, 11, 21, 31, 41:
					s.Payload = []byte(`{"requires":["lift"]}`)
				case 2:
					s.Robot = fleet.RobotID(fmt.Sprintf("r%05d", rng.IntN(400)))
				}
			})
			specs[m.Spec.ID] = m.Spec
			ms = append(ms, m)
		}
		sum := map[dispatch.Policy]float64{}
		travel := 0.0
		for _, p := range []dispatch.Policy{dispatch.Optimal, dispatch.Hierarchical} {
			n := 0
			for _, e := range batchOf(g, ms, p) {
				o, ok := e.(dispatch.Offer)
				if !ok {
					continue
				}
				n++
				sum[p] += o.Decision.Cost.Total
				if p == dispatch.Optimal {
					travel += o.Decision.Cost.Travel
				}
				s, r := specs[o.Task], robots[o.Robot]
				if s.Fleet != "" && s.Fleet != r.Fleet || s.Robot != "" && s.Robot != r.ID || len(s.Payload) > 0 && r.Capabilities == nil {
					t.Errorf("%s, which asks for %q %q %s, goes to %+v", o.Task, s.Fleet, s.Robot, s.Payload, r)
				}
			}
			if n != 400 {
				t.Errorf("seed %d, %s: %d of 400 robots have something", seed, p, n)
			}
		}
		more := sum[dispatch.Hierarchical] - sum[dispatch.Optimal]
		t.Logf("seed %d: %.0f s more than the optimum, which drives %.0f", seed, more, travel)
		if more > 0.1*travel {
			t.Errorf("seed %d: %.0f s more than the optimum, which drives %.0f", seed, more, travel)
		}
	}
}
