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

	"starling/bench/density"
	"starling/bench/lorr"
)

type densityOptions struct {
	Robots, Seeds    []int
	Ways             []string
	Steps, ZoneCells int
	Chart, JSON      string
}

func newDensityCmd() *cobra.Command {
	var o densityOptions
	cmd := &cobra.Command{
		Use:   "density PROBLEM.json|FLOOR.map|warehouse --robots A,B,C --steps N",
		Short: "Sweep the number of robots on a floor with and without congestion windows, in lock-step",
		Long: "Runs each number of robots, from random start cells, each way, and prints tasks and moves per step. Tasks are the\n" +
			"problem's or, for a map, random; warehouse is a floor of shelves and aisles of 44 × 76 cells.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Steps < 1 || len(o.Robots) == 0 || len(o.Seeds) == 0 {
				return usageError{errors.New("want --robots, --seeds, and --steps of at least 1")}
			}
			return benchDensity(cmd.Context(), args[0], o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&o.Robots, "robots", nil, "numbers of robots")
	f.IntSliceVar(&o.Seeds, "seeds", []int{1}, "of start cells, random tasks and ids; the mean is printed")
	f.IntVar(&o.Steps, "steps", 1200, "how many steps of 1 s")
	f.IntVar(&o.ZoneCells, "zone-cells", 0, "most vertices of a zone (0 = as the engine divides maps)")
	f.StringSliceVar(&o.Ways, "ways", nil, "which ways, by name (default: all)")
	f.StringVar(&o.Chart, "chart", "", "file of the chart (SVG)")
	f.StringVar(&o.JSON, "json", "", "file of all points")
	return cmd
}

// floor reads what is to be swept.
func (o *densityOptions) floor(path string) (*density.Sweep, error) {
	s := &density.Sweep{Robots: o.Robots, Steps: o.Steps, ZoneCells: o.ZoneCells}
	for _, n := range o.Seeds {
		s.Seeds = append(s.Seeds, uint64(n))
	}
	for _, w := range density.Ways() {
		wanted := len(o.Ways) == 0
		for _, name := range o.Ways {
			wanted = wanted || name == w.Name
		}
		if wanted {
			s.Ways = append(s.Ways, w)
		}
	}
	if len(o.Ways) > 0 && len(s.Ways) != len(o.Ways) {
		return nil, usageError{fmt.Errorf("--ways %s: no such way", strings.Join(o.Ways, ","))}
	}
	switch {
	case path == "warehouse":
		s.Map = density.Warehouse(44, 76)
	case filepath.Ext(path) == ".json":
		p, err := lorr.Load(path)
		if err != nil {
			return nil, err
		}
		s.Map, s.Tasks = p.Map, p.Tasks
	default:
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the map: %w", err)
		}
		s.Map = b
	}
	return s, nil
}

func benchDensity(ctx context.Context, path string, o densityOptions, out io.Writer) error {
	s, err := o.floor(path)
	if err != nil {
		return err
	}
	s.Progress = func(p density.Point) {
		fmt.Fprintf(os.Stderr, "%s, %d robots, seed %d: %.3f tasks, %.1f moves a step\n", p.Way, p.Robots, p.Seed, p.Tasks, p.Moves)
	}
	points, err := s.Run(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-32s %7s %8s %10s %10s %8s %8s\n", "way", "robots", "density", "tasks/step", "moves/step", "stuck s", "plan s")
	for _, p := range density.Mean(points) {
		fmt.Fprintf(out, "%-32s %7d %7.1f%% %10.3f %10.1f %8.0f %8.1f\n", p.Way, p.Robots, p.Density*100, p.Tasks, p.Moves, p.StuckS, p.CPUS)
	}
	if o.Chart != "" {
		title := fmt.Sprintf("Production over density, %s, %d steps", strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), o.Steps)
		if err := os.WriteFile(o.Chart, density.Chart(title, points).SVG(), 0o644); err != nil {
			return fmt.Errorf("write the chart: %w", err)
		}
	}
	if o.JSON == "" {
		return nil
	}
	b, err := json.MarshalIndent(points, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the points: %w", err)
	}
	if err := os.WriteFile(o.JSON, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the points: %w", err)
	}
	return nil
}
