package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// Parking are the rules of robots that have nothing to do.
type Parking struct {
	Off   bool
	After time.Duration // until one goes to a parking place, where the map has any
}

// UsualParking are the rules of a warehouse of which nothing is said.
func UsualParking() Parking { return Parking{After: 5 * time.Second} }

// The patiences of those that stand in the way.
const (
	moment     = 2 * time.Second  // until one with nothing to do makes room: there may be a task for it
	inTheWay   = 5 * time.Second  // until it counts that an idle robot keeps one with a task waiting
	evictAgain = 10 * time.Second // between two evictions of the same robot; doubled where it did not come away
	turnAfter  = 10 * time.Second // until a robot whose goal is taken goes to wait elsewhere
	turnAgain  = 90 * time.Second
)

// taken collects who is where, who has been promised what, and who needs what.
func (s *State) taken(now time.Time) *places {
	n := len(s.robots)
	p := &places{
		needed: make(map[fleet.Vertex]fleet.RobotID, 2*n), occupied: make(map[fleet.Vertex]fleet.RobotID, n), promised: make(map[fleet.Vertex]fleet.RobotID, n),
	}
	for id, w := range s.robots {
		if on(s.graph, w.At) {
			last(p.occupied, w.At, id)
		}
		if m := s.yard.moveOf(now, w); m.Kind != robot.NoMove && on(s.graph, m.To) {
			last(p.promised, m.To, id)
		} else if w.Free && on(s.graph, w.At) {
			last(p.promised, w.At, id) // it rests
		}
		for _, v := range s.yard.aims[id] {
			last(p.needed, v, id)
		}
	}
	for i := range s.yard.bays {
		if b := &s.yard.bays[i]; b.by != "" {
			p.needed[b.at] = b.by
		}
	}
	return p
}

// last notes a robot at a place; of several the last one by id counts, in whatever order they come.
func last(m map[fleet.Vertex]fleet.RobotID, v fleet.Vertex, id fleet.RobotID) {
	if m[v] <= id {
		m[v] = id
	}
}

// tendIdle sends away those that rest where they should not, at most so many, and lets those wait whose goal is taken.
func (s *State) tendIdle(now time.Time, most int, out []Effect) []Effect {
	if s.parking.Off {
		return out
	}
	var idle []*worker
	for _, w := range s.robots {
		if w.Free && on(s.graph, w.At) && now.Sub(w.Since) >= min(s.parking.After, moment) && s.mayMove(now, w) {
			idle = append(idle, w)
		}
	}
	blocked, turns := s.heldUp(now), s.turns(now)
	if len(idle) == 0 && len(turns) == 0 {
		return s.endTurns(now, out)
	}
	slices.SortFunc(idle, func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) })
	p := s.taken(now)
	for _, w := range idle {
		if most <= 0 {
			break
		}
		if v, reason := s.misplaced(now, w, p, blocked); v != fleet.NoVertex && v != w.At {
			p.promise(w, v)
			out = s.send(now, w, robot.Move{Kind: robot.MovePark, To: v, Reason: reason}, out)
			most--
		}
	}
	return s.endTurns(now, s.tendTurns(now, p, turns, most, out))
}

func (p *places) promise(w *worker, v fleet.Vertex) {
	if p.promised[w.At] == w.ID {
		delete(p.promised, w.At)
	}
	p.promised[v] = w.ID
}

// mayMove says that an idle robot may be sent somewhere: it has no charger to go to, is not on its way, and was not sent
// away just now.
func (s *State) mayMove(now time.Time, w *worker) bool {
	if s.yard.moveOf(now, w).Kind == robot.MoveCharge {
		return false
	}
	t := s.yard.told[w.ID]
	return t == nil || t.move.Kind != robot.MovePark || now.Sub(t.at) >= evictAgain<<t.fail
}

// heldUp says who keeps whom from its way: idle robots that have stood before ones with a task for long.
func (s *State) heldUp(now time.Time) map[fleet.RobotID]fleet.RobotID {
	m := map[fleet.RobotID]fleet.RobotID{}
	for _, ws := range s.zones {
		for _, w := range ws {
			if h := s.robots[w.Holder]; w.Tasked && h != nil && h.Free && h.At == w.Vertex && now.Sub(w.Since) >= inTheWay {
				if by, ok := m[w.Holder]; !ok || w.Robot < by {
					m[w.Holder] = w.Robot
				}
			}
		}
	}
	return m
}

// misplaced says where an idle robot that cannot stay where it is should go, and why; NoVertex = it may stay.
func (s *State) misplaced(now time.Time, w *worker, p *places, blocked map[fleet.RobotID]fleet.RobotID) (fleet.Vertex, string) {
	at := &s.graph.Vertices[w.At]
	if by, ok := p.needed[w.At]; ok && by != w.ID {
		if at.Charging {
			return s.place(w, p, by), fmt.Sprintf("robot %s is to charge here", by)
		}
		return s.place(w, p, by), fmt.Sprintf("a task of robot %s leads here", by)
	}
	if by, ok := blocked[w.ID]; ok {
		return s.place(w, p, by), fmt.Sprintf("it was in the way of robot %s", by)
	}
	if now.Sub(w.Since) < s.parking.After || at.Charging || at.Parking && len(s.yard.parks) > 0 {
		return fleet.NoVertex, ""
	}
	if c := &s.charging; !c.Off && len(s.yard.bays) > 0 && w.Battery < c.Low {
		return fleet.NoVertex, "" // it saves what it has for the way to a charger
	}
	if v := s.parkingPlace(w, p); v != fleet.NoVertex {
		return v, "it has nothing to do"
	}
	t := s.yard.of(w.ID)
	if t.looked.Equal(w.Since) {
		return fleet.NoVertex, ""
	}
	t.looked = w.Since // once: what is narrow depends on who rests where, and nobody shall dance for it
	if s.joins(s.laneTable(), w.At, p, w.ID) {
		return s.quietPlace(w, p, nobodysWay), "others may have to pass here"
	}
	return fleet.NoVertex, ""
}

// turns lists the waits of robots whose errand is where another stands that does not go away: a paused one, one in error,
// one that charges.
func (s *State) turns(now time.Time) []fleet.Wait {
	var out []fleet.Wait
	for _, z := range sortedZones(s.zones) {
		for _, x := range s.zones[z] {
			w := s.robots[x.Robot]
			if w == nil || w.Free || !x.Tasked || now.Sub(x.Since) < turnAfter || !on(s.graph, w.At) ||
				!slices.Contains(s.yard.aims[x.Robot], x.Vertex) || !s.stays(s.robots[x.Holder]) {
				continue
			}
			if t := s.yard.told[w.ID]; t == nil || t.move.Kind != robot.MoveWait || now.Sub(t.at) >= turnAgain {
				out = append(out, x)
			}
		}
	}
	return out
}

// tendTurns sends those to wait at a place of their own. That is no end of anything: when the place is free, or after a
// while, they go on.
func (s *State) tendTurns(now time.Time, p *places, turns []fleet.Wait, most int, out []Effect) []Effect {
	for _, x := range turns {
		w := s.robots[x.Robot]
		if v := s.place(w, p, ""); v != fleet.NoVertex && most > 0 {
			p.promise(w, v)
			out = s.send(now, w, robot.Move{Kind: robot.MoveWait, To: v, Reason: fmt.Sprintf("robot %s stands at %s: it waits for its turn", x.Holder, s.named(x.Vertex))}, out)
			most--
		}
	}
	return out
}

// endTurns lets go on whose place has become free.
func (s *State) endTurns(now time.Time, out []Effect) []Effect {
	for _, id := range sortedKeys(s.yard.told) {
		t, w := s.yard.told[id], s.robots[id]
		if w == nil || t.move.Kind != robot.MoveWait || w.Move.Kind != robot.MoveWait || now.Sub(t.at) < answers {
			continue
		}
		if !s.blockedGoal(w) {
			out = s.send(now, w, robot.Move{To: fleet.NoVertex, Reason: "its place is free"}, out)
		}
	}
	return out
}

// stays says that a robot will not go away by itself, nor by being pushed: it has no task to go on with.
func (s *State) stays(w *worker) bool {
	if w == nil {
		return false
	}
	_, held := s.yard.aims[w.ID]
	return !w.Free && (!held || w.Reason != robot.HasTask) || w.Power.Charging
}

// blockedGoal says that one of the robot's errands is where another stays.
func (s *State) blockedGoal(w *worker) bool {
	for id, o := range s.robots {
		if id != w.ID && slices.Contains(s.yard.aims[w.ID], o.At) && s.stays(o) {
			return true
		}
	}
	return false
}

func sortedZones(m map[fleet.ZoneID][]fleet.Wait) []fleet.ZoneID {
	keys := make([]fleet.ZoneID, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
