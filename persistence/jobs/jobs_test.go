//go:build integration

package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack/stacktest"
	"starling/persistence/jobs"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// patience is for what must come: it ends a test that would wait for ever.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// databases are those of the one Redis that no test has: what one leaves another does not see.
var databases = func() chan int {
	free := make(chan int, 16)
	for n := range cap(free) {
		free <- n
	}
	return free
}()

func redisURL(t *testing.T) string {
	t.Helper()
	n := <-databases
	url := strings.TrimSuffix(stacktest.Redis(t).URL(), "/0") + fmt.Sprintf("/%d", n)
	t.Cleanup(func() {
		o, err := goredis.ParseURL(url)
		if err != nil {
			t.Error(err)
			return
		}
		c := goredis.NewClient(o)
		defer func() { _ = c.Close() }()
		if err := c.FlushDB(context.Background()).Err(); err != nil { // the test's context is over
			t.Error(err)
			return
		}
		databases <- n
	})
	return url
}

func run(t *testing.T, o jobs.Options, kinds ...jobs.Kind) *jobs.Runner {
	t.Helper()
	o.Idle = 50 * time.Millisecond
	r, err := jobs.Open(o, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// outbox counts wake-ups of shards and sweeps.
type outbox struct {
	mu     sync.Mutex
	woken  [jobs.Shards]int
	sweeps int
	hold   chan struct{} // Wake blocks on it, nil = it does not
}

func (o *outbox) Wake(shard int) {
	o.mu.Lock()
	o.woken[shard]++
	hold := o.hold
	o.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

func (o *outbox) Sweep(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweeps++
	return nil
}

func (o *outbox) count(shard int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.woken[shard]
}

func TestThousandsOfCommitsMakeFewWakeUpsAndNoneIsMissed(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	o := &outbox{}
	registry := prometheus.NewRegistry()
	run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Facts}}, jobs.OutboxKinds(o)...)
	engine := run(t, jobs.Options{URL: url, Registerer: registry}, jobs.Wakes()) // another process, that pumps nothing
	for i := range 20_000 {
		engine.Wake(i % jobs.Shards)
	}
	for shard := range jobs.Shards {
		eventually(t, fmt.Sprintf("shard %d is woken", shard), func() bool { return o.count(shard) > 0 })
	}
	total := 0
	for shard := range jobs.Shards {
		total += o.count(shard)
	}
	if total > 20*jobs.Shards {
		t.Errorf("%d jobs for 20,000 commits", total)
	}
	t.Logf("%d jobs for 20,000 commits", total)
}

// A commit comes while the job of its shard runs, after that has looked: another job follows it.
func TestAWakeUpDuringAWakeUpIsNotLost(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	o := &outbox{hold: make(chan struct{})}
	r := run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Facts}}, jobs.OutboxKinds(o)...)
	r.Wake(3)
	eventually(t, "the shard is woken", func() bool { return o.count(3) == 1 })
	r.Wake(3)
	time.Sleep(2500 * time.Millisecond) // two beats in which it cannot be made: the first one still runs
	if n := o.count(3); n != 1 {
		t.Fatalf("%d at once", n)
	}
	close(o.hold)
	eventually(t, "it is woken again", func() bool { return o.count(3) >= 2 })
}

func TestAJobIsTheOnlyOneOfItsKeyUntilItIsDone(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	var done atomic.Int64
	hold := make(chan struct{})
	r := run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Control}}, jobs.Kind{
		Name: "k", Queue: jobs.Control, Do: func(_ context.Context, j jobs.Job) error {
			if j.Tenant != "t" || j.Key != "a" || string(j.Body) != `{"x":1}` || j.Trace != "trace" {
				t.Errorf("%+v", j)
			}
			<-hold
			done.Add(1)
			return nil
		},
	})
	j := jobs.Job{Kind: "k", Tenant: "t", Key: "a", Body: []byte(`{"x":1}`), Trace: "trace"}
	for i := range 5 {
		if made, err := r.Add(t.Context(), j); err != nil || made != (i == 0) {
			t.Fatalf("%d: %v %v", i, made, err)
		}
	}
	close(hold)
	eventually(t, "it is done", func() bool { return done.Load() == 1 })
	eventually(t, "its key is free", func() bool { made, err := r.Add(t.Context(), j); return made && err == nil })
	eventually(t, "it is done again", func() bool { return done.Load() == 2 })
}

func TestAJobThatFailsIsTriedAgainThenListedAndMayRunOnceMore(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	var tries, heal atomic.Int64
	r := run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Housekeeping}}, jobs.Kind{
		Name: "k", Queue: jobs.Housekeeping, Tries: 2, Do: func(context.Context, jobs.Job) error {
			tries.Add(1)
			if heal.Load() == 0 {
				return errors.New("the wheel is off")
			}
			return nil
		},
	})
	j := jobs.Job{Kind: "k", Tenant: "t", Key: "a"}
	if made, err := r.Add(t.Context(), j); err != nil || !made {
		t.Fatal(made, err)
	}
	var list []jobs.Failed
	eventually(t, "it is listed", func() bool {
		var err error
		if list, err = r.Failures(); err != nil {
			t.Fatal(err)
		}
		return len(list) == 1
	})
	if f := list[0]; tries.Load() != 2 || f.Kind != "k" || f.Tenant != "t" || f.Key != "a" || f.Tries != 2 || !strings.Contains(f.Cause, "wheel") {
		t.Fatalf("after %d tries %+v", tries.Load(), f)
	}
	if made, err := r.Add(t.Context(), j); made || err != nil { // it stands in the way for a while
		t.Fatal(made, err)
	}
	heal.Store(1)
	if err := r.Retry(list[0].Queue, list[0].ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs once more", func() bool { return tries.Load() == 3 })
	eventually(t, "it is gone", func() bool { l, err := r.Failures(); return err == nil && len(l) == 0 })
	if err := r.Retry(list[0].Queue, list[0].ID); !errors.Is(err, jobs.ErrNoJob) {
		t.Error(err)
	}
	if err := r.Discard("control", "none"); !errors.Is(err, jobs.ErrNoJob) {
		t.Error(err)
	}
}

func TestAJobOfAnotherProcessIsHandedRound(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	var passed, done atomic.Int64
	kind := func(own bool) jobs.Kind {
		return jobs.Kind{Name: "k", Queue: jobs.Control, Tries: 8, Do: func(context.Context, jobs.Job) error {
			if !own {
				passed.Add(1)
				return jobs.ErrElsewhere
			}
			done.Add(1)
			return nil
		}}
	}
	r := run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Control}}, kind(false))
	if made, err := r.Add(t.Context(), jobs.Job{Kind: "k"}); !made || err != nil {
		t.Fatal(made, err)
	}
	eventually(t, "it is passed on", func() bool { return passed.Load() > 0 })
	run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Control}}, kind(true))
	if made, err := r.Add(t.Context(), jobs.Job{Kind: "k", Key: "more"}); !made || err != nil {
		t.Fatal(made, err)
	}
	eventually(t, "the other one does it", func() bool { return done.Load() > 0 })
	if l, err := r.Failures(); err != nil || len(l) > 0 {
		t.Fatal(l, err)
	}
}

// Three processes have the same schedule: each beat is done once. The clock of the beats is Redis's only by its ids.
func TestABeatIsDoneOnceHoweverManyProcessesMakeIt(t *testing.T) {
	t.Parallel()
	url := redisURL(t)
	var mu sync.Mutex
	var at []int64
	for range 3 {
		run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Housekeeping}}, jobs.Kind{
			Name: "beat", Queue: jobs.Housekeeping, Every: time.Second, Do: func(context.Context, jobs.Job) error {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Now().Unix())
				return nil
			},
		})
	}
	began := time.Now()
	eventually(t, "four beats", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) >= 4 })
	mu.Lock()
	defer mu.Unlock()
	if most := int(time.Since(began)/time.Second) + 1; len(at) > most {
		t.Errorf("%d runs in %d beats: %v", len(at), most, at)
	}
}

// A beat that fails is counted and gone: the next one is its retry. So is one that takes too long.
func TestABeatThatFailsIsNoJobForPeople(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, jobs.Job) error{
		"it fails":       func(context.Context, jobs.Job) error { return errors.New("the store is away") },
		"it takes hours": func(ctx context.Context, _ jobs.Job) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beatThatFails(t, do)
		})
	}
}

func beatThatFails(t *testing.T, do func(context.Context, jobs.Job) error) {
	t.Helper()
	url := redisURL(t)
	registry := prometheus.NewRegistry()
	r := run(t, jobs.Options{URL: url, Queues: []jobs.Queue{jobs.Housekeeping}, Registerer: registry}, jobs.Kind{
		Name: "beat", Queue: jobs.Housekeeping, Every: time.Second, Timeout: time.Second, Do: do,
	})
	eventually(t, "two have failed", func() bool { return sum(t, registry, "starling_jobs_done_total", "beat", "failed") >= 2 })
	if l, err := r.Failures(); err != nil || len(l) > 0 {
		t.Fatal(l, err)
	}
}

// The bound of a queue holds also for what is made between two counts of it.
func TestAQueueThatIsFullRefuses(t *testing.T) {
	t.Parallel()
	const bound, makers = 10_000, 8
	r := run(t, jobs.Options{URL: redisURL(t)}, jobs.Kind{Name: "j", Queue: jobs.Control, Do: func(context.Context, jobs.Job) error { return nil }})
	var made, refused atomic.Int64
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			for i := range (bound + 800) / makers {
				ok, err := r.Add(t.Context(), jobs.Job{Kind: "j", Key: fmt.Sprint(m, ".", i)})
				switch {
				case ok:
					made.Add(1)
				case errors.Is(err, jobs.ErrFull):
					refused.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if made.Load() > bound+makers || refused.Load() == 0 {
		t.Errorf("made %d, refused %d", made.Load(), refused.Load())
	}
}

func TestWithoutRedisWhatIsScheduledRunsHere(t *testing.T) {
	t.Parallel()
	var here atomic.Int64
	kind := jobs.Kind{Name: "beat", Queue: jobs.Housekeeping, Every: time.Second, Do: func(context.Context, jobs.Job) error { here.Add(1); return nil }}
	r := run(t, jobs.Options{Queues: []jobs.Queue{jobs.Housekeeping}}, kind)
	eventually(t, "a beat", func() bool { return here.Load() > 0 })
	r.Wake(1) // nobody listens
	if _, err := r.Add(t.Context(), jobs.Job{Kind: "beat"}); err == nil {
		t.Error("a job was put nowhere")
	}
}

// Redis ends like in a crash: schedules go on in the process, and when Redis is back jobs are made in it again.
func TestRedisMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	server := stacktest.OwnRedis(t)
	var runs atomic.Int64
	registry := prometheus.NewRegistry()
	o := &outbox{}
	kinds := append(jobs.OutboxKinds(o), jobs.Kind{
		Name: "beat", Queue: jobs.Housekeeping, Every: time.Second, Do: func(context.Context, jobs.Job) error { runs.Add(1); return nil },
	})
	r := run(t, jobs.Options{URL: server.URL(), Queues: []jobs.Queue{jobs.Housekeeping, jobs.Facts}, Registerer: registry}, kinds...)
	made := func() float64 { return sum(t, registry, "starling_jobs_made_total", "beat", "made") }
	eventually(t, "a beat by Redis", func() bool { return made() > 0 && runs.Load() > 0 })
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.Wake(5)
	at := runs.Load()
	eventually(t, "beats go on", func() bool { return runs.Load() > at+2 })
	if r.Ping() == nil {
		t.Error("a dead Redis answers")
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := made()
	eventually(t, "beats are made in Redis again", func() bool { return made() > was })
	eventually(t, "the wake-up was kept", func() bool { return o.count(5) > 0 })
}

// Redis is away when the process starts: it starts, does what is scheduled, and uses Redis once that is there.
func TestRedisMayBeAwayAtTheStart(t *testing.T) {
	t.Parallel()
	server := stacktest.OwnRedis(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	var runs, asked atomic.Int64
	r := run(t, jobs.Options{URL: server.URL(), Queues: []jobs.Queue{jobs.Housekeeping}}, jobs.Kind{
		Name: "beat", Queue: jobs.Housekeeping, Every: time.Second, Do: func(context.Context, jobs.Job) error { runs.Add(1); return nil },
	}, jobs.Kind{Name: "k", Queue: jobs.Housekeeping, Do: func(context.Context, jobs.Job) error { asked.Add(1); return nil }})
	eventually(t, "beats", func() bool { return runs.Load() > 0 })
	if _, err := r.Add(t.Context(), jobs.Job{Kind: "k"}); err == nil {
		t.Error("a job was made nowhere")
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a job is made", func() bool { made, err := r.Add(t.Context(), jobs.Job{Kind: "k"}); return made && err == nil })
	eventually(t, "and done", func() bool { return asked.Load() > 0 })
}

// Redis forgets everything while it runs: what is made from then on is done, and what fails can be looked at.
func TestRedisMayForgetEverything(t *testing.T) {
	t.Parallel()
	server := stacktest.OwnRedis(t)
	var done atomic.Int64
	r := run(t, jobs.Options{URL: server.URL(), Queues: []jobs.Queue{jobs.Control}}, jobs.Kind{
		Name: "k", Queue: jobs.Control, Tries: 1, Do: func(_ context.Context, j jobs.Job) error {
			done.Add(1)
			if j.Key == "bad" {
				return errors.New("the wheel is off")
			}
			return nil
		},
	})
	if made, err := r.Add(t.Context(), jobs.Job{Kind: "k", Key: "first"}); !made || err != nil {
		t.Fatal(made, err)
	}
	eventually(t, "the first is done", func() bool { return done.Load() == 1 })
	o, err := goredis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // until it is introduced again
		if _, err := r.Add(t.Context(), jobs.Job{Kind: "k", Key: "bad"}); err != nil {
			t.Fatal(err)
		}
		if l, err := r.Failures(); err == nil && len(l) == 1 {
			break
		}
		if i > 300 {
			t.Fatal("nobody can look into the queue any more")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sum adds up the counters of a metric whose labels have these values.
func sum(t *testing.T, g prometheus.Gatherer, name string, values ...string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(have, v) }) {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}
