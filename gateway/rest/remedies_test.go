package rest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// cabinet holds what people press, each remedy of a subject once.
type cabinet struct {
	mu   sync.Mutex
	held []congestion.Held
}

func (c *cabinet) List(fleet.Shard) []congestion.Held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.held)
}

func (c *cabinet) Press(_ fleet.Shard, kind congestion.ActionKind, subject congestion.Subject, by fleet.Actor) (congestion.Held, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.held, func(h congestion.Held) bool { return h.Kind == kind && h.Subject == subject }) {
		return congestion.Held{}, &fact.ConflictError{Key: "state"}
	}
	h := congestion.Held{ID: "66666666-6666-4666-8666-66666666666" + strconv.Itoa(len(c.held)), Remedy: congestion.Remedy{Kind: kind, Subject: subject, By: string(by.User), At: time.Now()}}
	c.held = append(c.held, h)
	return h, nil
}

func (c *cabinet) Undo(_ fleet.Shard, id, _ string, _ fleet.Actor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.held)
	if c.held = slices.DeleteFunc(c.held, func(h congestion.Held) bool { return h.ID == id }); len(c.held) == n {
		return fact.ErrNotFound
	}
	return nil
}

func TestAPressCreatesARemedyOnceForAKey(t *testing.T) {
	t.Parallel()
	g, _ := jammed(t)
	operator := g.token(auth.Operator)
	const path = "/api/v1/congestion/remedies"
	wish := func(kind, of, id string) string {
		return `{"warehouse_id":"` + g.warehouse + `","action":"` + kind + `","subject":{"type":"` + of + `","id":"` + id + `"}}`
	}
	hold := wish("hold_tasks", "zone", busyZone)
	first := g.post(path, operator, hold, "Idempotency-Key", "k").want(201)
	if at := first.header.Get("Location"); at != path+"/"+first.text("remedy_id") {
		t.Errorf("it is said to be at %q", at)
	}
	again := g.post(path, operator, hold, "Idempotency-Key", "k").want(201)
	if string(again.body) != string(first.body) || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("the second answer is another: %s, %v", again.body, again.header)
	}
	g.post(path, operator, wish("reroute", "zone", busyZone), "Idempotency-Key", "k").fails(409, codeConflict)
	g.post(path, operator, hold).fails(409, codeConflict)
	l := g.get(path+"?warehouse_id="+g.warehouse, g.token(auth.Viewer)).want(200)
	if next, said := l.object()["next_cursor"]; len(l.items()) != 1 || !said || next != nil {
		t.Errorf("in force: %s", l.body)
	}
	g.post(path, operator, wish("cap_active", "zone", busyZone)).faulty("body.subject.type")
	g.post(path, operator, wish("hold_tasks", "warehouse", g.warehouse)).faulty("body.subject.type")
	g.post(path, operator, wish("cap_active", "warehouse", busyZone)).faulty("body.subject.id")
	g.do("DELETE", first.header.Get("Location")+"?warehouse_id="+g.warehouse, operator, "").want(204)
}

func TestAnUppercaseWarehouseIsTheSame(t *testing.T) {
	t.Parallel()
	g, _ := jammed(t)
	if r := g.get("/api/v1/congestion/hotspots?warehouse_id="+strings.ToUpper(g.warehouse), g.token(auth.Viewer)).want(200); len(r.items()) != 3 {
		t.Errorf("%d hotspots, want 3: %s", len(r.items()), r.body)
	}
}
