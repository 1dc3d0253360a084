package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// RaiseFence says that whoever has the token holds a lock of the shard from now on: writes that were decided under an
// older one are refused, also those whose holder has slept and does not know. It waits for those under way. It returns the
// highest token there is, which is higher than the given one where somebody else has held the lock since. Errors:
// fact.ErrNotFound where there is no such warehouse, ErrUnavailable.
func (s *Store) RaiseFence(ctx context.Context, shard fleet.Shard, f fact.Fence, holder string) (highest int64, err error) {
	if err := known(string(shard.Tenant), string(shard.Warehouse)); err != nil {
		return 0, err
	}
	err = s.inTenant(WithAudit(ctx, nil), writing, shard.Tenant, func(q *gen.Queries) error {
		highest, err = q.RaiseFence(ctx, gen.RaiseFenceParams{
			TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse), Name: f.Lock, Token: f.Token, Holder: holder,
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("raise the fence of lock %s of shard %s: %w", f.Lock, shard.Key(), err)
	}
	return highest, nil
}

// fences are the tokens under which the group's units were decided, the lowest of each lock.
func (g *group) fences() []fact.Fence {
	var out []fact.Fence
next:
	for _, it := range g.items {
		for _, f := range it.unit.Fences {
			for i := range out {
				if out[i].Lock == f.Lock {
					out[i].Token = min(out[i].Token, f.Token)
					continue next
				}
			}
			out = append(out, f)
		}
	}
	return out
}

// checkFences queues a check for each token; stale is set where a higher one has been raised.
func (g *group) checkFences(b *pgx.Batch, stale *fact.Fence) {
	u := g.shard
	for _, f := range g.fences() {
		b.Queue(gen.CheckFence, string(u.Shard.Tenant), string(u.Shard.Warehouse), f.Lock).QueryRow(func(row pgx.Row) error {
			var highest int64
			err := row.Scan(&highest)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // it has never been raised
			}
			if err == nil && highest > f.Token {
				*stale = f
			}
			return err
		})
	}
}
