package zone_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// A lease that has ended makes suspect what it was for, until the robot speaks: that its way has changed meanwhile renews
// nothing.
func TestANewWayDoesNotRenewALeaseThatHasEnded(t *testing.T) {
	t.Parallel()
	g := grid(open(6, 12), 12)
	tables := roadmap.NewTableMap(g, len(g.Vertices))
	z := zone.New(g, 0, tables, zone.Rules{}, 1, 1)
	now, tick := t0, uint64(0)
	decide := func(m zone.Msg) (grants int, suspects []fleet.Vertex) {
		out := z.Decide(now, m, nil)
		for k := 0; k < len(out); k++ {
			switch e := out[k].(type) {
			case zone.RecordEntry:
				out = z.Decide(now, zone.EntryRecorded{Robot: e.Entry.Robot, Number: e.Number}, out)
			case zone.SendGrant:
				grants += len(e.Grant.Vertices)
			case zone.Show:
				suspects = e.View.Suspects
			}
		}
		return grants, suspects
	}
	round := func(d time.Duration) (int, []fleet.Vertex) {
		now, tick = now.Add(d), tick+1
		return decide(zone.Ticked{Tick: tick, LeaseUntil: fleet.Far})
	}
	round(0)
	granted, _ := decide(zone.Asked{Request: fleet.Request{Robot: "r", Version: 1, At: 24, Goal: 35, Tasked: true, Since: now, Window: 2, SpeedMPS: 1, RadiusM: 0.3}})
	for range 4 {
		n, _ := round(250 * time.Millisecond)
		granted += n
	}
	if granted == 0 {
		t.Fatal("nothing is granted")
	}
	n, suspects := round(15 * time.Second)
	if n > 0 || len(suspects) == 0 {
		t.Fatalf("after the lease's end: %d vertices granted, suspect %v", n, suspects)
	}
	for _, v := range []fleet.Vertex{28, 29, 30} { // its way
		for _, lane := range g.Out[v] {
			tables.Lane(lane, roadmap.LaneOverlay{Closed: true})
		}
	}
	for range 8 {
		if n, _ := round(250 * time.Millisecond); n > 0 {
			t.Fatalf("%d vertices granted to a robot that has not spoken since", n)
		}
	}
}
