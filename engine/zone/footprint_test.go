package zone_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"starling/engine/fleet"
)

func open(rows, cols int) []string {
	f := make([]string, rows)
	for i := range f {
		f[i] = strings.Repeat(".", cols)
	}
	return f
}

// touching says that two robots' circles overlap, wherever each is between where it stands and where it goes.
func (w *world) touching(a, b *bot) bool {
	d := math.Inf(1)
	for _, p := range held(a) {
		for _, q := range held(b) {
			u, v := &w.g.Vertices[p], &w.g.Vertices[q]
			d = min(d, math.Hypot(u.X-v.X, u.Y-v.Y))
		}
	}
	return d < a.radius+b.radius-1e-9
}

func held(b *bot) []fleet.Vertex { return append([]fleet.Vertex{b.at}, b.base...) }

func TestWideRobotsKeepTheirDistance(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{true, false} {
		t.Run(fmt.Sprint("lockstep ", lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, grid(open(12, 12), 12), lock, 3)
			for _, at := range []fleet.Vertex{13, 34, 109} {
				w.add(at).radius = 0.8 // holds the eight cells around it
			}
			for _, at := range []fleet.Vertex{5, 65, 70, 77, 130} {
				w.add(at)
			}
			w.nextJob = func(*bot) fleet.Vertex { return fleet.Vertex(w.rng.Intn(len(w.g.Vertices))) }
			for _, b := range w.bots {
				w.ask(b)
			}
			for range 900 {
				w.step()
				for i, a := range w.bots {
					for _, b := range w.bots[:i] {
						if w.touching(a, b) {
							t.Fatalf("tick %d: %s holds %v, %s holds %v", w.tick, a.id, held(a), b.id, held(b))
						}
					}
				}
			}
			total := 0
			for i, b := range w.bots {
				if total += b.done; b.done == 0 {
					t.Errorf("robot %d of radius %.1f reached no goal in 900 s", i, b.radius)
				}
			}
			if total < 90 {
				t.Errorf("%d goals reached in 900 s", total)
			}
		})
	}
}

func TestAWideRobotIsNotGrantedTheBorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grid(open(8, 8), 4), false, 1)
	b := w.add(9)
	b.radius = 0.8
	w.nextJob = func(*bot) fleet.Vertex { return 54 }
	w.ask(b)
	for range 60 {
		w.step()
	}
	if z := w.g.ZoneOf[b.at]; z != w.g.ZoneOf[9] || b.done > 0 {
		t.Errorf("it stands on %d", b.at)
	}
	if x := &w.g.Vertices[b.at]; x.X > 3 || x.Y < 5 {
		t.Errorf("it stands at %.1f, %.1f, within reach of the next zone", x.X, x.Y)
	}
}

// A wide robot that is put down beside a border reaches over it: nobody is led into it from the other side.
func TestNobodyIsLedIntoAWideRobotBeyondTheBorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grid(open(8, 16), 8), false, 1)
	wide := w.add(3*16 + 7)
	wide.radius = 0.8
	small := w.add(8)
	goals := []fleet.Vertex{7*16 + 8, 8}
	w.nextJob = func(b *bot) fleet.Vertex {
		if b == wide {
			return fleet.NoVertex
		}
		return goals[b.done%2]
	}
	w.ask(wide)
	w.step()
	w.ask(small)
	for range 200 {
		w.step()
		if w.touching(wide, small) {
			t.Fatalf("tick %d: the wide one holds %v, the other %v", w.tick, held(wide), held(small))
		}
	}
	if small.at == 8 {
		t.Error("the other one has not set out")
	}
}

// What a wide robot can never have does not count as its next: whoever is in its way goes on.
func TestAWideRobotThatCannotCrossBlocksNobodyForEver(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{true, false} {
		w := newWorld(t, grid(open(8, 16), 8), lock, 1)
		wide := w.add(3*16 + 3)
		wide.radius = 0.8
		small := w.add(0)
		goals := []fleet.Vertex{3*16 + 7, 0}
		w.nextJob = func(b *bot) fleet.Vertex {
			if b == wide {
				return 3*16 + 12
			}
			return goals[b.done%2]
		}
		w.ask(wide)
		w.ask(small)
		for range 300 {
			w.step()
		}
		if small.done < 4 {
			t.Errorf("lockstep %v: the narrow one reached %d goals in 300 s", lock, small.done)
		}
	}
}
