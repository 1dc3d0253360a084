package zone_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// BenchmarkGrant is one robot that drives up and down a corridor: per operation, the zone takes the robot's report of an
// arrival and grants it the next vertex.
func BenchmarkGrant(b *testing.B) {
	g := grid([]string{"................................"}, 32)
	s := zone.New(g, 0, roadmap.NewTableMap(g, 32), zone.Rules{}, 1, 1)
	now, version := t0, uint64(0)
	var base []fleet.Vertex
	var out []zone.Effect
	decide := func(m zone.Msg) (granted int) {
		out = s.Decide(now, m, out[:0])
		for _, e := range out {
			switch e := e.(type) {
			case zone.RecordEntry:
				defer func() { granted += len(base) }()
				s.Decide(now, zone.EntryRecorded{Robot: e.Entry.Robot, Number: e.Number}, nil)
			case zone.SendGrant:
				base = append(base, e.Grant.Vertices...)
				granted += len(e.Grant.Vertices)
			}
		}
		return granted
	}
	at, goal := fleet.Vertex(0), fleet.Vertex(31)
	ask := func() {
		version++
		base = base[:0]
		decide(zone.Asked{Request: fleet.Request{Robot: "r", Version: version, At: at, Goal: goal, Since: now, Window: 2, SpeedMPS: 1, RadiusM: .3}})
	}
	tick := uint64(0)
	round := func() {
		tick++
		decide(zone.Ticked{Tick: tick, LeaseUntil: fleet.Far})
	}
	ask()
	round()
	b.ReportAllocs()
	b.ResetTimer()
	grants := 0
	for range b.N {
		now = now.Add(time.Second)
		if len(base) == 0 {
			if at == goal {
				goal = 31 - goal
			}
			ask()
			round()
			if len(base) == 0 {
				b.Fatalf("on %d to %d, nothing granted", at, goal)
			}
		}
		at = base[0]
		base = append(base[:0], base[1:]...)
		version++
		grants += decide(zone.Arrived{Arrival: fleet.Arrival{Robot: "r", Vertex: at, At: now, Version: version}})
	}
	b.ReportMetric(float64(grants)/float64(b.N), "grants/op")
}
