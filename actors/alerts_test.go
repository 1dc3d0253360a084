package actors

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

var testJam = alert.Condition{
	Subject: alert.Subject{Type: alert.SubjectZone, ID: "zone-1"}, Cause: alert.Congestion, Level: alert.L2, Message: "zone 1 jams",
}

// watch lets d pass, with a review of what is wrong each second.
func (b *bed) watch(tb testing.TB, d time.Duration, list ...alert.Condition) {
	tb.Helper()
	for range int(d / time.Second) {
		b.ReviewAlerts(testShard, alert.Review{Feed: alert.FeedCongestion, Conditions: list})
		b.pass(tb, time.Second)
	}
}

func (w *window) alertActions() (list []alert.Action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.alerts {
		list = append(list, e.Step.Action)
	}
	return list
}

// onlyAlert is the one alert on record.
func (m *memory) onlyAlert(tb testing.TB) alert.View {
	tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.alerts) != 1 {
		tb.Fatalf("%d alerts on record, want one", len(m.alerts))
	}
	for _, v := range m.alerts {
		return v
	}
	return alert.View{}
}

func TestAlertsAreRecordedThenTold(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.ReviewAlerts(testShard, alert.Review{Feed: alert.FeedCongestion, Conditions: []alert.Condition{testJam}}) // nobody's shard yet
	if err := b.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	b.watch(t, 15*time.Second, testJam)
	v := b.mem.onlyAlert(t)
	if v.Status != alert.Open || v.Level != alert.L2 || v.Version != 1 {
		t.Fatalf("recorded %+v", v.Alert)
	}
	b.mem.set(always(fmt.Errorf("commit: %w", fact.ErrUnavailable), false))
	if _, err := b.HandleAlert(t.Context(), testShard, v.ID, alert.Acknowledge{}, testBy, "", nil); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("acknowledge without a journal: %v", err)
	}
	b.mem.set(nil)
	got, err := b.HandleAlert(t.Context(), testShard, v.ID, alert.Acknowledge{Text: "mine"}, testBy, "", testIdem("ack"))
	if err != nil || got.Status != alert.Acknowledged || got.Version != 2 || got.AcknowledgedBy != testBy || len(got.Handling) != 2 {
		t.Fatalf("acknowledged: %+v, %v", got, err)
	}
	if list := b.win.alertActions(); !slices.Equal(list, []alert.Action{alert.ActOpen, alert.ActAcknowledge}) {
		t.Fatalf("told %v", list)
	}
	var c *fact.ConflictError
	if _, err := b.HandleAlert(t.Context(), testShard, v.ID, alert.Comment{Text: "x"}, testBy, "", testIdem("ack")); !errors.As(err, &c) || c.Key != "idempotency_key" {
		t.Fatalf("reused key: %v", err)
	}
	if _, err := b.HandleAlert(t.Context(), testShard, "no alert", alert.Acknowledge{}, testBy, "", nil); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("an unknown alert: %v", err)
	}
	if _, err := b.HandleAlert(t.Context(), testShard, v.ID, alert.Resolve{}, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.HandleAlert(t.Context(), testShard, v.ID, alert.Acknowledge{}, testBy, "", nil); !errors.As(err, &c) || c.Key != "state" {
		t.Fatalf("acknowledge what is resolved: %v", err)
	}
}

func TestAlertsWaitForTheJournalAndSeeTheNewestOnly(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if err := b.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	b.watch(t, 15*time.Second, testJam)
	b.mem.set(always(fact.ErrUnavailable, false))
	raised := testJam
	raised.Level = alert.L3
	b.watch(t, 400*time.Second, raised) // more reviews than a stash holds mail
	if v := b.mem.onlyAlert(t); v.Level != alert.L2 {
		t.Fatalf("recorded without a journal: %+v", v.Alert)
	}
	b.mem.set(nil)
	b.watch(t, 10*time.Second, raised)
	if v := b.mem.onlyAlert(t); v.Level != alert.L3 || v.Version < 2 {
		t.Fatalf("after the journal came back: %+v", v.Alert)
	}
	b.watch(t, 70*time.Second)
	if v := b.mem.onlyAlert(t); v.Status != alert.Resolved || v.Resolution != alert.Cleared {
		t.Fatalf("with nothing wrong: %+v", v.Alert)
	}
}

// Whoever handles an alert finds it so after a crash, and what was to be undone is asked for until it is.
func TestAlertsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if err := b.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	b.watch(t, 15*time.Second, testJam)
	id := b.mem.onlyAlert(t).ID
	if _, err := b.RecordRemedy(t.Context(), testShard, alert.RemedyApplied{
		Subject: testJam.Subject, Cause: alert.Congestion, Remedy: alert.Remedy{ID: "cap", Kind: "cap_admission"}, By: fleet.Actor{Part: "congestion"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.HandleAlert(t.Context(), testShard, id, alert.Assign{To: "u1"}, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.HandleAlert(t.Context(), testShard, id, alert.Rollback{Text: "worse"}, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	want := b.mem.onlyAlert(t)

	var mu sync.Mutex
	var asked []string
	next := newBed(t, func(o *Options) {
		o.Seed = 99
		o.Journal, o.Store = b.mem, b.mem // what is on record is all that there is
		o.UndoRemedy = func(shard fleet.Shard, a alert.ID, r alert.Remedy) {
			mu.Lock()
			defer mu.Unlock()
			if shard != testShard || a != id {
				t.Errorf("asked to undo %s of alert %s", r.ID, a)
			}
			asked = append(asked, r.ID)
		}
	})
	if err := next.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	next.quiesce(t)
	next.pass(t, 25*time.Second)
	if !slices.Equal(asked, []string{"cap", "cap", "cap"}) {
		t.Fatalf("asked to undo %v, want it again each 10 s", asked)
	}
	v, err := next.RecordRemedy(t.Context(), testShard, alert.RemedyUndone{Remedy: "cap", Reason: "undone"})
	if err != nil || v.ID != id || v.Version != want.Version+1 || v.Assignee != "" || v.Remedies[0].State != alert.Undone {
		t.Fatalf("in its next life it is %+v, %v", v.Alert, err)
	}
	if len(v.Handling) != len(want.Handling)+1 {
		t.Fatalf("%d steps of handling, want %d", len(v.Handling), len(want.Handling)+1)
	}
	next.pass(t, 30*time.Second)
	if len(asked) != 3 {
		t.Fatalf("what is undone was asked for again: %v", asked)
	}
	// Long after it has been forgotten it can still be handled.
	next.watch(t, 70*time.Second)
	next.watch(t, 400*time.Second)
	if v, err = next.HandleAlert(t.Context(), testShard, id, alert.SetMark{Mark: alert.False}, testBy, "", nil); err != nil || v.Mark != alert.False || v.Status != alert.Resolved {
		t.Fatalf("marked later: %+v, %v", v.Alert, err)
	}
}

// The ids of alerts are a tenant's: its warehouses must not come to the same ones.
func TestTwoShardsHaveAlertsOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	both := []fleet.Shard{testShard, {Tenant: testShard.Tenant, Warehouse: "w2"}}
	for _, shard := range both {
		if err := b.Open(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
	}
	for range 15 {
		for _, shard := range both {
			b.ReviewAlerts(shard, alert.Review{Feed: alert.FeedCongestion, Conditions: []alert.Condition{testJam}})
		}
		b.pass(t, time.Second)
	}
	b.mem.mu.Lock()
	defer b.mem.mu.Unlock()
	if len(b.mem.alerts) != 2 {
		t.Fatalf("%d alerts on record, want one of each warehouse", len(b.mem.alerts))
	}
}

func TestRemediesThatEndedWithTheirProcessAreUndone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if err := b.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	b.watch(t, 15*time.Second, testJam)
	for _, id := range []string{"held", "one", "two"} {
		m := alert.RemedyApplied{Subject: testJam.Subject, Cause: alert.Congestion, Remedy: alert.Remedy{ID: id, Kind: "hold_tasks"}}
		if _, err := b.RecordRemedy(t.Context(), testShard, m); err != nil {
			t.Fatal(err)
		}
	}
	next := newBed(t, func(o *Options) {
		o.Journal, o.Store = b.mem, b.mem
		o.HoldsRemedy = func(shard fleet.Shard, remedy string) bool { return shard == testShard && remedy == "held" }
	})
	if err := next.Open(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	next.quiesce(t)
	next.pass(t, time.Second)
	for _, r := range b.mem.onlyAlert(t).Remedies {
		if want := r.ID != "held"; (r.State == alert.Undone) != want {
			t.Errorf("remedy %s is %s", r.ID, r.State)
		}
	}
}
