package task

import (
	"time"

	"starling/engine/fleet"
)

// Msg is what a task can be told.
//
//sumtype:decl
type Msg interface{ isTaskMsg() }

type (
	// CreateRequested is the first message of a task's life. Answered with Reply.
	CreateRequested struct {
		Spec  Spec
		By    fleet.Actor
		Trace fleet.Trace
	}
	// AwardOffered comes from the dispatcher. Accepted while CREATED; otherwise the dispatcher is told the truth (TaskState).
	AwardOffered struct {
		Robot    fleet.RobotID
		Decision Decision
		Trace    fleet.Trace
		Token    int64 // of the lock under which it was decided (fact.Fence)
	}
	// RobotStarted, RobotReached and RobotRefused come from the robot that has the task.
	RobotStarted struct{ Robot fleet.RobotID }
	// RobotReached says that errand Errand was reached; repeats and gaps are legal (the highest counts).
	RobotReached struct {
		Robot  fleet.RobotID
		Errand int
	}
	// RobotRefused says that the robot cannot do it (any more).
	RobotRefused struct {
		Robot  fleet.RobotID
		Reason string
		Fatal  bool // no other robot could do it either: the task fails
	}
	// RecallRequested comes from the dispatcher: another robot is to have the task, if this one has done no errand of it.
	// It is CREATED again when the robot has let go.
	RecallRequested struct {
		Robot  fleet.RobotID
		Reason string
		Token  int64 // of the lock under which it was decided (fact.Fence)
	}
	// RobotLetGo confirms a withdrawal.
	RobotLetGo struct{ Robot fleet.RobotID }
	// CancelRequested comes from a client. Answered with Reply.
	CancelRequested struct {
		Reason string
		By     fleet.Actor
		Trace  fleet.Trace
	}
	// Woke comes from the timing wheel at or after a time asked for by WakeAt.
	Woke struct{}
	// Restored follows recovery: the log is folded; say what must be said again (idempotently).
	Restored struct{}
)

func (CreateRequested) isTaskMsg() {}
func (AwardOffered) isTaskMsg()    {}
func (RobotStarted) isTaskMsg()    {}
func (RobotReached) isTaskMsg()    {}
func (RobotRefused) isTaskMsg()    {}
func (RecallRequested) isTaskMsg() {}
func (RobotLetGo) isTaskMsg()      {}
func (CancelRequested) isTaskMsg() {}
func (Woke) isTaskMsg()            {}
func (Restored) isTaskMsg()        {}

// CancelBound is how long a robot may take to confirm a withdrawal before the task ends CANCELLED without it.
const CancelBound = 30 * time.Second
