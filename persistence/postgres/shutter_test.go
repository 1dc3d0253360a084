//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// A log that somebody holds shut is found out once: the writes that follow do not wait for it, and when it is open again
// their intents are recorded again.
func TestALockedLogHoldsUpOneWriteNotAll(t *testing.T) {
	t.Parallel()
	const n = 200
	first, url := freshAt(t)
	shard := newShard(t, first)
	partitioned(t, url)
	s, count := counted(t, url)
	write(t, s, shard, "warm")
	recorded := count("intent")
	admin := connect(t, url, "starling_migrate")
	mustExec(t, admin, "begin")
	mustExec(t, admin, "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE")
	one := func() {
		u := creation(newTask(shard, day))
		u.Audit = intentOf(shard)
		mustAppend(t, s, u)
	}
	for range n {
		one()
	}
	if lost := count("intent_lost"); lost != n || count("intent") != recorded {
		t.Errorf("%d intents of %d are counted as lost, %d as recorded", lost, n, count("intent")-recorded)
	}
	if waited := count("intent_waited"); waited == 0 || waited > n/4 {
		t.Errorf("%d of %d writes waited for the log", waited, n)
	}
	mustExec(t, admin, "rollback")
	for until := time.Now().Add(20 * time.Second); count("intent") == recorded; one() {
		if time.Now().After(until) {
			t.Fatal("the log is open, and intents are not recorded")
		}
	}
}

// However many shards wait to be taken from owners that do not let go, leases are renewed.
func TestARenewalDoesNotWaitForTakers(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	mine := newShard(t, s)
	inc, _, err := s.Take(t.Context(), mine, "me")
	if err != nil {
		t.Fatal(err)
	}
	const takers = 8 // more than connections
	holder := connect(t, url, "")
	watch := connect(t, url, "")
	mustExec(t, holder, "begin")
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan error, takers)
	var others []fleet.Shard
	for range takers {
		other := newShard(t, s)
		if _, _, err := s.Take(t.Context(), other, "them"); err != nil {
			t.Fatal(err)
		}
		mustExec(t, holder, fmt.Sprintf("SELECT 1 FROM shard_incarnations WHERE warehouse_id = '%s' FOR KEY SHARE", other.Warehouse))
		others = append(others, other)
	}
	for _, other := range others {
		go func() {
			_, _, err := s.Take(ctx, other, "me")
			taken <- err
		}()
	}
	locksAwaited(t, watch, 2)
	within, stop := context.WithTimeout(t.Context(), 20*time.Second) // else it would take as long as the holder likes
	defer stop()
	if ok, err := s.Renew(within, "me", []fact.Held{{Shard: mine, Incarnation: inc}}); err != nil || !ok[0] {
		t.Errorf("renewed: %v, %v", ok, err)
	}
	if n := len(taken); n != 0 {
		t.Fatalf("%d shards were taken from under their owner", n)
	}
	cancel()
	for range takers {
		if err := <-taken; !errors.Is(err, context.Canceled) && !errors.Is(err, fact.ErrUnavailable) {
			t.Errorf("a taker that gave up: %v", err)
		}
	}
	mustExec(t, holder, "rollback")
}
