package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"starling/bench/chart"
	"starling/bench/scale"
)

func (r *runner) scale(ctx context.Context, _ []problem) error {
	r.print("\nPlanning as fleets grow, lock-step, CPU time of one second of the floor")
	r.print("%-8s %10s %6s %9s %9s %7s %9s %9s %9s %8s %7s", "robots", "warehouses", "zones", "p50 ms", "p99 ms", "zones", "dispatch", "all else", "us/robot", "moves/s", "MB")
	c := chart.Chart{Title: "Planning as fleets grow: CPU time of one second", X: "robots", Y: "ms", Series: []chart.Series{{Name: "p50"}, {Name: "p99", Dashed: true}}}
	for _, n := range []int{1000, 5000, 10_000, 100_000} {
		var s scale.Result
		if err := r.run(ctx, &s, "sim", "--robots", strconv.Itoa(n), "--json"); err != nil {
			return err
		}
		r.print("%-8d %10d %6d %9.1f %9.1f %7.1f %9.1f %9.1f %9.2f %8.0f %7d", s.Robots, s.Warehouses, s.Zones, s.PlanMS.P50, s.PlanMS.P99, s.ZonesMS,
			s.DispatchMS, s.OtherMS, (s.ZonesMS+s.DispatchMS)*1000/float64(s.Robots), s.Moves, s.RSSBytes>>20)
		var kinds []string
		for _, k := range slices.Sorted(maps.Keys(s.Messages)) {
			kinds = append(kinds, fmt.Sprintf("%s %.0f", k, s.Messages[k]))
		}
		r.print("         messages a second: %s", strings.Join(kinds, ", "))
		c.Series[0].Points = append(c.Series[0].Points, chart.Point{X: float64(n), Y: s.PlanMS.P50})
		c.Series[1].Points = append(c.Series[1].Points, chart.Point{X: float64(n), Y: s.PlanMS.P99})
	}
	return r.draw("motion-scale.svg", c.SVG())
}

func (r *runner) decide(ctx context.Context, _ []problem) error {
	const robots, arrivals = 10_000, 50
	r.print("\nNew tasks among many robots that drive as in life, in virtual time")
	var d scale.Decisions
	err := r.run(ctx, &d, "sim", "--robots", strconv.Itoa(robots), "--arrivals", strconv.Itoa(arrivals), "--warm", "10", "--ticks", "50")
	if err != nil {
		return err
	}
	r.print("%d robots, %d new tasks a second: %d of %d awarded; from creation to award p50 %.0f, p99 %.0f, max %.0f ms; CPU time of a decision p50 %.1f, p99 %.1f, max %.1f ms; %.1f ms a second",
		d.Robots, d.PerS, d.Awarded, d.Created, d.WaitMS.P50, d.WaitMS.P99, d.WaitMS.Max, d.CPUMS.P50, d.CPUMS.P99, d.CPUMS.Max, d.CPUPerS)
	return nil
}
