package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// Take raises the shard's incarnation, whoever owns it, and returns it with the time for which the taker must not
// grant yet: until the former owner's last renewal, as stamped by the server, plus lease and drift.
//
// Group commits of the former owner that are under way hold the row's key; the raise waits for them, and every later
// one sees the new incarnation. Errors: fact.ErrNotFound where there is no such warehouse, ErrUnavailable.
func (s *Store) Take(ctx context.Context, shard fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error) {
	if !isUUID(string(shard.Tenant)) || !isUUID(string(shard.Warehouse)) {
		return 0, 0, fmt.Errorf("take shard %s: %w", shard.Key(), fact.ErrNotFound)
	}
	q := gen.New(s.takes) // it may wait; renewals have connections of their own
	tenant, warehouse := string(shard.Tenant), string(shard.Warehouse)
	err := q.MakeShard(ctx, gen.MakeShardParams{TenantID: tenant, WarehouseID: warehouse})
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "23503" {
		return 0, 0, fmt.Errorf("take shard %s: %w", shard.Key(), fact.ErrNotFound)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("take shard %s: %w", shard.Key(), readError(err))
	}
	row, err := q.TakeShard(ctx, gen.TakeShardParams{
		Owner: owner, TenantID: tenant, WarehouseID: warehouse, LeaseSeconds: (s.o.Lease + s.o.Drift).Seconds(),
	})
	if err != nil {
		return 0, 0, fmt.Errorf("take shard %s: %w", shard.Key(), readError(err))
	}
	return fleet.Incarnation(row.Incarnation), time.Duration(row.WaitSeconds * float64(time.Second)), nil
}

// Renew extends the leases of the shards that the owner holds; result i is false where shard i has a newer owner.
func (s *Store) Renew(ctx context.Context, owner string, held []fact.Held) ([]bool, error) {
	order := make([]int, len(held)) // one order for all, so that renewals never wait for each other in a circle
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(held[a].Shard.Key(), held[b].Shard.Key()) })
	p := gen.RenewShardsParams{Owner: owner}
	for _, i := range order {
		h := &held[i]
		p.TenantIds, p.WarehouseIds = append(p.TenantIds, string(h.Shard.Tenant)), append(p.WarehouseIds, string(h.Shard.Warehouse))
		p.Incarnations = append(p.Incarnations, int64(h.Incarnation))
	}
	rows, err := gen.New(s.leases).RenewShards(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("renew %d leases: %w", len(held), readError(err))
	}
	renewed := make(map[fact.Held]bool, len(rows))
	for _, r := range rows {
		shard := fleet.Shard{Tenant: fleet.TenantID(r.TenantID), Warehouse: fleet.WarehouseID(r.WarehouseID)}
		renewed[fact.Held{Shard: shard, Incarnation: fleet.Incarnation(r.Incarnation)}] = true
	}
	out := make([]bool, len(held))
	for i := range held {
		out[i] = renewed[held[i]]
	}
	return out, nil
}
