package jams

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"starling/bench/chart"
	"starling/engine/congestion"
)

// Compare says what is to be compared.
type Compare struct {
	Scenarios []Scenario
	Seeds     []uint64
	Acting    congestion.Acting // of the runs with acting
	Progress  func(Result)      // called after each run; nil = nobody
}

// Run plays each scenario with each seed without acting and with it.
func (c *Compare) Run(ctx context.Context) ([]Result, error) {
	var out []Result
	for i := range c.Scenarios {
		for _, seed := range c.Seeds {
			for _, acting := range []congestion.Acting{{}, c.Acting} {
				r, err := Run(ctx, &c.Scenarios[i], seed, Options{Acting: acting})
				if err != nil {
					return out, fmt.Errorf("%s, seed %d: %w", c.Scenarios[i].Name, seed, err)
				}
				out = append(out, r)
				if c.Progress != nil {
					c.Progress(r)
				}
			}
		}
	}
	return out, nil
}

// Row is the mean over seeds of one scenario without acting and with it.
type Row struct {
	Scenario      string
	Calm          bool
	Seeds         int
	Without, With Result
	Won           int // seeds with more tasks with acting
}

// Gain is by which share more tasks are finished with acting.
func (r *Row) Gain() float64 { return r.With.PerMinute/max(r.Without.PerMinute, 1e-9) - 1 }

// Rows are the means, in the order of the results.
func Rows(results []Result) []Row {
	var rows []Row
	counts := map[string][2]float64{}
	for i := range results {
		r := &results[i]
		k := slices.IndexFunc(rows, func(x Row) bool { return x.Scenario == r.Scenario })
		if k < 0 {
			k, rows = len(rows), append(rows, Row{Scenario: r.Scenario, Calm: r.Scenario == calmName})
		}
		to, n := &rows[k].Without, counts[r.Scenario]
		way := 0
		if r.Acting {
			to, way = &rows[k].With, 1
		}
		n[way]++
		counts[r.Scenario] = n
		to.mix(r, n[way])
		if r.Acting {
			rows[k].Seeds++
			j := slices.IndexFunc(results, func(x Result) bool { return x.Scenario == r.Scenario && x.Seed == r.Seed && !x.Acting })
			if j >= 0 && r.Finished > results[j].Finished {
				rows[k].Won++
			}
		}
	}
	return rows
}

// mix takes the n-th result into a mean.
func (m *Result) mix(r *Result, n float64) {
	to := func(mean *float64, v float64) { *mean += (v - *mean) / n }
	to(&m.PerMinute, r.PerMinute)
	to(&m.P50S, r.P50S)
	to(&m.P99S, r.P99S)
	to(&m.Level2Min, r.Level2Min)
	if m.Each == nil {
		m.Each = make([]float64, len(r.Each))
	}
	for i := range r.Each {
		to(&m.Each[i], r.Each[i])
	}
}

// mostLoss is the share of tasks that acting may lose on the calm floor.
const mostLoss = 0.02

// Judge holds acting against its aims: more tasks in each jam, and no more than a fiftieth fewer on the calm floor.
func Judge(rows []Row) error {
	var errs []error
	for i := range rows {
		r := &rows[i]
		switch {
		case r.Seeds == 0:
		case r.Calm && r.Gain() < -mostLoss:
			errs = append(errs, fmt.Errorf("%s: acting loses %.1f %% of the tasks", r.Scenario, -100*r.Gain()))
		case !r.Calm && r.Gain() <= 0:
			errs = append(errs, fmt.Errorf("%s: acting does not win (%+.1f %%)", r.Scenario, 100*r.Gain()))
		}
	}
	return errors.Join(errs...)
}

// Chart draws tasks a minute of each scenario without acting and with it.
func Chart(rows []Row) *chart.Bars {
	b := &chart.Bars{Title: "Tasks a minute in jams", Y: "tasks a minute", Series: []chart.Heights{{Name: "without acting"}, {Name: "with acting"}}}
	for i := range rows {
		b.Groups = append(b.Groups, rows[i].Scenario)
		b.Series[0].Of = append(b.Series[0].Of, rounded(rows[i].Without.PerMinute))
		b.Series[1].Of = append(b.Series[1].Of, rounded(rows[i].With.PerMinute))
	}
	return b
}

func rounded(v float64) float64 { return float64(int(10*v+0.5)) / 10 }

// Minutes draws the tasks of each minute of one scenario, means over five minutes.
func (r *Row) Minutes() *chart.Chart {
	c := &chart.Chart{Title: r.Scenario + ": tasks finished", X: "minutes", Y: "tasks a minute"}
	for _, s := range []struct {
		name string
		of   []float64
	}{{"without acting", r.Without.Each}, {"with acting", r.With.Each}} {
		line := chart.Series{Name: s.name, Dashed: s.name == "without acting"}
		for i := range s.of {
			from := max(0, i-4)
			sum := 0.0
			for _, v := range s.of[from : i+1] {
				sum += v
			}
			line.Points = append(line.Points, chart.Point{X: float64(i + 1), Y: sum / float64(i+1-from)})
		}
		c.Series = append(c.Series, line)
	}
	return c
}
