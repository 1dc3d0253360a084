// Package fleet holds the nouns that every other room uses: identities, poses, units and the closed
// sets of states that clients see. It decides nothing and imports nothing of ours.
//
// Units: metres, seconds, m/s, radians (counter-clockwise, 0 = +x), battery state of charge 0..1.
package fleet

import "time"

// TenantID, WarehouseID, MapID, ZoneID, RobotID, TaskID, CommandID, LaneID, UserID, DecisionID and EventID are
// UUIDs in their canonical lower-case text form (36 bytes). The empty string means "none".
type (
	TenantID    string
	WarehouseID string
	MapID       string
	ZoneID      string
	RobotID     string
	TaskID      string
	CommandID   string
	LaneID      string
	UserID      string
	DecisionID  string
	EventID     string
)

// NilTenant is nobody's: under it stands what belongs to the platform itself, and what names no tenant.
const NilTenant TenantID = "00000000-0000-0000-0000-000000000000"

// Vertex is the dense index of a vertex in one version of a map (0..n-1), as roadmap.Graph numbers them.
// It is meaningful only together with the map version that is active in the warehouse.
type Vertex int32

// NoVertex says that no vertex is known or wanted.
const NoVertex Vertex = -1

// Shard names the unit of ownership and movement: all actors of one warehouse.
type Shard struct {
	Tenant    TenantID
	Warehouse WarehouseID
}

// Key is the shard's text form "tenant/warehouse", as cluster keys and the incarnation table use it.
func (s Shard) Key() string { return string(s.Tenant) + "/" + string(s.Warehouse) }

// Incarnation numbers the successive owners of a shard; each taker raises it by one in the store.
// Robots obey the highest incarnation they have seen.
type Incarnation int64

// Pose is a position on a map's floor.
type Pose struct {
	X, Y  float64 // metres in the map's frame
	Theta float64 // radians, counter-clockwise, 0 = +x
}

// Connection says how fresh a robot's last sign of life is.
type Connection uint8

// The connection states, by age of the last status (contract.md §5).
const (
	NeverSeen Connection = iota
	Online
	Stale
	Offline
)

var connectionNames = [...]string{"NEVER_SEEN", "ONLINE", "STALE", "OFFLINE"}

// String is the wire name.
func (c Connection) String() string { return nameOf(connectionNames[:], int(c)) }

// RobotState is what the robot says it is doing.
type RobotState uint8

// The robot states of contract.md §5.
const (
	StateUnknown RobotState = iota
	Idle
	Moving
	Waiting
	Charging
	Paused
	Error
	Manual
)

var robotStateNames = [...]string{"UNKNOWN", "IDLE", "MOVING", "WAITING", "CHARGING", "PAUSED", "ERROR", "MANUAL"}

// String is the wire name.
func (s RobotState) String() string { return nameOf(robotStateNames[:], int(s)) }

// ParseRobotState reads a wire name; ok is false for anything else (UNKNOWN included).
func ParseRobotState(s string) (RobotState, bool) {
	i := indexOf(robotStateNames[1:], s)
	return RobotState(i + 1), i >= 0
}

// Control says who decides where a robot goes.
type Control uint8

// The control modes of schema.md. Only ControlEngine robots obey our grants; all others occupy what they report.
const (
	ControlEngine Control = iota
	ControlExternal
	ControlMirrored
	ControlAutonomous
)

var controlNames = [...]string{"engine", "external", "mirrored", "autonomous"}

// String is the wire name.
func (c Control) String() string { return nameOf(controlNames[:], int(c)) }

// ParseControl reads a wire name.
func ParseControl(s string) (Control, bool) {
	i := indexOf(controlNames[:], s)
	return Control(max(i, 0)), i >= 0
}

// TaskStatus is the state of a task as clients see it.
type TaskStatus uint8

// The task states of contract.md §5. The last three are final.
const (
	TaskCreated TaskStatus = iota
	TaskAssigned
	TaskExecuting
	TaskCancelling
	TaskSucceeded
	TaskFailed
	TaskCancelled
)

var taskStatusNames = [...]string{"CREATED", "ASSIGNED", "EXECUTING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"}

// String is the wire name.
func (s TaskStatus) String() string { return nameOf(taskStatusNames[:], int(s)) }

// ParseTaskStatus reads a wire name.
func ParseTaskStatus(s string) (TaskStatus, bool) {
	i := indexOf(taskStatusNames[:], s)
	return TaskStatus(max(i, 0)), i >= 0
}

// Final says that the task will never change again.
func (s TaskStatus) Final() bool { return s >= TaskSucceeded }

// TaskType is what kind of work a task is.
type TaskType uint8

// The task types of contract.md §5.
const (
	Transport TaskType = iota
	Patrol
	GoTo
	Charge
)

var taskTypeNames = [...]string{"transport", "patrol", "go_to", "charge"}

// String is the wire name.
func (t TaskType) String() string { return nameOf(taskTypeNames[:], int(t)) }

// ParseTaskType reads a wire name.
func ParseTaskType(s string) (TaskType, bool) {
	i := indexOf(taskTypeNames[:], s)
	return TaskType(max(i, 0)), i >= 0
}

// CommandKind is what an operator may tell one robot.
type CommandKind uint8

// The commands of contract.md §5.
const (
	CommandPause CommandKind = iota
	CommandResume
	CommandStop
	CommandGoTo
	CommandCharge
	CommandClearErrors
)

var commandNames = [...]string{"pause", "resume", "stop", "go_to", "charge", "clear_errors"}

// String is the wire name.
func (c CommandKind) String() string { return nameOf(commandNames[:], int(c)) }

// ParseCommand reads a wire name.
func ParseCommand(s string) (CommandKind, bool) {
	i := indexOf(commandNames[:], s)
	return CommandKind(max(i, 0)), i >= 0
}

// Stage is how far a command has got; DONE, FAILED and EXPIRED are final.
type Stage uint8

// The stages of a command, in the order in which they may follow each other.
const (
	StageAccepted Stage = iota
	StageSent
	StageAcknowledged
	StageDone
	StageFailed
	StageExpired
)

var stageNames = [...]string{"accepted", "sent", "acknowledged", "done", "failed", "expired"}

// String is the wire name.
func (s Stage) String() string { return nameOf(stageNames[:], int(s)) }

// Final says that no later stage can follow.
func (s Stage) Final() bool { return s >= StageDone }

// RobotError is one fault that a robot reports.
type RobotError struct {
	Code    string
	Level   ErrorLevel
	Message string
}

// ErrorLevel is how grave a robot's fault is; a FATAL one stops the robot until somebody clears it.
type ErrorLevel uint8

// The levels, after VDA 5050's WARNING and FATAL.
const (
	LevelInfo ErrorLevel = iota
	LevelWarning
	LevelFatal
)

var levelNames = [...]string{"INFO", "WARNING", "FATAL"}

// String is the wire name.
func (l ErrorLevel) String() string { return nameOf(levelNames[:], int(l)) }

// ParseErrorLevel reads a wire name.
func ParseErrorLevel(s string) (ErrorLevel, bool) {
	i := indexOf(levelNames[:], s)
	return ErrorLevel(max(i, 0)), i >= 0
}

// Trace is the W3C traceparent that travels with a message, "" where there is none.
type Trace string

// Actor says who caused a recorded fact: a user (UserID), or a part of the engine (Part) where no person did.
type Actor struct {
	User UserID
	Part string // "dispatcher", "robot", "engine", …; "" for a person
}

// Far is the instant that means "no limit" where a deadline or a lease is absent.
var Far = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return "INVALID"
	}
	return names[i]
}

func indexOf(names []string, s string) int {
	for i, n := range names {
		if n == s {
			return i
		}
	}
	return -1
}
