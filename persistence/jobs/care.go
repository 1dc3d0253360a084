package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// Rows finds what wants care, across tenants. (persistence/postgres.) Lists are paged: after is the last task or robot of
// the page before, the zero value begins.
type Rows interface {
	StuckTasks(ctx context.Context, p fact.Patience, after fact.StuckTask, limit int) ([]fact.StuckTask, error)
	IdleShards(ctx context.Context, ahead time.Duration, limit int) ([]fact.IdleShard, error)
	StaleRobots(ctx context.Context, silent time.Duration, after fact.StaleRobot, limit int) ([]fact.StaleRobot, error)
	// Shards lists those that have open tasks.
	BusyShards(ctx context.Context, limit int) ([]fleet.Shard, error)
	// Contradictions compares the rows of one shard with each other.
	Contradictions(ctx context.Context, shard fleet.Shard, limit int) ([]fact.Mismatch, error)
	// OpenTasks and TasksNow are what the rows say now of the open tasks of a shard, and of some tasks.
	OpenTasks(ctx context.Context, shard fleet.Shard, limit int) ([]fact.OpenTask, error)
	TasksNow(ctx context.Context, shard fleet.Shard, ids []fleet.TaskID) ([]fact.OpenTask, error)
	// Forget removes days of sent events, unless outboxDays is not above 0, and inbox rows that are older.
	Forget(ctx context.Context, outboxDays int, inbox time.Duration) (fact.Forgotten, error)
}

// Engine is the engine of this process. Methods return ErrElsewhere where another process owns the shard.
type Engine interface {
	// WakeShard opens the shard: its tasks and robots live from then on.
	WakeShard(ctx context.Context, s fleet.Shard) error
	// WakeTask and WakeRobot let one live: it says again what must be said again, and notices by itself what has passed.
	WakeTask(ctx context.Context, s fleet.Shard, id fleet.TaskID) error
	WakeRobot(ctx context.Context, s fleet.Shard, id fleet.RobotID) error
	// RobotGone tells a task that its robot cannot do it any more, unless the robot is there.
	RobotGone(ctx context.Context, s fleet.Shard, id fleet.TaskID, robot fleet.RobotID) error
	// CancelTask starts cancelling a task; one that has ended, or is being cancelled, is no error.
	CancelTask(ctx context.Context, s fleet.Shard, id fleet.TaskID, reason string, trace fleet.Trace) error
	// Tasks is what the actors say of the open tasks of a shard; ok is false where the shard does not live here.
	Tasks(s fleet.Shard) (open []fact.OpenTask, ok bool)
	// Robots is about which task each robot of a shard says it is, "" = none: of those that live.
	Robots(s fleet.Shard) map[fleet.RobotID]fleet.TaskID
}

// CareOptions say when to look after what. The zero value of a field is its stated default.
type CareOptions struct {
	// Late says after how long a tenant's tasks are cancelled whose deadline has passed; 0 = never: they only become more
	// urgent. nil = no tenant's.
	Late       func(ctx context.Context, tenant fleet.TenantID) time.Duration
	Patience   fact.Patience // 0 = 30 s after a deadline, 150 s after a robot went offline (the engine waits 60), 60 s after CANCELLING (the engine waits 30)
	Silent     time.Duration // of a robot that counts as connected; 0 = 2 min
	Ahead      time.Duration // how long before its earliest start a task's shard is opened; 0 = 90 s
	Settle     time.Duration // between two looks at rows and actors that contradict; 0 = 1 s
	Retell     time.Duration // within which a task and its robot tell each other again what one has missed; 0 = 20 s
	OutboxDays int           // for which sent events are kept; 0 = 3, -1 = they are not looked at: nobody sends them
	Inbox      time.Duration // for which consumers remember events; 0 = 14 days, twice what Kafka keeps
	Every      time.Duration // 0 = 1 min; retention and reconciliation take ten of it
	Log        *slog.Logger  // nil = silence
}

// The jobs of care: those that look, and those that the engine's process does for one shard.
const (
	kindFindTasks  = "tasks.find_stuck"
	kindTask       = "task.compensate"
	kindFindIdle   = "tasks.find_due"
	kindShard      = "shard.wake"
	kindFindRobots = "robots.find_stale"
	kindRobots     = "robots.sweep"
	kindFindShards = "reconcile.find"
	kindReconcile  = "reconcile.shard"
	kindRetention  = "retention"
)

// page is how many rows a look takes at a time; maxPages bounds one look.
const (
	page     = 500
	maxPages = 400 // 200,000 rows
	maxShard = 10_000
)

// care holds what the jobs need.
type care struct {
	CareOptions
	rows   Rows
	engine Engine // nil = none here
	r      *Runner

	mu sync.Mutex // of where looks that did not come to their end go on
	// lastTask and lastRobot are the last ones looked at; the zero value begins.
	lastTask  fact.StuckTask
	lastRobot fact.StaleRobot
}

// misses gathers what a look could not hand on: what fails for one tenant keeps no care from the others.
type misses struct {
	errs []error
	n    int
}

// maxMisses bounds the errors that are told of one look.
const maxMisses = 10

func (m *misses) add(err error) {
	if m.n++; len(m.errs) < maxMisses {
		m.errs = append(m.errs, err)
	}
}

// stops says that there is no use in going on: time is over, or the queue takes no more.
func (m *misses) stops(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ErrFull)
}

func (m *misses) err() error {
	if m.n > len(m.errs) {
		return fmt.Errorf("%d could not be handed on, the first ones: %w", m.n, errors.Join(m.errs...))
	}
	return errors.Join(m.errs...)
}

// CareKinds are the jobs that look after tasks, robots and old rows. engine is nil in a process without the engine: such a
// one finds, and leaves the rest to one with it. The runner is attached once it is open.
func CareKinds(o CareOptions, rows Rows, engine Engine) (kinds []Kind, attach func(*Runner)) {
	c := &care{CareOptions: o, rows: rows, engine: engine}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Patience.Deadline, 30*time.Second)
	set(&c.Patience.Robot, 150*time.Second)
	set(&c.Patience.Cancel, time.Minute)
	set(&c.Silent, 2*time.Minute)
	set(&c.Ahead, 90*time.Second)
	set(&c.Settle, time.Second)
	set(&c.Retell, 20*time.Second)
	set(&c.Inbox, 14*24*time.Hour)
	set(&c.Every, time.Minute)
	if c.OutboxDays == 0 {
		c.OutboxDays = 3
	}
	if c.Late == nil {
		c.Late = func(context.Context, fleet.TenantID) time.Duration { return 0 }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return []Kind{
		{Name: kindFindTasks, Queue: Housekeeping, Every: c.Every, Timeout: time.Minute, Do: c.findTasks},
		{Name: kindFindIdle, Queue: Housekeeping, Every: c.Every / 2, Timeout: time.Minute, Do: c.findIdle},
		{Name: kindFindRobots, Queue: Housekeeping, Every: c.Every, Timeout: time.Minute, Do: c.findRobots},
		{Name: kindFindShards, Queue: Housekeeping, Every: 10 * c.Every, Timeout: time.Minute, Do: c.findShards},
		{Name: kindRetention, Queue: Housekeeping, Every: 10 * c.Every, Timeout: 5 * time.Minute, Do: c.retain},
		{Name: kindTask, Queue: Control, Tries: 8, Do: c.compensate},
		{Name: kindShard, Queue: Control, Tries: 8, Do: c.wakeShard},
		{Name: kindRobots, Queue: Control, Tries: 8, Do: c.sweepRobots},
		{Name: kindReconcile, Queue: Control, Tries: 8, Timeout: 2 * time.Minute, Do: c.reconcile},
	}, func(r *Runner) { c.r = r }
}

// The bodies of jobs.
type (
	taskBody struct {
		Warehouse fleet.WarehouseID `json:"warehouse_id"`
		Task      fleet.TaskID      `json:"task_id"`
		Robot     fleet.RobotID     `json:"robot_id,omitempty"`
		Cause     fact.StuckCause   `json:"cause"`
		Since     time.Time         `json:"since"`
	}
	shardBody struct {
		Warehouse fleet.WarehouseID `json:"warehouse_id"`
	}
	robotsBody struct {
		Warehouse fleet.WarehouseID `json:"warehouse_id"`
		Robots    []fleet.RobotID   `json:"robot_ids"`
	}
)

// hand passes a job on to whoever has the engine: by Redis, and where there is none, or it is away, to this process.
func (c *care) hand(ctx context.Context, kind string, shard fleet.Shard, key string, at time.Time, what any) error {
	b, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("make a job %s: %w", kind, err)
	}
	j := Job{Kind: kind, Tenant: shard.Tenant, Key: key, Body: b, At: at, Trace: traceOf(ctx)}
	if _, err = c.r.Add(ctx, j); err == nil || errors.Is(err, ErrFull) {
		return err
	}
	if c.engine == nil {
		if errors.Is(err, errNoRedis) {
			return nil // nothing is shared between processes: who has the engine has its own jobs
		}
		return err
	}
	if j.At.After(c.r.o.Now()) {
		return nil // the next look is before that
	}
	k := c.r.kinds[kind]
	if err := c.r.do(ctx, &k, j); err != nil && !errors.Is(err, ErrElsewhere) {
		return err
	}
	return nil
}

// found counts what a look has found, of each sort that it looks for.
func (c *care) found(kind string, n map[string]int) {
	for what, n := range n {
		c.r.metrics.last.WithLabelValues(kind, what).Set(float64(n))
		c.r.metrics.found.WithLabelValues(kind, what).Add(float64(n))
	}
}

// findTasks looks for stuck tasks. A look that does not come to its end is gone on with by the next one of this process.
func (c *care) findTasks(ctx context.Context, _ Job) error {
	n := map[string]int{string(fact.StuckDeadline): 0, string(fact.StuckRobotGone): 0, string(fact.StuckCancel): 0}
	last := kept(c, &c.lastTask)
	var m misses
	stopped := false
	for range maxPages {
		list, err := c.rows.StuckTasks(ctx, c.Patience, last, page)
		if err != nil {
			m.add(fmt.Errorf("look for stuck tasks: %w", err))
			break
		}
		for i := range list {
			t := &list[i]
			if err := c.handTask(ctx, t); err != nil {
				m.add(err)
				if stopped = m.stops(ctx, err); stopped {
					break
				}
			}
			n[string(t.Cause)]++
			last = *t
		}
		if stopped {
			break
		}
		if len(list) < page {
			last = fact.StuckTask{}
			break
		}
	}
	keep(c, &c.lastTask, last)
	c.found(kindFindTasks, n)
	return m.err()
}

// kept is where the look before ended; keep says where this one has.
func kept[T any](c *care, at *T) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *at
}

func keep[T any](c *care, at *T, last T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*at = last
}

func (c *care) handTask(ctx context.Context, t *fact.StuckTask) error {
	if late := c.Late(ctx, t.Shard.Tenant); t.Cause == fact.StuckDeadline && (late <= 0 || c.r.o.Now().Sub(t.Since) < late) {
		return nil // it is late, and gets on
	}
	b := taskBody{Warehouse: t.Shard.Warehouse, Task: t.Task, Robot: t.Robot, Cause: t.Cause, Since: t.Since}
	return c.hand(ctx, kindTask, t.Shard, string(t.Task), time.Time{}, b)
}

// compensate looks after one task. To let it live is enough for most: its actor tells its robot again, or ends its
// cancellation, and a robot that is gone gives it back. Only what is still the same afterwards is taken further, at the
// next look: a row that is found twice is older than any patience of the engine.
func (c *care) compensate(ctx context.Context, j Job) error {
	if c.engine == nil {
		return ErrElsewhere
	}
	b, err := body[taskBody](&j)
	if err != nil {
		return err
	}
	s := fleet.Shard{Tenant: j.Tenant, Warehouse: b.Warehouse}
	if err := c.engine.WakeTask(ctx, s, b.Task); err != nil {
		return skipMissing(err)
	}
	did := "woken"
	switch b.Cause {
	case fact.StuckDeadline:
		if err := c.engine.CancelTask(ctx, s, b.Task, "deadline passed", traceOf(ctx)); err != nil {
			return skipMissing(err)
		}
		did = "cancelled"
	case fact.StuckRobotGone:
		if err := c.engine.RobotGone(ctx, s, b.Task, b.Robot); err != nil {
			return skipMissing(err)
		}
		did = "taken_back"
	case fact.StuckCancel:
	}
	c.r.metrics.found.WithLabelValues(kindTask, did).Inc()
	c.Log.LogAttrs(ctx, slog.LevelInfo, "stuck task looked after", slog.String("event", "task.compensated"), slog.String("tenant_id", string(s.Tenant)),
		slog.String("warehouse_id", string(s.Warehouse)), slog.String("task_id", string(b.Task)), slog.String("cause", string(b.Cause)), slog.String("did", did))
	return nil
}

// skipMissing: what is not there any more needs no care.
func skipMissing(err error) error {
	if errors.Is(err, fact.ErrNotFound) {
		return nil
	}
	return err
}

func (c *care) findIdle(ctx context.Context, _ Job) error {
	list, err := c.rows.IdleShards(ctx, c.Ahead, maxShard)
	if err != nil {
		return fmt.Errorf("look for shards with tasks and nobody who holds them: %w", err)
	}
	tasks := 0
	for i := range list {
		tasks += list[i].Tasks
	}
	c.found(kindFindIdle, map[string]int{"shards": len(list), "tasks": tasks})
	var m misses
	for i := range list {
		s := &list[i]
		at := s.Due.Add(-2 * time.Second) // loading it takes a moment
		if !at.After(c.r.o.Now()) {
			at = time.Time{}
		}
		if err := c.hand(ctx, kindShard, s.Shard, string(s.Shard.Warehouse), at, shardBody{s.Shard.Warehouse}); err != nil {
			m.add(err)
			if m.stops(ctx, err) {
				break // those that are due first come first at the next look too
			}
		}
	}
	return m.err()
}

func (c *care) wakeShard(ctx context.Context, j Job) error {
	if c.engine == nil {
		return ErrElsewhere
	}
	b, err := body[shardBody](&j)
	if err != nil {
		return err
	}
	return skipMissing(c.engine.WakeShard(ctx, fleet.Shard{Tenant: j.Tenant, Warehouse: b.Warehouse}))
}

// findRobots looks for silent robots, as findTasks does for tasks.
func (c *care) findRobots(ctx context.Context, _ Job) error {
	last := kept(c, &c.lastRobot)
	n := 0
	var m misses
	for range maxPages {
		list, err := c.rows.StaleRobots(ctx, c.Silent, last, page)
		if err != nil {
			m.add(fmt.Errorf("look for stale robots: %w", err))
			break
		}
		n += len(list)
		if c.handRobots(ctx, list, &m) {
			break
		}
		if len(list) < page {
			last = fact.StaleRobot{}
			break
		}
		last = list[len(list)-1]
	}
	keep(c, &c.lastRobot, last)
	c.found(kindFindRobots, map[string]int{"robots": n})
	return m.err()
}

// handRobots hands on a page of robots, by shard.
func (c *care) handRobots(ctx context.Context, list []fact.StaleRobot, m *misses) (stop bool) {
	byShard := map[fleet.Shard][]fleet.RobotID{}
	for i := range list {
		byShard[list[i].Shard] = append(byShard[list[i].Shard], list[i].Robot)
	}
	for s, ids := range byShard { // their order does not matter
		key := string(s.Warehouse) + ":" + string(ids[0])
		if err := c.hand(ctx, kindRobots, s, key, time.Time{}, robotsBody{s.Warehouse, ids}); err != nil {
			m.add(err)
			if m.stops(ctx, err) {
				return true
			}
		}
	}
	return false
}

// sweepRobots lets robots live that count as connected and are silent: each records by itself that it is offline, and gives
// back its task when the engine's patience is over.
func (c *care) sweepRobots(ctx context.Context, j Job) error {
	if c.engine == nil {
		return ErrElsewhere
	}
	b, err := body[robotsBody](&j)
	if err != nil {
		return err
	}
	s := fleet.Shard{Tenant: j.Tenant, Warehouse: b.Warehouse}
	var m misses
	for _, id := range b.Robots {
		if err := skipMissing(c.engine.WakeRobot(ctx, s, id)); err != nil {
			m.add(err)
			if ctx.Err() != nil || errors.Is(err, ErrElsewhere) {
				break
			}
		}
	}
	return m.err()
}

func (c *care) retain(ctx context.Context, _ Job) error {
	f, err := c.rows.Forget(ctx, c.OutboxDays, c.Inbox)
	if err != nil {
		return fmt.Errorf("forget what is old: %w", err)
	}
	c.found(kindRetention, map[string]int{"outbox_days": f.Outbox, "inbox_rows": f.Inbox})
	return nil
}
