package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
)

// Against a dumb twin: each node runs once for each time it was queued, each lane's in order; a lane that owes nothing
// waits for one turn of each other lane at most; lanes that always have something to run handle equally much.
func TestLanesTakeTurns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 5).Draw(t, "lanes")
		lanes := make([]lane, count)
		queued := make([][]*node, count) // the twin
		since := make([][]int, count)    // what the others have handled since a lane began to wait; nil = it does not, or it owed
		var q turns
		index := func(l *lane) int {
			for i := range lanes {
				if l == &lanes[i] {
					return i
				}
			}
			return -1
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "push") {
				i := rapid.IntRange(0, count-1).Draw(t, "lane")
				owes := lanes[i].credit < 0
				n := &node{lane: &lanes[i]}
				if q.push(n); len(queued[i]) == 0 && !owes {
					since[i] = make([]int, count)
				}
				queued[i] = append(queued[i], n)
				continue
			}
			n := q.pop()
			if n == nil {
				for i := range queued {
					if len(queued[i]) > 0 {
						t.Fatalf("nothing to run while lane %d has %d", i, len(queued[i]))
					}
				}
				continue
			}
			i := index(n.lane)
			if len(queued[i]) == 0 || queued[i][0] != n {
				t.Fatalf("lane %d runs out of order", i)
			}
			queued[i], since[i] = queued[i][1:], nil
			used := rapid.SampledFrom([]int{1, 3, quantum, throughput}).Draw(t, "used")
			n.lane.credit -= used
			for w := range since {
				if since[w] == nil {
					continue
				}
				if since[w][i] += used; since[w][i] > quantum+throughput {
					t.Fatalf("lane %d waits while lane %d handles %d messages", w, i, since[w][i])
				}
			}
		}
	})
}

func TestBusyLanesHandleEquallyMuch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, throughput), 2, 5).Draw(t, "sizes")
		lanes, handled := make([]lane, len(sizes)), make([]int, len(sizes))
		var q turns
		for i := range lanes {
			for range 3 {
				q.push(&node{lane: &lanes[i]})
			}
		}
		for range 3000 {
			n := q.pop()
			for i := range lanes {
				if n.lane == &lanes[i] {
					handled[i] += sizes[i]
					n.lane.credit -= sizes[i]
				}
			}
			q.push(n)
		}
		for i := range handled {
			for j := range handled {
				if handled[i]-handled[j] > 2*(quantum+throughput) {
					t.Fatalf("runs of %v messages: %v were handled", sizes, handled)
				}
			}
		}
	})
}

// One who was alone for long owes nothing for it but its last run.
func TestALaneAloneOwesNothing(t *testing.T) {
	t.Parallel()
	var q turns
	var l lane
	for range 3 {
		q.push(&node{lane: &l})
	}
	for range 1000 {
		n := q.pop()
		l.credit -= throughput
		q.push(n)
	}
	if l.credit < -throughput {
		t.Fatalf("a lane that was alone owes %d", -l.credit)
	}
}

// With real workers: a tenant with very much mail does not make another one's wait for the end of it.
func TestANoisyTenantsMailLetsOthersThrough(t *testing.T) {
	t.Parallel()
	p := newPool(1, false)
	gate := make(chan struct{})
	var noisy, before atomic.Int64
	lane := func(b *box, tenant string) { b.mailbox.lane = p.lane(fleet.TenantID(tenant)) }
	first, inv := testBox(p)
	var once sync.Once
	inv.hook = func(any) { once.Do(func() { <-gate }) } // until all is queued
	first.post(0)
	const actors, each = 2000, 10
	for range actors {
		b, inv := testBox(p)
		lane(b, "noisy")
		inv.hook = func(any) { noisy.Add(1) }
		for i := range each {
			b.post(i)
		}
	}
	b, quiet := testBox(p)
	lane(b, "quiet")
	quiet.hook = func(any) { before.Store(noisy.Load()) }
	b.post(1)
	close(gate)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.quiesce(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := before.Load(); n > quantum+each || noisy.Load() != actors*each {
		t.Fatalf("%d of %d messages of another tenant went before", n, noisy.Load())
	}
}

// Loads of tenants take turns as well.
func TestLoadsTakeTurns(t *testing.T) {
	t.Parallel()
	p := newPool(1, false)
	gate := make(chan struct{})
	var noisy, before atomic.Int64
	for range 2000 {
		p.load(p.lane("noisy"), func() { <-gate; noisy.Add(1) })
	}
	p.load(p.lane("quiet"), func() { before.Store(noisy.Load()) })
	close(gate)
	if err := p.quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := before.Load(); n > 3*loaders || noisy.Load() != 2000 {
		t.Fatalf("%d of %d loads of another tenant went before", n, noisy.Load())
	}
}
