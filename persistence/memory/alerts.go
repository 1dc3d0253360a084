package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// recentAlerts is how long ago an alert may have been resolved to be loaded with the open ones.
const recentAlerts = time.Hour

// alert records a step of an alert.
func (w *writer) alert(f *fact.Fact, e *alert.Event) error {
	if string(e.After.ID) != f.Subject || e.After.Version != f.Version || e.Step.Seq != f.Version {
		return fmt.Errorf("step of alert %s has another id or version: %w", f.Subject, fact.ErrRejected)
	}
	v := w.shard.alerts[e.After.ID]
	if v.Version+1 != f.Version {
		return &fact.ConflictError{Key: "version", Existing: f.Subject}
	}
	for id, o := range w.shard.alerts {
		if id != e.After.ID && o.Status != alert.Resolved && e.After.Status != alert.Resolved && o.Subject == e.After.Subject && o.Cause == e.After.Cause {
			return fmt.Errorf("alert %s of the same subject and cause is open: %w", id, fact.ErrRejected)
		}
	}
	v.Alert = e.After
	if e.Step.Action.Handles() {
		v.Handling = append(slices.Clip(v.Handling), e.Step)
	}
	set(w, w.shard.alerts, e.After.ID, v)
	return nil
}

// LoadAlerts implements actors.Store.
func (s *Store) LoadAlerts(_ context.Context, id fleet.Shard) (fact.AlertRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rec fact.AlertRecord
	sh := s.shard(id)
	for _, a := range slices.Sorted(maps.Keys(sh.alerts)) {
		if v := sh.alerts[a]; v.Status != alert.Resolved || v.Unsettled() || s.now().Sub(v.ResolvedAt) < recentAlerts {
			rec.Alerts = append(rec.Alerts, copied(&v))
		}
	}
	return rec, nil
}

// LoadAlert implements actors.Store.
func (s *Store) LoadAlert(_ context.Context, id fleet.Shard, a alert.ID) (alert.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.shard(id).alerts[a]
	if !ok {
		return v, fmt.Errorf("load alert %s: %w", a, fact.ErrNotFound)
	}
	return copied(&v), nil
}

func copied(v *alert.View) alert.View {
	c := *v
	c.Handling = slices.Clone(v.Handling)
	return c
}
