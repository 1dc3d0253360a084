//go:build integration

package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

func TestStepsAreToldToEachWebhookOnce(t *testing.T) {
	t.Parallel()
	s, _ := freshAt(t)
	shard, foreign := newShard(t, s), newShard(t, s)
	ctx, tenant, hooks := t.Context(), shard.Tenant, s.Hooks
	open := func(shard fleet.Shard, change func(a *alert.Alert)) alert.ID {
		id, u := incident(shard, time.Now().UTC().Truncate(time.Millisecond), change)
		mustAppend(t, s, u)
		return id
	}
	open(shard, func(*alert.Alert) {}) // before anybody was to be told
	all := fact.NewWebhook("all", "https://a.example/", "0123456789abcdef")
	bad := fact.NewWebhook("bad", "https://b.example/", "0123456789abcdef")
	bad.MinLevel, bad.Topics = 3, []fact.Topic{fact.TopicAlert}
	for range 2 { // to note them twice is to note them once
		if err := hooks.NoteHooks(ctx, tenant, []fact.Webhook{all, bad}); err != nil {
			t.Fatal(err)
		}
	}
	open(foreign, func(*alert.Alert) {})
	jam := open(shard, func(*alert.Alert) {})
	lost := open(shard, func(a *alert.Alert) {
		a.Cause, a.Subject, a.Level, a.Peak = alert.RobotLost, alert.Subject{Type: alert.SubjectRobot, ID: "r1"}, alert.L3, alert.L3
	})
	untold := func(w fact.Webhook) (out []alert.ID, steps []fact.Untold) {
		t.Helper()
		steps, err := hooks.UntoldSteps(ctx, tenant, w, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range steps {
			out = append(out, alert.ID(x.Alert))
		}
		return out, steps
	}
	got, steps := untold(all)
	if !slices.Equal(got, []alert.ID{jam, lost}) || steps[0].Seq != 1 {
		t.Fatalf("to be told: %v, want %v", got, []alert.ID{jam, lost})
	}
	if got, _ := untold(bad); !slices.Equal(got, []alert.ID{lost}) {
		t.Errorf("to be told of the worst alone: %v", got)
	}
	d := fact.Delivery{Tenant: tenant, ID: newID[string](), Hook: "all", Alert: string(jam), Event: "alert.open", Body: []byte(`{"id":"x"}`)}
	for i := range 2 {
		again := d
		if i == 1 {
			again.ID = newID[string]() // another process has looked at the same time
		}
		if made, err := hooks.AddDelivery(ctx, &again, steps[0].Handling); err != nil || made != (i == 0) {
			t.Fatalf("kept %t, %v", made, err)
		}
	}
	if got, _ := untold(all); !slices.Equal(got, []alert.ID{lost}) {
		t.Errorf("still to be told: %v", got)
	}
	if due, err := hooks.DueDeliveries(ctx, tenant, 10); err != nil || len(due) != 1 || due[0].ID != d.ID {
		t.Errorf("due: %v, %v", due, err)
	}
	if one, err := hooks.GetDelivery(ctx, tenant, d.ID); err != nil || string(one.Body) != `{"id":"x"}` || one.State != fact.DeliveryPending {
		t.Errorf("kept as %+v, %v", one, err)
	}
	if _, err := hooks.GetDelivery(ctx, foreign.Tenant, d.ID); !errors.Is(err, fact.ErrNotFound) {
		t.Errorf("another tenant reads it: %v", err)
	}
	// A look that has seen all passes over what is old, and not over what was committed a little late.
	if err := hooks.HookLooked(ctx, tenant, "all", time.Now().Add(5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got, _ := untold(all); len(got) != 1 {
		t.Errorf("passed over: %v", got)
	}
	if err := hooks.HookLooked(ctx, tenant, "all", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, _ := untold(all); len(got) != 0 {
		t.Errorf("looked for again: %v", got)
	}
	if tenants, err := hooks.HookedTenants(ctx, 10); err != nil || len(tenants) != 0 {
		t.Errorf("tenants with webhooks: %v, %v", tenants, err)
	}
	if _, err := s.Tenants.PatchSettings(ctx, tenant, []byte(`{"webhooks":{"all":{}}}`), -1); err != nil {
		t.Fatal(err)
	}
	if tenants, err := hooks.HookedTenants(ctx, 10); err != nil || !slices.Equal(tenants, []fleet.TenantID{tenant}) {
		t.Errorf("tenants with webhooks: %v, %v", tenants, err)
	}
}

func TestWhatBecameOfDeliveriesIsOnRecord(t *testing.T) {
	t.Parallel()
	s, _ := freshAt(t)
	ctx, tenant, hooks := t.Context(), newShard(t, s).Tenant, s.Hooks
	w := fact.NewWebhook("w", "https://a.example/", "0123456789abcdef")
	if err := hooks.NoteHooks(ctx, tenant, []fact.Webhook{w}); err != nil {
		t.Fatal(err)
	}
	add := func() string {
		t.Helper()
		d := fact.Delivery{Tenant: tenant, ID: newID[string](), Hook: "w", Event: "test", Body: []byte(`{}`)}
		if _, err := hooks.AddDelivery(ctx, &d, ""); err != nil {
			t.Fatal(err)
		}
		return d.ID
	}
	tried := func(id string, x fact.Tried) {
		t.Helper()
		x.Delivery, x.Hook = id, "w"
		if err := hooks.Tried(ctx, tenant, x); err != nil {
			t.Fatal(err)
		}
	}
	look := func(id string) string {
		t.Helper()
		d, err := hooks.GetDelivery(ctx, tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %d %d %s %t", d.State, d.Attempts, d.Status, d.Cause, d.DoneAt.IsZero())
	}
	state := func() fact.HookState {
		t.Helper()
		all, err := hooks.HookStates(ctx, tenant)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	first := add()
	tried(first, fact.Tried{State: fact.DeliveryPending, Status: 500, Cause: "status 500", Again: time.Hour})
	if got := look(first); got != "pending 1 500 status 500 true" {
		t.Errorf("after a try: %s", got)
	}
	if due, err := hooks.DueDeliveries(ctx, tenant, 10); err != nil || len(due) != 0 {
		t.Errorf("due at once: %v, %v", due, err)
	}
	tried(first, fact.Tried{State: fact.DeliverySent, Status: 204})
	tried(first, fact.Tried{State: fact.DeliveryDead}) // a try that was slow: what is done stays
	if got := look(first); got != "sent 2 204  false" || state().LastSentAt.IsZero() || state().Failures != 0 {
		t.Errorf("sent: %s, %+v", got, state())
	}
	if _, err := hooks.RetryDelivery(ctx, tenant, first); !errors.As(err, new(*fact.ConflictError)) {
		t.Errorf("one that was sent is sent again: %v", err)
	}
	var last string
	for range 20 {
		last = add()
		if !state().DisabledAt.IsZero() {
			t.Fatal("disabled too early")
		}
		tried(last, fact.Tried{State: fact.DeliveryDead, Cause: "refused"})
	}
	if x := state(); x.DisabledAt.IsZero() || x.Failures != 20 {
		t.Errorf("after twenty failures: %+v", x)
	}
	if err := hooks.EnableHook(ctx, tenant, "w"); err != nil || !state().DisabledAt.IsZero() || state().Failures != 0 {
		t.Errorf("enabled: %+v, %v", state(), err)
	}
	if d, err := hooks.RetryDelivery(ctx, tenant, last); err != nil || d.State != fact.DeliveryPending || d.Attempts != 0 {
		t.Errorf("again: %+v, %v", d, err)
	}
	tried(last, fact.Tried{State: fact.DeliveryDead, Status: 410, Gone: true})
	if state().DisabledAt.IsZero() {
		t.Error("one that wants no more is not disabled")
	}
	w.URL = "https://other.example/"
	if err := hooks.NoteHooks(ctx, tenant, []fact.Webhook{w}); err != nil || !state().DisabledAt.IsZero() {
		t.Errorf("another receiver begins disabled: %+v, %v", state(), err)
	}
	dropped := add()
	if err := hooks.DropDelivery(ctx, tenant, dropped, "off"); err != nil || look(dropped) != "dropped 0 0 off false" {
		t.Errorf("dropped: %s, %v", look(dropped), err)
	}
	// Pages, the newest first.
	var seen []string
	for p := (fact.Page{Limit: 10}); ; {
		l, err := hooks.ListDeliveries(ctx, tenant, fact.DeliveryFilter{Hook: "w"}, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range l.Items {
			seen = append(seen, d.ID)
		}
		if p.Cursor = l.Next; l.Next == "" {
			break
		}
	}
	if len(seen) != 22 || seen[0] != dropped || seen[21] != first {
		t.Errorf("%d are listed", len(seen))
	}
	if l, err := hooks.ListDeliveries(ctx, tenant, fact.DeliveryFilter{State: fact.DeliverySent}, fact.Page{Limit: 10}); err != nil || len(l.Items) != 1 {
		t.Errorf("sent ones: %v, %v", l.Items, err)
	}
	if n, err := hooks.ForgetDeliveries(ctx, tenant, time.Hour, 100); n != 0 || err != nil {
		t.Errorf("forgotten too early: %d, %v", n, err)
	}
	if n, err := hooks.ForgetDeliveries(ctx, tenant, -time.Hour, 100); n != 22 || err != nil {
		t.Errorf("forgotten: %d, %v", n, err)
	}
}
