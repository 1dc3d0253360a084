package robot

import (
	"time"

	"starling/engine/fleet"
)

// MoveKind is why a robot is sent somewhere without a customer's task.
type MoveKind uint8

// The kinds of moves. A robot that waits is not done with anything: its task goes on when its turn comes.
const (
	NoMove     MoveKind = iota
	MovePark            // to a place of its own, out of others' way
	MoveCharge          // to a charger that is reserved for it
	MoveWait            // to a place where it waits for its turn
)

// String is the wire name.
func (k MoveKind) String() string {
	switch k {
	case NoMove:
		return "none"
	case MovePark:
		return "park"
	case MoveCharge:
		return "charge"
	case MoveWait:
		return "wait"
	}
	return "INVALID"
}

// Move is where the dispatcher sends a robot between tasks, or out of one. Nobody but the dispatcher may ask for it, it
// is not recorded, and a task or a command ends it.
type Move struct {
	Kind   MoveKind
	To     fleet.Vertex
	Until  float64 // charge: it is done at this level
	Reason string
}

// The patiences of a move: who does not get there gives up, and the dispatcher thinks again; age is priority, and none
// that drives for nobody's sake shall grow old.
const (
	movePatience   = 60 * time.Second
	chargePatience = 5 * time.Minute // on the way to a charger: there it may be urgent
)

// sent takes a move from the dispatcher. A robot with a task is sent to a charger alone: before it has reached the first
// errand it hands its task back, later it goes on with it afterwards.
func (s *State) sent(now time.Time, m Move, out []Effect) []Effect {
	free, _ := s.free()
	switch {
	case m.Kind == NoMove:
		return s.endMove(now, out)
	case !s.on(m.To) || s.at == fleet.NoVertex:
		return out
	case m.Kind == s.move.Kind && m.To == s.move.To && (s.goal == m.To || s.at == m.To): // told again
		return out
	case free:
	case s.task != "" && m.Kind == MoveCharge && s.errand == 0 && !s.halted():
		t := s.task
		out = append(s.drop(now, out), RefusedTask{Task: t, Reason: m.Reason})
		if free, _ = s.free(); !free {
			return out
		}
	case s.task != "" && m.Kind != MovePark && !s.halted(): // its errand waits
	default:
		return out
	}
	out = s.setGoal(now, m.To, now, out)
	s.move, s.moveUntil = m, now.Add(movePatience)
	if m.Kind == MoveCharge {
		s.moveUntil = now.Add(chargePatience)
	}
	return s.advance(now, false, out)
}

// endMove forgets the move; a task that waited for it goes on.
func (s *State) endMove(now time.Time, out []Effect) []Effect {
	if s.move.Kind == NoMove {
		return out
	}
	s.move = Move{}
	if s.task == "" {
		out = s.setGoal(now, fleet.NoVertex, now, out)
	}
	return s.advance(now, false, append(out, Show{}))
}

// tendMove ends a move that has come to its end: charged, or given up.
func (s *State) tendMove(now time.Time, out []Effect) []Effect {
	switch {
	case s.move.Kind == NoMove:
		return out
	case s.move.Kind == MoveCharge && s.battery >= s.move.Until, !now.Before(s.moveUntil):
		return s.endMove(now, out)
	case s.move.Kind == MoveCharge && s.at == s.move.To && s.state == fleet.Charging:
		s.moveUntil = now.Add(chargePatience) // as long as it charges
	}
	return out
}

// arrived ends the goal of a robot without a task where it stands on it. One that was sent to charge stays at it.
func (s *State) arrived(now time.Time, out []Effect) []Effect {
	m := s.move
	if m.Kind != MoveCharge {
		m = Move{}
	}
	out = s.setGoal(now, fleet.NoVertex, now, out)
	s.move = m
	return s.tendMove(now, out)
}
