package zone_test

import (
	"fmt"
	"testing"

	"starling/engine/fleet"
)

func fill(w *world, n int) {
	perm := w.rng.Perm(len(w.g.Vertices))
	for i := range n {
		w.ask(w.add(fleet.Vertex(perm[i])))
	}
	w.nextJob = func(*bot) fleet.Vertex { return fleet.Vertex(w.rng.Intn(len(w.g.Vertices))) }
}

func (w *world) totals() (done, worst int) {
	for _, b := range w.bots {
		done += b.done
		worst = max(worst, b.worst, b.stuck)
	}
	return done, worst
}

func TestRobotsReachTheirGoalsWithoutConflict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		robots, edge, steps int
		lock                bool
		lose                float64
		atLeast             int
	}{
		"one zone, lock-step":                            {50, 32, 300, true, 0, 300},
		"sixteen zones, lock-step":                       {100, 8, 600, true, 0, 1000},
		"sixteen zones, driving":                         {60, 8, 600, false, 0, 400},
		"sixteen zones, driving, mail lost and shuffled": {60, 8, 600, false, 0.05, 250},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, grid(randomMap(t), c.edge), c.lock, 1)
			w.lose = c.lose
			fill(w, c.robots)
			for range c.steps {
				w.step()
			}
			done, worst := w.totals()
			t.Logf("%d goals, longest stand %d steps, %d grants", done, worst, w.grants)
			if done < c.atLeast {
				t.Errorf("%d goals reached, want at least %d", done, c.atLeast)
			}
		})
	}
}

func TestTwoRobotsSwapPlacesAcrossABorder(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{true, false} {
		t.Run(fmt.Sprint("lockstep ", lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, grid([]string{"......", "......", "......", "......"}, 3), lock, 1)
			a, b := w.add(0), w.add(5)
			goals := map[*bot]fleet.Vertex{a: 5, b: 0}
			w.nextJob = func(x *bot) fleet.Vertex { return goals[x] }
			w.ask(a)
			w.ask(b)
			for range 60 {
				w.step()
			}
			if a.done == 0 || b.done == 0 {
				t.Fatalf("a at %d (goal 5), b at %d (goal 0) after a minute", a.at, b.at)
			}
		})
	}
}
