package robot_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// said is one report of a robot, and how it was measured.
type said struct {
	at       time.Time
	x, y     float64
	pace     robot.Pace
	measured bool
	key      bool
}

// watched is a robot under no other's hand that says where it is.
type watched struct {
	live
	seq   uint64
	said  []said
	asked []float64
}

func watch(t testing.TB) *watched {
	l, _ := ready(t)
	w := &watched{live: *l, seq: 1}
	w.now = t0.Add(10 * time.Second)
	return w
}

// report says one status after a while.
func (w *watched) report(after time.Duration, x, y, speed float64, state fleet.RobotState, errors ...fleet.RobotError) {
	w.now = w.now.Add(after)
	w.seq++
	out := w.tell(&robot.StatusReported{
		BootID: "b1", Seq: w.seq, At: w.now, ReceivedAt: w.now, Pose: fleet.Pose{X: x, Y: y}, Velocity: speed, Battery: .9, State: state, Errors: errors,
	})
	var v robot.View
	w.View(&v)
	w.said = append(w.said, said{at: w.now, x: x, y: y, pace: v.Pace, measured: len(all[robot.Measure](out)) > 0, key: v.Key})
	for _, e := range all[robot.AskRate](out) {
		w.asked = append(w.asked, e.Hz)
	}
}

func (w *watched) measured() (n int) {
	for _, r := range w.said {
		if r.measured {
			n++
		}
	}
	return n
}

// The track that is kept of a robot tells where it was, within the bound that sampling.go states, however it drives and
// however often it reports.
func TestTheSampledTrackIsWithinItsBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const top = 2.0 // m/s
		w := watch(t)
		rates := robot.Sampling{
			MovingHz: rapid.Float64Range(.2, 5).Draw(rt, "moving"), IdleHz: rapid.Float64Range(.05, 1).Draw(rt, "idle"), AlarmedHz: 5,
		}
		w.tell(robot.SamplingChanged{Sampling: rates})
		x, y, left := 2.0, 2.0, 0
		state, speed, heading := fleet.Idle, 0.0, 0.0
		for range rapid.IntRange(50, 400).Draw(rt, "reports") {
			if left == 0 { // another leg: it stands, creeps without saying so, or drives
				left = rapid.IntRange(1, 60).Draw(rt, "leg")
				heading = rapid.Float64Range(-math.Pi, math.Pi).Draw(rt, "heading")
				switch rapid.IntRange(0, 2).Draw(rt, "kind") {
				case 0:
					state, speed = fleet.Idle, 0
				case 1:
					state, speed = fleet.Waiting, .04
				default:
					state, speed = fleet.Moving, rapid.Float64Range(.1, top).Draw(rt, "speed")
				}
			}
			left--
			after := time.Duration(rapid.IntRange(20, 1500).Draw(rt, "after")) * time.Millisecond
			d := speed * after.Seconds()
			if nx, ny := x+d*math.Cos(heading), y+d*math.Sin(heading); nx > 0 && nx < 8 && ny > 0 && ny < 4 {
				x, y = nx, ny
			} else {
				heading += math.Pi
			}
			w.report(after, x, y, speed, state)
		}
		hold(rt, w.said, rates, top)
	})
}

// hold checks what was left out against what was measured before and after it.
func hold(t *rapid.T, all []said, rates robot.Sampling, top float64) {
	const round = 1e-6
	last := -1
	for i := range all {
		if !all[i].measured {
			continue
		}
		if last < 0 {
			last = i
			continue
		}
		a, b := all[last], all[i]
		gap := b.at.Sub(a.at).Seconds()
		silent := b.at.Sub(all[i-1].at).Seconds() // before b: nobody knows what it did
		slowest := 1 / min(rates.MovingHz, rates.IdleHz)
		if a.pace != robot.PaceIdle {
			slowest = 1 / rates.MovingHz
		}
		if gap > slowest+silent+round {
			t.Fatalf("%s: %v s between two measurements, want one in %v s", a.pace, gap, slowest)
		}
		for _, r := range all[last+1 : i] {
			if a.pace == robot.PaceIdle {
				if off := math.Hypot(r.x-a.x, r.y-a.y); off > robot.Tolerance+top/20 {
					t.Fatalf("a robot that stands was %v m away at %v", off, r.at)
				}
				continue
			}
			f := r.at.Sub(a.at).Seconds() / gap
			off := math.Hypot(r.x-a.x-f*(b.x-a.x), r.y-a.y-f*(b.y-a.y))
			if most := top / 2 * (slowest + silent); off > most+round {
				t.Fatalf("the line is off by %v m at %v, want %v", off, r.at, most)
			}
		}
		last = i
	}
	if last < 0 {
		t.Fatal("nothing was measured")
	}
}

// What is measured has the rate of its pace, whatever the rate and the jitter of the reports.
func TestMeasurementsKeepToTheirRate(t *testing.T) {
	t.Parallel()
	fatal := fleet.RobotError{Code: "E1", Level: fleet.LevelFatal}
	for name, c := range map[string]struct {
		state       fleet.RobotState
		errors      []fleet.RobotError
		every       time.Duration
		least, most int // in a minute
	}{
		"driving, ten reports a second":         {fleet.Moving, nil, 100 * time.Millisecond, 58, 63},
		"driving, a report a second":            {fleet.Moving, nil, time.Second, 59, 61},
		"driving, reports of the moving rate":   {fleet.Moving, nil, 800 * time.Millisecond, 45, 75},
		"standing, ten reports a second":        {fleet.Idle, nil, 100 * time.Millisecond, 6, 8},
		"charging, a report in two seconds":     {fleet.Charging, nil, 2 * time.Second, 5, 8},
		"in trouble, ten reports a second":      {fleet.Error, nil, 100 * time.Millisecond, 290, 310},
		"with a fatal error, twenty reports":    {fleet.Idle, []fleet.RobotError{fatal}, 50 * time.Millisecond, 290, 310},
		"in trouble, as many reports as wanted": {fleet.Error, nil, 200 * time.Millisecond, 290, 301},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				w := watch(t)
				for range 20 { // let it settle
					w.report(c.every, .5, 3.5, 0, c.state, c.errors...)
				}
				for range int(4 * time.Second / c.every) {
					w.report(c.every, .5, 3.5, 0, c.state, c.errors...)
				}
				w.said = nil
				rng, early := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)), 0.0
				for range int(time.Minute / c.every) {
					late := .2*rng.Float64() - .1 // a tenth early or late, by the clock
					w.report(time.Duration((1+late-early)*float64(c.every)), .5, 3.5, 0, c.state, c.errors...)
					early = late
				}
				if n := w.measured(); n < c.least || n > c.most {
					rt.Fatalf("%d measured in a minute, want %d..%d", n, c.least, c.most)
				}
			})
		})
	}
}

func TestTheRobotIsAskedForTheRateOfItsPace(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.asked = nil
	w.report(time.Second, .5, 3.5, 0, fleet.Idle)
	w.report(time.Second, .5, 3.5, 1, fleet.Moving)
	w.report(time.Second, 1.5, 3.5, 1, fleet.Moving)
	w.report(time.Second, 1.5, 3.5, 0, fleet.Error)
	for range 8 { // it calms down after a while
		w.report(time.Second, 1.5, 3.5, 0, fleet.Idle)
	}
	want := []float64{1, 5, robot.LeastReportHz}
	if len(w.asked) != len(want) {
		t.Fatalf("asked for %v, want %v", w.asked, want)
	}
	for i := range want {
		if w.asked[i] != want[i] {
			t.Fatalf("asked for %v, want %v", w.asked, want)
		}
	}
}

func TestWhatChangesIsMeasuredAtOnce(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for range 10 {
		w.report(time.Second, .5, 3.5, 0, fleet.Idle)
	}
	last := func() said { return w.said[len(w.said)-1] }
	w.report(time.Second, .5, 3.5, 0, fleet.Idle)
	if last().measured {
		t.Fatal("nothing has changed, and it was measured")
	}
	w.report(200*time.Millisecond, .5, 3.5, 0, fleet.Charging)
	if r := last(); !r.measured || !r.key {
		t.Fatalf("another state: %+v", r)
	}
	w.report(200*time.Millisecond, .5, 3.5, 0, fleet.Charging, fleet.RobotError{Code: "W", Level: fleet.LevelWarning})
	if r := last(); !r.measured || !r.key {
		t.Fatalf("a warning: %+v", r)
	}
	w.report(200*time.Millisecond, .9, 3.5, 0, fleet.Charging, fleet.RobotError{Code: "W", Level: fleet.LevelWarning})
	if r := last(); !r.measured || r.pace != robot.PaceMoving {
		t.Fatalf("it has been pushed aside: %+v", r)
	}
}

func TestOtherRatesHoldAtOnceAndWithinBounds(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.report(time.Second, .5, 3.5, 1, fleet.Moving)
	w.asked = nil
	for _, c := range []struct{ set, want float64 }{{2, 2}, {1000, robot.MostHz}, {math.NaN(), 1}, {-1, 1}, {.02, robot.LeastReportHz}} {
		w.asked = nil
		for _, e := range all[robot.AskRate](w.tell(robot.SamplingChanged{Sampling: robot.Sampling{MovingHz: c.set}})) {
			w.asked = append(w.asked, e.Hz)
		}
		w.report(time.Second, .5, 3.5, 1, fleet.Moving)
		var v robot.View
		if w.View(&v); len(w.asked) > 1 || max(robot.LeastReportHz, v.SamplingHz) != c.want {
			t.Fatalf("set to %v: %v, asked for %v, want %v", c.set, v.SamplingHz, w.asked, c.want)
		}
	}
}
