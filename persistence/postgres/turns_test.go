package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// check holds the books of t against each other. Nobody else works with it.
func (t *turns) check(total int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	held, waiting := 0, 0
	for id, l := range t.tenants {
		held += l.held
		if l.waits() > 0 {
			waiting++
		}
		switch {
		case l.held == 0 && l.waits() == 0:
			return fmt.Errorf("tenant %s is kept for nothing", id)
		case l.held > t.most:
			return fmt.Errorf("tenant %s holds %d, at most %d are for one", id, l.held, t.most)
		case t.free > 0 && l.waits() > 0 && l.held < t.most:
			return fmt.Errorf("tenant %s waits while %d are free", id, t.free)
		}
	}
	if held+t.free != total || waiting != len(t.waiting) {
		return fmt.Errorf("%d held, %d free of %d; %d lines wait, %d are listed", held, t.free, total, waiting, len(t.waiting))
	}
	return nil
}

// Whatever comes, goes and gives up: no connection is lost or given twice, none is free while somebody may have it, and
// whoever is served next is of those who hold fewest.
func TestTurnsAreFairWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		total := rapid.IntRange(1, 9).Draw(r, "connections")
		script := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 80).Draw(r, "script")
		var err error
		synctest.Test(t, func(t *testing.T) { err = play(t.Context(), newTurns(total, newMetrics()), total, script) })
		if err != nil {
			r.Fatal(err)
		}
	})
}

// taker is one transaction.
type taker struct {
	tenant fleet.TenantID
	rank   rank
	cancel context.CancelFunc
	done   func()
	over   bool
}

func (c *taker) holds() bool { return c.done != nil && !c.over }
func (c *taker) waits() bool { return c.done == nil && !c.over }

func pick(all []*taker, n int, ok func(c *taker) bool) *taker {
	var some []*taker
	for _, c := range all {
		if ok(c) {
			some = append(some, c)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[n%len(some)]
}

// play does what the script says: each number is one step.
func play(ctx context.Context, turns *turns, total int, script []int) error {
	var all []*taker
	for _, n := range script {
		switch what, n := n%4, n/4; what {
		case 0, 1:
			ctx, cancel := context.WithCancel(ctx)
			c := &taker{tenant: fleet.TenantID(fmt.Sprint(n % 5)), rank: rank(n / 5 % 2), cancel: cancel}
			all = append(all, c)
			go func() {
				done, err := turns.take(ctx, c.tenant, c.rank)
				if err != nil {
					c.over = true
					return
				}
				c.done = done
			}()
		case 2:
			if c := pick(all, n, (*taker).holds); c != nil {
				if err := leave(all, c); err != nil {
					return err
				}
			}
		case 3:
			if c := pick(all, n, (*taker).waits); c != nil {
				c.cancel()
			}
		}
		synctest.Wait()
		if err := turns.check(total); err != nil {
			return err
		}
	}
	for _, c := range all {
		c.cancel()
	}
	synctest.Wait()
	for _, c := range all {
		if c.holds() {
			c.done()
		}
	}
	synctest.Wait()
	if err := turns.check(total); err != nil || turns.free != total || len(turns.tenants) != 0 {
		return fmt.Errorf("in the end %d of %d are free, %d tenants kept: %w", turns.free, total, len(turns.tenants), err)
	}
	return nil
}

// leave ends c's turn and sees who is served.
func leave(all []*taker, c *taker) error {
	held, waited := map[fleet.TenantID]int{}, map[*taker]bool{}
	for _, o := range all {
		if waited[o] = o.waits(); o.holds() && o != c {
			held[o.tenant]++
		}
	}
	c.over = true
	c.done()
	synctest.Wait()
	for _, served := range all {
		if !waited[served] || served.waits() {
			continue
		}
		for w := range waited {
			if waited[w] && w.tenant == served.tenant && w.waits() && w.rank < served.rank {
				return fmt.Errorf("of tenant %s a read was served before a group commit", w.tenant)
			}
			if waited[w] && held[w.tenant] < held[served.tenant] {
				return fmt.Errorf("tenant %s, with %d, was served before %s, with %d", served.tenant, held[served.tenant], w.tenant, held[w.tenant])
			}
		}
	}
	return nil
}

// A tenant with a thousand transactions waiting does not make another one wait for more than one.
func TestANoisyTenantIsNotInTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const takes = 10 * time.Millisecond
		turns := newTurns(16, newMetrics())
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		defer func() {
			cancel()
			all.Wait() // time goes on for those who sleep
		}()
		for range 1000 {
			all.Go(func() {
				for ctx.Err() == nil {
					if done, err := turns.take(ctx, "noisy", others); err == nil {
						time.Sleep(takes)
						done()
					}
				}
			})
		}
		time.Sleep(time.Second)
		for range 100 {
			began := time.Now()
			done, err := turns.take(ctx, "quiet", commits)
			if err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited > 0 {
				t.Fatalf("waited for %v", waited)
			}
			time.Sleep(takes)
			done()
		}
		// Two that want all share alike.
		for range 100 {
			all.Go(func() {
				for ctx.Err() == nil {
					if done, err := turns.take(ctx, "second", others); err == nil {
						time.Sleep(takes)
						done()
					}
				}
			})
		}
		time.Sleep(time.Second)
		turns.mu.Lock()
		noisy, second := turns.tenants["noisy"].held, turns.tenants["second"].held
		turns.mu.Unlock()
		if noisy != 8 || second != 8 {
			t.Fatalf("two tenants hold %d and %d of 16", noisy, second)
		}
	})
}

// A group commit comes before all reads of its tenant that wait, and before none of another tenant's turn.
func TestAGroupCommitComesBeforeItsTenantsReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, newMetrics())
		end, err := turns.take(t.Context(), "t", others)
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		queue := func(name string, tenant fleet.TenantID, r rank) {
			go func() {
				if done, err := turns.take(t.Context(), tenant, r); err == nil {
					order = append(order, name)
					done()
				}
			}()
			synctest.Wait()
		}
		queue("read 1", "t", others)
		queue("read 2", "t", others)
		queue("commit 1", "t", commits)
		queue("another's read", "other", others)
		queue("commit 2", "t", commits)
		end()
		synctest.Wait()
		if want := []string{"commit 1", "another's read", "commit 2", "read 1", "read 2"}; !slices.Equal(order, want) {
			t.Fatalf("served %q, want %q", order, want)
		}
	})
}

// Of lists of the audit log a tenant has two under way, all tenants half of the connections.
func TestListsOfTheAuditLogTakeFewConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newAuditReads(10, newMetrics())
		ctx, cancel := context.WithCancel(t.Context())
		served := map[fleet.TenantID]int{}
		for range 4 {
			for _, tenant := range []fleet.TenantID{"a", "b", "c", "d"} {
				go func() {
					if _, err := turns.take(ctx, tenant, others); err == nil {
						served[tenant]++
					}
				}()
				synctest.Wait()
			}
		}
		if len(served) != 4 || served["a"] != 2 || served["a"]+served["b"]+served["c"]+served["d"] != 5 {
			t.Fatalf("under way: %v", served)
		}
		cancel()
		synctest.Wait()
	})
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	const tenant, id = "0190d6a0-0000-7000-8000-000000000001", "0190d6a0-0000-7000-8000-000000000002"
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, newMetrics())
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := turns.take(ctx, tenant, others); err != nil {
			t.Fatal(err)
		}
		for _, r := range []rank{others, commits} {
			for range maxWaiters {
				go func() { _, _ = turns.take(ctx, tenant, r) }()
			}
			synctest.Wait()
			if _, err := turns.take(ctx, tenant, r); !errors.Is(err, fact.ErrBusy) {
				t.Fatal(err)
			}
		}
		s := &Store{turns: turns, metrics: newMetrics()} // what comes of it, for whom it is refused
		if err := s.inTenant(ctx, writing, tenant, nil); !errors.Is(err, fact.ErrBusy) {
			t.Errorf("a small transaction: %v", err)
		}
		u := fact.Unit{Shard: fleet.Shard{Tenant: tenant, Warehouse: id}, Facts: []fact.Fact{{ID: id, Subject: id, Event: fact.RosterLeft{Zone: id, Robot: id}}}}
		if errs := s.Append(ctx, []fact.Unit{u}); !errors.Is(errs[0], fact.ErrBusy) || errors.Is(errs[0], fact.ErrUnavailable) {
			t.Errorf("a group commit: %v", errs[0])
		}
		cancel()
		synctest.Wait()
	})
}
