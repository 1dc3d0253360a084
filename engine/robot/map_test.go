package robot_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// narrow is another map: the vertices "0" to "3" alone are on both.
func narrow(t testing.TB) *roadmap.Graph {
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 1\nwidth 4\nmap\n....\n"), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "00000000-0000-4000-8000-000000000001", Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestATaskIsFoundAgainOnAnotherMap(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		errand  fleet.Vertex
		places  []string
		goal    fleet.Vertex
		refused bool
	}{
		"by the vertex's id":   {3, nil, 3, false},
		"by the client's name": {30, []string{"2"}, 2, false}, // the number alone is not on the new map
		"gone":                 {9, nil, 0, true},
		"gone by its name":     {3, []string{"9"}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := ready(t)
			award := robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{c.errand}, Places: c.places}
			l.tell(award)
			out := l.tell(robot.MapActivated{Graph: narrow(t)})
			told := all[robot.TellDispatcher](out)
			if len(told) == 0 {
				t.Error("the dispatcher is not told where the robot is now")
			}
			refusals := all[robot.RefusedTask](out)
			if (len(refusals) > 0) != c.refused || len(refusals) > 0 && (!refusals[0].Fatal || refusals[0].Task != "t") {
				t.Fatalf("refused %+v", refusals)
			}
			if v := l.view(); !c.refused && v.Goal != c.goal {
				t.Errorf("drives to %d, want %d", v.Goal, c.goal)
			}
			fresh := &live{State: robot.New(t0, robot.Rules{}), now: t0}
			fresh.tell(robot.MapActivated{Graph: narrow(t)})
			fresh.tell(robot.RegisterRequested{Spec: robot.Spec{ID: "r1", Protocol: "link", MaxSpeedMPS: 1}})
			fresh.tell(robot.LinkOpened{Session: 1, BootID: "b1", At: 0})
			refusals = all[robot.RefusedTask](fresh.tell(award))
			if v := fresh.view(); c.places != nil && !c.refused && v.Goal != c.goal {
				t.Errorf("awarded on the new map it drives to %d, want %d", v.Goal, c.goal)
			} else if c.refused && c.errand > 3 && len(refusals) == 0 {
				t.Error("awarded on the new map it is not refused")
			}
		})
	}
}

func TestACommandToTravelEndsWithItsMap(t *testing.T) {
	t.Parallel()
	l, _ := ready(t)
	l.command("g", fleet.CommandGoTo, 20)
	l.tell(robot.CommandAcknowledged{ID: "g", Stage: fleet.StageAcknowledged})
	l.tell(robot.MapActivated{Graph: narrow(t)})
	if e, ok := l.log[len(l.log)-1].(robot.CommandStaged); !ok || e.ID != "g" || e.Stage != fleet.StageFailed {
		t.Errorf("%+v", l.log[len(l.log)-1])
	}
	if v := l.view(); v.Goal != fleet.NoVertex {
		t.Errorf("still drives to %d", v.Goal)
	}
}

// command asks for a command that expires after 30 s.
func (l *live) command(id fleet.CommandID, k fleet.CommandKind, v fleet.Vertex) []robot.Effect {
	return l.tell(robot.CommandRequested{Command: robot.Command{ID: id, Kind: k, Vertex: v, At: l.now, ExpiresAt: l.now.Add(30 * time.Second)}})
}

func TestNoMessagePanicsWhileMapsChange(t *testing.T) {
	t.Parallel()
	wide, thin := graph(t), narrow(t)
	maps := []*roadmap.Graph{wide, thin, nil}
	rapid.Check(t, func(r *rapid.T) {
		l, _ := ready(t)
		vertex := rapid.SampledFrom([]fleet.Vertex{-1, 0, 1, 2, 3, 4, 9, 31, 32, 4711})
		for i := range rapid.IntRange(1, 40).Draw(r, "steps") {
			v, w := vertex.Draw(r, "v"), vertex.Draw(r, "w")
			switch rapid.IntRange(0, 8).Draw(r, "what") {
			case 0:
				l.tell(robot.MapActivated{Graph: rapid.SampledFrom(maps).Draw(r, "map")})
			case 1:
				l.tell(robot.TaskAwarded{Task: "t", Errands: []fleet.Vertex{v, w}, First: rapid.IntRange(-1, 3).Draw(r, "first")})
			case 2:
				l.tell(robot.Progressed{BootID: "b1", Number: uint64(i + 1), Vertex: v, At: l.now})
			case 3:
				l.grant(1<<62, v, w)
			case 4:
				l.tell(robot.LinkOpened{Session: uint64(i + 2), BootID: "b1", At: v, Base: []fleet.Vertex{w}})
			case 5:
				l.command("g", fleet.CommandGoTo, v)
				l.tell(robot.CommandAcknowledged{ID: "g", Stage: fleet.StageAcknowledged})
			case 6:
				l.now = l.now.Add(20 * time.Second)
				l.tell(robot.Woke{})
			case 7:
				l.tell(status(uint64(i+2), l.now))
			case 8:
				l.tell(robot.TaskWithdrawn{Task: "t"})
			}
			if a := l.view(); a.Vertex != fleet.NoVertex && (a.MapID == "" || a.MapVersion == 2 && a.Vertex > 3) {
				r.Fatalf("stands on %d of map version %d", a.Vertex, a.MapVersion)
			}
		}
	})
}
