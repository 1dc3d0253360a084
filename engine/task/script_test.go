package task_test

import (
	"flag"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/sim/script"
	"starling/engine/task"
)

var update = flag.Bool("update", false, "write down what the core does")

// Each script is one task; what it records is applied at once.
func TestScripts(t *testing.T) {
	t.Parallel()
	script.Files(t, *update, scripted)
}

func scripted(*testing.T, []string) script.Core {
	s := &task.State{}
	return script.Core{
		Messages: []any{
			task.CreateRequested{},
			task.AwardOffered{},
			task.RobotStarted{},
			task.RobotReached{},
			task.RobotRefused{},
			task.RobotLetGo{},
			task.CancelRequested{},
			task.Woke{},
			task.Restored{},
		},
		Decide: func(now time.Time, m any) (effects []any) {
			for _, e := range s.Decide(now, m.(task.Msg), nil) { //nolint:forcetypeassert // the list above
				effects = append(effects, e)
				if r, ok := e.(task.Record); ok {
					s.Apply(now, r.Event)
				}
			}
			return effects
		},
		State: func() any {
			return struct {
				Status  fleet.TaskStatus
				Robot   fleet.RobotID
				Errand  int
				Reason  string
				Version int64
			}{s.Status, s.Robot, s.Errand, s.Reason, s.Version}
		},
	}
}
