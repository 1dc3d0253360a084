package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// Alerts is what a store of facts does for alerts.
type Alerts interface {
	LoadAlerts(ctx context.Context, shard fleet.Shard) (fact.AlertRecord, error)
	LoadAlert(ctx context.Context, shard fleet.Shard, id alert.ID) (alert.View, error)
}

// incidents is a core whose events go to the store, unit by unit.
type incidents struct {
	b     *bench
	s     *alert.State
	views map[alert.ID]alert.View
	undo  []string
	kept  []fact.Unit
}

func (b *bench) incidents(seed uint64) *incidents {
	b.now = time.Now().UTC().Truncate(time.Millisecond) // stores load what was resolved lately
	return &incidents{b: b, s: alert.New(seed), views: map[alert.ID]alert.View{}}
}

func (c *incidents) unit(effects []alert.Effect) fact.Unit {
	u := c.b.unit()
	for _, f := range effects {
		switch f := f.(type) {
		case alert.Record:
			e := f.Event
			u.Facts = append(u.Facts, fact.Fact{
				ID: newID[fleet.EventID](), At: c.b.now, By: f.By, Trace: f.Trace, Subject: string(e.After.ID), Version: e.After.Version, Event: e,
			})
		case alert.UndoRemedy:
			c.undo = append(c.undo, f.Remedy.ID)
		case alert.Reply, alert.WakeAt:
		}
	}
	return u
}

func (c *incidents) say(m alert.Msg) {
	c.b.t.Helper()
	u := c.unit(c.s.Decide(c.b.now, m, nil))
	if len(u.Facts) == 0 {
		return
	}
	c.b.mustRecord(u)
	c.kept = append(c.kept, u)
	for i := range u.Facts {
		e, _ := u.Facts[i].Event.(alert.Event)
		c.s.Apply(e)
		c.views[e.After.ID], _ = c.s.Get(e.After.ID)
	}
}

// compare holds what the store gives to what the core has recorded.
func (c *incidents) compare() {
	c.b.t.Helper()
	loaded := map[alert.ID]alert.View{}
	rec, err := c.b.alerts().LoadAlerts(c.b.t.Context(), c.b.shard)
	if err != nil {
		c.b.t.Fatal(err)
	}
	for _, v := range rec.Alerts {
		loaded[v.ID] = v
	}
	for _, id := range slices.Sorted(maps.Keys(c.views)) {
		want := c.views[id]
		got, err := c.b.alerts().LoadAlert(c.b.t.Context(), c.b.shard, id)
		if err != nil {
			c.b.t.Fatal(err)
		}
		equal(c.b.t, "alert "+string(id), got, want)
		if v, ok := loaded[id]; ok {
			equal(c.b.t, "alert as loaded with the others", v, want)
		} else if want.Status != alert.Resolved || want.Unsettled() {
			c.b.t.Fatalf("open alert %s was not loaded", id)
		}
	}
}

func (b *bench) alerts() Alerts {
	a, ok := b.Facts.(Alerts)
	if !ok {
		b.t.Fatalf("%T keeps no alerts", b.Facts)
	}
	return a
}

func incidentPerson() fleet.Actor { return fleet.Actor{User: "00000000-0000-4000-8000-0000000000aa"} }

func (c *incidents) random(rng *rand.Rand) {
	c.b.now = c.b.now.Add(time.Duration(rng.IntN(20_000)) * time.Millisecond)
	ids := slices.Sorted(maps.Keys(c.views))
	if len(ids) == 0 || rng.IntN(2) == 0 {
		var list []alert.Condition
		for i := range 4 {
			list = append(list, alert.Condition{
				Subject: alert.Subject{Type: alert.SubjectZone, ID: fmt.Sprintf("z%d", i)}, Cause: alert.Congestion, Level: alert.Level(rng.IntN(4)),
				Message: "zone jäms", Details: json.RawMessage(`{"index": 0.5, "queue":3}`),
			})
		}
		c.say(alert.Reviewed{Reviews: []alert.Review{{Feed: alert.FeedCongestion, Conditions: list}}})
		return
	}
	id := ids[rng.IntN(len(ids))]
	switch rng.IntN(10) {
	case 0:
		c.say(alert.RemedyApplied{Alert: id, Remedy: alert.Remedy{
			ID: newID[string](), Kind: "cap_admission", Subject: alert.Subject{Type: alert.SubjectZone, ID: "z1"}, Label: "admit 8", Reason: "queue of 9",
			Expected: "-20 %", Automatic: true,
		}, By: fleet.Actor{Part: "congestion"}})
	case 1:
		for _, r := range c.undo {
			c.say(alert.RemedyUndone{Remedy: r, Reason: "rolled back", By: fleet.Actor{Part: "congestion"}})
		}
		c.undo = nil
	case 2:
		c.say(alert.MissReported{Subject: alert.Subject{Type: alert.SubjectLane, ID: "l1"}, Cause: alert.Congestion, Level: alert.L2, From: c.b.now, To: c.b.now, Text: "jam", By: incidentPerson()})
	case 3:
		c.say(alert.Woke{})
	default:
		commands := []alert.Command{
			alert.Acknowledge{Text: "mine"},
			alert.Assign{To: incidentPerson().User},
			alert.Comment{Text: "wheel \"3\" is stuck"},
			alert.Snooze{Until: c.b.now.Add(time.Minute)},
			alert.Resolve{},
			alert.Rollback{Text: "no"},
			alert.SetMark{Mark: alert.False, Text: "a drill"},
		}
		c.say(alert.Commanded{Alert: id, Command: commands[rng.IntN(len(commands))], By: incidentPerson(), Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	}
}

func alertComesBack(t *testing.T, b *bench) {
	for seed := range uint64(6) {
		b.shard = b.Shard(t)
		rng, c := rand.New(rand.NewPCG(seed, 3)), b.incidents(seed)
		for range 60 {
			c.random(rng)
		}
		if len(c.views) < 3 {
			t.Fatalf("seed %d made %d alerts", seed, len(c.views))
		}
		c.compare()
		// A new life goes on where the old one ended.
		rec, err := b.alerts().LoadAlerts(t.Context(), b.shard)
		if err != nil {
			t.Fatal(err)
		}
		c.s = alert.New(seed + 100)
		c.s.Restore(rec.Alerts)
		c.undo = nil
		for range 30 {
			c.random(rng)
		}
		c.compare()
	}
}

func alertConflicts(t *testing.T, b *bench) {
	c := b.incidents(7)
	condition := alert.Condition{Subject: alert.Subject{Type: alert.SubjectRobot, ID: "r"}, Cause: alert.RobotLost, Level: alert.L2, Message: "lost"}
	for range 3 {
		b.now = b.now.Add(10 * time.Second)
		c.say(alert.Reviewed{Reviews: []alert.Review{{Feed: alert.FeedRobots, Conditions: []alert.Condition{condition}}}})
	}
	if len(c.kept) != 1 {
		t.Fatalf("%d units, want one that opens the alert", len(c.kept))
	}
	open, _ := c.kept[0].Facts[0].Event.(alert.Event)
	id := open.After.ID
	stale := c.unit(c.s.Decide(b.now, alert.Commanded{Alert: id, Command: alert.Acknowledge{}, By: incidentPerson()}, nil))
	c.say(alert.Commanded{Alert: id, Command: alert.Comment{Text: "x"}, By: incidentPerson()})
	for range 2 {
		b.mustRecord(c.kept...) // sent again
	}
	c.compare()
	if c := conflict(t, b.record(stale)[0], "version"); c.Existing != string(id) {
		t.Fatalf("conflicts with %s, want %s", c.Existing, id)
	}
	c.compare()

	twin := open
	twin.After.ID = newID[alert.ID]()
	u := b.unit(b.fact(string(twin.After.ID), 1, twin))
	if err := b.record(u)[0]; !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("a second open alert of the same subject and cause: %v", err)
	}
	other := b.Shard(t)
	if rec, err := b.alerts().LoadAlerts(t.Context(), other); err != nil || len(rec.Alerts) != 0 {
		t.Fatalf("another tenant has %d alerts, %v", len(rec.Alerts), err)
	}
	if _, err := b.alerts().LoadAlert(t.Context(), other, id); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("another tenant's alert: %v", err)
	}
	if _, err := b.alerts().LoadAlert(t.Context(), b.shard, newID[alert.ID]()); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("no alert: %v", err)
	}
}
