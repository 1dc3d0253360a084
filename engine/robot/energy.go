package robot

import (
	"time"

	"starling/engine/fleet"
)

// Power is what a robot's own statuses tell of its battery: sums over the last while, of which the dispatcher makes
// rates. All zero = nothing is known yet.
type Power struct {
	Charging  bool
	IdleS     float64 // seconds in which it stood and did not charge, and what they cost
	IdleDrop  float64
	DriveM    float64 // metres that it drove, in DriveS seconds, and what they cost
	DriveS    float64
	DriveDrop float64
	ChargeS   float64 // seconds in which it charged, and what they gave
	Gain      float64
}

// The bounds of the sums: beyond them all is halved, so that what was long ago counts ever less.
const (
	powerSum    = 1.0 // one whole battery
	powerTime   = 8 * 3600.0
	longestGap  = time.Minute     // between two statuses; what lies between counts for nothing
	rollsOn     = 5 * time.Second // after a move it counts as driving: the battery says so a little later
	TellBattery = 0.02            // a change of which the dispatcher is told at once; of a smaller one when there is other news
)

// energy is what the last status said, and what has been driven since.
type energy struct {
	Power
	at     time.Time // of the last status
	level  float64
	metres float64   // since
	drove  time.Time // when it arrived somewhere last
}

// drive notes the metres of an arrival.
func (e *energy) drive(now time.Time, metres float64) {
	e.metres += metres
	e.drove = now
}

// report folds one status.
func (e *energy) report(at time.Time, level float64, state fleet.RobotState) {
	gap, drop, metres := at.Sub(e.at), e.level-level, e.metres
	if gap <= 0 && !e.at.IsZero() {
		return
	}
	known := !e.at.IsZero() && gap <= longestGap
	e.at, e.level, e.metres = at, level, 0
	e.Charging = state == fleet.Charging
	if !known {
		return
	}
	seconds := gap.Seconds()
	switch {
	case e.Charging || drop < 0:
		e.ChargeS += seconds
		e.Gain = max(0, e.Gain-drop)
		halve(e.Gain > powerSum || e.ChargeS > powerTime, &e.Gain, &e.ChargeS)
	case metres > 0 || at.Sub(e.drove) < rollsOn || state == fleet.Moving:
		e.DriveM += metres
		e.DriveS += seconds
		e.DriveDrop += drop
		halve(e.DriveDrop > powerSum || e.DriveS > powerTime, &e.DriveDrop, &e.DriveS, &e.DriveM)
	default:
		e.IdleS += seconds
		e.IdleDrop += drop
		halve(e.IdleDrop > powerSum || e.IdleS > powerTime, &e.IdleDrop, &e.IdleS)
	}
}

func halve(now bool, sums ...*float64) {
	for _, x := range sums {
		if now {
			*x /= 2
		}
	}
}

// odometer counts the metres of an arrival on v over the vertices passed.
func (s *State) odometer(now time.Time, passed []fleet.Vertex, v fleet.Vertex) {
	if s.graph == nil || !s.on(s.at) || s.at == v {
		return
	}
	metres, from := 0.0, s.at
	for i := range len(passed) + 1 {
		to := v
		if i < len(passed) {
			to = passed[i]
		}
		if s.on(from) && s.on(to) {
			metres += s.graph.Manhattan(from, to)
		}
		from = to
	}
	s.energy.drive(now, metres)
}
