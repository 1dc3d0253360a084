package roadmap_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// drawnMap is a small map, a grid as often as not.
func drawnMap(t *rapid.T) *roadmap.Graph {
	format, text := "starling", ""
	if rapid.Bool().Draw(t, "grid") {
		var rows []string
		side := rapid.IntRange(2, 60).Draw(t, "side")
		for range rapid.IntRange(2, 5).Draw(t, "rows") {
			row := make([]byte, side)
			for i := range row {
				row[i] = "........@"[rapid.IntRange(0, 8).Draw(t, "cell")]
			}
			rows = append(rows, string(row))
		}
		format, text = "movingai", gridText(rows...)
	} else {
		n := rapid.IntRange(2, 14).Draw(t, "n")
		var vertices, lanes []string
		for i := range n {
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%g,"y":%d}`, i, rapid.Float64Range(0, 40).Draw(t, "x"), 3*i))
			for range rapid.IntRange(0, 3).Draw(t, "lanes") {
				lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d","speed_limit_mps":%g,"closed":%v}`, i, rapid.IntRange(0, n-1).Draw(t, "to"),
					rapid.Float64Range(0.1, 2).Draw(t, "speed"), rapid.IntRange(0, 4).Draw(t, "closed") == 0))
			}
		}
		text = graphText(vertices, lanes, nil)
	}
	d, _ := roadmap.Import(format, []byte(text), 1)
	if d == nil {
		t.Skip("no map")
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID})
	if err != nil {
		t.Skip("no map")
	}
	return g
}

// costs are those of all ways to goal, by relaxing every lane until none gives more (Bellman and Ford).
func costs(g *roadmap.Graph, lane func(l int32) (uint16, bool), goal fleet.Vertex) []int {
	cost := make([]int, len(g.Vertices))
	for v := range cost {
		cost[v] = int(roadmap.Unreachable)
	}
	cost[goal] = 0
	for again := true; again; {
		again = false
		for i := range g.Lanes {
			l := &g.Lanes[i]
			c, open := lane(int32(i))
			if to := cost[l.To] + int(c); open && to < cost[l.From] {
				cost[l.From], again = to, true
			}
		}
	}
	return cost
}

// Tables that are asked here and there, while lanes are closed, slowed, crowded and freed, and vertices kept out, know at
// every moment what a search from scratch finds.
func TestTablesThatGrowAndAreRevisedAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := drawnMap(t)
		if len(g.Lanes) == 0 {
			t.Skip("no lanes")
		}
		m := roadmap.NewTableMap(g, 3)
		overlay := map[int32]roadmap.LaneOverlay{}
		vertex := rapid.IntRange(0, len(g.Vertices)-1)
		lane := rapid.Int32Range(0, int32(len(g.Lanes)-1))
		goals := []fleet.Vertex{fleet.Vertex(vertex.Draw(t, "goal")), fleet.Vertex(vertex.Draw(t, "goal"))}
		for range rapid.IntRange(1, 25).Draw(t, "moves") {
			goal := goals[rapid.IntRange(0, 1).Draw(t, "which")]
			switch rapid.IntRange(0, 7).Draw(t, "move") {
			case 0:
				l := lane.Draw(t, "lane")
				overlay[l] = roadmap.LaneOverlay{Closed: rapid.Bool().Draw(t, "shut"), SpeedMPS: rapid.Float64Range(0, 2).Draw(t, "limit")}
				m.Lane(l, overlay[l])
			case 1:
				m.KeepOut("z", rapid.SliceOfN(rapid.Map(vertex, func(v int) fleet.Vertex { return fleet.Vertex(v) }), 0, 2).Draw(t, "kept"))
			case 2:
				flow := map[int32]uint16{}
				for range rapid.IntRange(0, 6).Draw(t, "crowded") {
					l := lane.Draw(t, "lane")
					flow[l] = g.LaneCost(l) * uint16(rapid.IntRange(1, 6).Draw(t, "times"))
				}
				m.Weigh(flow)
			case 3, 4:
				m.Reach(goal, fleet.Vertex(vertex.Draw(t, "from")))
			default:
				from, table := vertex.Draw(t, "from"), m.Get(goal)
				want := costs(g, func(l int32) (uint16, bool) { return table.Lane(g, l) }, goal)
				if c, known := table.Known(fleet.Vertex(from)); known && int(c) != want[from] {
					t.Fatalf("the table knows that the way from %d to %d costs %d, it costs %d", from, goal, c, want[from])
				}
				if c := table.To(fleet.Vertex(from)); int(c) != want[from] {
					t.Fatalf("the way from %d to %d costs %d, not %d", from, goal, c, want[from])
				}
				if c, known := m.Get(goal).Known(fleet.Vertex(from)); !known || int(c) != want[from] {
					t.Fatalf("what has been asked for, %d, is not kept: %d, %v", want[from], c, known)
				}
			}
		}
		for _, goal := range goals {
			table := m.Get(goal)
			for v, want := range costs(g, func(l int32) (uint16, bool) { return table.Lane(g, l) }, goal) {
				if c := table.To(fleet.Vertex(v)); int(c) != want {
					t.Fatalf("in the end the way from %d to %d costs %d, not %d", v, goal, c, want)
				}
			}
		}
	})
}

// A lane far behind a robot does not make its table start anew.
func TestAChangeLeavesWhatItDoesNotTouch(t *testing.T) {
	t.Parallel()
	g := build(t, "movingai", gridText("............", "............"))
	m := roadmap.NewTableMap(g, 1)
	at := func(col int) fleet.Vertex { return fleet.Vertex(12 + col) } // the second row runs west
	m.Reach(at(0), at(11))
	lane, _ := g.Lane(at(9), at(8))
	m.Weigh(map[int32]uint16{lane: 40})
	table := m.Get(at(0))
	for col, want := range map[int]bool{0: true, 5: true, 8: true, 11: false} {
		if _, known := table.Known(at(col)); known != want {
			t.Errorf("column %d is known: %v", col, known)
		}
	}
	if c, open := table.Lane(g, lane); c != 40 || !open {
		t.Errorf("the lane costs %d, open: %v", c, open)
	}
	m.Weigh(nil)
	if _, known := m.Get(at(0)).Known(at(8)); !known {
		t.Error("column 8 is not known any more when the lane is free again")
	}
}

// When more is asked than may be searched in a second, tables are estimates; a second later they are not.
func TestAStormOfGoalsDoesNotStallARound(t *testing.T) {
	t.Parallel()
	g := build(t, "lorr", lorrMap(t, "sortation_2000/sortation_large.map"))
	m := roadmap.NewTableMap(g, 5000)
	now := time.Unix(0, 0)
	m.Refill(now)
	n := len(g.Vertices)
	exact, guess := 0, fleet.NoVertex
	for i := range 3000 {
		goal := fleet.Vertex(i * 7 % n)
		if table := m.Reach(goal, fleet.Vertex((i*7919+n/2)%n)); !table.Coarse() {
			exact++
		} else if guess == fleet.NoVertex {
			guess = goal
			if c := table.To(goal); c != 0 {
				t.Errorf("the goal itself is %d from the goal", c)
			}
		}
	}
	if exact < 100 || guess == fleet.NoVertex {
		t.Fatalf("%d of 3000 tables are exact", exact)
	}
	m.Refill(now.Add(2 * time.Second))
	if m.Reach(guess, 0).Coarse() {
		t.Error("the table is an estimate still")
	}
}
