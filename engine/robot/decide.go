package robot

import (
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
)

// Decide appends to out, in order, what the shell must do about m. It reads s and changes only soft fields.
func (s *State) Decide(now time.Time, m Msg, out []Effect) []Effect {
	switch m := m.(type) {
	case *StatusReported:
		return s.statusReported(now, m, out)
	case Progressed:
		return s.progressed(now, m, out)
	case Granted:
		return s.granted(now, m.Grant, out)
	case Refused:
		return s.refused(m.Wait, out)
	case ZoneRestarted:
		return s.zoneRestarted(now, m, out)
	case RegisterRequested:
		return s.registerRequested(now, m, out)
	case RemoveRequested:
		return s.removeRequested(now, m, out)
	case LinkOpened:
		return s.linkOpened(now, m, out)
	case LinkClosed:
		if m.Session == s.session {
			s.session = 0
			return s.tellDispatcher(now, out)
		}
		return out
	case TaskAwarded:
		return s.taskAwarded(now, m, out)
	case Sent:
		return s.sent(now, m.Move, out)
	case TaskWithdrawn:
		return s.taskWithdrawn(now, m, out)
	case CommandRequested:
		return s.commandRequested(now, m, out)
	case CommandAcknowledged:
		return s.commandAcknowledged(now, m, out)
	case MapActivated:
		return s.mapActivated(now, m, out)
	case LaneLimited:
		return s.laneLimited(m.Lane, out)
	case SamplingChanged:
		return s.samplingChanged(m, out)
	case Woke:
		return s.woke(now, out)
	case Restored:
		return s.restored(now, m, out)
	}
	return out
}

// statusReported is the hot path: in steady state it allocates nothing.
func (s *State) statusReported(now time.Time, m *StatusReported, out []Effect) []Effect {
	if s.verdict = s.judge(m); s.verdict != "" {
		return out
	}
	if m.BootID != "" && m.BootID != s.boot {
		s.reboot(m.BootID)
	}
	wasFree := s.availKnown && s.avail.Free
	s.seq, s.pose, s.located, s.velocity, s.battery = m.Seq, m.Pose, true, m.Velocity, m.Battery
	s.reportedAt, s.receivedAt = m.At, m.ReceivedAt
	s.energy.report(now, m.Battery, m.State)
	if m.State != s.state {
		s.state, s.since = m.State, now
	}
	if len(m.Errors)+len(s.errors) > 0 && !slices.Equal(m.Errors, s.errors) {
		s.errors = slices.Clone(m.Errors)
	}
	if s.connection != fleet.Online {
		out = s.connect(now, fleet.Online, "robot", out)
	}
	out = s.sample(now, append(out, Show{}))
	out = s.localise(now, out)
	out = s.tellStopped(now, out)
	if s.wake.IsZero() {
		out = s.wakeAt(now.Add(StaleAfter), out)
	}
	out = s.tendMove(now, out)
	if free, reason := s.free(); free != wasFree || s.task != "" && reason != s.avail.Reason || s.powerChanged() {
		out = s.tellDispatcher(now, out)
	}
	return out
}

// judge says why a status is not accepted.
func (s *State) judge(m *StatusReported) string {
	skew := m.ReceivedAt.Sub(m.At)
	switch {
	case !s.exists:
		return "unknown_robot"
	case m.Seq <= s.seq && (m.BootID == "" || m.BootID == s.boot) && !s.reportedAt.IsZero():
		return "stale_seq"
	case s.session != 0 && m.BootID != "" && m.BootID != s.boot:
		return "stale_seq" // of a boot before the one that opened the link
	case skew > MaxSkew || skew < -MaxSkew:
		return "clock_skew"
	case s.graph == nil:
		return ""
	case m.MapID != "" && m.MapID != s.graph.MapID:
		return "unknown_map"
	case m.Pose.X < s.box[0]-offMap || m.Pose.Y < s.box[1]-offMap || m.Pose.X > s.box[2]+offMap || m.Pose.Y > s.box[3]+offMap:
		return "off_map"
	}
	return ""
}

// reboot starts the robot's counters anew.
func (s *State) reboot(boot string) { s.boot, s.seq, s.progress = boot, 0, 0 }

// localise finds the vertex of a robot that does not report vertices: always where we do not control it, and at first
// where nobody said where it stands.
func (s *State) localise(now time.Time, out []Effect) []Effect {
	engine := s.spec.Control == fleet.ControlEngine
	if s.graph == nil || !s.located || engine && (s.at != fleet.NoVertex || s.session == 0) {
		return out
	}
	reach := 2.0
	if s.graph.ResM > 0 {
		reach = s.graph.ResM
	}
	v, ok := s.graph.Nearest(s.pose.X, s.pose.Y, reach)
	if !ok || v == s.at {
		return out
	}
	old := s.at
	s.at, s.heading = v, s.pose.Theta
	s.repeats = 3
	out = s.ask(now, out)
	if old != fleet.NoVertex && s.zoneOf(old) != s.zoneOf(v) {
		out = append(out, ReportZone{Zone: s.zoneOf(old), Arrival: s.arrival(now)})
	}
	return s.advance(now, false, out)
}

func (s *State) arrival(at time.Time) fleet.Arrival {
	return fleet.Arrival{Robot: s.spec.ID, Vertex: s.at, Heading: s.heading, At: at, Version: s.ver}
}

// progressed takes one entry of the reliable lane.
func (s *State) progressed(now time.Time, m Progressed, out []Effect) []Effect {
	if m.BootID != s.boot || m.Number <= s.progress || s.graph == nil || m.Vertex >= 0 && m.OrderID == 0 && !s.on(m.Vertex) {
		return out
	}
	s.progress = m.Number
	v := s.present(m.OrderID, m.Vertex)
	if !s.on(v) {
		return out // not of the road, or of a road that is no more: its pose will say where it is
	}
	return s.stands(now, v, m.Heading, m.At, m.OrderID == 0 || m.OrderID >= s.goalOrder, out)
}

// stands takes the robot's word for where it is, and tells every zone that this concerns. Fresh says that it got there on
// the way to its present goal: an arrival from before it had that does not count for it.
func (s *State) stands(now time.Time, v fleet.Vertex, heading float64, at time.Time, fresh bool, out []Effect) []Effect {
	touched := [...]fleet.Vertex{s.at, v}
	passed := []fleet.Vertex(nil)
	k := slices.Index(s.base, v)
	s.ver++
	s.heading = heading
	switch {
	case v == s.at:
	case k >= 0:
		passed, s.base = s.base[:k], s.base[k+1:]
		if s.waiting.Cause == fleet.CauseNone {
			s.widen()
		}
	default: // it has left its path: what it was granted is void
		passed, s.base, s.horizon = s.base, nil, nil
		s.narrow()
		s.firm = s.ver
		s.orderID++
		s.update = 0
	}
	s.odometer(now, passed, v)
	if s.at != v {
		for _, x := range passed[:max(0, min(k, len(passed)))] {
			s.tread(x)
		}
		s.tread(v)
	}
	s.at = v
	s.waiting = fleet.Wait{}
	a := fleet.Arrival{Robot: s.spec.ID, Vertex: v, Heading: heading, At: at, Version: s.ver}
	var told [4]fleet.ZoneID
	n := 0
	tell := func(x fleet.Vertex) {
		z := s.zoneOf(x)
		if z == "" || slices.Contains(told[:n], z) || n == len(told) {
			return
		}
		told[n] = z
		n++
		out = append(out, ReportZone{Zone: z, Arrival: a})
	}
	tell(touched[1])
	tell(touched[0])
	for _, x := range passed {
		tell(x)
	}
	s.lastAsk = now
	out = append(out, Show{})
	if k < 0 && v != touched[0] {
		out = s.ask(now, out)
		out = s.sendOrder(out)
	}
	if k >= 0 {
		out = s.start(out)
	}
	return s.advance(now, fresh && v != touched[0], out)
}

// sendOrder sends the order as it now stands.
func (s *State) sendOrder(out []Effect) []Effect {
	if s.session == 0 || s.graph == nil {
		return out
	}
	s.update++
	s.sentUntil, s.toldPaused = s.lease(), s.stopped()
	o := Order{
		Robot: s.spec.ID, ID: s.orderID, Update: s.update, Task: s.task, From: s.at, Base: s.base, Horizon: s.horizon,
		NotAfter: s.sentUntil, Incarnation: s.inc, Paused: s.toldPaused, Trace: s.trace,
	}
	return append(slices.DeleteFunc(out, func(e Effect) bool { _, old := e.(SendOrder); return old }), SendOrder{Order: o})
}

func (s *State) wakeAt(t time.Time, out []Effect) []Effect {
	if !s.wake.IsZero() && !t.Before(s.wake) {
		return out
	}
	s.wake = t
	return append(out, WakeAt{At: t})
}

// woke looks at everything that depends on time.
func (s *State) woke(now time.Time, out []Effect) []Effect {
	s.wake = time.Time{}
	if !s.exists {
		if t := s.task; t != "" { // it came while the removal was being recorded
			s.task = ""
			out = append(out, RefusedTask{Task: t, Reason: removed})
		}
		return out
	}
	next := now.Add(retryAfter)
	out = s.age(now, out)
	out = s.tendCommands(now, out)
	out = s.giveUp(now, out)
	out = s.tellStopped(now, out)
	out = s.tendMove(now, out)
	busy := s.goal != fleet.NoVertex || len(s.base) > 0
	switch silent := now.Sub(s.lastAsk); {
	case s.at == fleet.NoVertex:
	case busy && silent >= retryAfter, s.repeats > 0, silent >= 2*retellAfter:
		s.repeats = max(0, s.repeats-1)
		out = s.askAll(now, out)
	}
	if now.Sub(s.availAt) >= retellAfter {
		s.availKnown = false
		out = s.tellDispatcher(now, out)
	}
	if s.connection == fleet.Offline && !busy && s.openCommands() == 0 {
		return out
	}
	return s.wakeAt(next, out)
}

// age turns silence into STALE and OFFLINE.
func (s *State) age(now time.Time, out []Effect) []Effect {
	if s.receivedAt.IsZero() || s.connection == fleet.NeverSeen {
		return out
	}
	to := s.connection
	switch silent := now.Sub(s.receivedAt); {
	case silent >= OfflineAfter:
		to = fleet.Offline
		if s.changing == fleet.Online {
			s.changing = fleet.NeverSeen // it has fallen silent again
		}
	case silent >= StaleAfter && s.connection == fleet.Online:
		to = fleet.Stale
	}
	if to == s.connection {
		return out
	}
	s.availKnown = false
	return s.connect(now, to, "engine", append(out, Show{}))
}

// connect records a change of the connection, once: while the recording is under way, the same change is not
// recorded again.
func (s *State) connect(now time.Time, to fleet.Connection, part string, out []Effect) []Effect {
	if to == s.changing && now.Sub(s.changingAt) < retellAfter {
		return out
	}
	s.changing, s.changingAt = to, now
	return append(out, Record{Event: ConnectionChanged{From: s.connection, To: to, At: now}, By: fleet.Actor{Part: part}})
}

// giveUp returns the task of a robot that is lost.
func (s *State) giveUp(now time.Time, out []Effect) []Effect {
	if s.connection != fleet.Offline && !s.fatal() {
		s.lostSince = time.Time{}
	} else if s.lostSince.IsZero() {
		s.lostSince = now
	}
	if !s.lostSince.IsZero() && now.Sub(s.lostSince) >= LostAfter && s.task != "" {
		t := s.task
		out = s.drop(now, out)
		out = append(out, RefusedTask{Task: t, Reason: "robot is lost"})
	}
	return s.tellDispatcher(now, out)
}

// HasTask is why a robot is not free that is about its task; one with a task that cannot move says what keeps it.
const HasTask = "has a task"

// free says whether the dispatcher may give it a task, and why not.
func (s *State) free() (bool, string) {
	switch {
	case !s.exists:
		return false, "not registered"
	case s.spec.Control != fleet.ControlEngine:
		return false, "not under the engine's control"
	case s.connection != fleet.Online:
		return false, "not online"
	case s.session == 0:
		return false, "no link"
	case s.at == fleet.NoVertex:
		return false, "position unknown"
	case s.stopped(): // whether it has a task or not: it does not move
		return false, "paused"
	case s.state == fleet.Manual:
		return false, "driven by hand"
	case s.fatal():
		return false, "in error"
	case s.task != "":
		return false, HasTask
	case s.travelling():
		return false, "is under way for a command"
	}
	return true, ""
}

// powerChanged says that the dispatcher knows another battery than the last status told of.
func (s *State) powerChanged() bool {
	return s.availKnown && (math.Abs(s.battery-s.avail.Battery) >= TellBattery || s.energy.Charging != s.avail.Power.Charging)
}

// tellDispatcher says what has changed since it was told last.
func (s *State) tellDispatcher(now time.Time, out []Effect) []Effect {
	free, reason := s.free()
	if s.availKnown && s.avail.Free == free && s.avail.Reason == reason && s.avail.Move == s.move && !s.powerChanged() &&
		(!free || s.avail.At == s.tail()) {
		return out
	}
	since := s.avail.Since
	if !s.availKnown || !s.avail.Free || !free {
		since = now
	}
	s.avail = Availability{
		Robot: s.spec.ID, Fleet: s.spec.Fleet, Capabilities: s.spec.Capabilities, Free: free, At: s.tail(),
		Battery: s.battery, Since: since, Reason: reason, Gone: !s.exists, Allowed: s.spec.AllowedZones, SpeedMPS: s.spec.MaxSpeedMPS,
		Move: s.move, Power: s.energy.Power,
	}
	s.availKnown, s.availAt = true, now
	return append(out, TellDispatcher{Availability: s.avail})
}
