package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/task"
)

// Of the tasks that lead into a jammed zone the most urgent are awarded, as many as it takes besides the robots that are on
// their way there; others say why they wait, and go when the jam is over.
func TestTasksWaitForAJam(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	zone := s.Graph().Zones[s.Graph().ZoneOf[10]]
	for i := range 6 {
		s.Decide(t0, free(fmt.Sprint("r", i), fleet.Vertex(i)), nil)
	}
	s.Decide(t0, dispatch.ReliefChanged{Relief: congestion.Relief{Most: map[fleet.ZoneID]int{zone.ID: 2}}}, nil)
	for i := range 5 {
		s.Decide(t0, open(fmt.Sprint("t", i), 10, func(x *task.Spec) { x.CreatedAt = t0.Add(-time.Duration(i) * time.Minute) }), nil)
	}
	got := offers(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil))
	if len(got) != 2 || got["t4"] == "" || got["t3"] == "" {
		t.Fatalf("offers %v, want the two oldest tasks", got)
	}
	for id, r := range got {
		s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: r, Spec: task.Spec{ID: id, Errands: []fleet.Vertex{10}}}, nil)
		s.Decide(t0, busy(r, t0), nil)
	}
	later := t0.Add(time.Minute)
	if more := offers(s.Decide(later, dispatch.Ticked{}, nil)); len(more) != 0 {
		t.Fatalf("two are on their way there, and yet %v", more)
	}
	var v dispatch.View
	s.FillView(&v)
	at := slices.IndexFunc(v.TaskWaits, func(w dispatch.TaskWait) bool { return w.Task == "t0" })
	if at < 0 || v.TaskWaits[at].Cause != fleet.CauseAdmission || !strings.Contains(v.TaskWaits[at].Detail, "jammed") {
		t.Errorf("of t0 it is said: %+v", v.TaskWaits)
	}
	s.Decide(later, dispatch.ReliefChanged{}, nil)
	if more := offers(s.Decide(later.Add(time.Second), dispatch.Ticked{}, nil)); len(more) != 3 {
		t.Errorf("the jam is over: offers %v, want all three", more)
	}
}

// Fewer robots hold tasks while that is the remedy.
func TestReliefCapsTheRobotsWithTasks(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for i := range 6 {
		s.Decide(t0, free(fmt.Sprint("r", i), fleet.Vertex(i)), nil)
		s.Decide(t0, open(fmt.Sprint("t", i), fleet.Vertex(i+10)), nil)
	}
	s.Decide(t0, dispatch.ReliefChanged{Relief: congestion.Relief{Active: 2}}, nil)
	if got := offers(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil)); len(got) != 2 {
		t.Errorf("offers %v, want two", got)
	}
}
