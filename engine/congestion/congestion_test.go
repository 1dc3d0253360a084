package congestion_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/congestion"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// parabola is Greenshields' diagram: production over density, greatest at crit.
func parabola(k, crit, most float64) float64 {
	return max(0, most*(1-(k-crit)*(k-crit)/(crit*crit)))
}

func TestADiagramFindsThePeakItWasShown(t *testing.T) {
	t.Parallel()
	var d congestion.Diagram
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		k := r.Float64() * 0.6
		d.Learn(k, parabola(k, 0.3, 10)+r.NormFloat64()*0.4)
	}
	k, p, known := d.Peak()
	if !known || math.Abs(k-0.3) > 0.06 || math.Abs(p-10) > 0.6 {
		t.Errorf("peak at %.3f of %.2f, known %v; want 0.3 and 10", k, p, known)
	}
	if e, ok := d.Expect(0.15); !ok || math.Abs(e-7.5) > 0.8 {
		t.Errorf("at 0.15 it expects %.2f, want 7.5", e)
	}
}

func TestADiagramThatHasSeenNoFallKnowsNoPeak(t *testing.T) {
	t.Parallel()
	var d congestion.Diagram
	if _, ok := d.Expect(0.1); ok {
		t.Error("expects something of nothing")
	}
	for i := range 200 {
		k := float64(i%20) / 100
		d.Learn(k, 20*k)
	}
	if _, p, known := d.Peak(); known || p < 3 {
		t.Errorf("known %v with %.2f: production rose to the last", known, p)
	}
}

func TestADiagramForgets(t *testing.T) {
	t.Parallel()
	var d congestion.Diagram
	feed := func(n int, crit float64) {
		for i := range n {
			k := float64(i%30) / 50
			d.Learn(k, parabola(k, crit, 10))
		}
	}
	feed(600, 0.4)
	feed(1500, 0.15) // a lane was closed: the floor jams earlier
	if k, _, known := d.Peak(); !known || math.Abs(k-0.15) > 0.05 {
		t.Errorf("peak at %.3f, known %v; want 0.15", k, known)
	}
}

// drive shows the window so many robots for a time, which move as the diagram of the floor says.
func drive(w *congestion.Window, now *time.Time, robots int, span time.Duration, production float64) {
	owed := 0.0
	for end := now.Add(span); now.Before(end); *now = now.Add(time.Second) {
		for owed += production; owed >= 1; owed-- {
			w.Moved()
			if int(owed)%10 == 0 {
				w.Left()
			}
		}
		w.Tick(*now, robots)
	}
}

func TestAWindowIsHeldFromLevel2OnAndLetGoLater(t *testing.T) {
	t.Parallel()
	w := congestion.New(100, congestion.Open, congestion.Rules{})
	now := t0
	drive(w, &now, 10, 2*time.Minute, 3)
	drive(w, &now, 25, 2*time.Minute, 5)
	if w.Enforced() {
		t.Fatal("held although production was never better")
	}
	drive(w, &now, 60, 25*time.Second, 2)
	if w.Enforced() {
		t.Fatal("held at once: one wave is no trend")
	}
	drive(w, &now, 60, time.Minute, 2)
	if !w.Enforced() || w.Limit() != 50 {
		t.Fatalf("held %v at %d after a minute beyond the peak, want at 50", w.Enforced(), w.Limit())
	}
	if k := w.Critical(); math.Abs(k-0.25) > 0.05 {
		t.Errorf("critical density %.2f, want 0.25", k)
	}
	drive(w, &now, 15, 30*time.Second, 4)
	if !w.Enforced() {
		t.Fatal("let go at once")
	}
	drive(w, &now, 15, 90*time.Second, 4)
	if w.Enforced() {
		t.Fatal("still held 90 s after the zone has emptied")
	}
}

func TestModesSayWhetherAWindowIsHeld(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]bool{"level2": false, "never": false, "always": true, "adaptive": true} {
		m, ok := congestion.ParseMode(name)
		if !ok || m.String() != name {
			t.Errorf("%s is parsed as %v, %v", name, m, ok)
		}
		if w := congestion.New(40, congestion.Aisle, congestion.Rules{Mode: m}); w.Enforced() != held || w.Limit() != 20 {
			t.Errorf("%s: held %v at %d", name, w.Enforced(), w.Limit())
		}
	}
	if _, ok := congestion.ParseMode("sometimes"); ok {
		t.Error("sometimes is a mode")
	}
}

// The controllers of the notes that were tried collapsed to their floor. This one's is near the critical number.
func TestTheControllerCutsTowardsTheCriticalNumberAndNoFurther(t *testing.T) {
	t.Parallel()
	w := congestion.New(200, congestion.Open, congestion.Rules{Mode: congestion.Adaptive})
	now := t0
	drive(w, &now, 20, 3*time.Minute, 4)
	drive(w, &now, 60, 3*time.Minute, 10)
	if w.Shadow() < 60 {
		t.Fatalf("cut to %d at the peak", w.Shadow())
	}
	drive(w, &now, 140, 30*time.Minute, 3)
	if n := w.Shadow(); n < 44 || n > 56 {
		t.Errorf("after half an hour of congestion the window is %d, want about 0.8 of the critical 60", n)
	}
	drive(w, &now, 50, time.Hour, 9)
	if n := w.Shadow(); n < 53 {
		t.Errorf("after an hour of good flow at 50 robots the window is %d still", n)
	}
}

func TestAWindowIsNeverBelowOneNorAboveTheZone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 300).Draw(t, "capacity")
		w := congestion.New(capacity, congestion.Class(rapid.IntRange(0, 2).Draw(t, "class")), congestion.Rules{Mode: congestion.Adaptive})
		now := t0
		for range rapid.IntRange(1, 30).Draw(t, "spells") {
			for range rapid.IntRange(0, 3).Draw(t, "refusals") {
				w.Asked(rapid.Bool().Draw(t, "refused"))
			}
			drive(w, &now, rapid.IntRange(0, 2*capacity).Draw(t, "robots"), 20*time.Second, rapid.Float64Range(0, 20).Draw(t, "production"))
			if n := w.Limit(); n < 1 || n > capacity && n > 1 {
				t.Fatalf("the window of a zone of %d is %d", capacity, n)
			}
			if p := w.Production(); math.IsNaN(p) || p < 0 {
				t.Fatalf("production %v", p)
			}
		}
	})
}

func TestSoManyRobotsMayHoldTasks(t *testing.T) {
	t.Parallel()
	for vertices, want := range map[int]int{0: 24, 100: 24, 819: 131, 38_586: 6174} {
		if n := congestion.Active(vertices); n != want {
			t.Errorf("%d vertices: %d, want %d", vertices, n, want)
		}
	}
}
