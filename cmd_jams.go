package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	jamsbench "starling/bench/jams"
	"starling/engine/congestion"
)

type jamsOptions struct {
	Scenarios    []string
	Remedies     []string
	Seeds        []int
	Charts, JSON string
}

func newJamsCmd() *cobra.Command {
	var o jamsOptions
	cmd := &cobra.Command{
		Use:   "jams",
		Short: "Play three jams and a calm floor with and without acting on congestion, in virtual time",
		Long: "Plays a wave to one side, a blocked aisle, an over-full floor and a calm one with robots that drive as in life, each\n" +
			"seed without acting and with it, and prints tasks a minute, the time of tasks and how long zones were at level 2. Exits\n" +
			"with 1 where acting does not win a jam, or loses more than 2 % on the calm floor. Takes some five minutes of a core a seed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return benchJams(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Scenarios, "scenarios", nil, "which, by a part of their names (default: all)")
	f.StringSliceVar(&o.Remedies, "remedies", nil, "what may be done: reroute, hold_tasks, cap_active (default: as usual)")
	f.IntSliceVar(&o.Seeds, "seeds", []int{1, 2, 3}, "of tasks, start cells and delays; the mean is printed")
	f.StringVar(&o.Charts, "charts", "", "folder for charts (SVG)")
	f.StringVar(&o.JSON, "json", "", "file of all runs, with what was done in each")
	return cmd
}

// compare says what is played.
func (o *jamsOptions) compare() (*jamsbench.Compare, error) {
	c := &jamsbench.Compare{Acting: congestion.Usual().Acting}
	c.Acting.Automatic = congestion.LevelCount
	for _, s := range jamsbench.Scenarios() {
		wanted := len(o.Scenarios) == 0
		for _, name := range o.Scenarios {
			wanted = wanted || strings.Contains(s.Name, name)
		}
		if wanted {
			c.Scenarios = append(c.Scenarios, s)
		}
	}
	if len(c.Scenarios) == 0 || len(o.Seeds) == 0 {
		return nil, usageError{errors.New("want --scenarios that there are, and --seeds")}
	}
	for _, n := range o.Seeds {
		c.Seeds = append(c.Seeds, uint64(n))
	}
	if len(o.Remedies) > 0 {
		c.Acting.Remedies = [congestion.ActionKinds]bool{}
	}
	for _, name := range o.Remedies {
		k, ok := congestion.ParseActionKind(name)
		if !ok {
			return nil, usageError{fmt.Errorf("--remedies %s: no such remedy", name)}
		}
		c.Acting.Remedies[k] = true
	}
	return c, nil
}

func benchJams(ctx context.Context, o jamsOptions, out io.Writer) error {
	c, err := o.compare()
	if err != nil {
		return err
	}
	c.Progress = func(r jamsbench.Result) {
		fmt.Fprintf(os.Stderr, "%s, seed %d, acting %t: %d of %d tasks\n", r.Scenario, r.Seed, r.Acting, r.Finished, r.Ordered)
	}
	results, err := c.Run(ctx)
	if err != nil {
		return err
	}
	rows := jamsbench.Rows(results)
	fmt.Fprintf(out, "%-18s %-8s %10s %8s %8s %12s\n", "scenario", "acting", "tasks/min", "p50 s", "p99 s", "L2 zone-min")
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(out, "%-18s %-8s %10.1f %8.0f %8.0f %12.1f\n", r.Scenario, "off", r.Without.PerMinute, r.Without.P50S, r.Without.P99S, r.Without.Level2Min)
		fmt.Fprintf(out, "%-18s %-8s %10.1f %8.0f %8.0f %12.1f  %+.1f %% (more tasks with %d of %d seeds)\n", "", "on",
			r.With.PerMinute, r.With.P50S, r.With.P99S, r.With.Level2Min, 100*r.Gain(), r.Won, r.Seeds)
	}
	if err := o.write(rows, results); err != nil {
		return err
	}
	return jamsbench.Judge(rows)
}

// write keeps charts and runs, where asked for.
func (o *jamsOptions) write(rows []jamsbench.Row, results []jamsbench.Result) error {
	if o.Charts != "" {
		files := map[string][]byte{"jams.svg": jamsbench.Chart(rows).SVG()}
		for i := range rows {
			files["jams-"+strings.ReplaceAll(rows[i].Scenario, " ", "-")+".svg"] = rows[i].Minutes().SVG()
		}
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(o.Charts, name), b, 0o644); err != nil {
				return fmt.Errorf("write a chart: %w", err)
			}
		}
	}
	if o.JSON == "" {
		return nil
	}
	b, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the runs: %w", err)
	}
	if err := os.WriteFile(o.JSON, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the runs: %w", err)
	}
	return nil
}
