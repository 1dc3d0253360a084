package link

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// allowance lets so many statuses of each frame through, and so many robots in all.
type allowance struct {
	mu            sync.Mutex
	frame, places int
	held, taken   int
}

func (a *allowance) TakeStatuses(tenant fleet.TenantID, n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if tenant != "t" {
		return n
	}
	a.taken += min(n, a.frame)
	return min(n, a.frame)
}

func (a *allowance) CarryRobot(context.Context, fleet.TenantID) (func(), bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held >= a.places {
		return func() {}, false
	}
	a.held++
	return func() {
		a.mu.Lock()
		a.held--
		a.mu.Unlock()
	}, true
}

func (a *allowance) now() (held int) { a.mu.Lock(); defer a.mu.Unlock(); return a.held }

func TestOverQuotaStatusesAreTakenInTurnsAndTheReliableLaneFlows(t *testing.T) {
	t.Parallel()
	const robots, frames = 20, 40
	_, e, c := start(t, Options{Quotas: &allowance{frame: 5, places: robots}})
	s, _ := connect(t, c)
	var ids []string
	var handles []uint32
	for i := range robots {
		ids, handles = append(ids, fmt.Sprint("r", i)), append(handles, uint32(i+1))
	}
	hello(t, s, ids...)
	recv(t, s)
	for i := range frames {
		if err := s.Send(batch(handles...)); err != nil {
			t.Fatal(err)
		}
		p := &linkv1.ProgressBatch{Entries: []*linkv1.Progress{{Handle: 1, Number: uint64(i + 1), Kind: linkv1.ProgressKind_PROGRESS_KIND_ARRIVED, AtMs: 1}}}
		if err := s.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: p}}); err != nil {
			t.Fatal(err)
		}
	}
	if !until(5*time.Second, func() bool { return e.box("r0").count() == frames }) {
		t.Fatalf("%d of %d entries of progress came through", e.box("r0").count(), frames)
	}
	for _, id := range ids { // 5 of 20 a frame: each robot is heard of in every fourth
		if n := e.box(fleet.RobotID(id)).statuses.Load(); n != frames/4 {
			t.Errorf("%d statuses of %s, want %d", n, id, frames/4)
		}
	}
}

// A robot that comes twice in a frame is heard of by its newer status, whatever of the frame is taken.
func TestOverQuotaTheNewestOfEachRobotIsTaken(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const robots = 6
		var s sampled
		for range 12 {
			handles := rapid.SliceOfN(rapid.Uint32Range(1, robots), 1, 20).Draw(t, "handles")
			last := map[uint32]int{}
			for i, h := range handles {
				last[h] = i
			}
			places := s.newest(handles, robots)
			if len(places) != len(last) {
				t.Fatalf("%v of %v, want one for each robot", places, handles)
			}
			taken := rapid.IntRange(0, len(places)).Draw(t, "taken")
			picked := s.turns(places, taken)
			if len(picked) != taken {
				t.Fatalf("%d picked, want %d", len(picked), taken)
			}
			heard := map[uint32]bool{}
			for _, i := range picked {
				h := handles[i]
				if last[h] != int(i) {
					t.Fatalf("of robot %d the status at %d in %v", h, i, handles)
				}
				if heard[h] {
					t.Fatalf("robot %d twice in a frame", h)
				}
				heard[h] = true
			}
		}
	})
}

func TestWhoSendsTooMuchIsToldARate(t *testing.T) {
	t.Parallel()
	_, _, c := start(t, Options{Quotas: &allowance{frame: 1, places: 10}})
	s, _ := connect(t, c)
	hello(t, s, "r1", "r2", "r3", "r4")
	recv(t, s)
	done := make(chan *linkv1.Sampling)
	go func() {
		m, err := s.Recv()
		if err != nil {
			t.Error(err)
		}
		done <- m.GetSampling()
	}()
	tick := time.NewTicker(20 * time.Millisecond) // 50 frames a second of one status a robot, of which a quarter is taken
	defer tick.Stop()
	for {
		select {
		case m := <-done:
			if m == nil || m.StatusHz <= 0 || m.StatusHz > 25 || len(m.Handle) != 0 {
				t.Fatalf("told %v", m)
			}
			return
		case <-tick.C:
			if err := s.Send(batch(1, 2, 3, 4)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheToldRateComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		robots := rapid.IntRange(1, 1000).Draw(t, "robots")
		hz := rapid.Float64Range(0.2, 50).Draw(t, "hz")
		share := rapid.Float64Range(0, 0.9).Draw(t, "share")
		offered := int(math.Ceil(hz * float64(robots)))
		s := sampled{offered: offered, taken: int(float64(offered) * share)}
		told := s.rate(time.Second, robots)
		if want := max(slowest, float64(s.taken)/float64(robots)); math.Abs(told-want) > 1e-9 {
			t.Fatalf("told %v, want %v", told, want)
		}
		last := told
		for range 100 {
			s.offered, s.taken = 10, 10
			told := s.rate(time.Second, robots)
			if told == 0 {
				if before := float64(offered) / float64(robots); math.Abs(last-before) > 1e-9 {
					t.Fatalf("left at %v, it had sent at %v", last, before)
				}
				return
			}
			if told < last && s.asked != 0 {
				t.Fatalf("told %v after %v although all was taken", told, last)
			}
			last = told
		}
		t.Fatal("the sender never comes back to its own rate")
	})
}

func TestRobotsOfATenantAreBounded(t *testing.T) {
	t.Parallel()
	a := &allowance{frame: 1000, places: 2}
	_, e, c := start(t, Options{Quotas: a})
	first, end := connect(t, c)
	hello(t, first, "r1", "r2", "r3")
	refused := 0
	for _, r := range recv(t, first).GetWelcome().Robots {
		if r.Refused == "RESOURCE_EXHAUSTED" {
			refused++
		} else if r.Refused != "" {
			t.Fatal(r.Refused)
		}
	}
	if refused != 1 || a.now() != 2 {
		t.Fatalf("%d refused, %d places held", refused, a.now())
	}
	// A robot that comes by another stream takes its place along, where the tenant has no other.
	carriedBy := func(id string) bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.opened[fleet.RobotID(id)]) > 0 }
	var ids []string
	for _, id := range []string{"r1", "r2", "r3"} {
		if carriedBy(id) {
			ids = append(ids, id)
		}
	}
	second, endSecond := connect(t, c)
	hello(t, second, ids...)
	for _, r := range recv(t, second).GetWelcome().Robots {
		if r.Refused != "" {
			t.Fatalf("taken over: %s", r.Refused)
		}
	}
	end()
	if !until(5*time.Second, func() bool { return len(e.ended()) >= 2 }) || a.now() != 2 {
		t.Fatalf("%d places after the first stream's end", a.now())
	}
	endSecond()
	if !until(5*time.Second, func() bool { return a.now() == 0 }) {
		t.Fatalf("%d places are still held", a.now())
	}
	// An opening that failed gives its place back.
	e.onOpen = func(fleet.RobotID, robot.LinkOpened) error { return context.DeadlineExceeded }
	third, _ := connect(t, c)
	hello(t, third, "r5")
	if recv(t, third).GetWelcome().Robots[0].Refused == "" || a.now() != 0 {
		t.Fatalf("%d places are held by a robot that was not opened", a.now())
	}
}

// The stream that carried a robot ends between place and carry: its place went with it, and another one is taken.
func TestNoRobotIsCarriedUncounted(t *testing.T) {
	t.Parallel()
	a := &allowance{frame: 1, places: 1}
	s, _, _ := start(t, Options{Quotas: a})
	way := func(session uint64) *carried {
		return &carried{stream: &stream{server: s, who: Identity{Tenant: "t"}}, id: "r", session: session}
	}
	open := func(c *carried, between func()) bool {
		if !s.place(t.Context(), c) {
			return false
		}
		between()
		old, ok := s.carry(c)
		if ok = ok && s.placed(t.Context(), c); !ok {
			s.giveBack(c, old)
		}
		return ok
	}
	first, second := way(1), way(2)
	if !open(first, func() {}) || !open(second, func() { s.drop(first) }) || a.now() != 1 {
		t.Fatalf("%d places are held for one robot", a.now())
	}
	third := way(3)
	if open(third, func() { s.drop(second); a.CarryRobot(t.Context(), "t") }) || s.route("r") != nil {
		t.Fatal("carried without a place")
	}
}
