package robot_test

import (
	"slices"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// grant is a lease by the zone that owns vertex after.
func (l *live) grant(version uint64, after fleet.Vertex, vs ...fleet.Vertex) []robot.Effect {
	return l.tell(robot.Granted{Grant: fleet.Grant{
		Robot: "r1", Zone: l.view().Zone, After: after, Vertices: vs, NotAfter: l.now.Add(10 * time.Second), Incarnation: 1, Epoch: 1, Version: version,
	}})
}

func (l *live) view() robot.View {
	var v robot.View
	l.View(&v)
	return v
}

// asked is the newest version that the robot has told a zone.
func asked(out []robot.Effect) uint64 {
	as := all[robot.AskZone](out)
	return as[len(as)-1].Request.Version
}

func TestAResumedLinkKeepsWhatTheRobotStillHolds(t *testing.T) {
	t.Parallel()
	g := graph(t)
	l := &live{State: robot.New(t0, robot.Rules{}), now: t0} // restarted: it knows nothing of the road
	l.tell(robot.MapActivated{Graph: g})
	l.tell(robot.RegisterRequested{Spec: robot.Spec{ID: "r1", Protocol: "link", MaxSpeedMPS: 1}})
	out := l.tell(robot.LinkOpened{Session: 1, BootID: "b1", At: 1, Base: []fleet.Vertex{2, 3}, ProgressNo: 7})
	as := all[robot.AskZone](out)
	if len(as) == 0 || !slices.Equal(as[len(as)-1].Request.Base, []fleet.Vertex{2, 3}) {
		t.Fatalf("the robot asserts %+v, want the base it holds", as)
	}
	// The device repeats what was never acknowledged: where it was before it was where it is.
	if out := l.tell(robot.Progressed{BootID: "b1", Number: 7, Vertex: 0}); len(out) != 0 {
		t.Errorf("progress from before the hello had the effects %v", out)
	}
	if v := l.view(); v.Vertex != 1 || !slices.Equal(v.Base, []fleet.Vertex{2, 3}) {
		t.Errorf("at %d with base %v, want 1 with [2 3]", v.Vertex, v.Base)
	}
}

func TestALateRepeatOfAUsedGrantIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	version := asked(l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}}))
	l.grant(version, 0, 1)
	l.tell(robot.Progressed{BootID: "b1", Number: 1, Vertex: 1})
	back := asked(l.tell(robot.TaskWithdrawn{Task: "t"}))
	l.grant(back, 1, 0)
	l.tell(robot.Progressed{BootID: "b1", Number: 2, Vertex: 0})
	l.grant(version, 0, 1) // the first one again: its vertex may be another's by now
	if v := l.view(); len(v.Base) != 0 {
		t.Errorf("the robot holds %v by a grant that it had used up", v.Base)
	}
}

func TestAGrantOverNoLaneIsRefusedToTheZoneThatGaveIt(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	version := asked(l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}}))
	out := l.grant(version, 0, 5)
	if as := all[robot.AskZone](out); len(as) != 1 || len(as[0].Request.Base) != 0 {
		t.Errorf("effects %v, want the zone told that nothing is held", out)
	}
	if v := l.view(); len(v.Base) != 0 {
		t.Errorf("the robot holds %v, to which no lane leads", v.Base)
	}
}

func TestAnErrandDoesNotCountForARobotThatMayHaveLeft(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.grant(asked(l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}})), 0, 1, 2)
	l.tell(robot.TaskWithdrawn{Task: "t"})
	if out := l.tell(robot.TaskAwarded{Task: "u", Errands: []fleet.Vertex{0}}); len(all[robot.ReachedErrand](out)) != 0 {
		t.Error("an errand counts where the robot was last seen, though it may long have driven on")
	}
}

func TestAConnectionIsRecordedOnceWhileTheRecordingIsUnderWay(t *testing.T) {
	t.Parallel()
	g := graph(t)
	s := robot.New(t0, robot.Rules{})
	s.Apply(t0, robot.Registered{Spec: robot.Spec{ID: "r1", Protocol: "link"}, Version: 1})
	s.Decide(t0, robot.MapActivated{Graph: g}, nil)
	records := 0
	for i := range 10 { // nothing is applied: the store is away
		at := t0.Add(time.Duration(i) * time.Second)
		records += len(all[robot.Record](s.Decide(at, status(uint64(i+1), at), nil)))
	}
	if records != 1 {
		t.Errorf("%d records of one change, want 1", records)
	}
}
