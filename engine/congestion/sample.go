package congestion

import (
	"time"

	"starling/engine/fleet"
)

// Sample is one measured status of a robot, as robot.status has it: all that scores are made of. Strings are shared.
type Sample struct {
	Robot       fleet.RobotID
	Boot        string
	Seq         uint64
	At          time.Time // by the robot's clock
	ReceivedAt  time.Time
	MapVersion  int // that Vertex and Lane are of; 0 = the one in force
	Zone        fleet.ZoneID
	GoalZone    fleet.ZoneID // "" = it wants to be nowhere
	Lane        fleet.LaneID // that it drives, or is about to
	Vertex      fleet.Vertex // NoVertex = not known
	X, Y        float64      // metres
	Located     bool         // X and Y are known
	VelocityMPS float64
	State       fleet.RobotState
	Task        fleet.TaskID
	WaitingFor  fleet.Cause
	WaitingOn   fleet.RobotID
	SamplingHz  float64 // statuses a second that are wanted of it; 0 = not known
}
