package influx

import (
	"context"
	"fmt"
	"sync"
	"time"

	"starling/engine/fleet"
)

// The bounds of questions about the past: of all at a time, and of one tenant's. A tenant that asks much waits for itself.
const (
	questions         = 8
	questionsOfTenant = 3
	turnWithin        = 5 * time.Second
)

// turns lets so many ask at a time, and of each tenant fewer.
type turns struct {
	all chan struct{}

	mu      sync.Mutex
	tenants map[fleet.TenantID]*turn
}

// turn is a tenant's; it is forgotten when nobody of it asks or waits.
type turn struct {
	slots chan struct{}
	users int
}

func newTurns() *turns {
	return &turns{all: make(chan struct{}, questions), tenants: map[fleet.TenantID]*turn{}}
}

// take waits for a turn, for 5 s at most; done ends it. Errors wrap ErrAway: others may be asked, or this one later.
func (t *turns) take(ctx context.Context, tenant fleet.TenantID) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, turnWithin)
	defer cancel()
	t.mu.Lock()
	own := t.tenants[tenant]
	if own == nil {
		own = &turn{slots: make(chan struct{}, questionsOfTenant)}
		t.tenants[tenant] = own
	}
	own.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(t.tenants, tenant)
		}
	}
	for i, slots := range []chan struct{}{own.slots, t.all} { // a tenant's first: who waits for it keeps nobody else's
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-own.slots
			}
			leave()
			return nil, fmt.Errorf("wait for a turn to ask influxdb: %w: %w", ErrAway, ctx.Err())
		}
	}
	return func() { <-t.all; <-own.slots; leave() }, nil
}
