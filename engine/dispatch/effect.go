package dispatch

import (
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

// Event is a recorded fact about a warehouse.
//
//sumtype:decl
type Event interface{ isDispatchEvent() }

type (
	// MapActivated makes a version the active one; the former active version of the map becomes RETIRED.
	MapActivated struct {
		MapID   fleet.MapID
		Version int
		// Heirs say which zones have vertices of former zones now, and Ended which zones are no more: who is on the
		// roster of a former zone is put on those of its heirs.
		Heirs []roadmap.Heir
		Ended []fleet.ZoneID
	}
	// LaneChanged closes, opens or slows a lane.
	LaneChanged struct{ State LaneState }
	// CycleResolved says that a deadlock was found and how it was broken (a decision, with its reason).
	CycleResolved struct {
		DecisionID fleet.DecisionID
		At         time.Time
		Robots     []fleet.RobotID // the cycle, from the lowest id on
		Yielding   fleet.RobotID
		Reason     string
	}
)

func (MapActivated) isDispatchEvent()  {}
func (LaneChanged) isDispatchEvent()   {}
func (CycleResolved) isDispatchEvent() {}

// Effect is what the shell must do; Record first, the rest of one Decide after it is durable.
//
//sumtype:decl
type Effect interface{ isDispatchEffect() }

type (
	// Record makes an event durable; Apply follows when it is.
	Record struct {
		Event Event
		By    fleet.Actor
		Trace fleet.Trace
	}
	// Reply answers the request that is being decided.
	Reply struct{ Outcome Outcome }
	// Offer tells a task to take a robot (task.AwardOffered).
	Offer struct {
		Task     fleet.TaskID
		Robot    fleet.RobotID
		Decision task.Decision
		Token    int64 // of the lock under which it was decided: the shell's
	}
	// Recall tells a task to come back from a robot that has not begun to carry it out (task.RecallRequested).
	Recall struct {
		Task   fleet.TaskID
		Robot  fleet.RobotID
		Reason string
		Token  int64 // of the lock under which it was decided: the shell's
	}
	// UseMap tells all robots and zones of the warehouse to drive on this graph from now on.
	UseMap struct{ Graph *roadmap.Graph }
	// TellLane tells the zones of both ends.
	TellLane struct {
		Zones    []fleet.ZoneID
		Lane     int32
		Closed   bool
		SpeedMPS float64
	}
	// TellKeepOut tells one zone its kept-out vertices.
	TellKeepOut struct {
		Zone     fleet.ZoneID
		Vertices []fleet.Vertex
	}
	// Break tells a zone to make a robot yield (zone.BreakRequested).
	Break struct {
		Zone  fleet.ZoneID
		Robot fleet.RobotID
	}
	// WakeAt asks for Woke at that time; a later one replaces it.
	WakeAt struct{ At time.Time }
	// Send sends a robot somewhere without a customer's task (robot.Sent): to park, to charge, to wait for its turn.
	Send struct {
		Robot fleet.RobotID
		Move  robot.Move
	}
	// Show publishes the warehouse's view: open tasks and why they wait, cycles, the merged waits.
	Show struct{}
)

func (Record) isDispatchEffect()      {}
func (Reply) isDispatchEffect()       {}
func (Offer) isDispatchEffect()       {}
func (Recall) isDispatchEffect()      {}
func (UseMap) isDispatchEffect()      {}
func (TellLane) isDispatchEffect()    {}
func (TellKeepOut) isDispatchEffect() {}
func (Break) isDispatchEffect()       {}
func (WakeAt) isDispatchEffect()      {}
func (Send) isDispatchEffect()        {}
func (Show) isDispatchEffect()        {}

// Outcome is how a request ended.
type Outcome uint8

// The outcomes of ActivateRequested and LaneRequested.
const (
	Done Outcome = iota
	NotFound
	Conflict
)
