package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// entry is an intent of the shard's tenant.
func (b *bench) entry(action string) fact.AuditEntry {
	return fact.AuditEntry{
		ID: newID[string](), At: b.tick(), Tenant: b.shard.Tenant, User: newID[fleet.UserID](), Subject: "alice", Action: action,
		ResourceType: "task", RequestID: newID[string](), TraceID: "0af7651916cd43dd8448eb211c80319c", Method: "POST",
		Path: "/api/v1/tasks", ClientIP: "192.0.2.7", UserAgent: "suite/1.0", Details: json.RawMessage(`{"route":"tasks"}`),
	}
}

func (b *bench) listed(tenant fleet.TenantID, f fact.AuditFilter) []fact.AuditEntry {
	b.t.Helper()
	l, err := b.Audit.ListAudit(b.t.Context(), tenant, f, fact.Page{Limit: 100})
	if err != nil {
		b.t.Fatal(err)
	}
	if l.Next != "" {
		b.t.Fatalf("%d entries and more", len(l.Items))
	}
	return l.Items
}

func (b *bench) mustWrite(entries ...fact.AuditEntry) {
	b.t.Helper()
	if err := b.Audit.WriteAuditLog(b.t.Context(), entries); err != nil {
		b.t.Fatal(err)
	}
}

// same compares entries as they come back: JSON is compared by its meaning.
func same(t *testing.T, what string, got, want fact.AuditEntry) {
	t.Helper()
	meaning := func(raw json.RawMessage) (v any) {
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
		}
		return v
	}
	equal(t, what+", details", meaning(got.Details), meaning(want.Details))
	got.Details, want.Details = nil, nil
	equal(t, what, got, want)
}

func auditIntents(t *testing.T, b *bench) {
	good, conflicting, other := b.created(b.spec()), b.created(b.spec()), b.created(b.spec())
	intent, never, third := b.entry("task.create"), b.entry("task.create"), b.entry("task.create")
	good.Audit, other.Audit = &intent, &third
	b.mustRecord(good)
	conflicting.Facts[0].Subject, conflicting.Audit = good.Facts[0].Subject, &never
	conflicting.Facts[0].Event = good.Facts[0].Event
	if errs := b.record(conflicting, other); errs[0] == nil || errs[1] != nil {
		t.Fatalf("recorded: %v", errs)
	}
	l := b.listed(b.shard.Tenant, fact.AuditFilter{})
	if len(l) != 2 {
		t.Fatalf("%d entries, want those of the two units that were recorded: %+v", len(l), l)
	}
	same(t, "the newer intent", l[0], third)
	same(t, "the older intent", l[1], intent)
	if l[0].Status != 0 {
		t.Fatalf("an intent with status %d", l[0].Status)
	}
	done := intent
	done.Status, done.Duration, done.ResourceID, done.Details = 201, 1500*time.Microsecond, "t1", json.RawMessage(`{"route":"tasks","n":1}`)
	again := done
	again.Status, again.Duration, again.ResourceID = 500, time.Hour, "t2"
	b.mustWrite(done, never)
	b.mustWrite(again)
	b.mustWrite(intent)
	b.mustRecord(good) // sent again
	l = b.listed(b.shard.Tenant, fact.AuditFilter{})
	if len(l) != 3 {
		t.Fatalf("%d entries, want 3", len(l))
	}
	i := slices.IndexFunc(l, func(e fact.AuditEntry) bool { return e.ID == done.ID })
	same(t, "the completed entry", l[i], done)
}

func auditTwice(t *testing.T, b *bench) {
	whole, nobody := b.entry("robot.command"), b.entry("auth.unauthenticated")
	whole.Status, nobody.Status, nobody.Tenant, nobody.User = 202, 401, "", ""
	// The same entry twice in one batch, then the batch again: a batch whose outcome was not known is written again.
	for range 2 {
		b.mustWrite(whole, nobody, whole)
	}
	l := b.listed(b.shard.Tenant, fact.AuditFilter{})
	if len(l) != 1 {
		t.Fatalf("%d entries, want 1", len(l))
	}
	same(t, "the entry", l[0], whole)
	l = b.listed("", fact.AuditFilter{RequestID: nobody.RequestID})
	if len(l) != 1 {
		t.Fatalf("%d entries of nobody, want 1", len(l))
	}
	same(t, "the refusal", l[0], nobody)
}

func auditBounds(t *testing.T, b *bench) {
	wild := b.entry("task.create")
	long := strings.Repeat("ä", 5000)
	wild.At = wild.At.Add(123456789 * time.Nanosecond)
	wild.Subject, wild.Path, wild.UserAgent, wild.ResourceID = long, long, "a\x00b\xff"+long, "x\x00"
	wild.RequestID, wild.TraceID, wild.Method, wild.ClientIP = long, "\xf0\x9f", "P\x00ST", "fe80::1%eth0"
	wild.User, wild.Status = "no uuid", 400
	wild.Details = json.RawMessage(`{"nul":"a\u0000b","half":"\ud800","big":1e999999,"n":12345678901234567890,"deep":[[[[[[[[[[[[1]]]]]]]]]]]]}`)
	plain, odd, huge := b.entry("task.create"), b.entry("task.create"), b.entry("task.create")
	odd.Details, huge.Details = json.RawMessage(`[1`), json.RawMessage(`{"x":"`+strings.Repeat("x", 20000)+`"}`)
	plain.Status, odd.Status, huge.Status = 200, 200, 200
	u := b.created(b.spec())
	u.Audit = &wild
	b.mustRecord(u)
	b.mustWrite(plain, wild, odd, huge)
	l := b.listed(b.shard.Tenant, fact.AuditFilter{})
	if len(l) != 4 {
		t.Fatalf("%d entries, want 4", len(l))
	}
	i := slices.IndexFunc(l, func(e fact.AuditEntry) bool { return e.ID == wild.ID })
	for _, s := range []string{l[i].Subject, l[i].Path, l[i].UserAgent, l[i].RequestID, l[i].ResourceID, l[i].TraceID, l[i].Method} {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || len(s) > 1024 {
			t.Errorf("kept %d bytes: %.20q", len(s), s)
		}
	}
	if got := l[i]; !strings.HasPrefix(got.UserAgent, "ab?ä") || got.ResourceID != "x" || got.Subject == "" || got.Method != "PST" || got.Status != 400 {
		t.Errorf("kept %+v", got)
	}
	for _, e := range l {
		if len(e.Details) > 0 && !json.Valid(e.Details) {
			t.Errorf("details %s", e.Details)
		}
	}
}

func auditLists(t *testing.T, b *bench) {
	other := b.Shard(t)
	var all []fact.AuditEntry
	base := b.now
	for i := range 9 {
		e := b.entry([]string{"task.create", "task.cancel", "tasks"}[i%3])
		e.Status = 200
		e.At = base.AddDate(0, -(i / 2), 0) // over months, two of each time
		e.ResourceID = []string{"a", "b"}[i%2]
		all = append(all, e)
	}
	foreign := all[0]
	foreign.ID, foreign.Tenant = newID[string](), other.Tenant
	b.mustWrite(append(all, foreign)...)
	all[3].ResourceType, all[4].Subject = "robot", "bob"
	all[3].ID, all[4].ID = newID[string](), newID[string]()
	b.mustWrite(all[3], all[4])

	for name, c := range map[string]struct {
		f    fact.AuditFilter
		want int
	}{
		"everything":            {fact.AuditFilter{}, 11},
		"an action":             {fact.AuditFilter{Action: "task.cancel"}, 4},
		"up to a dot":           {fact.AuditFilter{Action: "task"}, 8},
		"half a word":           {fact.AuditFilter{Action: "tas"}, 0},
		"a pattern":             {fact.AuditFilter{Action: "task%"}, 0},
		"a user":                {fact.AuditFilter{Actor: string(all[0].User)}, 1},
		"a user, loudly":        {fact.AuditFilter{Actor: strings.ToUpper(string(all[0].User))}, 1},
		"a subject":             {fact.AuditFilter{Actor: "bob"}, 1},
		"nobody":                {fact.AuditFilter{Actor: "mallory"}, 0},
		"no text at all":        {fact.AuditFilter{Actor: "a\x00"}, 0},
		"a kind of resource":    {fact.AuditFilter{ResourceType: "robot"}, 1},
		"a resource":            {fact.AuditFilter{ResourceType: "task", ResourceID: "a"}, 6},
		"a request":             {fact.AuditFilter{RequestID: all[7].RequestID}, 1},
		"from a time":           {fact.AuditFilter{From: base.AddDate(0, -1, 0)}, 5},
		"before a time":         {fact.AuditFilter{To: base.AddDate(0, -1, 0)}, 6},
		"a month of an action":  {fact.AuditFilter{From: base.AddDate(0, -1, 0), To: base, Action: "task"}, 2},
		"a time that is no one": {fact.AuditFilter{From: base, To: base}, 0},
	} {
		if got := b.listed(b.shard.Tenant, c.f); len(got) != c.want {
			t.Errorf("%s: %d entries, want %d", name, len(got), c.want)
		}
	}
	var seen []string
	for p := (fact.Page{Limit: 2}); ; {
		l, err := b.Audit.ListAudit(t.Context(), b.shard.Tenant, fact.AuditFilter{}, p)
		if err != nil || len(l.Items) > 2 {
			t.Fatalf("a page of %d: %v", len(l.Items), err)
		}
		for _, e := range l.Items {
			seen = append(seen, e.ID)
		}
		if p.Cursor = l.Next; p.Cursor == "" {
			break
		}
	}
	var want []string
	for _, e := range b.listed(b.shard.Tenant, fact.AuditFilter{}) {
		want = append(want, e.ID)
	}
	if !slices.Equal(seen, want) || len(seen) != 11 {
		t.Fatalf("pages show %v, want %v", seen, want)
	}
	if _, err := b.Audit.ListAudit(t.Context(), b.shard.Tenant, fact.AuditFilter{}, fact.Page{Limit: 2, Cursor: "x"}); !errors.Is(err, fact.ErrBadCursor) {
		t.Fatalf("a bad cursor: %v", err)
	}
}
