package congestion

import (
	"maps"
	"slices"

	"starling/engine/fleet"
)

// Relief is all that is done against jams in a warehouse now. State: the newest replaces the one before, and the zero value
// is nothing.
type Relief struct {
	// Most is how many robots may hold tasks that lead into a zone, or through it, at once.
	Most map[fleet.ZoneID]int
	// Active is how many robots of the warehouse may hold tasks at once; 0 = as many as else.
	Active int
	// Detour are the zones in which robots stand that cannot move and jam those behind them: others are led round those, by
	// far ways too.
	Detour []fleet.ZoneID
}

// Equal says that both are the same.
func (r *Relief) Equal(o *Relief) bool {
	return r.Active == o.Active && maps.Equal(r.Most, o.Most) && slices.Equal(r.Detour, o.Detour)
}
