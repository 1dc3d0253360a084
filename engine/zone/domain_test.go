package zone_test

import (
	"testing"

	"starling/engine/fleet"
	"starling/engine/zone"
)

// A crowded floor stalls over borders again and again: zones then plan together, nobody stands for ever, and when nobody
// wants anything any more every zone is on its own again.
func TestZonesPlanTogetherWhereAStallLeadsOverABorder(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{true, false} {
		w := newWorld(t, grid(randomMap(t), 8), lock, 1)
		fill(w, 150)
		followed := false
		for range 240 {
			w.step()
			for _, z := range w.zones {
				if err := z.Audit(); err != nil {
					t.Fatal(err)
				}
			}
			for z, v := range w.views {
				followed = followed || v.Domain.Leader != "" && v.Domain.Leader != w.g.Zones[z].ID
			}
		}
		if w.domains == 0 || !followed {
			t.Errorf("lockstep %v: %d asked to lend their floor, followed %v", lock, w.domains, followed)
		}
		w.nextJob = func(*bot) fleet.Vertex { return fleet.NoVertex }
		for _, b := range w.bots {
			b.goal = fleet.NoVertex
			w.ask(b)
		}
		for range 30 {
			w.step()
		}
		for _, v := range w.views {
			if v.Domain != (zone.Domain{}) {
				t.Errorf("lockstep %v: zone %s is still in %+v", lock, v.Zone, v.Domain)
			}
		}
	}
}

// Two leaders: whoever's robot has the greater priority is followed; a zone that leads for a lesser one gives up its own.
func TestTheGreaterPriorityLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grid(open(4, 12), 4), false, 1)
	z, now := w.zones[1], w.now
	var told []fleet.ZoneID // who is refused
	lead := func(from int, term uint64, age int64) (refused bool) {
		told = nil
		for _, e := range z.Decide(now, zone.Led{Lead: zone.Lead{
			From: w.g.Zones[from].ID, To: w.g.Zones[1].ID, Epoch: 1, Term: term, Tick: 1, Priority: zone.Priority{Age: age},
		}}, nil) {
			if l, ok := e.(zone.SendLend); ok {
				told = append(told, l.Lend.To)
				refused = refused || l.Lend.Refused && l.Lend.To == w.g.Zones[from].ID
			}
		}
		return refused
	}
	if lead(0, 1, 50) {
		t.Error("the first to ask is refused")
	}
	if !lead(2, 1, 40) {
		t.Error("a lesser priority takes the floor away")
	}
	if lead(2, 2, 60) {
		t.Error("a greater priority is refused")
	}
	if len(told) != 1 || told[0] != w.g.Zones[0].ID {
		t.Errorf("the former leader is not told: %v", told)
	}
	if !lead(0, 1, 50) {
		t.Error("the former leader has it back")
	}
}

// A follower whose leader is silent plans by itself after a few ticks, and at each next tick until then.
func TestAFollowerDoesNotWaitForASilentLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grid(open(4, 8), 4), false, 1)
	z := w.zones[1]
	z.Decide(w.now, zone.Ticked{Tick: 1, LeaseUntil: fleet.Far}, nil)
	z.Decide(w.now, zone.Led{Lead: zone.Lead{From: w.g.Zones[0].ID, To: w.g.Zones[1].ID, Epoch: 1, Term: 1, Tick: 1, Priority: zone.Priority{Age: 9}}}, nil)
	lends, tokens := 0, 0
	for tick := uint64(2); tick < 12; tick++ {
		for _, e := range z.Decide(w.now, zone.Ticked{Tick: tick, LeaseUntil: fleet.Far}, nil) {
			switch e.(type) {
			case zone.SendLend:
				lends++
			case zone.SendToken:
				tokens++
			}
		}
	}
	if lends == 0 || lends > 4 {
		t.Errorf("it lent its floor %d times to a leader that is silent", lends)
	}
	if tokens < 9 {
		t.Errorf("%d tokens in ten ticks", tokens)
	}
}

// Who leads asks zones that are near: what a robot that merely stands has in its way is not vertex 0.
func TestDomainsReachNoFurtherThanTheirLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grid(randomMap(t), 8), false, 1)
	fill(w, 150)
	for range 200 {
		w.step()
	}
	for zones, n := range w.leads {
		from, to := w.g.Zones[zones[0]], w.g.Zones[zones[1]]
		near := false
		for _, z := range from.Neighbours {
			near = near || w.g.Zones[z].ID == to.ID
			for _, y := range w.g.Zones[z].Neighbours {
				near = near || w.g.Zones[y].ID == to.ID
			}
		}
		if !near {
			t.Errorf("%s asked %s %d times", from.ID, to.ID, n)
		}
	}
	if len(w.leads) == 0 {
		t.Error("nobody leads")
	}
}
