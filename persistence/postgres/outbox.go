package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"starling/persistence/postgres/gen"
)

// OutboxShards is into how many shards the outbox is divided, by the aggregate's id: one pump each.
const OutboxShards = 16

// OutboxRow is a fact that has not been sent.
type OutboxRow struct {
	EventID, TenantID, AggregateType, AggregateID, Topic, Key string

	Payload     []byte // starling.events.v1.Envelope
	Traceparent string
	Seq         int64
	Attempts    int // so far
	CreatedAt   time.Time
	Parked      bool // an earlier fact of its aggregate is a dead letter
}

// OutboxLag is what waits of a topic in a shard.
type OutboxLag struct {
	Shard   int
	Topic   string
	Pending int // at most maxLag
	Age     time.Duration
}

// OutboxWait is an aggregate that must be left alone until a time.
type OutboxWait struct {
	AggregateID string
	Until       time.Time
}

// maxLag bounds the count of what waits, of a topic in a shard: counting more would cost more than it tells.
const maxLag = 10_000

// Outbox is the pumps' side of the outbox: connections of their own, which act as starling_worker. It is safe for concurrent
// use.
type Outbox struct {
	s    *Store
	pool *pgxpool.Pool
}

// OpenOutbox prepares conns connections for pumps (0 = 4); it waits for none. Close it before the store.
func (s *Store) OpenOutbox(ctx context.Context, conns int) (*Outbox, error) {
	pool, err := s.connect(ctx, roleWorker, cmp.Or(conns, 4), 1)
	if err != nil {
		return nil, err
	}
	return &Outbox{s: s, pool: pool}, nil
}

// Close ends the connections.
func (o *Outbox) Close() { o.pool.Close() }

// pumpPlans makes a session find rows by the indexes that are made for pumps, one at a time, and plan each statement once:
// what the statistics say of a table that was empty a moment ago, or full, is wrong a moment later.
const pumpPlans = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; " +
	"SET enable_sort = off; SET plan_cache_mode = force_generic_plan"

// indexed runs fn on a connection with pumpPlans.
func (o *Outbox) indexed(ctx context.Context, fn func(q *gen.Queries) error) error {
	return o.conn(ctx, func(_ context.Context, conn *pgxpool.Conn) error { return fn(gen.New(conn)) })
}

// conn runs fn with such a connection.
func (o *Outbox) conn(ctx context.Context, fn func(ctx context.Context, conn *pgxpool.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.s.o.StatementTimeout+2*time.Second) // a server that hangs says nothing
	defer cancel()
	conn, err := o.pool.Acquire(ctx)
	if err != nil {
		return readError(err)
	}
	defer conn.Release()
	has := conn.Conn().PgConn().CustomData()
	if has["indexed"] == nil {
		if _, err := conn.Exec(ctx, pumpPlans); err != nil {
			return readError(err)
		}
		has["indexed"] = true
	}
	return readError(fn(ctx, conn))
}

// Claim returns the next facts of a shard, at most so many of each topic, in order within an aggregate, without those of
// some aggregates.
func (o *Outbox) Claim(ctx context.Context, shard int, topics, except []string, atMost int) ([]OutboxRow, error) {
	var out []OutboxRow
	err := o.indexed(ctx, func(q *gen.Queries) error {
		if except == nil {
			except = []string{}
		}
		rows, err := q.ClaimOutbox(ctx, gen.ClaimOutboxParams{Topics: topics, Shard: int16(shard), ExceptIds: except, AtMost: int32(atMost)})
		if err != nil {
			return err
		}
		out = make([]OutboxRow, len(rows))
		for i := range rows {
			out[i] = outboxRowOf(&rows[i])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim facts of shard %d: %w", shard, err)
	}
	return out, nil
}

func outboxRowOf(r *gen.ClaimOutboxRow) OutboxRow {
	row := OutboxRow{
		EventID: r.EventID, TenantID: r.TenantID, AggregateType: r.AggregateType, AggregateID: r.AggregateID, Topic: r.Topic, Key: r.Key,
		Payload: r.Payload, Attempts: int(r.Attempts), CreatedAt: r.CreatedAt, Parked: r.Parked,
	}
	if r.Seq != nil {
		row.Seq = *r.Seq
	}
	if len(r.Headers) > 2 { // {}
		var h struct {
			Traceparent string `json:"traceparent"`
		}
		if json.Unmarshal(r.Headers, &h) == nil {
			row.Traceparent = h.Traceparent
		}
	}
	return row
}

// keysOf are the keys of rows for statements about many, with the span of their partitions.
func keysOf(rows []OutboxRow) (ids []string, ats []time.Time, oldest, newest time.Time) {
	ids, ats = make([]string, len(rows)), make([]time.Time, len(rows))
	for i := range rows {
		at := rows[i].CreatedAt
		ids[i], ats[i] = rows[i].EventID, at
		if i == 0 || at.Before(oldest) {
			oldest = at
		}
		if at.After(newest) {
			newest = at
		}
	}
	return ids, ats, oldest, newest
}

// Sent marks facts as sent, in one statement.
func (o *Outbox) Sent(ctx context.Context, rows []OutboxRow) error {
	ids, ats, oldest, newest := keysOf(rows)
	err := o.indexed(ctx, func(q *gen.Queries) error {
		return q.MarkSent(ctx, gen.MarkSentParams{EventIds: ids, CreatedAts: ats, Oldest: oldest, Newest: newest})
	})
	if err != nil {
		return fmt.Errorf("mark %d facts as sent: %w", len(rows), err)
	}
	return nil
}

// Hold takes facts of parked aggregates out of the way until their dead letter has been decided; where it has been by now it
// does nothing.
func (o *Outbox) Hold(ctx context.Context, rows []OutboxRow) error {
	ids, ats, oldest, newest := keysOf(rows)
	var aggregates []string
	for i := range rows {
		aggregates = append(aggregates, rows[i].AggregateID)
	}
	err := o.indexed(ctx, func(q *gen.Queries) error {
		return q.HoldOutbox(ctx, gen.HoldOutboxParams{AggregateIds: aggregates, EventIds: ids, CreatedAts: ats, Oldest: oldest, Newest: newest})
	})
	if err != nil {
		return fmt.Errorf("hold %d facts: %w", len(rows), err)
	}
	return nil
}

// Refuse records that a fact was refused once more and is not to be tried before a time.
func (o *Outbox) Refuse(ctx context.Context, r *OutboxRow, cause string, next time.Time) error {
	err := o.indexed(ctx, func(q *gen.Queries) error {
		return q.RefuseOutbox(ctx, gen.RefuseOutboxParams{
			EventID: r.EventID, CreatedAt: r.CreatedAt, Attempts: int32(r.Attempts + 1), NextRetryAt: next, Cause: &cause,
		})
	})
	if err != nil {
		return fmt.Errorf("record the refusal of fact %s: %w", r.EventID, err)
	}
	return nil
}

// Bury makes a fact a dead letter; its aggregate is parked from then on.
func (o *Outbox) Bury(ctx context.Context, r *OutboxRow, eventType, cause string) error {
	err := o.indexed(ctx, func(q *gen.Queries) error {
		return q.BuryOutbox(ctx, gen.BuryOutboxParams{
			EventID: r.EventID, CreatedAt: r.CreatedAt, Attempts: int32(r.Attempts + 1), Cause: cause, EventType: eventType,
		})
	})
	if err != nil {
		return fmt.Errorf("bury fact %s: %w", r.EventID, err)
	}
	return nil
}

// handleAtMost is how many letters are dealt with at a time: much may be held behind each, and statements have a time limit.
const handleAtMost = 5

// Handle does what people have asked for about the dead letters of a shard and returns how many there were, at most
// handleAtMost.
func (o *Outbox) Handle(ctx context.Context, shard int) (int, error) {
	var n int
	err := o.conn(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			q := gen.New(tx)
			ids, err := q.LockDead(ctx, gen.LockDeadParams{Shard: int16(shard), AtMost: handleAtMost})
			if err != nil || len(ids) == 0 {
				return err
			}
			rows, err := q.HandleDead(ctx, ids)
			n = len(rows)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("handle the dead letters of shard %d: %w", shard, err)
	}
	return n, nil
}

// Waiting lists the aggregates of a shard that must be left alone for a while, at most so many.
func (o *Outbox) Waiting(ctx context.Context, shard, atMost int) ([]OutboxWait, error) {
	var out []OutboxWait
	err := o.indexed(ctx, func(q *gen.Queries) error {
		rows, err := q.WaitingOutbox(ctx, gen.WaitingOutboxParams{Shard: int16(shard), AtMost: int32(atMost)})
		for _, r := range rows {
			out = append(out, OutboxWait{AggregateID: r.AggregateID, Until: r.NextRetryAt})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list what waits in shard %d: %w", shard, err)
	}
	return out, nil
}

// Pending lists the topics that have something to send, by shard; asked are shards whose dead letters somebody has decided.
func (o *Outbox) Pending(ctx context.Context) (topics map[int][]string, asked []int, err error) {
	topics = map[int][]string{}
	err = o.indexed(ctx, func(q *gen.Queries) error {
		rows, err := q.PendingOutbox(ctx)
		if err != nil {
			return err
		}
		for _, r := range rows {
			topics[int(r.Shard)] = append(topics[int(r.Shard)], r.Topic)
		}
		shards, err := q.AskedOutbox(ctx)
		for _, s := range shards {
			asked = append(asked, int(s))
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look for facts to send: %w", err)
	}
	return topics, asked, nil
}

// Lag says what waits in some shards, and how many dead letters of each topic nobody has dealt with.
func (o *Outbox) Lag(ctx context.Context, shards []int, topics []string) (lag []OutboxLag, parked map[string]int, err error) {
	of := make([]int16, len(shards))
	for i, s := range shards {
		of[i] = int16(s)
	}
	parked = map[string]int{}
	err = o.indexed(ctx, func(q *gen.Queries) error {
		rows, err := q.LagOutbox(ctx, gen.LagOutboxParams{Shards: of, Topics: topics, AtMost: maxLag})
		if err != nil {
			return err
		}
		for _, r := range rows {
			lag = append(lag, OutboxLag{
				Shard: int(r.Shard), Topic: r.Topic, Pending: int(r.Pending), Age: time.Duration(r.AgeSeconds * float64(time.Second)),
			})
		}
		dead, err := q.ParkedOutbox(ctx, of)
		for _, d := range dead {
			parked[d.Topic] = int(d.Count)
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("measure the lag of the outbox: %w", err)
	}
	return lag, parked, nil
}

// Tidy frees what is held though no dead letter is to be decided, and forgets letters that were dealt with 90 days ago.
func (o *Outbox) Tidy(ctx context.Context) error {
	err := o.indexed(ctx, func(q *gen.Queries) error {
		freed, err := q.FreeHeld(ctx, handleAtMost)
		if freed > 0 {
			o.s.log.LogAttrs(ctx, slog.LevelWarn, "facts were held behind no dead letter", slog.String("event", "outbox.freed"), slog.Int64("facts", freed))
		}
		_, fault := q.ForgetDead(ctx)
		return errors.Join(err, fault)
	})
	if err != nil {
		return fmt.Errorf("tidy the outbox: %w", err)
	}
	return nil
}

// Bell tells other processes that shards of the outbox have something to send, after the transaction that wrote it: a notice
// inside of it would make commits wait for one another. Notices are put together; one that is lost is made good by the sweep.
type Bell struct {
	s    *Store
	due  atomic.Uint32 // bit i: shard i
	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup
}

// ringEvery is how often a process rings at most.
const ringEvery = 10 * time.Millisecond

// NewBell starts a bell. Stop it before the store.
func (s *Store) NewBell(ctx context.Context) *Bell {
	b := &Bell{s: s, wake: make(chan struct{}, 1)}
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.done.Go(func() { b.run(ctx) })
	return b
}

// Ring asks for a notice about the shards of a mask. It never waits.
func (b *Bell) Ring(shards uint16) {
	b.due.Or(uint32(shards))
	select {
	case b.wake <- struct{}{}:
	default: // it will see them
	}
}

// Stop ends the bell.
func (b *Bell) Stop() {
	b.stop()
	b.done.Wait()
}

func (b *Bell) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		shards := b.due.Swap(0)
		ring, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := gen.New(b.s.bells).RingOutbox(ring, strconv.Itoa(int(shards)))
		cancel()
		if err != nil {
			b.s.log.LogAttrs(ctx, slog.LevelDebug, "outbox not rung", slog.String("event", "outbox.bell"), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(ringEvery):
		}
	}
}

// Listen calls heard with the mask of shards of each notice until ctx is done, and with all of them whenever it has begun to
// listen (again): what was said meanwhile is not known.
func (o *Outbox) Listen(ctx context.Context, heard func(shards uint16)) {
	for ctx.Err() == nil {
		err := o.listen(ctx, heard)
		if ctx.Err() != nil {
			return
		}
		o.s.log.LogAttrs(ctx, slog.LevelDebug, "outbox not listened to", slog.String("event", "outbox.listen"), slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // the sweep finds what comes meanwhile
		}
	}
}

func (o *Outbox) listen(ctx context.Context, heard func(shards uint16)) error {
	conn, err := pgx.ConnectConfig(ctx, o.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN starling_outbox"); err != nil {
		return err
	}
	heard(1<<OutboxShards - 1)
	for {
		// A connection that died without a word is noticed: it is asked now and then.
		wait, cancel := context.WithTimeout(ctx, 30*time.Second)
		n, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if mask, err := strconv.ParseUint(n.Payload, 10, OutboxShards); err == nil {
				heard(uint16(mask))
			}
		case wait.Err() != nil && !conn.IsClosed():
			if err := conn.Ping(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
