package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// maxWaiters is how many of one tenant's transactions may wait for a connection; more are refused (fact.ErrBusy).
const maxWaiters = 4096

// turns stand before the pool: they hand its connections to tenants fairly, whoever has asked first or most often. Of the
// tenants that wait the one that holds fewest connections is next; among equals the one that has waited longest for its
// turn. One tenant, however much it wants, holds at most three quarters of them, so that another one's transaction need
// not wait for the end of one of its own. Group commits and reads count alike: each is a transaction.
type turns struct {
	mu      sync.Mutex
	free    int
	most    int // that one tenant may hold
	tenants map[fleet.TenantID]*line
	waiting []*line // that have waiters, those first that have waited longest for their turn
	metrics *metrics
}

// line is one tenant's, kept as long as it holds or waits for something.
type line struct {
	tenant  fleet.TenantID
	held    int
	waiters []*waiter
}

type waiter struct {
	granted chan struct{}
}

func newTurns(conns int, m *metrics) *turns {
	return &turns{free: conns, most: max(1, conns-conns/4), tenants: map[fleet.TenantID]*line{}, metrics: m}
}

// take waits for a turn. done, to be called once, ends it.
func (t *turns) take(ctx context.Context, tenant fleet.TenantID) (done func(), err error) {
	t.mu.Lock()
	l := t.tenants[tenant]
	if l == nil {
		l = &line{tenant: tenant}
		t.tenants[tenant] = l
	}
	if t.free > 0 && l.held < t.most && len(l.waiters) == 0 {
		// Nobody else waits who could have it: a free connection and a waiter that may hold one more are never together.
		t.free--
		l.held++
		t.mu.Unlock()
		return func() { t.done(l) }, nil
	}
	if len(l.waiters) >= maxWaiters {
		t.mu.Unlock()
		t.metrics.dropped.WithLabelValues("turns").Inc()
		return nil, fmt.Errorf("wait for a connection: %w", fact.ErrBusy)
	}
	w := &waiter{granted: make(chan struct{})}
	if l.waiters = append(l.waiters, w); len(l.waiters) == 1 {
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
		t.leave(l, w)
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
func (t *turns) leave(l *line, w *waiter) {
	for i := range l.waiters {
		if l.waiters[i] == w {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			break
		}
	}
	if len(l.waiters) == 0 {
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
	if l.held == 0 && len(l.waiters) == 0 && t.tenants[l.tenant] == l {
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
		w := l.waiters[0]
		l.waiters[0] = nil
		l.waiters = l.waiters[1:]
		t.waiting = append(t.waiting[:next], t.waiting[next+1:]...)
		if len(l.waiters) > 0 {
			t.waiting = append(t.waiting, l) // behind the others
		} else {
			l.waiters = nil
		}
		t.free--
		l.held++
		close(w.granted)
	}
}

// acquire takes a connection in the tenant's turn; release gives both back.
func (s *Store) acquire(ctx context.Context, tenant fleet.TenantID) (conn *pgxpool.Conn, release func(), err error) {
	done, err := s.turns.take(ctx, tenant)
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
