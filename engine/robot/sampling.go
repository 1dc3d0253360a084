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

// sampler decides what of a robot's statuses is measured. Every robot has one: it is kept small, its times are nanoseconds
// since 1970.
type sampler struct {
	rates *Sampling // never written; nil = the usual ones
	due   int64     // when the next is
	last  int64     // when the last was, 0 = never
	keys  int64     // when one told all last
	calm  int64     // since when a lower pace would do, 0 = it would not
	hz    float32   // that the robot was asked to report at, 0 = nothing
	pace  Pace
	key   bool // the last told all
	owed  bool // something has changed since

	// As measured last.
	fatal bool
	state fleet.RobotState
	errs  uint8
	x, y  float32
	task  fleet.TaskID
}

// at is the rate at a pace.
func (k *sampler) at(p Pace) float64 { return k.now().Hz(p) }

func (k *sampler) now() Sampling {
	if k.rates == nil {
		return UsualSampling()
	}
	return *k.rates
}

// wanted is the pace that what is known of the robot calls for.
func (s *State) wanted() Pace {
	switch k := &s.sampler; {
	case s.fatal():
		return PaceAlarmed
	case s.state == fleet.Moving, s.state == fleet.Manual, s.goal != fleet.NoVertex, len(s.base) > 0, math.Abs(s.velocity) > standing,
		k.last != 0 && math.Hypot(s.pose.X-float64(k.x), s.pose.Y-float64(k.y)) > Tolerance:
		return PaceMoving
	}
	return PaceIdle
}

// sample takes the pace of what was just reported, asks the robot for its rate, and measures where that is due: by the
// clock, or since something has changed.
func (s *State) sample(at time.Time, out []Effect) []Effect {
	k, now := &s.sampler, at.UnixNano()
	switch want := s.wanted(); {
	case want > k.pace:
		k.pace, k.calm, k.owed = want, 0, true
	case want == k.pace:
		k.calm = 0
	case k.calm == 0:
		k.calm = now
	case now-k.calm >= int64(calmAfter):
		k.pace, k.calm, k.owed = want, 0, true
	}
	out = s.askRate(out)
	period := int64(float64(time.Second) / k.at(k.pace))
	early := int64(slack * float64(period))
	errs := uint8(min(len(s.errors), math.MaxUint8))
	k.owed = k.owed || k.last == 0 || s.state != k.state || s.task != k.task || errs != k.errs || s.fatal() != k.fatal
	switch {
	case k.last != 0 && now >= k.last && now-k.last < int64(leastGap):
		return out
	case !k.owed && now < k.due-early && k.due-now <= period+early: // else the clock was set back
		return out
	case k.owed:
		k.due = now + period
	default: // as many as there should be, whether they come a little early or late
		k.due += period
		if late := now + period - early; k.due < late || k.due > now+period+early {
			k.due = late
		}
	}
	k.key = k.owed || now-k.keys >= int64(keyEvery) || now < k.keys
	if k.key {
		k.keys = now
	}
	k.owed, k.last, k.x, k.y = false, now, float32(s.pose.X), float32(s.pose.Y)
	k.state, k.task, k.errs, k.fatal = s.state, s.task, errs, s.fatal()
	return append(out, Measure{})
}

// rouse has a robot that gets something to do watched at once, not from its next report on.
func (s *State) rouse(out []Effect) []Effect {
	if k := &s.sampler; k.pace < PaceMoving {
		k.pace, k.calm, k.owed = PaceMoving, 0, true
	}
	return s.askRate(out)
}

// askRate asks whoever carries the robot for the rate of its pace.
func (s *State) askRate(out []Effect) []Effect {
	k := &s.sampler
	hz := max(LeastReportHz, k.at(k.pace))
	if s.session == 0 || float32(hz) == k.hz {
		return out
	}
	k.hz = float32(hz)
	return append(out, AskRate{Hz: hz})
}

// samplingChanged takes other rates.
func (s *State) samplingChanged(m SamplingChanged, out []Effect) []Effect {
	if b := m.Sampling.bounded(); b != s.sampler.now() {
		s.sampler.rates, s.sampler.owed = &b, true
	}
	return s.askRate(out)
}
