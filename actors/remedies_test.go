package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"starling/actors"
	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// alertsOf keeps what is recorded; there is no alert until it opens.
type alertsOf struct {
	mu      sync.Mutex
	open    bool
	kept    []alert.Msg
	relief  congestion.Relief
	refused int
}

func (a *alertsOf) record(_ context.Context, _ fleet.Shard, m alert.Msg) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open {
		a.refused++
		return fact.ErrNotFound
	}
	a.kept = append(a.kept, m)
	return nil
}

func (a *alertsOf) relieve(_ context.Context, _ fleet.Shard, r congestion.Relief) error {
	a.mu.Lock()
	a.relief = r
	a.mu.Unlock()
	return nil
}

// A remedy that comes before the alert of its jam is recorded once that is there; a rollback takes it back, and so it does what
// does not hold any more.
func TestRemediesAreRecordedOnceTheirAlertIsThere(t *testing.T) {
	t.Parallel()
	a := &alertsOf{}
	now := time.Unix(1_800_000_000, 0)
	r := actors.NewRemedies(actors.RemediesOptions{Relieve: a.relieve, Record: a.record, Now: func() time.Time { return now }})
	shard := fleet.Shard{Tenant: "t", Warehouse: "w"}
	settings := congestion.Usual()
	settings.Acting.Automatic = 3
	jam := congestion.Score{
		Subject: congestion.Subject{Of: congestion.OfZone, ID: "z"}, At: now, Level: 2, Index: 0.6, Density: 0.3, Critical: 0.2, Capacity: 100, Occupancy: 30, Queue: 9,
	}
	off := settings
	off.Acting.Automatic = 0
	if r.Review(shard, off, []congestion.Score{jam}); len(r.List(shard)) != 0 {
		t.Fatal("it acts though nobody allows it")
	}
	r.Review(shard, settings, []congestion.Score{jam})
	held := r.List(shard)
	if len(held) != 1 || held[0].ID == "" || a.relief.Most["z"] != 10 {
		t.Fatalf("held %+v, relief %+v", held, a.relief)
	}
	soon(t, "the alerts are asked", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.refused > 0 })
	a.mu.Lock()
	a.open = true
	a.mu.Unlock()
	soon(t, "it is recorded", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.kept) == 1 })
	if _, err := r.Press(shard, congestion.HoldTasks, jam.Subject, fleet.Actor{User: "u"}); err == nil {
		t.Error("what holds was applied again")
	}
	r.UndoOf(shard, "alert", alert.Remedy{ID: held[0].ID})
	r.UndoOf(shard, "alert", alert.Remedy{ID: "of another life"})
	if len(r.List(shard)) != 0 || len(a.relief.Most) != 0 {
		t.Errorf("after the rollback %+v hold", r.List(shard))
	}
	if err := r.Undo(shard, held[0].ID, "again", fleet.Actor{}); !errors.Is(err, fact.ErrNotFound) {
		t.Errorf("undone again: %v", err)
	}
	r.Stop(context.Background()) // what waits is recorded
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) != 3 {
		t.Fatalf("recorded %+v, want an application and two ends", a.kept)
	}
	if m, ok := a.kept[0].(alert.RemedyApplied); !ok || m.Remedy.ID != held[0].ID || m.Remedy.Reason == "" || m.Subject != (alert.Subject{Type: alert.SubjectZone, ID: "z"}) {
		t.Errorf("recorded first: %+v", a.kept[0])
	}
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}

// A remedy whose alert has no room is given up, and an end that is asked for again while the store is away is recorded once.
func TestRemediesDoNotWaitForEver(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answer := fmt.Errorf("record: %w: %w", actors.ErrAlertFull, fact.ErrBusy)
	asked, ends := 0, 0
	record := func(_ context.Context, _ fleet.Shard, m alert.Msg) error {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if _, end := m.(alert.RemedyUndone); end && answer == nil {
			ends++
		}
		return answer
	}
	relieve := func(context.Context, fleet.Shard, congestion.Relief) error { return nil }
	r := actors.NewRemedies(actors.RemediesOptions{Relieve: relieve, Record: record})
	shard := fleet.Shard{Tenant: "t", Warehouse: "w"}
	r.UndoOf(shard, "alert", alert.Remedy{ID: "full"})
	soon(t, "it is asked for once", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 0 })
	mu.Lock()
	answer = fact.ErrUnavailable
	mu.Unlock()
	for range 5 {
		r.UndoOf(shard, "alert", alert.Remedy{ID: "away"})
	}
	mu.Lock()
	answer = nil
	mu.Unlock()
	r.Stop(context.Background())
	if ends != 1 {
		t.Errorf("%d ends recorded, want one: of the remedy whose alert has room", ends)
	}
}
