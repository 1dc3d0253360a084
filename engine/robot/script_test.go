package robot_test

import (
	"flag"
	"strconv"
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/sim/script"
)

var update = flag.Bool("update", false, "write down what the core does")

// Each script is one robot, r1, on a grid; what it records is applied at once. Vertices are numbered along the rows.
func TestScripts(t *testing.T) {
	t.Parallel()
	script.Files(t, *update, scripted)
}

// MapActivated in a script gives rows of the new map; one with none is the script's own.
type MapActivated struct {
	Rows    []string
	Version int
}

// Restarted makes the robot anew from what is recorded, as a restart of its actor does.
type Restarted struct{ robot.Restored }

func scripted(t *testing.T, rows []string) script.Core {
	build := func(rows []string, version int) *roadmap.Graph {
		head := "type octile\nheight " + strconv.Itoa(len(rows)) + "\nwidth " + strconv.Itoa(len(rows[0])) + "\nmap\n"
		d, r := roadmap.Import("movingai", []byte(head+strings.Join(rows, "\n")+"\n"), 1)
		if d == nil {
			t.Fatal(r)
		}
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: version, MaxZone: 8})
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Zones {
			g.Zones[i].ID = fleet.ZoneID("zone-" + strconv.Itoa(i))
		}
		return g
	}
	l := &live{State: robot.New(script.Epoch(), robot.Rules{}), now: script.Epoch()}
	fold := func() {
		l.State = robot.New(l.now, robot.Rules{})
		for _, e := range l.log {
			l.Apply(l.now, e)
		}
	}
	graph := build(rows, 1)
	return script.Core{
		Messages: []any{
			robot.RegisterRequested{},
			robot.RemoveRequested{},
			&robot.StatusReported{},
			robot.Progressed{},
			robot.LinkOpened{},
			robot.LinkClosed{},
			robot.Granted{},
			robot.Refused{},
			robot.ZoneRestarted{},
			robot.TaskAwarded{},
			robot.TaskWithdrawn{},
			robot.Sent{},
			robot.CommandRequested{},
			robot.CommandAcknowledged{},
			robot.LaneLimited{},
			robot.SamplingChanged{},
			robot.Woke{},
			MapActivated{},
			Restarted{},
		},
		Decide: func(now time.Time, m any) (effects []any) {
			l.now = now
			var msg robot.Msg
			switch m := m.(type) {
			case MapActivated:
				if m.Rows != nil {
					graph = build(m.Rows, m.Version)
				}
				msg = robot.MapActivated{Graph: graph}
			case Restarted:
				before := l.Digest()
				fold()
				if l.Digest() != before {
					t.Error("the robot is another after a restart")
				}
				l.tell(robot.MapActivated{Graph: graph})
				msg = m.Restored
			default:
				msg = m.(robot.Msg) //nolint:forcetypeassert // the list above
			}
			for _, e := range l.tell(msg) {
				effects = append(effects, e)
			}
			return effects
		},
		State: func() any {
			v := l.view()
			return struct {
				Connection fleet.Connection
				Verdict    string
				At, Goal   fleet.Vertex
				Base       []fleet.Vertex
				Task       fleet.TaskID
				Window     int
			}{v.Connection, l.Verdict(), v.Vertex, v.Goal, v.Base, v.Task, v.Window}
		},
	}
}
