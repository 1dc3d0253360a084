package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/task"
)

// Robots beyond what the floor takes get no tasks, the most urgent tasks go first, what nobody can do keeps nobody's place,
// and each that ends lets another in.
func TestOnlySoManyRobotsHoldTasks(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.LimitActive(3)
	for i := range 10 {
		s.Decide(t0, free(fmt.Sprint("r", i), fleet.Vertex(i)), nil)
		s.Decide(t0, open(fmt.Sprint("t", i), fleet.Vertex(i+10), func(x *task.Spec) { x.CreatedAt = t0.Add(-time.Duration(i) * time.Minute) }), nil)
	}
	for i := range 5 { // more urgent than all, and for nobody who is there
		s.Decide(t0, open(fmt.Sprint("ghost", i), 1, func(x *task.Spec) { x.Robot, x.Priority = "ghost", 9 }), nil)
	}
	got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
	if len(got) != 3 || got["t9"] == "" || got["t8"] == "" || got["t7"] == "" {
		t.Fatalf("offers %v, want the three oldest tasks", got)
	}
	if more := offers(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil)); len(more) != 0 {
		t.Fatalf("three are offered and not answered, and yet %v", more)
	}
	for id, r := range got {
		s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: r, Spec: task.Spec{ID: id}}, nil)
		s.Decide(t0, busy(r, t0), nil)
	}
	later := t0.Add(time.Minute)
	if more := offers(s.Decide(later, dispatch.Ticked{}, nil)); len(more) != 0 {
		t.Fatalf("three are held, and yet %v", more)
	}
	var v dispatch.View
	s.FillView(&v)
	at := slices.IndexFunc(v.TaskWaits, func(w dispatch.TaskWait) bool { return w.Task == "t0" })
	if at < 0 {
		t.Fatalf("nothing is said of t0: %+v", v.TaskWaits)
	}
	if w := v.TaskWaits[at]; w.Cause != fleet.CauseAdmission || !strings.Contains(w.Detail, "3 robots hold tasks") {
		t.Errorf("t0 waits for %s: %q", w.Cause, w.Detail)
	}
	s.Decide(later, dispatch.TaskChanged{State: task.Closed, Robot: got["t9"], Spec: task.Spec{ID: "t9"}}, nil)
	if more := offers(s.Decide(later.Add(time.Second), dispatch.Ticked{}, nil)); len(more) != 1 || more["t6"] == "" {
		t.Errorf("one has ended: offers %v, want t6", more)
	}
}

// busy is a robot that is about a task.
func busy(id fleet.RobotID, since time.Time) dispatch.RobotChanged {
	return dispatch.RobotChanged{Robot: dispatch.Robot{ID: id, At: 5, Battery: 1, Since: since, Reason: "has a task"}}
}

// A task that has said that it has a robot, and whose end the dispatcher has not heard of, or heard of before that, counts
// no more once the robot has been free for a while; and not a moment earlier, however long the robot was free before.
func TestAnEndThatIsNotHeardOfKeepsNobodysPlace(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.LimitActive(1)
	for i := range 3 {
		s.Decide(t0, free(fmt.Sprint("r", i), fleet.Vertex(i)), nil)
	}
	s.Decide(t0, open("ended", 0), nil)
	r := fleet.RobotID(offers(s.Decide(t0, dispatch.Ticked{}, nil))["ended"])
	if r == "" {
		t.Fatal("nothing is offered")
	}
	late := t0.Add(time.Minute)
	s.Decide(late, dispatch.TaskChanged{State: task.Closed, Robot: r, Spec: task.Spec{ID: "ended"}}, nil)
	s.Decide(late, dispatch.TaskChanged{State: task.Held, Robot: r, Spec: task.Spec{ID: "ended"}}, nil)
	s.Decide(late, open("next", 1), nil)
	if more := offers(s.Decide(late.Add(9*time.Second), dispatch.Ticked{}, nil)); len(more) != 0 {
		t.Errorf("one is held, and yet %v", more)
	}
	if more := offers(s.Decide(late.Add(11*time.Second), dispatch.Ticked{}, nil)); more["next"] == "" {
		t.Errorf("a robot that is free holds a place: %v", more)
	}
}

func TestNobodyIsKeptFromTasksWhereTheFloorTakesAll(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"a small floor": 0, "no limit": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			s.LimitActive(limit)
			for i := range 20 {
				s.Decide(t0, free(fmt.Sprintf("r%02d", i), fleet.Vertex(i)), nil)
				s.Decide(t0, open(fmt.Sprint("t", i), fleet.Vertex(i)), nil)
			}
			if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 20 {
				t.Errorf("%d of 20 tasks are offered", len(got))
			}
		})
	}
}

// By sight a large floor begins with few; by its size, and by what is set, as before.
func TestHowManyHoldTasksBySight(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	active := func() int {
		var v dispatch.View
		s.Decide(t0, dispatch.Ticked{}, nil)
		s.FillView(&v)
		return v.Active
	}
	if n := active(); n != 0 {
		t.Errorf("by the floor: %d, want 0", n)
	}
	s.Decide(t0, dispatch.RulesChanged{BySight: true}, nil)
	if n := active(); n <= 0 {
		t.Errorf("by sight: %d, want what a floor begins with", n)
	}
	s.LimitActive(3)
	if n := active(); n != 3 {
		t.Errorf("three are set: %d", n)
	}
	s.LimitActive(0)
	s.Decide(t0, dispatch.RulesChanged{BySight: true, Active: 5}, nil)
	if n := active(); n != 5 {
		t.Errorf("five by the rules: %d", n)
	}
	s.Decide(t0, dispatch.RulesChanged{}, nil)
	if n := active(); n != 0 {
		t.Errorf("by the floor again: %d, want 0", n)
	}
}
