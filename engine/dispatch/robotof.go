package dispatch

import (
	"starling/engine/fleet"
	"starling/engine/robot"
)

// RobotOf is what the dispatcher would know of a robot that its view shows, as far as views tell: for dry runs and
// explanations.
func RobotOf(v *robot.View) Robot {
	r := Robot{ID: v.ID, At: v.Vertex, Battery: v.Battery, Since: v.Since, Move: v.Move}
	if n := len(v.Base); n > 0 {
		r.At = v.Base[n-1]
	}
	if v.Spec != nil {
		r.Fleet, r.Capabilities, r.Allowed, r.SpeedMPS = v.Spec.Fleet, v.Spec.Capabilities, v.Spec.AllowedZones, v.Spec.MaxSpeedMPS
	}
	r.Free = v.Connection == fleet.Online && v.Linked && atLeisure(v) && v.Vertex != fleet.NoVertex &&
		v.Spec != nil && v.Spec.Control == fleet.ControlEngine && v.State != fleet.Error && v.State != fleet.Manual && v.State != fleet.Paused && !fatal(v)
	if v.Task != "" {
		r.Reason = robot.HasTask
	}
	return r
}

// atLeisure says that the robot has nothing to do that a task or a command would have to wait for.
func atLeisure(v *robot.View) bool {
	return v.Task == "" && (v.Goal == fleet.NoVertex || v.Move.Kind != robot.NoMove)
}
