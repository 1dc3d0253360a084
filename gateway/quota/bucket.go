package quota

import (
	"context"
	"sync"
	"time"

	"starling/engine/fleet"
)

// bucket is what this process knows of one rate of one tenant.
type bucket struct {
	mu sync.Mutex
	// clear is when all that is known to have been taken will have come back: the common bucket's last answer, and what
	// was counted alone since.
	clear time.Time
	lease int       // units that were taken from the common budget and wait to be used
	until time.Time // when what is left of lease lapses: a process does not save up
	// dry: before that, dryFor units or more are not there; so nobody asks.
	dry    time.Time
	dryFor int
}

const (
	// leaseFor is how long units that were taken in advance may be used.
	leaseFor = time.Second
	// breath is for how long, at most, nobody asks again after a refusal although there would be a unit or two: the
	// Counter is asked a hundred times a second for a tenant that wants without end, not at each of its frames.
	breath = 10 * time.Millisecond
)

// take takes n units. The lock is held while the Counter is asked for a lease: those who wait want what it brings.
func (b *bucket) take(ctx context.Context, q *Quotas, id fleet.TenantID, k Kind, r Rate, n int) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := q.o.Now()
	if !now.Before(b.until) {
		b.lease = 0
	}
	switch {
	case n <= 0:
		return b.verdict(now, r, true, 0)
	case n <= b.lease:
		b.lease -= n
		return b.verdict(now, r, true, 0)
	case n > r.Units: // never: there is no time at which it would be let through
		return b.verdict(now, r, false, r.Per)
	case now.Before(b.dry) && n >= b.dryFor:
		return b.verdict(now, r, false, b.dry.Sub(now))
	}
	want := n - b.lease
	batch := max(want, r.Units/about[k].share)
	ok := b.ask(ctx, q, id, k, r, batch)
	if !ok && batch > want { // as much as there is, so that nobody asks for each unit
		if batch = r.left(b.clear.Sub(q.o.Now())); batch >= want {
			ok = b.ask(ctx, q, id, k, r, batch)
		}
	}
	now = q.o.Now()
	if !ok {
		_, _, wait := decide(b.clear.Sub(now), r.cost(want), r.Per)
		wait = max(wait, min(breath, r.cost(r.Units/100)))
		b.dry, b.dryFor = now.Add(wait), n
		return b.verdict(now, r, false, wait)
	}
	b.lease += batch - n
	if b.lease > 0 {
		b.until = now.Add(leaseFor)
	}
	return b.verdict(now, r, true, 0)
}

// ask takes n units from the common budget or, where it cannot be asked, from this process's own count.
func (b *bucket) ask(ctx context.Context, q *Quotas, id fleet.TenantID, k Kind, r Rate, n int) bool {
	cost, tolerance := r.cost(n), r.Per
	if q.o.Counter != nil && q.circuit.enter() {
		// The caller's end must not look like the Counter's: the call has a bound of its own.
		ok, debt, err := q.o.Counter.Take(context.WithoutCancel(ctx), id, k.String(), cost, tolerance)
		q.settle(err, 0)
		if err == nil {
			b.clear = q.o.Now().Add(debt)
			return ok
		}
	}
	now := q.o.Now()
	ok, debt, _ := decide(b.clear.Sub(now), cost, tolerance)
	b.clear = now.Add(debt)
	return ok
}

// verdict describes the bucket. What lies in the lease is left, and counts as taken elsewhere.
func (b *bucket) verdict(now time.Time, r Rate, ok bool, wait time.Duration) Verdict {
	debt := max(0, b.clear.Sub(now))
	return Verdict{OK: ok, Limit: r.Units, Remaining: min(r.Units, r.left(debt)+b.lease), Reset: max(0, debt-r.cost(b.lease)), RetryAfter: wait}
}

// idle says that nothing would be lost with the bucket.
func (b *bucket) idle(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.clear) && !now.Before(b.dry)
}
