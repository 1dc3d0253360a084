package robot

import (
	"time"

	"starling/engine/fleet"
)

// View is what others may see of a robot: the newest state, never a promise. The shell reuses one per robot: a
// taker copies what it keeps.
type View struct {
	ID         fleet.RobotID
	Spec       *Spec // shared, immutable
	Version    int64
	Connection fleet.Connection
	State      fleet.RobotState
	Pose       fleet.Pose
	Located    bool // Pose is known
	Linked     bool // somebody carries its orders
	MapID      fleet.MapID
	MapVersion int
	Vertex     fleet.Vertex
	Zone       fleet.ZoneID
	Goal       fleet.Vertex
	Lane       fleet.LaneID // that it drives, or is about to; "" = none
	GoalZone   fleet.ZoneID
	Velocity   float64
	Battery    float64
	Errors     []fleet.RobotError
	Task       fleet.TaskID
	OrderID    uint64
	Base       []fleet.Vertex
	Lease      time.Time // Base may be entered until then
	Horizon    []fleet.Vertex
	Window     int
	BootID     string
	Seq        uint64
	ReportedAt time.Time // zero = never
	ReceivedAt time.Time
	Waiting    fleet.Wait // Cause CauseNone = it does not wait
	Since      time.Time  // of the present state
	Move       Move       // of the dispatcher, Kind NoMove = none: what it does is no customer's task
	Pace       Pace       // how closely it is watched
	SamplingHz float64    // how many statuses a second are wanted of it
	Key        bool       // the last measurement tells all, not only what always changes
}
