package actors

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// renewer renews the leases of all shards in our hands in one call, every RenewEvery. A lease runs from when the
// renewal that succeeded was sent, by our own monotonic clock: whoever takes the shard waits that long.
type renewer struct {
	sys     *System
	timer   timer
	running atomic.Bool
}

func (r *renewer) init(s *System) {
	r.sys, r.timer.owner = s, r
	if s.Ownership != nil {
		s.wheel.arm(&r.timer, s.now().Add(s.RenewEvery))
	}
}

// expire implements expirer.
func (r *renewer) expire(now time.Time) {
	r.now()
	if !r.sys.closing.Load() {
		r.sys.wheel.arm(&r.timer, now.Add(r.sys.RenewEvery))
	}
}

// now starts a renewal unless one is under way.
func (r *renewer) now() {
	if r.sys.Ownership != nil && r.running.CompareAndSwap(false, true) {
		r.sys.pool.async(r.renew)
	}
}

func (r *renewer) renew() {
	defer r.running.Store(false)
	s := r.sys
	var held []fact.Held
	var shards []*shard
	for _, sh := range s.list() {
		if p := sh.is(); p == phaseOpen || p == phaseOpening && sh.inc.Load() > 0 {
			shards = append(shards, sh)
			held = append(held, fact.Held{Shard: sh.id, Incarnation: sh.incarnation()})
		}
	}
	if len(held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.LeaseTTL)
	defer cancel()
	sent := s.now()
	ok, err := s.Ownership.Renew(ctx, s.Owner, held)
	if err == nil && len(ok) != len(held) {
		err = fmt.Errorf("%d answers for %d shards", len(ok), len(held))
	}
	if err != nil {
		s.metrics.renewals.WithLabelValues("failed").Inc()
		if s.ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "leases not renewed", slog.String("event", "lease.failed"),
				slog.Int("shards", len(held)), slog.Any("error", err))
		}
		return
	}
	s.metrics.renewals.WithLabelValues("done").Inc()
	until := sent.Add(s.LeaseTTL)
	for i, sh := range shards {
		if ok[i] {
			sh.extend(until)
			continue
		}
		s.fenced(sh, "lease")
	}
}

// extend moves the end of the lease, unless the shard has been dropped meanwhile.
func (sh *shard) extend(until time.Time) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if p := sh.is(); p == phaseOpen || p == phaseOpening {
		sh.lease.Store(&until)
	}
}

// leaseUntil is when the shard's grants end unless the lease is renewed.
func (sh *shard) leaseUntil() time.Time {
	if p := sh.lease.Load(); p != nil {
		return *p
	}
	return time.Time{}
}

// notBefore is when the former owner's lease has ended; zero = long ago.
func (sh *shard) notBefore() time.Time {
	if p := sh.until.Load(); p != nil && p.After(sh.sys.now()) {
		return *p
	}
	return time.Time{}
}

// Lease says until when this member may grant in the shard; zero = it does not hold it. For views and metrics.
func (s *System) Lease(id fleet.Shard) time.Time {
	s.mu.RLock()
	sh := s.shards[id]
	s.mu.RUnlock()
	if sh == nil {
		return time.Time{}
	}
	return sh.leaseUntil()
}
