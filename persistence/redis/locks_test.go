//go:build integration

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/engine/fleet"
	"starling/persistence/redis"
)

// fence is a store of facts, as far as locks know it.
type fence struct {
	mu      sync.Mutex
	highest int64
}

func (f *fence) raise(_ context.Context, _ redis.Lock, token int64, _ string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.highest = max(f.highest, token)
	return f.highest, nil
}

func locks(t *testing.T, url string, change ...func(*redis.LockOptions)) *redis.Locks {
	t.Helper()
	o := redis.LockOptions{Options: redis.Options{URL: url, Timeout: 5 * time.Second}, TTL: 2 * time.Second, Renew: 20 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	l, err := redis.OpenLocks(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func holds(t *testing.T, l *redis.Locks, k redis.Lock, than int64) (token int64) {
	t.Helper()
	within(t, "the lock is taken", func() error {
		got, held := l.Token(k)
		if token = got; !held || got <= than {
			return fmt.Errorf("token %d, held %v", got, held)
		}
		return nil
	})
	return token
}

func TestALockHasOneHolderAndItsTokenRises(t *testing.T) {
	t.Parallel()
	url, k := stacktest.Redis(t).URL(), redis.Lock{Shard: shard(), Name: redis.LockDispatch}
	a, b := locks(t, url), locks(t, url)
	a.Keep(k, 1)
	first := holds(t, a, k, 0)
	b.Keep(k, 1)
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		if token, held := b.Token(k); held || token != 0 {
			t.Fatal("two hold it")
		}
	}
	if token := holds(t, a, k, 0); token != first {
		t.Errorf("a renewal changed the token from %d to %d", first, token)
	}
	a.Drop(k)
	second := holds(t, b, k, first)
	a.Keep(k, 2) // a newer owner of the shard
	third := holds(t, a, k, second)
	within(t, "the former holder learns of it", func() error {
		if token, held := b.Token(k); held || token != second {
			return fmt.Errorf("it believes in token %d", token)
		}
		return nil
	})
	if other := (redis.Lock{Shard: k.Shard, Name: redis.LockReplan}); true {
		b.Keep(other, 1)
		holds(t, b, other, 0)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, b, k, third)
}

// Redis forgets everything; nobody's token falls, and who has slept over all that gets a newer one before it decides.
func TestTokensRiseThoughRedisForgets(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	var f fence
	with := func(o *redis.LockOptions) { o.Raise = f.raise }
	k, c := redis.Lock{Shard: shard(), Name: redis.LockReplan}, client(t, r.URL())
	a := locks(t, r.URL(), with)
	a.Keep(k, 1)
	first := holds(t, a, k, 0)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "the lock is there again", func() error { return there(c.Get(context.Background(), lockKey(k)).Val(), first) })
	if token := holds(t, a, k, 0); token != first {
		t.Errorf("it was nobody else's, and has token %d after %d", token, first)
	}
	f.mu.Lock()
	f.highest = first + 1_000_000_000_000 // somebody has held it, by a clock that was ahead, and Redis has forgotten it
	beyond := f.highest
	f.mu.Unlock()
	b := locks(t, r.URL(), with)
	b.Keep(k, 2)
	if token := holds(t, b, k, 0); token <= beyond {
		t.Errorf("token %d is not beyond %d", token, beyond)
	}
}

func lockKey(k redis.Lock) string {
	return fmt.Sprintf("starling:{%s}:lock:%s:%s", k.Shard.Tenant, k.Shard.Warehouse, k.Name)
}

func there(text string, token int64) error {
	if !strings.HasPrefix(text, fmt.Sprint(token, " ")) {
		return errors.New(text)
	}
	return nil
}

// A holder whose Redis is away knows when it may no longer rely on the lock, and has it again afterwards.
func TestALeaseEndsByTheHoldersOwnClock(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	k := redis.Lock{Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, Name: redis.LockDispatch}
	l := locks(t, r.URL(), func(o *redis.LockOptions) { o.TTL, o.Timeout = 500*time.Millisecond, 100*time.Millisecond })
	l.Keep(k, 1)
	first := holds(t, l, k, 0)
	if err := syscall.Kill(r.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	within(t, "the lease ends", func() error {
		if token, held := l.Token(k); held || token != first {
			return fmt.Errorf("token %d, held %v", token, held)
		}
		return nil
	})
	if err := syscall.Kill(r.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if token := holds(t, l, k, 0); token < first {
		t.Errorf("token %d after %d", token, first)
	}
}
