package rest

import (
	"cmp"
	"context"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

func (h *house) ListDeadLetters(_ context.Context, tenant fleet.TenantID, f fact.LetterFilter, p fact.Page) (fact.List[fact.DeadLetter], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.letters[tenant], func(l *fact.DeadLetter) bool {
		return cmp.Or(f.Topic, l.Topic) == l.Topic && cmp.Or(f.State, l.State) == l.State
	}), p)
}

func (h *house) GetDeadLetter(_ context.Context, tenant fleet.TenantID, id fleet.EventID) (fact.DeadLetter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.letters[tenant] {
		if l.ID == id {
			return *l, nil
		}
	}
	return fact.DeadLetter{}, fact.ErrNotFound
}

func (h *house) AskDeadLetter(_ context.Context, tenant fleet.TenantID, id fleet.EventID, to fact.LetterState, by fleet.UserID) (fact.DeadLetter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.letters[tenant] {
		if l.ID != id {
			continue
		}
		if l.State != fact.LetterOpen && l.State != to {
			return fact.DeadLetter{}, &fact.ConflictError{Key: "state", Existing: string(id)}
		}
		l.State, l.HandledAt, l.HandledBy = to, time.Now(), by
		return *l, nil
	}
	return fact.DeadLetter{}, fact.ErrNotFound
}

func TestDeadLettersAreShownAndDecided(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	const id, other = "7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e6679-7425-40de-944b-e07fc1f90ae8"
	payload, err := (&eventsv1.Envelope{EventId: id, Type: "task.started"}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g.house.letters = map[fleet.TenantID][]*fact.DeadLetter{ours: {
		{ID: id, Topic: "task.events", Key: other, AggregateType: "task", AggregateID: other, Type: "task.started", Cause: "too large", Attempts: 8, Deaths: 1, At: at, DeadAt: at, State: fact.LetterOpen, Waiting: 3, Payload: payload},
		{ID: other, Topic: "robot.events", AggregateType: "robot", AggregateID: id, Cause: "unreadable", At: at, DeadAt: at, State: fact.LetterRetried, HandledAt: at, HandledBy: id, Payload: []byte("\xff")},
	}}
	admin := g.grant(auth.Grant{Role: auth.Admin, Tenant: ours})
	list := g.get("/api/v1/dead-letters?state=open", admin).want(200).object()
	items := list["items"].([]any)
	if len(items) != 1 || items[0].(map[string]any)["cause"] != "too large" || items[0].(map[string]any)["waiting"] != 3.0 {
		t.Errorf("list %v", list)
	}
	g.get("/api/v1/dead-letters?state=lost", admin).want(422)
	if one := g.get("/api/v1/dead-letters/"+id, admin).want(200).object(); one["event"].(map[string]any)["type"] != "task.started" {
		t.Errorf("letter %v", one)
	}
	if one := g.get("/api/v1/dead-letters/"+other, admin).want(200).object(); len(one["event"].(map[string]any)) != 0 || one["handled_by"] != id {
		t.Errorf("letter %v", one)
	}
	for range 2 { // to ask twice is to ask once
		if r := g.post("/api/v1/dead-letters/"+id+"/retry", admin, "").want(202).object(); r["state"] != "retrying" || r["handled_at"] == nil {
			t.Errorf("retry %v", r)
		}
	}
	g.post("/api/v1/dead-letters/"+id+"/discard", admin, "").want(409)
	g.post("/api/v1/dead-letters/"+other+"/retry", admin, "").want(409)
	g.get("/api/v1/dead-letters/"+id, g.grant(auth.Grant{Role: auth.Admin, Tenant: theirs})).want(404)
	g.get("/api/v1/dead-letters", g.grant(auth.Grant{Role: auth.Operator, Tenant: ours})).want(403)
}
