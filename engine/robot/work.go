package robot

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// setGoal gives the robot a new place to be; every goal is an order of its own.
func (s *State) setGoal(now time.Time, v fleet.Vertex, since time.Time, out []Effect) []Effect {
	s.move = Move{}
	if v == s.goal {
		return out
	}
	s.goal, s.goalAt = v, since
	s.orderID++
	s.goalOrder = s.orderID
	s.update = 0
	s.horizon = nil
	s.waiting = fleet.Wait{}
	if v != fleet.NoVertex {
		out = s.rouse(out)
	}
	if s.at == fleet.NoVertex {
		return out
	}
	out = s.ask(now, out)
	out = s.sendOrder(out)
	return s.wakeAt(now.Add(retryAfter), append(out, Show{}))
}

// advance ends what ends here: errands reached, commands to go somewhere. Where the robot has not just arrived, it
// must stand: one that still holds vertices to drive may long have left.
func (s *State) advance(now time.Time, arrived bool, out []Effect) []Effect {
	here := s.at != fleet.NoVertex && (arrived || len(s.base) == 0)
	for s.task != "" && here && s.errand < len(s.errands) && s.at == s.errands[s.errand] {
		out = s.start(out)
		out = append(out, ReachedErrand{Task: s.task, Errand: s.errand})
		s.errand++
	}
	switch {
	case s.task != "" && s.errand >= len(s.errands):
		s.remember(s.task)
		out = s.drop(now, out)
	case s.task != "" && s.move.Kind != NoMove: // the errand waits
	case s.task != "":
		out = s.setGoal(now, s.errands[s.errand], now, out)
	case s.goal != fleet.NoVertex && s.at == s.goal && here:
		for i := range s.commands {
			if c := &s.commands[i]; !c.stage.Final() && c.Vertex == s.at && c.travels() {
				out = append(out, Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageDone, At: now}, By: fleet.Actor{Part: "robot"}})
			}
		}
		out = s.arrived(now, out)
	}
	return s.tellDispatcher(now, out)
}

// start says once that the robot has set off for its task.
func (s *State) start(out []Effect) []Effect {
	if s.task == "" || s.started {
		return out
	}
	s.started = true
	return append(out, StartedTask{Task: s.task})
}

// drop ends the robot's part in its task.
func (s *State) drop(now time.Time, out []Effect) []Effect {
	s.task, s.errands, s.places, s.errand, s.started, s.priority, s.trace = "", nil, nil, 0, false, 0, ""
	out = s.setGoal(now, fleet.NoVertex, now, out)
	return s.tellDispatcher(now, append(out, Show{}))
}

// removed is why a robot that is no more registered refuses tasks.
const removed = "robot is removed"

func (s *State) taskAwarded(now time.Time, m TaskAwarded, out []Effect) []Effect {
	switch {
	case !s.exists:
		return append(out, RefusedTask{Task: m.Task, Reason: removed})
	case m.Task == s.task: // told again: say again where it is
		if s.started {
			out = append(out, StartedTask{Task: s.task})
		}
		if s.errand > m.First {
			out = append(out, ReachedErrand{Task: s.task, Errand: s.errand - 1})
		}
		return out
	case slices.Contains(s.done, m.Task):
		return append(out, StartedTask{Task: m.Task}, ReachedErrand{Task: m.Task, Errand: len(m.Errands) - 1})
	case s.task != "":
		return append(out, RefusedTask{Task: m.Task, Reason: "robot has another task"})
	case s.travelling():
		return append(out, RefusedTask{Task: m.Task, Reason: "robot is under way for a command"})
	case s.spec.Control != fleet.ControlEngine:
		return append(out, RefusedTask{Task: m.Task, Reason: "robot is not under the engine's control"})
	}
	return s.take(now, m, out)
}

// take makes the task the robot's own.
func (s *State) take(now time.Time, m TaskAwarded, out []Effect) []Effect {
	errands, ok := s.find(m)
	if !ok {
		return append(out, RefusedTask{Task: m.Task, Reason: "a place is not on the active map", Fatal: true})
	}
	s.task, s.errands, s.errand, s.started, s.priority, s.trace = m.Task, errands, max(0, m.First), false, m.Priority, m.Trace
	s.places, s.move = m.Places, Move{}
	out = s.advance(now, false, out)
	return s.wakeAt(now.Add(retryAfter), append(out, Show{})) // also where it stands nowhere: it may be lost
}

// on says that the robot's map has a vertex of this number.
func (s *State) on(v fleet.Vertex) bool {
	return s.graph != nil && v >= 0 && int(v) < len(s.graph.Vertices)
}

// find looks up a task's errands on the robot's map: by their names where they have any, for the numbers may be those
// of a former map. Without a map they are taken as they are.
func (s *State) find(m TaskAwarded) ([]fleet.Vertex, bool) {
	if s.graph == nil {
		return m.Errands, true
	}
	errands := slices.Clone(m.Errands)
	for i, v := range errands {
		ok := s.on(v)
		if len(m.Places) == len(errands) {
			v, ok = s.graph.Find(m.Places[i])
		}
		if !ok {
			return nil, false
		}
		errands[i] = v
	}
	return errands, true
}

// remember keeps the ids of the last tasks that the robot has done.
func (s *State) remember(id fleet.TaskID) {
	if len(s.done) >= maxDone {
		s.done = slices.Delete(s.done, 0, 1)
	}
	s.done = append(s.done, id)
}

func (s *State) taskWithdrawn(now time.Time, m TaskWithdrawn, out []Effect) []Effect {
	switch {
	case m.Untouched && m.Task == s.task && s.errand > 0:
		return append(out, ReachedErrand{Task: s.task, Errand: s.errand - 1})
	case m.Untouched && slices.Contains(s.done, m.Task): // told of its end already, or when the task asks again
		return out
	case m.Task == s.task:
		out = s.drop(now, out)
	}
	return append(out, LetGoTask{Task: m.Task})
}

func (s *State) registerRequested(now time.Time, m RegisterRequested, out []Effect) []Effect {
	switch {
	case !s.exists && m.IfVersion > 0:
		return append(out, Reply{Outcome: NotFound})
	case s.exists && m.IfVersion == 0:
		return append(out, Reply{Outcome: Conflict})
	case s.exists && m.IfVersion > 0 && m.IfVersion != s.version:
		return append(out, Reply{Outcome: Stale})
	}
	s.availKnown = false
	out = append(out, Record{Event: Registered{Spec: m.Spec, Version: s.version + 1}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done}, Show{})
	return s.wakeAt(now.Add(time.Second), out)
}

func (s *State) removeRequested(now time.Time, m RemoveRequested, out []Effect) []Effect {
	switch {
	case !s.exists:
		return append(out, Reply{Outcome: NotFound})
	case m.IfVersion > 0 && m.IfVersion != s.version:
		return append(out, Reply{Outcome: Stale})
	case s.task != "", len(s.base) > 0 && (s.session != 0 && s.connection != fleet.Offline || now.Before(s.lease())): // it drives, or may
		return append(out, Reply{Outcome: Conflict})
	}
	out = append(out, Record{Event: Removed{Version: s.version + 1}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done})
	for _, z := range s.zonesOf(append([]fleet.Vertex{s.at}, s.base...)) {
		out = append(out, LeaveZone{Zone: z})
	}
	return append(out, TellDispatcher{Availability: Availability{Robot: s.spec.ID, Gone: true, At: fleet.NoVertex}}, Show{})
}

func (s *State) linkOpened(now time.Time, m LinkOpened, out []Effect) []Effect {
	if !s.exists || m.Session < s.session {
		return out
	}
	s.session, s.sampler.hz = m.Session, 0
	if m.BootID != "" && m.BootID != s.boot {
		s.reboot(m.BootID)
	}
	s.translate(&m)
	if s.on(m.At) {
		switch {
		case s.at == fleet.NoVertex:
			s.at, s.heading = m.At, m.Heading
			s.base = s.driveable(m.At, m.Base) // granted in an earlier life of ours
			out = s.advance(now, false, out)
		case m.At != s.at:
			out = s.stands(now, m.At, m.Heading, now, true, out)
		}
		s.progress = max(s.progress, m.ProgressNo) // where it stands now says all that those entries could say
	}
	if s.at != fleet.NoVertex {
		out = s.assert(now, out)
		out = s.sendOrder(out)
	}
	for i := range s.commands {
		s.commands[i].sent = time.Time{}
	}
	out = s.askRate(s.tendCommands(now, out))
	return s.wakeAt(now.Add(retryAfter), s.tellDispatcher(now, out))
}

// mapActivated moves the robot's knowledge to another map: vertices are found again by their ids, errands by their names
// where they have any. It holds on to what it was granted as far as the new map has that way: it may be under way on it.
func (s *State) mapActivated(now time.Time, m MapActivated, out []Effect) []Effect {
	old := s.graph
	if old == m.Graph {
		return out
	}
	s.graph, s.box = m.Graph, [4]float64{}
	if old != nil {
		s.former, s.formerFrom, s.formerUntil = old, s.formerUntil, s.orderID
	}
	if m.Graph == nil {
		s.at, s.base, s.horizon, s.goal, s.move = fleet.NoVertex, nil, nil, fleet.NoVertex, Move{}
		return s.tellDispatcher(now, out)
	}
	s.box[0], s.box[1], s.box[2], s.box[3] = m.Graph.Extent()
	if !s.exists {
		s.at, s.base, s.horizon, s.trail = fleet.NoVertex, nil, nil, nil // numbers of a map that nobody reads any more
		return out
	}
	s.move, s.availKnown = Move{}, false // where it stands has another number now
	a := TaskAwarded{Task: s.task, Errands: s.errands, Places: s.places}
	if old == nil {
		out = s.localise(now, out)
	} else {
		if len(a.Places) != len(a.Errands) {
			a.Errands = s.translated(a.Errands)
		}
		s.relocate()
	}
	errands, ok := s.find(a)
	if !ok {
		out = s.drop(now, out)
		return append(out, RefusedTask{Task: a.Task, Reason: "a place is not on the active map", Fatal: true})
	}
	s.errands = errands
	return append(s.resume(now, old != nil, out), Show{})
}

// relocate finds where the robot stands and what it holds on the new map; grants of the former one are void.
func (s *State) relocate() {
	base := s.translated(s.base)
	s.at, s.horizon, s.base = s.translated([]fleet.Vertex{s.at})[0], nil, nil
	if s.at != fleet.NoVertex {
		s.base = s.driveable(s.at, base)
	}
	s.trail = nil
	s.ver++
	s.firm = s.ver
	s.orderID++
	s.update = 0
}

// translated finds vertices of the former map on the active one; those that are not there are NoVertex.
func (s *State) translated(vs []fleet.Vertex) []fleet.Vertex {
	out := make([]fleet.Vertex, len(vs))
	for i, v := range vs {
		out[i] = fleet.NoVertex
		if s.former != nil && v >= 0 && int(v) < len(s.former.Vertices) {
			if n, ok := s.graph.Find(s.former.Vertices[v].ID); ok {
				out[i] = n
			}
		}
	}
	return out
}

// driveable is as much of base as the map's lanes lead along, from a vertex on, and as does not lead back to itself.
func (s *State) driveable(at fleet.Vertex, base []fleet.Vertex) []fleet.Vertex {
	from := at
	for k, v := range base {
		if !s.joined(from, v) || v == at || slices.Contains(base[:k], v) {
			return slices.Clone(base[:k])
		}
		from = v
	}
	return slices.Clone(base)
}

// present is v on the active map, where an order of the former one is still being driven.
func (s *State) present(order uint64, v fleet.Vertex) fleet.Vertex {
	if order == 0 || order > s.formerUntil || s.former == nil || s.graph == nil {
		return v
	}
	if order <= s.formerFrom {
		return fleet.NoVertex
	}
	return s.translated([]fleet.Vertex{v})[0]
}

// translate makes of a hello that speaks of another map one that speaks of the active one; what cannot be found is left
// out.
func (s *State) translate(m *LinkOpened) {
	switch g := s.graph; {
	case g == nil || m.MapID == "" || m.MapID == g.MapID && m.MapVersion == g.Version:
	case s.former != nil && m.MapID == s.former.MapID && m.MapVersion == s.former.Version:
		m.At, m.Base = s.translated([]fleet.Vertex{m.At})[0], s.translated(m.Base)
	default:
		m.At, m.Base = fleet.NoVertex, nil
	}
}

// laneLimited sends the order again where it leads over the lane: orders carry the limits.
func (s *State) laneLimited(lane int32, out []Effect) []Effect {
	from := s.at
	for _, v := range s.base {
		if s.joined(from, v) {
			if l, _ := s.graph.Lane(from, v); l == lane {
				return s.sendOrder(out)
			}
		}
		from = v
	}
	return out
}

// resume takes up what the robot was about, on another map.
func (s *State) resume(now time.Time, moved bool, out []Effect) []Effect {
	if moved {
		out = s.endTravel(now, len(s.commands), "the map has changed", out) // their vertices are those of the former map
	}
	s.goal = fleet.NoVertex
	if s.task != "" {
		out = s.advance(now, false, out)
	}
	if s.at != fleet.NoVertex {
		out = s.assert(now, out)
		out = s.sendOrder(out)
	}
	return s.tellDispatcher(now, out)
}

// restored takes up where an earlier activation ended.
func (s *State) restored(now time.Time, m Restored, out []Effect) []Effect {
	l := m.Last
	s.boot, s.seq, s.reportedAt, s.pose, s.battery, s.state = l.BootID, l.Seq, l.ReportedAt, l.Pose, l.Battery, l.State
	if s.connection == fleet.NeverSeen { // the log knows better than the snapshot
		s.connection = l.Connection
	}
	s.located = !l.ReportedAt.IsZero()
	if s.located || s.connection != fleet.NeverSeen {
		s.receivedAt = now // silence counts from our own start
	}
	if t := m.ActiveTask; t != nil && s.exists && s.spec.Control == fleet.ControlEngine {
		out = s.take(now, *t, out)
	} else if t == nil {
		out = s.travelOn(now, out)
	}
	out = s.localise(now, out)
	out = s.tellDispatcher(now, append(out, Show{}))
	return s.wakeAt(now.Add(retryAfter), out)
}
