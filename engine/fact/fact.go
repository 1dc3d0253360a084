// Package fact says what is recorded and what comes back: the envelope of events, the unit that becomes durable
// as a whole, the ways in which a recording can end, and what activation reads. Data only: the shells produce it,
// the stores keep it.
package fact

import (
	"errors"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// The ways in which a recording can end, other than well. Journal implementations wrap these.
var (
	// ErrUnavailable: the store cannot be reached; nothing was recorded.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrUnknown: the connection broke while committing; ask Recorded.
	ErrUnknown = errors.New("outcome of the recording is unknown")
	// ErrFenced: the shard has a newer owner; drop it.
	ErrFenced = errors.New("shard is owned by a newer incarnation")
	// ErrConflict: a unique rule or a version forbids it (see ConflictError); nothing of the unit was recorded.
	ErrConflict = errors.New("conflicts with what is recorded")
	// ErrRejected: this unit is bad in itself; nothing of it was recorded, the rest of its group was.
	ErrRejected = errors.New("unit cannot be recorded")
)

// ConflictError says what a unit conflicts with.
type ConflictError struct {
	// Key names the rule: "idempotency_key", "robot_code", "state", "version", "task_id".
	Key string
	// Existing is the id of what is there already, "" where unknown.
	Existing string
	// Answer is the kept first answer where Key is "idempotency_key" and the fingerprint is the same.
	Answer *Answer
	// SameFingerprint says that the key was used with the same body.
	SameFingerprint bool
	// Task, Robot are the current state where Key is "state" or "version".
	Task  *task.View
	Robot *robot.View
}

// Error implements error.
func (e *ConflictError) Error() string { return "conflicts with what is recorded: " + e.Key }

// Unwrap makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// Answer is a client's first answer, kept with what it acknowledges.
type Answer struct {
	Status   int
	Location string
	Body     []byte
}

// Idempotency is the client's key, recorded in the same transaction as what it created.
type Idempotency struct {
	Key         string
	Route       string
	Fingerprint []byte
	Answer      Answer
}

// Unit is what must become durable together: all of it or nothing.
type Unit struct {
	Shard       fleet.Shard
	Incarnation fleet.Incarnation // 0 = unfenced (dev)
	Facts       []Fact
	Idempotency *Idempotency
	// Audit is the intent of the request that causes the unit: it becomes durable with it, under a savepoint, and is
	// completed when the request has been answered. nil = there is none. It is not changed any more.
	Audit *AuditEntry
	// Fences are the locks under which the unit was decided: it is refused (ErrFenced) where a newer holder of one is known.
	Fences []Fence
}

// The locks of a shard.
const (
	LockDispatch = "dispatch" // who gives tasks to robots
	LockReplan   = "replan"   // who takes tasks from robots again
)

// Refused is the token of a lock that somebody else held when the unit was decided: it must not be written.
const Refused int64 = -1

// Fence is a held lock of the unit's shard, and the token that its holder got with it. Token 0 = nobody could say who holds
// it: the shard's incarnation alone is checked.
type Fence struct {
	Lock  string
	Token int64
}

// Fact is one recorded event with its envelope.
type Fact struct {
	ID    fleet.EventID
	At    time.Time
	By    fleet.Actor
	Trace fleet.Trace
	// Subject is the id of the task, robot, zone or warehouse.
	Subject string
	// Version is the aggregate's version after this event (1 for its first); 0 for roster entries.
	Version int64
	// Event is a task.Event, robot.Event, dispatch.Event, RosterEntered or RosterLeft.
	Event any
}

// RosterEntered and RosterLeft are the recorded facts of a zone.
type RosterEntered struct {
	Zone  fleet.ZoneID
	Entry zone.RosterEntry
}

// RosterLeft removes the entry.
type RosterLeft struct {
	Zone  fleet.ZoneID
	Robot fleet.RobotID
}

// ErrNotFound: there is no such aggregate in this shard.
var ErrNotFound = errors.New("not found")

// ErrPrecondition: a needed thing is missing (no active map, robot not under our control, …).
var ErrPrecondition = errors.New("a needed thing is missing")

// ErrBusy: a bounded queue is full; try again.
var ErrBusy = errors.New("queue is full")

// TaskRecord is a task's log, oldest first, and its version.
type TaskRecord struct {
	Events  []Recorded[task.Event]
	Version int64
}

// Recorded is a stored event.
type Recorded[E any] struct {
	At    time.Time
	Event E
}

// RobotRecord is what activation needs of a robot: its events in effect (registration, open commands), its last
// snapshot and the open task that names it.
type RobotRecord struct {
	Events  []Recorded[robot.Event]
	Version int64
	Last    robot.LastKnown
	Active  *task.State // folded; nil = none
}

// RobotSnapshot is a robot's newest soft state.
type RobotSnapshot struct {
	Robot fleet.RobotID
	Last  robot.LastKnown
}

// WarehouseRecord is what activation needs of a warehouse.
type WarehouseRecord struct {
	Graph   *roadmap.Graph // of the active map version, nil = none
	Lanes   []dispatch.LaneState
	KeepOut []fleet.Vertex
	Tasks   []task.State    // CREATED ones, oldest first
	Held    []fleet.TaskID  // tasks that are neither CREATED nor final: activated at once, so that they go on
	Robots  []fleet.RobotID // registered; activated on demand
}

// Held is one shard in our hands.
type Held struct {
	Shard       fleet.Shard
	Incarnation fleet.Incarnation
}
