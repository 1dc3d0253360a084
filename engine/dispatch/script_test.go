package dispatch_test

import (
	"flag"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/sim/script"
)

var update = flag.Bool("update", false, "write down what the core does")

// Each script is one warehouse on an open floor of 4 rows of 32 cells; what it records is applied at once.
func TestScripts(t *testing.T) {
	t.Parallel()
	script.Files(t, *update, scripted)
}

// Restarted makes the dispatcher anew, from what a store has kept.
type Restarted struct{ dispatch.Restored }

func scripted(t *testing.T, _ []string) script.Core {
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
