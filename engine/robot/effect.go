package robot

import (
	"time"

	"starling/engine/fleet"
)

// Effect is what the shell must do. Where one Decide returns Record effects, its other effects wait for them,
// except Soft ones (AskZone, ReportZone, SendOrder, AskRate, Show, Measure), which promise nothing that is recorded.
//
//sumtype:decl
type Effect interface{ isRobotEffect() }

type (
	// Record makes an event durable; Apply follows when it is.
	Record struct {
		Event Event
		By    fleet.Actor
		Trace fleet.Trace
	}
	// Reply answers the client's message that is being decided. The shell adds the robot as it then is.
	Reply struct{ Outcome Outcome }
	// AskZone sends the robot's standing request to the zone that plans for it (or, on assertion, to each that it touches).
	AskZone struct {
		Zone    fleet.ZoneID
		Request fleet.Request
	}
	// ReportZone tells a zone of an arrival: the zone of the vertex, and the zone of the vertex left behind.
	ReportZone struct {
		Zone    fleet.ZoneID
		Arrival fleet.Arrival
	}
	// LeaveZone tells a zone that the robot is gone from the floor (removed, moved to another warehouse).
	LeaveZone struct{ Zone fleet.ZoneID }
	// SendOrder sends an order or an update of it down the link; at most one a message decided.
	SendOrder struct{ Order Order }
	// SendCommand sends a command down the link's control lane. Never before its record.
	SendCommand struct{ Command Command }
	// StartedTask, ReachedErrand, RefusedTask and LetGoTask go to the task.
	StartedTask struct{ Task fleet.TaskID }
	// ReachedErrand says that this errand is done.
	ReachedErrand struct {
		Task   fleet.TaskID
		Errand int
	}
	// RefusedTask says that the robot cannot do it.
	RefusedTask struct {
		Task   fleet.TaskID
		Reason string
		Fatal  bool
	}
	// LetGoTask confirms a withdrawal.
	LetGoTask struct{ Task fleet.TaskID }
	// TellDispatcher says whether the robot can take a task, and where it is.
	TellDispatcher struct{ Availability Availability }
	// Show publishes the robot's view (latest wins); Measure hands the status to the telemetry writer.
	Show struct{}
	// Measure hands the newest status on to the telemetry writer.
	Measure struct{}
	// AskRate asks the robot, down its link, for so many statuses a second.
	AskRate struct{ Hz float64 }
	// WakeAt asks for Woke; a later one replaces it; zero cancels.
	WakeAt struct{ At time.Time }
)

func (Record) isRobotEffect()         {}
func (Reply) isRobotEffect()          {}
func (AskZone) isRobotEffect()        {}
func (ReportZone) isRobotEffect()     {}
func (LeaveZone) isRobotEffect()      {}
func (SendOrder) isRobotEffect()      {}
func (SendCommand) isRobotEffect()    {}
func (StartedTask) isRobotEffect()    {}
func (ReachedErrand) isRobotEffect()  {}
func (RefusedTask) isRobotEffect()    {}
func (LetGoTask) isRobotEffect()      {}
func (TellDispatcher) isRobotEffect() {}
func (Show) isRobotEffect()           {}
func (Measure) isRobotEffect()        {}
func (AskRate) isRobotEffect()        {}
func (WakeAt) isRobotEffect()         {}

// Order is what the robot is told to drive: state, not a delta. Base is everything granted and not yet reached.
type Order struct {
	Robot       fleet.RobotID
	ID          uint64 // rises with every new goal
	Update      uint32 // rises with every change of base or horizon within the order
	Task        fleet.TaskID
	From        fleet.Vertex // the vertex it stands on or left last
	Base        []fleet.Vertex
	Horizon     []fleet.Vertex
	Limits      []float64 // m/s on the lane to each base vertex, 0 = none; nil = the map's. The shell fills it in
	NotAfter    time.Time
	Incarnation fleet.Incarnation
	Paused      bool
	Trace       fleet.Trace
}

// Availability is what the dispatcher knows of a robot.
type Availability struct {
	Robot        fleet.RobotID
	Fleet        string
	Capabilities []string
	Free         bool         // ONLINE, under engine control, localised, without task, not paused, not in error, not being charged
	At           fleet.Vertex // where it is, or will be when it has driven what it was granted
	Battery      float64
	Since        time.Time      // free since
	Reason       string         // why not free
	Gone         bool           // removed
	Allowed      []fleet.ZoneID // nil = everywhere; shared
	SpeedMPS     float64
	Move         Move // of the dispatcher, that the robot is about
	Power        Power
}

// Outcome is how a client's request ended.
type Outcome uint8

// The outcomes of RegisterRequested, RemoveRequested and CommandRequested.
const (
	Done         Outcome = iota
	Conflict             // the state forbids it (exists already, has a task, …)
	Stale                // IfVersion does not match
	NotFound             // no such robot
	Precondition         // a needed thing is missing (robot not under control, no active map)
)
