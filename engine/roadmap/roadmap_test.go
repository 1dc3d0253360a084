package roadmap_test

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

const mapID = fleet.MapID("0b9f5a1e-0000-4000-8000-000000000001")

func build(t testing.TB, format, text string) *roadmap.Graph {
	t.Helper()
	d, r := roadmap.Import(format, []byte(text), 1)
	if !r.OK() {
		t.Fatalf("import: %+v", r.Errors)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func gridText(rows ...string) string {
	return fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n%s\n", len(rows), len(rows[0]), strings.Join(rows, "\n"))
}

func lorrMap(t testing.TB, path string) string {
	b, err := os.ReadFile("../../testdata/lorr/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAGridCellIsWhereTheContractSays(t *testing.T) {
	t.Parallel()
	g := build(t, "movingai", gridText("...", ".@.", "..."))
	v, ok := g.Find("5")
	if !ok || g.Vertices[v].X != 2.5 || g.Vertices[v].Y != 1.5 {
		t.Fatalf("cell 5: %v %+v, want centre 2.5, 1.5", ok, g.Vertices[v])
	}
	if _, ok := g.Find("4"); ok {
		t.Error("a blocked cell is a vertex")
	}
	if n, ok := g.Nearest(2.4, 1.6, 1); !ok || n != v {
		t.Errorf("nearest to (2.4, 1.6) is %d, want %d", n, v)
	}
}

func TestRealMapsCanBeActivated(t *testing.T) {
	t.Parallel()
	for _, m := range []string{"random_100/random-32-32-20.map", "sortation_2000/sortation_large.map", "fulfill_2500/warehouse_long_corridor_large.map"} {
		g := build(t, "lorr", lorrMap(t, m))
		for i := range g.Zones {
			z := &g.Zones[i]
			if len(z.Vertices) > 1024 {
				t.Errorf("%s: zone %s has %d vertices", m, z.Name, len(z.Vertices))
			}
		}
		t.Logf("%s: %d vertices, %d lanes, %d zones, %d colours", m, len(g.Vertices), len(g.Lanes), len(g.Zones), g.Colours())
	}
}

func TestFaultsOfAGraphAreNamedAllAtOnce(t *testing.T) {
	t.Parallel()
	_, r := roadmap.Import("starling", []byte(`{"vertices":[{"id":"a","x":0,"y":0},{"id":"b","x":1,"y":0},{"id":"b","x":2,"y":0},{"id":"lone","x":9,"y":9},{"id":"a2","x":0,"y":0}],
		"lanes":[{"from":"a","to":"b","bidirectional":true},{"from":"a","to":"a"},{"from":"a","to":"nowhere"},{"from":"a","to":"b"},{"from":"b","to":"a2"},{"from":"a","to":"a2"},{"from":"b","to":"lone","length_m":1}]}`), 0)
	got := map[string]bool{}
	for _, f := range r.Errors {
		got[f.Code] = true
	}
	for _, want := range []string{roadmap.CodeDuplicateID, roadmap.CodeSelfLoop, roadmap.CodeUnknownVertex, roadmap.CodeDuplicateLane, roadmap.CodeZeroLength, roadmap.CodeWrongLength, roadmap.CodeOneWayTrap} {
		if !got[want] {
			t.Errorf("no %s in %+v", want, r.Errors)
		}
	}
}

func TestWhatTheAPIShowsOfAVersionCanBeUploadedAgainButNotWithoutCoordinates(t *testing.T) {
	t.Parallel()
	d, r := roadmap.Import("starling", []byte(`{"vertices":[{"id":"a","index":0,"name":"","x":0,"y":0},{"id":"b","index":1,"name":"","x":1,"y":0}],
		"lanes":[{"id":"5e1c9b1e-0000-4000-8000-000000000000","from":"a","to":"b","length_m":1,"closed":false}]}`), 0)
	if d == nil || len(d.Lanes) != 1 {
		t.Errorf("%+v", r)
	}
	_, r = roadmap.Import("starling", []byte(`{"vertices":[{"id":"a","y":0},{"id":"b","x":1,"y":0}],"lanes":[]}`), 0)
	if len(r.Errors) == 0 || r.Errors[0].Code != roadmap.CodeNotANumber || r.Errors[0].VertexIDs[0] != "a" {
		t.Errorf("%+v", r)
	}
}

func TestAnIsolatedVertexForbidsActivationOfAGraphButNotOfAGrid(t *testing.T) {
	t.Parallel()
	_, r := roadmap.Import("starling", []byte(`{"vertices":[{"id":"a","x":0,"y":0},{"id":"b","x":1,"y":0},{"id":"c","x":5,"y":0}],"lanes":[{"from":"a","to":"b","bidirectional":true}]}`), 0)
	if r.OK() || r.Errors[0].Code != roadmap.CodeUnreachable || r.Errors[0].VertexIDs[0] != "c" {
		t.Errorf("graph: %+v", r)
	}
	_, r = roadmap.Import("movingai", []byte(gridText("....@.", "....@@")), 1)
	if !r.OK() || len(r.Warnings) == 0 {
		t.Errorf("grid: %+v", r)
	}
}

func TestZonesThatCouldWantOneVertexHaveDifferentColours(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := rapid.IntRange(2, 20).Draw(t, "rows"), rapid.IntRange(2, 20).Draw(t, "cols")
		text := make([]string, rows)
		for r := range text {
			text[r] = rapid.StringMatching(fmt.Sprintf("[.@]{%d}", cols)).Draw(t, "row")
		}
		d, _ := roadmap.Import("movingai", []byte(gridText(text...)), 1)
		if len(d.Vertices) == 0 {
			return
		}
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID, MaxZone: rapid.IntRange(4, 64).Draw(t, "zone")})
		if err != nil {
			t.Fatal(err)
		}
		for v := range g.Vertices {
			zones := map[int]int32{}
			around := []int32{g.ZoneOf[v]}
			for _, l := range g.In[v] {
				around = append(around, g.ZoneOf[g.Lanes[l].From])
			}
			for _, z := range around {
				if o, ok := zones[g.Zones[z].Colour]; ok && o != z {
					t.Fatalf("zones %s and %s share colour and the reach of vertex %s", g.Zones[o].Name, g.Zones[z].Name, g.Vertices[v].ID)
				}
				zones[g.Zones[z].Colour] = z
			}
			if g.Zones[g.ZoneOf[v]].Vertices[g.Local[v]] != fleet.Vertex(v) {
				t.Fatalf("vertex %d is not where Local says", v)
			}
		}
	})
}

func TestATableDescendsToItsGoal(t *testing.T) {
	t.Parallel()
	g := build(t, "lorr", lorrMap(t, "random_100/random-32-32-20.map"))
	m := roadmap.NewTableMap(g, 8)
	rapid.Check(t, func(t *rapid.T) {
		from := fleet.Vertex(rapid.IntRange(0, len(g.Vertices)-1).Draw(t, "from"))
		goal := fleet.Vertex(rapid.IntRange(0, len(g.Vertices)-1).Draw(t, "goal"))
		tb := m.Get(goal)
		if tb.To(from) == roadmap.Unreachable {
			return
		}
		if r := g.Route(tb, from, 5000); r[len(r)-1] != goal {
			t.Fatalf("the route from %d ends at %d, not at %d", from, r[len(r)-1], goal)
		}
	})
}

func TestAClosedLaneIsNotUsed(t *testing.T) {
	t.Parallel()
	g := build(t, "movingai", gridText("..", ".@", "..", "@."))
	a, _ := g.Find("0")
	b, _ := g.Find("2")
	l, _ := g.Lane(a, b)
	tables := roadmap.NewTableMap(g, 9)
	free := tables.Get(b).To(a)
	for _, c := range []struct {
		lane roadmap.LaneOverlay
		want uint16
	}{{roadmap.LaneOverlay{Closed: true}, roadmap.Unreachable}, {roadmap.LaneOverlay{SpeedMPS: 0.05}, 20 * free}, {roadmap.LaneOverlay{}, free}} {
		tables.Lane(l, c.lane)
		if got := tables.Get(b).To(a); got != c.want {
			t.Errorf("%+v: cost %d, want %d", c.lane, got, c.want)
		}
	}
}

func TestTheSameSourceGivesTheSameGraphAndADiffSaysWhatChanged(t *testing.T) {
	t.Parallel()
	a, b := build(t, "movingai", gridText("....", "....")), build(t, "movingai", gridText("....", "...."))
	if d := roadmap.Diff(a, b); d.Vertices.AddedTotal+d.Lanes.AddedTotal+d.Zones.ChangedTotal+d.Lanes.RemovedTotal != 0 {
		t.Errorf("two builds of one source differ: %+v", d)
	}
	c := build(t, "movingai", gridText("...@", "...."))
	if d := roadmap.Diff(a, c); d.Vertices.RemovedTotal != 1 || d.Lanes.RemovedTotal != 4 {
		t.Errorf("a cell less: %+v", d)
	}
}

func FuzzImport(f *testing.F) {
	f.Add("movingai", gridText("..", ".@"))
	f.Add("starling", `{"vertices":[{"id":"a","x":0,"y":0},{"id":"b","x":1,"y":1}],"lanes":[{"from":"a","to":"b","bidirectional":true}],"zones":[{"name":"z","polygon":{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,0]]]}}]}`)
	f.Fuzz(func(t *testing.T, format, content string) {
		d, r := roadmap.Import(format, []byte(content), 1)
		if d == nil || len(d.Vertices) == 0 || !r.OK() || len(d.Vertices) > 5000 {
			return
		}
		if _, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID}); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkTable(b *testing.B) {
	g := build(b, "lorr", lorrMap(b, "sortation_2000/sortation_large.map"))
	l := roadmap.NewLayer(g)
	s := roadmap.NewSearcher(l)
	n := len(g.Vertices)
	for name, from := range map[string]func(goal int) int{
		"near":   func(goal int) int { return min(goal+10, n-1) },
		"random": func(goal int) int { return goal * 7919 % n },
		"across": func(goal int) int { return n - 1 - goal%500 },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			settled, bytes := 0, int64(0)
			for i := 0; b.Loop(); i++ {
				goal := i * 37 % n
				t, k := s.GrowAround(roadmap.NewTable(l, fleet.Vertex(goal), nil), fleet.Vertex(from(goal)))
				settled, bytes = settled+k, bytes+t.Bytes()
			}
			b.ReportMetric(float64(settled)/float64(b.N), "vertices/op")
			b.ReportMetric(float64(bytes)/float64(b.N), "kept-B/op")
		})
	}
}

func TestManyFaultsOfOneKindDoNotHideAnother(t *testing.T) {
	t.Parallel()
	var lanes strings.Builder
	for range 250 {
		lanes.WriteString(`{"from":"a","to":"nowhere"},`)
	}
	_, r := roadmap.Import("starling", []byte(`{"vertices":[{"id":"a","x":0,"y":0},{"id":"b","x":1,"y":0}],"lanes":[`+lanes.String()+`{"from":"a","to":"a"},{"from":"a","to":"b","bidirectional":true}]}`), 0)
	n := map[string]int{}
	last := map[string]string{}
	for _, f := range r.Errors {
		n[f.Code]++
		last[f.Code] = f.Message
	}
	if n[roadmap.CodeSelfLoop] != 1 {
		t.Errorf("the lane to itself is hidden: %v", n)
	}
	if n[roadmap.CodeUnknownVertex] != 101 || !strings.Contains(last[roadmap.CodeUnknownVertex], "150 more of this kind, 250 in all") {
		t.Errorf("%v, the last says %q", n, last[roadmap.CodeUnknownVertex])
	}
}

func TestTheMainPartIsFoundBehindManyPockets(t *testing.T) {
	t.Parallel()
	// 300 vertices on their own, then a road of 400 both ways: the main part is the road, and what is unreachable is the rest.
	var vertices, lanes strings.Builder
	for i := range 300 {
		fmt.Fprintf(&vertices, `{"id":"p%d","x":%d,"y":100},`, i, 2*i)
	}
	for i := range 400 {
		fmt.Fprintf(&vertices, `{"id":"r%d","x":%d,"y":0},`, i, 2*i)
		if i > 0 {
			fmt.Fprintf(&lanes, `{"from":"r%d","to":"r%d","bidirectional":true},`, i-1, i)
		}
	}
	_, r := roadmap.Import("starling", []byte(`{"vertices":[`+strings.TrimSuffix(vertices.String(), ",")+`],"lanes":[`+strings.TrimSuffix(lanes.String(), ",")+`]}`), 0)
	if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Message, "300 vertices") || r.Errors[0].VertexIDs[0] != "p0" {
		t.Errorf("%+v", r.Errors)
	}
}

func TestReachabilityIsThatOfTheLargestPart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { // against the closure of reachability, by Warshall
		n := rapid.IntRange(1, 9).Draw(t, "n")
		var reach [9][9]bool
		var vertices, lanes []string
		for i := range n {
			reach[i][i] = true
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":%d}`, i, 10*i, i*i))
		}
		for range rapid.IntRange(0, 20).Draw(t, "m") {
			a, b := rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b")
			reach[a][b] = true
			lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d"}`, a, b))
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		home, size := 0, 0
		parts := 0 // of the greatest size
		for i := range n {
			k, first := 0, true
			for j := range n {
				if reach[i][j] && reach[j][i] {
					k++
					first = first && j >= i
				}
			}
			switch {
			case first && k > size:
				home, size, parts = i, k, 1
			case first && k == size:
				parts++
			}
		}
		if parts > 1 {
			return // either may be the main one
		}
		want := map[string]string{}
		for v := range n {
			switch {
			case !reach[home][v]:
				want[strconv.Itoa(v)] = roadmap.CodeUnreachable
			case !reach[v][home]:
				want[strconv.Itoa(v)] = roadmap.CodeOneWayTrap
			}
		}
		_, r := roadmap.Import("starling", []byte(`{"vertices":[`+strings.Join(vertices, ",")+`],"lanes":[`+strings.Join(lanes, ",")+`]}`), 0)
		got := map[string]string{}
		for _, f := range r.Errors {
			if f.Code == roadmap.CodeUnreachable || f.Code == roadmap.CodeOneWayTrap {
				for _, id := range f.VertexIDs {
					got[id] = f.Code
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
