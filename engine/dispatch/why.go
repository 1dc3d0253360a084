package dispatch

import (
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// Link is one cause in a chain: what stands in the way, since when, and the cheapest thing to do about it.
type Link struct {
	Cause      string
	ObjectType string // robot, vertex, lane, task, warehouse, zone
	ObjectID   string
	Since      time.Time
	Remedy     *Remedy
}

// Remedy is a request of the public API that would help.
type Remedy struct {
	Label  string
	Method string
	Path   string
	Body   map[string]any
}

// Facts are what an explanation is made of: the newest views. Each look-up may return nil.
type Facts struct {
	Robot     func(fleet.RobotID) *robot.View
	Warehouse *View
	Vertex    func(fleet.Vertex) string // its id
}

// maxChain bounds an explanation.
const maxChain = 20

// WhyRobot says why a robot waits, as a chain of causes; empty where it does not wait.
func (f *Facts) WhyRobot(id fleet.RobotID) []Link {
	var chain []Link
	seen := map[fleet.RobotID]bool{}
	for len(chain) < maxChain {
		v := f.Robot(id)
		if v == nil {
			return chain
		}
		if seen[id] {
			return append(chain, Link{Cause: "cycle", ObjectType: "robot", ObjectID: string(id), Since: v.Waiting.Since})
		}
		seen[id] = true
		own := f.ownFault(v)
		if own != nil {
			return append(chain, *own)
		}
		w := v.Waiting
		if w.Cause == fleet.CauseNone {
			return chain
		}
		chain = append(chain, f.link(v, w))
		if w.Holder == "" || w.Holder == id {
			return chain
		}
		id = w.Holder
	}
	return chain
}

// ownFault says what keeps the robot itself from moving.
func (f *Facts) ownFault(v *robot.View) *Link {
	l := Link{ObjectType: "robot", ObjectID: string(v.ID), Since: v.Since}
	command := func(label, name string) *Remedy {
		return &Remedy{Label: label, Method: "POST", Path: "/api/v1/robots/" + string(v.ID) + "/commands", Body: map[string]any{"command": name}}
	}
	switch {
	case v.Connection == fleet.Offline || v.Connection == fleet.Stale:
		l.Cause, l.Since = "silent", v.ReceivedAt
		if v.Connection == fleet.Offline { // what it holds stays blocked until it speaks or is known to be gone
			l.Remedy = &Remedy{Label: "Take the robot off the floor and remove it", Method: "DELETE", Path: "/api/v1/robots/" + string(v.ID)}
		}
	case v.State == fleet.Error:
		l.Cause, l.Remedy = "robot_error", command("Clear the robot's errors", "clear_errors")
	case v.State == fleet.Manual:
		l.Cause = "manual"
	case v.State == fleet.Paused:
		l.Cause, l.Remedy = "paused", command("Resume the robot", "resume")
	case v.Vertex == fleet.NoVertex && v.Connection == fleet.Online:
		l.Cause = fleet.CauseUnlocalised.String()
	default:
		return nil
	}
	return &l
}

func (f *Facts) link(v *robot.View, w fleet.Wait) Link {
	l := Link{Cause: w.Cause.String(), ObjectType: "vertex", Since: w.Since}
	if w.Vertex != fleet.NoVertex {
		l.ObjectID = f.Vertex(w.Vertex)
	}
	switch w.Cause {
	case fleet.CauseOccupied, fleet.CauseClaimed:
		l.ObjectType, l.ObjectID = "robot", string(w.Holder)
		if h := f.Robot(w.Holder); h != nil && h.Task != "" && h.Waiting.Cause == fleet.CauseNone {
			l.Remedy = nil // it moves on by itself
		}
	case fleet.CauseNoWay:
		if v.Task != "" {
			l.Remedy = cancel(v.Task)
		}
	case fleet.CauseNoLease:
		l.ObjectType, l.ObjectID = "warehouse", ""
	case fleet.CauseNone, fleet.CauseClosed, fleet.CauseSuspect, fleet.CauseRecording, fleet.CauseHalted, fleet.CauseNoRobot,
		fleet.CauseNotYet, fleet.CauseNoMap, fleet.CauseBorder, fleet.CauseUnlocalised:
	}
	return l
}

func cancel(t fleet.TaskID) *Remedy {
	return &Remedy{Label: "Cancel the task", Method: "POST", Path: "/api/v1/tasks/" + string(t) + "/cancel", Body: map[string]any{}}
}

// WhyTask says why a task does not go on.
func (f *Facts) WhyTask(t *task.View) []Link {
	self := Link{ObjectType: "task", ObjectID: string(t.Spec.ID), Since: t.UpdatedAt}
	switch t.Status {
	case fleet.TaskCreated:
		self.Cause = fleet.CauseNoRobot.String()
		if f.Warehouse != nil {
			for _, w := range f.Warehouse.TaskWaits {
				if w.Task == t.Spec.ID {
					self.Cause, self.Since = w.Cause.String(), w.Since
				}
			}
			if f.Warehouse.MapID == "" {
				self.Cause = fleet.CauseNoMap.String()
			}
		}
		chain := []Link{self}
		if t.Reason != "" {
			chain = append(chain, Link{Cause: "unassigned: " + t.Reason, ObjectType: "task", ObjectID: string(t.Spec.ID), Since: t.UpdatedAt})
		}
		if t.Spec.Robot != "" { // no other may do it: what keeps that one keeps the task
			chain = append(chain, f.WhyRobot(t.Spec.Robot)...)
		}
		return chain
	case fleet.TaskAssigned, fleet.TaskExecuting:
		return f.WhyRobot(t.Robot)
	case fleet.TaskCancelling:
		self.Cause = "cancelling"
		return append([]Link{self}, f.WhyRobot(t.Robot)...)
	case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
	}
	return nil
}
