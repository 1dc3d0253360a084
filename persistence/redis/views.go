package redis

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// Newest is what this process shows itself: where the mirror reads what has changed. (gateway/view.)
type Newest interface {
	Robot(shard fleet.Shard, id fleet.RobotID) (v robot.View, version uint64, ok bool)
	Task(shard fleet.Shard, id fleet.TaskID) (v task.View, ok bool)
	Robots(shard fleet.Shard, f func(*robot.View) bool)
	Tasks(shard fleet.Shard, f func(*task.View) bool)
}

// Rows are the stored views of a shard: every registered robot, every task that is not final. (persistence/postgres.)
type Rows interface {
	StoredRobots(ctx context.Context, shard fleet.Shard, f func(*robot.View) error) error
	StoredTasks(ctx context.Context, shard fleet.Shard, f func(*task.View) error) error
}

// MirrorOptions say what is mirrored and how. The zero value of a field is its stated default.
type MirrorOptions struct {
	Options // Timeout: 0 = 500 ms

	Newest     Newest        // nil = this process shows nothing itself
	Rows       Rows          // nil = what is lost comes back as it changes
	Every      time.Duration // how often changes are written; 0 = 200 ms
	Alive      time.Duration // how often an unchanged hash is told to be alive; 0 = 1 s
	TTL        time.Duration // of a hash that nobody writes; 0 = 10 min
	Compare    time.Duration // how often a hash is held against the store of facts; 0 = 5 min
	PerSecond  int           // entries written a second at most; 0 = 25,000
	MaxPending int           // changed entries that may wait; 0 = 200,000
	MaxList    int           // tasks of a warehouse that are listed from here; 0 = 2,000
	Registerer prometheus.Registerer
}

// Mirror keeps the newest views in Redis and reads them there. Writers mark what has changed and never wait; one
// goroutine writes the newest state of what is marked, so that a robot costs one entry a round however often it
// reports. It is safe for concurrent use.
type Mirror struct {
	o       MirrorOptions
	log     *slog.Logger
	client  *goredis.Client
	show    *goredis.Script
	fill    *goredis.Script
	drop    *goredis.Script
	list    *goredis.Script
	lock    *goredis.Script
	unlock  *goredis.Script
	name    string // of this process, in locks
	m       *mirrorMetrics
	written atomic.Int64
	breaker breaker // of reads
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	shards  map[fleet.Shard]*mirrored
	pending int

	// Of the writer alone.
	clock int64 // the number of the newest robot entry, us since 1970 and always rising
	specs map[*robot.Spec]json.RawMessage
	buf   []byte
	away  int // failures in a row
	wait  time.Time
	fills chan fillOf
	busy  map[fleet.Shard]bool // being filled, under mu; true = and compared
}

// mirrored is a shard of which this process shows views.
type mirrored struct {
	inc      fleet.Incarnation
	robots   map[fleet.RobotID]struct{}
	tasks    map[fleet.TaskID]int64            // to the newest version that was shown
	gone     []tombstone                       // oldest first
	lives    map[string]string                 // hash -> its life when all was told last
	compared time.Time                         // when it was last held against the store of facts
	alive    struct{ robots, tasks time.Time } // when each hash was last written or told to be alive
}

// tombstone is an entry that says that there is nothing any more; it goes when nobody can still write something older.
type tombstone struct {
	robots bool
	id     string
	rank   string
	at     time.Time
}

const (
	chunk      = 256              // entries a script
	graveyard  = 16384            // tombstones of a shard that are remembered; more go when the hash is compared
	graveFor   = 2 * fillFor      // longer than a filling may still hold an older row
	fillFor    = 60 * time.Second // how long a filling may take
	fillLock   = 30 * time.Second
	maxSpecs   = 120_000 // encoded registrations that are kept
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
	fillQueue  = 64
	// mostFailures is how many reads in a row may fail before readers stop asking.
	mostFailures = 3
	wholeField   = "="
	probeKey     = "starling:probe" // of the state of health
	probeFor     = 10 * time.Second
)

//go:embed show.lua
var showScript string

//go:embed fill.lua
var fillScript string

//go:embed drop.lua
var dropScript string

//go:embed list.lua
var listScript string

// OpenMirror prepares the mirror and starts its writer. It makes no connection and waits for nobody. Errors: the URL
// cannot be read, metrics are registered twice.
func OpenMirror(o MirrorOptions) (*Mirror, error) {
	o.Timeout = cmp.Or(o.Timeout, 500*time.Millisecond)
	o.Every, o.Alive = cmp.Or(o.Every, 200*time.Millisecond), cmp.Or(o.Alive, time.Second)
	o.TTL, o.Compare = cmp.Or(o.TTL, 10*time.Minute), cmp.Or(o.Compare, 5*time.Minute)
	o.PerSecond, o.MaxPending, o.MaxList = cmp.Or(o.PerSecond, 25_000), cmp.Or(o.MaxPending, 200_000), cmp.Or(o.MaxList, 2000)
	client, err := dial(&o.Options, o.Timeout)
	if err != nil {
		return nil, err
	}
	m := &Mirror{
		o: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), client: client,
		show: goredis.NewScript(showScript), fill: goredis.NewScript(fillScript), drop: goredis.NewScript(dropScript),
		list: goredis.NewScript(listScript), lock: goredis.NewScript(onceScript), unlock: goredis.NewScript(leaveScript),
		name: cmp.Or(o.Process, uuid.NewString()), m: newMirrorMetrics(), shards: map[fleet.Shard]*mirrored{}, specs: map[*robot.Spec]json.RawMessage{},
		fills: make(chan fillOf, fillQueue), busy: map[fleet.Shard]bool{},
	}
	if o.Registerer != nil {
		if err := m.m.register(o.Registerer, m); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.done.Go(func() { m.write(ctx) })
	m.done.Go(func() { m.refill(ctx) })
	return m, nil
}

// Close ends the writer, which writes once more what is marked, and all connections.
func (m *Mirror) Close() error {
	m.stop()
	m.done.Wait()
	return m.client.Close()
}

// Ping asks for a sign of life: for a writing, since a Redis that is full, or a replica, answers to anything else.
func (m *Mirror) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	if err := m.client.Set(ctx, probeKey, "1", probeFor).Err(); err != nil {
		return fmt.Errorf("probe redis: %w", err)
	}
	return nil
}

// Own says that this process holds the shard from now on, as this incarnation (0 = alone).
func (m *Mirror) Own(shard fleet.Shard, inc fleet.Incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of(shard)
	if inc >= s.inc {
		s.inc, s.compared = inc, time.Time{}
	}
}

// Leave says that this process does not hold the shard any more.
func (m *Mirror) Leave(shard fleet.Shard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leave(shard)
}

func (m *Mirror) leave(shard fleet.Shard) {
	if s := m.shards[shard]; s != nil {
		m.pending -= len(s.robots) + len(s.tasks)
		delete(m.shards, shard)
	}
}

func (m *Mirror) of(shard fleet.Shard) *mirrored {
	s := m.shards[shard]
	if s == nil {
		s = &mirrored{robots: map[fleet.RobotID]struct{}{}, tasks: map[fleet.TaskID]int64{}, lives: map[string]string{}}
		m.shards[shard] = s
	}
	return s
}

// RobotChanged marks a robot: its newest view is written in the next round. It never waits.
func (m *Mirror) RobotChanged(shard fleet.Shard, id fleet.RobotID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of(shard)
	if _, marked := s.robots[id]; marked {
		return
	}
	if m.pending >= m.o.MaxPending {
		m.m.dropped.WithLabelValues("views").Inc()
		s.compared = time.Time{} // and is told whole when there is room
		return
	}
	m.pending++
	s.robots[id] = struct{}{}
}

// TaskChanged marks a task as of a version.
func (m *Mirror) TaskChanged(shard fleet.Shard, id fleet.TaskID, version int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of(shard)
	if was, marked := s.tasks[id]; marked {
		s.tasks[id] = max(was, version)
		return
	}
	if m.pending >= m.o.MaxPending {
		m.m.dropped.WithLabelValues("views").Inc()
		s.compared = time.Time{}
		return
	}
	m.pending++
	s.tasks[id] = version
}

func robotsKey(s fleet.Shard) string { return key(s.Tenant, "robots", string(s.Warehouse)) }
func tasksKey(s fleet.Shard) string  { return key(s.Tenant, "tasks", string(s.Warehouse)) }
func floorsKey(t fleet.TenantID) string {
	return key(t, "views", "warehouses")
}

// breaker keeps readers from waiting for a Redis that is away: after some failures in a row they go on without it for a
// while, which grows. One late answer may be a pause of this machine.
type breaker struct {
	mu    sync.Mutex
	tries int
	until time.Time
}

func (b *breaker) closed(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.until)
}

func (b *breaker) tell(now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil || goredis.HasErrorPrefix(err, "NOSCRIPT") {
		b.tries, b.until = 0, time.Time{}
		return
	}
	if b.tries++; b.tries >= mostFailures {
		b.until = now.Add(min(maxPause, firstPause<<min(b.tries-mostFailures, 5)))
	}
}

// Written is how many views this process has written.
func (m *Mirror) Written() int64 { return m.written.Load() }
