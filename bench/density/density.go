// Package density sweeps the number of robots on a floor up to most of its free cells, in lock-step, and compares ways to
// admit them: the macroscopic fundamental diagram of the engine, with and without congestion windows.
//
// Size: 819 cells, eight numbers of robots, 1,200 steps and five ways take about five minutes of a core.
package density

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"starling/bench/chart"
	"starling/bench/lorr"
	"starling/bench/validate"
	"starling/engine/congestion"
)

// Way is one way to admit robots.
type Way struct {
	Name      string
	Admission congestion.Rules
	Active    bool // only so many robots hold tasks at once as congestion.Active says
}

// Ways are those that a sweep compares.
func Ways() []Way {
	return []Way{
		{Name: "no window", Admission: congestion.Rules{Mode: congestion.Never}},
		{Name: "static window", Admission: congestion.Rules{Mode: congestion.Always}},
		{Name: "static at level 2", Admission: congestion.Rules{Mode: congestion.AtLevel2}},
		{Name: "adaptive window", Admission: congestion.Rules{Mode: congestion.Adaptive}},
		{Name: "active limit", Admission: congestion.Rules{Mode: congestion.Never}, Active: true},
		{Name: "active limit and level 2", Admission: congestion.Rules{Mode: congestion.AtLevel2}, Active: true},
	}
}

// Sweep says what to run.
type Sweep struct {
	Map       []byte
	Tasks     [][]int // nil = random by seed
	Robots    []int
	Steps     int
	Seeds     []uint64
	ZoneCells int
	Ways      []Way
	Progress  func(p Point) // called after each run; nil = nobody
}

// Point is one run.
type Point struct {
	Way     string  `json:"way"`
	Robots  int     `json:"robots"`
	Seed    uint64  `json:"seed"`
	Density float64 `json:"density"` // robots per free cell
	Tasks   float64 `json:"tasks"`   // finished per step
	Moves   float64 `json:"moves"`   // per step
	StuckS  float64 `json:"stuck_s"`
	CPUS    float64 `json:"plan_cpu_s"`
}

// Run does all runs, one after the other, and checks each recording.
func (s *Sweep) Run(ctx context.Context) ([]Point, error) {
	cells, err := Free(s.Map)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "density")
	if err != nil {
		return nil, fmt.Errorf("make a folder for recordings: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "floor.map")
	if err := os.WriteFile(path, s.Map, 0o600); err != nil {
		return nil, fmt.Errorf("write the map: %w", err)
	}
	var points []Point
	for _, way := range s.Ways {
		for _, n := range s.Robots {
			if n < 1 || n > len(cells) {
				return nil, fmt.Errorf("%d robots: the floor has %d free cells", n, len(cells))
			}
			for _, seed := range s.Seeds {
				p, err := s.one(ctx, way, n, seed, cells, path)
				if err != nil {
					return nil, fmt.Errorf("%s, %d robots, seed %d: %w", way.Name, n, seed, err)
				}
				points = append(points, p)
				if s.Progress != nil {
					s.Progress(p)
				}
			}
		}
	}
	return points, nil
}

func (s *Sweep) one(ctx context.Context, way Way, n int, seed uint64, cells []int, path string) (Point, error) {
	rng := rand.New(rand.NewPCG(seed, 0x64656e73697479))
	starts := slices.Clone(cells)
	rng.Shuffle(len(starts), func(i, j int) { starts[i], starts[j] = starts[j], starts[i] })
	tasks := s.Tasks
	if tasks == nil {
		tasks = make([][]int, s.Steps*len(cells)/8) // no floor has done more
		for i := range tasks {
			tasks[i] = []int{cells[rng.IntN(len(cells))], cells[rng.IntN(len(cells))]}
		}
	}
	run := lorr.Run{
		Problem: &lorr.Problem{MapPath: path, Map: s.Map, Start: starts[:n], Tasks: tasks, TeamSize: n, TasksReveal: 1.5},
		Steps:   s.Steps, Seed: seed, Dir: filepath.Join(filepath.Dir(path), "run"), ZoneCells: s.ZoneCells, Admission: way.Admission,
	}
	if !way.Active {
		run.Active = -1
	}
	sum, err := lorr.Lockstep(ctx, run)
	if err != nil {
		return Point{}, err
	}
	report, err := validate.Dir(run.Dir, path, validate.Options{Lockstep: true, EndMS: int64(s.Steps) * 1000})
	if err != nil {
		return Point{}, err
	}
	if !report.OK() {
		return Point{}, fmt.Errorf("the validator found conflicts: %v", report.Counts)
	}
	steps := float64(s.Steps)
	return Point{
		Way: way.Name, Robots: n, Seed: seed, Density: float64(n) / float64(len(cells)), Tasks: float64(sum.TasksFinished) / steps,
		Moves: float64(report.Moves) / steps, StuckS: sum.StuckMaxS, CPUS: sum.PlanCPUS,
	}, nil
}

// Free lists the free cells of a map in the movingai format, row-major.
func Free(m []byte) ([]int, error) {
	head, body, ok := strings.Cut(string(m), "\nmap\n")
	if !ok || !strings.HasPrefix(head, "type ") {
		return nil, fmt.Errorf("read the map: want the movingai format")
	}
	var cells []int
	width := 0
	for r, row := range strings.Split(strings.TrimRight(body, "\n"), "\n") {
		row = strings.TrimRight(row, "\r")
		if r == 0 {
			width = len(row)
		}
		for c := range row {
			if strings.IndexByte(".GSE", row[c]) >= 0 {
				cells = append(cells, r*width+c)
			}
		}
	}
	return cells, nil
}

// Warehouse draws a floor of shelves, two deep and ten long, with aisles one cell wide between them, a cross aisle of two
// every ten cells, and open ground around it.
func Warehouse(rows, cols int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "type octile\nheight %d\nwidth %d\nmap\n", rows, cols)
	for r := range rows {
		for c := range cols {
			edge := r < 2 || c < 2 || r >= rows-2 || c >= cols-2
			if !edge && (r-2)%3 != 2 && (c-2)%12 < 10 {
				b.WriteByte('@')
			} else {
				b.WriteByte('.')
			}
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// Mean is the mean over seeds of the points of each way and number of robots, in the order of the points.
func Mean(points []Point) []Point {
	type key struct {
		way    string
		robots int
	}
	at := map[key]int{}
	var out []Point
	var runs []float64
	for _, p := range points {
		k := key{p.Way, p.Robots}
		i, ok := at[k]
		if !ok {
			at[k], i = len(out), len(out)
			out, runs = append(out, Point{Way: p.Way, Robots: p.Robots, Density: p.Density}), append(runs, 0)
		}
		o := &out[i]
		runs[i]++
		o.Tasks += (p.Tasks - o.Tasks) / runs[i]
		o.Moves += (p.Moves - o.Moves) / runs[i]
		o.CPUS += (p.CPUS - o.CPUS) / runs[i]
		o.StuckS = max(o.StuckS, p.StuckS)
	}
	return out
}

// Chart draws tasks per step over density.
func Chart(title string, points []Point) *chart.Chart {
	c := &chart.Chart{Title: title, X: "robots, % of free cells", Y: "tasks finished per step"}
	for _, p := range Mean(points) {
		if n := len(c.Series); n == 0 || c.Series[n-1].Name != p.Way {
			c.Series = append(c.Series, chart.Series{Name: p.Way, Dashed: n == 0})
		}
		s := &c.Series[len(c.Series)-1]
		s.Points = append(s.Points, chart.Point{X: p.Density * 100, Y: p.Tasks})
	}
	return c
}
