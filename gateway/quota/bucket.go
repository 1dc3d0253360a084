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
	// lease: units that were taken from the common budget and wait to be used; below zero, that were used before they
	// were taken (takeNow), and are taken first.
	lease int
	until time.Time // when what is left of lease lapses: a process does not save up
	// dry: before that, dryFor units or more are not there; so nobody asks.
	dry    time.Time
	dryFor int

	asking  chan struct{} // closed when the call under way has ended, nil = there is none
	asked   time.Time     // when it began
	waiting int           // units that wait for it
	extra   time.Duration // the cost of what was counted alone meanwhile

	// What was used within the second that began at since, and in the one before.
	since      time.Time
	used, last int
}

const (
	// leaseFor is how long units that were taken in advance may be used.
	leaseFor = time.Second
	// breath is for how long, at most, nobody asks again after a refusal although there would be a unit or two: the
	// Counter is asked a hundred times a second for a tenant that wants without end, not at each of its frames.
	breath = 10 * time.Millisecond
	// ahead: a process takes 1/ahead of what it has used within a second in advance, so that what lapses unused, and what
	// many processes that do little hold, is little.
	ahead = 10
	// few units may be taken in advance of any rate, where so much is used.
	few = 4
)

// take takes n units or none. It waits for the Counter as long as Options.Patience and ctx allow and is decided by this
// process's own count after that. Nothing is locked meanwhile: one asks for all that wait.
func (b *bucket) take(ctx context.Context, q *Quotas, t *tenant, k Kind, r Rate, n int) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	var bound *time.Timer
	for {
		now := q.o.Now()
		if v, told := b.known(now, r, n); told {
			return v
		}
		switch {
		case b.asking == nil:
			if !b.ask(q, t, k, r, b.waiting+n-b.lease, max(1, n-b.lease)) {
				return b.counted(now, r, n)
			}
		case q.circuit.open(), b.stuck(now, q): // who asks finds out whether it is back; nobody else waits for that
			return b.counted(now, r, n)
		}
		if bound == nil {
			bound = time.NewTimer(q.o.Patience)
			defer bound.Stop()
		}
		asking := b.asking
		b.waiting += n
		b.mu.Unlock()
		came := q.await(ctx, asking, bound.C)
		b.mu.Lock()
		b.waiting -= n
		if !came {
			now := q.o.Now()
			if v, told := b.known(now, r, n); told {
				return v
			}
			return b.counted(now, r, n)
		}
	}
}

// known decides where that needs no call. b.mu is held.
func (b *bucket) known(now time.Time, r Rate, n int) (v Verdict, told bool) {
	b.lapse(now)
	switch {
	case n <= 0:
		return b.verdict(now, r, true, 0), true
	case n <= b.lease:
		b.use(now, n)
		return b.verdict(now, r, true, 0), true
	case n > r.Units: // never: there is no time at which it would be let through
		return b.verdict(now, r, false, r.Per), true
	case now.Before(b.dry) && n >= b.dryFor:
		_, _, wait := decide(b.clear.Sub(now), r.cost(n-b.lease), r.Per)
		return b.verdict(now, r, false, max(wait, b.dry.Sub(now))), true
	}
	return v, false
}

// takeNow takes as many of n units as it can at once and never waits. Units may be used a little before the common
// budget is asked for them, which is done beside: 1/share of the rate, or all of n where nothing is owed.
func (b *bucket) takeNow(q *Quotas, t *tenant, k Kind, r Rate, n int) (taken int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := q.o.Now()
	b.lapse(now)
	if n <= 0 || r.Units <= 0 {
		return 0
	}
	b.lease = max(b.lease, -r.Units) // a smaller quota than before: nobody pays for longer than a full bucket
	switch {
	case q.o.Counter == nil, q.circuit.open(), b.stuck(now, q):
		taken = b.alone(now, r, n, 1)
	case now.Before(b.dry):
		taken = max(0, min(n, b.lease))
		b.use(now, taken)
	default:
		free := max(0, b.lease+r.ahead(k))
		if b.lease >= 0 {
			free = max(free, r.Units)
		}
		taken = min(n, free)
		b.use(now, taken)
	}
	want := b.recent(now) / ahead
	if b.asking == nil && (b.lease < min(want, r.ahead(k))/2 || b.lease < 0 || taken < n) && !now.Before(b.dry) {
		b.ask(q, t, k, r, max(0, -b.lease)+max(1, n-taken), 1)
	}
	return taken
}

// ahead is the most that one process takes of the rate in advance.
func (r Rate) ahead(k Kind) int { return min(r.Units, max(few, r.Units/about[k].share)) }

// ask brings units from the common budget beside: want, and a little in advance, or as many as there are and at least
// least. false = nobody can be asked. b.mu is held.
func (b *bucket) ask(q *Quotas, t *tenant, k Kind, r Rate, want, least int) bool {
	if q.o.Counter == nil || !q.circuit.enter() {
		return false
	}
	batch := min(r.Units, max(want, min(r.ahead(k), b.recent(q.o.Now())/ahead)))
	asking := make(chan struct{})
	if !q.beside(t, func() {
		defer q.release(t)
		b.bring(q, t.id, k, r, max(batch, least), least)
		close(asking)
	}) {
		return false
	}
	b.asking, b.asked = asking, q.o.Now()
	return true
}

// stuck says that the call under way takes longer than anybody waits. b.mu is held.
func (b *bucket) stuck(now time.Time, q *Quotas) bool {
	return b.asking != nil && now.Sub(b.asked) > q.o.Patience
}

// bring asks twice at most: for all, and where that is too much for what is left.
func (b *bucket) bring(q *Quotas, id fleet.TenantID, k Kind, r Rate, batch, least int) {
	ctx, cancel := context.WithTimeout(q.ctx, q.o.Patience)
	defer cancel()
	began := q.o.Now()
	all, debt, err := q.o.Counter.Take(ctx, id, k.String(), r.cost(batch), r.Per)
	got := 0
	switch {
	case err != nil:
	case all:
		got = batch
	default: // as much as there is, so that nobody asks for each unit
		if some := min(batch, r.left(debt)); some >= least {
			var ok bool
			if ok, debt, err = q.o.Counter.Take(ctx, id, k.String(), r.cost(some), r.Per); ok && err == nil {
				got = some
			}
		}
	}
	now := q.o.Now()
	q.settle(err, now.Sub(began))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asking = nil
	if err == nil {
		back := now.Add(debt + b.extra)
		// One that answers late, and is not counted with, knows nothing of what was counted alone: each of its answers
		// would be a new burst.
		if b.clear.Before(back) || !q.circuit.open() {
			b.clear = back
		}
		if b.lease += got; got > 0 {
			b.until = now.Add(leaseFor)
		}
		if !all {
			_, _, wait := decide(debt, r.cost(least), r.Per)
			b.dry, b.dryFor = now.Add(max(wait, min(breath, r.cost(r.Units/100)), time.Millisecond)), least
		}
	}
	b.extra = 0
}

// counted takes n units or none by this process's own count. b.mu is held.
func (b *bucket) counted(now time.Time, r Rate, n int) Verdict {
	if b.alone(now, r, n, n) == n {
		return b.verdict(now, r, true, 0)
	}
	_, _, wait := decide(b.clear.Sub(now), r.cost(n-b.lease), r.Per)
	return b.verdict(now, r, false, wait)
}

// alone takes as many of n units as there are by this process's own count, or none where these are less than least. b.mu
// is held.
func (b *bucket) alone(now time.Time, r Rate, n, least int) int {
	if b.lease < 0 { // what was not paid for goes onto the own count
		b.spend(now, r.cost(-b.lease))
		b.lease = 0
	}
	leased := min(n, b.lease)
	more := n - leased
	if ok, _, _ := decide(b.clear.Sub(now), r.cost(more), r.Per); !ok {
		more = min(more, r.left(b.clear.Sub(now)))
	}
	if leased+more < least {
		return 0
	}
	b.spend(now, r.cost(more))
	b.lease += more
	b.use(now, leased+more)
	return leased + more
}

// spend puts a cost onto the own count. b.mu is held.
func (b *bucket) spend(now time.Time, cost time.Duration) {
	b.clear = now.Add(max(0, b.clear.Sub(now)) + cost)
	if b.asking != nil { // whose answer does not know of it
		b.extra += cost
	}
}

// use takes n units off the lease and remembers how much is used. b.mu is held.
func (b *bucket) use(now time.Time, n int) {
	b.lease -= n
	b.recent(now)
	b.used += n
}

// recent is what was used in a second of late. b.mu is held.
func (b *bucket) recent(now time.Time) int {
	if passed := now.Sub(b.since); passed >= time.Second || passed < 0 {
		if b.last = b.used; passed >= 2*time.Second {
			b.last = 0
		}
		b.since, b.used = now, 0
	}
	return max(b.used, b.last)
}

// lapse ends a lease that is over. b.mu is held.
func (b *bucket) lapse(now time.Time) {
	if b.lease > 0 && !now.Before(b.until) {
		b.lease = 0
	}
}

// verdict describes the bucket. What lies in the lease is left, and counts as taken elsewhere.
func (b *bucket) verdict(now time.Time, r Rate, ok bool, wait time.Duration) Verdict {
	debt, lease := max(0, b.clear.Sub(now)), max(0, b.lease)
	return Verdict{OK: ok, Limit: r.Units, Remaining: min(r.Units, r.left(debt)+lease), Reset: max(0, debt-r.cost(lease)), RetryAfter: wait}
}

// idle says that nothing would be lost with the bucket.
func (b *bucket) idle(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.clear) && !now.Before(b.dry) && b.lease >= 0
}
