package zone_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

// row is a floor of so many zones of 6×6 cells side by side, whose robots admit by rules.
func row(t *testing.T, zones int, rules congestion.Rules) *world {
	t.Helper()
	return floor(t, slices.Repeat([]string{strings.Repeat(".", 6*zones)}, 6), rules)
}

func floor(t *testing.T, rows []string, rules congestion.Rules) *world {
	t.Helper()
	w := newWorld(t, grid(rows, 6), true, 1)
	tb := roadmap.NewTableMap(w.g, len(w.g.Vertices))
	for z := range w.g.Zones {
		w.zones[z] = zone.New(w.g, z, tb, zone.Rules{Lockstep: true, Admission: rules}, 1, 1)
	}
	w.nextJob = func(*bot) fleet.Vertex { return fleet.NoVertex }
	return w
}

// cellAt is the vertex at a row and a column of w's floor.
func (w *world) cellAt(r, c int) fleet.Vertex {
	v := slices.IndexFunc(w.g.Vertices, func(v roadmap.Vertex) bool { return v.ID == strconv.Itoa(r*w.g.Cols+c) })
	return fleet.Vertex(v)
}

// send sets a robot's goal, of an age.
func (w *world) send(b *bot, goal fleet.Vertex, age time.Duration) {
	b.goal, b.since = goal, w.now.Add(-age)
	w.ask(b)
	w.settle()
}

// away counts the robots that have not reached their goals.
func (w *world) away() int {
	n := 0
	for _, b := range w.bots {
		if b.goal != fleet.NoVertex {
			n++
		}
	}
	return n
}

// through sends a crowd from the first of three zones to the last, which is entered by one cell alone, and returns the most
// robots that the middle one had.
func through(t *testing.T, rules congestion.Rules) int {
	t.Helper()
	rows := slices.Repeat([]string{"............@....."}, 6)
	rows[5] = ".................."
	w := floor(t, rows, rules)
	for r := range 6 {
		for c := range 4 {
			w.send(w.add(w.cellAt(r, c)), w.cellAt(r, 14+c), 0)
		}
	}
	most := 0
	for n := 0; w.away() > 0; n++ {
		if n > 400 {
			t.Fatalf("%d robots have not arrived after 400 s", w.away())
		}
		w.step()
		if v := w.views[1].Window; v.Admitted+v.Inbound > most {
			most = v.Admitted + v.Inbound
		}
	}
	return most
}

func TestAFullZoneKeepsOutWhoOnlyPassesThrough(t *testing.T) {
	t.Parallel()
	// A tenth of 36 vertices: four robots. Who is pushed from behind comes in all the same.
	held, free := through(t, congestion.Rules{Mode: congestion.Always, Share: 0.1}), through(t, congestion.Rules{Mode: congestion.Never})
	if held >= free {
		t.Errorf("at most %d robots in the middle with a window of 4, %d without", held, free)
	}
}

// Two full zones whose robots all want to get through the other: neither has room before the other makes some.
func TestFullZonesExchangeOneForOne(t *testing.T) {
	t.Parallel()
	w := row(t, 4, congestion.Rules{Mode: congestion.Always, Share: 0.1})
	for k := range 4 {
		w.send(w.add(w.cellAt(k+1, 9)), w.cellAt(k+1, 20), 0)
		w.send(w.add(w.cellAt(k+1, 14)), w.cellAt(k+1, 3), 0)
	}
	n := 0
	for ; w.away() > 0 && n < 100; n++ {
		w.step()
	}
	// Without the exchange it takes 27 s and two domains, with nothing refused 17 s.
	if n > 22 || w.domains > 0 {
		t.Errorf("8 robots got past each other after %d s and with %d domains' messages", n, w.domains)
	}
	if v := w.views[1].Window; v.Limit != 4 || !v.Enforced {
		t.Errorf("the window is %+v", v)
	}
}

// Robots that rest in a zone make no room by being waited for.
func TestAZoneFullOfRestingRobotsLetsOthersThrough(t *testing.T) {
	t.Parallel()
	w := row(t, 3, congestion.Rules{Mode: congestion.Always, Share: 0.1})
	for r := 1; r < 5; r++ {
		for c := 7; c < 11; c++ {
			w.ask(w.add(w.cellAt(r, c)))
		}
	}
	w.settle()
	b := w.add(w.cellAt(2, 2))
	w.send(b, w.cellAt(2, 15), 0)
	for n := 0; b.goal != fleet.NoVertex; n++ {
		if n > 60 {
			t.Fatalf("after %d s the robot is at %d", n, b.at)
		}
		w.step()
	}
}

// What a full zone must let in: each alone before a zone that is full of robots on their way.
func TestFullZonesAdmitWhoMustComeIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		goal  int // column
		age   time.Duration
		power bool // the goal is a charger
		in    bool
	}{
		"passing through":            {goal: 15},
		"its goal is here":           {goal: 8, in: true},
		"it has waited for too long": {goal: 15, age: congestion.Oldest, in: true},
		"it goes to charge":          {goal: 15, power: true, in: true},
		"not yet for long enough":    {goal: 15, age: congestion.Oldest - 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := row(t, 3, congestion.Rules{Mode: congestion.Always, Share: 0.1})
			goal := w.cellAt(0, c.goal)
			w.g.Vertices[goal].Charging = c.power
			// Four that would go on, but stand: their ways are closed.
			for r := 2; r < 6; r++ {
				b := w.add(w.cellAt(r, 9))
				b.halted = true
				w.send(b, w.cellAt(r, 17), 0)
			}
			b := w.add(w.cellAt(0, 5))
			w.send(b, goal, c.age)
			for range 5 {
				w.step()
			}
			if in := w.g.ZoneOf[b.at] == 1; in != c.in {
				t.Errorf("after 5 s it is in: %v, want %v", in, c.in)
			}
		})
	}
}
