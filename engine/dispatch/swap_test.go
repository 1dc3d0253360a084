package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

func recalls(out []dispatch.Effect) map[fleet.TaskID]fleet.RobotID {
	m := map[fleet.TaskID]fleet.RobotID{}
	for _, e := range out {
		if r, ok := e.(dispatch.Recall); ok {
			m[r.Task] = r.Robot
		}
	}
	return m
}

// hold lets a robot have a task that is open.
func hold(s *dispatch.State, now time.Time, m dispatch.TaskChanged, robot string, at fleet.Vertex) {
	s.Decide(now, dispatch.TaskChanged{State: task.Held, Robot: fleet.RobotID(robot), Spec: m.Spec}, nil)
	s.Decide(now, dispatch.RobotChanged{Robot: dispatch.Robot{ID: fleet.RobotID(robot), At: at, Battery: 1}}, nil)
}

func TestATaskGoesToABetterRobotThatHasBecomeFree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after  time.Duration // since the award
		near   fleet.Vertex  // where the other robot becomes free; the task's first errand is on 0, its robot came from 31
		errand int
		want   bool
	}{
		"much nearer":                      {0, 1, 0, true},
		"much nearer, a little later":      {5 * time.Second, 1, 0, true},
		"hardly nearer":                    {0, 24, 0, false},
		"its robot is almost there":        {25 * time.Second, 3, 0, false},
		"its robot has done the first one": {0, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			m := open("t", 0, func(s *task.Spec) { s.Errands = []fleet.Vertex{0, 40} })
			s.Decide(t0, free("far", 31), nil)
			s.Decide(t0, m, nil)
			s.Decide(t0, dispatch.Ticked{}, nil)
			hold(s, t0, m, "far", 31)
			if c.errand > 0 {
				s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: "far", Spec: m.Spec, Errand: c.errand}, nil)
			}
			now := t0.Add(c.after)
			s.Decide(now, free("near", c.near), nil)
			got := recalls(s.Decide(now, dispatch.Ticked{}, nil))
			if (got["t"] == "far") != c.want {
				t.Fatalf("recalls %v", got)
			}
			if !c.want {
				return
			}
			// Its robot has let go: the task is open again, and both robots are free.
			s.Decide(now, m, nil)
			s.Decide(now, free("far", 31), nil)
			if got := offers(s.Decide(now.Add(time.Second), dispatch.Ticked{}, nil)); got["t"] != "near" {
				t.Errorf("offers %v", got)
			}
		})
	}
}

func TestARobotThatWaitsForATaskInVainIsFreeAgain(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	m := open("t", 0, func(s *task.Spec) { s.Errands = []fleet.Vertex{0, 40} })
	s.Decide(t0, free("far", 31), nil)
	s.Decide(t0, m, nil)
	s.Decide(t0, dispatch.Ticked{}, nil)
	hold(s, t0, m, "far", 31)
	s.Decide(t0, free("near", 1), nil)
	if got := recalls(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 1 {
		t.Fatalf("recalls %v", got)
	}
	s.Decide(t0, open("other", 2), nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); len(got) != 0 {
		t.Fatalf("a robot that waits for a task was offered another: %v", got)
	}
	// The robot had begun: the task stays where it is.
	s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: "far", Spec: m.Spec, Errand: 1}, nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["other"] != "near" {
		t.Errorf("offers %v", got)
	}
}

func TestAnUrgentTaskTakesTheRobotOfOneThatCanWait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		urgent, other uint8
		errand        int
		want          bool
	}{
		"far more urgent":    {9, 0, 0, true},
		"a little more":      {9, 7, 0, false},
		"not urgent at all":  {4, 0, 0, false},
		"it has been begun":  {9, 0, 1, false},
		"just enough, and 5": {5, 2, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			m := open("t", 31, func(s *task.Spec) { s.Priority, s.Errands = c.other, []fleet.Vertex{31, 40} })
			s.Decide(t0, free("a", 0), nil)
			s.Decide(t0, m, nil)
			s.Decide(t0, dispatch.Ticked{}, nil)
			hold(s, t0, m, "a", 0)
			if c.errand > 0 {
				s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: "a", Spec: m.Spec, Errand: c.errand}, nil)
			}
			u := open("u", 2, func(s *task.Spec) { s.Priority = c.urgent })
			s.Decide(t0, u, nil)
			got := recalls(s.Decide(t0, dispatch.Ticked{}, nil))
			if (got["t"] == "a") != c.want {
				t.Fatalf("recalls %v", got)
			}
			if again := recalls(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil)); len(again) != 0 {
				t.Errorf("recalled again before an answer: %v", again)
			}
			if !c.want {
				return
			}
			s.Decide(t0, m, nil)
			s.Decide(t0, free("a", 0), nil)
			if got := offers(s.Decide(t0.Add(time.Second), dispatch.Ticked{}, nil)); got["u"] != "a" {
				t.Errorf("offers %v", got)
			}
		})
	}
}

// A robot that has not let go is asked again after a while, and a task that found nobody to ask looks again.
func TestAnUrgentTaskLooksAgainForARobot(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	u := open("u", 2, func(s *task.Spec) { s.Priority = 9 })
	s.Decide(t0, u, nil)
	m := open("t", 31, func(s *task.Spec) { s.Errands = []fleet.Vertex{31, 40} })
	s.Decide(t0, free("a", 0), nil)
	s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: "a", Spec: m.Spec}, nil)
	hold(s, t0, m, "a", 0)
	var at []time.Duration
	for d := time.Duration(0); d < 40*time.Second; d += time.Second {
		if got := recalls(s.Decide(t0.Add(d), dispatch.Ticked{}, nil)); got["t"] == "a" { // it does not let go
			at = append(at, d)
		}
	}
	if len(at) != 2 || at[1]-at[0] < 10*time.Second {
		t.Errorf("recalled after %v, want twice, the second time after a while", at)
	}
}

// Robots become free and tasks come for half an hour, tasks being let go as soon as they are recalled: no task changes hands
// more than twice, and few do at all.
func TestTasksDoNotFlipBetweenRobots(t *testing.T) {
	t.Parallel()
	g := hall(t)
	s := dispatch.New(roadmap.NewTableMap(g, 10), 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	rng := rand.New(rand.NewPCG(1, 1))
	anywhere := func() fleet.Vertex { return fleet.Vertex(rng.IntN(len(g.Vertices))) }
	specs, flips := map[fleet.TaskID]dispatch.TaskChanged{}, map[fleet.TaskID]int{}
	at, busy := map[fleet.RobotID]fleet.Vertex{}, map[fleet.RobotID]time.Time{}
	has := map[fleet.RobotID]fleet.TaskID{}
	for i := range 40 {
		m := free(fmt.Sprintf("r%02d", i), anywhere())
		at[m.Robot.ID] = m.Robot.At
		s.Decide(t0, m, nil)
	}
	awards, n := 0, 0
	for now := t0; now.Before(t0.Add(30 * time.Minute)); now = now.Add(time.Second) {
		if rng.IntN(8) == 0 {
			n++
			m := open(fmt.Sprintf("t%04d", n), anywhere(), func(s *task.Spec) { s.CreatedAt, s.Errands = now, append(s.Errands, anywhere()) })
			specs[m.Spec.ID] = m
			s.Decide(now, m, nil)
		}
		for i := range 40 {
			r := fleet.RobotID(fmt.Sprintf("r%02d", i))
			if id := has[r]; id != "" && !now.Before(busy[r]) {
				delete(has, r)
				at[r] = specs[id].Spec.Errands[1]
				s.Decide(now, dispatch.TaskChanged{State: task.Closed, Robot: r, Spec: specs[id].Spec}, nil)
				s.Decide(now, free(string(r), at[r]), nil)
			}
		}
		out := s.Decide(now, dispatch.Ticked{}, nil)
		for _, e := range out {
			switch e := e.(type) {
			case dispatch.Offer:
				awards++
				m := specs[e.Task]
				hold(s, now, m, string(e.Robot), at[e.Robot])
				has[e.Robot] = e.Task
				busy[e.Robot] = now.Add(time.Duration(driven(g, at[e.Robot], &m.Spec)*1.3) * time.Second)
			case dispatch.Recall:
				flips[e.Task]++
				if has[e.Robot] != e.Task {
					t.Fatalf("task %s recalled from robot %s, which has %s", e.Task, e.Robot, has[e.Robot])
				}
				delete(has, e.Robot)
				s.Decide(now, specs[e.Task], nil)
				s.Decide(now, free(string(e.Robot), at[e.Robot]), nil)
			}
		}
	}
	total := 0
	for id, k := range flips {
		total += k
		if k > 2 {
			t.Errorf("task %s changed hands %d times", id, k)
		}
	}
	t.Logf("%d tasks, %d awards, %d changed hands", n, awards, total)
	if total == 0 || total > n/4 {
		t.Errorf("%d of %d tasks changed hands", total, n)
	}
}
