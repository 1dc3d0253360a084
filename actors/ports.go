// Package actors holds the thin shells around the engine's cores: one protoactor per robot, zone, task and
// warehouse, the persistence actors that record for them, and the interpreter of their effects. A shell holds no
// rule of the domain.
//
// Cost per message on the hot path: about 0.4 us of a core (pool dispatcher), no allocation.
package actors

import (
	"context"
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
	// Key names the rule: "idempotency_key", "robot_code", "version", "task_id".
	Key string
	// Existing is the id of what is there already, "" where unknown.
	Existing string
	// Answer is the kept first answer where Key is "idempotency_key" and the fingerprint is the same.
	Answer *Answer
	// SameFingerprint says that the key was used with the same body.
	SameFingerprint bool
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

// Journal makes facts durable. (persistence/postgres; in memory for lock-step benches and simulation.)
type Journal interface {
	// Append records the units of one shard, in order, as one group where it can; result i is unit i's: nil, or
	// wraps one of the errors above. It blocks until all are decided; ctx bounds it.
	Append(ctx context.Context, units []Unit) []error
	// Recorded says for each event id whether it is durable (the read-back after ErrUnknown).
	Recorded(ctx context.Context, shard fleet.Shard, ids []fleet.EventID) ([]bool, error)
}

// Store is what activation reads.
type Store interface {
	LoadTask(ctx context.Context, shard fleet.Shard, id fleet.TaskID) (TaskRecord, error)
	LoadRobot(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (RobotRecord, error)
	LoadZone(ctx context.Context, shard fleet.Shard, id fleet.ZoneID) ([]zone.RosterEntry, error)
	LoadWarehouse(ctx context.Context, shard fleet.Shard) (WarehouseRecord, error)
	// SaveSnapshots writes the newest soft state of robots, coalesced by the snapshot writer.
	SaveSnapshots(ctx context.Context, shard fleet.Shard, snapshots []RobotSnapshot) error
}

// ErrNotFound: there is no such aggregate in this shard.
var ErrNotFound = errors.New("not found")

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
// snapshot, its roster entry and the open task that names it.
type RobotRecord struct {
	Events  []Recorded[robot.Event]
	Version int64
	Last    robot.LastKnown
	Holding fleet.Vertex
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
	Tasks   []task.Spec     // CREATED ones, oldest first
	Held    []fleet.TaskID  // tasks that are neither CREATED nor final: activated at once, so that they go on
	Robots  []fleet.RobotID // registered; activated on demand
}

// Ownership hands out and renews shards. (persistence/postgres.)
type Ownership interface {
	// Take raises the shard's incarnation (compare-and-set) and returns it with the time before which the taker
	// must not grant (zero: at once).
	Take(ctx context.Context, shard fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error)
	// Renew extends the leases of the shards; result i is false where shard i has a newer owner.
	Renew(ctx context.Context, owner string, held []Held) ([]bool, error)
}

// Held is one shard in our hands.
type Held struct {
	Shard       fleet.Shard
	Incarnation fleet.Incarnation
}

// Links carries orders and commands to robots. Calls never block; false = no link or its queue is full (the
// caller's state stays the truth and is sent again on resume).
type Links interface {
	SendOrder(o robot.Order, graph *roadmap.Graph) bool
	SendCommand(c robot.Command) bool
}

// Views takes the newest state of everything (latest wins). Calls never block.
type Views interface {
	ShowRobot(shard fleet.Shard, v *robot.View)
	RobotGone(shard fleet.Shard, id fleet.RobotID)
	ShowTask(shard fleet.Shard, v *task.View)
	ShowZone(shard fleet.Shard, v *zone.View)
	ShowWarehouse(shard fleet.Shard, v *dispatch.View)
}

// Telemetry takes measured statuses; it may drop and counts what it drops. Calls never block.
type Telemetry interface {
	Measure(shard fleet.Shard, v *robot.View)
}
