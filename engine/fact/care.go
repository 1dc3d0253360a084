package fact

import (
	"time"

	"starling/engine/fleet"
)

// What the periodic jobs look for and find: rows that do not get on by themselves. Each is a hint, checked again by
// whoever owns the aggregate before anything is done.

// StuckCause says why an open task needs care.
type StuckCause string

// The causes for which a task is stuck.
const (
	StuckDeadline  StuckCause = "deadline"   // its deadline has passed
	StuckRobotGone StuckCause = "robot_gone" // its robot is removed, or has been offline for longer than the engine waits
	StuckCancel    StuckCause = "cancel"     // it should have ended CANCELLED long ago
)

// StuckTask is an open task that does not get on.
type StuckTask struct {
	Shard   fleet.Shard
	Task    fleet.TaskID
	Robot   fleet.RobotID // "" = nobody has it
	Status  fleet.TaskStatus
	Version int64
	Cause   StuckCause
	Since   time.Time
}

// Patience is how long a task may wait for what the engine does by itself before a job looks after it.
type Patience struct {
	Deadline time.Duration // after the deadline
	Robot    time.Duration // after its robot went offline
	Cancel   time.Duration // after CANCELLING
}

// IdleShard has open tasks that are due, and nobody who holds it.
type IdleShard struct {
	Shard fleet.Shard
	Tasks int
	Due   time.Time // of the first: its earliest start, or its creation
}

// StaleRobot counts as connected and has not been heard for long.
type StaleRobot struct {
	Shard fleet.Shard
	Robot fleet.RobotID
	Last  time.Time
}

// OpenTask is what a task's row says, for comparison with its actor.
type OpenTask struct {
	Task    fleet.TaskID
	Status  fleet.TaskStatus
	Robot   fleet.RobotID
	Version int64
}

// Mismatch is a row that contradicts another row, or an actor.
type Mismatch struct {
	Kind string // version_gap, two_tasks, robot_absent; of actors: behind, ahead, unknown, ghost; of robots: robot_idle, robot_strays
	Task fleet.TaskID
	// Robot is the robot of the row.
	Robot fleet.RobotID
	// Detail says what stands where, for the log.
	Detail string
}

// Forgotten is what a retention run has removed.
type Forgotten struct {
	Outbox int // partitions, that is days
	Inbox  int // rows
}

// Told is a recorded event as a consumer of facts gets it.
type Told struct {
	Fact
	Shard fleet.Shard
}
