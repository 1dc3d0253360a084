package zone

import (
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Who has long stood before our border comes first to its vertex for as long as it asks, and a while longer; nobody waits
// for it for ever.
func TestWhoHasLongStoodAtABorderComesNext(t *testing.T) {
	t.Parallel()
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 2\nwidth 4\nmap\n....\n....\n"), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "11111111-1111-4111-8111-111111111111", OneZone: true})
	if err != nil {
		t.Fatal(err)
	}
	find := func(id string) fleet.Vertex { v, _ := g.Find(id); return v }
	for name, c := range map[string]struct {
		prio  Priority
		cause fleet.Cause
		long  bool
		after int // rounds until the robot of the zone is let in
	}{
		"nobody wishes":                             {after: 1},
		"one that has stood long":                   {Priority{Age: 1e9}, fleet.CauseOccupied, true, wishTicks + 1},
		"one that found it claimed":                 {Priority{Age: 1e9}, fleet.CauseClaimed, true, wishTicks + 1},
		"one that has not stood long":               {Priority{Age: 1e9}, fleet.CauseOccupied, false, 1},
		"one of less priority":                      {Priority{Age: -1}, fleet.CauseOccupied, true, 1},
		"one that could not come if it were vacant": {Priority{Age: 1e9}, fleet.CauseAdmission, true, 1},
	} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		s := New(g, 0, roadmap.NewTableMap(g, len(g.Vertices)), Rules{}, 1, 1)
		var out []Effect
		out = s.Decide(now, Asked{Request: fleet.Request{
			Robot: "b", Version: 1, At: find("0"), Goal: find("3"), Tasked: true, Since: now.Add(-time.Minute), Window: 4, SpeedMPS: 1, RadiusM: 0.3,
		}}, out)
		entry, ok := out[0].(RecordEntry)
		if !ok {
			t.Fatalf("%s: %+v", name, out)
		}
		s.Decide(now, EntryRecorded{Robot: "b", Number: entry.Number}, nil)
		l := s.ours(find("1"))
		s.noteWish(l, Claim{Request: fleet.Request{Robot: "a"}, Priority: c.prio, Long: c.long}, c.cause)
		rounds := 0
		for in := false; !in && rounds < 40; {
			rounds++
			now = now.Add(250 * time.Millisecond)
			for _, f := range s.Decide(now, Ticked{Tick: uint64(rounds), LeaseUntil: fleet.Far}, nil) {
				if gr, ok := f.(SendGrant); ok {
					in = in || len(gr.Grant.Vertices) > 0 && gr.Grant.Vertices[0] == find("1")
				}
			}
		}
		if rounds != c.after {
			t.Errorf("%s: let in after %d rounds, want %d", name, rounds, c.after)
		}
	}
}
