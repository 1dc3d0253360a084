package dispatch

import (
	"fmt"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// A lane becomes dear with half as much again as its free cost, stays so while it is a fifth above it, and small changes
// are no news; what zones say that are not of this map, or of lanes that are not theirs, does not count.
func TestReweighingDoesNotSwing(t *testing.T) {
	t.Parallel()
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 2\nwidth 4\nmap\n....\n....\n"), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", MaxZone: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := New(roadmap.NewTableMap(g, 9), 1)
	s.UseFlow(true)
	s.graph = g
	lane, _ := g.Lane(0, 1)
	far, _ := g.Lane(3, 2)
	own := g.Zones[g.ZoneOf[0]].ID
	now := time.Unix(1000, 0)
	say := func(id fleet.ZoneID, l int32, cost uint16) {
		s.flows.note(&zone.View{Zone: id, Flow: []zone.LaneFlow{{Lane: l, Cost: cost, Free: 10, Robots: 3}}})
	}
	for i, c := range []struct {
		cost uint16
		want int // -1 = no news, 0 = nothing is dear, else the cost
	}{{14, -1}, {16, 16}, {18, -1}, {20, 20}, {13, 13}, {11, 0}, {14, -1}} {
		say(own, lane, c.cost)
		say("elsewhere", lane, 40)
		say(own+"x", far, 40)
		if i > 0 {
			if out := s.flows.weigh(now.Add(-time.Second), g, nil); len(out) > 0 {
				t.Fatalf("step %d: reweighed before its time", i)
			}
		}
		out := s.flows.weigh(now, g, nil)
		got := -1
		if len(out) == 1 {
			if m := out[0].(Reweigh).ByLane(); len(m) == 0 {
				got = 0
			} else {
				got = int(m[lane])
			}
		}
		if got != c.want {
			t.Errorf("step %d: at cost %d the dispatcher says %d, want %d", i, c.cost, got, c.want)
		}
		now = now.Add(reweighEvery)
	}
	say(own, far, 40)
	if out := s.flows.weigh(now, g, nil); len(out) > 0 && g.ZoneOf[3] != g.ZoneOf[0] {
		t.Errorf("a lane of another zone counts: %v", out)
	}
}

// Where robots stand that cannot move in more places than may be dear at once, it is the same ones each second: no news.
func TestWhatIsBarredDoesNotDependOnTheOrderOfZones(t *testing.T) {
	t.Parallel()
	const side = 24
	text := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n", side, side)
	for range side {
		text += "........................\n"
	}
	d, _ := roadmap.Import("movingai", []byte(text), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", MaxZone: 16})
	if err != nil {
		t.Fatal(err)
	}
	s := New(roadmap.NewTableMap(g, 9), 1)
	barred := map[fleet.ZoneID][]fleet.Vertex{}
	for v := range g.Vertices {
		z := g.Zones[g.ZoneOf[v]].ID
		barred[z] = append(barred[z], fleet.Vertex(v))
	}
	for z, vs := range barred {
		s.flows.note(&zone.View{Zone: z, Barred: vs})
	}
	now := time.Unix(1000, 0)
	if out := s.flows.weigh(now, g, nil); len(out) != 1 {
		t.Fatalf("%d effects, want one", len(out))
	}
	for range 10 {
		now = now.Add(time.Second)
		if out := s.flows.weigh(now, g, nil); len(out) != 0 {
			t.Fatal("reweighed though nothing has changed")
		}
	}
}
