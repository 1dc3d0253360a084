package actors

import (
	"context"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

// Ground is what the robots of the warehouse drive on now: the active map, the tables that zones and dispatcher use, and what
// differs from the map. It opens the shard where needed and is cheap then.
func (s *System) Ground(ctx context.Context, shard fleet.Shard) (dispatch.Ground, error) {
	sh, err := s.open(ctx, shard)
	if err != nil {
		return dispatch.Ground{}, err
	}
	f := sh.floor.Load()
	if f == nil || f.graph == nil {
		return dispatch.Ground{}, nil
	}
	return dispatch.Ground{Graph: f.graph, Tables: f.tables, Laid: f.tables.laid()}, nil
}
