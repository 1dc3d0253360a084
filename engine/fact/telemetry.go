package fact

import (
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// What is measured: no fact, it promises nothing and may be dropped, by count.

// Status is one measured status of a robot, robot.status of Kafka and a point of robot_status in the time-series store.
// About 350 bytes; strings and Errors are shared and never written.
type Status struct {
	Shard       fleet.Shard
	Robot       fleet.RobotID
	Boot        string
	Seq         uint64
	At          time.Time // by the robot's clock, whole milliseconds: the time-series store has no finer ones
	ReceivedAt  time.Time
	Map         fleet.MapID
	MapVersion  int
	Vertex      fleet.Vertex // NoVertex = not known
	Lane        fleet.LaneID // that it drives, "" = none
	Zone        fleet.ZoneID
	GoalZone    fleet.ZoneID
	Pose        fleet.Pose
	VelocityMPS float64
	Battery     float64
	State       fleet.RobotState
	Task        fleet.TaskID
	WaitingFor  fleet.Cause // CauseNone = it does not wait
	WaitingOn   fleet.RobotID
	Errors      []fleet.RobotError
	SamplingHz  float64
	Pace        robot.Pace
	Key         bool // all fields are worth keeping, not only those that always change
	Located     bool // Pose is known
}

// FillStatus makes s the status that v shows; it allocates nothing.
func FillStatus(s *Status, shard fleet.Shard, v *robot.View) {
	*s = Status{
		Shard: shard, Robot: v.ID, Boot: v.BootID, Seq: v.Seq, At: v.ReportedAt.Truncate(time.Millisecond), ReceivedAt: v.ReceivedAt, Map: v.MapID, MapVersion: v.MapVersion,
		Vertex: v.Vertex, Lane: v.Lane, Zone: v.Zone, GoalZone: v.GoalZone, Pose: v.Pose, VelocityMPS: v.Velocity, Battery: v.Battery, State: v.State,
		Task: v.Task, WaitingFor: v.Waiting.Cause, WaitingOn: v.Waiting.Holder, Errors: v.Errors, SamplingHz: v.SamplingHz, Pace: v.Pace, Key: v.Key,
		Located: v.Located,
	}
}

// Congestion is how congested a zone, a lane or a warehouse was in a bin of ten seconds (ZoneCongestionTimeSeries).
// The score of the warehouse itself has its id.
type Congestion struct {
	Shard      fleet.Shard
	Map        fleet.MapID // on which it was measured
	MapVersion int
	congestion.Score
}

// Timing is how long a task took, told once at its end. Durations are negative where it never got there.
type Timing struct {
	Shard   fleet.Shard
	Task    fleet.TaskID
	Type    fleet.TaskType
	Outcome fleet.TaskStatus
	Robot   fleet.RobotID
	Awards  int
	At      time.Time     // of its end
	Waited  time.Duration // from creation, or the earliest start, to its last award
	Started time.Duration // from the award to setting off
	Drove   time.Duration // from setting off to the end
	Total   time.Duration // from creation, or the earliest start, to the end
}

// TimingOf measures a task that has ended.
func TimingOf(v *task.View) Timing {
	since := v.Spec.CreatedAt
	if v.Spec.EarliestStart.After(since) {
		since = v.Spec.EarliestStart
	}
	between := func(a, b time.Time) time.Duration {
		if a.IsZero() || b.IsZero() || b.Before(a) {
			return -1
		}
		return b.Sub(a)
	}
	return Timing{
		Shard: v.Spec.Shard, Task: v.Spec.ID, Type: v.Spec.Type, Outcome: v.Status, Robot: v.Robot, Awards: v.Awards, At: v.FinishedAt,
		Waited: between(since, v.AssignedAt), Started: between(v.AssignedAt, v.StartedAt), Drove: between(v.StartedAt, v.FinishedAt),
		Total: between(since, v.FinishedAt),
	}
}

// Agg is how the measurements of a window become one value.
type Agg uint8

// The ways. What is no number, and angles, have a last value alone.
const (
	Mean Agg = iota
	Last
	Min
	Max
)

// Aggs are their names.
func Aggs() []string { return []string{"mean", "last", "min", "max"} }

// ParseAgg reads a name.
func ParseAgg(s string) (Agg, bool) {
	i := slices.Index(Aggs(), s)
	return Agg(max(i, 0)), i >= 0
}

// String is the wire name.
func (a Agg) String() string { return Aggs()[a] }

// Column is one value of each point of a history.
type Column struct {
	Field string
	Agg   Agg
}

// HistoryQuery asks for what was measured in [From, To): each measurement, or one point for each window of Every.
// At most Limit points, the oldest first.
type HistoryQuery struct {
	From, To time.Time
	Every    time.Duration // 0 = as measured; windows begin at multiples of it since 1970
	Columns  []Column
	Limit    int
}

// HistoryPoint is one measurement, or the window that begins At. Values stand in the order of the columns: float64, string,
// or nil where the field was not measured.
type HistoryPoint struct {
	At     time.Time
	Values []any
}
