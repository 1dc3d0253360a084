//go:build integration

package quota_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"starling/deploy/stack"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/quota"
	"starling/persistence/redis"
)

// process is one with quotas of its own, counted in the Redis.
func process(t *testing.T, url, settings string, timeout time.Duration) *quota.Quotas {
	t.Helper()
	c, err := redis.Open(redis.Options{URL: url, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	q := quota.New(quota.Options{Counter: c, Patience: timeout, Tenant: func(_ context.Context, id fleet.TenantID) (fact.Tenant, error) {
		return fact.Tenant{ID: id, Settings: json.RawMessage(settings), Limits: json.RawMessage(`{}`)}, nil
	}})
	t.Cleanup(func() {
		q.Stop()
		_ = c.Close()
	})
	return q
}

func ownRedis(t *testing.T) *stack.Redis {
	t.Helper()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	return r
}

func TestProcessesShareABudgetInRedis(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	const units = 2000
	settings := `{"quotas":{"requests_per_s":2000}}`
	id := fleet.TenantID(uuid.NewString())
	var passed atomic.Int64
	var all errgroup.Group
	began := time.Now()
	for range 2 {
		q := process(t, r.URL(), settings, 5*time.Second)
		all.Go(func() error {
			for end := began.Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for range 20 { // up to ten times the quota
					if q.Take(t.Context(), id, quota.Requests, 1).OK {
						passed.Add(1)
					}
				}
			}
			return nil
		})
	}
	_ = all.Wait()
	// The burst and the rate, and what each had taken in advance before the last moment: a hundredth, for each.
	most := units*(1+time.Since(began).Seconds()) + 2*units/100
	if n := float64(passed.Load()); n > most || n < units {
		t.Fatalf("%.0f passed, want %d at least and %.0f at most", n, units, most)
	}
}

// Redis is killed under load: nobody is refused because of it; when it is back, processes count together again.
func TestRedisGoesAndComes(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	id := fleet.TenantID(uuid.NewString())
	settings := `{"quotas":{"tasks_per_min":60}}`
	a, b := process(t, r.URL(), settings, 50*time.Millisecond), process(t, r.URL(), settings, 50*time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	var all errgroup.Group
	var refused, asked atomic.Int64
	for range 8 {
		all.Go(func() error {
			for ctx.Err() == nil { // of another tenant, within its quota
				if !a.Take(ctx, "quiet", quota.Statuses, 1).OK {
					refused.Add(1)
				}
				a.Take(ctx, fleet.TenantID(uuid.NewString()), quota.Tasks, 1)
				asked.Add(1)
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	}
	defer func() {
		stop()
		_ = all.Wait()
		if refused.Load() > 0 {
			t.Errorf("%d of %d were refused", refused.Load(), asked.Load())
		}
	}()
	wait := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	together := func(q *quota.Quotas) func() bool { return func() bool { return q.Probe(ctx) == nil } }
	wait("Redis does not answer", together(a))
	if v := a.Take(ctx, id, quota.Tasks, 60); !v.OK {
		t.Fatalf("%+v", v)
	}
	wait("the other process does not see what was taken", func() bool { return !b.Take(ctx, id, quota.Tasks, 30).OK })
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	wait("the state of health does not tell", func() bool { return a.Probe(ctx) != nil })
	before := asked.Load()
	wait("requests do not go on", func() bool { return asked.Load() > before+100 })
	if v := a.Take(ctx, id, quota.Tasks, 30); v.OK {
		t.Fatal("a process alone has forgotten what was counted together")
	}
	fresh := fleet.TenantID(uuid.NewString())
	if !a.Take(ctx, fresh, quota.Tasks, 60).OK || !b.Take(ctx, fresh, quota.Tasks, 60).OK {
		t.Fatal("alone each process has the whole quota")
	}
	if err := r.StartAgain(ctx); err != nil {
		t.Fatal(err)
	}
	wait("Redis is not back", together(b))
	wait("not counted together again", func() bool {
		id := fleet.TenantID(uuid.NewString())
		return a.Take(ctx, id, quota.Tasks, 60).OK && !b.Take(ctx, id, quota.Tasks, 30).OK
	})
}
