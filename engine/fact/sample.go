package fact

import "starling/engine/congestion"

// SampleOf makes m what congestion is measured by: the status as robot.status has it. It allocates nothing.
func SampleOf(s *Status, m *congestion.Sample) {
	*m = congestion.Sample{
		Robot: s.Robot, Boot: s.Boot, Seq: s.Seq, At: s.At, ReceivedAt: s.ReceivedAt, MapVersion: s.MapVersion, Zone: s.Zone, GoalZone: s.GoalZone, Lane: s.Lane,
		Vertex: s.Vertex, X: s.Pose.X, Y: s.Pose.Y, Located: s.Located, VelocityMPS: s.VelocityMPS, State: s.State, Task: s.Task,
		WaitingFor: s.WaitingFor, WaitingOn: s.WaitingOn, SamplingHz: s.SamplingHz,
	}
}
