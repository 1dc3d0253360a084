package zone

import (
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// braking is the distance in metres that a robot may still roll beyond its grants.
const braking = 2.0

// recordEntry asks for the guest's stay to be recorded; nothing in the zone is granted to it before that.
func (s *State) recordEntry(now time.Time, g *guest, out []Effect) []Effect {
	s.entries++
	g.entry, g.entryNo, g.entrySpeed = entryRecording, s.entries, g.req.SpeedMPS
	v := g.at
	if s.ours(v) == none && g.foreign.local != none {
		v = s.global(g.foreign.local)
	}
	return append(out, RecordEntry{Number: s.entries, Entry: RosterEntry{
		Robot: g.id, Vertex: v, MapID: s.g.MapID, MapVersion: s.g.Version, PositionAt: now, SpeedMPS: g.req.SpeedMPS, Window: s.rules.WindowMax,
	}})
}

func (s *State) entryRecorded(now time.Time, id fleet.RobotID, number uint64, out []Effect) []Effect {
	i, g := s.find(id)
	if g == nil {
		// It left while its entry was on the way: the entry must go again.
		return append(out, RecordExit{Robot: id})
	}
	if g.entry != entryRecording || g.entryNo != number {
		return out
	}
	g.entry = entryRecorded
	if g.foreign.neighbour != none {
		return s.tryGrant(now, g.foreign.local, out)
	}
	if l := s.ours(g.next); l != none {
		out = s.tryGrant(now, l, out)
	}
	return s.extend(now, i, out)
}

// restored takes up the roster of an earlier life: until each robot of it has asserted itself, every vertex that it
// can have reached since its recorded position is blocked (law 3).
func (s *State) restored(now time.Time, m Restored, out []Effect) []Effect {
	s.noGrantUntil = m.Until
	lane := s.longestLane()
	for _, e := range m.Roster {
		i, g := s.admit(e.Robot)
		g.entry, g.entrySpeed, g.expected = entryRecorded, e.SpeedMPS, true
		g.req = fleet.Request{Robot: e.Robot, Goal: fleet.NoVertex, Window: 1}
		s.blockReach(now, i, e, lane)
		out = append(out, CallRoll{Robot: e.Robot, Epoch: s.epoch})
	}
	return out
}

// blockReach blocks what the robot can have reached: what it can have driven since it was recorded, what it may have been
// granted beyond that, each vertex as far off as the map's longest lane, and what it rolls before it stands.
func (s *State) blockReach(now time.Time, i int32, e RosterEntry, lane float64) {
	g := &s.guests[i]
	z := &s.g.Zones[s.number]
	known := e.MapID == s.g.MapID && e.MapVersion == s.g.Version && e.Vertex >= 0 && int(e.Vertex) < len(s.g.Vertices)
	if !known || e.SpeedMPS <= 0 {
		for l := range z.Vertices {
			s.block(&g.reach, int32(l))
		}
		return
	}
	age := max(0, now.Sub(e.PositionAt).Seconds())
	reach := age*e.SpeedMPS + braking + float64(max(e.Window, s.rules.WindowMax))*lane
	for l := range z.Vertices {
		a, b := &s.g.Vertices[e.Vertex], &s.g.Vertices[z.Vertices[l]]
		if math.Hypot(a.X-b.X, a.Y-b.Y) <= reach {
			s.block(&g.reach, int32(l))
		}
	}
}

// longestLane is the greatest length of a lane of the map: what one vertex of a window can be.
func (s *State) longestLane() float64 {
	longest := 0.0
	for i := range s.g.Lanes {
		longest = max(longest, s.g.Lanes[i].LengthM)
	}
	return longest
}

// noteWaits finds out why robots stand, and tells a robot when the reason changes.
func (s *State) noteWaits(now time.Time, out []Effect) []Effect {
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used || g.foreign.neighbour != none || s.ours(g.tail()) == none && g.pending.vertex == fleet.NoVertex && !g.expected {
			continue
		}
		if !g.expected {
			out = s.hint(g, out)
		}
		w := s.waitOf(now, int32(i))
		if w.Cause == g.told.Cause && (w.Cause == fleet.CauseNone || w.Holder == g.told.Holder && w.Vertex == g.told.Vertex) {
			continue
		}
		w.Since = now
		if g.told.Cause != fleet.CauseNone && w.Cause != fleet.CauseNone {
			w.Since = g.told.Since // it has stood since then, only the reason is new
		}
		g.told = w
		if g.req.Control == fleet.ControlEngine && !g.expected {
			out = append(out, SendRefusal{Wait: w})
		}
	}
	return out
}

// waitOf says why the robot does not move, CauseNone where it moves or has nowhere to go.
func (s *State) waitOf(now time.Time, i int32) fleet.Wait {
	g := &s.guests[i]
	w := fleet.Wait{Robot: g.id, Vertex: fleet.NoVertex, Tasked: g.req.Tasked}
	switch {
	case g.expected:
		w.Cause, w.Vertex = fleet.CauseSuspect, g.at
	case len(g.base) > 0 && now.After(g.expires):
		w.Cause, w.Vertex, w.Holder = fleet.CauseSuspect, g.base[0], g.id
	case g.req.Goal == fleet.NoVertex || g.at == g.req.Goal || len(g.base) > 0:
	case g.req.Halted:
		w.Cause = fleet.CauseHalted
	case s.noWay(g):
		w.Cause = fleet.CauseNoWay
	case g.next != fleet.NoVertex:
		w.Vertex = g.next
		w.Cause, w.Holder = fleet.CauseOccupied, s.holder(g.next)
		if w.Holder == "" {
			w.Cause = g.wait.Cause
		}
	case g.pending.vertex != fleet.NoVertex:
		w.Cause, w.Vertex = fleet.CauseBorder, g.pending.vertex
		if b, ok := s.neighbours[g.pending.neighbour].border[g.pending.vertex]; ok && b.Occupant != "" {
			w.Cause, w.Holder = fleet.CauseOccupied, b.Occupant
		}
	default:
		w.Cause, w.Vertex, w.Holder = g.wait.Cause, g.wait.Vertex, g.wait.Holder
	}
	return w
}

func (s *State) noWay(g *guest) bool {
	t := s.tableOf(g)
	return t != nil && t.To(g.at) == roadmap.Unreachable
}

func (s *State) holder(v fleet.Vertex) fleet.RobotID {
	if l := s.ours(v); l != none && s.occ[l] != none {
		return s.guests[s.occ[l]].id
	}
	return ""
}

// show publishes the zone's view where it changed since the last one.
func (s *State) show(now time.Time, out []Effect) []Effect {
	s.fade()
	v := View{Zone: s.id, Tick: s.tick, At: now, Capacity: s.g.Zones[s.number].Capacity, Domain: s.domainView(), Waits: s.waits[:0]}
	for i := range s.guests {
		g := &s.guests[i]
		if !g.used {
			continue
		}
		if l := s.ours(g.at); l != none {
			v.Occupancy++
		}
		if g.told.Cause == fleet.CauseNone || g.foreign.neighbour != none {
			continue
		}
		v.Waits = append(v.Waits, g.told)
		if g.told.Tasked {
			v.Queue++
		}
		if g.told.Cause == fleet.CauseSuspect && g.told.Vertex != fleet.NoVertex {
			v.Suspects = append(v.Suspects, g.told.Vertex)
		}
	}
	s.waits = v.Waits
	slices.SortFunc(v.Waits, func(a, b fleet.Wait) int { return compareID(a.Robot, b.Robot) })
	slices.Sort(v.Suspects)
	v.Window, v.Flow, v.Barred = s.windowView(v.Occupancy), s.flowView(), s.barred(now)
	if s.showing && !flowDiffers(s.shown.Flow, v.Flow) && !v.Window.materially(s.shown.Window) && s.shown.Occupancy == v.Occupancy && s.shown.Queue == v.Queue && s.shown.Domain == v.Domain &&
		slices.Equal(s.shown.Waits, v.Waits) && slices.Equal(s.shown.Suspects, v.Suspects) && slices.Equal(s.shown.Barred, v.Barred) {
		return out
	}
	v.Waits = append([]fleet.Wait(nil), v.Waits...) // others keep it
	s.shown, s.showing = v, true
	return append(out, Show{View: v})
}

func compareID(a, b fleet.RobotID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
