package task

import (
	"time"

	"starling/engine/fleet"
)

// Effect is what the shell must do. Where one Decide returns Record effects, all its other effects wait until
// those are durable, and are dropped if they are not (law 1: record, then tell, then show).
//
//sumtype:decl
type Effect interface{ isTaskEffect() }

type (
	// Record makes an event durable; Apply follows when it is.
	Record struct {
		Event Event
		By    fleet.Actor
		Trace fleet.Trace
	}
	// Reply answers the client's message that is being decided. The shell adds the task as it then is.
	Reply struct{ Outcome Outcome }
	// Award tells the robot to do the task from errand First on.
	Award struct {
		Robot   fleet.RobotID
		Errands []fleet.Vertex
		Places  []string
		First   int
		Spec    Spec
		Trace   fleet.Trace
	}
	// Withdraw tells the robot to drop the task; it answers RobotLetGo. Untouched: only if it has done no errand of it.
	Withdraw struct {
		Robot     fleet.RobotID
		Untouched bool
	}
	// TellDispatcher says what the dispatcher must know: open (wants a robot), held (by Robot), closed.
	TellDispatcher struct {
		State  DispatchState
		Robot  fleet.RobotID
		Spec   Spec
		Errand int // errands done
	}
	// Show publishes the task's view.
	Show struct{}
	// WakeAt asks for Woke at that time; a later one replaces it; zero cancels.
	WakeAt struct{ At time.Time }
)

func (Record) isTaskEffect()         {}
func (Reply) isTaskEffect()          {}
func (Award) isTaskEffect()          {}
func (Withdraw) isTaskEffect()       {}
func (TellDispatcher) isTaskEffect() {}
func (Show) isTaskEffect()           {}
func (WakeAt) isTaskEffect()         {}

// DispatchState is what a task is to the dispatcher.
type DispatchState uint8

// The dispatcher's view of a task.
const (
	Open DispatchState = iota
	Held
	Closed
)

// Outcome is how a client's request ended.
type Outcome uint8

// The outcomes of CreateRequested and CancelRequested.
const (
	Done     Outcome = iota // done now, or was done already (idempotent)
	Conflict                // the task's state forbids it
)
