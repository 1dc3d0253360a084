package dispatch_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// optimum is the least total cost of giving each row a column of its own, rows being no more than columns: the Hungarian
// method in its plainest form, over the whole matrix.
func optimum(cost [][]float64) float64 {
	n, m := len(cost), len(cost[0])
	u, v, p, way := make([]float64, n+1), make([]float64, m+1), make([]int, m+1), make([]int, m+1)
	for i := 1; i <= n; i++ {
		p[0] = i
		least, used := make([]float64, m+1), make([]bool, m+1)
		for j := range least {
			least[j] = math.Inf(1)
		}
		j0 := 0
		for p[j0] != 0 {
			used[j0] = true
			delta, j1 := math.Inf(1), 0
			for j := 1; j <= m; j++ {
				if used[j] {
					continue
				}
				if c := cost[p[j0]-1][j-1] - u[p[j0]] - v[j]; c < least[j] {
					least[j], way[j] = c, j0
				}
				if least[j] < delta {
					delta, j1 = least[j], j
				}
			}
			for j := 0; j <= m; j++ {
				if used[j] {
					u[p[j]] += delta
					v[j] -= delta
				} else {
					least[j] -= delta
				}
			}
			j0 = j1
		}
		for j0 != 0 {
			p[j0] = p[way[j0]]
			j0 = way[j0]
		}
	}
	sum := 0.0
	for j := 1; j <= m; j++ {
		if p[j] != 0 {
			sum += cost[p[j]-1][j-1]
		}
	}
	return sum
}

// placed reads a crowd back: where its robots are, and what its tasks are.
func placed(ms []dispatch.Msg) (robots map[fleet.RobotID]fleet.Vertex, ids []fleet.RobotID, tasks map[fleet.TaskID]*task.Spec, specs []*task.Spec) {
	robots, tasks = map[fleet.RobotID]fleet.Vertex{}, map[fleet.TaskID]*task.Spec{}
	for _, m := range ms {
		switch m := m.(type) {
		case dispatch.RobotChanged:
			robots[m.Robot.ID] = m.Robot.At
			ids = append(ids, m.Robot.ID)
		case dispatch.TaskChanged:
			tasks[m.Spec.ID] = &m.Spec
			specs = append(specs, &m.Spec)
		}
	}
	return robots, ids, tasks, specs
}

// priced is what a batch takes for the cost of giving a task to a robot at a vertex.
func priced(g *roadmap.Graph, at fleet.Vertex, t *task.Spec) float64 {
	first := g.Manhattan(at, t.Errands[0])
	return first + 0.3*(driven(g, at, t)-first)
}

// driven is what a robot at a vertex drives for a task.
func driven(g *roadmap.Graph, at fleet.Vertex, t *task.Spec) float64 {
	d := 0.0
	for _, v := range t.Errands {
		d += g.Manhattan(at, v)
		at = v
	}
	return d
}

func TestABatchIsAsGoodAsTheOptimum(t *testing.T) {
	t.Parallel()
	g := hall(t)
	for _, n := range []struct{ tasks, robots int }{{200, 300}, {300, 300}, {300, 200}, {100, 1000}, {400, 420}} {
		t.Run(fmt.Sprintf("%d tasks, %d robots", n.tasks, n.robots), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				ms := crowd(g, n.tasks, n.robots, seed)
				robots, ids, tasks, specs := placed(ms)
				var matrix [][]float64
				if n.tasks <= n.robots {
					for _, s := range specs {
						var row []float64
						for _, r := range ids {
							row = append(row, priced(g, robots[r], s))
						}
						matrix = append(matrix, row)
					}
				} else {
					for _, r := range ids {
						var row []float64
						for _, s := range specs {
							row = append(row, priced(g, robots[r], s))
						}
						matrix = append(matrix, row)
					}
				}
				s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
				s.Decide(t0, dispatch.Restored{Graph: g}, nil)
				for _, m := range ms {
					s.Decide(t0, m, nil)
				}
				got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
				sum := 0.0
				for id, r := range got {
					sum += priced(g, robots[r], tasks[id])
				}
				best := optimum(matrix)
				t.Logf("seed %d: %.0f m, the optimum is %.0f m: %.4f", seed, sum, best, sum/best)
				if len(got) != min(n.tasks, n.robots) || sum > 1.02*best {
					t.Errorf("seed %d: %d awards at %.0f m, the optimum is %.0f m", seed, len(got), sum, best)
				}
			}
		})
	}
}

// TestABatchIsAsGoodAsORTools holds batches against what OR-tools found for the same places (testdata/ortools/make.py).
func TestABatchIsAsGoodAsORTools(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/ortools/costs.json")
	if err != nil {
		t.Fatal(err)
	}
	var instances []struct {
		Rows, Columns []fleet.Vertex
		Cost          float64
	}
	if err := json.Unmarshal(text, &instances); err != nil || len(instances) < 4 {
		t.Fatalf("%d instances, %v", len(instances), err)
	}
	g := hall(t)
	for _, in := range instances {
		for _, turned := range []bool{false, true} {
			tasks, robots := in.Rows, in.Columns
			if turned {
				tasks, robots = robots, tasks
			}
			t.Run(fmt.Sprintf("%d tasks, %d robots", len(tasks), len(robots)), func(t *testing.T) {
				t.Parallel()
				s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
				s.Decide(t0, dispatch.Restored{Graph: g}, nil)
				for i, v := range robots {
					s.Decide(t0, free(fmt.Sprintf("r%05d", i), v), nil)
				}
				for i, v := range tasks {
					s.Decide(t0, open(fmt.Sprintf("t%05d", i), v), nil)
				}
				n, sum := 0, 0.0
				for _, e := range s.Decide(t0, dispatch.Ticked{}, nil) {
					if o, ok := e.(dispatch.Offer); ok {
						n++
						sum += o.Decision.Cost.Travel
					}
				}
				t.Logf("%.0f m, OR-tools %.0f m: %.4f", sum, in.Cost, sum/in.Cost)
				if n != len(in.Rows) || sum > 1.02*in.Cost || sum < in.Cost-1e-6 {
					t.Errorf("%d awards at %.0f m, OR-tools has %.0f m", n, sum, in.Cost)
				}
			})
		}
	}
}

func TestTheOptimalPolicyDrivesLessThanTheGreedyOne(t *testing.T) {
	t.Parallel()
	g := hall(t)
	sum := map[dispatch.Policy]float64{}
	for _, p := range []dispatch.Policy{dispatch.Optimal, dispatch.Greedy} {
		s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
		s.Decide(t0, dispatch.Restored{Graph: g}, nil)
		s.Decide(t0, dispatch.RulesChanged{Policy: p}, nil)
		ms := crowd(g, 300, 300, 1)
		robots, _, tasks, _ := placed(ms)
		for _, m := range ms {
			s.Decide(t0, m, nil)
		}
		got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
		if len(got) != 300 {
			t.Fatalf("policy %d: %d offers", p, len(got))
		}
		for id, r := range got {
			sum[p] += priced(g, robots[r], tasks[id])
		}
	}
	t.Logf("greedy costs %.3f of the optimum", sum[dispatch.Greedy]/sum[dispatch.Optimal])
	if sum[dispatch.Greedy] < 1.05*sum[dispatch.Optimal] {
		t.Errorf("greedy %.0f, optimal %.0f", sum[dispatch.Greedy], sum[dispatch.Optimal])
	}
}
