package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

func (h *house) ListAlerts(_ context.Context, tenant fleet.TenantID, f fact.AlertFilter, p fact.Page) (fact.List[fact.Alert], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := page(pick(h.alerts, func(a *fact.Alert) bool {
		return a.Shard.Tenant == tenant && cmp.Or(f.Warehouse, a.Shard.Warehouse) == a.Shard.Warehouse && cmp.Or(f.Status, a.Status.String()) == a.Status.String() &&
			(!f.Open || a.Status != alert.Resolved) && a.Level >= f.MinLevel && cmp.Or(f.Level, a.Level) == a.Level && cmp.Or(f.Cause, a.Cause) == a.Cause &&
			cmp.Or(f.Subject.Type, a.Subject.Type) == a.Subject.Type && cmp.Or(f.Subject.ID, a.Subject.ID) == a.Subject.ID && cmp.Or(f.Assignee, a.Assignee) == a.Assignee &&
			!a.OpenedAt.Before(f.From) && (f.To.IsZero() || a.OpenedAt.Before(f.To))
	}), p)
	l.Items = slices.Clone(l.Items)
	for i := range l.Items {
		l.Items[i].Handling = nil
	}
	return l, err
}

func (h *house) GetAlert(_ context.Context, tenant fleet.TenantID, id alert.ID) (fact.Alert, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, err := find(h.alerts, func(a *fact.Alert) bool { return a.Shard.Tenant == tenant && sameID(a.ID, id) })
	if err != nil {
		return fact.Alert{}, err
	}
	c := *a
	c.Handling = slices.Clone(a.Handling)
	return c, nil
}

// HandleAlert does as the core does, as far as the door can tell.
func (h *house) HandleAlert(_ context.Context, shard fleet.Shard, id alert.ID, c alert.Command, by fleet.Actor, _ fleet.Trace, i *fact.Idempotency) (alert.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, err := find(h.alerts, func(a *fact.Alert) bool { return a.Shard == shard && a.ID == id })
	if err != nil {
		return alert.View{}, err
	}
	if err := h.keep(shard.Tenant, i); err != nil {
		return alert.View{}, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	s := alert.Handling{By: by, At: now}
	closed := a.Status == alert.Resolved
	conflict := &fact.ConflictError{Key: "state", Existing: string(id)}
	switch c := c.(type) {
	case alert.Acknowledge:
		if closed {
			return alert.View{}, conflict
		}
		s.Action, s.Details.Text, a.Status, a.AcknowledgedAt, a.AcknowledgedBy = alert.ActAcknowledge, c.Text, alert.Acknowledged, now, by
	case alert.Assign:
		s.Action, s.Details.Assignee, a.Assignee = alert.ActAssign, c.To, c.To
	case alert.Comment:
		s.Action, s.Details.Text = alert.ActComment, c.Text
	case alert.Snooze:
		s.Action, s.Details.Until, a.SnoozedUntil = alert.ActSnooze, c.Until, c.Until
	case alert.Resolve:
		s.Action, a.Status, a.ResolvedAt, a.Resolution = alert.ActResolve, alert.Resolved, now, alert.ByPerson
	case alert.Rollback:
		if a.Status == alert.Open {
			return alert.View{}, conflict
		}
		s.Action, s.Details.TakenBack, a.Status = alert.ActRollback, []string{"acknowledgement"}, alert.Open
	case alert.SetMark:
		s.Action, s.Details.Mark, a.Mark = alert.ActMark, c.Mark, c.Mark
	}
	a.Version++
	s.Seq, a.UpdatedAt = a.Version, now
	a.Handling = append(a.Handling, s)
	return a.View, nil
}

// ReportMissedAlert records it as the core does.
func (h *house) ReportMissedAlert(_ context.Context, shard fleet.Shard, m alert.MissReported, i *fact.Idempotency) (alert.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(shard.Tenant, i); err != nil {
		return alert.View{}, err
	}
	a := &fact.Alert{Shard: shard, View: *missed(&m, time.Now())}
	h.alerts = append(h.alerts, a)
	return a.View, nil
}

// HookStates and the rest are a small house of webhooks.
func (h *house) HookStates(context.Context, fleet.TenantID) ([]fact.HookState, error) {
	return []fact.HookState{{Hook: "ops", Since: time.Unix(1, 0), Failures: 2}}, nil
}

func (h *house) EnableHook(context.Context, fleet.TenantID, string) error { return nil }

func (h *house) TestHook(_ context.Context, tenant fleet.TenantID, hook string) (fact.Delivery, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := &fact.Delivery{Tenant: tenant, ID: newID(), Hook: hook, Event: "test", Body: []byte(`{"type":"test"}`), State: fact.DeliveryPending, CreatedAt: time.Now(), Next: time.Now()}
	h.deliveries = append(h.deliveries, d)
	return *d, nil
}

func (h *house) ListDeliveries(_ context.Context, tenant fleet.TenantID, f fact.DeliveryFilter, p fact.Page) (fact.List[fact.Delivery], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.deliveries, func(d *fact.Delivery) bool {
		return d.Tenant == tenant && cmp.Or(f.Hook, d.Hook) == d.Hook && cmp.Or(f.State, d.State) == d.State
	}), p)
}

func (h *house) GetDelivery(_ context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := find(h.deliveries, func(d *fact.Delivery) bool { return d.Tenant == tenant && sameID(d.ID, id) })
	if err != nil {
		return fact.Delivery{}, err
	}
	return *d, nil
}

func (h *house) RetryDelivery(ctx context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error) {
	d, err := h.GetDelivery(ctx, tenant, id)
	if err == nil && d.State != fact.DeliveryDead {
		err = &fact.ConflictError{Key: "state", Existing: id}
	}
	return d, err
}

// alarm puts an alert into the house.
func (g *rig) alarm(id string, level alert.Level, status alert.Status) *fact.Alert {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := &fact.Alert{Shard: fleet.Shard{Tenant: ours, Warehouse: fleet.WarehouseID(g.warehouse)}, View: alert.View{Alert: alert.Alert{
		ID: alert.ID(id), Version: 1, Subject: alert.Subject{Type: alert.SubjectZone, ID: nobody}, Cause: alert.Congestion, Level: level, Peak: alert.L3, Status: status,
		Message: "zone A1 jams", Details: json.RawMessage(`{"index":0.7}`), Count: 1, OpenedAt: at, SeenAt: at, UpdatedAt: at,
	}, Handling: []alert.Handling{{Seq: 1, Action: alert.ActOpen, By: fleet.Actor{Part: "rules"}, At: at, Details: alert.Details{To: level}}}}}
	g.house.alerts = append(g.house.alerts, a)
	return a
}

const jam, calm = "7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e6679-7425-40de-944b-e07fc1f90ae8"

func TestAlertsAreListedAsTheContractSays(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	g.alarm(jam, alert.L2, alert.Open)
	g.alarm(calm, alert.L1, alert.Resolved).ResolvedAt = time.Now()
	viewer := g.token(auth.Viewer)
	for query, want := range map[string][]string{
		"": {jam, calm}, "?status=OPEN": {jam}, "?status=RESOLVED": {calm}, "?unresolved=true": {jam}, "?level=L1": {calm}, "?min_level=L2": {jam}, "?level=L3": {},
		"?cause=congestion&subject_type=zone&subject_id=" + nobody: {jam, calm}, "?subject_type=lane": {}, "?warehouse_id=" + nobody: {},
		"?from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:01Z": {jam, calm}, "?to=2026-03-01T12:00:00Z": {}, "?limit=1": {jam},
	} {
		list := g.get("/api/v1/alerts"+query, viewer).want(200).object()
		got := []string{}
		for _, x := range list["items"].([]any) {
			got = append(got, x.(map[string]any)["alert_id"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		if (list["next_cursor"] != nil) != (query == "?limit=1") {
			t.Errorf("%s: next_cursor %v", query, list["next_cursor"])
		}
	}
	for _, query := range []string{"?status=open", "?level=4", "?cause=x", "?subject_type=x", "?assignee=x", "?from=x", "?warehouse_id=x", "?colour=red", "?cursor=x"} {
		g.get("/api/v1/alerts"+query, viewer).fails(422, codeInvalid)
	}
	one := g.get("/api/v1/alerts/"+jam, viewer).want(200).object()
	handling := one["handling"].([]any)
	for name, want := range map[string]any{
		"alert_id": jam, "warehouse_id": g.warehouse, "level": "L2", "status": "OPEN", "cause": "congestion", "message": "zone A1 jams", "count": 1.0,
		"opened_at": "2026-03-01T12:00:00.000Z", "acknowledged_at": nil, "resolved_at": nil, "peak": "L3", "assignee": nil,
	} {
		if got, ok := one[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if s := one["subject"].(map[string]any); s["type"] != "zone" || s["id"] != nobody {
		t.Errorf("subject %v", s)
	}
	if h := handling[0].(map[string]any); len(handling) != 1 || h["action"] != "open" || h["actor"] != "rules" || h["at"] != "2026-03-01T12:00:00.000Z" || h["details"].(map[string]any)["to_level"] != "L2" {
		t.Errorf("handling %v", handling)
	}
	g.get("/api/v1/alerts/"+nobody, viewer).fails(404, codeNotFound)
	g.get("/api/v1/alerts/"+jam, g.grant(auth.Grant{Role: auth.Admin, Tenant: theirs})).fails(404, codeNotFound)
}

func TestAlertsAreHandledByPeople(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	g.alarm(jam, alert.L2, alert.Open)
	operator, at := g.token(auth.Operator), "/api/v1/alerts/"+jam
	me := g.post(at+"/acknowledge", operator, "").want(200).object()["acknowledged_by"]
	if me == nil {
		t.Error("nobody has acknowledged")
	}
	if a := g.post(at+"/assign", operator, `{"assignee":"me","text":"mine"}`).want(200).object(); a["assignee"] != me || a["status"] != "ACKNOWLEDGED" {
		t.Errorf("assigned to %v, not to %v", a["assignee"], me)
	}
	if a := g.post(at+"/assign", operator, `{"assignee":null}`).want(200).object(); a["assignee"] != nil {
		t.Errorf("assigned to %v", a["assignee"])
	}
	until := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	if a := g.post(at+"/snooze", operator, `{"until":"`+until+`"}`).want(200).object(); a["snoozed_until"] != until {
		t.Errorf("snoozed until %v", a["snoozed_until"])
	}
	if a := g.post(at+"/snooze", operator, `{}`).want(200).object(); a["snoozed_until"] != nil {
		t.Errorf("snoozed until %v", a["snoozed_until"])
	}
	for _, bad := range []string{`{"until":"2020-01-01T00:00:00Z"}`, `{"until":"2999-01-01T00:00:00Z"}`} {
		g.post(at+"/snooze", operator, bad).faulty("body.until")
	}
	if a := g.post(at+"/mark", operator, `{"mark":"false","text":"nothing there"}`).want(200).object(); a["mark"] != "false" {
		t.Errorf("marked %v", a["mark"])
	}
	if a := g.post(at+"/rollback", operator, `{"text":"too early"}`).want(200).object(); a["status"] != "OPEN" {
		t.Errorf("rolled back to %v", a["status"])
	}
	g.post(at+"/rollback", operator, "").fails(409, codeConflict)
	if a := g.post(at+"/resolve", operator, "").want(200).object(); a["status"] != "RESOLVED" || a["resolution"] != "person" {
		t.Errorf("resolved: %v", a)
	}
	g.post(at+"/acknowledge", operator, "").fails(409, codeConflict)
	g.post(at+"/mark", operator, `{"mark":"good"}`).faulty("body.mark")
	g.post(at+"/assign", operator, `{"assignee":"bob"}`).faulty("body.assignee")
	g.post(at+"/comments", operator, `{}`).faulty("body.text")
	g.post("/api/v1/alerts/"+nobody+"/acknowledge", operator, "").fails(404, codeNotFound)
	g.post(at+"/acknowledge", g.token(auth.Viewer), "").fails(403, codeForbidden)
	g.post(at+"/acknowledge", g.grant(auth.Grant{Role: auth.Operator, Tenant: theirs}), "").fails(404, codeNotFound)
	var actions []string
	for _, h := range g.get(at, operator).want(200).object()["handling"].([]any) {
		actions = append(actions, h.(map[string]any)["action"].(string))
	}
	if want := []string{"open", "acknowledge", "assign", "assign", "snooze", "snooze", "mark", "rollback", "resolve"}; !slices.Equal(actions, want) {
		t.Errorf("recorded %v, want %v", actions, want)
	}
}

func TestACommentIsMadeOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	a := g.alarm(jam, alert.L2, alert.Open)
	operator, at := g.token(auth.Operator), "/api/v1/alerts/"+jam+"/comments"
	first := g.post(at, operator, `{"text":"a pallet lies in the aisle"}`, "Idempotency-Key", "k").want(201)
	if l := first.header.Get("Location"); l != "/api/v1/alerts/"+jam {
		t.Errorf("Location %q", l)
	}
	handling := first.object()["handling"].([]any)
	if h := handling[len(handling)-1].(map[string]any); h["action"] != "comment" || h["details"].(map[string]any)["text"] != "a pallet lies in the aisle" || h["seq"] != 2.0 {
		t.Errorf("answered %v", h)
	}
	again := g.post(at, operator, `{"text":"a pallet lies in the aisle"}`, "Idempotency-Key", "k").want(201)
	if string(again.body) != string(first.body) || again.header.Get("Idempotent-Replayed") != "true" || a.Version != 2 {
		t.Errorf("the second time: version %d, %s", a.Version, again.body)
	}
	g.post(at, operator, `{"text":"another"}`, "Idempotency-Key", "k").fails(409, codeConflict)
	g.post(at, operator, `{"text":"another"}`).want(201)
	if a.Version != 3 {
		t.Errorf("version %d", a.Version)
	}
}

func TestAMissingAlertIsReported(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	operator := g.token(auth.Operator)
	body := func(warehouse, from, to string) string {
		return `{"warehouse_id":"` + warehouse + `","subject":{"type":"zone","id":"` + nobody + `"},"cause":"congestion","level":"L2","from":"` + from + `","to":"` + to + `","text":"it stood for ten minutes"}`
	}
	good := body(g.warehouse, "2026-03-01T12:00:00Z", "2026-03-01T12:10:00Z")
	first := g.post("/api/v1/alerts", operator, good, "Idempotency-Key", "k").want(201)
	at := first.header.Get("Location")
	if again := g.post("/api/v1/alerts", operator, good, "Idempotency-Key", "k").want(201); string(again.body) != string(first.body) || len(g.house.alerts) != 1 {
		t.Errorf("reported %d times", len(g.house.alerts))
	}
	if a := g.get(at, operator).want(200).object(); a["mark"] != "missed" || a["status"] != "RESOLVED" || a["resolution"] != "reported" || a["opened_at"] != "2026-03-01T12:00:00.000Z" || a["resolved_at"] != "2026-03-01T12:10:00.000Z" {
		t.Errorf("recorded as %v", a)
	}
	g.post("/api/v1/alerts", operator, body(nobody, "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z")).faulty("body.to", "body.warehouse_id")
	g.post("/api/v1/alerts", operator, body(g.warehouse, "2026-03-01T12:00:00Z", "2999-03-01T12:00:00Z")).faulty("body.to")
	g.post("/api/v1/alerts", g.token(auth.Viewer), good).fails(403, codeForbidden)
}
