// Package dispatch is the core of a warehouse: it knows the active map, the open tasks and the free robots,
// assigns them in batches, watches the wait-for graph for cycles, and explains what waits. It owns neither
// tasks nor robots: an award is an offer that the task records.
//
// Size: about 200 bytes per open task and per robot; a batch of 1,000 x 1,000 candidates takes about 0.3 s CPU
// at worst and is bounded by MaxBatch.
package dispatch

import (
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Msg is what a warehouse can be told.
//
//sumtype:decl
type Msg interface{ isDispatchMsg() }

type (
	// TaskChanged comes from a task (and from recovery): Open, Held or Closed.
	TaskChanged struct {
		State  task.DispatchState
		Robot  fleet.RobotID
		Spec   task.Spec
		Errand int // errands done; from the first on, its robot keeps it
	}
	// RobotChanged comes from a robot.
	RobotChanged struct{ Robot Robot }
	// ZoneReported is a zone's newest view: the waits feed the wait-for graph.
	ZoneReported struct{ View zone.View }
	// RulesChanged gives the warehouse's rules of batteries and of robots that have nothing to do.
	RulesChanged struct {
		Policy   Policy
		Active   int  // robots that hold tasks at once; 0 = as BySight says
		BySight  bool // how many robots hold tasks at once follows what is seen (congestion.Crowd), else the floor's size
		Charging Charging
		Parking  Parking
	}
	// Ticked starts a batch and, each second, the search for cycles.
	Ticked struct{}
	// Woke comes at or after a time asked for by WakeAt: what has changed is dispatched without waiting for the next batch.
	Woke struct{}
	// ActivateRequested makes a map version the active one. Answered with Reply. The graph is built and checked before.
	ActivateRequested struct {
		Graph *roadmap.Graph
		By    fleet.Actor
		Trace fleet.Trace
	}
	// LaneRequested closes, opens or slows a lane. Answered with Reply.
	LaneRequested struct {
		Lane     fleet.LaneID
		Closed   *bool
		SpeedMPS *float64
		Reason   string
		By       fleet.Actor
		Trace    fleet.Trace
	}
	// OverlaysChanged gives the keep-out polygons' vertices after a zone overlay was put or deleted (recorded already).
	OverlaysChanged struct{ KeepOut []fleet.Vertex }
	// Restored follows recovery.
	Restored struct {
		Graph   *roadmap.Graph // nil = no active map
		Lanes   []LaneState    // lanes that differ from the map
		KeepOut []fleet.Vertex
		Tasks   []task.Spec // open ones, oldest first
	}
)

func (TaskChanged) isDispatchMsg()       {}
func (RobotChanged) isDispatchMsg()      {}
func (ZoneReported) isDispatchMsg()      {}
func (Ticked) isDispatchMsg()            {}
func (RulesChanged) isDispatchMsg()      {}
func (Woke) isDispatchMsg()              {}
func (ActivateRequested) isDispatchMsg() {}
func (LaneRequested) isDispatchMsg()     {}
func (OverlaysChanged) isDispatchMsg()   {}
func (Restored) isDispatchMsg()          {}

// Robot is what the dispatcher knows of a robot (robot.Availability, carried over by the shell).
type Robot struct {
	ID           fleet.RobotID
	Fleet        string
	Capabilities []string
	Free         bool
	At           fleet.Vertex
	Battery      float64
	Since        time.Time
	Reason       string
	Gone         bool
	Allowed      []fleet.ZoneID // zones that it may enter, nil = everywhere
	SpeedMPS     float64
	Move         robot.Move  // idle move that it is about
	Power        robot.Power // what its statuses tell of its battery
}

// LaneState is what was changed on a lane at run time; recorded.
type LaneState struct {
	Lane     fleet.LaneID
	Closed   bool
	SpeedMPS float64 // 0 = as in the map
	Reason   string
}
