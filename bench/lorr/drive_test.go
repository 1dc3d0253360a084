package lorr_test

import (
	"testing"
	"time"

	"starling/bench/lorr"
	"starling/bench/robots"
	"starling/bench/validate"
)

// In virtual time, but otherwise as in real life (zones decide four times a second, nobody moves in step, some are late), a
// crowded floor is driven without a conflict, and nobody with a task stands for long.
func TestACrowdedFloorIsDrivenInTime(t *testing.T) {
	t.Parallel()
	const steps, most = 300, 90.0 // once in fifty runs somebody stands for more than a minute
	p, err := lorr.Load("../../testdata/lorr/random_100/problem.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]lorr.Run{
		"at once":       {Seed: 0},
		"another seed":  {Seed: 1},
		"with delays":   {Seed: 2, Delays: robots.Delays{P: 0.003, Min: 2 * time.Second, Max: 8 * time.Second, Mean: .5, Std: .22}},
		"with momentum": {Seed: 3, Motion: robots.Motion{SpeedMPS: 1, AccelMPS2: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.Problem, r.Steps, r.Dir = p, steps, t.TempDir()
			s, err := lorr.Virtual(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if s.TasksFinished < 220 || s.StuckMaxS > most {
				t.Errorf("%d tasks finished, somebody stood for %.0f s", s.TasksFinished, s.StuckMaxS)
			}
			found, err := validate.Dir(r.Dir, p.MapPath, validate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found.Findings {
				t.Error(f)
			}
			t.Logf("%d tasks, longest stand %.0f s", s.TasksFinished, s.StuckMaxS)
		})
	}
}
