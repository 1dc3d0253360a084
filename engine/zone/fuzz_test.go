package zone_test

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// FuzzDecide tells a zone of two on a small floor whatever can be told, in any order, in lock-step or not: it does not
// panic, its books agree after every message, and it grants only what it may.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 1, 1, 2, 2, 3, 3})
	f.Add([]byte{1, 1, 0, 5, 0, 0, 9, 0, 1, 7, 2, 0, 1, 4, 8, 0, 2, 0, 0, 7, 0, 3, 2, 250, 0, 0, 255, 255})
	f.Add([]byte{0, 0, 2, 0, 1, 1, 6, 3, 1, 0, 0, 1, 0, 0, 7, 0, 0, 0, 0, 4, 0, 2, 5, 0, 13, 0, 0, 12, 0})
	g := grid([]string{"........", ".@......", "........"}, 4)
	f.Fuzz(func(t *testing.T, data []byte) {
		z := &fuzzed{t: t, data: data, g: g, now: t0, recorded: map[fleet.RobotID]bool{}, numbers: map[fleet.RobotID]uint64{}}
		z.wild = z.next()%4 == 0
		z.zone = zone.New(g, 0, roadmap.NewTableMap(g, 32), zone.Rules{Lockstep: z.next()%2 == 0}, 1, 1)
		for len(z.data) > 0 && z.told < 600 {
			z.now = z.now.Add(time.Duration(z.next()) * 50 * time.Millisecond)
			z.decide(z.message(z.next() % 15))
		}
	})
}

// fuzzed makes messages of bytes and holds the zone against what must always be so.
type fuzzed struct {
	t        *testing.T
	data     []byte
	g        *roadmap.Graph
	zone     *zone.State
	now      time.Time
	told     int
	tick     uint64
	version  uint64
	lease    time.Time // as last told
	until    time.Time // of the former owner's lease
	entry    zone.RecordEntry
	recorded map[fleet.RobotID]bool
	numbers  map[fleet.RobotID]uint64 // of the entries that are being recorded
	wild     bool                     // robots assert what no lane leads along: their zone says so again
}

func (z *fuzzed) next() int {
	if len(z.data) == 0 {
		return 0
	}
	b := z.data[0]
	z.data = z.data[1:]
	return int(b)
}

func (z *fuzzed) vertex() fleet.Vertex { return fleet.Vertex(z.next()%(len(z.g.Vertices)+2) - 1) }

func (z *fuzzed) id() fleet.RobotID { return fleet.RobotID("abcde"[z.next()%5:][:1]) }

// request is a robot's; its base is a way over lanes from where it stands, or anything.
func (z *fuzzed) request() fleet.Request {
	z.version++
	r := fleet.Request{
		Robot: z.id(), Version: z.version - uint64(z.next()%3), At: z.vertex(), Goal: z.vertex(), Window: z.next() % 4,
		SpeedMPS: float64(z.next() % 3), RadiusM: float64(z.next()%3) / 2, Halted: z.next()%4 == 0, Since: z.now, Firm: uint64(z.next()),
	}
	if z.next()%8 == 0 {
		r.Control = fleet.ControlExternal
	}
	from := r.At
	for range z.next() % 4 {
		v := z.vertex()
		if !z.wild && from >= 0 && int(from) < len(z.g.Vertices) {
			out := z.g.Out[from]
			v = z.g.Lanes[out[z.next()%len(out)]].To
		}
		r.Base, from = append(r.Base, v), v
	}
	return r
}

func (z *fuzzed) message(kind int) zone.Msg {
	switch kind {
	case 0, 1:
		z.tick++
		if until := z.now.Add(time.Duration(z.next()%32) * time.Second); until.After(z.lease) {
			z.lease = until // leases are extended, or run out
		}
		return zone.Ticked{Tick: z.tick, LeaseUntil: z.lease}
	case 2, 3:
		return zone.Asked{Request: z.request()}
	case 4:
		z.version++
		return zone.Arrived{Arrival: fleet.Arrival{Robot: z.id(), Vertex: z.vertex(), At: z.now, Version: z.version}}
	case 5:
		return zone.TokenReceived{Token: z.token()}
	case 6:
		return zone.Answered{Answer: z.answer()}
	case 7, 8:
		r, n := z.entry.Entry.Robot, z.entry.Number
		if z.next()%4 == 0 {
			n -= uint64(z.next() % 4) // of an earlier entry
		}
		if n == z.numbers[r] {
			z.recorded[r] = true
		}
		return zone.EntryRecorded{Robot: r, Number: n}
	case 9:
		return zone.EntryFailed{Robot: z.entry.Entry.Robot, Number: z.entry.Number - uint64(z.next()%2)}
	case 10:
		return zone.RobotGone{Robot: z.id()}
	case 11:
		return zone.LaneChanged{Lane: int32(z.next() % len(z.g.Lanes)), Closed: z.next()%2 == 0}
	case 12:
		return zone.KeepOutChanged{Vertices: []fleet.Vertex{z.vertex()}}
	case 13:
		return zone.BreakRequested{Robot: z.id()}
	default:
		z.until = z.now.Add(time.Duration(z.next()%64) * time.Second)
		e := zone.RosterEntry{Robot: z.id(), Vertex: z.vertex(), PositionAt: z.now, SpeedMPS: float64(z.next() % 2), MapVersion: z.next() % 2}
		z.recorded[e.Robot], z.numbers[e.Robot] = true, 0
		return zone.Restored{Roster: []zone.RosterEntry{e}, Until: z.until}
	}
}

func (z *fuzzed) answer() zone.Answer {
	return zone.Answer{
		From: "zone-00-01", To: "zone-00-00", Number: uint64(z.next() % 8), Epoch: uint64(z.next() % 2), Robot: z.id(), Vertex: z.vertex(),
		Kind: zone.AnswerKind(z.next() % 3), Cause: fleet.Cause(z.next() % 14),
	}
}

func (z *fuzzed) token() zone.Token {
	t := zone.Token{From: "zone-00-01", To: "zone-00-00", Tick: z.tick + uint64(z.next()%2), Epoch: uint64(z.next() % 3)}
	for range z.next() % 3 {
		t.Border = append(t.Border, zone.Border{
			Vertex: z.vertex(), Occupant: z.id(), Next: z.vertex(), Leaving: z.next()%2 == 0, Claimed: z.next()%2 == 0, Blocked: z.next()%4 == 0,
		})
	}
	for range z.next() % 3 {
		t.Claims = append(t.Claims, zone.Claim{
			Number: uint64(z.next() % 8), Vertex: z.vertex(), Push: z.next()%2 == 0, Withdraw: z.next()%5 == 0,
			Priority: zone.Priority{Age: int64(z.next()) * 1000, Robot: z.id()}, Request: z.request(),
		})
	}
	for range z.next() % 2 {
		t.Answers = append(t.Answers, z.answer())
	}
	return t
}

// decide tells the zone m.
func (z *fuzzed) decide(m zone.Msg) {
	z.told++
	out := z.zone.Decide(z.now, m, nil)
	if err := z.zone.Audit(); err != nil {
		z.t.Fatalf("after %+v: %v", m, err)
	}
	if z.zone.Guests() > 5 || len(out) > 200 {
		z.t.Fatalf("after %+v: %d guests, %d effects", m, z.zone.Guests(), len(out))
	}
	for _, e := range out {
		switch e := e.(type) {
		case zone.RecordEntry:
			z.entry, z.numbers[e.Entry.Robot], z.recorded[e.Entry.Robot] = e, e.Number, false
		case zone.RecordExit:
			z.recorded[e.Robot] = false
		case zone.SendGrant:
			z.granted(m, e.Grant)
		default:
		}
	}
}

// granted checks laws 1 and 3 on a grant: its robot is on the roster, the zone is owned, its vertices are the zone's, and
// lanes lead along them.
func (z *fuzzed) granted(m zone.Msg, g fleet.Grant) {
	if len(g.Vertices) == 0 {
		return // it only says what to expect
	}
	switch {
	case !z.recorded[g.Robot]:
		z.t.Fatalf("after %+v: granted to %s, whose entry is not recorded: %+v", m, g.Robot, g)
	case !z.now.Before(z.lease) || z.now.Before(z.until):
		z.t.Fatalf("after %+v: granted at %v, the zone is owned from %v to %v", m, z.now, z.until, z.lease)
	}
	from := g.After
	for _, v := range g.Vertices {
		if z.g.ZoneOf[v] != 0 {
			z.t.Fatalf("after %+v: vertex %d is another zone's", m, v)
		}
		if _, ok := z.g.Lane(from, v); !ok && !z.wild {
			z.t.Fatalf("after %+v: granted from %d along %v: no lane from %d to %d", m, g.After, g.Vertices, from, v)
		}
		from = v
	}
}
