package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
)

// Options are the settings and ports of a System. The zero value of a setting is its stated default; Journal,
// Store, Links, Views and Place must be given.
type Options struct {
	Journal   Journal
	Store     Store
	Ownership Ownership // nil = alone by other means (dev): incarnation 0, a lease without end
	Links     Links
	Views     Views
	Telemetry Telemetry // nil = none
	// Place joins the cluster (cluster.Start in wire.go).
	Place func(*actor.ActorSystem, Host) (Placement, error)

	Log        *slog.Logger          // nil = none
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
	// Now is the clock; nil = time.Now. In manual mode the clock is what Advance says, and Now gives its start.
	Now func() time.Time
	// Manual: no goroutine, no clock: time passes by Advance, work is done in Quiesce and in calls that wait for
	// an answer, one thing at a time and in an order that depends on the calls alone (lock-step, simulation).
	Manual bool
	// Owner names this process in the ownership table; "" = the actor system's id.
	Owner string
	// Audit finds the intent in the context of a call: the unit that the call causes carries it to the journal. nil =
	// there are none.
	Audit func(context.Context) *fact.AuditEntry
	// Meter, in manual mode, measures actors at work (benches); nil = nobody does.
	Meter Meter
	// Care gives the rules of each warehouse's batteries and idle robots; nil = the usual ones.
	Care Care
	// Sampling gives the rates at which a warehouse's robots are watched; nil = the usual ones. It may read the store.
	Sampling func(ctx context.Context, shard fleet.Shard) robot.Sampling
	// AlertRules gives a tenant's rules of alerts; nil = the usual ones. It may read the store.
	AlertRules func(ctx context.Context, shard fleet.Shard) alert.Rules
	// UndoRemedy is called for a remedy that is to be undone, again and again until alert.RemedyUndone tells that it is; nil =
	// nobody applies remedies. It must not block.
	UndoRemedy func(shard fleet.Shard, id alert.ID, r alert.Remedy)
	// HoldsRemedy says whether a remedy that is on record as in force holds here: one that ended with its process is recorded
	// as undone when the alerts are restored. nil = nobody says. It must not block.
	HoldsRemedy func(shard fleet.Shard, remedy string) bool
	// Lost is called, once a shard, when a newer owner has been found; nil = nobody. It must not block.
	Lost func(fleet.Shard)
	// Token is that of a shard's lock (fact.LockDispatch …) now, 0 = nobody can say, fact.Refused = somebody else holds it:
	// what is decided bears it to the journal. nil = there are no locks.
	Token func(shard fleet.Shard, lock string) int64

	Workers          int           // of the pool; 0 = GOMAXPROCS
	Seed             uint64        // of jitter, dispatch and (manual mode) ids
	Rules            zone.Rules    // of all zones
	RobotRules       robot.Rules   // of all robots
	ZoneTick         time.Duration // 0 = 250 ms
	DispatchInterval time.Duration // 0 = 250 ms
	LeaseTTL         time.Duration // 0 = 1.5 s
	RenewEvery       time.Duration // 0 = 300 ms
	SnapshotEvery    time.Duration // 0 = 5 s
	SweepEvery       time.Duration // 0 = 10 s
	RobotIdle        time.Duration // how long an offline robot stays in memory; 0 = 1 h
	TaskIdle         time.Duration // how long a final task stays in memory; 0 = 60 s
	TableBytes       int64         // of cached distance tables; 0 = 256 MB
	LiveCosts        bool          // routes are led around lanes for which robots wait
	MaxActors        int           // per shard; 0 = 200,000
	ActiveRobots     int           // of a warehouse may hold tasks at once; 0 = what its floor takes, < 0 = all
	BySight          bool          // that number follows what is seen, until rules say otherwise
}

func (o *Options) defaults() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Journal": o.Journal == nil, "Store": o.Store == nil, "Links": o.Links == nil, "Views": o.Views == nil,
		"Place": o.Place == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("option %s is missing", name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.TableBytes <= 0 {
		o.TableBytes = 256 << 20
	}
	if o.MaxActors <= 0 {
		o.MaxActors = 200_000
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.ZoneTick, 250 * time.Millisecond},
		{&o.DispatchInterval, 250 * time.Millisecond},
		{&o.LeaseTTL, 1500 * time.Millisecond},
		{&o.RenewEvery, 300 * time.Millisecond},
		{&o.SnapshotEvery, 5 * time.Second},
		{&o.SweepEvery, 10 * time.Second},
		{&o.RobotIdle, time.Hour},
		{&o.TaskIdle, time.Minute},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	return errors.Join(errs...)
}

// System is the actors of this process. Its exported methods may be called from any goroutine but not from
// actors; those that take a context block until the answer is there.
type System struct {
	Options
	as        *actor.ActorSystem
	placement Placement
	pool      *pool
	wheel     *wheel
	metrics   *metrics
	log       *slog.Logger
	journal   Journal
	tables    *tableCache
	crashes   crashes
	statuses  statusPool
	views     viewPool
	lease     renewer
	makers    makers

	ctx    context.Context //nolint:containedctx // the life of the system itself, ended by Stop
	cancel context.CancelFunc

	clock   atomic.Pointer[time.Time] // manual mode
	closing atomic.Bool
	stopped sync.Once

	mu     sync.RWMutex
	shards map[fleet.Shard]*shard
	rng    *rand.Rand
	serial uint64
	epoch  uint64
}

// NewSystem builds the actor system and joins the cluster. Nothing is taken or loaded before somebody asks.
func NewSystem(o Options) (*System, error) {
	if err := o.defaults(); err != nil {
		return nil, fmt.Errorf("build the actor system: %w", err)
	}
	s := &System{
		Options: o, log: o.Log, journal: o.Journal, metrics: newMetrics(o.Registerer),
		pool: newPool(o.Workers, o.Manual), wheel: newWheel(o.Now()), shards: map[fleet.Shard]*shard{},
		rng: rand.New(rand.NewPCG(o.Seed, 0x5741524c)),
	}
	if o.Manual {
		s.pool.meter = o.Meter
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.makers = realMakers()
	s.tables = newTableCache(o.TableBytes, s.metrics)
	if o.Manual {
		now := o.Now()
		s.clock.Store(&now)
	}
	s.as = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(quiet{o.Log.Handler()}).With(slog.String("event", "actor.runtime"))
	}), actor.WithDeadLetterThrottleInterval(100*time.Millisecond)) // a goroutine sleeps that long after a dead letter
	if s.Owner == "" {
		s.Owner = s.as.ID
	}
	placement, err := o.Place(s.as, s)
	if err != nil {
		s.cancel()
		_ = s.pool.close(context.Background()) // nothing is under way yet
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	s.placement = placement
	s.lease.init(s)
	if !o.Manual {
		s.wheel.start(s.now)
	}
	return s, nil
}

// quiet passes on of the runtime's own log what is a warning or worse.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

// ActorSystem is protoactor's side.
func (s *System) ActorSystem() *actor.ActorSystem { return s.as }

// Kinds implements Host.
func (s *System) Kinds() []string {
	names := make([]string, 0, kinds)
	for k := range kinds {
		names = append(names, k.String())
	}
	return names
}

// Dispatcher implements Host.
func (s *System) Dispatcher() actor.Dispatcher { return s.pool }

// Supervisor implements Host.
func (s *System) Supervisor() actor.SupervisorStrategy { return &supervisor{s} }

// PID implements Host: it activates the actor where needed. Zones exist as long as their map is active.
func (s *System) PID(ctx context.Context, kindName string, id fleet.Shard, name string) (*actor.PID, error) {
	k, ok := kindOf(kindName)
	if !ok {
		return nil, fmt.Errorf("kind %q: %w", kindName, fact.ErrNotFound)
	}
	sh, err := s.open(ctx, id)
	if err != nil {
		return nil, err
	}
	pid, err := request[*actor.PID](ctx, sh, k, name, hello{}, nil)
	if err != nil {
		return nil, fmt.Errorf("find the actor of %s %s: %w", kindName, name, err)
	}
	return pid, nil
}

func (s *System) now() time.Time {
	if s.Manual {
		return *s.clock.Load()
	}
	return s.Now()
}

// Advance (manual mode) moves the clock to now and fires what is due: ticks, wakes, retries. Their work is done by
// the next Quiesce.
func (s *System) Advance(now time.Time) {
	if now.Before(*s.clock.Load()) {
		return
	}
	s.clock.Store(&now)
	s.wheel.advance(now)
}

// Quiesce waits until every mailbox is empty and nothing is being recorded or loaded. In manual mode it does the
// work. What waits for a time to come does not count.
func (s *System) Quiesce(ctx context.Context) error { return s.pool.quiesce(ctx) }

// backoff is how long to wait before try number n (from 1): 100 ms doubled up to 5 s, half of it random.
func (s *System) backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(max(n-1, 0), 10), 5*time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	return d/2 + time.Duration(s.rng.Int64N(int64(d/2)+1))
}

// nextEpoch numbers the activations of zones: it rises within this process, over its restarts (by the clock) and
// over owners (by the incarnation).
func (s *System) nextEpoch(inc fleet.Incarnation) uint64 {
	e := uint64(inc)<<44 | uint64(s.now().UnixMilli())&(1<<44-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch+1, e)
	return s.epoch
}

// await waits for a request's answer. In manual mode it does the work itself.
func (s *System) await(ctx context.Context, a *ask) error {
	if s.Manual {
		if err := s.pool.drain(ctx, a.ready); err != nil {
			return err
		}
	}
	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request sends a request to an actor and waits for the answer.
func request[A any](ctx context.Context, sh *shard, k kind, id string, msg any, idem *fact.Idempotency) (A, error) {
	var zero A
	a := &ask{msg: msg, idem: idem, ready: make(chan struct{}), sys: sh.sys}
	if sh.sys.Audit != nil {
		a.audit = sh.sys.Audit(ctx)
	}
	if err := sh.tell(k, id, a); err != nil {
		return zero, err
	}
	if err := sh.sys.await(ctx, a); err != nil {
		return zero, err
	}
	if a.err != nil {
		return zero, a.err
	}
	answer, ok := a.answer.(A)
	if !ok {
		return zero, fmt.Errorf("%s answered with %T: %w", k, a.answer, fact.ErrRejected)
	}
	return answer, nil
}

// Stop ends the system: nothing new is taken, what is under way ends, robots' newest states are saved, the actors
// stop. ctx bounds all of it.
func (s *System) Stop(ctx context.Context) error {
	var err error
	s.stopped.Do(func() { err = s.stop(ctx) })
	return err
}

func (s *System) stop(ctx context.Context) error {
	s.closing.Store(true)
	if !s.Manual {
		s.wheel.close()
	}
	var errs []error
	wait := func(what string) {
		if err := s.pool.quiesce(ctx); err != nil {
			errs = append(errs, fmt.Errorf("wait for %s: %w", what, err))
		}
	}
	wait("work under way")
	for _, sh := range s.list() {
		sh.collect()
	}
	wait("last snapshots")
	for _, sh := range s.list() {
		s.pool.async(sh.snaps.flush)
	}
	wait("last snapshots to be saved")
	s.cancel()
	for _, sh := range s.list() {
		sh.writer.stop()
		sh.close(phaseStopped)
	}
	wait("actors to stop")
	s.placement.Shutdown()
	wait("the cluster member to stop")
	s.as.Shutdown()
	if err := s.pool.close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("wait for the workers to end: %w", err))
	}
	return errors.Join(errs...)
}

// list gives the shards in order of their keys.
func (s *System) list() []*shard {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*shard, 0, len(s.shards))
	for _, sh := range s.shards {
		list = append(list, sh)
	}
	slices.SortFunc(list, func(a, b *shard) int { return strings.Compare(a.key, b.key) })
	return list
}
