package robot

import (
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Msg is what a robot can be told.
//
//sumtype:decl
type Msg interface{ isRobotMsg() }

type (
	// RegisterRequested creates or changes the registration. Answered with Reply. IfVersion 0 = create only,
	// > 0 = must equal the current version, -1 = whatever it is.
	RegisterRequested struct {
		Spec      Spec
		IfVersion int64
		By        fleet.Actor
		Trace     fleet.Trace
	}
	// RemoveRequested deletes the robot. Answered with Reply.
	RemoveRequested struct {
		IfVersion int64
		By        fleet.Actor
		Trace     fleet.Trace
	}
	// StatusReported is the newest status (older ones of a batch are dropped before). The shell passes a
	// pointer it reuses: the core copies what it keeps.
	StatusReported struct {
		BootID     string // "" = as before
		Seq        uint64
		At         time.Time // by the robot
		ReceivedAt time.Time
		Pose       fleet.Pose
		MapID      fleet.MapID // "" = the active map
		Velocity   float64
		Battery    float64
		State      fleet.RobotState
		Errors     []fleet.RobotError
	}
	// Progressed is one entry of the reliable lane: the robot stands on Vertex (reached it, or turned there).
	// Entries are numbered from 1 per boot; repeats are dropped, and so is what another boot than the link's says.
	Progressed struct {
		BootID  string
		Number  uint64
		Vertex  fleet.Vertex // NoVertex: it says nothing of the road
		Heading float64
		At      time.Time
		OrderID uint64 // that the robot was driving; its map is the one on which Vertex is. 0 = the active one
	}
	// LinkOpened and LinkClosed say whether somebody carries this robot's orders. Session tells links apart:
	// a close of an older session is ignored. Base is what the robot says it still holds (resume).
	LinkOpened struct {
		Session    uint64
		BootID     string
		At         fleet.Vertex // NoVertex: derive from the next status
		Heading    float64
		Base       []fleet.Vertex
		MapID      fleet.MapID // on which At and Base are, "" = the active one
		MapVersion int
		ProgressNo uint64
	}
	// LinkClosed says that the link's stream ended.
	LinkClosed struct{ Session uint64 }
	// Granted comes from a zone.
	Granted struct{ Grant fleet.Grant }
	// Refused comes from a zone: what the robot waits for (Wait.Cause CauseNone = it waits no more). Halves the window.
	Refused struct{ Wait fleet.Wait }
	// ZoneRestarted asks the robot to assert what it holds; grants of older epochs of that zone are void.
	ZoneRestarted struct {
		Zone  fleet.ZoneID
		Epoch uint64
	}
	// TaskAwarded and TaskWithdrawn come from a task; both may be repeated.
	TaskAwarded struct {
		Task     fleet.TaskID
		Errands  []fleet.Vertex
		Places   []string // the client's names of Errands: they count where the map has changed since; nil = none
		First    int
		Priority uint8
		Since    time.Time // creation of the task
		Trace    fleet.Trace
	}
	// TaskWithdrawn asks the robot to let go. Untouched: only if it has done no errand of the task; else it says how far it is.
	TaskWithdrawn struct {
		Task      fleet.TaskID
		Untouched bool
	}
	// Sent comes from the dispatcher: where to go between tasks, or out of one. A Move of kind NoMove ends the one before.
	Sent struct{ Move Move }
	// CommandRequested comes from an operator. Answered with Reply.
	CommandRequested struct {
		Command Command
		By      fleet.Actor
		Trace   fleet.Trace
	}
	// CommandAcknowledged comes from the robot: Stage is StageAcknowledged, StageDone or StageFailed.
	CommandAcknowledged struct {
		ID     fleet.CommandID
		Stage  fleet.Stage
		Reason string
	}
	// MapActivated gives the map to drive on; nil = none.
	MapActivated struct{ Graph *roadmap.Graph }
	// LaneLimited says that a lane has another speed limit: whoever is to drive it is sent its order again.
	LaneLimited struct{ Lane int32 }
	// SamplingChanged gives the rates at which robots are watched.
	SamplingChanged struct{ Sampling Sampling }
	// Woke comes from the timing wheel.
	Woke struct{}
	// Restored follows recovery.
	Restored struct {
		Last       LastKnown
		ActiveTask *TaskAwarded // the open task that names this robot, nil = none
	}
)

// LastKnown is the coalesced snapshot of soft fields, as the robots row keeps it.
type LastKnown struct {
	BootID     string
	Seq        uint64
	ReportedAt time.Time
	Pose       fleet.Pose
	Battery    float64
	State      fleet.RobotState
	Connection fleet.Connection
}

func (RegisterRequested) isRobotMsg()   {}
func (RemoveRequested) isRobotMsg()     {}
func (*StatusReported) isRobotMsg()     {}
func (Progressed) isRobotMsg()          {}
func (LinkOpened) isRobotMsg()          {}
func (LinkClosed) isRobotMsg()          {}
func (Granted) isRobotMsg()             {}
func (Refused) isRobotMsg()             {}
func (ZoneRestarted) isRobotMsg()       {}
func (TaskAwarded) isRobotMsg()         {}
func (TaskWithdrawn) isRobotMsg()       {}
func (Sent) isRobotMsg()                {}
func (CommandRequested) isRobotMsg()    {}
func (CommandAcknowledged) isRobotMsg() {}
func (MapActivated) isRobotMsg()        {}
func (LaneLimited) isRobotMsg()         {}
func (SamplingChanged) isRobotMsg()     {}
func (Woke) isRobotMsg()                {}
func (Restored) isRobotMsg()            {}
