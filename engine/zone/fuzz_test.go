package zone_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// FuzzDecide tells a zone of two on a small floor whatever can be told, in any order: it does not panic, and its books
// agree after every message.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 1, 1, 2, 2, 3, 3})
	f.Add([]byte{1, 0, 5, 0, 0, 9, 0, 1, 7, 2, 0, 1, 4, 8, 0, 2, 0, 0, 7, 0, 3, 2, 250, 0, 0, 255, 255})
	g := grid([]string{"........", ".@......", "........"}, 4)
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b)
		}
		vertex := func() fleet.Vertex { return fleet.Vertex(next()%(len(g.Vertices)+2) - 1) }
		id := func() fleet.RobotID { return fleet.RobotID("abcde"[next()%5:][:1]) }
		now, tick, version := t0, uint64(0), uint64(0)
		request := func() fleet.Request {
			version++
			r := fleet.Request{
				Robot: id(), Version: version - uint64(next()%3), At: vertex(), Goal: vertex(), Window: next() % 4, SpeedMPS: float64(next() % 3),
				RadiusM: float64(next()%3) / 2, Control: fleet.Control(next() % 2), Halted: next()%4 == 0, Since: now,
			}
			for range next() % 3 {
				r.Base = append(r.Base, vertex())
			}
			return r
		}
		s := zone.New(g, 0, roadmap.NewTableMap(g, 32), zone.Rules{}, 1, 1)
		for len(data) > 0 {
			now = now.Add(time.Duration(next()) * 50 * time.Millisecond)
			var m zone.Msg
			switch next() % 12 {
			case 0, 1:
				tick++
				m = zone.Ticked{Tick: tick, LeaseUntil: fleet.Far}
			case 2, 3:
				m = zone.Asked{Request: request()}
			case 4:
				version++
				m = zone.Arrived{Arrival: fleet.Arrival{Robot: id(), Vertex: vertex(), At: now, Version: version}}
			case 5:
				m = zone.TokenReceived{Token: zone.Token{
					From: "zone-00-01", To: "zone-00-00", Tick: tick + uint64(next()%2), Epoch: uint64(next() % 3),
					Claims: []zone.Claim{{Number: uint64(next() % 4), Vertex: vertex(), Push: next()%2 == 0, Withdraw: next()%5 == 0, Request: request()}},
				}}
			case 6:
				m = zone.Answered{Answer: zone.Answer{
					From: "zone-00-01", To: "zone-00-00", Number: uint64(next() % 4), Epoch: 1, Robot: id(), Vertex: vertex(), Kind: zone.AnswerKind(next() % 3),
				}}
			case 7:
				m = zone.EntryRecorded{Robot: id(), Number: uint64(next() % 8)}
			case 8:
				m = zone.RobotGone{Robot: id()}
			case 9:
				m = zone.LaneChanged{Lane: int32(next() % len(g.Lanes)), Closed: next()%2 == 0}
			case 10:
				m = zone.KeepOutChanged{Vertices: []fleet.Vertex{vertex()}}
			case 11:
				m = zone.Restored{Roster: []zone.RosterEntry{{Robot: id(), Vertex: vertex(), PositionAt: now, SpeedMPS: float64(next() % 2)}}}
			}
			s.Decide(now, m, nil)
			if err := s.Audit(); err != nil {
				t.Fatalf("after %+v: %v", m, err)
			}
		}
	})
}
