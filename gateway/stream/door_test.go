package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

// TestATokenThatHasEndedOpensNothing comes with one that has ended by the server's clock, and that the tolerance for clocks
// still lets pass.
func TestATokenThatHasEndedOpensNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.stop()
	g.start(func(o *stream.Options) {
		o.Auth = g.guard(30*time.Second, nil)
	})
	ended, _, err := g.issuer.Issue(auth.Grant{Tenant: tenantA, Role: auth.Viewer, TTL: 6 * time.Second, Subject: "somebody"}, time.Now().Add(-10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	// A browser is not told the status of a handshake: what it can see is why the connection closes.
	if reason, code := g.dial("starling.v1.json", ended).ended(); reason != "token_expired" || code != 4001 {
		t.Errorf("%s %d", reason, code)
	}
	c := g.viewer()
	c.send(`{"op":"token","token":%q}`, ended)
	if m, err := c.next(); err != nil || m.Op != "error" || m.Error.Code != "UNAUTHENTICATED" {
		t.Errorf("a renewal with it: %+v %v", m, err)
	}
	c.send(`{"op":"ping","t":1}`)
	c.want("pong", 0) // the connection lives on what it has
	if status, code := g.ask("/api/v1/stream?channel=zones", http.Header{"Authorization": {"Bearer " + ended}}); status != 401 || code != "UNAUTHENTICATED" {
		t.Errorf("a stream with it: %d %s", status, code)
	}
}

// ask returns the status of an answer that is an error, and its code.
func (g *rig) ask(path string, h http.Header) (status int, code string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.http.URL+path, http.NoBody)
	if err != nil {
		g.Fatal(err)
	}
	r.Header = h
	res, err := g.http.Client().Do(r)
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return res.StatusCode, ""
	}
	var b struct{ Error struct{ Code string } }
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		g.Fatal(err)
	}
	return res.StatusCode, b.Error.Code
}

// TestATenantIsChosenAsInREST names tenants that are there, that are not, and none where one was meant; and asks while the
// store is down.
func TestATenantIsChosenAsInREST(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.stop()
	g.start(func(o *stream.Options) {
		o.Auth = g.guard(0, func(ctx context.Context, slug string) (fleet.TenantID, error) {
			if _, bound := ctx.Deadline(); !bound {
				return "", errors.New("may take for ever")
			}
			switch slug {
			case "ours":
				return tenantA, nil
			case "theirs":
				return tenantB, nil
			case "down":
				return "", errors.New("the store is down")
			}
			return "", fact.ErrNotFound
		})
	})
	token := "Bearer " + g.token(tenantA, auth.Viewer, time.Hour)
	for name, x := range map[string]struct {
		id, slug []string
		status   int
		code     string
	}{
		"none":                {nil, nil, 200, ""},
		"its id":              {[]string{strings.ToUpper(string(tenantA))}, nil, 200, ""},
		"its slug":            {nil, []string{"ours"}, 200, ""},
		"both":                {[]string{string(tenantA)}, []string{"ours"}, 200, ""},
		"an empty id":         {[]string{""}, nil, 403, "FORBIDDEN"},
		"an empty slug":       {nil, []string{""}, 403, "FORBIDDEN"},
		"another's slug":      {nil, []string{"theirs"}, 403, "FORBIDDEN"},
		"two that differ":     {[]string{string(tenantA)}, []string{"theirs"}, 403, "FORBIDDEN"},
		"nobody's":            {nil, []string{"nobody"}, 403, "FORBIDDEN"},
		"no slug at all":      {nil, []string{"No Slug"}, 403, "FORBIDDEN"},
		"with the store down": {nil, []string{"down"}, 503, "UNAVAILABLE"},
	} {
		h := http.Header{"Authorization": {token}}
		if x.id != nil {
			h["X-Tenant-Id"] = x.id
		}
		if x.slug != nil {
			h["X-Tenant-Slug"] = x.slug
		}
		d := websocket.Dialer{Subprotocols: []string{"starling.v1.json"}}
		ws, r, err := d.Dial("ws"+strings.TrimPrefix(g.http.URL, "http")+"/api/v1/ws", h) //nolint:bodyclose // a handshake's answer needs no closing
		if err == nil {
			_ = ws.Close()
		}
		want := x.status
		if want == 200 {
			want = http.StatusSwitchingProtocols
		}
		if r == nil || r.StatusCode != want {
			t.Errorf("%s, a WebSocket: %+v, want %d", name, r, want)
		}
		if x.status == 200 {
			continue
		}
		if status, code := g.ask("/api/v1/stream?channel=zones", h); status != x.status || code != x.code {
			t.Errorf("%s, a stream: %d %s, want %d", name, status, code, x.status)
		}
	}
}

func TestAStreamsDetailIsTrueOrFalse(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	h := http.Header{"Authorization": {"Bearer " + g.token(tenantA, auth.Viewer, time.Hour)}}
	path := "/api/v1/stream?channel=robots&robot_ids=" + string(robotID(1)) + "&detail="
	for v, want := range map[string]int{"true": 200, "false": 200, "1": 422, "TRUE": 422, "garbage": 422, "": 422} {
		if status, _ := g.ask(path+v, h); status != want {
			t.Errorf("detail=%s: %d, want %d", v, status, want)
		}
	}
}

// TestAnEpochMeansNothingToAnotherTenant comes back to the log of one tenant with the place in another's.
func TestAnEpochMeansNothingToAnotherTenant(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for _, tenant := range []fleet.TenantID{tenantA, tenantB} {
		for n := range 3 {
			spec := specOf(n + 1)
			spec.Shard.Tenant = tenant
			v := task.View{}
			v.Apply(time.Now(), task.Created{Spec: spec})
			g.views.TaskChanged(spec.Shard, task.Created{}, &v)
		}
	}
	a := g.viewer()
	for _, filter := range []string{"{}", `{"warehouse_id":"` + string(floor1) + `"}`} {
		a.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":%s}`, filter)
		s := a.want("subscribed", 1)
		for tenant, want := range map[fleet.TenantID]bool{tenantA: true, tenantB: false} {
			c := g.dial("starling.v1.json", g.token(tenant, auth.Viewer, time.Hour))
			c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":%s,"since":{"epoch":%q,"seq":%d}}`, filter, s.Epoch, s.Seq)
			if again := c.want("subscribed", 1); again.Recovered != want {
				t.Errorf("%s of %s: recovered %v, want %v", filter, tenant, again.Recovered, want)
			}
		}
	}
}

// TestATenantsOwnPagesConnect comes from an origin that one tenant allows and the other does not.
func TestATenantsOwnPagesConnect(t *testing.T) {
	t.Parallel()
	const origin = "https://ours.example"
	g := newRig(t, func(o *stream.Options) {
		o.OriginAllowed = func(_ context.Context, tenant fleet.TenantID, from string) bool {
			return tenant == tenantA && from == origin
		}
	})
	for tenant, status := range map[fleet.TenantID]int{tenantA: http.StatusSwitchingProtocols, tenantB: http.StatusForbidden} {
		d := websocket.Dialer{Subprotocols: []string{"bearer." + g.token(tenant, auth.Viewer, time.Hour), "starling.v1.json"}}
		ws, r, err := d.Dial("ws"+strings.TrimPrefix(g.http.URL, "http")+"/api/v1/ws", http.Header{"Origin": {origin}}) //nolint:bodyclose // a handshake's answer needs no closing
		if r == nil || r.StatusCode != status {
			t.Fatalf("tenant %s: %v %v", tenant, r, err)
		}
		if err == nil {
			_ = ws.Close()
		}
	}
}

// TestATenantsClientsAreCounted fills a quota, and finds a place again when a client has left.
func TestATenantsClientsAreCounted(t *testing.T) {
	t.Parallel()
	var held atomic.Int32
	g := newRig(t, func(o *stream.Options) {
		o.Enter = func(_ context.Context, tenant fleet.TenantID) (func(), bool) {
			if tenant != tenantA || held.Load() == 1 {
				return func() {}, false
			}
			held.Add(1)
			return func() { held.Add(-1) }, true
		}
	})
	first := g.viewer()
	h := http.Header{"Authorization": {"Bearer " + g.token(tenantA, auth.Viewer, time.Hour)}}
	if status, code := g.ask("/api/v1/stream?channel=tasks", h); status != 429 || code != "RESOURCE_EXHAUSTED" {
		t.Errorf("beyond the quota: %d %s", status, code)
	}
	_ = first.ws.Close()
	for deadline := time.Now().Add(10 * time.Second); held.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place of a client that left is not given back")
		}
	}
	g.viewer()
}

// TestWhoIsRefusedInBandIsTold renews with what is not good, and with somebody else's token.
func TestWhoIsRefusedInBandIsTold(t *testing.T) {
	t.Parallel()
	type told struct {
		subject string
		err     error
	}
	heard := make(chan told, 10)
	g := newRig(t, func(o *stream.Options) {
		o.Renewed = func(who *auth.Identity, _ string, err error) { heard <- told{who.Subject, err} }
	})
	c := g.viewer()
	for _, x := range []struct {
		token string
		err   error
	}{{"x", auth.ErrUnauthenticated}, {g.token(tenantB, auth.Viewer, time.Hour), auth.ErrForbidden}, {g.token(tenantA, auth.Viewer, time.Hour), nil}} {
		c.send(`{"op":"token","token":%q}`, x.token)
		if got := <-heard; !errors.Is(got.err, x.err) || got.subject == "" {
			t.Errorf("%+v, want %v", got, x.err)
		}
	}
}
