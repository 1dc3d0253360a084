// Package task is the state machine of one task: what a customer wants, from CREATED to an end that never
// changes. It reserves nothing on the floor and chooses no robot; it records each step before anybody is told.
//
// Size: one State per open task, about 600 bytes; finished tasks passivate.
package task

import (
	"time"

	"starling/engine/fleet"
)

// Spec is what a client asked for, checked and resolved to vertices. Immutable after creation.
type Spec struct {
	ID            fleet.TaskID
	Shard         fleet.Shard
	Type          fleet.TaskType
	Priority      uint8 // 0..9, 9 first
	EarliestStart time.Time
	Deadline      time.Time      // zero = none
	Payload       []byte         // the client's JSON payload, kept as sent
	Errands       []fleet.Vertex // the vertices to visit, in order; at least one (charge: resolved at award where empty)
	Places        []string       // the client's names of Errands, same length (they survive a new map version)
	Robot         fleet.RobotID  // wanted robot, "" = any
	Fleet         string         // wanted fleet, "" = any
	Source        string         // api, rmf, schedule
	CreatedAt     time.Time
	CreatedBy     fleet.UserID
}

// Event is a recorded fact about one task.
//
//sumtype:decl
type Event interface{ isTaskEvent() }

type (
	// Created opens the task.
	Created struct{ Spec Spec }
	// Assigned awards it to a robot; Decision says why.
	Assigned struct {
		Robot    fleet.RobotID
		Decision Decision
	}
	// Unassigned takes it back from a robot that cannot do it; the task is CREATED again.
	Unassigned struct {
		Robot  fleet.RobotID
		Reason string
	}
	// Started says that the robot set off: EXECUTING.
	Started struct{}
	// ErrandReached says that errand number Errand (0-based) is done.
	ErrandReached struct{ Errand int }
	// CancelStarted says that somebody cancelled it: CANCELLING until the robot has let go or a bound has passed.
	CancelStarted struct{ Reason string }
	// Cancelled, Succeeded and Failed end it.
	Cancelled struct {
		Reason    string
		Confirmed bool // the robot confirmed; false: the bound passed or there was no robot
	}
	// Succeeded ends the task well.
	Succeeded struct{}
	// Failed ends the task badly.
	Failed struct{ Reason string }
)

func (Created) isTaskEvent()       {}
func (Assigned) isTaskEvent()      {}
func (Unassigned) isTaskEvent()    {}
func (Started) isTaskEvent()       {}
func (ErrandReached) isTaskEvent() {}
func (CancelStarted) isTaskEvent() {}
func (Cancelled) isTaskEvent()     {}
func (Succeeded) isTaskEvent()     {}
func (Failed) isTaskEvent()        {}

// Decision explains one award; it is recorded with the task's Assigned event, in the same transaction.
type Decision struct {
	ID           fleet.DecisionID
	At           time.Time
	Task         fleet.TaskID
	Robot        fleet.RobotID
	Cost         Cost
	Alternatives []Alternative // next best robots, best first, at most 5
	Reason       string
	InputsDigest string        // of the batch's inputs, for replay
	Before       fleet.RobotID // had the task before, "" = nobody
	Because      string        // why it was taken from that one
}

// Cost is what a choice costs, in seconds of expected time. Each part may be negative: priority and age, and a deadline that is
// near, make a task cheaper.
type Cost struct{ Travel, Queue, Battery, Priority, Deadline, Total float64 }

// Alternative is a robot that was considered and not chosen.
type Alternative struct {
	Robot  fleet.RobotID
	Total  float64
	Reason string
}
