package dispatch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

func TestATaskThatNobodyCanDoChangesNoChoice(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	ghost := func(s *task.Spec) { s.Fleet = "none" }
	for _, m := range []dispatch.Msg{free("a", 30), free("b", 1), open("t1", 0), open("t2", 5, ghost), open("t3", 5, ghost)} {
		s.Decide(t0, m, nil)
	}
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t1"] != "b" || len(got) != 1 {
		t.Errorf("offers %v, want the near robot", got)
	}
}

func TestABacklogThatNobodyCanDoHidesNothing(t *testing.T) {
	t.Parallel()
	for name, ghost := range map[string]func(*task.Spec){
		"for a robot that is not there": func(s *task.Spec) { s.Robot, s.Priority = "ghost", 9 },
		"for a busy fleet":              func(s *task.Spec) { s.Fleet, s.Priority = "forks", 9 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := fresh(t)
			for i := range 2 * dispatch.MaxBatch {
				s.Decide(t0, open(fmt.Sprint("ghost", i), 1, ghost), nil)
			}
			fork := free("fork", 1)
			fork.Robot.Fleet = "forks"
			for _, m := range []dispatch.Msg{open("old", 31), free("a", 0), fork} {
				s.Decide(t0, m, nil)
			}
			if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["old"] == "" {
				t.Errorf("offers %v", got)
			}
		})
	}
}

func TestATaskGoesToARobotThatCanDoIt(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	needs := func(payload string) func(*task.Spec) { return func(s *task.Spec) { s.Payload = []byte(payload) } }
	able := free("able", 31)
	able.Robot.Capabilities = []string{"lift", "cold", "tall"}
	for _, m := range []dispatch.Msg{
		free("near", 1), able, open("t1", 1, needs(`{"requires":["tall","lift"]}`)), open("t2", 2, needs(`{"requires":["fly"]}`)),
	} {
		s.Decide(t0, m, nil)
	}
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t1"] != "able" || len(got) != 1 {
		t.Errorf("offers %v", got)
	}
}

// A far task is served though nearer ones keep coming: it goes before all that come later by five times the way there.
func TestAFarTaskIsServedWhileNearOnesKeepComing(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for i := range 4 {
		s.Decide(t0, open(fmt.Sprint("ghost", i), 1, func(s *task.Spec) { s.Robot = "ghost"; s.Priority = 9 }), nil)
	}
	s.Decide(t0, open("old", 31), nil)
	n := 0
	for now := t0; now.Before(t0.Add(10 * time.Minute)); now = now.Add(10 * time.Second) {
		s.Decide(now, free("a", 0), nil)
		for want := 20 + int(now.Sub(t0)/(10*time.Second)); n < want; n++ {
			s.Decide(now, open(fmt.Sprintf("new%05d", n), 1, func(s *task.Spec) { s.CreatedAt = now }), nil)
		}
		for id, r := range offers(s.Decide(now, dispatch.Ticked{}, nil)) {
			if id == "old" {
				return
			}
			s.Decide(now, dispatch.TaskChanged{State: task.Held, Robot: r, Spec: task.Spec{ID: id}}, nil)
			s.Decide(now, dispatch.TaskChanged{State: task.Closed, Robot: r, Spec: task.Spec{ID: id}}, nil)
		}
	}
	t.Error("not served in ten minutes")
}

func TestRobotsOfAnotherPartHideNobody(t *testing.T) {
	t.Parallel()
	s, g := parted(t)
	for i := range 40 {
		s.Decide(t0, free(fmt.Sprintf("u%02d", i), fleet.Vertex(32+i%32)), nil)
	}
	s.Decide(t0, free("z", 31), nil)
	s.Decide(t0, open("t", 0), nil)
	if got := offers(s.Decide(t0, dispatch.Ticked{}, nil)); got["t"] != "z" {
		t.Errorf("offers %v on %d vertices", got, len(g.Vertices))
	}
}

// parted is a floor of two rows with a wall between them: vertices 0 to 31 and 32 to 63.
func parted(t *testing.T) (*dispatch.State, *roadmap.Graph) {
	row := "................................\n"
	g := grid(t, 1, "type octile\nheight 3\nwidth 32\nmap\n"+row+"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"+row)
	s := dispatch.New(roadmap.NewTableMap(g, 100), 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	return s, g
}

// As long as a free robot can do an open task, a batch awards something or makes 40 tables that were not there: n tasks
// are awarded, as far as they can be, in 2n batches at most. Twin: every pair, by every table.
func TestNoRobotIdlesWhileItCouldDoATask(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := "type octile\nheight 6\nwidth 6\nmap\n"
		for range 6 {
			for range 6 {
				text += rapid.SampledFrom([]string{".", ".", "@"}).Draw(r, "cell")
			}
			text += "\n"
		}
		d, _ := roadmap.Import("movingai", []byte(text), 1)
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1})
		if err != nil {
			r.Skip("no map")
		}
		for i := range g.Lanes { // one-way streets
			g.Lanes[i].Closed = rapid.IntRange(0, 5).Draw(r, "closed") == 0
		}
		s := dispatch.New(roadmap.NewTableMap(g, 100), 1)
		s.Decide(t0, dispatch.Restored{Graph: g}, nil)
		vertex := rapid.IntRange(0, len(g.Vertices)-1)
		fleets := rapid.SampledFrom([]string{"", "", "x", "y"})
		robots, tasks := map[fleet.RobotID]dispatch.Robot{}, map[fleet.TaskID]task.Spec{}
		for i := range rapid.IntRange(0, 30).Draw(r, "robots") {
			m := free(fmt.Sprint("r", i), fleet.Vertex(vertex.Draw(r, "at")))
			m.Robot.Fleet, m.Robot.Battery = fleets.Draw(r, "fleet"), rapid.SampledFrom([]float64{.1, 1}).Draw(r, "battery")
			robots[m.Robot.ID] = m.Robot
			s.Decide(t0, m, nil)
		}
		n := rapid.IntRange(0, 60).Draw(r, "tasks")
		for i := range n {
			m := open(fmt.Sprint("t", i), fleet.Vertex(vertex.Draw(r, "to")), func(s *task.Spec) {
				s.Fleet, s.Priority = fleets.Draw(r, "wish"), uint8(rapid.IntRange(0, 9).Draw(r, "priority"))
				s.Robot = rapid.SampledFrom([]fleet.RobotID{"", "", "", "r1", "ghost"}).Draw(r, "robot")
			})
			tasks[m.Spec.ID] = m.Spec
			s.Decide(t0, m, nil)
		}
		for i := range 2*n + 1 {
			for id, by := range offers(s.Decide(t0.Add(time.Duration(i)*time.Second), dispatch.Ticked{}, nil)) {
				delete(tasks, id)
				delete(robots, by)
				s.Decide(t0, dispatch.TaskChanged{State: task.Held, Robot: by, Spec: task.Spec{ID: id}}, nil)
				s.Decide(t0, dispatch.RobotChanged{Robot: dispatch.Robot{ID: by, At: 0}}, nil)
			}
		}
		tables := roadmap.NewTableMap(g, 100)
		for id, w := range robots {
			for _, j := range tasks {
				able := (j.Robot == "" || j.Robot == id) && (j.Fleet == "" || j.Fleet == w.Fleet) && w.Battery >= .15
				if able && tables.Get(j.Errands[0]).To(w.At) != roadmap.Unreachable {
					r.Fatalf("robot %s on %d idles, task %s to %d is open", id, w.At, j.ID, j.Errands[0])
				}
			}
		}
	})
}

// counted says which tables are there and counts those that are made.
type counted struct {
	roadmap.TableMap
	made int
}

func (c *counted) Get(goal fleet.Vertex) *roadmap.Table {
	if !c.Cached(goal) {
		c.made++
	}
	return c.TableMap.Get(goal)
}

func TestABatchMakesFewTablesOfALargeMap(t *testing.T) {
	t.Parallel()
	d, report := roadmap.Import("movingai", []byte("type octile\nheight 194\nwidth 194\nmap\n"+strings.Repeat(strings.Repeat(".", 194)+"\n", 194)), 1)
	if d == nil {
		t.Fatalf("%+v", report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	tables := &counted{TableMap: *roadmap.NewTableMap(g, 1000)}
	s := dispatch.New(tables, 1)
	s.Decide(t0, dispatch.Restored{Graph: g}, nil)
	for i := range 120 {
		s.Decide(t0, free(fmt.Sprintf("r%03d", i), fleet.Vertex(i)), nil)
		s.Decide(t0, open(fmt.Sprintf("t%03d", i), fleet.Vertex(127-i)), nil)
	}
	n := len(offers(s.Decide(t0, dispatch.Ticked{}, nil)))
	if most := 1_500_000 / len(g.Vertices); most != 39 || tables.made > most {
		t.Errorf("%d tables in a batch", tables.made)
	}
	if n != 120 {
		t.Errorf("%d of 120 tasks offered at once", n)
	}
}
