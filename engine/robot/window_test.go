package robot_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// One more for each vertex passed, half after a refusal and after leaving the path, never less than it needs to brake.
func TestARobotsWindowGrowsSlowlyAndHalves(t *testing.T) {
	t.Parallel()
	l, g := ready(t)
	l.tell(robot.TaskAwarded{Task: "t1", Errands: []fleet.Vertex{7}})
	z := g.Zones[g.ZoneOf[0]].ID
	l.tell(robot.Granted{Grant: fleet.Grant{Robot: "r1", Zone: z, After: 0, Vertices: []fleet.Vertex{1, 2, 3, 4}, NotAfter: t0.Add(10 * time.Second), Incarnation: 1, Version: 1 << 62}})
	at := func(n uint64, v fleet.Vertex) {
		l.tell(robot.Progressed{BootID: "b1", Number: n, Vertex: v, At: t0})
	}
	window := func() int {
		var v robot.View
		l.View(&v)
		return v.Window
	}
	for n, want := range []int{2, 3, 4, 5} {
		if n > 0 {
			at(uint64(n), fleet.Vertex(n))
		}
		if w := window(); w != want {
			t.Fatalf("after %d vertices the window is %d, want %d", n, w, want)
		}
	}
	at(4, 4)
	l.tell(robot.Refused{Wait: fleet.Wait{Robot: "r1", Cause: fleet.CauseOccupied, Vertex: 5, Holder: "r2"}})
	if w := window(); w != 3 {
		t.Errorf("refused at 6, the window is %d, want 3", w)
	}
	at(5, 12) // pushed off its path
	if w := window(); w != 2 {
		t.Errorf("after a deviation the window is %d, want the least, 2", w)
	}
}

// At 2 m/s it takes 2 m to brake and 0.6 m until a grant is there: three vertices, and the one it drives to.
func TestAFastRobotHasALongerLeastWindow(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.Apply(t0, robot.Registered{Spec: robot.Spec{ID: "r1", Protocol: "link", MaxSpeedMPS: 2}, Version: 2})
	l.tell(robot.Refused{Wait: fleet.Wait{Robot: "r1", Cause: fleet.CauseOccupied, Vertex: 5, Holder: "r2"}})
	var v robot.View
	if l.View(&v); v.Window != 4 {
		t.Errorf("the window is %d, want 4", v.Window)
	}
}
