package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/gateway/auth"
)

func TestEveryLayerAnswersWithTheOneErrorBody(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin, viewer := g.token(auth.Admin), g.token(auth.Viewer)
	expired := g.grant(auth.Grant{Role: auth.Viewer, Tenant: ours, TTL: time.Nanosecond})
	big := `{"warehouse_code":"` + strings.Repeat("x", maxBody) + `","name":"n"}`
	for name, c := range map[string]struct {
		r      *reply
		status int
		code   string
	}{
		"no such path":               {g.get("/api/v1/nothing", ""), 404, codeNotFound},
		"no such path outside":       {g.get("/nothing", ""), 404, codeNotFound},
		"no such method":             {g.do(http.MethodPut, "/api/v1/tasks", admin, `{}`), 405, codeNotFound},
		"a robot named status":       {g.get("/api/v1/robots/status", admin), 405, codeNotFound},
		"an empty tenant":            {g.get("/api/v1/robots", admin, "X-Tenant-ID", ""), 403, codeForbidden},
		"no token":                   {g.get("/api/v1/robots", ""), 401, codeUnauth},
		"a bad token":                {g.get("/api/v1/robots", "x.y.z"), 401, codeUnauth},
		"an expired token":           {g.get("/api/v1/robots", expired), 401, codeUnauth},
		"another scheme":             {g.get("/api/v1/robots", "", "Authorization", "Basic YTpi"), 401, codeUnauth},
		"too small a role":           {g.post("/api/v1/warehouses", viewer, `{}`), 403, codeForbidden},
		"a tenant not of the token":  {g.get("/api/v1/robots", viewer, "X-Tenant-ID", theirs), 403, codeForbidden},
		"a slug not of the token":    {g.get("/api/v1/robots", viewer, "X-Tenant-Slug", "tenant-1"), 403, codeForbidden},
		"a slug and another id":      {g.get("/api/v1/robots", viewer, "X-Tenant-ID", ours, "X-Tenant-Slug", "tenant-1"), 403, codeForbidden},
		"an id and an odd slug":      {g.get("/api/v1/robots", viewer, "X-Tenant-ID", ours, "X-Tenant-Slug", "{}"), 403, codeForbidden},
		"an unknown slug":            {g.get("/api/v1/robots", viewer, "X-Tenant-Slug", "\xff nobody"), 403, codeForbidden},
		"no tenant at all":           {g.get("/api/v1/robots", g.grant(auth.Grant{Role: auth.PlatformAdmin})), 403, codeForbidden},
		"a body too large":           {g.post("/api/v1/warehouses", admin, big), 413, codeInvalid},
		"a body of another type":     {g.post("/api/v1/warehouses", admin, `a: b`, "Content-Type", "application/yaml"), 415, codeInvalid},
		"a body that is not JSON":    {g.post("/api/v1/warehouses", admin, `{"secret`), 400, codeInvalid},
		"NaN is not JSON":            {g.post("/api/v1/warehouses", admin, `{"name":NaN}`), 400, codeInvalid},
		"no body":                    {g.post("/api/v1/warehouses", admin, ``), 400, codeInvalid},
		"nobody's object":            {g.get("/api/v1/robots/"+nobody, viewer), 404, codeNotFound},
		"a cursor of nothing":        {g.get("/api/v1/robots?cursor=zzz", viewer), 422, codeInvalid},
		"a query that is unreadable": {g.get("/api/v1/robots?limit=1;x", viewer), 400, codeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.t = t
			c.r.fails(c.status, c.code)
			lines := g.log.ended(t, c.r.header.Get("X-Request-Id"))
			if last := lines[len(lines)-1]; last["error_code"] != c.code || last["error"] == "" {
				t.Errorf("the log does not say it: %v", last)
			}
			if strings.Contains(string(c.r.body), "secret") || strings.Contains(string(c.r.body), "xxxx") {
				t.Errorf("the input stands in the answer: %s", c.r.body)
			}
		})
	}
	if a := g.do(http.MethodPut, "/api/v1/tasks", admin, `{}`).header.Get("Allow"); a != "GET, POST" {
		t.Errorf("Allow: %q", a)
	}
	if a := g.get("/api/v1/robots/status", admin).header.Get("Allow"); a != "POST" {
		t.Errorf("Allow of a path beside one with a parameter: %q", a)
	}
	if a := g.get("/api/v1/robots", "").header.Get("Www-Authenticate"); !strings.HasPrefix(a, "Bearer") {
		t.Errorf("WWW-Authenticate: %q", a)
	}
}

func TestWhatGoesWrongInsideIsNotTold(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	viewer := g.token(auth.Viewer)
	for name, c := range map[string]struct {
		before func(context.Context) error
		status int
		code   string
	}{
		"a panic":            {func(context.Context) error { panic("innards") }, 500, codeInternal},
		"an unknown error":   {func(context.Context) error { return errors.New("innards") }, 500, codeInternal},
		"the store is away":  {func(context.Context) error { return fact.ErrUnavailable }, 503, codeUnavailable},
		"a full queue":       {func(context.Context) error { return fact.ErrBusy }, 429, codeExhausted},
		"it takes too long":  {func(ctx context.Context) error { <-ctx.Done(); return errors.New("innards") }, 504, codeTimeout},
		"a bad unit":         {func(context.Context) error { return fact.ErrRejected }, 422, codeInvalid},
		"something missing":  {func(context.Context) error { return fact.ErrPrecondition }, 412, codePrecondition},
		"nobody owns it now": {func(context.Context) error { return fact.ErrFenced }, 503, codeUnavailable},
	} {
		g.house.before = c.before
		r := g.get("/api/v1/tenants/current", viewer)
		r.what = name
		r.fails(c.status, c.code)
		if strings.Contains(string(r.body), "innards") {
			t.Errorf("%s: the cause stands in the answer: %s", name, r.body)
		}
		lines := g.log.ended(t, r.header.Get("X-Request-Id"))
		if last := lines[len(lines)-1]; last["error_code"] != c.code || last["error"] == "" {
			t.Errorf("%s: the log does not say it: %v", name, last)
		}
	}
}

func TestMoreThanTheDoorHoldsIsRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.MaxInFlight = 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	g.house.before = func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	viewer, done := g.token(auth.Viewer), make(chan *reply)
	go func() { done <- g.get("/api/v1/tenants/current", viewer) }()
	<-entered
	g.get("/api/v1/me", viewer).fails(429, codeExhausted)
	g.get("/healthz", "").want(200)
	close(leave)
	(<-done).want(200)
	g.get("/api/v1/me", viewer).want(200)
}

func TestAProcessWithoutTheEngineSaysSo(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.Engine = nil })
	g.post("/api/v1/tasks", g.token(auth.Operator), `{}`).fails(503, codeUnavailable)
	g.get("/api/v1/tasks", g.token(auth.Viewer)).want(200)
}

func TestARequestHasOneID(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for sent, taken := range map[string]bool{"abc.DEF_1-2": true, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "a b": false, "ä": false, "": false} {
		r := g.get("/api/v1/me", "", "X-Request-ID", sent)
		r.fails(401, codeUnauth)
		if got := r.header.Get("X-Request-Id"); (got == sent) != taken || !idShape.MatchString(got) {
			t.Errorf("%q: got %q, taken should be %v", sent, got, taken)
		}
	}
}

func TestTheLogHasStartAndEndOfARequest(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	r := g.get("/api/v1/robots/"+g.bot+"?x=secret", g.token(auth.Viewer), "Traceparent", "00-"+trace+"-b7ad6b7169203331-01", "X-Request-ID", "req-1")
	r.fails(422, codeInvalid)
	g.get("/api/v1/robots/"+g.bot, g.token(auth.Viewer), "Traceparent", "00-"+trace+"-b7ad6b7169203331-01", "X-Request-ID", "req-2").want(200)
	lines := g.log.ended(t, "req-2")
	if len(lines) != 2 || lines[0]["event"] != "http.start" || lines[1]["event"] != "http.end" {
		t.Fatalf("want start and end, got %v", lines)
	}
	end := lines[1]
	for k, v := range map[string]any{
		"method": "GET", "path": "/api/v1/robots/" + g.bot, "client_ip": "127.0.0.1", "trace_id": trace, "tenant_id": ours, "robot_id": g.bot, "task_id": "", "status_code": 200.0,
	} {
		if end[k] != v {
			t.Errorf("%s: got %v, want %v", k, end[k], v)
		}
	}
	if _, ok := end["duration_ms"].(float64); !ok {
		t.Errorf("no duration: %v", end)
	}
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	if s := g.log.b.String(); strings.Contains(s, "secret") || strings.Contains(s, "eyJ") {
		t.Error("a query or a token stands in the log")
	}
}
