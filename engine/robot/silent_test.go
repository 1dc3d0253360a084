package robot_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// A process ended between recording that a robot is connected and saving its first snapshot: whoever activates the robot
// later must notice that it is silent.
func TestARobotOfWhichOnlyTheConnectionIsKnownFallsSilentToo(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := robot.New(at, robot.Rules{})
	s.Apply(at, robot.Registered{Spec: robot.Spec{ID: "r", Control: fleet.ControlEngine}, Version: 1})
	s.Apply(at, robot.ConnectionChanged{To: fleet.Online, At: at})
	s.Decide(at, robot.Restored{Last: robot.LastKnown{Connection: fleet.Online}}, nil)
	for _, e := range s.Decide(at.Add(robot.OfflineAfter), robot.Woke{}, nil) {
		if r, ok := e.(robot.Record); ok {
			if c, ok := r.Event.(robot.ConnectionChanged); ok && c.To == fleet.Offline {
				return
			}
		}
	}
	t.Fatal("it counts as connected for ever")
}
