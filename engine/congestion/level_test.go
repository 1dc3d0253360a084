package congestion_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/congestion"
)

func usual() (congestion.Ladder, [congestion.LevelCount]float64) {
	l := congestion.Usual().Ladders[congestion.KindOpen]
	return l, [congestion.LevelCount]float64{l.Rules[0].Index, l.Rules[1].Index, l.Rules[2].Index}
}

// steps feeds levels an index for each bin and tells each change.
func steps(index func(bin int) float64, n int) (levels []int, changes int) {
	ladder, least := usual()
	var l congestion.Levels
	now, before := t0, 0
	for i := range n {
		now = now.Add(congestion.Bin)
		level := l.Take(now, &congestion.Signal{Index: index(i), Production: 1}, &ladder, &least)
		if level != before {
			changes++
		}
		before = level
		levels = append(levels, level)
	}
	return levels, changes
}

func TestAJamClimbsAStepAtATimeAndClearsWithHysteresis(t *testing.T) {
	t.Parallel()
	levels, changes := steps(func(i int) float64 {
		switch {
		case i < 30:
			return 0.7
		case i < 60:
			return 0.55 // below level 3, within its margin
		}
		return 0.1
	}, 120)
	for i, want := range map[int]int{2: 0, 3: 1, 4: 2, 6: 3, 59: 3, 65: 3, 66: 2, 73: 1, 80: 0, 119: 0} {
		if levels[i] != want {
			t.Errorf("level %d in bin %d, want %d", levels[i], i, want)
		}
	}
	if changes != 6 {
		t.Errorf("%d changes: %v", changes, levels)
	}
}

// A signal that wanders about a threshold raises one alert, not ten.
func TestANoisySignalRaisesOneAlert(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		levels, _ := steps(func(int) float64 { return 0.31 + 0.05*rng.NormFloat64() }, 6*60*2)
		raised := 0
		for i := 1; i < len(levels); i++ {
			if levels[i-1] == 0 && levels[i] > 0 {
				raised++
			}
		}
		if raised > 1 {
			t.Errorf("seed %d: raised %d times in two hours", seed, raised)
		}
	}
}

// Whatever the margin, a level ends where nothing is wrong.
func TestALevelEndsWhateverTheMargin(t *testing.T) {
	t.Parallel()
	ladder, least := usual()
	ladder.Margin = 0.5
	var l congestion.Levels
	now := t0
	for i := range 120 {
		now = now.Add(congestion.Bin)
		sig := congestion.Signal{Index: 0.5, Production: 1}
		if i >= 30 {
			sig.Index = 0
		}
		if l.Take(now, &sig, &ladder, &least); i == 29 && l.Level() == 0 {
			t.Fatal("a jam has no level")
		}
	}
	if l.Level() != 0 {
		t.Errorf("level %d though nothing is wrong", l.Level())
	}
}

func TestDensityCountsWhereRobotsWaitAndProductionFalls(t *testing.T) {
	t.Parallel()
	ladder, least := usual()
	for name, c := range map[string]struct {
		sig  congestion.Signal
		want int
	}{
		"a full zone that jams":        {congestion.Signal{Index: 0.2, Density: 1, Production: 0.7, Crowded: true}, 2},
		"a full zone that delivers":    {congestion.Signal{Index: 0.2, Density: 1, Production: 0.95, Crowded: true}, 0},
		"parked robots":                {congestion.Signal{Index: 0.2, Density: 1.3, Production: 0.1}, 0},
		"far beyond the critical":      {congestion.Signal{Index: 0.2, Density: 1.2, Production: 0.7, Crowded: true}, 3},
		"it is likely to come to much": {congestion.Signal{Index: 0.1, Risk: 0.5, Production: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l congestion.Levels
			for i := range 60 {
				l.Take(t0.Add(time.Duration(i)*congestion.Bin), &c.sig, &ladder, &least)
			}
			if l.Level() != c.want {
				t.Errorf("level %d, want %d", l.Level(), c.want)
			}
		})
	}
}

// However wild the signal: a step at a time, a dwell before each step down, a cool-down before each step up after one.
func TestLevelsKeepTheirTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ladder, least := usual()
		seconds := func(name string) time.Duration {
			return time.Duration(rapid.IntRange(0, 30).Draw(t, name)) * congestion.Bin
		}
		ladder.Dwell, ladder.Cooldown, ladder.ClearAfter = seconds("dwell"), seconds("cooldown"), seconds("clear")
		var l congestion.Levels
		now, moved, fell, level := t0, time.Time{}, time.Time{}, 0
		for _, index := range rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 400).Draw(t, "index") {
			now = now.Add(congestion.Bin)
			next := l.Take(now, &congestion.Signal{Index: index, Production: 1}, &ladder, &least)
			switch {
			case next > level+1 || next < level-1 || next < 0 || next > congestion.LevelCount:
				t.Fatalf("from %d to %d", level, next)
			case next > level && !fell.IsZero() && now.Sub(fell) < ladder.Cooldown:
				t.Fatalf("up %v after a fall", now.Sub(fell))
			case next > level && index < least[level]:
				t.Fatalf("up to %d at %v", next, index)
			case next < level && now.Sub(moved) < max(ladder.Dwell, ladder.ClearAfter):
				t.Fatalf("down after %v", now.Sub(moved))
			case next < level && index >= least[level-1]-ladder.Margin:
				t.Fatalf("down from %d at %v", level, index)
			}
			if next != level {
				moved = now
			}
			if next < level {
				fell = now
			}
			level = next
		}
	})
}
