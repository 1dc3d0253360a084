// Package jobs does, in the background and again until it has worked, what nobody waits for: it wakes the pumps of the
// outbox, sweeps for what was missed, looks after tasks and robots that got stuck, compares rows with actors and forgets
// what is old. Jobs stand in Redis (Asynq), so that they outlive the process that made them and are spread over all
// workers; Redis may lose every one of them: each has a schedule that finds the same work again in Postgres. Where there
// is no Redis, or it is away, what is due by schedule runs in this process.
//
// It decides nothing about tasks and robots: it finds, and tells the engine. Every job is idempotent, names its tenant
// where it has one, carries its trace, and has a key under which there is at most one of it.
//
// Size: a job costs 0.4 ms of CPU from end to end (client, Redis, server), which is why thousands of commits make one
// wake-up per outbox shard and second: at most 16 a second, and a few scheduled jobs a minute per 1,000
// warehouses. Memory: the jobs under way (Options.Concurrency), and in Redis 1 kB a job.
package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
)

// Queue is where jobs of one kind of urgency wait.
type Queue string

// The queues, the most urgent first. A process serves those whose work it can do: Control wants the engine.
const (
	Control      Queue = "control"
	Facts        Queue = "facts"
	Housekeeping Queue = "housekeeping"
)

// weight is the share of a queue where all have work.
func (q Queue) weight() int {
	switch q {
	case Control:
		return 6
	case Facts:
		return 3
	case Housekeeping:
		return 1
	}
	return 1
}

// Queues lists all.
func Queues() []Queue { return []Queue{Control, Facts, Housekeeping} }

// Options say how to work. The zero value of a field is its stated default.
type Options struct {
	URL         string        // of Redis; "" = there is none: scheduled work runs in this process
	Queues      []Queue       // that this process serves; nil = it only makes jobs
	Concurrency int           // jobs at a time; 0 = 8
	Idle        time.Duration // how often an empty queue is looked at; 0 = 1 s
	Shutdown    time.Duration // how long running jobs may take to end; 0 = 5 s
	Log         *slog.Logger  // nil = silence
	Registerer  prometheus.Registerer
	Now         func() time.Time // nil = time.Now
}

// Job is one piece of work.
type Job struct {
	Kind   string
	Tenant fleet.TenantID // "" = of the whole house
	// Key makes it the only one of its kind until it is done; "" = of its kind and tenant there is one.
	Key   string
	Body  json.RawMessage // nil = none
	Trace fleet.Trace
	// At is when it is due; zero = now.
	At time.Time
}

// Kind says how jobs of one name are done.
type Kind struct {
	Name    string
	Queue   Queue
	Timeout time.Duration // of one try; 0 = 30 s
	Tries   int           // 0 = 5
	// Every makes one of them again and again; 0 = only what is asked for.
	Every time.Duration
	Do    func(ctx context.Context, j Job) error
}

// ErrElsewhere says that another process must do the job: it is tried again soon, and given up without complaint where
// nobody does it, since its schedule will find it again.
var ErrElsewhere = errors.New("another process does this")

// ErrFull says that a queue has reached its bound.
var ErrFull = errors.New("queue of jobs is full")

// maxWaiting bounds the jobs that wait in a queue; what is beyond it is refused and counted.
const maxWaiting = 10_000

// Runner makes jobs and does them. It is safe for concurrent use.
type Runner struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	kinds   map[string]Kind
	at      asynq.RedisClientOpt
	client  atomic.Pointer[asynq.Client] // nil = no Redis
	inspect *asynq.Inspector             // nil = no Redis
	server  *asynq.Server                // nil = serves no queue
	waker   waker
	waiting map[Queue]*atomic.Int64 // as last counted
	known   map[Queue]*atomic.Bool  // this client has put something into it
	away    atomic.Bool

	ctx    context.Context //nolint:containedctx // the life of the runner itself, ended by Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	local  chan struct{} // scheduled work that runs here, bounded
}

// Open prepares a runner of the kinds; nothing runs before Start. Errors: the URL cannot be read, a kind stands twice.
func Open(o Options, kinds ...Kind) (*Runner, error) {
	o.Concurrency = cmp.Or(o.Concurrency, 8)
	o.Idle, o.Shutdown = cmp.Or(o.Idle, time.Second), cmp.Or(o.Shutdown, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Runner{o: o, log: o.Log, kinds: map[string]Kind{}, metrics: newMetrics(), local: make(chan struct{}, 2), waiting: map[Queue]*atomic.Int64{}, known: map[Queue]*atomic.Bool{}}
	for _, q := range Queues() {
		r.waiting[q], r.known[q] = &atomic.Int64{}, &atomic.Bool{}
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.waker.init()
	for _, k := range kinds {
		k.Timeout, k.Tries = cmp.Or(k.Timeout, 30*time.Second), cmp.Or(k.Tries, 5)
		if _, twice := r.kinds[k.Name]; twice || !slices.Contains(Queues(), k.Queue) || k.Do == nil {
			return nil, fmt.Errorf("kind of jobs %q: stands twice, or lacks a queue or what to do", k.Name)
		}
		r.kinds[k.Name] = k
	}
	if o.Registerer != nil {
		if err := r.metrics.register(o.Registerer, r); err != nil {
			return nil, fmt.Errorf("register the metrics of jobs: %w", err)
		}
	}
	if o.URL == "" {
		return r, nil
	}
	var err error
	if r.at, err = redisAt(o.URL); err != nil {
		return nil, err
	}
	r.client.Store(asynq.NewClient(r.at))
	r.inspect = asynq.NewInspector(r.at)
	if len(o.Queues) > 0 {
		r.server = asynq.NewServer(r.at, r.serverConfig())
	}
	return r, nil
}

// redisAt reads the URL of Redis.
func redisAt(url string) (asynq.RedisClientOpt, error) {
	at, err := asynq.ParseRedisURI(url)
	if err != nil {
		return asynq.RedisClientOpt{}, errors.New("read the URL of Redis: want redis://host:port/db") // its own error may repeat the password
	}
	c, ok := at.(asynq.RedisClientOpt)
	if !ok {
		return asynq.RedisClientOpt{}, errors.New("read the URL of Redis: want one server, redis://host:port/db")
	}
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolSize = 2*time.Second, 2*time.Second, 2*time.Second, 16
	return c, nil
}

func (r *Runner) serverConfig() asynq.Config {
	queues := map[string]int{}
	for _, q := range r.o.Queues {
		queues[string(q)] = q.weight()
	}
	return asynq.Config{
		Concurrency: r.o.Concurrency, Queues: queues, TaskCheckInterval: r.o.Idle, ShutdownTimeout: r.o.Shutdown,
		BaseContext:    func() context.Context { return r.ctx },
		RetryDelayFunc: retryAfter, IsFailure: func(err error) bool { return !errors.Is(err, errBusy) },
		Logger: complaints{r.log}, LogLevel: asynq.WarnLevel,
		HealthCheckFunc: func(err error) { r.away.Store(err != nil) }, HealthCheckInterval: 2 * time.Second,
		DelayedTaskCheckInterval: time.Second,
	}
}

// retryAfter is the back-off of try n (from 0): 1 s doubled up to 5 min, half of it random.
func retryAfter(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, ErrElsewhere) || errors.Is(err, errBusy) {
		return time.Second + rand.N(time.Second)
	}
	return backOff(n)
}

// Start begins to serve the queues and to make what is due by schedule. It does not wait for Redis: one that is away is
// found again.
func (r *Runner) Start() error {
	if r.server != nil {
		if err := r.server.Start(asynq.HandlerFunc(r.serve)); err != nil {
			return fmt.Errorf("serve the queues of jobs: %w", err)
		}
	}
	for _, k := range r.kinds {
		if k.Every > 0 && slices.Contains(r.o.Queues, k.Queue) {
			r.done.Go(func() { r.schedule(k) })
		}
	}
	if r.inspect != nil {
		r.done.Go(r.wake)
		r.done.Go(r.count)
	}
	return nil
}

// Close ends the runner: jobs under way may take Options.Shutdown to end, what is left goes back to its queue.
func (r *Runner) Close() error {
	if r.server != nil {
		r.server.Shutdown()
	}
	r.cancel()
	r.done.Wait()
	if r.inspect == nil {
		return nil
	}
	return errors.Join(r.client.Load().Close(), r.inspect.Close())
}

// Ping asks Redis for a sign of life; nil where there is none configured.
func (r *Runner) Ping() error {
	if r.inspect == nil {
		return nil
	}
	if err := r.client.Load().Ping(); err != nil {
		return fmt.Errorf("ping the queues of jobs: %w", err)
	}
	return nil
}
