package robot

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// setGoal gives the robot a new place to be; every goal is an order of its own.
func (s *State) setGoal(now time.Time, v fleet.Vertex, since time.Time, out []Effect) []Effect {
	if v == s.goal {
		return out
	}
	s.goal, s.goalAt = v, since
	s.orderID++
	s.update = 0
	s.horizon = nil
	s.waiting = fleet.Wait{}
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
	case s.task != "":
		out = s.setGoal(now, s.errands[s.errand], now, out)
	case s.goal != fleet.NoVertex && s.at == s.goal && here:
		for i := range s.commands {
			if c := &s.commands[i]; !c.stage.Final() && c.Vertex == s.at && c.travels() {
				out = append(out, Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageDone, At: now}, By: fleet.Actor{Part: "robot"}})
			}
		}
		out = s.setGoal(now, fleet.NoVertex, now, out)
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

func (s *State) taskAwarded(now time.Time, m TaskAwarded, out []Effect) []Effect {
	switch {
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
	case !s.exists || s.spec.Control != fleet.ControlEngine:
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
	s.places = m.Places
	out = s.advance(now, false, out)
	return append(out, Show{})
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

func (s *State) taskWithdrawn(now time.Time, id fleet.TaskID, out []Effect) []Effect {
	if id == s.task {
		out = s.drop(now, out)
	}
	return append(out, LetGoTask{Task: id})
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

func (s *State) removeRequested(m RemoveRequested, out []Effect) []Effect {
	switch {
	case !s.exists:
		return append(out, Reply{Outcome: NotFound})
	case m.IfVersion > 0 && m.IfVersion != s.version:
		return append(out, Reply{Outcome: Stale})
	case s.task != "":
		return append(out, Reply{Outcome: Conflict})
	}
	out = append(out, Record{Event: Removed{Version: s.version + 1}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done})
	var told []fleet.ZoneID
	for _, v := range append([]fleet.Vertex{s.at}, s.base...) {
		if z := s.zoneOf(v); z != "" && !slices.Contains(told, z) {
			told = append(told, z)
			out = append(out, LeaveZone{Zone: z, Robot: s.spec.ID})
		}
	}
	return append(out, TellDispatcher{Availability: Availability{Robot: s.spec.ID, Gone: true, At: fleet.NoVertex}}, Show{})
}

func (s *State) linkOpened(now time.Time, m LinkOpened, out []Effect) []Effect {
	if !s.exists || m.Session < s.session {
		return out
	}
	s.session = m.Session
	if m.BootID != "" && m.BootID != s.boot {
		s.reboot(m.BootID)
	}
	if s.on(m.At) {
		switch {
		case s.at == fleet.NoVertex:
			s.at, s.heading = m.At, m.Heading
			if !slices.ContainsFunc(m.Base, func(v fleet.Vertex) bool { return !s.on(v) }) {
				s.base = slices.Clone(m.Base) // granted in an earlier life of ours
			}
			out = s.advance(now, false, out)
		case m.At != s.at:
			out = s.stands(now, m.At, m.Heading, now, out)
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
	out = s.tendCommands(now, out)
	return s.wakeAt(now.Add(retryAfter), s.tellDispatcher(now, out))
}

// mapActivated moves the robot's knowledge to another map: vertices are found again by their ids, errands by their names
// where they have any. What was granted is void.
func (s *State) mapActivated(now time.Time, m MapActivated, out []Effect) []Effect {
	old := s.graph
	if old == m.Graph {
		return out
	}
	s.graph, s.box = m.Graph, [4]float64{}
	if m.Graph == nil {
		s.at, s.base, s.horizon, s.goal = fleet.NoVertex, nil, nil, fleet.NoVertex
		return s.tellDispatcher(now, out)
	}
	s.box[0], s.box[1], s.box[2], s.box[3] = m.Graph.Extent()
	translate := func(v fleet.Vertex) fleet.Vertex {
		if old != nil && v >= 0 && int(v) < len(old.Vertices) {
			if n, ok := m.Graph.Find(old.Vertices[v].ID); ok {
				return n
			}
		}
		return fleet.NoVertex
	}
	if !s.exists {
		return out
	}
	s.availKnown = false // where it stands has another number now
	a := TaskAwarded{Task: s.task, Errands: s.errands, Places: s.places}
	if old == nil {
		out = s.localise(now, out)
	} else {
		if len(a.Places) != len(a.Errands) {
			a.Errands = slices.Clone(a.Errands)
			for i, v := range a.Errands {
				a.Errands[i] = translate(v)
			}
		}
		s.at, s.base, s.horizon = translate(s.at), nil, nil
		s.ver++
		s.firm = s.ver
	}
	errands, ok := s.find(a)
	if !ok {
		out = s.drop(now, out)
		return append(out, RefusedTask{Task: a.Task, Reason: "a place is not on the active map", Fatal: true})
	}
	s.errands = errands
	return append(s.resume(now, old != nil, out), Show{})
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
		out = s.ask(now, out)
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
	if s.located {
		s.receivedAt = now // silence counts from our own start
	}
	if t := m.ActiveTask; t != nil && s.exists && s.spec.Control == fleet.ControlEngine {
		out = s.take(now, *t, out)
	} else if t == nil {
		out = s.travelOn(now, out)
	}
	out = s.tellDispatcher(now, append(out, Show{}))
	return s.wakeAt(now.Add(retryAfter), out)
}
