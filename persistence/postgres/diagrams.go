package postgres

import (
	"context"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// DiagramsRepo keeps what was learned of how zones flow.
type DiagramsRepo struct{ s *Store }

// SaveDiagrams keeps what was learned of a warehouse, in the place of what was there. Errors: fact.ErrNotFound for what is
// no id, ErrRejected where there is no such warehouse, ErrUnavailable.
func (r *DiagramsRepo) SaveDiagrams(ctx context.Context, d fact.Diagrams) error {
	if err := known(string(d.Shard.Tenant), string(d.Shard.Warehouse), string(d.Map)); err != nil {
		return err
	}
	err := r.s.inTenant(WithAudit(ctx, nil), writing, d.Shard.Tenant, func(q *gen.Queries) error {
		return q.SaveDiagrams(ctx, gen.SaveDiagramsParams{
			TenantID: string(d.Shard.Tenant), WarehouseID: string(d.Shard.Warehouse), MapID: string(d.Map), MapVersion: int32(d.MapVersion), Learned: d.Learned,
		})
	})
	if err != nil {
		return fmt.Errorf("keep the diagrams of shard %s: %w", d.Shard.Key(), err)
	}
	return nil
}

// GetDiagrams reads what was learned of a warehouse; fact.ErrNotFound where nothing was.
func (r *DiagramsRepo) GetDiagrams(ctx context.Context, shard fleet.Shard) (d fact.Diagrams, err error) {
	if err := known(string(shard.Tenant), string(shard.Warehouse)); err != nil {
		return d, err
	}
	err = r.s.inTenant(ctx, reading, shard.Tenant, func(q *gen.Queries) error {
		row, err := q.GetDiagrams(ctx, gen.GetDiagramsParams{TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse)})
		d = fact.Diagrams{Shard: shard, Map: fleet.MapID(row.MapID), MapVersion: int(row.MapVersion), Learned: row.Learned, SavedAt: row.SavedAt}
		return err
	})
	return d, err
}
