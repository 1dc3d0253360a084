package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"starling/bench/lorr"
	"starling/bench/record"
	"starling/bench/robots"
	"starling/bench/validate"
)

type benchOptions struct {
	Steps, Robots int
	Seed          uint64
	Lockstep      bool
	Virtual       bool
	Kinematic     bool
	Delays        string
	ZoneCells     int
	LiveCosts     bool
	BySight       bool
	OneZone       bool
	Out           string
	JSON          bool
}

// delaysOff is what --delays says for robots that are never late.
const delaysOff = "none"

// run is what to run.
func (o *benchOptions) run(p *lorr.Problem) (lorr.Run, error) {
	run := lorr.Run{
		Problem: p, Steps: o.Steps, Robots: o.Robots, Seed: o.Seed, Dir: o.Out, ZoneCells: o.ZoneCells, OneZone: o.OneZone, LiveCosts: o.LiveCosts, BySight: o.BySight,
		Motion: robots.Motion{SpeedMPS: 1, QuarterTurn: time.Second},
	}
	if o.Kinematic {
		run.Motion.AccelMPS2 = 1
	}
	model := p.Delays
	switch o.Delays {
	case "":
	case delaysOff:
		model = nil
	default:
		var err error
		if model, err = lorr.LoadDelays(o.Delays); err != nil {
			return run, err
		}
	}
	if model != nil {
		run.Delays = model.Robots()
	}
	if o.Lockstep && (o.Virtual || o.Kinematic || o.Delays != "" && o.Delays != delaysOff) {
		return run, usageError{errors.New("--lockstep goes with neither --virtual, --kinematic nor --delays: its robots are never late")}
	}
	if !o.Lockstep && !o.Virtual && (o.ZoneCells != 0 || o.OneZone || o.LiveCosts || o.BySight) {
		return run, usageError{errors.New("--zone-cells, --one-zone, --live-costs and --by-sight want --lockstep or --virtual: a running engine decides these itself")}
	}
	return run, nil
}

// profiles are files of pprof that a bench writes about itself; "" = none.
type profiles struct{ CPU, Heap string }

// around runs f under the profiler.
func (p profiles) around(f func() error) error {
	if p.CPU != "" {
		w, err := os.Create(p.CPU)
		if err != nil {
			return fmt.Errorf("write the profile: %w", err)
		}
		defer func() { _ = w.Close() }()
		if err := pprof.StartCPUProfile(w); err != nil {
			return fmt.Errorf("start the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	if err := f(); err != nil || p.Heap == "" {
		return err
	}
	w, err := os.Create(p.Heap)
	if err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	defer func() { _ = w.Close() }()
	if err := pprof.Lookup("allocs").WriteTo(w, 0); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	return nil
}

func newBenchCmd() *cobra.Command {
	group := &cobra.Command{Use: "bench", Short: "Load harness"}
	var o benchOptions
	var p profiles
	group.PersistentFlags().StringVar(&p.CPU, "cpuprofile", "", "write where CPU time went, for go tool pprof")
	group.PersistentFlags().StringVar(&p.Heap, "memprofile", "", "write what was allocated, for go tool pprof")
	cmd := &cobra.Command{
		Use:   "lorr PROBLEM.json --steps N --out DIR",
		Short: "Run a League of Robot Runners problem, record it and check the recording",
		Long: "Runs a problem in real time over REST and the robot link (one step = 1 s, on a private database of its own), or in\n" +
			"virtual time through the cores and actors: with --lockstep one action of each robot a step, with --virtual as robots\n" +
			"drive in life. Writes summary.json, start.json, moves.jsonl and tasks.jsonl.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Steps < 1 || o.Out == "" {
				return usageError{errors.New("want --steps of at least 1, and --out")}
			}
			return p.around(func() error { return benchLorr(cmd.Context(), args[0], o, cmd.OutOrStdout()) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Steps, "steps", 300, "how many steps of 1 s")
	f.IntVar(&o.Robots, "robots", 0, "first start cells to use (0 = the problem's team)")
	f.Uint64Var(&o.Seed, "seed", 1, "of delays; beyond 1, the tasks begin elsewhere in their list")
	f.BoolVar(&o.Lockstep, "lockstep", false, "virtual time, no network, one action of each robot a step")
	f.BoolVar(&o.Virtual, "virtual", false, "virtual time, no network, robots that drive as in life")
	f.BoolVar(&o.Kinematic, "kinematic", false, "robots accelerate and brake with 1 m/s2; else they are at their speed at once")
	f.StringVar(&o.Delays, "delays", "", "problem whose delayConfig makes robots late, or none (default: the problem's own)")
	f.BoolVar(&o.BySight, "by-sight", false, "let the number of robots with tasks follow what is seen of the floor")
	f.BoolVar(&o.LiveCosts, "live-costs", false, "lead routes around lanes for which robots wait")
	f.IntVar(&o.ZoneCells, "zone-cells", 0, "most vertices of a zone (0 = as the engine divides maps)")
	f.BoolVar(&o.OneZone, "one-zone", false, "one zone for the whole map")
	f.StringVar(&o.Out, "out", "", "folder of the recording")
	f.BoolVar(&o.JSON, "json", false, "print the summary as JSON")
	group.AddCommand(cmd, newDensityCmd(), newJamsCmd(), newBenchAlertsCmd())
	return group
}

func benchLorr(ctx context.Context, path string, o benchOptions, out io.Writer) error {
	p, err := lorr.Load(path)
	if err != nil {
		return err
	}
	p.Begin(o.Seed)
	run, err := o.run(p)
	if err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		run.Progress = func(step, finished int) {
			fmt.Fprintf(os.Stderr, "\rstep %d of %d, %d tasks finished ", step, o.Steps, finished)
		}
	}
	var s record.Summary
	switch {
	case o.Lockstep:
		s, err = lorr.Lockstep(ctx, run)
	case o.Virtual:
		s, err = lorr.Virtual(ctx, run)
	default:
		s, err = benchReal(ctx, run)
	}
	if run.Progress != nil {
		fmt.Fprintln(os.Stderr)
	}
	if err != nil {
		return err
	}
	report, err := validate.Dir(o.Out, p.MapPath, validate.Options{Lockstep: o.Lockstep, EndMS: int64(o.Steps) * 1000})
	if err != nil {
		return err
	}
	if err := printSummary(out, s, &report, o.JSON); err != nil {
		return err
	}
	return judge(s, &report)
}

// standSlackS is how much the engine's and the validator's longest stand may differ: they see moves a moment apart.
const standSlackS = 2.0

// judge holds what the engine says of a run against what the validator has seen of the robots' moves.
func judge(s record.Summary, r *validate.Report) error {
	switch {
	case !r.OK():
		return fmt.Errorf("the validator found conflicts: %v", r.Counts)
	case s.TasksFinished > r.Finished:
		return fmt.Errorf("the engine says that %d tasks are finished, the robots' moves prove %d", s.TasksFinished, r.Finished)
	case s.StuckMaxS+standSlackS < float64(r.StillMaxMS)/1000:
		return fmt.Errorf("the engine says that no robot stood for more than %.1f s, by its moves robot %d stood for %.1f s",
			s.StuckMaxS, r.StillRobot, float64(r.StillMaxMS)/1000)
	}
	return nil
}

func printSummary(out io.Writer, s record.Summary, r *validate.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(s)
	}
	row := func(name, value string) { fmt.Fprintf(out, "%-16s %s\n", name, value) }
	ms := func(p *record.Percentiles) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, max %.1f ms", p.P50, p.P99, p.Max)
	}
	row("tasks finished", fmt.Sprintf("%d (%d by the robots' moves)", s.TasksFinished, r.Finished))
	row("steps", fmt.Sprint(s.Steps))
	row("robots", fmt.Sprint(s.Robots))
	row("moves", fmt.Sprint(r.Moves))
	if s.PlanMS != nil {
		row("planning a step", ms(s.PlanMS)+" of CPU time")
	}
	row("decisions", ms(s.DecisionMS))
	row("commands", ms(s.CommandMS))
	row("longest stand", fmt.Sprintf("%.1f s (%.1f s by the robots' moves)", s.StuckMaxS, float64(r.StillMaxMS)/1000))
	row("CPU", fmt.Sprintf("%.1f s", s.CPUS))
	row("memory", fmt.Sprintf("%d MB", s.MaxRSSBytes>>20))
	row("wall", fmt.Sprintf("%.1f s", s.WallS))
	row("conflicts", fmt.Sprint(len(r.Counts)))
	for _, f := range r.Findings {
		row("", f.String())
	}
	return nil
}
