package alerts

import (
	"context"
	"fmt"

	"starling/bench/jams"
	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Floors calibrates on the jams of bench/jams, in virtual time and without acting, and adds the reports up. progress is told after
// each run; nil = nobody.
func Floors(ctx context.Context, seeds []uint64, o Options, progress func(scenario string, seed uint64, r *Report)) (Report, error) {
	var all Report
	scenarios := jams.Scenarios()
	for i := range scenarios {
		for _, seed := range seeds {
			r, err := floor(ctx, &scenarios[i], seed, o)
			if err != nil {
				return all, fmt.Errorf("%s, seed %d: %w", scenarios[i].Name, seed, err)
			}
			if progress != nil {
				progress(scenarios[i].Name, seed, &r)
			}
			all.Add(&r)
		}
	}
	return all, nil
}

// jamsMap is the map of bench/jams, from which ids of zones follow.
const jamsMap = fleet.MapID("7a350000-0000-4000-8000-000000000003")

func floor(ctx context.Context, s *jams.Scenario, seed uint64, o Options) (Report, error) {
	d, report := roadmap.Import("lorr", s.Map, 1)
	if d == nil {
		return Report{}, fmt.Errorf("the map has %d faults", len(report.Errors))
	}
	var err error
	if o.Graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: jamsMap, Version: 1}); err != nil {
		return Report{}, fmt.Errorf("build the map: %w", err)
	}
	c := New(o)
	if _, err := jams.Run(ctx, s, seed, jams.Options{Sample: func(m *congestion.Sample) { c.Add(m) }}); err != nil {
		return Report{}, err
	}
	return c.Report(nil), nil
}
