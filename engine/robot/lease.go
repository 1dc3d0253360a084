package robot

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// What the robot and its zones say to each other: it asks for its way, takes leases or disowns them, and asserts what it holds.

// granted takes a lease.
func (s *State) granted(now time.Time, g fleet.Grant, out []Effect) []Effect {
	if g.Incarnation < s.inc || g.Epoch < s.epochOf(g.Zone) {
		return out
	}
	if g.Version < max(s.firm, s.firmFor(g.Zone)) || s.at == fleet.NoVertex {
		if len(g.Vertices) == 0 {
			return out
		}
		return s.disown(now, g.Zone, out)
	}
	s.inc = g.Incarnation
	if len(g.Vertices) == 0 {
		if g.After == s.at && len(s.base) == 0 && !slices.Equal(s.horizon, g.Horizon) {
			s.horizon = g.Horizon
			return s.sendOrder(out)
		}
		return out
	}
	rest, ok := s.after(g.After)
	n := min(len(rest), len(g.Vertices))
	if !ok || !slices.Equal(rest[:n], g.Vertices[:n]) {
		if len(s.base) > 0 && slices.Contains(g.Vertices, s.at) {
			return out // overtaken by the robot's own report
		}
		return s.disown(now, g.Zone, out)
	}
	fresh := g.Vertices[n:]
	if s.used(g.Version, fresh) {
		return out
	}
	if from := s.tail(); len(fresh) > 0 && !s.joined(from, fresh[0]) {
		return s.disown(now, g.Zone, out)
	}
	if a := s.about(g.Zone); g.NotAfter.After(a.lease) {
		a.lease = g.NotAfter
	}
	led := len(fresh) == 0 && n == len(rest) && !slices.Equal(s.horizon, g.Horizon) // another way than it was told before
	if led {
		s.horizon = g.Horizon
	}
	if len(fresh) == 0 && !led && s.lease().Sub(s.sentUntil) < time.Second {
		return out
	}
	if len(fresh) > 0 {
		s.base = append(slices.Clip(s.base), fresh...)
		s.horizon = g.Horizon
		s.waiting = fleet.Wait{}
		out = s.start(out)
	}
	out = s.sendOrder(out)
	if g.Zone != s.asked && s.zoneOf(s.tail()) == g.Zone {
		out = s.ask(now, out)
	}
	return append(out, Show{})
}

// used says that the robot has been on one of the vertices since the grant was made: it has used that grant up, and
// this is a late repeat of it. Grants older than the trail count as used.
func (s *State) used(version uint64, vertices []fleet.Vertex) bool {
	if len(vertices) == 0 {
		return false
	}
	for _, p := range s.trail {
		if p.version > version && slices.Contains(vertices, p.vertex) {
			return true
		}
	}
	return len(s.trail) == maxTrail && version < s.trail[0].version
}

// tread notes an arrival.
func (s *State) tread(v fleet.Vertex) {
	if len(s.trail) == maxTrail {
		s.trail = slices.Delete(s.trail, 0, 1)
	}
	s.trail = append(s.trail, footstep{v, s.ver})
}

// disown tells a zone that what it has granted is not taken, and what the robot holds instead. Grants that are still
// under way were made without knowing this: they are void.
func (s *State) disown(now time.Time, z fleet.ZoneID, out []Effect) []Effect {
	if s.at == fleet.NoVertex || now.Sub(s.disowned) < time.Second {
		return out // it was told already: its answer is under way
	}
	s.disowned = now
	s.about(z).firm = s.ver + 1
	if s.zoneOf(s.tail()) != z {
		out = append(out, AskZone{Zone: z, Request: s.requestOf(now, z)})
	}
	return s.ask(now, out)
}

// assert sends the standing request to every zone in which the robot stands or holds something, some times over.
func (s *State) assert(now time.Time, out []Effect) []Effect {
	s.repeats = 3
	return s.askAll(now, out)
}

// askAll sends the standing request to every zone in which the robot stands or holds something: each renews its leases.
func (s *State) askAll(now time.Time, out []Effect) []Effect {
	own := s.zoneOf(s.tail())
	for _, z := range s.zonesOf(append([]fleet.Vertex{s.at}, s.base...)) {
		if z != own {
			out = append(out, AskZone{Zone: z, Request: s.requestOf(now, z)})
		}
	}
	return s.ask(now, out)
}

// joined says that a lane leads from a to b.
func (s *State) joined(a, b fleet.Vertex) bool {
	if s.graph == nil || a < 0 || b < 0 || int(a) >= len(s.graph.Vertices) || int(b) >= len(s.graph.Vertices) {
		return false
	}
	_, ok := s.graph.Lane(a, b)
	return ok
}

// after returns what the robot holds beyond vertex v of its path; ok is false where v is not on it.
func (s *State) after(v fleet.Vertex) ([]fleet.Vertex, bool) {
	if v == s.at {
		return s.base, true
	}
	k := slices.Index(s.base, v)
	if k < 0 {
		return nil, false
	}
	return s.base[k+1:], true
}

// zonesOf lists the zones of some vertices, each once.
func (s *State) zonesOf(vs []fleet.Vertex) []fleet.ZoneID {
	var zs []fleet.ZoneID
	for _, v := range vs {
		if z := s.zoneOf(v); z != "" && !slices.Contains(zs, z) {
			zs = append(zs, z)
		}
	}
	return zs
}

func (s *State) refused(w fleet.Wait, out []Effect) []Effect {
	if w.Cause != fleet.CauseNone && w.Cause != s.waiting.Cause {
		s.narrow()
	}
	s.waiting = w
	return append(out, Show{})
}

func (s *State) epochOf(z fleet.ZoneID) uint64 {
	for i := range s.epochs {
		if s.epochs[i].zone == z {
			return s.epochs[i].value
		}
	}
	return 0
}

// firmFor is the version below which grants of that zone are void.
func (s *State) firmFor(z fleet.ZoneID) uint64 {
	for i := range s.epochs {
		if s.epochs[i].zone == z {
			return s.epochs[i].firm
		}
	}
	return 0
}

// about is what the robot remembers of a zone; of the last 16 that asked it.
func (s *State) about(z fleet.ZoneID) *epoch {
	for i := range s.epochs {
		if s.epochs[i].zone == z {
			return &s.epochs[i]
		}
	}
	if len(s.epochs) >= 16 {
		s.epochs = slices.Delete(s.epochs, 0, 1)
	}
	s.epochs = append(s.epochs, epoch{zone: z})
	return &s.epochs[len(s.epochs)-1]
}

// zoneRestarted answers the roll call: the robot asserts what it holds, even where that is nothing there.
func (s *State) zoneRestarted(now time.Time, m ZoneRestarted, out []Effect) []Effect {
	if !s.exists {
		return append(out, LeaveZone{Zone: m.Zone}) // it has not heard that the robot is gone
	}
	if m.Epoch < s.epochOf(m.Zone) {
		return out
	}
	s.about(m.Zone).value = m.Epoch
	if s.at == fleet.NoVertex {
		return out // it will assert itself when it knows where it is
	}
	r := s.request(now)
	s.about(m.Zone).firm = r.Version // what it has granted without knowing this is void
	r.Firm = r.Version
	out = append(out, AskZone{Zone: m.Zone, Request: r})
	if z := s.zoneOf(s.tail()); z != m.Zone {
		return s.ask(now, out) // whoever claims for the robot there must know the version, or what it gets is void
	}
	return out
}

// request is the robot's standing wish, with a new version.
func (s *State) request(now time.Time) fleet.Request {
	s.ver++
	s.lastAsk, s.toldHalted = now, s.halted()
	r := fleet.Request{
		Robot: s.spec.ID, Version: s.ver, At: s.at, Heading: s.heading, Base: s.base, Goal: s.goal, Tasked: s.task != "", Since: s.goalAt,
		Priority: s.priority, Window: s.window, RadiusM: s.spec.RadiusM, SpeedMPS: s.spec.MaxSpeedMPS, Control: s.spec.Control,
		Halted: s.toldHalted, Trace: s.trace,
	}
	if len(s.spec.AllowedZones) > 0 {
		r.Allowed = s.spec.AllowedZones
	}
	if s.task == "" {
		r.Priority = s.spec.Priority
	}
	return r
}

// requestOf is the request as it goes to one zone.
func (s *State) requestOf(now time.Time, z fleet.ZoneID) fleet.Request {
	r := s.request(now)
	r.Firm = max(s.firm, s.firmFor(z))
	return r
}

// ask sends the standing request to the zone that plans for the robot.
func (s *State) ask(now time.Time, out []Effect) []Effect {
	z := s.zoneOf(s.tail())
	if z == "" {
		return out
	}
	s.asked = z
	return append(out, AskZone{Zone: z, Request: s.requestOf(now, z)})
}
