package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"starling/persistence/postgres/gen"
)

// The classes of advisory locks: that of a shard's pump, and that by which workers are counted.
const (
	lockPump   int32 = 0x57_0B_01
	lockWorker int32 = 0x57_0B_02
)

// Locks are the shards of the outbox that this process alone pumps. They live in one session: a connection that is lost
// loses all of them, which the next call finds. Whoever pumps on for a moment doubles facts and loses none: marks are made
// only on what is not sent, and each pump sends an aggregate's facts in order.
type Locks struct {
	o    *Outbox
	mu   sync.Mutex
	conn *pgx.Conn     // nil = none
	held atomic.Uint32 // bit i: shard i
}

// locksWithin bounds each call; lockIdle is when the server ends a session that says nothing: its process hangs.
const (
	locksWithin = 4 * time.Second
	lockIdle    = 8 * time.Second
)

// NewLocks prepares; it connects at the first call.
func (o *Outbox) NewLocks() *Locks { return &Locks{o: o} }

// Held says whether this process is the shard's pump, as far as it knows.
func (l *Locks) Held(shard int) bool {
	return l.held.Load()&(1<<shard) != 0
}

// Try makes this process the shard's only pump, if none is.
func (l *Locks) Try(ctx context.Context, shard int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Held(shard) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, locksWithin)
	defer cancel()
	q, err := l.session(ctx)
	if err != nil {
		return false, err
	}
	got, err := q.TryLock(ctx, gen.TryLockParams{Class: lockPump, ID: int32(shard)})
	if err != nil {
		return false, l.lost(ctx, err)
	}
	if got {
		l.held.Or(1 << shard)
	}
	return got, nil
}

// Release lets others pump the shard.
func (l *Locks) Release(ctx context.Context, shard int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.Held(shard) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, locksWithin)
	defer cancel()
	l.held.And(^uint32(1 << shard))
	if _, err := gen.New(l.conn).Unlock(ctx, gen.UnlockParams{Class: lockPump, ID: int32(shard)}); err != nil {
		return l.lost(ctx, err)
	}
	return nil
}

// Workers says how many processes pump in this database, this one included. It finds whether the session still lives.
func (l *Locks) Workers(ctx context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, locksWithin)
	defer cancel()
	q, err := l.session(ctx)
	if err != nil {
		return 0, err
	}
	n, err := q.CountLockers(ctx, lockWorker)
	if err != nil {
		return 0, l.lost(ctx, err)
	}
	return int(n), nil
}

// Others says, after Close, how many processes pump; this one is none of them.
func (l *Locks) Others(ctx context.Context) (n int, err error) {
	err = l.o.indexed(ctx, func(q *gen.Queries) error {
		count, err := q.CountLockers(ctx, lockWorker)
		n = int(count)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count the workers of the outbox: %w", err)
	}
	return n, nil
}

// Close ends the session, and with it the locks.
func (l *Locks) Close(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Store(0)
	if l.conn != nil {
		_ = l.conn.Close(ctx)
		l.conn = nil
	}
}

// session connects where there is no connection, and takes the lock by which this worker is counted.
func (l *Locks) session(ctx context.Context) (*gen.Queries, error) {
	if l.conn != nil && !l.conn.IsClosed() {
		return gen.New(l.conn), nil
	}
	l.held.Store(0)
	config := l.o.pool.Config().ConnConfig
	config.RuntimeParams["idle_session_timeout"] = millis(lockIdle) // whoever hangs gives its shards back
	config.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		return c.Exec(ctx, "SET ROLE "+roleWorker).Close()
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect for the locks of the outbox: %w", readError(err))
	}
	q := gen.New(conn)
	if _, err := q.TryLock(ctx, gen.TryLockParams{Class: lockWorker, ID: rand.Int32N(math.MaxInt32)}); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("lock as a worker of the outbox: %w", readError(err))
	}
	l.conn = conn
	return q, nil
}

// lost gives the session up after an error: what it holds is not known any more.
func (l *Locks) lost(ctx context.Context, err error) error {
	l.o.s.log.LogAttrs(ctx, slog.LevelDebug, "locks of the outbox lost", slog.String("event", "outbox.locks"), slog.Any("error", err))
	l.held.Store(0)
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = l.conn.Close(shut)
	l.conn = nil
	return fmt.Errorf("locks of the outbox: %w", readError(err))
}
