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

// shelfless is a floor of two zones, two cells by two each: cells 0, 1, 4, 5 and 2, 3, 6, 7.
func shelfless(t *testing.T) (s *State, at func(cell string) fleet.Vertex) {
	t.Helper()
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 2\nwidth 4\nmap\n....\n....\n"), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "11111111-1111-4111-8111-111111111111", MaxZone: 4})
	if err != nil || len(g.Zones) != 2 {
		t.Fatalf("%d zones, %v", len(g.Zones), err)
	}
	at = func(cell string) fleet.Vertex { v, _ := g.Find(cell); return v }
	return New(g, int(g.ZoneOf[at("0")]), roadmap.NewTableMap(g, len(g.Vertices)), Rules{}, 1, 1), at
}

// enter puts robot b on cell 0, on its way to cell 1 beside it.
func enter(t *testing.T, s *State, at func(string) fleet.Vertex, now time.Time) {
	t.Helper()
	out := s.Decide(now, Asked{Request: fleet.Request{
		Robot: "b", Version: 1, At: at("0"), Goal: at("1"), Tasked: true, Since: now, Window: 1, SpeedMPS: 1, RadiusM: 0.3,
	}}, nil)
	entry, ok := out[0].(RecordEntry)
	if !ok {
		t.Fatalf("%+v", out)
	}
	s.Decide(now, EntryRecorded{Robot: "b", Number: entry.Number}, nil)
}

// letIn ticks each second until robot b is granted a vertex, and says after how many.
func letIn(s *State, now time.Time) int {
	for n := 1; n < 60; n++ {
		for _, f := range s.Decide(now.Add(time.Duration(n)*time.Second), Ticked{Tick: uint64(n), LeaseUntil: fleet.Far}, nil) {
			if gr, ok := f.(SendGrant); ok && gr.Grant.Robot == "b" && len(gr.Grant.Vertices) > 0 {
				return n
			}
		}
	}
	return 60
}

// A claim from beyond the border stands from round to round. Who has long stood here and has more priority does not wait
// for it.
func TestWhoHasLongStoodGoesBeforeAClaimFromBeyondTheBorder(t *testing.T) {
	t.Parallel()
	for age, want := range map[int64]int{0: 21, 1e12: 60} {
		s, at := shelfless(t)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		enter(t, s, at, now)
		other := s.g.Zones[s.g.ZoneOf[at("2")]].ID
		claim := Claim{Number: 1, Vertex: at("1"), Priority: Priority{Age: age, Robot: "f"}, Request: fleet.Request{
			Robot: "f", Version: 1, At: at("2"), Goal: at("0"), Tasked: true, Since: now, Window: 1, SpeedMPS: 1, RadiusM: 0.3,
		}}
		s.Decide(now, TokenReceived{Token: Token{From: other, To: s.id, Tick: 1, Epoch: 1, Claims: []Claim{claim}}}, nil) // its entry is not recorded: it waits
		if n := letIn(s, now); n != want {
			t.Errorf("a claim of age %d: let in after %d s, want %d", age, n, want)
		}
	}
}

// Who gives way and is pushed by nobody gives way no longer.
func TestNobodyGivesWayToNobody(t *testing.T) {
	t.Parallel()
	s, at := shelfless(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	enter(t, s, at, now)
	_, g := s.find("b")
	g.yielded, g.yieldUntil = now, now.Add(24*time.Second)
	if n := letIn(s, now); n != 7 {
		t.Errorf("goes on after %d s, want 7", n)
	}
	s, at = shelfless(t)
	enter(t, s, at, now)
	_, g = s.find("b")
	g.yielded, g.yieldUntil, g.pushed = now, now.Add(24*time.Second), now.Add(4*time.Second)
	if n := letIn(s, now); n != 11 {
		t.Errorf("pushed after 4 s: goes on after %d s, want 11", n)
	}
}
