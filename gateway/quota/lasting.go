package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/fleet"
)

const (
	// tallyEvery is how often a process tells the others what it holds.
	tallyEvery = 2 * time.Second
	// tallyKeep is how long they believe it: a process that was killed holds nothing after that.
	tallyKeep = 10 * time.Second
)

// lasting counts what lasts: connections, robots that are carried.
type lasting struct {
	mu     sync.Mutex // held while the Counter is asked
	held   atomic.Int64
	told   atomic.Int64 // what others believe of us
	others int          // that other processes hold, as last heard
	heard  time.Time    // when
}

// Enter takes a place for something that lasts; leave, to be called once, gives it back. A verdict that is not OK has
// taken none.
func (q *Quotas) Enter(ctx context.Context, id fleet.TenantID, k Kind) (leave func(), v Verdict) {
	s := q.Settings(ctx, id)
	t := q.tenant(id)
	defer q.release(t)
	l, limit := &t.lasting[k], s.Limit(k)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := q.o.Now(); now.Sub(l.heard) >= tallyEvery {
		l.heard = now // one asks, also in vain
		q.tally(ctx, id, k, l)
	}
	held := int(l.held.Load())
	if held+l.others >= limit {
		q.metrics.refused.WithLabelValues(k.String()).Inc()
		return func() {}, Verdict{Limit: limit, RetryAfter: tallyEvery}
	}
	l.held.Add(1)
	v = Verdict{OK: true, Limit: limit, Remaining: limit - held - 1 - l.others}
	return sync.OnceFunc(func() { l.held.Add(-1) }), v
}

// tally tells and hears. l.mu is held; others who enter wait, as long as the Counter takes at most.
func (q *Quotas) tally(ctx context.Context, id fleet.TenantID, k Kind, l *lasting) {
	if q.o.Counter == nil || !q.circuit.enter() {
		return
	}
	held := l.held.Load()
	others, err := q.o.Counter.Tally(context.WithoutCancel(ctx), id, k.String(), int(held), tallyKeep)
	q.settle(err)
	if err != nil {
		l.others = 0 // alone: each process for itself
		return
	}
	l.others, l.heard = others, q.o.Now()
	l.told.Store(held)
}

// holds says that the tenant has something lasting here, or that others still believe so.
func (t *tenant) holds() bool {
	for k := range t.lasting {
		if t.lasting[k].holds() {
			return true
		}
	}
	return false
}

func (l *lasting) holds() bool { return l.held.Load() > 0 || l.told.Load() > 0 }

// upkeep tells the others regularly.
func (q *Quotas) upkeep() {
	every := time.NewTicker(tallyEvery)
	defer every.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-every.C:
		}
		for _, t := range q.holding() {
			for k := range t.lasting {
				if l := &t.lasting[k]; l.holds() {
					l.mu.Lock()
					q.tally(q.ctx, t.id, Kind(k), l)
					l.mu.Unlock()
				}
			}
			q.release(t)
		}
	}
}

func (q *Quotas) holding() (out []*tenant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for e := q.recent.Front(); e != nil; e = e.Next() {
		if t := e.Value.(*tenant); t.holds() {
			t.users++
			out = append(out, t)
		}
	}
	return out
}
