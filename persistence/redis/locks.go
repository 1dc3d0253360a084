package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// The locks that there are, each of one warehouse.
const (
	LockDispatch = fact.LockDispatch
	LockReplan   = fact.LockReplan
)

// Lock names a lock.
type Lock struct {
	Shard fleet.Shard
	Name  string
}

// ErrHeld: somebody else holds the lock.
var ErrHeld = errors.New("lock is held by somebody else")

// LockOptions say how locks are held. The zero value of a field is its stated default.
type LockOptions struct {
	Options // Timeout: 0 = 250 ms

	TTL   time.Duration // of a lock that is not renewed; 0 = 5 s
	Renew time.Duration // how often it is renewed; 0 = 1 s
	Owner string        // names this process; "" = a random name
	// Raise makes a token the oldest that the store of facts takes, before anything is decided under it, and returns the
	// highest there is. nil = tokens are not checked anywhere.
	Raise      func(ctx context.Context, l Lock, token int64, owner string) (highest int64, err error)
	Registerer prometheus.Registerer
}

// Locks holds locks as leases with fencing tokens. A lock only saves two processes from doing the same: a holder that was
// paused may believe in a lease that has ended, so what it writes carries its token, and the store of facts refuses what is
// older than the newest it knows. It is safe for concurrent use.
type Locks struct {
	o       LockOptions
	log     *slog.Logger
	client  *goredis.Client
	acquire *goredis.Script
	release *goredis.Script
	turns   *prometheus.CounterVec
	stop    context.CancelFunc
	done    sync.WaitGroup
	wake    chan struct{}

	mu   sync.Mutex
	kept map[Lock]*lease
}

// lease is a lock that is kept.
type lease struct {
	rank  int64
	token int64     // 0 = it has never been held
	floor int64     // the next token is higher
	fence int64     // the token that was raised last
	until time.Time // by this process's clock: TTL after the last successful renewal was sent
	other time.Time // until when somebody else holds it who was there when we asked last, by this process's clock
}

// counterFor is how long the highest token is remembered; tokens rise with the time besides.
const counterFor = 7 * 24 * time.Hour

//go:embed acquire.lua
var acquireScript string

//go:embed release.lua
var releaseScript string

// OpenLocks prepares connections and starts what renews leases. Errors: the URL cannot be read, metrics are registered
// twice.
func OpenLocks(o LockOptions) (*Locks, error) {
	o.Timeout, o.TTL, o.Renew = cmp.Or(o.Timeout, 250*time.Millisecond), cmp.Or(o.TTL, 5*time.Second), cmp.Or(o.Renew, time.Second)
	o.Owner = cmp.Or(o.Owner, uuid.NewString())
	client, err := dial(&o.Options, o.Timeout)
	if err != nil {
		return nil, err
	}
	l := &Locks{
		o: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), client: client, acquire: goredis.NewScript(acquireScript),
		release: goredis.NewScript(releaseScript), kept: map[Lock]*lease{}, wake: make(chan struct{}, 1),
		turns: counters("lock_turns_total", "Takings and renewals of locks, by how they ended (held, refused, fenced, failed).", "outcome"),
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(l.turns); err != nil {
			return nil, errors.Join(fmt.Errorf("register the metrics of locks: %w", err), client.Close())
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.done.Go(func() { l.renew(ctx) })
	return l, nil
}

// Close gives back what is held and ends all connections.
func (l *Locks) Close() error {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	kept := l.kept
	l.kept = map[Lock]*lease{}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), l.o.Timeout)
	defer cancel()
	for lock, s := range kept {
		l.give(ctx, lock, s.token)
	}
	return l.client.Close()
}

// Keep takes a lock as soon as it can be had, and keeps it. A higher rank (the shard's incarnation) takes it from a lower
// one at once. It does not wait.
func (l *Locks) Keep(lock Lock, rank int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.kept[lock]
	if s == nil {
		s = &lease{}
		l.kept[lock] = s
	}
	if rank > s.rank { // the other one is asked anew
		s.rank, s.other = rank, time.Time{}
	}
	l.again()
}

// again lets locks be asked for without delay.
func (l *Locks) again() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Drop gives a lock back and does not keep it any more.
func (l *Locks) Drop(lock Lock) {
	l.mu.Lock()
	s := l.kept[lock]
	delete(l.kept, lock)
	l.mu.Unlock()
	if s == nil || s.token == 0 {
		return
	}
	l.done.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), l.o.Timeout)
		defer cancel()
		l.give(ctx, lock, s.token)
	})
}

// Token is the token of a kept lock, 0 where it was never held. held says that nobody else can hold it now: by this
// process's clock the lease lasts. Whoever was paused in between must not rely on it: the store checks the token.
func (l *Locks) Token(lock Lock) (token int64, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.kept[lock]
	if s == nil || s.fence != s.token {
		return 0, false
	}
	return s.token, time.Now().Before(s.until)
}

// Under is the token that what is decided now bears: that of the lock as it was had last, 0 where it never was and Redis
// does not say who has it. fact.Refused: somebody else has it, and nothing may be decided under it.
func (l *Locks) Under(lock Lock) (token int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.kept[lock]
	switch {
	case s == nil || s.fence != s.token:
		return 0
	case time.Now().Before(s.other):
		return fact.Refused
	}
	return s.token
}

func (l *Locks) renew(ctx context.Context) {
	tick := time.NewTicker(l.o.Renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wake:
		}
		l.mu.Lock()
		locks := make([]Lock, 0, len(l.kept))
		for lock := range l.kept {
			locks = append(locks, lock)
		}
		l.mu.Unlock()
		for _, lock := range locks {
			if err := l.turn(ctx, lock); err != nil && ctx.Err() == nil && !errors.Is(err, ErrHeld) {
				l.log.LogAttrs(ctx, slog.LevelDebug, "lock not renewed", slog.String("event", "redis.lock"), slog.String("lock", lock.Name),
					slog.String("shard", lock.Shard.Key()), slog.Any("error", err))
				break // Redis is away: the others will not do better
			}
		}
	}
}

// turn takes or renews one lock.
func (l *Locks) turn(ctx context.Context, lock Lock) error {
	l.mu.Lock()
	s := l.kept[lock]
	if s == nil {
		l.mu.Unlock()
		return nil
	}
	rank, token, floor := s.rank, s.token, s.floor
	l.mu.Unlock()
	sent := time.Now()
	got, err := l.take(ctx, lock, rank, floor, token)
	switch {
	case errors.Is(err, ErrHeld):
		l.turns.WithLabelValues("refused").Inc()
		l.set(lock, func(s *lease) {
			if s.until = (time.Time{}); s.rank == rank { // else it was asked for a former incarnation
				s.other = time.Now().Add(l.o.TTL)
			}
		})
		return err
	case err != nil:
		l.turns.WithLabelValues("failed").Inc()
		return err
	}
	l.mu.Lock()
	raised := s.fence == got
	l.mu.Unlock()
	if l.o.Raise != nil && !raised {
		highest, err := l.o.Raise(ctx, lock, got, l.o.Owner)
		if err != nil {
			l.turns.WithLabelValues("failed").Inc()
			return err
		}
		if highest > got { // Redis has forgotten who was here before
			l.turns.WithLabelValues("fenced").Inc()
			l.set(lock, func(s *lease) { s.floor = max(s.floor, highest) })
			l.again() // with a higher token
			return fmt.Errorf("take lock %s of shard %s: the store knows a newer holder: %w", lock.Name, lock.Shard.Key(), ErrHeld)
		}
	}
	l.turns.WithLabelValues("held").Inc()
	l.set(lock, func(s *lease) { s.token, s.fence, s.until, s.other = got, got, sent.Add(l.o.TTL), time.Time{} })
	return nil
}

func (l *Locks) set(lock Lock, change func(*lease)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.kept[lock]; s != nil {
		change(s)
	}
}

func lockKeys(lock Lock) []string {
	k := key(lock.Shard.Tenant, "lock", string(lock.Shard.Warehouse)+":"+lock.Name)
	return []string{k, k + ":token"}
}

// take asks for the lock once.
func (l *Locks) take(ctx context.Context, lock Lock, rank, floor, mine int64) (token int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	answer, err := l.acquire.Run(ctx, l.client, lockKeys(lock), l.o.Owner, rank, l.o.TTL.Milliseconds(), floor, mine, counterFor.Milliseconds()).Slice()
	if err != nil {
		return 0, fmt.Errorf("take lock %s of shard %s: %w", lock.Name, lock.Shard.Key(), err)
	}
	if len(answer) == 3 {
		got, isInt := answer[0].(int64)
		text, isText := answer[1].(string)
		if n, err := strconv.ParseInt(text, 10, 64); isInt && isText && err == nil {
			if got == 1 {
				return n, nil
			}
			return 0, fmt.Errorf("take lock %s of shard %s: %w", lock.Name, lock.Shard.Key(), ErrHeld)
		}
	}
	return 0, fmt.Errorf("take lock %s of shard %s: %w", lock.Name, lock.Shard.Key(), errAnswer)
}

// give gives a lock back; one that cannot be given back lapses.
func (l *Locks) give(ctx context.Context, lock Lock, token int64) {
	if token != 0 {
		_ = l.release.Run(ctx, l.client, lockKeys(lock)[:1], l.o.Owner, token).Err()
	}
}
