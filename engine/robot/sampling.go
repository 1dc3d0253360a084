package robot

import (
	"math"
	"time"

	"starling/engine/fleet"
)

// How often a robot is listened to. A robot that drives is worth a status a second, one that stands a tenth of that, one
// in trouble five times that; what nobody reads need be neither sent nor kept. The robot is asked for that rate down its
// link, and of what it says all the same, only so much is measured.
//
// What the measured track is worth. Between two measurements of a robot that stands, it has reported no place further
// than Tolerance from the first of them: hold it. Between two of one that moves lie at most 1/MovingHz and one report's
// distance in time: draw a line, and be off by half of that times its speed at most. (sampling_test.go)

// Pace is how closely a robot is watched.
type Pace uint8

// The paces, the least first: what is measured at a higher one is dropped later.
const (
	PaceIdle    Pace = iota // it stands, and is about nothing
	PaceMoving              // it drives, or is about to
	PaceAlarmed             // something is wrong with it
)

// String is the wire name.
func (p Pace) String() string {
	switch p {
	case PaceIdle:
		return "idle"
	case PaceMoving:
		return "moving"
	case PaceAlarmed:
		return "alarmed"
	}
	return "INVALID"
}

// Paces is how many there are.
const Paces = 3

// Sampling is how many statuses a second are wanted of a robot at each pace. The zero value is the usual one.
type Sampling struct{ MovingHz, IdleHz, AlarmedHz float64 }

// UsualSampling holds where a tenant's settings say nothing.
func UsualSampling() Sampling { return Sampling{MovingHz: 1, IdleHz: 0.1, AlarmedHz: 5} }

// The bounds of a rate that may be set, and what holds for any.
const (
	LeastHz = 0.01
	MostHz  = 10.0
	// LeastReportHz: nobody is asked to be more silent than that, for silence means something (StaleAfter). What is not
	// wanted of it is not measured.
	LeastReportHz = 0.5
	Tolerance     = 0.1              // metres from the last measured place in which a robot still stands
	calmAfter     = 3 * time.Second  // that a robot must have had a lower pace before it is watched less
	keyEvery      = time.Minute      // between two measurements that tell all
	slack         = 0.25             // of a period: a report that comes so much early is measured, not left out
	standing      = 0.05             // m/s below which a robot does not drive
	leastGap      = time.Second / 20 // between two measurements, whatever changes
)

// Hz is the rate at a pace.
func (s Sampling) Hz(p Pace) float64 {
	switch p {
	case PaceIdle:
		return s.IdleHz
	case PaceMoving:
		return s.MovingHz
	case PaceAlarmed:
		return s.AlarmedHz
	}
	return s.MovingHz
}

// bounded is s with rates that may be.
func (s Sampling) bounded() Sampling {
	usual := UsualSampling()
	in := func(hz, usual float64) float64 {
		if !(hz > 0) { // NaN too
			return usual
		}
		return min(max(hz, LeastHz), MostHz)
	}
	return Sampling{in(s.MovingHz, usual.MovingHz), in(s.IdleHz, usual.IdleHz), in(s.AlarmedHz, usual.AlarmedHz)}
}

// sampler decides what of a robot's statuses is measured.
type sampler struct {
	Sampling
	pace Pace
	calm time.Time // since when a lower pace would do, zero = it would not
	hz   float64   // that the robot was asked to report at, 0 = nothing
	due  time.Time // when the next is
	last time.Time // when the last was
	key  bool      // the last told all
	keys time.Time // when one did last
	owed bool      // something has changed since

	// As measured last.
	x, y  float64
	state fleet.RobotState
	task  fleet.TaskID
	errs  int
	fatal bool
}

// wanted is the pace that what is known of the robot calls for.
func (s *State) wanted() Pace {
	switch k := &s.sampler; {
	case s.fatal():
		return PaceAlarmed
	case s.state == fleet.Moving, s.state == fleet.Manual, s.goal != fleet.NoVertex, len(s.base) > 0, math.Abs(s.velocity) > standing,
		!k.last.IsZero() && math.Hypot(s.pose.X-k.x, s.pose.Y-k.y) > Tolerance:
		return PaceMoving
	}
	return PaceIdle
}

// sample takes the pace of what was just reported, asks the robot for its rate, and measures where that is due: by the
// clock, or since something has changed.
func (s *State) sample(now time.Time, out []Effect) []Effect {
	k := &s.sampler
	switch want := s.wanted(); {
	case want > k.pace:
		k.pace, k.calm, k.owed = want, time.Time{}, true
	case want == k.pace:
		k.calm = time.Time{}
	case k.calm.IsZero():
		k.calm = now
	case now.Sub(k.calm) >= calmAfter:
		k.pace, k.calm, k.owed = want, time.Time{}, true
	}
	out = s.askRate(out)
	period := time.Duration(float64(time.Second) / k.Hz(k.pace))
	changed := s.state != k.state || s.task != k.task || len(s.errors) != k.errs || s.fatal() != k.fatal
	k.owed = k.owed || changed || k.last.IsZero()
	early := time.Duration(slack * float64(period))
	switch {
	case now.Sub(k.last) < leastGap && !k.last.IsZero() && !now.Before(k.last):
		return out
	case !k.owed && now.Before(k.due.Add(-early)) && k.due.Sub(now) <= period+early: // else the clock was set back
		return out
	case k.owed:
		k.due = now.Add(period)
	default: // as many as there should be, whether they come a little early or late
		k.due = k.due.Add(period)
		if late := now.Add(period - early); k.due.Before(late) || k.due.After(now.Add(period+early)) {
			k.due = late
		}
	}
	k.key = k.owed || now.Sub(k.keys) >= keyEvery || now.Before(k.keys)
	if k.key {
		k.keys = now
	}
	k.owed, k.last, k.x, k.y = false, now, s.pose.X, s.pose.Y
	k.state, k.task, k.errs, k.fatal = s.state, s.task, len(s.errors), s.fatal()
	return append(out, Measure{})
}

// rouse has a robot that gets something to do watched at once, not from its next report on.
func (s *State) rouse(out []Effect) []Effect {
	if k := &s.sampler; k.pace < PaceMoving {
		k.pace, k.calm, k.owed = PaceMoving, time.Time{}, true
	}
	return s.askRate(out)
}

// askRate asks whoever carries the robot for the rate of its pace.
func (s *State) askRate(out []Effect) []Effect {
	k := &s.sampler
	hz := max(LeastReportHz, k.Hz(k.pace))
	if s.session == 0 || hz == k.hz {
		return out
	}
	k.hz = hz
	return append(out, AskRate{Hz: hz})
}

// samplingChanged takes other rates.
func (s *State) samplingChanged(m SamplingChanged, out []Effect) []Effect {
	if b := m.Sampling.bounded(); b != s.sampler.Sampling {
		s.sampler.Sampling, s.sampler.owed = b, true
	}
	return s.askRate(out)
}
