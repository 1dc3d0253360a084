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
			for range 400 {
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
					t.Errorf("robot %d of radius %.1f reached no goal in 400 s", i, b.radius)
				}
			}
			if total < 40 {
				t.Errorf("%d goals reached in 400 s", total)
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
