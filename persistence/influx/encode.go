package influx

import (
	"math"
	"strconv"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// Line protocol. Times are in milliseconds: two measurements of one robot in the same one are one.

const (
	measurementStatus     = "robot_status"
	measurementCongestion = "zone_congestion"
	measurementTiming     = "task_timing"
)

// appendStatus writes one measured status. What seldom changes is in key points alone.
func appendStatus(b []byte, s *fact.Status) []byte {
	b = append(b, measurementStatus...)
	b = tag(b, "tenant", string(s.Shard.Tenant))
	b = tag(b, "warehouse", string(s.Shard.Warehouse))
	b = tag(b, "robot_id", string(s.Robot))
	b = append(b, " seq="...)
	b = strconv.AppendUint(b, s.Seq, 10)
	b = append(b, 'i')
	if s.Located {
		b = number(b, "x", s.Pose.X, 3)
		b = number(b, "y", s.Pose.Y, 3)
		b = number(b, "theta", s.Pose.Theta, 4)
	}
	b = number(b, "velocity_mps", s.VelocityMPS, 3)
	b = number(b, "battery_soc", s.Battery, 4)
	b = text(b, "state", s.State.String())
	if s.Vertex != fleet.NoVertex {
		b = whole(b, "vertex", int64(s.Vertex))
	}
	if s.Zone != "" {
		b = text(b, "zone_id", string(s.Zone))
	}
	if s.WaitingFor != fleet.CauseNone {
		b = text(b, "waiting_for", s.WaitingFor.String())
		b = text(b, "waiting_on", string(s.WaitingOn))
	}
	if s.Key {
		b = text(b, "boot_id", s.Boot)
		b = text(b, "map_id", string(s.Map))
		b = whole(b, "map_version", int64(s.MapVersion))
		b = text(b, "task_id", string(s.Task))
		b = text(b, "lane_id", string(s.Lane))
		b = text(b, "goal_zone_id", string(s.GoalZone))
		b = number(b, "sampling_hz", s.SamplingHz, 3)
		b = whole(b, "errors", int64(len(s.Errors)))
		b = whole(b, "received_ms", s.ReceivedAt.UnixMilli())
		if len(s.Errors) > 0 {
			b = text(b, "error_code", s.Errors[0].Code)
		}
	}
	return end(b, s.At.UnixMilli())
}

// appendCongestion writes one score, field by field as histories ask for them.
func appendCongestion(b []byte, c *fact.Congestion) []byte {
	b = append(b, measurementCongestion...)
	b = tag(b, "tenant", string(c.Shard.Tenant))
	b = tag(b, "warehouse", string(c.Shard.Warehouse))
	b = tag(b, "kind", c.Of.String())
	b = tag(b, "id", c.ID)
	b = append(b, " occupancy="...)
	b = strconv.AppendInt(b, int64(c.Occupancy), 10) // without i: a float, as its mean is
	for _, f := range fact.CongestionFields() {
		if v, ok := c.Value(f.Name).(float64); ok && f.Name != alwaysOfCrowds {
			b = number(b, f.Name, v, 5)
		}
	}
	return end(b, c.At.UnixMilli())
}

// appendTiming writes how long a task took. Tasks of one type that end together are told apart by 1,000 parts of the
// millisecond, which their ids choose: its times are in microseconds.
func appendTiming(b []byte, t *fact.Timing) []byte {
	b = append(b, measurementTiming...)
	b = tag(b, "tenant", string(t.Shard.Tenant))
	b = tag(b, "warehouse", string(t.Shard.Warehouse))
	b = tag(b, "task_type", t.Type.String())
	b = tag(b, "outcome", t.Outcome.String())
	b = append(b, " awards="...)
	b = strconv.AppendInt(b, int64(t.Awards), 10)
	b = append(b, 'i')
	b = text(b, "task_id", string(t.Task))
	if t.Robot != "" {
		b = text(b, "robot_id", string(t.Robot))
	}
	for _, d := range [...]struct {
		name string
		d    time.Duration
	}{{"waited_s", t.Waited}, {"started_s", t.Started}, {"drove_s", t.Drove}, {"total_s", t.Total}} {
		if d.d >= 0 {
			b = number(b, d.name, d.d.Seconds(), 3)
		}
	}
	h := uint32(2166136261)
	for i := range len(t.Task) {
		h = (h ^ uint32(t.Task[i])) * 16777619
	}
	return end(b, t.At.UnixMilli()*1000+int64(h%1000))
}

func end(b []byte, at int64) []byte {
	b = append(b, ' ')
	b = strconv.AppendInt(b, at, 10)
	return append(b, '\n')
}

// tag writes a tag; one without a value cannot be.
func tag(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',')
	b = append(b, key...)
	b = append(b, '=')
	for i := range len(value) {
		switch c := value[i]; c {
		case ',', '=', ' ', '\\':
			b = append(b, '\\', c)
		case '\n', '\r', '\t':
			b = append(b, '_')
		default:
			b = append(b, c)
		}
	}
	return b
}

func number(b []byte, key string, v float64, digits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return b
	}
	b = append(b, ',')
	b = append(b, key...)
	b = append(b, '=')
	return strconv.AppendFloat(b, v, 'f', digits, 64)
}

func whole(b []byte, key string, v int64) []byte {
	b = append(b, ',')
	b = append(b, key...)
	b = append(b, '=')
	b = strconv.AppendInt(b, v, 10)
	return append(b, 'i')
}

func text(b []byte, key, v string) []byte {
	b = append(b, ',')
	b = append(b, key...)
	b = append(b, '=', '"')
	for i := range len(v) {
		switch c := v[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n', '\r':
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
