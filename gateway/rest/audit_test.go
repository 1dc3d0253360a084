package rest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// soleEntry is the one entry of a request; it is written after the answer has gone.
func (g *rig) soleEntry(r *reply) fact.AuditEntry {
	g.t.Helper()
	id := r.header.Get("X-Request-Id")
	g.log.ended(g.t, id)
	all := g.house.entries(id)
	if len(all) != 1 {
		g.t.Fatalf("%s: %d entries: %+v", r.what, len(all), all)
	}
	return all[0]
}

func TestEveryWriteIsOnRecord(t *testing.T) {
	t.Parallel()
	intents := make(chan fact.AuditEntry, 100)
	g := newRig(t, func(o *Options) {
		o.Intent = func(ctx context.Context, e *fact.AuditEntry) context.Context {
			intents <- *e
			return ctx
		}
	}).furnish()
	for len(intents) > 0 {
		<-intents
	}
	admin := g.token(auth.Admin)
	r := g.post("/api/v1/robots/"+g.bot+"/commands", admin, `{"command":"pause"}`, "User-Agent", "a browser", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").want(202)
	e, intent := g.soleEntry(r), <-intents
	var details map[string]any
	if err := json.Unmarshal(e.Details, &details); err != nil {
		t.Fatal(err)
	}
	if e.Action != "robot.command" || e.ResourceType != "robot" || e.ResourceID != g.bot || e.Status != 202 || e.Tenant != ours || e.Subject != "dev-admin" ||
		e.User == "" || e.Method != "POST" || e.Path != "/api/v1/robots/"+g.bot+"/commands" || e.ClientIP != "127.0.0.1" || e.UserAgent != "a browser" ||
		e.TraceID != "0af7651916cd43dd8448eb211c80319c" || e.Duration <= 0 || details["command"] != "pause" {
		t.Errorf("%+v %v", e, details)
	}
	if intent.Status != 0 || intent.ID != e.ID || !intent.At.Equal(e.At) || intent.Action != e.Action {
		t.Errorf("the intent is not of the same act: %+v", intent)
	}
	key := []string{"Idempotency-Key", "k1"}
	body := `{"warehouse_code":"W9","name":"Nine"}`
	made := g.post("/api/v1/warehouses", admin, body, key...).want(201)
	if e := g.soleEntry(made); e.ResourceID != made.text("warehouse_id") || e.Status != 201 {
		t.Errorf("a creation: %+v", e)
	}
	if e := g.soleEntry(g.post("/api/v1/warehouses", admin, body, key...).want(201)); !bytes.Contains(e.Details, []byte(`"replayed":true`)) {
		t.Errorf("a repetition: %s", e.Details)
	}
	if e := g.soleEntry(g.post("/api/v1/warehouses", admin, `{"warehouse_code":1}`).want(422)); e.Status != 422 || !bytes.Contains(e.Details, []byte(codeInvalid)) {
		t.Errorf("a bad request: %+v", e)
	}
	if e := g.soleEntry(g.get("/api/v1/robots/"+g.bot, g.token(auth.Viewer)).want(200)); e.Action != "robot.read" {
		t.Errorf("a read: %+v", e)
	}
	list := g.get("/api/v1/robots", admin).want(200)
	g.log.ended(t, list.header.Get("X-Request-Id"))
	if all := g.house.entries(list.header.Get("X-Request-Id")); len(all) != 0 {
		t.Errorf("a list is on record: %+v", all)
	}
}

func TestReadsAreOnRecordOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.AuditReads = false }).furnish()
	r := g.get("/api/v1/robots/"+g.bot, g.token(auth.Viewer)).want(200)
	g.log.ended(t, r.header.Get("X-Request-Id"))
	if all := g.house.entries(r.header.Get("X-Request-Id")); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestWhoIsRefusedIsOnRecord(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	for _, token := range []string{"", "a.b.c", g.token(auth.Admin) + "x"} {
		e := g.soleEntry(g.get("/api/v1/robots", token).want(401))
		if e.Action != "auth.unauthenticated" || e.Status != 401 || e.Tenant != "" || e.Subject != "" {
			t.Errorf("token %q: %+v", token, e)
		}
		if b, _ := json.Marshal(e); token != "" && bytes.Contains(b, []byte(token)) {
			t.Errorf("the token is on record: %s", b)
		}
	}
	e := g.soleEntry(g.do(http.MethodDelete, "/api/v1/robots/"+g.bot, g.token(auth.Viewer), "").want(403))
	if e.Action != "auth.forbidden" || e.ResourceID != g.bot || e.Tenant != ours || e.Subject != "dev-viewer" || !bytes.Contains(e.Details, []byte("DELETE /api/v1/robots/{robot_id}")) {
		t.Errorf("%+v %s", e, e.Details)
	}
	other := g.grant(auth.Grant{Role: auth.RobotRole, Tenant: ours, Robot: nobody})
	status := `{"seq":1,"ts":"2026-01-01T00:00:00Z","pose":{"x":0,"y":0,"theta":0},"battery_soc":0.5,"state":"IDLE"}`
	e = g.soleEntry(g.post("/api/v1/robots/"+g.bot+"/status", other, status).want(403))
	if e.Action != "auth.forbidden" || e.ResourceID != g.bot || e.Tenant != ours {
		t.Errorf("a robot that speaks for another: %+v", e)
	}
	e = g.soleEntry(g.get("/api/v1/robots", g.token(auth.Viewer), "X-Tenant-ID", theirs).want(403))
	if e.Action != "auth.forbidden" || e.Tenant != ours {
		t.Errorf("who tried another tenant: %+v", e)
	}
	g.house.mu.Lock()
	defer g.house.mu.Unlock()
	if len(g.house.signIns) == 0 || g.house.signIns[0].Action != "auth.sign_in" || g.house.signIns[0].Tenant != ours {
		t.Errorf("sign-ins: %+v", g.house.signIns)
	}
}

func TestTheAuditLogIsReadByItsOwnAdministrators(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	for i := range 7 {
		g.post("/api/v1/warehouses", admin, fmt.Sprintf(`{"warehouse_code":"=A%d","name":"x"}`, i)).want(201)
	}
	last := g.get("/api/v1/me", "").want(401)
	g.log.ended(t, last.header.Get("X-Request-Id"))
	path, seen := "/api/v1/audit?action=warehouse.create&limit=3", 0
	for cursor := ""; ; {
		m := g.get(path+cursor, admin).want(200).object()
		items, _ := m["items"].([]any)
		for _, it := range items {
			seen++
			if e, _ := it.(map[string]any); e["action"] != "warehouse.create" || e["tenant_id"] != ours || e["status_code"] != float64(201) {
				t.Errorf("%v", e)
			}
		}
		next, _ := m["next_cursor"].(string)
		if next == "" {
			break
		}
		cursor = "&cursor=" + next
	}
	if seen != 8 { // one is the rig's
		t.Errorf("%d entries", seen)
	}
	foreign := g.get("/api/v1/audit?action=warehouse", g.grant(auth.Grant{Role: auth.Admin, Tenant: theirs})).want(200)
	if !bytes.Contains(foreign.body, []byte(`"items":[]`)) {
		t.Errorf("another tenant reads %s", foreign.body)
	}
	platform := g.get("/api/v1/audit?action=auth.unauthenticated", g.grant(auth.Grant{Role: auth.PlatformAdmin})).want(200).object()
	if items, _ := platform["items"].([]any); len(items) != 1 {
		t.Errorf("the platform sees %v", platform)
	}
	g.get("/api/v1/audit?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z&action=UP", admin).faulty("query.action")
	g.get("/api/v1/audit?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", admin).faulty("query.to")
}

func TestTheAuditLogIsExported(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	evil := "=cmd|' /C calc'!A0"
	for i := range maxPage + 20 {
		g.house.Add(fact.AuditEntry{ID: nobody, Tenant: ours, Action: "task.create", Subject: evil, ResourceID: fmt.Sprint(i), Status: 201})
	}
	admin := g.token(auth.Admin)
	r := g.get("/api/v1/audit/export?action=task&format=csv", admin).want(200)
	rows, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll()
	if err != nil || len(rows) != maxPage+21 || rows[0][5] != "action" || rows[1][4] != "'"+evil || !strings.HasPrefix(r.header.Get("Content-Type"), "text/csv") {
		t.Errorf("%v, %d rows", err, len(rows))
	}
	lines := bytes.Split(bytes.TrimSpace(g.get("/api/v1/audit/export?action=task", admin).want(200).body), []byte("\n"))
	var e map[string]any
	if err := json.Unmarshal(lines[0], &e); err != nil || len(lines) != maxPage+20 || e["subject"] != evil || e["resource_id"] != fmt.Sprint(maxPage+19) {
		t.Errorf("%v, %d lines, %+v", err, len(lines), e)
	}
	if rows, _ := csv.NewReader(bytes.NewReader(g.get("/api/v1/audit/export?action=nothing&format=csv", admin).want(200).body)).ReadAll(); len(rows) != 1 {
		t.Errorf("an empty export has %d lines", len(rows))
	}
	if logOf(&auth.Identity{}) != fleet.NilTenant {
		t.Error("whose log is it")
	}
}

func TestAnExportThatBreaksOffIsNotTakenForAWhole(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.Facts = brokenLog{o.Facts} }).furnish()
	for i := range 2*maxPage + 1 {
		g.house.Add(fact.AuditEntry{ID: nobody, Tenant: ours, Action: "task.create", ResourceID: fmt.Sprint(i), Status: 201})
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+"/api/v1/audit/export?action=task", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.token(auth.Admin))
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%d bytes are taken for a whole export", len(b))
	}
}

// brokenLog fails to give a second page.
type brokenLog struct{ Facts }

func (b brokenLog) ListAudit(ctx context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page) (fact.List[fact.AuditEntry], error) {
	if p.Cursor != "" {
		return fact.List[fact.AuditEntry]{}, fact.ErrUnavailable
	}
	return b.Facts.ListAudit(ctx, tenant, f, p)
}
