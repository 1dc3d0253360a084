package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"starling/engine/fact"
	"starling/persistence/postgres/gen"
)

// Append records the units in one transaction where they are of one shard and incarnation; result i is unit i's: nil,
// or wraps fact.ErrUnavailable, ErrBusy, ErrUnknown, ErrFenced, ErrRejected or a *fact.ConflictError. Units of one
// aggregate take effect in order. A unit that is bad in itself is set aside; the others are recorded.
func (s *Store) Append(ctx context.Context, units []fact.Unit) []error {
	errs := make([]error, len(units))
	for from := 0; from < len(units); {
		to := from + 1
		for to < len(units) && units[to].Shard == units[from].Shard && units[to].Incarnation == units[from].Incarnation {
			to++
		}
		began := time.Now()
		err := s.appendGroup(ctx, units[from:to], errs[from:to])
		s.metrics.append.Observe(time.Since(began).Seconds())
		s.metrics.size.Observe(float64(to - from))
		s.metrics.groups.WithLabelValues(outcome(err)).Inc()
		from = to
	}
	for _, err := range errs {
		s.metrics.units.WithLabelValues(outcome(err)).Inc()
	}
	return errs
}

// group is one transaction of a shard.
type group struct {
	s     *Store
	shard *fact.Unit // for its Shard and Incarnation
	items []*item
	conn  *pgxpool.Conn
	q     *gen.Queries
	xid   string
}

// appendGroup fills errs and returns how the group as a whole ended.
func (s *Store) appendGroup(ctx context.Context, units []fact.Unit, errs []error) error {
	g := &group{s: s, shard: &units[0]}
	if !isUUID(string(units[0].Shard.Tenant)) || !isUUID(string(units[0].Shard.Warehouse)) {
		fill(errs, fmt.Errorf("shard %s: %w: %w", units[0].Shard.Key(), fact.ErrRejected, errNotUUID))
		return errs[0]
	}
	items := make([]*item, len(units))
	for i := range units {
		it, err := prepare(&units[i])
		if err != nil {
			errs[i] = err
			continue
		}
		items[i] = it
		g.items = append(g.items, it)
	}
	var err error
	for try := 0; try == 0 || try < tries && unlucky(err); try++ {
		err = g.run(ctx, false)
	}
	if _, bad := refused(err); bad {
		err = g.run(ctx, true) // once more, setting the bad ones aside
	}
	switch {
	case err == nil:
	case errors.Is(err, fact.ErrFenced), errors.Is(err, fact.ErrUnknown), errors.Is(err, fact.ErrBusy):
	default:
		err = unavailable(err)
	}
	for i, it := range items {
		switch {
		case it == nil:
		case err != nil:
			errs[i] = err
		default:
			errs[i] = it.err
		}
	}
	return err
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}

// announce says which shards of the outbox have something new.
func (g *group) announce() {
	if g.s.o.Outbox == nil {
		return
	}
	var shards uint16
	for _, it := range g.items {
		if it.err != nil || it.lost {
			continue
		}
		for i := range it.outbox {
			shards |= 1 << pump(it.outbox[i].aggregateID)
		}
	}
	if shards != 0 {
		g.s.o.Outbox(shards)
	}
}

// intents lists those of the units that are recorded.
func (g *group) intents() (list []*fact.AuditEntry) {
	for _, it := range g.items {
		if it.unit.Audit != nil && it.err == nil && !it.lost {
			list = append(list, it.unit.Audit)
		}
	}
	return list
}

// run writes and commits the group. careful: a statement that is refused is tried with halves of its units.
func (g *group) run(ctx context.Context, careful bool) error {
	for _, it := range g.items {
		it.err, it.lost = nil, false
	}
	if len(g.items) == 0 {
		return nil
	}
	conn, release, err := g.s.acquire(ctx, g.shard.Shard.Tenant, commits)
	if err != nil {
		return err
	}
	defer release()
	g.conn, g.q = conn, gen.New(conn)
	if err := g.open(ctx); err != nil {
		rollback(ctx, conn)
		return err
	}
	for _, wave := range waves(g.items) {
		if err := g.write(ctx, wave, careful); err != nil {
			rollback(ctx, conn)
			return err
		}
	}
	began := time.Now()
	err = g.s.seal(ctx, conn, g.intents())
	g.s.metrics.commit.Observe(time.Since(began).Seconds())
	if err == nil {
		g.announce()
		return nil
	}
	if decidedly(err) {
		return err
	}
	g.s.doubts.add(g)
	return unknown(err)
}

// open begins the transaction and checks that the shard is still its owner's.
func (g *group) open(ctx context.Context) error {
	u := g.shard
	tenant, warehouse := string(u.Shard.Tenant), string(u.Shard.Warehouse)
	b := &pgx.Batch{}
	b.Queue(string(writing))
	b.Queue(gen.ActAsApp)
	b.Queue(gen.OpenGroup, tenant).QueryRow(func(row pgx.Row) error {
		var r gen.OpenGroupRow
		if err := row.Scan(&r.TenantID, &r.Seqscan, &r.Xid); err != nil {
			return err
		}
		g.xid = r.Xid
		return nil
	})
	fenced := false
	if u.Incarnation != 0 {
		b.Queue(gen.Fence, tenant, warehouse).QueryRow(func(row pgx.Row) error {
			var incarnation int64
			err := row.Scan(&incarnation)
			fenced = errors.Is(err, pgx.ErrNoRows) || err == nil && incarnation != int64(u.Incarnation)
			if fenced {
				return nil
			}
			return err
		})
	}
	var stale fact.Fence
	g.checkFences(b, &stale)
	if err := g.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if stale.Lock != "" {
		return fmt.Errorf("append to shard %s with token %d of lock %s: %w", u.Shard.Key(), stale.Token, stale.Lock, fact.ErrFenced)
	}
	if fenced {
		return fmt.Errorf("append to shard %s as incarnation %d: %w", u.Shard.Key(), u.Incarnation, fact.ErrFenced)
	}
	return nil
}

// waves splits items so that within one no aggregate is touched twice; order is kept.
func waves(items []*item) [][]*item {
	var out [][]*item
	seen := map[string]bool{}
	start := 0
	for i, it := range items {
		if slices.ContainsFunc(it.keys, func(k string) bool { return seen[k] }) {
			out = append(out, items[start:i])
			start = i
			clear(seen)
		}
		for _, k := range it.keys {
			seen[k] = true
		}
	}
	return append(out, items[start:])
}

// write applies one wave: the simple items together, then those that stand alone.
func (g *group) write(ctx context.Context, wave []*item, careful bool) error {
	var simple []*item
	for _, it := range wave {
		if !it.solo {
			simple = append(simple, it)
		}
	}
	var err error
	if careful {
		err = g.bisect(ctx, simple)
	} else {
		err = g.apply(ctx, simple)
	}
	if err != nil {
		return err
	}
	for _, it := range wave {
		if it.solo {
			if err := g.alone(ctx, it); err != nil {
				return err
			}
		}
	}
	for _, it := range wave {
		if it.lost {
			if it.err, err = g.diagnose(ctx, it); err != nil {
				return err
			}
		}
	}
	return nil
}

// bisect applies items within a savepoint; where the server refuses, each half alone, down to the one to blame.
func (g *group) bisect(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	refusal, err := g.within(ctx, func() error { return g.apply(ctx, items) })
	if err != nil || refusal == nil {
		return err
	}
	if len(items) == 1 {
		e, _ := refused(refusal)
		items[0].err, items[0].lost = rejected(e), false
		return nil
	}
	half := len(items) / 2
	if err := g.bisect(ctx, items[:half]); err != nil {
		return err
	}
	return g.bisect(ctx, items[half:])
}

// alone applies one item within a savepoint: all of it or nothing.
func (g *group) alone(ctx context.Context, it *item) error {
	refusal, err := g.within(ctx, func() error {
		if err := g.claimKey(ctx, it); err != nil {
			return err
		}
		if err := g.apply(ctx, []*item{it}); err != nil {
			return err
		}
		if it.lost {
			return errLost
		}
		return nil
	})
	if err != nil || refusal == nil {
		return err
	}
	if e, ok := refused(refusal); ok {
		if !broke(refusal, "robots_code") {
			it.err, it.lost = rejected(e), false
			return nil
		}
	}
	it.lost = true // diagnosed with the others
	return nil
}

// errLost undoes a savepoint: what is recorded forbids the unit.
var errLost = errors.New("unit does not fit what is recorded")

// within runs fn in a savepoint. refusal is fn's error where the savepoint has undone it and the transaction lives.
func (g *group) within(ctx context.Context, fn func() error) (refusal, err error) {
	if _, err := g.conn.Exec(ctx, "savepoint unit"); err != nil {
		return nil, err
	}
	if err := fn(); err != nil {
		if _, ok := refused(err); !ok && !errors.Is(err, errLost) {
			return nil, err
		}
		if _, err := g.conn.Exec(ctx, "rollback to savepoint unit"); err != nil {
			return nil, err
		}
		refusal = err
	}
	_, err = g.conn.Exec(ctx, "release savepoint unit")
	return refusal, err
}
