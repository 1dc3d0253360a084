package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

// quotaRig has tenants whose settings and limits count at once.
func quotaRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	return newRig(t, func(o *Options) {
		h, _ := o.Facts.(*house)
		o.Quotas = quota.New(quota.Options{
			Tenant: func(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) { return h.GetTenant(ctx, id) },
			Origins: func(context.Context, int) ([]string, error) {
				h.mu.Lock()
				defer h.mu.Unlock()
				var out []string
				for _, t := range h.tenants {
					var s struct {
						CORS struct {
							Origins []string `json:"allowed_origins"`
						} `json:"cors"`
					}
					_ = json.Unmarshal(t.Settings, &s)
					out = append(out, s.CORS.Origins...)
				}
				return out, nil
			},
		})
		t.Cleanup(o.Quotas.Stop)
		if change != nil {
			change(o)
		}
	})
}

func TestATenantsRequestsASecondAreBounded(t *testing.T) {
	t.Parallel()
	g := quotaRig(t, nil)
	admin := g.token(auth.Admin)
	r := g.get("/api/v1/robots", admin).want(200)
	if r.header.Get("RateLimit-Limit") != strconv.Itoa(quota.Requests.Default()) || r.header.Get("RateLimit-Remaining") == "" || r.header.Get("RateLimit-Reset") == "" {
		t.Errorf("headers: %v", r.header)
	}
	g.do(http.MethodPatch, "/api/v1/tenants/current/settings", admin, `{"quotas":{"requests_per_s":3}}`).want(200)
	refused := 0
	for range 100 { // some were taken in advance by the old bound
		if r := g.get("/api/v1/robots", admin); r.status == 429 {
			d := r.fails(429, codeExhausted)
			if d["quota"] != "requests_per_s" || r.header.Get("RateLimit-Remaining") != "0" {
				t.Errorf("%v %v", d, r.header)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("100 requests at once, 3 a second allowed, none refused")
	}
	g.get("/api/v1/robots", g.grant(auth.Grant{Role: auth.Viewer, Tenant: theirs})).want(200)
	g.get("/api/v1/me", "").fails(401, codeUnauth)
}

func TestTasksAMinuteAndRobotsAreBounded(t *testing.T) {
	t.Parallel()
	g := quotaRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	g.do(http.MethodPatch, "/api/v1/tenants/current/settings", admin, `{"quotas":{"tasks_per_min":2,"robots":1}}`).want(200)
	body := `{"task_type":"go_to","warehouse_id":"` + g.warehouse + `","payload":{"dropoff":"0"}}`
	first := g.post("/api/v1/tasks", admin, body, "Idempotency-Key", "a").want(201)
	g.post("/api/v1/tasks", admin, body).want(201)
	if d := g.post("/api/v1/tasks", admin, body).fails(429, codeExhausted); d["quota"] != "tasks_per_min" {
		t.Errorf("%v", d)
	}
	g.post("/api/v1/tasks:batch", admin, `{"items":[`+body+`,`+body+`]}`).fails(429, codeExhausted)
	if again := g.post("/api/v1/tasks", admin, body, "Idempotency-Key", "a").want(201); again.text("task_id") != first.text("task_id") {
		t.Error("a repetition is a task of its own")
	}
	if d := g.post("/api/v1/robots", admin, `{"robot_code":"R2","protocol":"link","warehouse_id":"`+g.warehouse+`"}`).fails(429, codeExhausted); d["quota"] != "robots" || d["limit"] != 1.0 {
		t.Errorf("%v", d)
	}
}

func TestThePlatformBoundsWhatATenantMayGrantItself(t *testing.T) {
	t.Parallel()
	g := quotaRig(t, nil)
	platform, admin := g.grant(auth.Grant{Role: auth.PlatformAdmin}), g.token(auth.Admin)
	path := "/api/v1/tenants/" + ours
	g.do(http.MethodPatch, path, platform, `{"limits":{"robots":10,"nonsense":1,"tasks_per_min":-1},"name":""}`).faulty("body.limits.nonsense", "body.limits.tasks_per_min", "body.name")
	r := g.do(http.MethodPatch, path, platform, `{"limits":{"robots":10},"name":"Renamed"}`, "If-Match", `"1"`).want(200)
	if m := r.object(); m["name"] != "Renamed" || r.header.Get("ETag") != `"2"` {
		t.Errorf("%s", r.body)
	}
	g.do(http.MethodPatch, path, platform, `{"name":"x"}`, "If-Match", `"1"`).fails(412, codePrecondition)
	g.do(http.MethodPatch, "/api/v1/tenants/"+nobody, platform, `{"name":"x"}`).fails(404, codeNotFound)
	g.do(http.MethodPatch, "/api/v1/tenants/"+string(fleet.NilTenant), platform, `{"name":"x"}`).fails(404, codeNotFound)
	g.do(http.MethodPatch, "/api/v1/tenants/current/settings", admin, `{"quotas":{"robots":11,"robot":1},"degradation_level":9}`).
		faulty("body.quotas.robots", "body.quotas.robot", "body.degradation_level")
	g.do(http.MethodPatch, "/api/v1/tenants/current/settings", admin, `{"quotas":{"robots":10},"sampling":{"moving_hz":1}}`).want(200)
	if m := g.get(path, platform).want(200).object(); m["limits"] == nil || m["slug"] != "tenant-0" {
		t.Errorf("%v", m)
	}
	made := g.post("/api/v1/tenants", platform, `{"slug":"third","name":"Third","limits":{"robots":5}}`).want(201)
	g.get(made.header.Get("Location"), platform).want(200)
}

func TestOriginsAreEachTenantsOwn(t *testing.T) {
	t.Parallel()
	g := quotaRig(t, func(o *Options) { o.CORS = []string{"https://everywhere.example"} })
	g.do(http.MethodPatch, "/api/v1/tenants/current/settings", g.token(auth.Admin), `{"cors":{"allowed_origins":["https://ours.example"]}}`).want(200)
	allowed := func(r *reply) string { return r.header.Get("Access-Control-Allow-Origin") }
	preflight := func(origin string) string {
		return allowed(g.do(http.MethodOptions, "/api/v1/robots", "", "", "Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"))
	}
	for origin, want := range map[string]bool{"https://ours.example": true, "https://everywhere.example": true, "https://evil.example": false, "null": false} {
		if got := preflight(origin); (got == origin) != want || !want && got != "" {
			t.Errorf("preflight from %s: %q", origin, got)
		}
	}
	their := g.grant(auth.Grant{Role: auth.Viewer, Tenant: theirs})
	for _, c := range []struct {
		token, origin string
		want          bool
	}{
		{g.token(auth.Viewer), "https://ours.example", true},
		{their, "https://ours.example", false},
		{their, "https://everywhere.example", true},
		{g.token(auth.Viewer), "https://evil.example", false},
	} {
		if got := allowed(g.get("/api/v1/robots", c.token, "Origin", c.origin).want(200)); (got != "") != c.want {
			t.Errorf("from %s: %q", c.origin, got)
		}
	}
}
