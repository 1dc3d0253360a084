package link

import (
	"slices"
	"testing"

	"starling/engine/fleet"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// asked collects what robots are asked for until n of them have been.
func asked(t *testing.T, s st, n int) map[uint32]float32 {
	t.Helper()
	got := map[uint32]float32{}
	for len(got) < n {
		m := recv(t, s).GetSampling()
		if m == nil || len(m.Handle) == 0 {
			t.Fatalf("want a wish of some robots, got %v", m)
		}
		for _, h := range m.Handle {
			got[h] = m.StatusHz
		}
	}
	return got
}

func TestEachRobotIsAskedForItsRate(t *testing.T) {
	t.Parallel()
	srv, e, c := start(t, Options{})
	early := make(chan struct{})
	e.onOpen = func(id fleet.RobotID, _ robot.LinkOpened) error {
		if id == "r2" { // the core wants a rate before the robot knows its handle
			srv.AskRate(id, 5)
			close(early)
		}
		return nil
	}
	s, _ := connect(t, c)
	hello(t, s, "r1", "r2", "r3")
	<-early
	w := recv(t, s).GetWelcome()
	handles := map[string]uint32{}
	for _, r := range w.Robots {
		handles[r.RobotId] = r.Handle
	}
	if got := asked(t, s, 1); got[handles["r2"]] != 5 {
		t.Fatalf("asked for %v, want 5 of r2", got)
	}
	srv.AskRate("r1", .5)
	srv.AskRate("r3", .5)
	srv.AskRate("nobody", .5)
	if got := asked(t, s, 2); got[handles["r1"]] != .5 || got[handles["r3"]] != .5 {
		t.Fatalf("asked for %v, want 0.5 of r1 and r3", got)
	}
}

func TestABoundForAllHoldsOverWishesAndEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bound   float64
		bounded bool
		want    []float32 // what is asked after the bound of the robots that want 5, 1 and 0.5; 0 = nothing
	}{
		"a bound between":   {2, true, []float32{0, 1, .5}},
		"a bound below all": {.1, true, []float32{0, 0, 0}},
		"the end of one":    {10, false, []float32{5, 1, .5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stream{wake: make(chan struct{}, 1), known: 3, orders: map[uint32]*linkv1.Order{}, highWater: map[uint32]uint64{}}
			for i, hz := range []float32{5, 1, .5} {
				s.putWish(uint32(i+1), hz)
			}
			for len(s.unasked) > 0 {
				s.next()
			}
			s.slowDown(c.bound, c.bounded)
			if m, _ := s.next(); len(m.GetSampling().Handle) != 0 || m.GetSampling().StatusHz != float32(c.bound) {
				t.Fatalf("first %v, want the bound for all", m)
			}
			got := make([]float32, 3)
			for len(s.unasked) > 0 {
				m, _ := s.next()
				for _, h := range m.GetSampling().Handle {
					got[h-1] = m.GetSampling().StatusHz
				}
			}
			if !slices.Equal(got, c.want) {
				t.Fatalf("asked for %v, want %v", got, c.want)
			}
			s.putWish(1, 3) // a wish above a bound is asked for as far as that lets it
			m, _ := s.next()
			if want := float32(min(3, c.bound)); m.GetSampling().StatusHz != want {
				t.Fatalf("asked for %v under the bound, want %v", m.GetSampling().StatusHz, want)
			}
		})
	}
}

func TestManyWishesTakeFewFrames(t *testing.T) {
	t.Parallel()
	s := &stream{wake: make(chan struct{}, 1), known: 2500, orders: map[uint32]*linkv1.Order{}, highWater: map[uint32]uint64{}}
	for i := range uint32(2500) {
		for _, hz := range []float32{5, 1, .5} { // the last counts
			s.putWish(i+1, hz)
		}
	}
	frames := 0
	for len(s.unasked) > 0 {
		m, _ := s.next()
		if m.GetSampling().StatusHz != .5 || len(m.GetSampling().Handle) > handlesASampling {
			t.Fatalf("frame %v", m)
		}
		frames++
	}
	if frames != 3 {
		t.Fatalf("%d frames, want 3", frames)
	}
}
