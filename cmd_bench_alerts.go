package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"starling/bench/alerts"
)

// newBenchAlertsCmd is `starling bench alerts`.
func newBenchAlertsCmd() *cobra.Command {
	var seeds []int
	var settings, truth, chart, file string
	cmd := &cobra.Command{
		Use:   "alerts --seeds A,B",
		Short: "Hold alerts of congestion against the jams of three floors and a calm one, in virtual time",
		Long:  "Plays the scenarios of `starling bench jams` without acting, and judges as `starling alerts replay` does.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := calibrateFlags{settings: settings, truth: truth}
			var o alerts.Options
			if err := f.read(&o); err != nil {
				return err
			}
			list := make([]uint64, len(seeds))
			for i, n := range seeds {
				list[i] = uint64(n)
			}
			r, err := alerts.Floors(cmd.Context(), list, o, func(scenario string, seed uint64, r *alerts.Report) {
				v := &r.Levels[0]
				fmt.Fprintf(os.Stderr, "%s, seed %d: %d jams, %d alerts, precision %.2f, recall %.2f, lead %.0f s\n",
					scenario, seed, v.Jams, v.Alerts, v.Precision, v.Recall, v.Lead.Seconds())
			})
			if err != nil {
				return err
			}
			if chart != "" {
				if err := os.WriteFile(chart, r.Chart("Alerts of level 1 on three jams and a calm floor").SVG(), 0o644); err != nil {
					return fmt.Errorf("write the chart: %w", err)
				}
			}
			if file != "" {
				b, err := json.MarshalIndent(&r, "", "\t")
				if err != nil {
					return fmt.Errorf("encode the report: %w", err)
				}
				if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
					return fmt.Errorf("write the report: %w", err)
				}
			}
			return r.Write(cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntSliceVar(&seeds, "seeds", []int{1}, "of tasks, robots and mishaps")
	fs.StringVar(&settings, "settings", "", "JSON file of settings of congestion; none = the usual ones")
	fs.StringVar(&truth, "truth", "delay", "what a jam is: delay or level3")
	fs.StringVar(&chart, "chart", "", "file of the chart (SVG)")
	fs.StringVar(&file, "json", "", "file of the report")
	return cmd
}
