package stream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// written is a wire that keeps what it is given.
type written struct {
	ops  []string
	told strings.Builder
	on   func(op string) // what happens meanwhile
}

func (w *written) write(f *frame) {
	w.ops = append(w.ops, f.op)
	w.told.Write(f.data)
	if w.on != nil {
		w.on(f.op)
	}
}

func (w *written) finish(int, string) { w.ops = append(w.ops, "finish") }

// loop is a hub whose rounds the test makes, beat by beat.
type loop struct {
	*hub
	now   time.Time
	conns []*session
}

func newLoop(robots int) *loop {
	views := view.New()
	srv := New(Options{Views: views, Graph: func(fleet.Shard) *roadmap.Graph { return nil }})
	l := &loop{hub: newHub(srv, "t")}
	l.now = l.began
	for n := range robots {
		l.show(n, 1)
	}
	return l
}

func robotAt(n int) fleet.RobotID { return fleet.RobotID(fmt.Sprintf("c%035d", n)) }

func (l *loop) show(n int, x float64) {
	l.srv.o.Views.ShowRobot(fleet.Shard{Tenant: "t", Warehouse: "w"}, &robot.View{ID: robotAt(n), Located: true, Pose: fleet.Pose{X: x}})
}

// follow subscribes on a connection of its own.
func (l *loop) follow(rate int) *written {
	x := l.srv.newSession(&auth.Identity{}, "ws", httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	w := &written{}
	x.wire, x.hub = w, l.hub
	_ = x.subscribe(&sub{session: x, id: 1, channel: chanRobots, warehouse: "w", rate: rate})
	l.conns = append(l.conns, x)
	return w
}

// beats lets time pass; every client takes at once what it is given.
func (l *loop) beats(n int) {
	for range n {
		l.now = l.now.Add(beat)
		l.round(l.now, true)
		for _, x := range l.conns {
			x.written()
		}
	}
}

// TestAFrameOfOneRateIsNotGivenToAnotherThatLookedLater lets a robot change between the two.
func TestAFrameOfOneRateIsNotGivenToAnotherThatLookedLater(t *testing.T) {
	t.Parallel()
	l := newLoop(3)
	slow, fast := l.follow(50), l.follow(100)
	l.beats(11) // with the next both are due
	slow.on = func(op string) {
		if slow.on = nil; op == "delta" {
			l.show(2, 777)
		}
	}
	l.show(1, 555)
	l.beats(20)
	for name, w := range map[string]*written{"slow": slow, "fast": fast} {
		if told := w.told.String(); !strings.Contains(told, `"x":555`) || !strings.Contains(told, `"x":777`) {
			t.Errorf("the %s one was told %s", name, told)
		}
	}
}

// TestARobotThatGoesBeforeItsTurnIsNotTold removes one that a part of the snapshot not yet sent would have had, and one that
// has been sent.
func TestARobotThatGoesBeforeItsTurnIsNotTold(t *testing.T) {
	t.Parallel()
	l := newLoop(2500)
	w := l.follow(100)
	parts := 0
	w.on = func(op string) {
		if op != "snapshot" {
			return
		}
		if parts++; parts == 1 {
			for _, n := range []int{3, 2400} {
				l.srv.o.Views.RobotGone(fleet.Shard{Tenant: "t", Warehouse: "w"}, robotAt(n))
			}
		}
	}
	l.beats(20)
	told := w.told.String()
	if !strings.Contains(told, `"robot_removed","data":{"robot_id":"`+string(robotAt(3))) || strings.Contains(told, string(robotAt(2400))) || parts < 3 {
		t.Errorf("in %d parts: removed 3: %v, 2400 told of: %v", parts, strings.Contains(told, "robot_removed"), strings.Contains(told, string(robotAt(2400))))
	}
}

// TestNothingFollowsTheAnswerToAnUnsubscribe lets the hub come with a delta that it has been making meanwhile.
func TestNothingFollowsTheAnswerToAnUnsubscribe(t *testing.T) {
	t.Parallel()
	srv := New(Options{Views: view.New()})
	x := srv.newSession(&auth.Identity{}, "ws", httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	out := &written{}
	x.wire, x.hub = out, newHub(srv, "t")
	s := &sub{session: x, id: 1, channel: chanRobots, rate: 10}
	if bad := x.subscribe(s); bad != nil {
		t.Fatal(bad)
	}
	x.hub.give(s, "delta", &payload{data: []byte("1")}, false)
	x.written()
	id := int64(1)
	x.unsubscribe(&id)
	x.hub.give(s, "delta", &payload{data: []byte("2")}, false)
	if len(out.ops) != 2 || out.ops[0] != "delta" || out.ops[1] != "unsubscribed" {
		t.Errorf("%v", out.ops)
	}
	if s.busy.Load() || x.ended.Load() {
		t.Error("the client is held to be slow for it")
	}
}

// TestWhatManyShareCountsOnce gives one payload to many clients.
func TestWhatManyShareCountsOnce(t *testing.T) {
	t.Parallel()
	srv := New(Options{Views: view.New()})
	p, h := &payload{data: make([]byte, 1000)}, newHub(srv, "t")
	var all []*session
	for range 10 {
		x := srv.newSession(&auth.Identity{}, "ws", httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
		x.wire, x.hub = &written{}, h
		all = append(all, x)
		h.give(&sub{session: x}, "delta", p, false)
	}
	if n := srv.Queued(); n != 1000 || all[0].queued.Load() != 1000 {
		t.Errorf("%d bytes on their way", n)
	}
	for i, x := range all {
		if x.written(); i < 9 && srv.Queued() != 1000 {
			t.Errorf("%d bytes after %d have it", srv.Queued(), i+1)
		}
	}
	if n := srv.Queued(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestOfManyNotAllAreToldAtOnce lets more subscribe at one rate than a class holds.
func TestOfManyNotAllAreToldAtOnce(t *testing.T) {
	t.Parallel()
	l := newLoop(3)
	all := make([]*written, 3*crowded)
	for i := range all {
		all[i] = l.follow(10)
	}
	l.beats(30)
	most := 0
	for n := range 40 { // two seconds
		l.show(1, float64(100+n))
		before := deltas(all)
		l.beats(1)
		most = max(most, deltas(all)-before)
	}
	if most != crowded {
		t.Errorf("%d were told at once, want %d", most, crowded)
	}
	if n := deltas(all); n < 2*len(all) || n > 4*len(all) {
		t.Errorf("%d deltas to %d clients in two seconds and a half at 1 Hz", n, len(all))
	}
	for _, x := range l.conns[:crowded] {
		x.gone()
	}
	if w := l.follow(10); l.classes[3*phases].members != 1 {
		t.Errorf("%v is not in the place that has become free", w)
	}
}

func deltas(all []*written) (n int) {
	for _, w := range all {
		n += strings.Count(w.told.String(), `"op":"delta"`)
	}
	return n
}

// TestOneThatLeavesIsFoundAtOnce has each of many subscriptions leave, in another order than they came: each stands where
// it says, so that nobody looks through all of them under the hub's lock.
func TestOneThatLeavesIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	l := newLoop(0)
	for range 500 {
		l.follow(10)
	}
	for i := range l.conns {
		l.conns[i*7%500].gone()
		left := l.subs[chanRobots]
		for at, s := range left {
			if s.at != at || s.left.Load() {
				t.Fatalf("after %d have left the one at %d says %d", i+1, at, s.at)
			}
		}
		if len(left) != 499-i {
			t.Fatalf("%d are left of 500 after %d have gone", len(left), i+1)
		}
	}
}

// BenchmarkManyLeave is 10,000 connections that end at once, each with a subscription of its own.
func BenchmarkManyLeave(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := newLoop(0)
		for range 10_000 {
			l.follow(10)
		}
		b.StartTimer()
		for _, x := range l.conns {
			x.gone()
		}
	}
}

// BenchmarkFilter is a subscription that names a thousand robots: what it takes to make, of which 16 kB stay.
func BenchmarkFilter(b *testing.B) {
	b.ReportAllocs()
	w := &filterWish{RobotIDs: make([]string, 1000)}
	for i := range w.RobotIDs {
		w.RobotIDs[i] = fmt.Sprintf("c0000000-0000-4000-8000-%012d", i)
	}
	for b.Loop() {
		s := sub{channel: chanRobots}
		if s.filterBy(w, &faults{}); len(s.robots) != 1000 || cap(s.robots) != 1000 {
			b.Fatal(len(s.robots), cap(s.robots))
		}
	}
}
