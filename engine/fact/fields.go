package fact

import "starling/engine/fleet"

// Field is one that histories can show.
type Field struct {
	Name string
	Text bool // no number: it has a last value alone
	Turn bool // an angle: so has it
}

// Lasts says that the field has a last value in a window and no mean.
func (f Field) Lasts() bool { return f.Text || f.Turn }

// RobotFields are what the history of a robot can show.
func RobotFields() []Field {
	return []Field{
		{Name: "x"},
		{Name: "y"},
		{Name: "theta", Turn: true},
		{Name: "velocity_mps"},
		{Name: "battery_soc"},
		{Name: "state", Text: true},
		{Name: "vertex", Turn: true},
		{Name: "zone_id", Text: true},
		{Name: "task_id", Text: true},
		{Name: "waiting_for", Text: true},
		{Name: "waiting_on", Text: true},
		{Name: "sampling_hz"},
	}
}

// Value is a field of a status: float64, string, or nil where it was not measured. "" is told as such: it ends what was.
func (s *Status) Value(field string) any {
	switch field {
	case "x":
		return s.placed(s.Pose.X)
	case "y":
		return s.placed(s.Pose.Y)
	case "theta":
		return s.placed(s.Pose.Theta)
	case "velocity_mps":
		return s.VelocityMPS
	case "battery_soc":
		return s.Battery
	case "state":
		return s.State.String()
	case "vertex":
		if s.Vertex == fleet.NoVertex {
			return nil
		}
		return float64(s.Vertex)
	case "zone_id":
		return string(s.Zone)
	case "task_id":
		return string(s.Task)
	case "waiting_for":
		if s.WaitingFor == fleet.CauseNone {
			return ""
		}
		return s.WaitingFor.String()
	case "waiting_on":
		return string(s.WaitingOn)
	case "sampling_hz":
		return s.SamplingHz
	}
	return nil
}

func (s *Status) placed(v float64) any {
	if !s.Located {
		return nil
	}
	return v
}

// CongestionFields are what the history of a zone or lane can show.
func CongestionFields() []Field {
	return []Field{
		{Name: "congestion_index"},
		{Name: "risk_score"},
		{Name: "confidence"},
		{Name: "level"},
		{Name: "mean_speed_mps"},
		{Name: "mean_speed_ratio"},
		{Name: "queue_length"},
		{Name: "occupancy"},
		{Name: "capacity"},
		{Name: "production"},
		{Name: "density"},
		{Name: "waiting_share"},
		{Name: "denials"},
		{Name: "inbound"},
		{Name: "forecast_60"},
	}
}

// Value is a field of it.
func (c *Congestion) Value(field string) any {
	switch field {
	case "congestion_index":
		return c.Index
	case "risk_score":
		return c.Risk
	case "confidence":
		return c.Confidence
	case "level":
		return float64(c.Level)
	case "mean_speed_mps":
		return c.SpeedMPS
	case "mean_speed_ratio":
		return c.SpeedRatio
	case "queue_length":
		return float64(c.Queue)
	case "occupancy":
		return float64(c.Occupancy)
	case "capacity":
		return float64(c.Capacity)
	case "production":
		return c.Production
	case "density":
		return c.Density
	case "waiting_share":
		return c.WaitingShare
	case "denials":
		return float64(c.Denials)
	case "inbound":
		return float64(c.Inbound)
	case "forecast_60":
		return c.Forecast
	}
	return nil
}
