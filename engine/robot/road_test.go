package robot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

func TestARobotHoldsOnToItsRoadOnAnotherMap(t *testing.T) {
	t.Parallel()
	l, _ := driving(t)
	before := l.view().OrderID
	out := l.tell(robot.MapActivated{Graph: shifted(t)})
	v := l.view()
	if v.Vertex != 0 || !slices.Equal(v.Base, []fleet.Vertex{1, 2}) {
		t.Fatalf("stands on %d and holds %v, want 0 and [1 2]", v.Vertex, v.Base)
	}
	asks := all[robot.AskZone](out)
	if len(asks) == 0 || !slices.Equal(asks[len(asks)-1].Request.Base, v.Base) {
		t.Fatalf("asserts %+v", asks)
	}
	if v.OrderID == before {
		t.Fatal("the order has the same id on both maps")
	}
	// What it says of the order before is of the map before.
	l.tell(robot.Progressed{BootID: "b1", Number: 1, Vertex: 9, OrderID: before, At: l.now})
	if v = l.view(); v.Vertex != 1 || !slices.Equal(v.Base, []fleet.Vertex{2}) {
		t.Fatalf("stands on %d and holds %v, want 1 and [2]", v.Vertex, v.Base)
	}
	l.tell(robot.Progressed{BootID: "b1", Number: 2, Vertex: 2, OrderID: v.OrderID, At: l.now})
	if v = l.view(); v.Vertex != 2 || len(v.Base) != 0 {
		t.Fatalf("stands on %d and holds %v, want 2 and nothing", v.Vertex, v.Base)
	}
}

func TestAHelloOfAnotherMapIsTranslated(t *testing.T) {
	t.Parallel()
	l, _ := driving(t)
	g := shifted(t)
	l.tell(robot.MapActivated{Graph: g})
	old := graph(t)
	l.tell(robot.LinkOpened{Session: 2, BootID: "b1", At: 12, MapID: old.MapID, MapVersion: old.Version})
	if v := l.view(); v.Vertex != 4 {
		t.Errorf("stands on %d, want 4", v.Vertex)
	}
	l.tell(robot.LinkOpened{Session: 3, BootID: "b1", At: 1, MapID: "of nobody", MapVersion: 9})
	if v := l.view(); v.Vertex != 4 {
		t.Errorf("a hello of an unknown map puts it on %d", v.Vertex)
	}
}

func TestARobotThatDrivesIsNotRemoved(t *testing.T) {
	t.Parallel()
	l, g := ready(t)
	l.command("g", fleet.CommandGoTo, 3)
	l.lease(g, 1<<62, 0, 1)
	remove := robot.RemoveRequested{IfVersion: -1}
	if r := all[robot.Reply](l.tell(remove)); len(r) != 1 || r[0].Outcome != robot.Conflict {
		t.Fatalf("%+v", r)
	}
	l.tell(robot.LinkClosed{Session: 1})
	if r := all[robot.Reply](l.tell(remove)); len(r) != 1 || r[0].Outcome != robot.Conflict {
		t.Fatalf("while its lease runs: %+v", r)
	}
	l.now = l.now.Add(11 * time.Second)
	if r := all[robot.Reply](l.tell(remove)); len(r) != 1 || r[0].Outcome != robot.Done {
		t.Errorf("without a link: %+v", r)
	}
}

func TestARobotWithoutAPoseIsNowhere(t *testing.T) {
	t.Parallel()
	l := &live{State: robot.New(t0, robot.Rules{}), now: t0}
	l.tell(robot.RegisterRequested{Spec: robot.Spec{ID: "r1", Control: fleet.ControlExternal, MaxSpeedMPS: 1}})
	l.tell(robot.MapActivated{Graph: graph(t)})
	if v := l.view(); v.Vertex != fleet.NoVertex {
		t.Fatalf("stands on %d before it has said where", v.Vertex)
	}
	out := l.tell(robot.Restored{Last: robot.LastKnown{ReportedAt: t0, Pose: fleet.Pose{X: 2.5, Y: 0.5}}})
	if v := l.view(); v.Vertex == fleet.NoVertex || len(all[robot.AskZone](out)) == 0 {
		t.Errorf("after a restart it is on %d: nobody plans around it", v.Vertex)
	}
}

// shifted is the map of graph without its first row: vertices 8, 9, … of graph are 0, 1, … here, with the same ids.
func shifted(t testing.TB) *roadmap.Graph {
	d, r := roadmap.Import("movingai", []byte(strings.Replace(text, "........", "@@@@@@@@", 1)), 1)
	if !r.OK() {
		t.Fatal(r)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "00000000-0000-4000-8000-000000000001", Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// driving is a robot on vertex 8 that has been granted 9 and 10.
func driving(t testing.TB) (*live, *roadmap.Graph) {
	l, g := ready(t)
	l.tell(robot.LinkOpened{Session: 2, BootID: "b1", At: 8})
	l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{11}})
	l.lease(g, 1<<62, 8, 9, 10)
	if v := l.view(); v.Vertex != 8 || !slices.Equal(v.Base, []fleet.Vertex{9, 10}) {
		t.Fatalf("on %d with %v", v.Vertex, v.Base)
	}
	return l, g
}

// lease grants vertices to the robot.
func (l *live) lease(g *roadmap.Graph, version uint64, after fleet.Vertex, vs ...fleet.Vertex) []robot.Effect {
	return l.tell(robot.Granted{Grant: fleet.Grant{
		Robot: "r1", Zone: g.Zones[g.ZoneOf[after]].ID, After: after, Vertices: vs, NotAfter: l.now.Add(10 * time.Second), Incarnation: 1, Version: version,
	}})
}

// BenchmarkDrive is one vertex of a drive: per operation, the robot takes a grant (and sends an order) and one entry of
// progress (and reports it).
func BenchmarkDrive(b *testing.B) {
	l, g := ready(b)
	id := g.Zones[g.ZoneOf[0]].ID
	l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{31}})
	var out []robot.Effect
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at, to := fleet.Vertex(i%2), fleet.Vertex(1-i%2)
		l.now = l.now.Add(time.Second)
		out = l.Decide(l.now, robot.Granted{Grant: fleet.Grant{
			Robot: "r1", Zone: id, After: at, Vertices: []fleet.Vertex{to}, NotAfter: l.now.Add(10 * time.Second), Incarnation: 1, Version: 1 << 62,
		}}, out[:0])
		out = l.Decide(l.now, robot.Progressed{BootID: "b1", Number: uint64(i + 1), Vertex: to, At: l.now}, out[:0])
	}
	if v := l.view(); v.Vertex != fleet.Vertex(b.N%2) {
		b.Fatalf("stands on %d", v.Vertex)
	}
}
