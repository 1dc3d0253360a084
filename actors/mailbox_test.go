package actors

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"pgregory.net/rapid"

	"starling/engine/robot"
)

// invoker notes what a mailbox delivers.
type invoker struct {
	mu     sync.Mutex
	got    []any
	inside atomic.Int32
	clash  atomic.Bool
	hook   func(any)
	failed int
}

func (i *invoker) take(m any) {
	if i.inside.Add(1) != 1 {
		i.clash.Store(true)
	}
	if s, ok := m.(*robot.StatusReported); ok {
		m = s.Seq
	}
	i.mu.Lock()
	i.got = append(i.got, m)
	i.mu.Unlock()
	if i.hook != nil {
		i.inside.Add(-1)
		i.hook(m)
		return
	}
	i.inside.Add(-1)
}

func (i *invoker) InvokeSystemMessage(m any) { i.take(m) }
func (i *invoker) InvokeUserMessage(m any)   { i.take(m) }
func (i *invoker) EscalateFailure(_, _ any)  { i.failed++ }
func (i *invoker) list() []any               { i.mu.Lock(); defer i.mu.Unlock(); return slices.Clone(i.got) }

func testBox(p *pool) (*box, *invoker) {
	s := &System{metrics: newMetrics(nil), pool: p}
	s.Now = testClock
	b := &box{sys: s, kind: kindRobot}
	b.mailbox.box, b.mailbox.pool, b.mailbox.owner = b, p, &b.mailbox
	i := &invoker{}
	b.RegisterHandlers(i, nil)
	return b, i
}

// The mailbox against a dumb twin: what is delivered, in which order, and what is refused.
func TestMailboxDeliversAsItsTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(0, true)
		b, inv := testBox(p)
		var system, front, ring, want []any
		var status uint64
		gated, suspended := false, false
		run := func() {
			for {
				switch {
				case len(system) > 0:
					switch system[0].(type) {
					case *actor.SuspendMailbox:
						suspended = true
					case *actor.ResumeMailbox:
						suspended = false
					default:
						want = append(want, system[0])
					}
					system = system[1:]
				case suspended:
					return
				case len(front) > 0:
					want, front = append(want, front[0]), front[1:]
				case gated:
					return
				case len(ring) > 0:
					want, ring = append(want, ring[0]), ring[1:]
				case status > 0:
					want, status = append(want, status), 0
				default:
					return
				}
			}
		}
		n := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "ops") {
			n++
			switch rapid.SampledFrom([]string{
				"system", "front", "ring", "flood", "status", "gate", "open", "suspend", "resume", "run",
			}).Draw(t, "op") {
			case "system":
				b.PostSystemMessage(n)
				system = append(system, n)
			case "front":
				b.postFront(n)
				front = append(front, n)
			case "ring":
				if got, ok := b.post(n), len(ring) < int(ringBound(kindRobot)); got != ok {
					t.Fatalf("post with %d in the ring: %v", len(ring), got)
				} else if ok {
					ring = append(ring, n)
				}
			case "flood":
				for range 300 {
					n++
					if b.post(n) {
						ring = append(ring, n)
					}
				}
				if len(ring) > int(ringBound(kindRobot)) {
					t.Fatalf("%d in the ring", len(ring))
				}
			case "status":
				b.postStatus(&robot.StatusReported{Seq: n})
				status = n
			case "gate", "open":
				gated = !gated
				b.gate(gated)
			case "suspend":
				b.PostSystemMessage(&actor.SuspendMailbox{})
				system = append(system, &actor.SuspendMailbox{})
			case "resume":
				b.PostSystemMessage(&actor.ResumeMailbox{})
				system = append(system, &actor.ResumeMailbox{})
			case "run":
				if err := p.quiesce(t.Context()); err != nil {
					t.Fatal(err)
				}
				run()
			}
		}
		if err := p.quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		run()
		if !slices.Equal(inv.got, want) {
			t.Fatalf("delivered %v, want %v", inv.got, want)
		}
		if p.busy.Load() != 0 {
			t.Fatalf("%d still counted as busy", p.busy.Load())
		}
	})
}

func TestMailboxKeepsEachSendersOrderAndRunsOneAtATime(t *testing.T) {
	t.Parallel()
	p := newPool(4, false)
	b, inv := testBox(p)
	const senders, each = 8, 2000
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				for !b.post([2]int{s, i}) {
					if err := p.quiesce(t.Context()); err != nil {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if err := p.quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if inv.clash.Load() {
		t.Fatal("two workers ran the mailbox at once")
	}
	next := [senders]int{}
	for _, m := range inv.got {
		m := m.([2]int)
		if m[1] != next[m[0]] {
			t.Fatalf("sender %d: got %d, want %d", m[0], m[1], next[m[0]])
		}
		next[m[0]]++
	}
	for s, n := range next {
		if n != each {
			t.Fatalf("sender %d: %d of %d arrived", s, n, each)
		}
	}
}

// A sealed mailbox returns what it held and takes nothing more: each message is either delivered, returned or refused.
func TestSealLosesNothing(t *testing.T) {
	t.Parallel()
	for round := range 50 {
		p := newPool(2, false)
		b, inv := testBox(p)
		var refused, sent atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 200 {
					if b.post(i) {
						sent.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
		}
		rest := b.seal()
		wg.Wait()
		if err := p.quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := int64(len(inv.list()) + len(rest)); got != sent.Load() {
			t.Fatalf("round %d: %d taken, %d delivered or returned", round, sent.Load(), got)
		}
		if b.post(1) || b.postFront(1) || b.postStatus(&robot.StatusReported{}) {
			t.Fatal("a sealed mailbox takes mail")
		}
	}
}

func TestMailboxHandsPanicsToTheSupervisorAndGoesOn(t *testing.T) {
	t.Parallel()
	p := newPool(0, true)
	b, inv := testBox(p)
	inv.hook = func(m any) {
		if m == "bad" {
			panic(fmt.Sprint("cannot take ", m))
		}
	}
	b.post("good")
	b.post("bad")
	b.post("better")
	if err := p.quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []any{"good", "bad", "better"}; !slices.Equal(inv.got, want) || inv.failed != 1 {
		t.Fatalf("delivered %v, %d failures", inv.got, inv.failed)
	}
}

func TestStatusesAllocateNothing(t *testing.T) {
	p := newPool(0, true)
	b, inv := testBox(p)
	inv.got = make([]any, 0, 1<<20)
	s := &robot.StatusReported{Seq: 1, BootID: "b"}
	got := testing.AllocsPerRun(200, func() {
		b.postStatus(s)
		m := b.status
		b.status = nil
		b.sys.statuses.put(m)
	})
	if got > 0 {
		t.Fatalf("%v allocations per status", got)
	}
}

func TestFifoGivesItsMemoryBack(t *testing.T) {
	t.Parallel()
	var q fifo
	for i := range 1000 {
		q.push(i)
	}
	for i := range 1000 {
		if m, ok := q.pop(); !ok || m != i {
			t.Fatalf("popped %v, want %d", m, i)
		}
	}
	if q.buf != nil {
		t.Fatalf("an empty fifo holds %d slots", len(q.buf))
	}
}

func BenchmarkMailbox(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("status/workers=%d", workers), func(b *testing.B) {
			p := newPool(workers, false)
			defer func() {
				if err := p.close(b.Context()); err != nil {
					b.Error(err)
				}
			}()
			boxes := make([]*box, 1000)
			for i := range boxes {
				bx, _ := testBox(p)
				bx.RegisterHandlers(sink{}, nil)
				boxes[i] = bx
			}
			s := &robot.StatusReported{Seq: 1}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				boxes[i%len(boxes)].postStatus(s)
				if i++; i%len(boxes) == 0 {
					if err := p.quiesce(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

type sink struct{}

func (sink) InvokeSystemMessage(any)  {}
func (sink) InvokeUserMessage(any)    {}
func (sink) EscalateFailure(_, _ any) {}
