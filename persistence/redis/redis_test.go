//go:build integration

package redis_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/engine/fleet"
	"starling/persistence/redis"
)

func open(t *testing.T, url string) *redis.Counter {
	t.Helper()
	// A shared machine may stop a test's process for longer than a deployment's.
	c, err := redis.Open(redis.Options{URL: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tenant() fleet.TenantID { return fleet.TenantID(uuid.NewString()) }

func TestCostsAddUpToTheToleranceAndComeBack(t *testing.T) {
	t.Parallel()
	c, id := open(t, stacktest.Redis(t).URL()), tenant()
	const cost, tolerance = time.Hour, 10 * time.Hour // so long that what comes back meanwhile is next to nothing
	for i := range 10 {
		ok, debt, err := c.Take(t.Context(), id, "k", cost, tolerance+time.Minute)
		if err != nil || !ok {
			t.Fatalf("take %d: %v %v", i, ok, err)
		}
		if want := time.Duration(i+1) * time.Hour; math.Abs(float64(debt-want)) > float64(time.Minute) {
			t.Fatalf("take %d: a debt of %v", i, debt)
		}
	}
	if ok, debt, err := c.Take(t.Context(), id, "k", cost, tolerance+time.Minute); err != nil || ok || debt > tolerance {
		t.Fatalf("beyond the tolerance: %v %v %v", ok, debt, err)
	}
	if ok, _, err := c.Take(t.Context(), id, "other", cost, tolerance); err != nil || !ok {
		t.Fatalf("another kind: %v %v", ok, err)
	}
	if ok, _, err := c.Take(t.Context(), tenant(), "k", cost, tolerance); err != nil || !ok {
		t.Fatalf("another tenant: %v %v", ok, err)
	}
	// A quota that has become smaller makes nobody wait for longer than a full bucket.
	if ok, debt, err := c.Take(t.Context(), id, "k", time.Second, time.Minute); err != nil || ok || debt != time.Minute {
		t.Fatalf("a smaller quota: %v %v %v", ok, debt, err)
	}
	if ok, debt, err := c.Take(t.Context(), tenant(), "k", 333*time.Nanosecond, time.Second); err != nil || !ok || debt > time.Microsecond {
		t.Fatalf("a small cost: %v %v %v", ok, debt, err)
	}
}

func TestProcessesShareABucket(t *testing.T) {
	t.Parallel()
	url, id := stacktest.Redis(t).URL(), tenant()
	const units, per = 500, 5 * time.Second
	began := time.Now()
	var mu sync.Mutex
	passed := 0
	var all sync.WaitGroup
	for range 4 {
		c := open(t, url)
		all.Go(func() {
			for range 500 {
				ok, _, err := c.Take(t.Context(), id, "k", per/units, per)
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if most := units * (1 + time.Since(began).Seconds()/per.Seconds()); float64(passed) > most || passed < units {
		t.Fatalf("%d passed, want %d at least and %.0f at most", passed, units, most)
	}
}

func TestEveryKeyLapses(t *testing.T) {
	t.Parallel()
	r, id := stacktest.Redis(t), tenant()
	c := open(t, r.URL())
	if _, _, err := c.Take(t.Context(), id, "k", 10*time.Second, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tally(t.Context(), []redis.Held{{Tenant: id, Kind: "k", Held: 3}}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	o, err := goredis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(o)
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*"+string(id)+"*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v: %v", keys, err)
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, fmt.Sprintf("starling:{%s}:", id)) {
			t.Errorf("key %s has another shape", k)
		}
		if ttl := client.PTTL(t.Context(), k).Val(); ttl <= 0 || ttl > 21*time.Second {
			t.Errorf("key %s lives for %v", k, ttl)
		}
	}
}

func TestTalliesOfProcesses(t *testing.T) {
	t.Parallel()
	url, id := stacktest.Redis(t).URL(), tenant()
	a, b := open(t, url), open(t, url)
	tally := func(c *redis.Counter, n int, keep time.Duration, want int) {
		t.Helper()
		others, err := c.Tally(t.Context(), []redis.Held{{Tenant: id, Kind: "k", Held: n}, {Tenant: id, Kind: "other", Held: 1}}, keep)
		if err != nil || len(others) != 2 || others[0] != want || others[1] > 1 {
			t.Fatalf("the others hold %d, want %d: %v", others, want, err)
		}
	}
	tally(a, 2, time.Minute, 0)
	tally(b, 5, time.Minute, 2)
	tally(a, 3, time.Minute, 5)
	tally(b, 0, time.Minute, 3)
	tally(a, 3, time.Minute, 0)
	tally(a, 7, time.Millisecond, 0) // and is not heard of again
	for deadline := time.Now().Add(5 * time.Second); ; {
		others, err := b.Tally(t.Context(), []redis.Held{{Tenant: id, Kind: "k", Held: 1}}, time.Minute)
		if err == nil && others[0] == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of a process that has gone: %v", others, err)
		}
	}
}

// A Redis that is gone refuses at once; one that is stopped, or a listener that nobody serves, says nothing at all.
func TestACallEndsInItsTime(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	var lc net.ListenConfig
	mute, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	inTime(t, "a listener that nobody serves", usual(t, "redis://"+mute.Addr().String()))

	used, fresh := usual(t, r.URL()), usual(t, r.URL())
	answers(t, used)
	pid := r.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	inTime(t, "stopped, by a connection that was there", used)
	inTime(t, "stopped, by a new connection", fresh)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	answers(t, used)
	answers(t, fresh)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	inTime(t, "gone", used)
	if err := r.StartAgain(t.Context()); err != nil { // and knows no scripts
		t.Fatal(err)
	}
	answers(t, used)
}

// usual is a counter with the bound that a deployment has.
func usual(t *testing.T, url string) *redis.Counter {
	t.Helper()
	c, err := redis.Open(redis.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inTime demands that every call fails, long before a test's patience: the bound is 50 ms, the rest is the machine's.
func inTime(t *testing.T, what string, c *redis.Counter) {
	t.Helper()
	for name, call := range map[string]func(context.Context) error{
		"take": func(ctx context.Context) error { _, _, err := c.Take(ctx, tenant(), "k", 1, 2); return err },
		"tally": func(ctx context.Context) error {
			_, err := c.Tally(ctx, []redis.Held{{Tenant: tenant(), Kind: "k", Held: 1}}, time.Minute)
			return err
		},
		"ping": c.Ping,
	} {
		began := time.Now()
		if call(t.Context()) == nil {
			t.Fatalf("%s: %s has an answer", what, name)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: %s took %v", what, name, took)
		}
	}
}

// answers waits until calls succeed.
func answers(t *testing.T, c *redis.Counter) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, _, err := c.Take(t.Context(), tenant(), "k", 1, 2)
		if err == nil {
			_, err = c.Tally(t.Context(), []redis.Held{{Tenant: tenant(), Kind: "k", Held: 1}}, time.Minute)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestABadURLKeepsItsPassword(t *testing.T) {
	t.Parallel()
	if _, err := redis.Open(redis.Options{URL: "http://u:topsecret@h"}); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) { stacktest.Main(m) }
