package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"starling/bench/scale"
)

// manyOptions are the flags of `starling sim --robots N` without a running engine.
type manyOptions struct {
	PerWarehouse, Warm, Ticks, TableMB int
	Arrivals                           int // new tasks a second; 0 = as many are kept open as robots want
	Profiles                           profiles
}

func (m *manyOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&m.PerWarehouse, "per-warehouse", 10_000, "of many robots here: most of one warehouse")
	f.IntVar(&m.Warm, "warm", 60, "of many robots here: seconds before it is measured")
	f.IntVar(&m.Ticks, "ticks", 60, "of many robots here: seconds that are measured")
	f.IntVar(&m.TableMB, "table-mb", 2048, "of many robots here: memory for distance tables")
	f.IntVar(&m.Arrivals, "arrivals", 0, "of many robots here: new tasks a second, to robots that drive as in life: how long until each is awarded")
	f.StringVar(&m.Profiles.CPU, "cpuprofile", "", "of many robots here: write where CPU time went, for go tool pprof")
}

// simulate runs so many robots in warehouses of this process, in virtual time and lock-step, and says what planning costs.
func (m *manyOptions) simulate(ctx context.Context, o simOptions, out io.Writer) error {
	if o.Robots < 1 || o.Robots > 200_000 {
		return usageError{errors.New("--robots: want 1..200000")}
	}
	run := scale.Run{
		Map: []byte(demoMap), Robots: o.Robots, Seed: o.Seed, PerWarehouse: m.PerWarehouse, Warm: m.Warm, Ticks: m.Ticks,
		TableBytes: int64(m.TableMB) << 20,
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		run.Progress = func(tick int) { fmt.Fprintf(os.Stderr, "\rsecond %d ", tick) }
	}
	if m.Arrivals > 0 {
		return m.Profiles.around(func() error { return m.decide(ctx, run, out) })
	}
	var r scale.Result
	err := m.Profiles.around(func() (err error) {
		r, err = scale.Measure(ctx, run)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.JSON:
		return json.NewEncoder(out).Encode(r)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-16s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("robots", "%d in %d warehouses, %d zones", r.Robots, r.Warehouses, r.Zones)
	row("planning", "p50 %.1f ms, p99 %.1f ms, max %.1f ms of CPU time a second (zones %.1f, dispatchers %.1f)",
		r.PlanMS.P50, r.PlanMS.P99, r.PlanMS.Max, r.ZonesMS, r.DispatchMS)
	row("at first", "p50 %.1f ms, max %.1f ms", r.Warm.P50, r.Warm.Max)
	row("all else", "%.1f ms", r.OtherMS)
	row("moves", "%.0f a second", r.Moves)
	row("tasks", "%.1f finished a second", r.Tasks)
	for _, k := range slices.Sorted(maps.Keys(r.Messages)) {
		row(k, "%.0f a second", r.Messages[k])
	}
	row("memory", "%d MB", r.RSSBytes>>20)
	row("wall", "%.0f s", r.WallS)
	return nil
}

// decide says how long new tasks wait for their awards.
func (m *manyOptions) decide(ctx context.Context, run scale.Run, out io.Writer) error {
	d, err := scale.Decide(ctx, run, m.Arrivals, m.Warm+m.Ticks)
	if err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(d)
}
