package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"starling/gateway/auth"
)

func TestAnotherTenantsThingsAreNotThere(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	task := g.post("/api/v1/tasks", admin, `{"task_type":"go_to","warehouse_id":"`+g.warehouse+`","payload":{"dropoff":"0"}}`).want(201).text("task_id")
	command := g.post("/api/v1/robots/"+g.bot+"/commands", admin, `{"command":"stop"}`).want(202).header.Get("Location")
	g.get(command, admin).want(200)
	foreign := g.grant(auth.Grant{Role: auth.Admin, Tenant: theirs})
	for _, path := range []string{
		"/api/v1/warehouses/" + g.warehouse, "/api/v1/maps/" + g.floor, "/api/v1/maps/" + g.floor + "/versions", "/api/v1/maps/" + g.floor + "/versions/1", "/api/v1/maps/" + g.floor + "/versions/1/floor-plan",
		"/api/v1/lanes?map_id=" + g.floor, "/api/v1/robots/" + g.bot, "/api/v1/robots/" + g.bot + "/why", "/api/v1/tasks/" + task, "/api/v1/tasks/" + task + "/events", "/api/v1/tasks/" + task + "/timing", "/api/v1/tasks/" + task + "/why",
		command,
	} {
		g.get(path, foreign).fails(404, codeNotFound)
		g.get(path, admin).want(200)
	}
	g.post("/api/v1/robots/"+g.bot+"/commands", foreign, `{"command":"stop"}`).fails(404, codeNotFound)
	g.post("/api/v1/tasks/"+task+"/cancel", foreign, "").fails(404, codeNotFound)
	g.do(http.MethodDelete, "/api/v1/robots/"+g.bot, foreign, "").fails(404, codeNotFound)
	g.do(http.MethodPatch, "/api/v1/robots/"+g.bot, foreign, `{"priority":1}`).fails(404, codeNotFound)
	g.get("/api/v1/robots", admin, "X-Tenant-Slug", "tenant-0").want(200)
	g.get("/api/v1/robots", admin, "X-Tenant-ID", strings.ToUpper(ours)).want(200)
	g.get("/api/v1/robots", admin, "X-Tenant-ID", strings.ToUpper(ours), "X-Tenant-Slug", "tenant-0").want(200)
}

func TestWhoAmI(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	m := g.get("/api/v1/me", g.token(auth.Operator)).want(200).object()
	claims, _ := m["claims"].(map[string]any)
	if m["subject"] != "dev-operator" || m["email"] != nil || claims["tenant_id"] != ours {
		t.Errorf("me: %v", m)
	}
	if _, ok := claims["exp"].(float64); !ok {
		t.Errorf("exp is %v, not as in the token", claims["exp"])
	}
	if cur := g.get("/api/v1/tenants/current", g.token(auth.Viewer)).want(200); cur.text("tenant_id") != ours {
		t.Errorf("current: %s", cur.body)
	}
}

func TestTheDevelopmentIssuerSignsUsableTokens(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	r := g.post("/dev/token", "", `{"tenant_slug":"tenant-0","role":"viewer"}`).want(200)
	g.get("/api/v1/robots", r.text("access_token")).want(200)
	g.post("/dev/token", "", `{"tenant":"x","role":"king"}`).faulty("body.role", "body.tenant")
	g.post("/dev/token", "", `{"rolle":"viewer"}`).fails(400, codeInvalid)
	g.post("/dev/token", "", `{"tenant_slug":"none","role":"viewer"}`).fails(404, codeNotFound)
	g.get("/.well-known/openid-configuration", "").want(200)
	g.get("/.well-known/jwks.json", "").want(200)
	bare := newRig(t, func(o *Options) { o.Dev = nil })
	bare.post("/dev/token", "", `{"role":"viewer"}`).fails(404, codeNotFound)
	bare.get("/.well-known/jwks.json", "").fails(404, codeNotFound)
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	away := func(context.Context) error { return errors.New("away") }
	well := func(context.Context) error { return nil }
	checks := []Check{{"postgres", true, well}, {"redis", false, away}}
	draining := false
	g := newRig(t, func(o *Options) { o.Checks, o.Draining = checks, func() bool { return draining } })
	g.get("/healthz", "").want(200)
	m := g.get("/readyz", "").want(200).object()
	if d, _ := m["dependencies"].(map[string]any); d["postgres"] != "ok" || d["redis"] != "degraded" {
		t.Errorf("ready: %v", m)
	}
	checks[0].Probe = away
	m = g.get("/readyz", "").fails(503, codeUnavailable)
	if d, _ := m["dependencies"].(map[string]any); d["postgres"] != "down" {
		t.Errorf("not ready: %v", m)
	}
	g.get("/healthz", "").want(200)
	checks[0].Probe, draining = well, true
	g.get("/readyz", "").fails(503, codeUnavailable)
}

func TestAProcessThatStopsEndsWhatItHasBegunAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	var stopping atomic.Bool
	g := newRig(t, func(o *Options) { o.Draining = stopping.Load })
	entered, leave := make(chan struct{}), make(chan struct{})
	g.house.before = func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	viewer, done := g.token(auth.Viewer), make(chan *reply)
	if r := g.get("/api/v1/me", viewer).want(200); r.closes {
		t.Error("a connection is ended though nothing stops")
	}
	go func() { done <- g.get("/api/v1/tenants/current", viewer) }()
	<-entered
	stopping.Store(true)
	r := g.get("/api/v1/me", viewer)
	r.fails(503, codeUnavailable)
	if r.header.Get("Retry-After") != "1" || !r.closes {
		t.Errorf("refused with Retry-After %q, the connection ends: %v", r.header.Get("Retry-After"), r.closes)
	}
	g.get("/healthz", "").want(200)
	close(leave)
	if r := (<-done).want(200); !r.closes {
		t.Error("a connection is kept though the process stops")
	}
}

func TestABadConfigurationServesHealthAndNothingElse(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) {
		o.Missing, o.Invalid = []string{"DATABASE_URL"}, []map[string]string{{"key": "HTTP_PORT", "problem": "want 1..65535"}}
	})
	g.get("/healthz", "").want(200)
	d := g.get("/readyz", "").fails(503, codePrecondition)
	missing, _ := d["missing"].([]any)
	invalid, _ := d["invalid"].([]any)
	if len(missing) != 1 || missing[0] != "DATABASE_URL" || len(invalid) != 1 {
		t.Errorf("details %v", d)
	}
	for _, path := range []string{"/api/v1/me", "/docs", "/openapi.json", "/.well-known/jwks.json"} {
		g.get(path, "").fails(404, codeNotFound)
	}
}

func TestBrowsersOfAllowedOriginsMayAsk(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.CORS = []string{"https://floor.example"} })
	ask := func(origin string) http.Header {
		return g.do(http.MethodOptions, "/api/v1/tasks", "", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,idempotency-key").header
	}
	if h := ask("https://floor.example"); h.Get("Access-Control-Allow-Origin") != "https://floor.example" || h.Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("preflight: %v", h)
	}
	if h := ask("https://evil.example"); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a stranger: %v", h)
	}
	h := g.get("/api/v1/me", g.token(auth.Viewer), "Origin", "https://floor.example").want(200).header
	if !strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-Request-Id") {
		t.Errorf("exposed: %v", h)
	}
	if h := newRig(t, nil).get("/api/v1/me", "", "Origin", "https://floor.example").header; h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without origins: %v", h)
	}
}

func TestTheDocumentsNeedNoInternet(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	if r := g.get("/docs", "").want(301); r.header.Get("Location") != "/docs/" {
		t.Errorf("docs moved to %s", r.header.Get("Location"))
	}
	html := string(g.get("/docs/", "").want(200).body)
	if m := regexp.MustCompile(`(src|href)="(https?:)?//[^"]*"`).FindString(html); m != "" {
		t.Errorf("the page wants %s", m)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "data:") {
			g.get(m[1], "").want(200)
		}
	}
	if r := g.get("/openapi.json", "").want(200); r.object()["openapi"] == nil {
		t.Error("no document")
	}
	g.get("/openapi.yaml", "").want(200)
}

func TestTheLiveChannelsDocumentIsPublicWhereThereIsALiveChannel(t *testing.T) {
	t.Parallel()
	newRig(t, nil).get("/asyncapi.yaml", "").fails(404, codeNotFound)
	g := newRig(t, func(o *Options) {
		o.Stream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	})
	if b := string(g.get("/asyncapi.yaml", "").want(200).body); b != "/asyncapi.yaml" {
		t.Errorf("%s", b)
	}
	g.do(http.MethodPost, "/asyncapi.yaml", "", "").fails(405, codeNotFound)
}
