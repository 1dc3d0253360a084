package task

import (
	"time"

	"starling/engine/fleet"
)

// State is one task. Durable fields change only by Apply of a recorded event.
type State struct {
	// Durable.
	Spec       Spec
	Status     fleet.TaskStatus
	Robot      fleet.RobotID // of the award in force, or the last one
	Errand     int           // errands done
	Reason     string        // of CANCELLING, CANCELLED, FAILED, or of the last Unassigned
	Version    int64         // number of events folded
	Awards     int           // how often it has been assigned
	AssignedAt time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	UpdatedAt  time.Time

	before fleet.RobotID // had it until the last Unassigned
	recall string        // soft: why its robot has been asked to let go, "" = it has not
}

// View is what others may see of a task: a copy of its State.
type View = State
