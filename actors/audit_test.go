package actors

import (
	"context"
	"sync"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// witness is a journal that remembers which units carried which intent.
type witness struct {
	Journal
	mu    sync.Mutex
	units []fact.Unit
}

func (w *witness) Append(ctx context.Context, units []fact.Unit) []error {
	w.mu.Lock()
	w.units = append(w.units, units...)
	w.mu.Unlock()
	return w.Journal.Append(ctx, units)
}

type intentKey struct{}

// The unit that a call causes carries the call's intent; what follows from it, and what nobody asked for, carries none.
func TestAUnitCarriesTheIntentOfItsCall(t *testing.T) {
	t.Parallel()
	w := &witness{}
	b := newBed(t, func(o *Options) {
		w.Journal = o.Journal
		o.Journal = w
		o.Audit = func(ctx context.Context) *fact.AuditEntry {
			e, _ := ctx.Value(intentKey{}).(*fact.AuditEntry)
			return e
		}
	})
	g, closed := testGrid(t, 12, 1), true
	calls := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"activate", func(ctx context.Context) error { return b.ActivateMap(ctx, g, testShard, testBy, "") }},
		{"register", func(ctx context.Context) error {
			_, err := b.RegisterRobot(ctx, testRobot(0), 0, testBy, "", nil)
			return err
		}},
		{"create", func(ctx context.Context) error {
			_, err := b.CreateTask(ctx, testSpec(1), testBy, "", testIdem("k"))
			return err
		}},
		{"batch", func(ctx context.Context) error {
			return b.CreateTasks(ctx, testShard, []task.Spec{testSpec(2), testSpec(3)}, testBy, "", nil)
		}},
		{"lane", func(ctx context.Context) error {
			_, err := b.ChangeLane(ctx, testShard, dispatch.LaneRequested{Lane: g.Lanes[0].ID, Closed: &closed, By: testBy})
			return err
		}},
		{"command", func(ctx context.Context) error {
			c := robot.Command{ID: "c1", Robot: testRobot(0).ID, Kind: fleet.CommandPause, Vertex: fleet.NoVertex, At: b.now(), ExpiresAt: b.now().Add(1e9)}
			return b.CommandRobot(ctx, testShard, c, testBy, "", nil)
		}},
		{"cancel", func(ctx context.Context) error {
			_, err := b.CancelTask(ctx, testShard, testSpec(1).ID, "", testBy, "")
			return err
		}},
	}
	for _, c := range calls {
		intent := &fact.AuditEntry{Action: c.name}
		if err := c.do(context.WithValue(t.Context(), intentKey{}, intent)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		b.pass(t, 1e9)
		w.mu.Lock()
		var carried int
		for i, u := range w.units {
			if u.Audit == nil {
				continue
			}
			if carried++; u.Audit != intent || i != 0 {
				t.Errorf("%s: unit %d of %d carries %q", c.name, i, len(w.units), u.Audit.Action)
			}
		}
		if carried != 1 {
			t.Errorf("%s: %d of %d units carry its intent, want the first", c.name, carried, len(w.units))
		}
		w.units = nil
		w.mu.Unlock()
	}
	if _, err := b.CreateTask(t.Context(), testSpec(9), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	if w.units[0].Audit != nil {
		t.Error("a call without intent has one")
	}
}
