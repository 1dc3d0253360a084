package robot_test

import (
	"fmt"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// halted follows what the zone was told last.
type halted bool

func (h *halted) look(out []robot.Effect) {
	for _, a := range all[robot.AskZone](out) {
		*h = halted(a.Request.Halted)
	}
}

// pass lets time go by; every second the robot wakes and, where it speaks, reports.
func (l *live) pass(h *halted, seq *uint64, d time.Duration, speaks bool) {
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(time.Second)
		if speaks {
			*seq++
			h.look(l.tell(status(*seq, l.now)))
		}
		h.look(l.tell(robot.Woke{}))
	}
}

func (l *live) acknowledge(id fleet.CommandID, stages ...fleet.Stage) (out []robot.Effect) {
	for _, s := range stages {
		out = append(out, l.tell(robot.CommandAcknowledged{ID: id, Stage: s})...)
	}
	return out
}

func (l *live) stageOf(id fleet.CommandID) (stage fleet.Stage, reason string) {
	for _, e := range l.log {
		if e, ok := e.(robot.CommandStaged); ok && e.ID == id {
			stage, reason = e.Stage, e.Reason
		}
	}
	return stage, reason
}

func TestTheZoneHearsThatARobotIsBack(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	var h halted
	seq := uint64(1)
	l.pass(&h, &seq, 40*time.Second, false)
	if !h {
		t.Fatal("offline, and the zone believes that it moves")
	}
	if l.pass(&h, &seq, time.Second, true); h {
		t.Error("it speaks again, and the zone believes that it is halted")
	}
	for _, state := range []fleet.RobotState{fleet.Error, fleet.Manual} {
		s := status(seq+1, l.now)
		s.State = state
		if h.look(l.tell(s)); !h {
			t.Errorf("%v, and the zone believes that it moves", state)
		}
		if h.look(l.tell(status(seq+2, l.now))); h {
			t.Errorf("no more %v, and the zone believes that it is halted", state)
		}
		seq += 2
	}
	l.pass(&h, &seq, 40*time.Second, true)
	l.pass(&h, &seq, 40*time.Second, false)
	if !h {
		t.Error("offline again, and the zone believes that it moves")
	}
}

func TestOneChangeOfTheConnectionIsRecordedOnceUntilItIsLost(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	var h halted
	seq := uint64(1)
	l.pass(&h, &seq, 40*time.Second, false)
	records := func(seconds int) (n int) {
		for range seconds {
			l.now = l.now.Add(time.Second)
			seq++
			n += len(all[robot.Record](l.Decide(l.now, status(seq, l.now), nil))) // never confirmed
		}
		return n
	}
	if n := records(10); n != 1 {
		t.Errorf("%d records of one change that is being recorded", n)
	}
	if n := records(10); n != 1 {
		t.Errorf("%d records after the first was lost", n)
	}
}

func TestAStopEndsTheCommandsBeforeIt(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	for i := range 40 { // more than may be open at once
		g, s := fleet.CommandID(fmt.Sprint("g", i)), fleet.CommandID(fmt.Sprint("s", i))
		if o := all[robot.Reply](l.command(g, fleet.CommandGoTo, 20)); o[0].Outcome != robot.Done {
			t.Fatalf("round %d: go_to: outcome %v", i, o[0].Outcome)
		}
		l.acknowledge(g, fleet.StageAcknowledged)
		l.command(s, fleet.CommandStop, fleet.NoVertex)
		l.acknowledge(s, fleet.StageAcknowledged, fleet.StageDone)
		if stage, reason := l.stageOf(g); stage != fleet.StageFailed || reason != "stopped" {
			t.Fatalf("round %d: go_to is %v %q", i, stage, reason)
		}
		if v := l.view(); v.Goal != fleet.NoVertex {
			t.Fatalf("drives to %d", v.Goal)
		}
	}
}

func TestACommandThatNeverReportsDoneEnds(t *testing.T) {
	t.Parallel()
	for kind, c := range map[fleet.CommandKind]struct{ before, after time.Duration }{
		fleet.CommandGoTo:        {9 * time.Minute, 11 * time.Minute},
		fleet.CommandCharge:      {9 * time.Minute, 11 * time.Minute},
		fleet.CommandPause:       {50 * time.Second, 70 * time.Second},
		fleet.CommandClearErrors: {50 * time.Second, 70 * time.Second},
	} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			t.Parallel()
			l, _ := ready(t)
			var h halted
			seq := uint64(1)
			l.command("c", kind, 20)
			l.acknowledge("c", fleet.StageAcknowledged)
			l.pass(&h, &seq, c.before, true)
			if stage, _ := l.stageOf("c"); stage != fleet.StageAcknowledged {
				t.Fatalf("too soon: %v", stage)
			}
			l.pass(&h, &seq, c.after-c.before, true)
			if stage, _ := l.stageOf("c"); stage != fleet.StageFailed {
				t.Fatalf("still %v", stage)
			}
			if v := l.view(); v.Goal != fleet.NoVertex {
				t.Errorf("drives to %d", v.Goal)
			}
			if bool(h) != (kind == fleet.CommandPause) {
				t.Errorf("halted %t: a pause that the robot has acknowledged stands", h)
			}
		})
	}
}

func TestTravelLeavesRoomToStop(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	refused := 0
	for i := range 40 {
		if all[robot.Reply](l.command(fleet.CommandID(fmt.Sprint("g", i)), fleet.CommandGoTo, 20))[0].Outcome == robot.Conflict {
			refused++
		}
	}
	if refused != 32 {
		t.Errorf("%d of 40 refused", refused)
	}
	for _, k := range []fleet.CommandKind{fleet.CommandPause, fleet.CommandResume, fleet.CommandStop, fleet.CommandClearErrors} {
		if o := all[robot.Reply](l.command(fleet.CommandID(fmt.Sprint(k)), k, fleet.NoVertex)); o[0].Outcome != robot.Done {
			t.Errorf("%v: outcome %v", k, o[0].Outcome)
		}
	}
}

func TestAPauseIsToldAtOnceAndLiftedWhenNobodyHeardIt(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}})
	var h halted
	seq := uint64(1)
	out := l.command("p", fleet.CommandPause, fleet.NoVertex)
	if h.look(out); !h {
		t.Error("the zone is not told")
	}
	if o := all[robot.SendOrder](out); len(o) != 1 || !o[0].Order.Paused {
		t.Errorf("orders %+v", o)
	}
	l.pass(&h, &seq, 20*time.Second, true)
	if !h {
		t.Error("lifted before it expired")
	}
	l.pass(&h, &seq, 20*time.Second, true)
	if stage, _ := l.stageOf("p"); stage != fleet.StageExpired || h {
		t.Errorf("%v, halted %t", stage, h)
	}
	// What stood before a command that fails stands again.
	l.command("p2", fleet.CommandPause, fleet.NoVertex)
	l.acknowledge("p2", fleet.StageDone)
	l.command("r", fleet.CommandResume, fleet.NoVertex)
	if l.pass(&h, &seq, 2*time.Second, true); h {
		t.Error("resumed, and the zone believes that it is halted")
	}
	l.acknowledge("r", fleet.StageFailed)
	if l.pass(&h, &seq, 2*time.Second, true); !h {
		t.Error("the robot would not resume, and the zone believes that it moves")
	}
}

func TestAPauseThatIsNotRecordedIsLifted(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	var h halted
	seq := uint64(1)
	m := robot.CommandRequested{Command: robot.Command{ID: "p", Kind: fleet.CommandPause, Vertex: fleet.NoVertex, At: t0, ExpiresAt: t0.Add(30 * time.Second)}}
	if h.look(l.Decide(l.now, m, nil)); !h { // the record is lost
		t.Error("the zone is not told")
	}
	if l.pass(&h, &seq, 20*time.Second, true); h {
		t.Error("halted for ever by a pause that is not there")
	}
}

func TestATaskIsRefusedUnderWayForACommand(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.command("g", fleet.CommandGoTo, 20)
	for _, stage := range []fleet.Stage{fleet.StageSent, fleet.StageAcknowledged} {
		l.acknowledge("g", stage)
		if out := l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}}); len(all[robot.RefusedTask](out)) != 1 {
			t.Errorf("%v: taken over a command", stage)
		}
	}
	if v := l.view(); v.Goal != 20 || v.Task != "" {
		t.Errorf("drives to %d for %q", v.Goal, v.Task)
	}
}

func TestACommandToTravelGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	l, g := ready(t)
	l.command("g", fleet.CommandGoTo, 20)
	l.acknowledge("g", fleet.StageAcknowledged)
	again := &live{State: robot.New(t0, robot.Rules{}), now: t0}
	for _, e := range l.log {
		again.Apply(t0, e)
	}
	if again.Digest() != l.Digest() {
		t.Error("the log folds to another robot")
	}
	again.tell(robot.MapActivated{Graph: g})
	again.tell(robot.Restored{})
	if v := again.view(); v.Goal != 20 {
		t.Errorf("drives to %d", v.Goal)
	}
}

func TestTheDigestKnowsEveryFieldThatWasRegistered(t *testing.T) {
	t.Parallel()
	seen := map[uint64]string{}
	for name, change := range map[string]func(*robot.Spec){
		"nothing":      func(*robot.Spec) {},
		"code":         func(s *robot.Spec) { s.Code = "x" },
		"capabilities": func(s *robot.Spec) { s.Capabilities = []string{"x"} },
		"zones":        func(s *robot.Spec) { s.AllowedZones = []fleet.ZoneID{"x"} },
		"speed":        func(s *robot.Spec) { s.MaxSpeedMPS = 2 },
		"control":      func(s *robot.Spec) { s.Control++ },
		"created":      func(s *robot.Spec) { s.CreatedAt = t0 },
	} {
		s := robot.New(t0, robot.Rules{})
		spec := robot.Spec{ID: "r1"}
		change(&spec)
		s.Apply(t0, robot.Registered{Spec: spec, Version: 1})
		if other, twice := seen[s.Digest()]; twice {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[s.Digest()] = name
	}
}
