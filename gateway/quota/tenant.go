package quota

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// tenant is what is kept of one.
type tenant struct {
	id      fleet.TenantID
	buckets [Tasks + 1]bucket
	lasting [kinds]lasting

	users int // calls that work with it now; guarded by Quotas.mu

	mu       sync.Mutex
	settings Settings
	loaded   time.Time     // when settings came from the store, zero = never
	next     time.Time     // when they are looked at again
	loading  chan struct{} // closed at the end of the refresh under way, nil = none
	stale    bool          // Changed came: who asks waits for what is new
	failed   bool          // the store did not answer last: nobody waits for it
	changes  int           // of these
}

// tenant finds or makes what is kept of one; release gives it back.
func (q *Quotas) tenant(id fleet.TenantID) *tenant {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.tenants[id]
	if e == nil {
		q.evict()
		e = q.recent.PushFront(&tenant{id: id, settings: Usual()})
		q.tenants[id] = e
	} else {
		q.recent.MoveToFront(e)
	}
	t := e.Value.(*tenant)
	t.users++
	return t
}

func (q *Quotas) release(t *tenant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.users--
}

// evict makes room for one more: of those used longest ago the first that has nothing to lose, else the first of which
// only a count is lost that will be as good as new before long. Those that hold something lasting stay: their own quotas
// bound them. q.mu is held.
func (q *Quotas) evict() {
	if len(q.tenants) < q.o.Tenants {
		return
	}
	now, look := q.o.Now(), 16
	var victim *list.Element
	for e := q.recent.Back(); e != nil && look > 0; e = e.Prev() {
		t := e.Value.(*tenant)
		if t.users > 0 || t.holds() {
			continue
		}
		look--
		if victim == nil {
			victim = e
		}
		if t.idle(now) {
			victim = e
			break
		}
	}
	if victim == nil {
		return
	}
	q.metrics.dropped.WithLabelValues("tenants").Inc()
	delete(q.tenants, victim.Value.(*tenant).id)
	q.recent.Remove(victim)
}

func (t *tenant) idle(now time.Time) bool {
	for i := range t.buckets {
		if !t.buckets[i].idle(now) {
			return false
		}
	}
	return true
}

// Settings returns the tenant's bounds in force: at most a little older than Options.Fresh where the store answers, the
// last known where it does not, and the usual ones of a tenant that the store has not told of yet.
func (q *Quotas) Settings(ctx context.Context, id fleet.TenantID) Settings {
	if id == "" || q.o.Tenant == nil { // a platform administrator without a tenant
		return Usual()
	}
	t := q.tenant(id)
	defer q.release(t)
	t.mu.Lock()
	now := q.o.Now()
	old := !t.failed && (t.stale || t.loaded.IsZero() || now.Sub(t.loaded) > 3*q.o.Fresh) // nobody has asked for a while
	if !now.Before(t.next) && t.loading == nil {
		q.refresh(t)
	}
	loading := t.loading
	if !old || loading == nil {
		defer t.mu.Unlock()
		return t.settings
	}
	t.mu.Unlock()
	bound := time.NewTimer(refreshTime)
	defer bound.Stop()
	select {
	case <-loading:
	case <-ctx.Done():
	case <-bound.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.settings
}

// lastKnown returns the tenant's bounds as far as they are known, and has them read beside where that is due.
func (q *Quotas) lastKnown(t *tenant) Settings {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.o.Tenant != nil && t.id != "" && !q.o.Now().Before(t.next) && t.loading == nil {
		q.refresh(t)
	}
	return t.settings
}

// refresh reads the settings beside. t.mu is held.
func (q *Quotas) refresh(t *tenant) {
	select {
	case q.slots <- struct{}{}:
	default: // so many are under way: what is known holds on
		q.metrics.dropped.WithLabelValues("refreshes").Inc()
		return
	}
	loading := make(chan struct{})
	changes := t.changes
	if q.beside(t, func() {
		defer q.release(t)
		defer func() { <-q.slots }()
		ctx, cancel := context.WithTimeout(q.ctx, 4*refreshTime)
		defer cancel()
		row, err := q.o.Tenant(ctx, t.id)
		t.mu.Lock()
		defer t.mu.Unlock()
		now := q.o.Now()
		t.failed = false
		switch {
		case err == nil:
			t.settings, t.loaded, t.next = parse(row.Settings, row.Limits), now, now.Add(q.o.Fresh)
			t.settings.version = row.Version
		case errors.Is(err, fact.ErrNotFound):
			t.settings, t.loaded, t.next = Usual(), now, now.Add(q.o.Fresh)
		default:
			q.metrics.dropped.WithLabelValues("settings").Inc()
			t.next, t.failed = now.Add(time.Second), true
		}
		if t.changes != changes { // what was read may be from before the change
			t.next = now
		} else if err == nil {
			t.stale = false
		}
		close(loading)
		t.loading = nil
	}) {
		t.loading = loading
		return
	}
	<-q.slots
}

// beside runs f, which is waited for at the end; false = the end has come. t, where not nil, is in use until released.
func (q *Quotas) beside(t *tenant, f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return false
	}
	if t != nil {
		t.users++
	}
	q.done.Go(f)
	return true
}

// Changed says that the tenant's settings or limits have changed: who asks next sees the new ones. Other processes see
// them within Options.Fresh.
func (q *Quotas) Changed(id fleet.TenantID) {
	q.mu.Lock()
	var t *tenant
	if e := q.tenants[id]; e != nil {
		t = e.Value.(*tenant)
	}
	q.mu.Unlock()
	if t != nil {
		t.mu.Lock()
		t.stale, t.next = true, time.Time{}
		t.changes++
		t.mu.Unlock()
	}
	q.origins.mu.Lock()
	q.origins.next = time.Time{}
	q.origins.mu.Unlock()
}

// origins are those that any tenant lets in.
type origins struct {
	mu      sync.Mutex
	all     []string // sorted
	next    time.Time
	loading chan struct{}
	known   bool
}

// mostOrigins is how many are kept; of more, which ones is chance, and it is counted.
const mostOrigins = 20_000

// OriginAllowed says whether any tenant lets the origin in. That is all that a browser's preflight can be told, which
// carries no token; the request itself is held against the tenant's own (Settings.AllowsOrigin).
func (q *Quotas) OriginAllowed(ctx context.Context, origin string) bool {
	if q.o.Origins == nil {
		return false
	}
	o := &q.origins
	o.mu.Lock()
	if !q.o.Now().Before(o.next) && o.loading == nil {
		q.loadOrigins()
	}
	loading, known := o.loading, o.known && !o.next.IsZero()
	o.mu.Unlock()
	if loading != nil && !known {
		bound := time.NewTimer(refreshTime)
		defer bound.Stop()
		select {
		case <-loading:
		case <-ctx.Done():
		case <-bound.C:
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := slices.BinarySearch(o.all, strings.ToLower(origin))
	return ok
}

// loadOrigins reads them beside. origins.mu is held.
func (q *Quotas) loadOrigins() {
	o := &q.origins
	loading, asked := make(chan struct{}), o.next
	if q.beside(nil, func() {
		ctx, cancel := context.WithTimeout(q.ctx, 4*refreshTime)
		defer cancel()
		all, err := q.o.Origins(ctx, mostOrigins+1)
		if len(all) > mostOrigins {
			q.metrics.dropped.WithLabelValues("origins").Inc()
			all = all[:mostOrigins]
		}
		slices.Sort(all)
		o.mu.Lock()
		defer o.mu.Unlock()
		wait := time.Second
		if err == nil {
			o.all, o.known, wait = all, true, q.o.Fresh
		} else {
			q.metrics.dropped.WithLabelValues("settings").Inc()
			q.log.LogAttrs(ctx, slog.LevelDebug, "origins of tenants not read", slog.String("event", "quota.origins"), slog.Any("error", err))
		}
		if o.next.Equal(asked) { // else Changed came between
			o.next = q.o.Now().Add(wait)
		}
		close(loading)
		o.loading = nil
	}) {
		o.loading = loading
	}
}
