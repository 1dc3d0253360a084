package actors

import (
	"context"

	"starling/engine/congestion"
	"starling/engine/dispatch"
	"starling/engine/fleet"
)

// Relieve tells a warehouse what it is to do against jams from now on. It is state: a warehouse that starts anew does nothing
// until it is told again, so whoever tells it repeats it.
func (s *System) Relieve(ctx context.Context, shard fleet.Shard, r congestion.Relief) error {
	sh, err := s.open(ctx, shard)
	if err != nil {
		return err
	}
	return sh.tell(kindWarehouse, "", dispatch.ReliefChanged{Relief: r})
}
