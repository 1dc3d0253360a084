package roadmap_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// TestARouteTakesTheCheapestLanesThatAreOpen: from a to the goal there are a slow shortcut by way of b, which is near the
// goal, and a quick way by way of c.
func TestARouteTakesTheCheapestLanesThatAreOpen(t *testing.T) {
	t.Parallel()
	text := func(more string) string {
		return `{"vertices":[{"id":"a","x":0,"y":0},{"id":"b","x":10,"y":10},{"id":"c","x":0,"y":-10},{"id":"goal","x":20,"y":0}],"lanes":[
			{"from":"a","to":"b","bidirectional":true,"speed_limit_mps":0.1` + more + `},{"from":"b","to":"goal","bidirectional":true},
			{"from":"a","to":"c","bidirectional":true},{"from":"c","to":"goal","bidirectional":true}]}`
	}
	ids := func(g *roadmap.Graph, vs []fleet.Vertex) string {
		s := ""
		for _, v := range vs {
			s += g.Vertices[v].ID + " "
		}
		return s
	}
	g := build(t, "starling", text(""))
	a, _ := g.Find("a")
	b, _ := g.Find("b")
	goal, _ := g.Find("goal")
	m := roadmap.NewTableMap(g, 4)
	if r := ids(g, g.Route(m.Get(goal), a, 9)); r != "a c goal " {
		t.Errorf("beside a slow lane: %s", r)
	}
	ab, _ := g.Lane(a, b)
	m.Lane(ab, roadmap.LaneOverlay{SpeedMPS: 1})
	if r := ids(g, g.Route(m.Get(goal), a, 9)); r != "a b goal " {
		t.Errorf("over a lane that is slow no more: %s", r)
	}
	if cost, open := m.Get(goal).Lane(g, ab); cost != 141 || !open {
		t.Errorf("the lane costs %d, open %v", cost, open)
	}
	m.Lane(ab, roadmap.LaneOverlay{Closed: true, SpeedMPS: 1})
	if r := ids(g, g.Route(m.Get(goal), a, 9)); r != "a c goal " {
		t.Errorf("beside a lane closed at run time: %s", r)
	}
	shut, report := roadmap.Import("starling", []byte(text(`,"closed":true`)), 0)
	g, err := roadmap.Build(shut, roadmap.BuildOptions{MapID: mapID})
	if err != nil {
		t.Fatal(err, report)
	}
	if r := ids(g, g.Route(roadmap.NewTableMap(g, 4).Get(goal), a, 9)); r != "a c goal " {
		t.Errorf("beside a lane closed in the map: %s", r)
	}
}

func TestARouteCostsWhatItsTableSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "n")
		var vertices, lanes []string
		for i := range n {
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":%d}`, i, rapid.IntRange(0, 40).Draw(t, "x"), 3*i))
			for range rapid.IntRange(0, 3).Draw(t, "lanes") {
				lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d","speed_limit_mps":%g,"closed":%v}`, i, rapid.IntRange(0, n-1).Draw(t, "to"),
					rapid.Float64Range(0.1, 2).Draw(t, "speed"), rapid.IntRange(0, 4).Draw(t, "closed") == 0))
			}
		}
		d, _ := roadmap.Import("starling", []byte(graphText(vertices, lanes, nil)), 0)
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID})
		if err != nil {
			t.Fatal(err)
		}
		m := roadmap.NewTableMap(g, 1)
		for l := range g.Lanes {
			if rapid.IntRange(0, 3).Draw(t, "changed") == 0 {
				m.Lane(int32(l), roadmap.LaneOverlay{Closed: rapid.Bool().Draw(t, "shut"), SpeedMPS: rapid.Float64Range(0, 1).Draw(t, "limit")})
			}
		}
		goal := fleet.Vertex(rapid.IntRange(0, n-1).Draw(t, "goal"))
		table := m.Get(goal)
		for from := range n {
			want := table.To(fleet.Vertex(from))
			route := g.Route(table, fleet.Vertex(from), 99)
			if want == roadmap.Unreachable {
				if route != nil {
					t.Fatalf("a route where there is none: %v", route)
				}
				continue
			}
			sum := 0
			for i := 1; i < len(route); i++ {
				l := slices.IndexFunc(g.Lanes, func(l roadmap.Lane) bool { return l.From == route[i-1] && l.To == route[i] })
				cost, open := table.Lane(g, int32(l))
				if !open {
					t.Fatalf("the route %v drives a closed lane", route)
				}
				sum += int(cost)
			}
			if route[len(route)-1] != goal || sum != int(want) {
				t.Fatalf("the route %v costs %d, the table says %d", route, sum, want)
			}
		}
	})
}
