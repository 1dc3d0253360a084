package dispatch_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/sim/script"
)

var update = flag.Bool("update", false, "write down what the core does")

// Each script is one warehouse on an open floor of 4 rows of 32 cells; what it records is applied at once.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 3 {
		t.Fatalf("scripts %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := script.Run(string(want), func([]string) (script.Core, error) { return scripted(t), nil })
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the core does otherwise (-update writes it down):\n%s", got)
			}
		})
	}
}

// Restarted makes the dispatcher anew, from what a store has kept.
type Restarted struct{ dispatch.Restored }

func scripted(t *testing.T) script.Core {
	s, g := fresh(t)
	return script.Core{
		Messages: []any{
			dispatch.TaskChanged{},
			dispatch.RobotChanged{},
			dispatch.ZoneReported{},
			dispatch.Ticked{},
			dispatch.LaneRequested{},
			dispatch.OverlaysChanged{},
			Restarted{},
		},
		Decide: func(now time.Time, m any) (effects []any) {
			if r, ok := m.(Restarted); ok {
				s, _ = fresh(t)
				r.Graph = g
				m = r.Restored
			}
			if l, ok := m.(dispatch.LaneRequested); ok && l.Lane == "first" {
				l.Lane = g.Lanes[0].ID
				m = l
			}
			for _, e := range s.Decide(now, m.(dispatch.Msg), nil) { //nolint:forcetypeassert // the list above
				effects = append(effects, e)
				if r, ok := e.(dispatch.Record); ok {
					s.Apply(now, r.Event)
				}
			}
			return effects
		},
		State: func() any {
			var v dispatch.View
			s.FillView(&v)
			return struct {
				OpenTasks, FreeRobots int
				TaskWaits             []dispatch.TaskWait
				Lanes                 []dispatch.LaneState
			}{v.OpenTasks, v.FreeRobots, v.TaskWaits, s.LaneStates()}
		},
	}
}
