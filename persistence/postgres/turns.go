package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// maxWaiters is how many of one tenant's transactions of a rank may wait for a connection; more are refused (fact.ErrBusy).
const maxWaiters = 4096

// turns stand before the pool: they hand its connections to tenants fairly, whoever has asked first or most often. Of the
// tenants that wait the one that holds fewest connections is next; among equals the one that has waited longest for its
// turn. One tenant, however much it wants, holds at most three quarters of them, so that another one's transaction need
// not wait for the end of one of its own. Between tenants group commits and reads count alike: each is a transaction. Within
// one tenant's line group commits come first: robots wait for them, and they are few, one per shard at a time.
type turns struct {
	name    string // in the metrics
	mu      sync.Mutex
	free    int
	most    int // that one tenant may hold
	tenants map[fleet.TenantID]*line
	waiting []*line // that have waiters, those first that have waited longest for their turn
	metrics *metrics
}

// rank orders the waiters of one line.
type rank int

const (
	commits rank = iota // group commits
	others
	ranks
)

// line is one tenant's, kept as long as it holds or waits for something.
type line struct {
	tenant  fleet.TenantID
	held    int
	waiters [ranks][]*waiter
}

// waits counts who waits in the line.
func (l *line) waits() (n int) {
	for _, w := range l.waiters {
		n += len(w)
	}
	return n
}

// first takes out of the line who is next in it.
func (l *line) first() *waiter {
	for r, w := range l.waiters {
		if len(w) == 0 {
			continue
		}
		next := w[0]
		w[0] = nil
		if l.waiters[r] = w[1:]; len(w) == 1 {
			l.waiters[r] = nil
		}
		return next
	}
	return nil
}

type waiter struct {
	granted chan struct{}
}

func newTurns(conns int, m *metrics) *turns {
	return &turns{name: "turns", free: conns, most: max(1, conns-conns/4), tenants: map[fleet.TenantID]*line{}, metrics: m}
}

// newAuditReads are the turns in which the audit log is listed, before those for a connection: what looks through years for
// what is rare takes long. One tenant does two such at a time, all of them have half of the connections.
func newAuditReads(conns int, m *metrics) *turns {
	return &turns{name: "audit_reads", free: max(1, conns/2), most: 2, tenants: map[fleet.TenantID]*line{}, metrics: m}
}

// take waits for a turn. done, to be called once, ends it.
func (t *turns) take(ctx context.Context, tenant fleet.TenantID, r rank) (done func(), err error) {
	t.mu.Lock()
	l := t.tenants[tenant]
	if l == nil {
		l = &line{tenant: tenant}
		t.tenants[tenant] = l
	}
	if t.free > 0 && l.held < t.most && l.waits() == 0 {
		// Nobody else waits who could have it: a free connection and a waiter that may hold one more are never together.
		t.free--
		l.held++
		t.mu.Unlock()
		return func() { t.done(l) }, nil
	}
	if len(l.waiters[r]) >= maxWaiters {
		t.mu.Unlock()
		t.metrics.dropped.WithLabelValues(t.name).Inc()
		return nil, fmt.Errorf("wait for a connection: %w", fact.ErrBusy)
	}
	w := &waiter{granted: make(chan struct{})}
	if l.waiters[r] = append(l.waiters[r], w); l.waits() == 1 {
		t.waiting = append(t.waiting, l)
	}
	t.mu.Unlock()
	select {
	case <-w.granted:
		return func() { t.done(l) }, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.granted: // at the same moment
		t.end(l)
	default:
		t.leave(l, r, w)
	}
	return nil, ctx.Err()
}

func (t *turns) done(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(l)
}

func (t *turns) end(l *line) {
	t.free++
	l.held--
	t.forget(l)
	t.grant()
}

// leave takes a waiter out that waits no longer.
func (t *turns) leave(l *line, r rank, w *waiter) {
	if i := slices.Index(l.waiters[r], w); i >= 0 {
		l.waiters[r] = slices.Delete(l.waiters[r], i, i+1)
	}
	if l.waits() == 0 {
		t.unlist(l)
	}
	t.forget(l)
}

func (t *turns) unlist(l *line) {
	for i := range t.waiting {
		if t.waiting[i] == l {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return
		}
	}
}

func (t *turns) forget(l *line) {
	if l.held == 0 && l.waits() == 0 && t.tenants[l.tenant] == l {
		delete(t.tenants, l.tenant)
	}
}

// grant gives free connections to those who wait.
func (t *turns) grant() {
	for t.free > 0 {
		next := -1
		for i, l := range t.waiting {
			if l.held < t.most && (next < 0 || l.held < t.waiting[next].held) {
				if next = i; l.held == 0 {
					break
				}
			}
		}
		if next < 0 {
			return
		}
		l := t.waiting[next]
		w := l.first()
		t.waiting = append(t.waiting[:next], t.waiting[next+1:]...)
		if l.waits() > 0 {
			t.waiting = append(t.waiting, l) // behind the others
		}
		t.free--
		l.held++
		close(w.granted)
	}
}

// acquire takes a connection in the tenant's turn; release gives both back.
func (s *Store) acquire(ctx context.Context, tenant fleet.TenantID, r rank) (conn *pgxpool.Conn, release func(), err error) {
	done, err := s.turns.take(ctx, tenant, r)
	if err != nil {
		return nil, nil, err
	}
	if conn, err = s.pool.Acquire(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return conn, func() {
		conn.Release()
		done()
	}, nil
}
