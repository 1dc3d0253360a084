package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"starling/engine/fact"
	"starling/engine/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter is the common budget in memory.
type counter struct {
	mu    sync.Mutex
	clear map[string]time.Time
	held  map[string]map[*side]int
	calls int
	away  error
	delay time.Duration // before each answer
	freed chan struct{}
}

// side is one process's way to it.
type side struct{ c *counter }

func newCounter() *counter {
	return &counter{clear: map[string]time.Time{}, held: map[string]map[*side]int{}}
}

func (s *side) Take(_ context.Context, id fleet.TenantID, kind string, cost, tolerance time.Duration) (bool, time.Duration, error) {
	c := s.c
	c.wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.away != nil {
		return false, 0, c.away
	}
	key := string(id) + kind
	ok, debt, _ := decide(time.Until(c.clear[key]), cost, tolerance)
	c.clear[key] = time.Now().Add(debt)
	return ok, debt, nil
}

func (s *side) Tally(_ context.Context, held []Tally, _ time.Duration) ([]int, error) {
	c := s.c
	c.wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.away != nil {
		return nil, c.away
	}
	out := make([]int, len(held))
	for i, h := range held {
		key := string(h.Tenant) + h.Kind
		if c.held[key] == nil {
			c.held[key] = map[*side]int{}
		}
		c.held[key][s] = h.Held
		for o, m := range c.held[key] {
			if o != s {
				out[i] += m
			}
		}
	}
	return out, nil
}

func (s *side) Ping(context.Context) error { return s.c.away }

func (c *counter) wait() {
	c.mu.Lock()
	d, freed := c.delay, c.freed
	c.mu.Unlock()
	if d <= 0 {
		return
	}
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-late.C:
	case <-freed:
	}
}

// slow makes it answer so late, whatever the caller's context says.
func (c *counter) slow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
	if c.freed == nil {
		c.freed = make(chan struct{})
	}
}

// free ends all that wait.
func (c *counter) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.freed)
}

func (c *counter) set(err error) {
	c.mu.Lock()
	c.away, c.calls = err, 0
	c.mu.Unlock()
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// tenants is a store with one tenant's settings.
type tenants struct {
	mu       sync.Mutex
	settings string
	err      error
	reads    int
}

func (s *tenants) get(_ context.Context, id fleet.TenantID) (fact.Tenant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return fact.Tenant{ID: id, Settings: json.RawMessage(s.settings), Limits: json.RawMessage(`{}`)}, s.err
}

func (s *tenants) set(settings string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings, s.err = settings, err
}

func quotas(t *testing.T, c *counter, s *tenants) *Quotas {
	o := Options{Tenant: s.get}
	if c != nil {
		o.Counter = &side{c}
	}
	q := New(o)
	t.Cleanup(q.Stop)
	return q
}

const one = fleet.TenantID("one")

func TestTwoProcessesShareOneBudget(t *testing.T) {
	t.Parallel()
	for kind, name := range map[Kind]string{Requests: "requests_per_s", Statuses: "link_statuses_per_s"} {
		synctest.Test(t, func(t *testing.T) {
			c, s := newCounter(), &tenants{settings: fmt.Sprintf(`{"quotas":{%q:2000}}`, name)}
			a, b := quotas(t, c, s), quotas(t, c, s)
			passed := 0
			const seconds = 5
			for range seconds * 1000 {
				for _, q := range []*Quotas{a, b} {
					for range 10 { // each wants ten times the quota
						if q.Take(t.Context(), one, kind, 1).OK {
							passed++
						}
					}
				}
				time.Sleep(time.Millisecond)
			}
			// A burst and the rate; what each has taken in advance is a part of these.
			if most := 2000 * (1 + seconds); passed > most || passed < most*95/100 {
				t.Errorf("%s: %d passed in %d s, want at most %d and little less", kind, passed, seconds, most)
			}
			if calls := c.count(); calls > 2*seconds*400 {
				t.Errorf("%s: %d calls of the counter for %d decisions", kind, calls, seconds*20_000)
			}
		})
	}
}

func TestTheCounterAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCounter(), &tenants{settings: `{"quotas":{"tasks_per_min":60}}`}
		a, b := quotas(t, c, s), quotas(t, c, s)
		if v := a.Take(t.Context(), one, Tasks, 50); !v.OK || v.Limit != 60 || v.Remaining != 10 || v.Reset != 50*time.Second {
			t.Fatalf("%+v", v)
		}
		if v := b.Take(t.Context(), one, Tasks, 20); v.OK || v.RetryAfter != 10*time.Second {
			t.Fatalf("a second process: %+v", v)
		}
		c.set(errors.New("away"))
		// a goes on from where the common count stood; b, who knows it as well, has to wait as before.
		if v := a.Take(t.Context(), one, Tasks, 10); !v.OK {
			t.Fatalf("alone: %+v", v)
		}
		if v := a.Take(t.Context(), one, Tasks, 1); v.OK {
			t.Fatalf("alone there is no bound: %+v", v)
		}
		if v := b.Take(t.Context(), one, Tasks, 20); v.OK {
			t.Fatalf("%+v", v)
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			a.Take(t.Context(), "other", Tasks, 1)
		}
		if n := c.count(); n > 20 {
			t.Errorf("a counter that is away was asked %d times in 10 s", n)
		}
		if a.Probe(t.Context()) == nil {
			t.Error("the state of health does not tell")
		}
		c.set(nil)
		time.Sleep(longestBreak + time.Second)
		a.Take(t.Context(), "other", Tasks, 1)
		if v := b.Take(t.Context(), "other", Tasks, 60); v.OK {
			t.Fatal("not counted together again")
		}
	})
}

func TestARefusedTenantAsksSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		q := quotas(t, c, &tenants{settings: `{"quotas":{"link_statuses_per_s":10000}}`})
		q.Settings(t.Context(), one)
		taken := 0
		for range 20_000 { // 20 times the quota, in frames of 100, for 10 s
			taken += q.TakeNow(one, Statuses, 100)
			time.Sleep(500 * time.Microsecond)
		}
		if most := 10_000*11 + 10_000/20 + 100; taken > most || taken < 10_000*11*95/100 {
			t.Errorf("%d taken, want at most %d and little less", taken, most)
		}
		if n := c.count(); n > 10*400 {
			t.Errorf("the counter was asked %d times", n)
		}
	})
}

func TestMoreThanEverFitsIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := quotas(t, nil, &tenants{settings: `{"quotas":{"tasks_per_min":100,"requests_per_s":0}}`})
		if v := q.Take(t.Context(), one, Tasks, 101); v.OK || v.RetryAfter != time.Minute {
			t.Fatalf("%+v", v)
		}
		if v := q.Take(t.Context(), one, Tasks, 100); !v.OK || v.Remaining != 0 || v.Reset != time.Minute {
			t.Fatalf("%+v", v)
		}
		if v := q.Take(t.Context(), one, Requests, 1); v.OK || v.Limit != 0 {
			t.Fatalf("a quota of nothing: %+v", v)
		}
	})
}

func TestSettingsOutliveTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenants{settings: `{"quotas":{"robots":5}}`}
		q := quotas(t, nil, s)
		limit := func() int {
			set := q.Settings(t.Context(), one)
			synctest.Wait()
			return set.Limit(Robots)
		}
		if n := limit(); n != 5 {
			t.Fatal(n)
		}
		for range 100 {
			limit()
		}
		if s.reads != 1 {
			t.Fatalf("read %d times", s.reads)
		}
		s.set(`{"quotas":{"robots":6}}`, nil)
		q.Changed(one)
		if n := limit(); n != 6 {
			t.Fatalf("%d after the change", n)
		}
		s.set(`{"quotas":{"robots":7}}`, nil) // by another process
		time.Sleep(4 * time.Second)
		limit()
		if n := limit(); n != 7 {
			t.Fatalf("%d after the settings' time", n)
		}
		s.set(``, fmt.Errorf("read: %w", fact.ErrUnavailable))
		for range 10 {
			time.Sleep(time.Minute)
			if n := limit(); n != 7 {
				t.Fatalf("%d while the store is away", n)
			}
		}
		if n := q.Settings(t.Context(), "new"); n.Limit(Robots) != Robots.Default() {
			t.Fatal("a tenant that nobody knows has not the usual quotas")
		}
		s.set(``, fmt.Errorf("read: %w", fact.ErrNotFound))
		time.Sleep(time.Minute)
		limit()
		if n := limit(); n != Robots.Default() {
			t.Fatalf("%d although the tenant is gone", n)
		}
	})
}

// A change while settings are on their way: what is read may be from before it.
func TestAChangeIsNotLostInARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenants{settings: `{"quotas":{"robots":1}}`}
		q := New(Options{Tenant: func(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) {
			row, err := s.get(ctx, id)
			time.Sleep(100 * time.Millisecond)
			return row, err
		}})
		defer q.Stop()
		go q.Settings(t.Context(), one)
		time.Sleep(50 * time.Millisecond)
		s.set(`{"quotas":{"robots":2}}`, nil)
		q.Changed(one)
		time.Sleep(100 * time.Millisecond)
		if set := q.Settings(t.Context(), one); set.Limit(Robots) != 2 {
			t.Fatalf("%d robots: the change was lost", set.Limit(Robots))
		}
		synctest.Wait()
	})
}

func TestTenantsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := New(Options{Tenants: 8, Tenant: (&tenants{settings: `{"quotas":{"tasks_per_min":1}}`}).get})
		defer q.Stop()
		leave, _ := q.Enter(t.Context(), "holder", Clients)
		q.Take(t.Context(), "busy", Tasks, 1)
		for i := range 1000 {
			q.Settings(t.Context(), fleet.TenantID(fmt.Sprint("t", i)))
			if i%5 == 0 && q.Take(t.Context(), "busy", Tasks, 1).OK {
				t.Fatal("forgot a count of a tenant that has something to lose")
			}
		}
		synctest.Wait()
		if n := len(q.tenants); n > 8 {
			t.Errorf("%d tenants are kept", n)
		}
		if q.tenants["holder"] == nil {
			t.Error("forgot a tenant that holds something")
		}
		leave()
	})
}

func TestWhatLastsIsCountedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCounter(), &tenants{settings: `{"quotas":{"ws_clients":3}}`}
		a, b := quotas(t, c, s), quotas(t, c, s)
		leave, v := a.Enter(t.Context(), one, Clients)
		if !v.OK || v.Limit != 3 || v.Remaining != 2 {
			t.Fatalf("%+v", v)
		}
		a.Enter(t.Context(), one, Clients)
		time.Sleep(tallyEvery + time.Millisecond)
		synctest.Wait()
		if _, v = b.Enter(t.Context(), one, Clients); !v.OK || v.Remaining != 0 {
			t.Fatalf("%+v", v)
		}
		if _, v = b.Enter(t.Context(), one, Clients); v.OK || v.RetryAfter <= 0 {
			t.Fatalf("a fourth client: %+v", v)
		}
		leave()
		leave() // once more does nothing
		time.Sleep(2*tallyEvery + time.Millisecond)
		synctest.Wait()
		if _, v = b.Enter(t.Context(), one, Clients); !v.OK {
			t.Fatalf("one has left: %+v", v)
		}
		if _, v = b.Enter(t.Context(), one, Clients); v.OK {
			t.Fatalf("left twice: %+v", v)
		}
	})
}

// A process died and the Counter goes: what the dead one held keeps nobody out of those that are left.
func TestWhatADeadProcessHeldKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]time.Duration{"at once": 0, "later": tallyKeep + time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			const many = 300
			c, s := newCounter(), &tenants{settings: `{"quotas":{"actors":3}}`}
			dead, alive := quotas(t, c, s), quotas(t, c, s)
			id := func(i int) fleet.TenantID { return fleet.TenantID(fmt.Sprint("t", i)) }
			for i := range many {
				for range 3 {
					dead.Enter(t.Context(), id(i), Actors)
				}
			}
			dead.tellAll()
			dead.Stop()
			for i := range many { // it has heard of them
				if _, v := alive.Enter(t.Context(), id(i), Actors); v.OK {
					t.Fatalf("%s: the processes do not count together", name)
				}
			}
			c.set(errors.New("away"))
			alive.Take(t.Context(), "other", Tasks, 1) // somebody finds it away
			time.Sleep(outage)
			passed := 0
			for i := range many {
				if _, v := alive.Enter(t.Context(), id(i), Actors); v.OK {
					passed++
				}
			}
			if passed != many {
				t.Fatalf("%s: %d of %d robots passed", name, passed, many)
			}
		})
	}
}

func TestTalliesOfManyTenantsAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 5000
		c, s := newCounter(), &tenants{settings: `{}`}
		a, b := quotas(t, c, s), quotas(t, c, s)
		id := func(i int) fleet.TenantID { return fleet.TenantID(fmt.Sprint("t", i)) }
		for i := range many {
			a.Enter(t.Context(), id(i), Actors)
		}
		c.set(nil) // and count calls
		c.slow(20 * time.Millisecond)
		const rounds = 10
		time.Sleep(rounds * tallyEvery)
		if n := c.count(); n > rounds*50 {
			t.Errorf("%d calls for %d rounds of the tallies of %d tenants", n, rounds, many)
		}
		for i := range many {
			h := holder{a.tenant(id(i)), Actors}
			if age := time.Since(h.lasting().heard); age > tallyKeep/2 {
				t.Fatalf("tenant %d was told %v ago", i, age)
			}
			a.release(h.t)
		}
		if _, v := b.Enter(t.Context(), id(many-1), Actors); v.Remaining != Actors.Default()-2 {
			t.Fatalf("%+v", v)
		}
	})
}

func TestPreflightsKnowTheOriginsOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		all, away := []string{"https://b.example", "https://a.example"}, error(nil)
		q := New(Options{Origins: func(context.Context, int) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return append([]string{}, all...), away
		}})
		defer q.Stop()
		allowed := func(origin string, want bool) {
			t.Helper()
			if q.OriginAllowed(t.Context(), origin) != want {
				t.Fatalf("%s: %v", origin, !want)
			}
			synctest.Wait()
		}
		allowed("https://a.example", true)
		allowed("https://A.example", true)
		allowed("https://c.example", false)
		mu.Lock()
		all = append(all, "https://c.example")
		mu.Unlock()
		q.Changed(one)
		allowed("https://c.example", true)
		mu.Lock()
		away = fact.ErrUnavailable
		mu.Unlock()
		time.Sleep(time.Minute)
		allowed("https://c.example", true)
		allowed("https://c.example", true)
	})
}
