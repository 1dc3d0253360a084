package robot_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const text = "type octile\nheight 4\nwidth 8\nmap\n........\n........\n........\n........\n"

func graph(t testing.TB) *roadmap.Graph {
	d, r := roadmap.Import("movingai", []byte(text), 1)
	if !r.OK() {
		t.Fatal(r)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "00000000-0000-4000-8000-000000000001", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// live applies records at once and keeps the log.
type live struct {
	*robot.State
	now time.Time
	log []robot.Event
}

func (l *live) tell(m robot.Msg) []robot.Effect {
	out := l.Decide(l.now, m, nil)
	for _, e := range out {
		if r, ok := e.(robot.Record); ok {
			l.Apply(l.now, r.Event)
			l.log = append(l.log, r.Event)
		}
	}
	return out
}

func all[E robot.Effect](out []robot.Effect) (es []E) {
	for _, e := range out {
		if x, ok := e.(E); ok {
			es = append(es, x)
		}
	}
	return es
}

func status(seq uint64, at time.Time) *robot.StatusReported {
	return &robot.StatusReported{BootID: "b1", Seq: seq, At: at, ReceivedAt: at, Pose: fleet.Pose{X: .5, Y: 3.5}, Battery: .9, State: fleet.Idle}
}

// ready is a registered robot on vertex 0 with a link and a status.
func ready(t testing.TB) (*live, *roadmap.Graph) {
	g := graph(t)
	l := &live{State: robot.New(t0, robot.Rules{}), now: t0}
	l.tell(robot.MapActivated{Graph: g})
	l.tell(robot.RegisterRequested{Spec: robot.Spec{ID: "r1", Protocol: "link", MaxSpeedMPS: 1}})
	l.tell(robot.LinkOpened{Session: 1, BootID: "b1", At: 0})
	l.tell(status(1, t0))
	return l, g
}

func TestATaskIsDrivenErrandByErrand(t *testing.T) {
	t.Parallel()
	l, g := ready(t)
	out := l.tell(robot.TaskAwarded{Task: "t1", Errands: []fleet.Vertex{2, 1}})
	asks := all[robot.AskZone](out)
	if len(asks) != 1 || asks[0].Request.Goal != 2 || asks[0].Zone != g.Zones[g.ZoneOf[0]].ID {
		t.Fatalf("asks: %+v", asks)
	}
	grant := func(after fleet.Vertex, vs ...fleet.Vertex) []robot.Effect {
		return l.tell(robot.Granted{Grant: fleet.Grant{Robot: "r1", Zone: asks[0].Zone, After: after, Vertices: vs, NotAfter: t0.Add(10 * time.Second), Incarnation: 1, Version: 1 << 62}})
	}
	out = grant(0, 1, 2)
	if o := all[robot.SendOrder](out); len(o) != 1 || len(o[0].Order.Base) != 2 {
		t.Fatalf("orders: %+v", o)
	}
	if len(all[robot.StartedTask](out)) != 1 {
		t.Error("the task was not told that the robot set off")
	}
	if out := grant(0, 1, 2); len(all[robot.SendOrder](out)) != 0 {
		t.Error("a repeated grant makes another order")
	}
	out = l.tell(robot.Progressed{BootID: "b1", Number: 1, Vertex: 1, At: t0})
	if r := all[robot.ReportZone](out); len(r) == 0 || r[0].Arrival.Vertex != 1 {
		t.Fatalf("reports: %+v", r)
	}
	out = l.tell(robot.Progressed{BootID: "b1", Number: 2, Vertex: 2, At: t0})
	if e := all[robot.ReachedErrand](out); len(e) != 1 || e[0].Errand != 0 {
		t.Fatalf("errands: %+v", e)
	}
	if out := l.tell(robot.Progressed{BootID: "b1", Number: 2, Vertex: 2, At: t0}); len(out) != 0 {
		t.Errorf("a repeated entry has effects: %v", out)
	}
	grant(2, 1)
	out = l.tell(robot.Progressed{BootID: "b1", Number: 3, Vertex: 1, At: t0})
	if e := all[robot.ReachedErrand](out); len(e) != 1 || e[0].Errand != 1 {
		t.Fatalf("errands: %+v", e)
	}
	if a := all[robot.TellDispatcher](out); len(a) == 0 || !a[len(a)-1].Availability.Free {
		t.Errorf("not free after its task: %+v", a)
	}
}

// The dispatcher hears why a robot with a task does not move, and when it does again.
func TestARobotWithATaskSaysWhatKeepsIt(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.tell(robot.TaskAwarded{Task: "t1", Errands: []fleet.Vertex{2, 1}})
	for i, c := range []struct {
		state fleet.RobotState
		want  string
	}{{fleet.Manual, "driven by hand"}, {fleet.Error, "in error"}, {fleet.Idle, robot.HasTask}} {
		m := status(uint64(i)+2, t0)
		m.State = c.state
		a := all[robot.TellDispatcher](l.tell(m))
		if len(a) == 0 || a[len(a)-1].Availability.Reason != c.want {
			t.Errorf("%v: %+v, want %q", c.state, a, c.want)
		}
	}
}

func TestAGrantOfAnOlderActivationIsRefused(t *testing.T) {
	t.Parallel()
	l, g := ready(t)
	z := g.Zones[g.ZoneOf[0]].ID
	l.tell(robot.ZoneRestarted{Zone: z, Epoch: 7})
	out := l.tell(robot.Granted{Grant: fleet.Grant{Zone: z, Epoch: 6, After: 0, Vertices: []fleet.Vertex{1}, Version: 1 << 62, Incarnation: 1}})
	if len(all[robot.SendOrder](out)) != 0 {
		t.Error("a grant from before the zone's restart was taken")
	}
}

func TestSilenceAgesAndAStatusBringsItBack(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	var v robot.View
	for _, c := range []struct {
		after time.Duration
		want  fleet.Connection
	}{{4 * time.Second, fleet.Online}, {6 * time.Second, fleet.Stale}, {31 * time.Second, fleet.Offline}} {
		l.now = t0.Add(c.after)
		l.tell(robot.Woke{})
		if l.View(&v); v.Connection != c.want {
			t.Errorf("after %v: %v, want %v", c.after, v.Connection, c.want)
		}
	}
	l.tell(status(2, l.now))
	if l.View(&v); v.Connection != fleet.Online {
		t.Error(v.Connection)
	}
}

func TestCountersRestartWithTheBoot(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.tell(robot.Progressed{BootID: "b1", Number: 7, Vertex: 1, At: l.now})
	l.tell(robot.LinkOpened{Session: 2, BootID: "b2", At: 1})
	l.tell(robot.Progressed{BootID: "b1", Number: 8, Vertex: 2, At: l.now}) // late, of the boot before
	l.tell(robot.Progressed{BootID: "b2", Number: 1, Vertex: 9, At: l.now})
	if v := l.view(); v.Vertex != 9 || l.Progress() != 1 {
		t.Errorf("on %d, progress %d", v.Vertex, l.Progress())
	}
	l.tell(robot.LinkClosed{Session: 2})
	m := status(1, l.now)
	m.BootID = "b3"
	if l.tell(m); l.Verdict() != "" {
		t.Errorf("without a link a new boot starts anew: %q", l.Verdict())
	}
}

func TestStatusesAreJudged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*robot.StatusReported)
		want   string
	}{
		"newer":            {func(*robot.StatusReported) {}, ""},
		"same number":      {func(s *robot.StatusReported) { s.Seq = 1 }, "stale_seq"},
		"not the link's":   {func(s *robot.StatusReported) { s.BootID = "b2" }, "stale_seq"},
		"clock far behind": {func(s *robot.StatusReported) { s.At = s.At.Add(-6 * time.Minute) }, "clock_skew"},
		"another map":      {func(s *robot.StatusReported) { s.MapID = "x" }, "unknown_map"},
		"off the map":      {func(s *robot.StatusReported) { s.Pose.X = 99 }, "off_map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := ready(t)
			m := status(2, t0)
			c.change(m)
			if l.tell(m); l.Verdict() != c.want {
				t.Errorf("%q, want %q", l.Verdict(), c.want)
			}
		})
	}
}

func TestACommandGoesThroughItsStages(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	c := robot.Command{ID: "c1", Kind: fleet.CommandPause, Vertex: fleet.NoVertex, At: t0, ExpiresAt: t0.Add(30 * time.Second)}
	out := l.tell(robot.CommandRequested{Command: c})
	if len(all[robot.SendCommand](out)) != 1 || len(all[robot.Record](out)) != 2 {
		t.Fatalf("%+v", out)
	}
	for _, stage := range []fleet.Stage{fleet.StageAcknowledged, fleet.StageDone} {
		if r := all[robot.Record](l.tell(robot.CommandAcknowledged{ID: "c1", Stage: stage})); len(r) != 1 {
			t.Errorf("%v is not recorded", stage)
		}
		if r := all[robot.Record](l.tell(robot.CommandAcknowledged{ID: "c1", Stage: stage})); len(r) != 0 {
			t.Errorf("%v is recorded twice", stage)
		}
	}
	if out := l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{5}}); !all[robot.AskZone](out)[0].Request.Halted {
		t.Error("a paused robot asks as if it could move")
	}
	c.ID, c.Kind, c.ExpiresAt = "c2", fleet.CommandResume, t0.Add(time.Second)
	l.tell(robot.CommandRequested{Command: c})
	l.now = t0.Add(2 * time.Second)
	r := all[robot.Record](l.tell(robot.Woke{}))
	if len(r) != 1 || r[0].Event.(robot.CommandStaged).Stage != fleet.StageExpired {
		t.Errorf("not expired: %+v", r)
	}
}

func TestAStatusInSteadyStateAllocatesNothing(t *testing.T) {
	l, _ := ready(t)
	m, out := status(1, t0), make([]robot.Effect, 0, 16)
	n := testing.AllocsPerRun(1000, func() {
		m.Seq++
		out = l.Decide(t0, m, out[:0])
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReplayEqualsLiveAndAStatusCountsOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &live{State: robot.New(t0, robot.Rules{}), now: t0}
		d, _ := roadmap.Import("movingai", []byte(text), 1)
		g, _ := roadmap.Build(d, roadmap.BuildOptions{MapID: "m"})
		l.tell(robot.MapActivated{Graph: g})
		l.tell(robot.RegisterRequested{Spec: robot.Spec{ID: "r1", Protocol: "link"}})
		vertex := func() fleet.Vertex { return fleet.Vertex(rapid.IntRange(-1, 40).Draw(t, "vertex")) }
		for i := range rapid.IntRange(0, 60).Draw(t, "messages") {
			l.now = l.now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			id := fleet.CommandID(fmt.Sprint("c", rapid.IntRange(0, 3).Draw(t, "command")))
			switch rapid.IntRange(0, 11).Draw(t, "kind") {
			case 0:
				m := status(uint64(rapid.IntRange(1, 50).Draw(t, "seq")), l.now)
				l.tell(m)
				if l.tell(m); l.Verdict() == "" {
					t.Fatalf("a status counted twice: %q", l.Verdict())
				}
			case 1:
				l.tell(robot.Progressed{Number: uint64(i), Vertex: vertex(), At: l.now})
			case 2:
				l.tell(robot.Granted{Grant: fleet.Grant{Zone: "z", After: vertex(), Vertices: []fleet.Vertex{vertex()}, Version: 1 << 62}})
			case 3:
				l.tell(robot.LinkOpened{Session: uint64(i), BootID: "b", At: vertex()})
			case 4:
				l.tell(robot.LinkClosed{Session: uint64(i - 1)})
			case 5:
				l.tell(robot.TaskAwarded{Task: fleet.TaskID(fmt.Sprint("t", i%3)), Errands: []fleet.Vertex{vertex(), vertex()}})
			case 6:
				l.tell(robot.TaskWithdrawn{Task: fleet.TaskID(fmt.Sprint("t", i%3))})
			case 7:
				kind := fleet.CommandKind(rapid.IntRange(0, 5).Draw(t, "what"))
				l.tell(robot.CommandRequested{Command: robot.Command{ID: fleet.CommandID(fmt.Sprint("c", i)), Kind: kind, Vertex: vertex(), ExpiresAt: l.now.Add(time.Minute)}})
			case 8:
				l.tell(robot.CommandAcknowledged{ID: id, Stage: fleet.Stage(rapid.IntRange(2, 4).Draw(t, "stage"))})
			case 9:
				l.tell(robot.Woke{})
			case 10:
				l.tell(robot.ZoneRestarted{Zone: "z", Epoch: uint64(i)})
			case 11:
				l.tell(robot.RemoveRequested{IfVersion: -1})
			}
		}
		replay := robot.New(l.now, robot.Rules{})
		for _, e := range l.log {
			replay.Apply(l.now, e)
		}
		if replay.Digest() != l.Digest() {
			t.Fatal("replay differs from live")
		}
	})
}

func BenchmarkStatus(b *testing.B) {
	l, _ := ready(b)
	m, out := status(1, t0), make([]robot.Effect, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		m.Seq++
		out = l.Decide(t0, m, out[:0])
	}
}
