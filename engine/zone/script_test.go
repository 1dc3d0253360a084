package zone_test

import (
	"flag"
	"testing"
	"time"

	"starling/engine/roadmap"
	"starling/engine/sim/script"
	"starling/engine/zone"
)

var update = flag.Bool("update", false, "write down what the core does")

// Each script is one zone of a floor in zones of 4 by 4 cells: the first one, of the upper left corner. Vertices are
// numbered along the rows.
func TestScripts(t *testing.T) {
	t.Parallel()
	script.Files(t, *update, scripted)
}

func scripted(t *testing.T, rows []string) script.Core {
	g := grid(rows, 4)
	s := zone.New(g, 0, roadmap.NewTableMap(g, len(g.Vertices)), zone.Rules{WindowMax: 2}, 1, 1)
	return script.Core{
		Messages: []any{
			zone.Ticked{},
			zone.Asked{},
			zone.Arrived{},
			zone.TokenReceived{},
			zone.Answered{},
			zone.EntryRecorded{},
			zone.EntryFailed{},
			zone.Restored{},
			zone.RobotGone{},
			zone.LaneChanged{},
			zone.KeepOutChanged{},
			zone.BreakRequested{},
		},
		Decide: func(now time.Time, m any) (effects []any) {
			for _, e := range s.Decide(now, m.(zone.Msg), nil) { //nolint:forcetypeassert // the list above
				effects = append(effects, e)
			}
			if err := s.Audit(); err != nil {
				t.Errorf("after %T: %v", m, err)
			}
			return effects
		},
	}
}
