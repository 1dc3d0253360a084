// Package quota bounds what each tenant may use at the doors: rates by a leaky bucket that all processes share through a
// Counter (Redis), things that last by counting them, and places by sharing them. It also keeps the tenants' settings
// that doors ask at each request: quotas and origins. It refuses nothing itself: doors ask and answer.
//
// While the Counter does not answer, each process counts alone with the same arithmetic, from where the shared count
// stood: with n processes a tenant may then use up to n times its quota. The Counter is tried again after a while.
//
// A request waits for the Counter Options.Patience at most, whatever happens there, and is then decided by this process
// alone; a Counter that is late every time counts as away. Statuses wait for nothing (TakeNow).
//
// What is exceeded even so, with n processes: of a rate with Units every Per, no more than Units + Units·w/Per in any
// time w, and for each process the units that it took from the common budget and has not used yet, or has used and not
// taken yet: a tenth of what it used within a second, and at most 1/20 of Units for statuses (and the frame with which it
// goes beyond), 1/100 for requests, 1/1000 for tasks, but 4 of any, kept for 1 s at most. Of things that last, what other
// processes let in within the last tallyEvery.
//
// Size: a tenant with all its kinds costs about 1 kB here; maxTenants are kept.
package quota

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// Counter is the budget that all processes share. Calls return within a bound of their own, 50 ms. (persistence/redis.)
type Counter interface {
	// Take takes cost from the bucket of the tenant and kind where that keeps its debt within tolerance; debt is how long
	// the bucket needs, after the decision, to be as good as new.
	Take(ctx context.Context, tenant fleet.TenantID, kind string, cost, tolerance time.Duration) (ok bool, debt time.Duration, err error)
	// Tally says what this process holds, which is forgotten after keep, and returns for each how many all others hold.
	Tally(ctx context.Context, held []Tally, keep time.Duration) (others []int, err error)
	// Ping asks for a sign of life.
	Ping(ctx context.Context) error
}

// Options are the ports and settings. The zero value of a setting is its stated default.
type Options struct {
	Counter Counter // nil = this process counts alone
	// Tenant returns a tenant with settings and limits; errors wrap fact.ErrNotFound or fact.ErrUnavailable.
	Tenant func(context.Context, fleet.TenantID) (fact.Tenant, error)
	// Origins returns the origins of all tenants, at most so many.
	Origins    func(ctx context.Context, atMost int) ([]string, error)
	Log        *slog.Logger          // nil = silence
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
	Fresh      time.Duration         // how long settings hold before they are looked at again; 0 = 3 s
	Tenants    int                   // of which settings and counts are kept; 0 = 10,000
	Patience   time.Duration         // how long a request waits for the Counter; 0 = 50 ms
	Now        func() time.Time      // nil = time.Now
}

// Verdict is what a door is told. Limit, Remaining and Reset are for RateLimit-* headers, RetryAfter for the refused.
type Verdict struct {
	OK         bool
	Limit      int           // units a period (Take), or at once (Enter)
	Remaining  int           // units that are left now
	Reset      time.Duration // until all of Limit is left again, if nothing is taken
	RetryAfter time.Duration // until the same would be let through
}

// Quotas is safe for concurrent use. Stop ends it.
type Quotas struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	circuit circuit

	mu      sync.Mutex
	tenants map[fleet.TenantID]*list.Element // of *tenant
	recent  *list.List                       // the same, last used first
	origins origins

	slots chan struct{} // refreshes under way
	stop  context.CancelFunc
	ctx   context.Context //nolint:containedctx // the life of what runs beside requests
	done  sync.WaitGroup
}

const (
	refreshes   = 16                     // of settings, at once
	refreshTime = 500 * time.Millisecond // that a request waits for settings at most
)

// New returns quotas and starts their upkeep.
func New(o Options) *Quotas {
	if o.Fresh <= 0 {
		o.Fresh = 3 * time.Second
	}
	if o.Tenants <= 0 {
		o.Tenants = 10_000
	}
	if o.Patience <= 0 {
		o.Patience = 50 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	q := &Quotas{o: o, log: o.Log, tenants: map[fleet.TenantID]*list.Element{}, recent: list.New(), slots: make(chan struct{}, refreshes)}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	q.metrics = newMetrics(o.Registerer, q)
	q.circuit = circuit{now: o.Now}
	q.ctx, q.stop = context.WithCancel(context.Background())
	q.done.Go(q.upkeep)
	return q
}

// Stop ends the upkeep and waits for it.
func (q *Quotas) Stop() {
	q.mu.Lock()
	q.stop() // nothing is begun after that
	q.mu.Unlock()
	q.done.Wait()
}

// Take takes n units of a rate for the tenant: all or none. It waits for the shared count Options.Patience at most.
func (q *Quotas) Take(ctx context.Context, id fleet.TenantID, k Kind, n int) Verdict {
	s := q.Settings(ctx, id)
	t := q.tenant(id)
	defer q.release(t)
	v := t.buckets[k].take(ctx, q, t, k, s.rate(k), n)
	if !v.OK {
		q.metrics.refused.WithLabelValues(k.String()).Inc()
	}
	return v
}

// TakeNow takes as many of n units as there are and says how many. It waits for nothing: not for the shared count, which
// is asked beside, nor for settings that have changed, which hold from the next call on.
func (q *Quotas) TakeNow(id fleet.TenantID, k Kind, n int) (taken int) {
	t := q.tenant(id)
	defer q.release(t)
	s := q.lastKnown(t)
	if taken = t.buckets[k].takeNow(q, t, k, s.rate(k), n); taken < n {
		q.metrics.refused.WithLabelValues(k.String()).Add(float64(n - taken))
	}
	return taken
}

// Probe says whether quotas are counted together with the other processes, for the process's state of health.
func (q *Quotas) Probe(ctx context.Context) error {
	if q.o.Counter == nil {
		return nil
	}
	return q.o.Counter.Ping(ctx)
}

// circuit keeps requests from waiting for a Counter that is away.
type circuit struct {
	now   func() time.Time
	mu    sync.Mutex
	tries int
	late  int       // answers in a row that came, and late
	until time.Time // closed to all before, then to all but one
}

const (
	firstBreak   = 250 * time.Millisecond
	longestBreak = 5 * time.Second
	mostLate     = 3 // late answers in a row, a pause of the collector or of the network is none
)

var errLate = errors.New("the shared count answers late")

// enter says whether the Counter may be asked. Of those who come when it was away and may be back, one is sent.
func (c *circuit) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tries == 0 {
		return true
	}
	now := c.now()
	if now.Before(c.until) {
		return false
	}
	c.until = now.Add(time.Second) // the one who is sent will tell; if it does not, another
	return true
}

// leave tells how it went; changed says that the Counter has gone or come. One that is late every time is as good as
// away: it costs each request its patience.
func (c *circuit) leave(err error, late bool) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && !late:
		changed = c.tries > 0
		c.tries, c.late = 0, 0
		return changed
	case err == nil && c.tries == 0:
		if c.late++; c.late < mostLate {
			return false
		}
	}
	c.until = c.now().Add(min(longestBreak, firstBreak<<min(c.tries, 10)))
	c.tries++
	c.late = 0
	return c.tries == 1
}

func (c *circuit) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries > 0
}

// settle keeps book of a call of the Counter. More than half of Options.Patience is late.
func (q *Quotas) settle(err error, took time.Duration) {
	if q.ctx.Err() != nil {
		return // the end has cut it off
	}
	late := took > q.o.Patience/2
	changed := q.circuit.leave(err, late)
	if err == nil && late && changed {
		err = errLate
	}
	switch {
	case err != nil:
		q.metrics.alone.Inc()
		if changed {
			q.log.LogAttrs(q.ctx, slog.LevelWarn, "quotas are counted by this process alone", slog.String("event", "quota.alone"), slog.Any("error", err))
		}
	case changed:
		q.log.LogAttrs(q.ctx, slog.LevelInfo, "quotas are counted together again", slog.String("event", "quota.together"))
	}
}

// await waits for done, as long as the request and the bound allow; false = they do not.
func (q *Quotas) await(ctx context.Context, done <-chan struct{}, bound <-chan time.Time) bool {
	select {
	case <-done:
		return true
	case <-bound:
	case <-ctx.Done():
	}
	q.metrics.late.Inc()
	return false
}
