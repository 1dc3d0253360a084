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
	// tallies is how many are told in one call. 5,000 tenants with all that lasts are 80 calls every tallyEvery.
	tallies = 128
)

// Tally is what this process holds of a tenant's things of a kind.
type Tally = struct {
	Tenant fleet.TenantID
	Kind   string
	Held   int
}

// lasting counts what lasts: connections, robots that are carried.
type lasting struct {
	held atomic.Int64
	told atomic.Int64 // what others believe of us

	mu     sync.Mutex
	others int           // that other processes hold, as last heard
	heard  time.Time     // when
	asked  time.Time     // when it was last asked for, also in vain
	asking chan struct{} // closed when the call under way has ended, nil = there is none
}

// holder is a tenant's count of one kind.
type holder struct {
	t *tenant
	k Kind
}

func (h holder) lasting() *lasting { return &h.t.lasting[h.k] }

// Enter takes a place for something that lasts; leave, to be called once, gives it back. A verdict that is not OK has
// taken none. It waits for the shared count Options.Patience at most.
func (q *Quotas) Enter(ctx context.Context, id fleet.TenantID, k Kind) (leave func(), v Verdict) {
	s := q.Settings(ctx, id)
	t := q.tenant(id)
	defer q.release(t)
	q.hear(ctx, holder{t, k})
	l, limit := &t.lasting[k], s.Limit(k)
	l.mu.Lock()
	defer l.mu.Unlock()
	others := l.others
	// What a process held that may have died since must keep nobody out: alone, each process counts for itself.
	if q.o.Now().Sub(l.heard) >= tallyKeep || q.circuit.open() {
		others = 0
	}
	held := int(l.held.Load())
	if held+others >= limit {
		q.metrics.refused.WithLabelValues(k.String()).Inc()
		return func() {}, Verdict{Limit: limit, RetryAfter: tallyEvery}
	}
	l.held.Add(1)
	v = Verdict{OK: true, Limit: limit, Remaining: limit - held - 1 - others}
	return sync.OnceFunc(func() { l.held.Add(-1) }), v
}

// hear asks what the others hold where that is due. Whoever asks waits for the answer; others wait only where nothing is
// known that still holds.
func (q *Quotas) hear(ctx context.Context, h holder) {
	if q.o.Counter == nil {
		return
	}
	l, now := h.lasting(), q.o.Now()
	l.mu.Lock()
	mine := l.asking == nil && now.Sub(l.asked) >= tallyEvery && q.circuit.enter()
	if mine {
		l.begin(now)
		if !q.beside(h.t, func() {
			defer q.release(h.t)
			q.tally([]holder{h})
		}) {
			l.end()
		}
	}
	asking, known := l.asking, now.Sub(l.heard) < tallyKeep
	l.mu.Unlock()
	if asking != nil && (mine || !known && !q.circuit.open()) {
		bound := time.NewTimer(q.o.Patience)
		defer bound.Stop()
		q.await(ctx, asking, bound.C)
	}
}

// begin and end mark a call that is under way. l.mu is held.
func (l *lasting) begin(now time.Time) { l.asked, l.asking = now, make(chan struct{}) }

func (l *lasting) end() {
	close(l.asking)
	l.asking = nil
}

// tally tells what is held and hears what others hold, in one call. All of hs are marked by begin, and are not any more
// when it returns.
func (q *Quotas) tally(hs []holder) {
	all := make([]Tally, len(hs))
	for i, h := range hs {
		all[i] = Tally{Tenant: h.t.id, Kind: h.k.String(), Held: int(h.lasting().held.Load())}
	}
	ctx, cancel := context.WithTimeout(q.ctx, q.o.Patience)
	defer cancel()
	others, err := q.o.Counter.Tally(ctx, all, tallyKeep)
	q.settle(err, 0) // many at once may take longer than one
	now := q.o.Now()
	for i, h := range hs {
		l := h.lasting()
		l.mu.Lock()
		if err == nil {
			l.others, l.heard = others[i], now
			l.told.Store(int64(all[i].Held))
		}
		l.end()
		l.mu.Unlock()
	}
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
		if q.o.Counter != nil {
			q.tellAll()
		}
	}
}

// tellAll tells what all tenants hold here, many in a call, until the Counter is away.
func (q *Quotas) tellAll() {
	ts := q.holding()
	defer func() {
		for _, t := range ts {
			q.release(t)
		}
	}()
	some := make([]holder, 0, tallies)
	for _, t := range ts {
		for k := range t.lasting {
			h := holder{t, Kind(k)}
			if !q.due(h) {
				continue
			}
			if some = append(some, h); len(some) == tallies {
				q.tell(some)
				some = some[:0]
			}
		}
	}
	q.tell(some)
}

// due marks a count that is to be told, unless somebody tells it at this moment.
func (q *Quotas) due(h holder) bool {
	l := h.lasting()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holds() || l.asking != nil {
		return false
	}
	l.begin(q.o.Now())
	return true
}

func (q *Quotas) tell(hs []holder) {
	switch {
	case len(hs) == 0:
	case q.circuit.enter():
		q.tally(hs)
	default:
		for _, h := range hs {
			l := h.lasting()
			l.mu.Lock()
			l.end()
			l.mu.Unlock()
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
