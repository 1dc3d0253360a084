package view

import (
	"cmp"
	"slices"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// trendPoints is how many scores of a subject are kept to draw: five minutes.
const trendPoints = 30

// Heat is the newest score of a zone, a lane or a warehouse, and its indices of the last five minutes, the oldest first.
type Heat struct {
	fact.Congestion
	Recent []float64 // never written after it was shown
}

// ShowCongestion takes what was scored of a shard at one moment: all of its zones, those of its lanes that tell something, and
// the warehouse. What is not among it any more has gone.
func (s *Store) ShowCongestion(shard fleet.Shard, all []fact.Congestion) {
	if len(all) == 0 {
		return
	}
	t := s.Tenant(shard.Tenant)
	at := all[0].At
	for i := range all {
		h := Heat{Congestion: all[i]}
		key := congestion.Subject{Of: h.Of, ID: h.ID}
		old, _, _ := t.Heat.Get(key)
		h.Recent = append(slices.Clone(old.Recent[max(0, len(old.Recent)-trendPoints+1):]), h.Index)
		t.Heat.put(key, shard.Warehouse, &h)
	}
	var gone []congestion.Subject
	t.Heat.Changes(0, nil, func(r *Row[Heat]) {
		if r.Warehouse == shard.Warehouse && r.Value.At.Before(at) {
			gone = append(gone, congestion.Subject{Of: r.Value.Of, ID: r.Value.ID})
		}
	})
	for _, key := range gone {
		t.Heat.drop(key, shard.Warehouse)
	}
}

// CongestionGone forgets the scores of a shard that another process has now.
func (s *Store) CongestionGone(shard fleet.Shard) {
	t := s.Tenant(shard.Tenant)
	for _, h := range s.Congestion(shard) {
		t.Heat.drop(congestion.Subject{Of: h.Of, ID: h.ID}, shard.Warehouse)
	}
}

// Congestion lists what was scored of a shard last: zones, lanes and the warehouse, by kind and id.
func (s *Store) Congestion(shard fleet.Shard) []Heat {
	var out []Heat
	s.Tenant(shard.Tenant).Heat.Changes(0, nil, func(r *Row[Heat]) {
		if r.Warehouse == shard.Warehouse {
			out = append(out, r.Value)
		}
	})
	slices.SortFunc(out, func(a, b Heat) int { return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.ID, b.ID)) })
	return out
}

// CongestionOf is what was scored last of one zone or lane of a shard.
func (s *Store) CongestionOf(shard fleet.Shard, subject congestion.Subject) (Heat, bool) {
	h, _, ok := s.Tenant(shard.Tenant).Heat.in(shard.Warehouse, subject)
	return h, ok
}
