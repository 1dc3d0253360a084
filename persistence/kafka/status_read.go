package kafka

import (
	"errors"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// ErrNoStatus: the message is no status of a robot.
var ErrNoStatus = errors.New("no status of a robot")

// Status reads a message of robot.status: what a sink was given when it was measured, but for the pace. Errors: ErrNoStatus, or a
// message that cannot be read.
func Status(m *Message) (fact.Status, error) {
	var e eventsv1.Envelope
	if err := e.UnmarshalVT(m.Value); err != nil {
		return fact.Status{}, fmt.Errorf("read a status: %w", err)
	}
	return StatusOf(&e)
}

// StatusOf reads the envelope of a status. Errors: ErrNoStatus.
func StatusOf(e *eventsv1.Envelope) (fact.Status, error) {
	body, ok := e.GetBody().(*eventsv1.Envelope_RobotStatus)
	if !ok || body.RobotStatus == nil {
		return fact.Status{}, ErrNoStatus
	}
	st := body.RobotStatus
	s := fact.Status{
		Shard: fleet.Shard{Tenant: fleet.TenantID(e.GetTenantId()), Warehouse: fleet.WarehouseID(e.GetWarehouseId())},
		Robot: fleet.RobotID(e.GetAggregateId()), Boot: st.GetBootId(), Seq: st.GetSeq(), At: e.GetOccurredAt().AsTime(), ReceivedAt: st.GetReceivedAt().AsTime(),
		Map: fleet.MapID(st.GetMapId()), MapVersion: int(st.GetMapVersion()), Vertex: fleet.NoVertex, Lane: fleet.LaneID(st.GetLaneId()),
		Zone: fleet.ZoneID(st.GetZoneId()), GoalZone: fleet.ZoneID(st.GetGoalZoneId()), VelocityMPS: st.GetVelocityMps(), Battery: st.GetBatterySoc(),
		State: fleet.RobotState(st.GetState()), Task: fleet.TaskID(st.GetTaskId()), WaitingOn: fleet.RobotID(st.GetWaitingOn()), SamplingHz: st.GetSamplingHz(),
		Located: st.X != nil && st.Y != nil, Pose: fleet.Pose{X: st.GetX(), Y: st.GetY(), Theta: st.GetTheta()},
	}
	if st.Vertex != nil {
		s.Vertex = fleet.Vertex(st.GetVertex())
	}
	s.WaitingFor, _ = fleet.ParseCause(st.GetWaitingFor()) // "" = none
	for _, f := range st.GetErrors() {
		level, _ := fleet.ParseErrorLevel(f.GetLevel())
		s.Errors = append(s.Errors, fleet.RobotError{Code: f.GetCode(), Level: level, Message: f.GetMessage()})
	}
	return s, nil
}
