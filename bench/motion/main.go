// Command motion measures what docs/performance.md says of motion: problems of the League of Robot Runners against the
// figures of its own planner, zones against one zone, driving in life against lock-step, and planning as fleets grow. Each
// run is a process of its own (the built program), so that memory and CPU time are its own.
//
// Cost: all rows take about an hour of a core; --rows and --seeds say less.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"starling/bench/chart"
	"starling/bench/record"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "motion:", err)
		os.Exit(1)
	}
}

// problem is one row of the matrix. The peer's figures are those of the League's default planner (Start-Kit v2.1.2) on
// exactly these files: tasks, and CPU milliseconds a step.
type problem struct {
	name, file    string
	robots, steps int
	peer          int
	peerMS        float64
	aim           float64
}

func problems() []problem {
	return []problem{
		{"random_100", "random_100/problem.json", 0, 600, 1087, 29.5, 1},
		{"warehouse_1000", "warehouse_5000/problem.json", 1000, 1000, 3005, 74.8, 1.05},
		{"sortation_2000", "sortation_2000/problem.json", 0, 600, 3343, 118, 1.1},
		{"warehouse_5000", "warehouse_5000/problem.json", 0, 300, 2845, 343, 1.25},
	}
}

type runner struct {
	bin, data, out string
	seeds          []uint64
	img            string  // folder of the charts, "" = none
	factor         float64 // of the steps
	w              io.Writer
}

func bench(ctx context.Context, args []string, w io.Writer) error {
	f := flag.NewFlagSet("motion", flag.ContinueOnError)
	r := &runner{w: w}
	rows := f.String("rows", "lockstep,zones,life,scale,decide", "which rows")
	seeds := f.String("seeds", "1,2,3", "each seed begins the tasks elsewhere in their list; the median is printed. Seed 1 is the problem as it is")
	only := f.String("only", "", "problems, by name")
	f.StringVar(&r.bin, "bin", "bin/starling", "the program")
	f.StringVar(&r.data, "data", "testdata/lorr", "folder of the problems")
	f.StringVar(&r.img, "img", "", "folder in which the charts are drawn again (docs/img)")
	f.Float64Var(&r.factor, "longer", 1, "times the steps of each problem")
	if err := f.Parse(args); err != nil {
		return err
	}
	for s := range strings.SplitSeq(*seeds, ",") {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n == 0 {
			return fmt.Errorf("--seeds: %q is no seed", s)
		}
		r.seeds = append(r.seeds, n)
	}
	dir, err := os.MkdirTemp("", "starling-motion-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r.out = dir
	ps := slices.DeleteFunc(problems(), func(p problem) bool { return *only != "" && !strings.Contains(*only, p.name) })
	for row := range strings.SplitSeq(*rows, ",") {
		do := map[string]func(context.Context, []problem) error{
			"lockstep": r.lockstep, "zones": r.zones, "life": r.life, "scale": r.scale, "decide": r.decide,
		}[row]
		if do == nil {
			return fmt.Errorf("--rows: there is no %q", row)
		}
		if err := do(ctx, ps); err != nil {
			return fmt.Errorf("%s: %w", row, err)
		}
	}
	return nil
}

// run starts the program and reads what it prints as JSON into v. A run that the validator refuses is an error.
func (r *runner) run(ctx context.Context, v any, args ...string) error {
	cmd := exec.CommandContext(ctx, r.bin, args...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("starling %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(fault.String())), ctx.Err())
	}
	return json.Unmarshal(out.Bytes(), v)
}

// median runs a problem with each seed: the run of the median number of tasks, its longest stand replaced by the longest of
// all.
func (r *runner) median(ctx context.Context, p problem, args ...string) (record.Summary, []int, error) {
	var all []record.Summary
	var tasks []int
	for _, seed := range r.seeds {
		a := append([]string{
			"bench", "lorr", filepath.Join(r.data, p.file), "--steps", strconv.Itoa(int(float64(p.steps) * r.factor)), "--robots", strconv.Itoa(p.robots),
			"--seed", strconv.FormatUint(seed, 10), "--out", r.out, "--json",
		}, args...)
		var s record.Summary
		if err := r.run(ctx, &s, a...); err != nil {
			return s, nil, err
		}
		all, tasks = append(all, s), append(tasks, s.TasksFinished)
	}
	stuck := 0.0
	for i := range all {
		stuck = max(stuck, all[i].StuckMaxS)
	}
	slices.SortStableFunc(all, func(a, b record.Summary) int { return a.TasksFinished - b.TasksFinished })
	m := all[(len(all)-1)/2]
	m.StuckMaxS = stuck
	return m, tasks, nil
}

func (r *runner) print(format string, args ...any) { fmt.Fprintf(r.w, format+"\n", args...) }

func mean(s record.Summary) float64 { return s.PlanCPUS * 1000 / float64(s.Steps) }

// draw writes a chart where charts are wanted.
func (r *runner) draw(name string, svg []byte) error {
	if r.img == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(r.img, name), svg, 0o644)
}

func (r *runner) lockstep(ctx context.Context, ps []problem) error {
	r.print("\nLock-step against the League's default planner (0 conflicts: a run with one fails)")
	r.print("%-15s %7s %6s %6s %7s %6s %9s %9s %9s %9s %8s %7s  %s", "problem", "robots", "steps", "tasks", "peer", "ratio", "plan mean", "p50 ms", "p99 ms",
		"peer ms", "CPU s", "MB", "longest stand, tasks by seed")
	c := chart.Bars{
		Title: "Tasks finished, as a share of the League's default planner's", Y: "ratio", Series: []chart.Heights{{Name: "tasks"}, {Name: "aim"}},
		Marks: []chart.Mark{{Y: 1, Name: "the peer"}},
	}
	for _, p := range ps {
		s, tasks, err := r.median(ctx, p, "--lockstep")
		if err != nil {
			return err
		}
		ratio := "-"
		if r.factor == 1 {
			ratio = fmt.Sprintf("%.3f", float64(s.TasksFinished)/float64(p.peer))
		}
		c.Groups = append(c.Groups, p.name)
		c.Series[0].Of = append(c.Series[0].Of, hundredths(float64(s.TasksFinished)/float64(p.peer)))
		c.Series[1].Of = append(c.Series[1].Of, p.aim)
		r.print("%-15s %7d %6d %6d %7d %6s %9.1f %9.1f %9.1f %9.1f %8.1f %7d  %.0f s, %v", p.name, s.Robots, s.Steps, s.TasksFinished, p.peer, ratio,
			mean(s), s.PlanMS.P50, s.PlanMS.P99, p.peerMS, s.CPUS, s.MaxRSSBytes>>20, s.StuckMaxS, tasks)
	}
	if r.factor != 1 {
		return nil // the peer's figures are for the problems' own steps
	}
	return r.draw("motion-lockstep.svg", c.SVG())
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

func (r *runner) zones(ctx context.Context, ps []problem) error {
	r.print("\nZones against one zone for the whole map, lock-step")
	r.print("%-15s %6s %6s %8s %6s %10s %10s", "problem", "zones", "tasks", "one zone", "ratio", "plan mean", "one zone")
	c := chart.Bars{Title: "Tasks finished: zones against one zone for the whole map", Y: "tasks", Series: []chart.Heights{{Name: "zones"}, {Name: "one zone"}}}
	for _, p := range ps {
		s, _, err := r.median(ctx, p, "--lockstep")
		if err != nil {
			return err
		}
		one, _, err := r.median(ctx, p, "--lockstep", "--one-zone")
		if err != nil {
			return err
		}
		r.print("%-15s %6d %6d %8d %6.3f %10.1f %10.1f", p.name, s.Zones, s.TasksFinished, one.TasksFinished,
			float64(s.TasksFinished)/float64(max(1, one.TasksFinished)), mean(s), mean(one))
		c.Groups = append(c.Groups, p.name)
		c.Series[0].Of = append(c.Series[0].Of, float64(s.TasksFinished))
		c.Series[1].Of = append(c.Series[1].Of, float64(one.TasksFinished))
	}
	return r.draw("motion-zones.svg", c.SVG())
}

func (r *runner) life(ctx context.Context, ps []problem) error {
	r.print("\nDriving as in life (1 m/s, a second for a quarter turn) against lock-step, in virtual time")
	r.print("%-15s %9s %6s %6s %8s %6s %9s %6s  %s", "problem", "lock-step", "life", "ratio", "delayed", "ratio", "momentum", "ratio", "longest stand")
	delays := filepath.Join(r.data, "fulfill_2500/problem.json")
	for _, p := range ps {
		s, _, err := r.median(ctx, p, "--lockstep")
		if err != nil {
			return err
		}
		var got [3]record.Summary
		for i, args := range [][]string{{"--virtual"}, {"--virtual", "--delays", delays}, {"--virtual", "--kinematic"}} {
			if got[i], _, err = r.median(ctx, p, args...); err != nil {
				return err
			}
		}
		ratio := func(i int) float64 { return float64(got[i].TasksFinished) / float64(max(1, s.TasksFinished)) }
		r.print("%-15s %9d %6d %6.3f %8d %6.3f %9d %6.3f  %.0f, %.0f, %.0f s", p.name, s.TasksFinished, got[0].TasksFinished, ratio(0),
			got[1].TasksFinished, ratio(1), got[2].TasksFinished, ratio(2), got[0].StuckMaxS, got[1].StuckMaxS, got[2].StuckMaxS)
	}
	return nil
}
