// Package actors holds the thin shells around the engine's cores: one protoactor per robot, zone, task and
// warehouse, the persistence actors that record for them, and the interpreter of their effects. A shell holds no
// rule of the domain.
//
// Cost per message on the hot path: about 0.4 us of a core (pool dispatcher), no allocation.
package actors

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Journal makes facts durable. (persistence/postgres; in memory for lock-step benches and simulation.)
type Journal interface {
	// Append records the units of one shard, in order, as one group where it can; result i is unit i's: nil, or
	// wraps one of the errors above. It blocks until all are decided; ctx bounds it.
	Append(ctx context.Context, units []fact.Unit) []error
	// Recorded says for each event id whether it is durable (the read-back after ErrUnknown).
	Recorded(ctx context.Context, shard fleet.Shard, ids []fleet.EventID) ([]bool, error)
}

// Store is what activation reads.
type Store interface {
	LoadTask(ctx context.Context, shard fleet.Shard, id fleet.TaskID) (fact.TaskRecord, error)
	LoadRobot(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (fact.RobotRecord, error)
	LoadZone(ctx context.Context, shard fleet.Shard, id fleet.ZoneID) ([]zone.RosterEntry, error)
	LoadWarehouse(ctx context.Context, shard fleet.Shard) (fact.WarehouseRecord, error)
	// LoadAlerts reads the open alerts of a shard and those that were resolved lately; LoadAlert one, however old.
	LoadAlerts(ctx context.Context, shard fleet.Shard) (fact.AlertRecord, error)
	LoadAlert(ctx context.Context, shard fleet.Shard, id alert.ID) (alert.View, error)
	// SaveSnapshots writes the newest soft state of robots, coalesced by the snapshot writer.
	SaveSnapshots(ctx context.Context, shard fleet.Shard, snapshots []fact.RobotSnapshot) error
}

// Ownership hands out and renews shards. (persistence/postgres.)
type Ownership interface {
	// Take raises the shard's incarnation (compare-and-set) and returns it with the time before which the taker
	// must not grant (zero: at once).
	Take(ctx context.Context, shard fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error)
	// Renew extends the leases of the shards; result i is false where shard i has a newer owner.
	Renew(ctx context.Context, owner string, held []fact.Held) ([]bool, error)
}

// Links carries orders and commands to robots. Calls never block; false = no link or its queue is full (the
// caller's state stays the truth and is sent again on resume).
type Links interface {
	SendOrder(o robot.Order, graph *roadmap.Graph) bool
	SendCommand(c robot.Command) bool
	// ProgressDone says that the robot's entry of the reliable lane, and all before it, has been folded: the link
	// may tell it so.
	ProgressDone(id fleet.RobotID, number uint64)
	// AskRate asks the robot for so many statuses a second.
	AskRate(id fleet.RobotID, hz float64)
	// HangUp ends the stream that carries the robot, if there is one: its actor has been restarted and must hear from the
	// robot itself where it stands and what it holds.
	HangUp(id fleet.RobotID)
}

// Views takes the newest state of everything (latest wins). Calls never block.
type Views interface {
	ShowRobot(shard fleet.Shard, v *robot.View)
	RobotGone(shard fleet.Shard, id fleet.RobotID)
	ShowTask(shard fleet.Shard, v *task.View)
	// TaskChanged takes each recorded step of a task once, in order, with the task after it.
	TaskChanged(shard fleet.Shard, e task.Event, v *task.View)
	// CommandHeard says how long it took from accepting a command to the robot's acknowledgement.
	CommandHeard(shard fleet.Shard, took time.Duration)
	ShowZone(shard fleet.Shard, v *zone.View)
	ZoneGone(shard fleet.Shard, id fleet.ZoneID)
	ShowWarehouse(shard fleet.Shard, v *dispatch.View)
	// AlertChanged takes each recorded step of an alert once, in order, with the alert after it; without a step, an alert that
	// was loaded. What they point to is not changed any more.
	AlertChanged(shard fleet.Shard, e *alert.Event, v *alert.View)
}

// Telemetry takes measured statuses; it may drop and counts what it drops. Calls never block.
type Telemetry interface {
	Measure(shard fleet.Shard, v *robot.View)
	// TaskEnded takes a task that has just ended, once in this process's life of it.
	TaskEnded(v *task.View)
}

// Meter is shown what actors do, in manual mode, on the goroutine that drives them.
type Meter interface {
	// Turn runs one turn of an actor of a kind ("robot", "zone", "task", "warehouse"; "" = protoactor's own) and says, as
	// run does, how many messages it took.
	Turn(kind string, run func() int) int
	// Heard is told of each message before its actor takes it.
	Heard(kind string, message any)
}

// Placement starts and stops actors under their shard's parent. (cluster.) Calls never block.
type Placement interface {
	// Owns says whether the shard is placed on this member.
	Owns(shard fleet.Shard) bool
	// Spawn starts an actor; done is called once, from its parent.
	Spawn(shard fleet.Shard, kind, id string, props *actor.Props, done func(*actor.PID, error))
	Stop(shard fleet.Shard, kind, id string, pid *actor.PID)
	StopShard(shard fleet.Shard)
	// Shutdown leaves the cluster.
	Shutdown()
}

// Host is what the placement needs of us; System is one.
type Host interface {
	// Kinds lists the names of the kinds of actors that have identities here.
	Kinds() []string
	// PID returns the running actor of an identity, activated where needed; id is "" for a shard's own actor.
	PID(ctx context.Context, kind string, shard fleet.Shard, id string) (*actor.PID, error)
	// Dispatcher runs the placement's own actors.
	Dispatcher() actor.Dispatcher
	// Supervisor decides what becomes of an actor that panicked.
	Supervisor() actor.SupervisorStrategy
}
