package task_test

import (
	"flag"
	"os"
	"path/filepath"
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

func scripted(_ *testing.T) script.Core {
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
