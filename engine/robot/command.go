package robot

import (
	"slices"
	"time"

	"starling/engine/fleet"
)

// How long an acknowledged command may take until it counts as failed: nobody may hold a place among the open commands
// for ever.
const (
	travelPatience = 10 * time.Minute
	donePatience   = time.Minute
)

// NoWord is the reason of a command that failed because it was acknowledged and never reported done: a pause counts all
// the same.
const NoWord = "no word that it was done"

// maxTravel is how many of the open commands may be ones that send the robot somewhere. The other places are kept for
// those that stop it, resume it or clear its errors.
const maxTravel = 8

// travels says that the command sends the robot somewhere.
func (c *Command) travels() bool { return c.Kind == fleet.CommandGoTo || c.Kind == fleet.CommandCharge }

// pauses says whether the command, if the robot has heard it, leaves it paused; ok is false where it changes nothing.
func (c *command) pauses() (paused, ok bool) {
	if c.stage == fleet.StageExpired || c.stage == fleet.StageFailed && c.reason != NoWord {
		return false, false
	}
	switch c.Kind {
	case fleet.CommandPause, fleet.CommandStop:
		return true, true
	case fleet.CommandResume:
		return false, true
	case fleet.CommandGoTo, fleet.CommandCharge, fleet.CommandClearErrors:
	}
	return false, false
}

// AskedAt is when a command was accepted, as long as it is remembered.
func (s *State) AskedAt(id fleet.CommandID) (at time.Time, ok bool) {
	i := slices.IndexFunc(s.commands, func(c command) bool { return c.ID == id })
	if i < 0 {
		return at, false
	}
	return s.commands[i].At, true
}

// standing is whether the robot is paused by the last command that counts: from its recording on, until the robot says
// no or it expires unheard.
func (s *State) standing() bool {
	paused := s.pausedBefore
	for i := range s.commands {
		if p, ok := s.commands[i].pauses(); ok {
			paused = p
		}
	}
	return paused
}

// forget drops the oldest finished commands beyond the bound. What they say about a pause remains.
func (s *State) forget() []command {
	for len(s.commands) >= maxCommands {
		i := slices.IndexFunc(s.commands, func(c command) bool { return c.stage.Final() })
		if i < 0 {
			break
		}
		if p, ok := s.commands[i].pauses(); ok {
			s.pausedBefore = p
		}
		s.commands = slices.Delete(s.commands, i, i+1)
	}
	return s.commands
}

func (s *State) openCommands() int {
	travel, other := s.open()
	return travel + other
}

// open counts the open commands: those that send the robot somewhere, and the others.
func (s *State) open() (travel, other int) {
	for i := range s.commands {
		switch c := &s.commands[i]; {
		case c.stage.Final():
		case c.travels():
			travel++
		default:
			other++
		}
	}
	return travel, other
}

// travelling says that the robot is under way for a command, or about to be.
func (s *State) travelling() bool {
	travel, _ := s.open()
	return travel > 0 || s.task == "" && s.goal != fleet.NoVertex && s.move.Kind == NoMove
}

// stopped says that the robot is to stand: by what is recorded, or is being recorded.
func (s *State) stopped() bool { return s.paused || s.pausing }

func (s *State) commandRequested(now time.Time, m CommandRequested, out []Effect) []Effect {
	c := m.Command
	travel, other := s.open()
	switch {
	case !s.exists:
		return append(out, Reply{Outcome: NotFound})
	case s.spec.Control != fleet.ControlEngine:
		return append(out, Reply{Outcome: Precondition})
	case c.travels() && (travel >= maxTravel || s.task != "" || s.goal != fleet.NoVertex && s.move.Kind == NoMove), !c.travels() && other >= maxCommands-maxTravel:
		return append(out, Reply{Outcome: Conflict})
	case c.travels() && !s.on(c.Vertex):
		return append(out, Reply{Outcome: Precondition})
	}
	out = append(out, Record{Event: CommandAccepted{Command: c}, By: m.By, Trace: m.Trace})
	if s.session != 0 {
		out = append(out, Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageSent, At: now}, By: fleet.Actor{Part: "engine"}}, SendCommand{Command: c})
	}
	if c.Kind == fleet.CommandPause || c.Kind == fleet.CommandStop {
		s.pausing, s.pausingAt = true, now // to stand is safe before it is recorded
		out = s.tellStopped(now, out)
	}
	out = append(out, Reply{Outcome: Done}, Show{})
	return s.wakeAt(earlier(c.ExpiresAt, now.Add(tellSoon)), out)
}

// tellSoon is after how long the zone is told of what has been recorded meanwhile.
const tellSoon = 250 * time.Millisecond

// tellStopped tells the zone and the order whether the robot is halted, where they were told otherwise last.
func (s *State) tellStopped(now time.Time, out []Effect) []Effect {
	if s.pausing && now.Sub(s.pausingAt) >= retellAfter {
		s.pausing = false // it has not been recorded
	}
	if s.at == fleet.NoVertex {
		return out
	}
	if s.halted() != s.toldHalted {
		out = s.ask(now, out)
	}
	if s.session != 0 && s.stopped() != s.toldPaused {
		out = s.sendOrder(out)
	}
	return out
}

// endTravel ends those of the first n commands that send the robot somewhere: it does not go there any more.
func (s *State) endTravel(now time.Time, n int, reason string, out []Effect) []Effect {
	for i := range s.commands[:n] {
		if c := &s.commands[i]; c.travels() && !c.stage.Final() {
			out = append(out, s.fail(now, c, reason))
		}
	}
	return out
}

func (s *State) fail(now time.Time, c *command, reason string) Record {
	return Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageFailed, At: now, Reason: reason}, By: fleet.Actor{Part: "engine"}}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *State) commandAcknowledged(now time.Time, m CommandAcknowledged, out []Effect) []Effect {
	i := slices.IndexFunc(s.commands, func(c command) bool { return c.ID == m.ID })
	if i < 0 || s.commands[i].stage.Final() || m.Stage <= s.commands[i].stage {
		return out
	}
	c := &s.commands[i]
	if c.travels() && m.Stage == fleet.StageDone && s.at != c.Vertex {
		m.Stage = fleet.StageAcknowledged // the robot has taken it; it is done when it is there
		if c.stage >= m.Stage {
			return out
		}
	}
	e := CommandStaged{ID: m.ID, Stage: m.Stage, At: now, Reason: m.Reason}
	out = append(out, Record{Event: e, By: fleet.Actor{Part: "robot"}})
	switch {
	case c.travels() && m.Stage == fleet.StageAcknowledged && s.task == "" && s.on(c.Vertex):
		out = s.setGoal(now, c.Vertex, now, out)
		return s.advance(now, false, out)
	case c.travels() && m.Stage.Final() && s.task == "" && s.goal == c.Vertex, c.Kind == fleet.CommandStop && m.Stage != fleet.StageFailed && s.task == "":
		out = s.setGoal(now, fleet.NoVertex, now, out)
	}
	if c.Kind == fleet.CommandStop && m.Stage != fleet.StageFailed {
		out = s.endTravel(now, i, "stopped", out)
	}
	if s.at != fleet.NoVertex {
		out = s.ask(now, out)
		out = s.sendOrder(out)
	}
	return s.wakeAt(now.Add(tellSoon), s.tellDispatcher(now, append(out, Show{})))
}

// tendCommands sends commands that wait for a link or an answer, and ends those whose time is over.
func (s *State) tendCommands(now time.Time, out []Effect) []Effect {
	for i := range s.commands {
		c := &s.commands[i]
		if c.stage.Final() {
			continue
		}
		if c.stage >= fleet.StageAcknowledged {
			out = s.tendAcknowledged(now, c, out)
			continue
		}
		if !now.Before(c.ExpiresAt) {
			out = append(out, Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageExpired, At: now}, By: fleet.Actor{Part: "engine"}})
			out = s.wakeAt(now.Add(tellSoon), out)
			continue
		}
		if s.superseded(i) {
			out = append(out, s.fail(now, c, "a later command says otherwise"))
			continue
		}
		if s.session != 0 && now.Sub(c.sent) >= retryAfter {
			c.sent = now
			if c.stage == fleet.StageAccepted {
				out = append(out, Record{Event: CommandStaged{ID: c.ID, Stage: fleet.StageSent, At: now}, By: fleet.Actor{Part: "engine"}})
			}
			out = append(out, SendCommand{Command: c.Command})
		}
		out = s.wakeAt(earlier(c.ExpiresAt, now.Add(retryAfter)), out)
	}
	return out
}

// superseded says that command i, to pause, stop or resume, is followed by another of these: to send it now would undo what
// the later one has told the robot.
func (s *State) superseded(i int) bool {
	halts := func(c command) bool {
		return c.Kind == fleet.CommandPause || c.Kind == fleet.CommandStop || c.Kind == fleet.CommandResume
	}
	return halts(s.commands[i]) && slices.ContainsFunc(s.commands[i+1:], halts)
}

// tendAcknowledged ends a command that the robot has taken and of which nothing was heard since.
func (s *State) tendAcknowledged(now time.Time, c *command, out []Effect) []Effect {
	patience := donePatience
	if c.travels() {
		patience = travelPatience
	}
	if now.Sub(c.staged) < patience {
		if c.travels() && s.task == "" && s.goal == fleet.NoVertex && s.on(c.Vertex) { // a task came between
			out = s.advance(now, false, s.setGoal(now, c.Vertex, now, out))
		}
		return s.wakeAt(now.Add(retryAfter), out)
	}
	out = append(out, s.fail(now, c, NoWord))
	if c.travels() && s.task == "" && s.goal == c.Vertex {
		out = s.setGoal(now, fleet.NoVertex, now, out)
	}
	return out
}

// travelOn takes up, after a restart, a command that sends the robot somewhere. Where its place is not what it was, the
// map has changed, and it ends.
func (s *State) travelOn(now time.Time, out []Effect) []Effect {
	for i := range s.commands {
		c := &s.commands[i]
		if s.graph == nil || !c.travels() || c.stage != fleet.StageAcknowledged {
			continue
		}
		if v, ok := s.graph.Find(c.Place); !s.on(c.Vertex) || ok && v != c.Vertex {
			out = append(out, s.fail(now, c, "the map has changed"))
			continue
		}
		out = s.setGoal(now, c.Vertex, now, out)
	}
	return out
}
