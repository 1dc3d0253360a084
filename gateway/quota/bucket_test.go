package quota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// together lets so many callers take a unit at once and returns how many passed and how long the slowest waited.
func together(ctx context.Context, q *Quotas, k Kind, callers int) (passed int, slowest time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			began := time.Now()
			ok := q.Take(ctx, one, k, 1).OK
			mu.Lock()
			defer mu.Unlock()
			if slowest = max(slowest, time.Since(began)); ok {
				passed++
			}
		})
	}
	all.Wait()
	return passed, slowest
}

func TestNobodyWaitsLongForASlowCounter(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{40 * time.Millisecond, 49 * time.Millisecond, 200 * time.Millisecond, time.Hour} {
		for _, units := range []int{90, 5000} {
			synctest.Test(t, func(t *testing.T) {
				c := newCounter()
				q := quotas(t, c, &tenants{settings: fmt.Sprintf(`{"quotas":{"requests_per_s":%d}}`, units)})
				q.Settings(t.Context(), one)
				c.set(nil)
				c.slow(delay)
				began, passed := time.Now(), 0
				for range 40 {
					n, slowest := together(t.Context(), q, Requests, 100)
					if passed += n; slowest > q.o.Patience {
						t.Fatalf("with a counter that takes %v one of 100 callers waited for %v", delay, slowest)
					}
					time.Sleep(10 * time.Millisecond)
				}
				// What came late was counted here as well as there: twice at most.
				took := time.Since(began).Seconds()
				if most := 2*float64(units)*(1+took) + 1; float64(passed) > most || passed < min(units, 3900) {
					t.Errorf("%d passed of a quota of %d in %.1f s, with a counter that takes %v", passed, units, took, delay)
				}
				if n := c.count(); n > 40 {
					t.Errorf("a counter that takes %v was asked %d times for 4000 callers", delay, n)
				}
				if delay < time.Hour {
					c.slow(0)
					time.Sleep(longestBreak + 2*delay)
					q.Take(t.Context(), one, Requests, 1)
					synctest.Wait()
					if q.circuit.open() {
						t.Error("a counter that is in time again is not asked again")
					}
				} else {
					c.free()
				}
			})
		}
	}
}

func TestWhoGoesDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		q := quotas(t, c, &tenants{settings: `{}`})
		q.Settings(t.Context(), one)
		c.slow(45 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if passed, slowest := together(ctx, q, Requests, 10); slowest > 5*time.Millisecond || passed != 10 {
			t.Fatalf("%d passed, one waited for %v", passed, slowest)
		}
	})
}

func TestStatusesWaitForNothing(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			const units = 10_000
			c, s := newCounter(), &tenants{settings: `{"quotas":{"link_statuses_per_s":10000}}`}
			q := New(Options{Counter: &side{c}, Tenant: func(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) {
				time.Sleep(delay)
				return s.get(ctx, id)
			}})
			defer q.Stop()
			q.Settings(t.Context(), one)
			c.slow(delay)
			// Within the quota all pass, also the first frames; beyond it the quota passes.
			for _, load := range []struct{ frame, seconds, least, most int }{
				{50, 3, 3 * 5000, 3 * 5000}, {400, 5, 5 * units, 7*units + units/20 + 400},
			} {
				taken, began := 0, time.Now()
				for i := range load.seconds * 100 {
					taken += q.TakeNow(one, Statuses, load.frame)
					if i%50 == 0 {
						q.Changed(one) // settings are to be read anew
					}
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(began); took != time.Duration(load.seconds)*time.Second {
					t.Fatalf("statuses waited: %v for %d s, with a counter that takes %v", took, load.seconds, delay)
				}
				if taken < load.least*95/100 || taken > load.most {
					t.Errorf("%d of %d statuses a second taken in %d s with a counter that takes %v, want %d..%d", taken, load.frame*100, load.seconds, delay, load.least, load.most)
				}
			}
			s.set(`{"quotas":{"link_statuses_per_s":0}}`, nil)
			q.Changed(one)
			q.TakeNow(one, Statuses, 1)
			time.Sleep(time.Second)
			if q.TakeNow(one, Statuses, 1) != 0 {
				t.Error("a change is never seen")
			}
		})
	}
}

// Many processes that do little for a tenant leave the budget to the one that does much: as long as all together stay
// within it, nobody is refused.
func TestIdleProcessesHoldLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const idle, seconds = 20, 30
		c, s := newCounter(), &tenants{settings: `{"quotas":{"requests_per_s":1000,"link_statuses_per_s":1000}}`}
		var all []*Quotas
		for range idle + 1 {
			q := quotas(t, c, s)
			q.Settings(t.Context(), one)
			all = append(all, q)
		}
		refused := map[Kind]int{}
		take := func(q *Quotas) {
			if !q.Take(t.Context(), one, Requests, 1).OK {
				refused[Requests]++
			}
			if q.TakeNow(one, Statuses, 1) == 0 {
				refused[Statuses]++
			}
		}
		for i := range seconds * 900 { // 900 units a second, and 40 of the others
			if i%450 == 0 {
				for _, q := range all[1:] {
					take(q)
				}
			}
			take(all[0])
			time.Sleep(time.Second / 900)
		}
		if len(refused) > 0 {
			t.Errorf("refused within the quota, beside %d idle processes: %v", idle, refused)
		}
	})
}

// Whatever processes do and whenever, no window lets more through than the package states.
func TestNoWindowOfManyProcessesLetsMoreThrough(t *testing.T) {
	t.Parallel()
	type step struct {
		process, n, callers int
		pause               time.Duration
	}
	rapid.Check(t, func(rt *rapid.T) {
		units, processes := rapid.IntRange(1, 3000).Draw(rt, "units"), rapid.IntRange(1, 4).Draw(rt, "processes")
		kind := rapid.SampledFrom([]Kind{Requests, Statuses}).Draw(rt, "kind")
		frame := 1
		if kind == Statuses {
			frame = rapid.IntRange(1, units).Draw(rt, "frame")
		}
		delay := time.Duration(rapid.IntRange(0, 5).Draw(rt, "delay_ms")) * time.Millisecond
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				process: rapid.IntRange(0, processes-1).Draw(rt, "process"), n: rapid.IntRange(1, frame).Draw(rt, "n"),
				callers: rapid.IntRange(1, 20).Draw(rt, "callers"), pause: time.Duration(rapid.IntRange(0, 50).Draw(rt, "pause_ms")) * time.Millisecond,
			}
		}), 1, 80).Draw(rt, "steps")
		type taken struct {
			at time.Time
			n  int
		}
		var all []taken
		synctest.Test(t, func(t *testing.T) {
			c, s := newCounter(), &tenants{settings: fmt.Sprintf(`{"quotas":{%q:%d}}`, kind, units)}
			qs := make([]*Quotas, processes)
			for i := range qs {
				qs[i] = quotas(t, c, s)
				qs[i].Settings(t.Context(), one)
			}
			c.slow(delay)
			var mu sync.Mutex
			var callers sync.WaitGroup
			note := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, taken{time.Now(), n})
			}
			for _, x := range steps {
				for range x.callers {
					callers.Go(func() {
						if kind == Statuses {
							note(qs[x.process].TakeNow(one, kind, x.n))
						} else if qs[x.process].Take(t.Context(), one, kind, x.n).OK {
							note(x.n)
						}
					})
				}
				time.Sleep(x.pause)
			}
			callers.Wait()
			for _, q := range qs {
				if q.circuit.open() {
					t.Error("the counter is in time and counts as away")
				}
			}
		})
		r := Rate{Units: units, Per: time.Second}
		slack := processes * r.ahead(kind)
		if kind == Statuses {
			slack += processes * frame
		}
		for i := range all {
			sum := 0
			for _, x := range all[i:] {
				sum += x.n
				w := x.at.Sub(all[i].at)
				if most := float64(units)*(1+w.Seconds()) + float64(slack); float64(sum) > most+1e-3 {
					rt.Fatalf("%d units in %v, at most %.3f are stated", sum, w, most)
				}
			}
		}
	})
}

func TestWhatIsOwedIsCountedAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		q := quotas(t, c, &tenants{settings: `{"quotas":{"link_statuses_per_s":1000}}`})
		q.Settings(t.Context(), one)
		c.set(errors.New("away"))
		taken := 0
		for range 100 { // the first ones on credit, before it shows that nobody lends
			taken += q.TakeNow(one, Statuses, 20)
			synctest.Wait()
		}
		if taken > 1000 || taken < 980 {
			t.Fatalf("%d taken at once alone, want the burst of 1000", taken)
		}
	})
}

func TestASmallerQuotaDoesNotPayForTheLargerOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCounter(), &tenants{settings: `{"quotas":{"link_statuses_per_s":100000}}`}
		a, b := quotas(t, c, s), quotas(t, c, s)
		for _, q := range []*Quotas{a, b} {
			q.Settings(t.Context(), one)
			if n := q.TakeNow(one, Statuses, 100_000); n != 100_000 { // of b's nothing is paid
				t.Fatal(n)
			}
			synctest.Wait()
		}
		s.set(`{"quotas":{"link_statuses_per_s":1000}}`, nil)
		b.Changed(one)
		taken := 0
		for range 500 {
			taken += b.TakeNow(one, Statuses, 100)
			time.Sleep(10 * time.Millisecond)
		}
		if taken < 2500 {
			t.Fatalf("%d taken in 5 s of a quota of 1000 a second", taken)
		}
	})
}
