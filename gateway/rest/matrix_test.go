package rest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"starling/gateway/auth"
)

// doorCase is what the contract says of one operation, said again here and not read from the policy.
type doorCase struct {
	method, path string
	may          []string
	scope        auth.Scope
}

// contractDoors are all operations with the roles that may ask for them.
func contractDoors() []doorCase {
	const v, o, a, r, s, p = auth.Viewer, auth.Operator, auth.Admin, auth.RobotRole, auth.Service, auth.PlatformAdmin
	reads, works, runs, people := []string{v, o, a, s}, []string{o, a, s}, []string{a}, []string{v, o, a}
	const one, none, either = auth.OneTenant, auth.NoTenant, auth.TenantOrPlatform
	return []doorCase{
		{"GET", "/me", []string{v, o, a, r, s, p}, none},
		{"GET", "/tenants/current", reads, one},
		{"GET", "/tenants", []string{p}, none},
		{"POST", "/tenants", []string{p}, none},
		{"GET", "/tenants/{tenant_id}", []string{p}, none},
		{"PATCH", "/tenants/{tenant_id}", []string{p}, none},
		{"GET", "/tenants/current/settings", runs, one},
		{"PATCH", "/tenants/current/settings", runs, one},
		{"GET", "/audit", []string{a, p}, either},
		{"GET", "/audit/export", []string{a, p}, either},
		{"GET", "/warehouses", reads, one},
		{"POST", "/warehouses", runs, one},
		{"GET", "/warehouses/{warehouse_id}", reads, one},
		{"GET", "/maps", reads, one},
		{"POST", "/maps", runs, one},
		{"POST", "/maps:validate", reads, one},
		{"GET", "/maps/{map_id}", reads, one},
		{"GET", "/maps/{map_id}/versions", reads, one},
		{"POST", "/maps/{map_id}/versions", runs, one},
		{"GET", "/maps/{map_id}/versions/{n}", reads, one},
		{"GET", "/maps/{map_id}/versions/{n}/floor-plan", reads, one},
		{"GET", "/maps/{map_id}/versions/{n}/diff?against=1", reads, one},
		{"POST", "/maps/{map_id}/versions/{n}/activate", runs, one},
		{"GET", "/lanes?map_id={map_id}", reads, one},
		{"PATCH", "/lanes/{lane_id}", runs, one},
		{"GET", "/zones", reads, one},
		{"GET", "/zones/{zone_id}", reads, one},
		{"PUT", "/zones/{zone_id}", runs, one},
		{"DELETE", "/zones/{zone_id}", runs, one},
		{"GET", "/overview?warehouse_id={warehouse_id}", reads, one},
		{"GET", "/waits?warehouse_id={warehouse_id}", reads, one},
		{"GET", "/congestion/hotspots?warehouse_id={warehouse_id}", reads, one},
		{"GET", "/congestion/remedies?warehouse_id={warehouse_id}", reads, one},
		{"POST", "/congestion/remedies", []string{o, a}, one},
		{"DELETE", "/congestion/remedies/{remedy_id}?warehouse_id={warehouse_id}", []string{o, a}, one},
		{"GET", "/congestion/zones/{zone_id}/diagram", reads, one},
		{"GET", "/congestion/zones/{zone_id}/history", reads, one},
		{"GET", "/congestion/lanes/{lane_id}/history", reads, one},
		{"GET", "/robots/{robot_id}/history", reads, one},
		{"GET", "/robots", reads, one},
		{"POST", "/robots", runs, one},
		{"GET", "/robots/{robot_id}", reads, one},
		{"PATCH", "/robots/{robot_id}", runs, one},
		{"DELETE", "/robots/{robot_id}", runs, one},
		{"POST", "/robots/{robot_id}/status", []string{a, r, s}, one},
		{"POST", "/robots/status", []string{a, r, s}, one},
		{"POST", "/robots/{robot_id}/commands", []string{o, a}, one},
		{"GET", "/robots/{robot_id}/commands/{command_id}", people, one},
		{"GET", "/robots/{robot_id}/why", people, one},
		{"GET", "/tasks", reads, one},
		{"POST", "/tasks", works, one},
		{"POST", "/tasks:batch", works, one},
		{"GET", "/tasks/{task_id}", reads, one},
		{"POST", "/tasks/{task_id}/cancel", works, one},
		{"GET", "/tasks/{task_id}/events", reads, one},
		{"GET", "/tasks/{task_id}/timing", reads, one},
		{"GET", "/tasks/{task_id}/why", people, one},
		{"GET", "/dead-letters", runs, one},
		{"GET", "/dead-letters/{event_id}", runs, one},
		{"POST", "/dead-letters/{event_id}/retry", runs, one},
		{"POST", "/dead-letters/{event_id}/discard", runs, one},
		{"GET", "/alerts", reads, one},
		{"POST", "/alerts", []string{o, a}, one},
		{"GET", "/alerts/{alert_id}", reads, one},
		{"POST", "/alerts/{alert_id}/acknowledge", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/assign", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/snooze", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/resolve", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/rollback", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/mark", []string{o, a}, one},
		{"POST", "/alerts/{alert_id}/comments", []string{o, a}, one},
		{"GET", "/webhooks", runs, one},
		{"POST", "/webhooks/{name}/test", runs, one},
		{"POST", "/webhooks/{name}/enable", runs, one},
		{"GET", "/webhooks/deliveries", runs, one},
		{"GET", "/webhooks/deliveries/{delivery_id}", runs, one},
		{"POST", "/webhooks/deliveries/{delivery_id}/retry", runs, one},
		{"GET", "/scheduler/decisions", reads, one},
		{"POST", "/scheduler/plan", works, one},
	}
}

// url is a path with ids that belong to nobody, and body is one that no operation takes: it is asked who may ask.
func (d *doorCase) url() string {
	path := d.path
	for _, id := range []string{"tenant_id", "warehouse_id", "map_id", "lane_id", "zone_id", "robot_id", "command_id", "task_id", "event_id", "alert_id", "delivery_id"} {
		path = strings.ReplaceAll(path, "{"+id+"}", nobody)
	}
	return "/api/v1" + strings.NewReplacer("{n}", "1", "{name}", "ops").Replace(path)
}

func (d *doorCase) body() string {
	if d.method == "GET" || d.method == "DELETE" {
		return ""
	}
	return `{"unknown":1}`
}

func TestTheMatrixHasEveryDoor(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{"GET /api/v1/ws": true, "GET /api/v1/stream": true} // the live channel has its own test
	for _, d := range contractDoors() {
		path, _, _ := strings.Cut(d.path, "?")
		listed[d.method+" /api/v1"+path] = true
	}
	for _, r := range auth.NewPolicy().Rules() {
		if strings.Contains(r.Door, " /api/") && !listed[r.Door] {
			t.Errorf("the policy has %s, the matrix has not", r.Door)
		}
	}
}

// who is one who asks: a role with its own tenant, with somebody else's in the header, or with no tenant at all.
type asker struct {
	role, tenant string // tenant: own, foreign, none
}

// wants says how a door answers a good token: 0 = it lets through, whatever it says then.
func (d *doorCase) wants(k asker) int {
	switch {
	case k.tenant == "foreign", !slices.Contains(d.may, k.role):
		return 403
	case d.scope == auth.NoTenant, k.tenant == "own":
		return 0
	case d.scope == auth.TenantOrPlatform && k.role == auth.PlatformAdmin:
		return 0
	}
	return 403
}

func TestRolesMayDoWhatTheContractSays(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	asked := 0
	for _, role := range auth.Roles() {
		for _, tenant := range []string{"own", "foreign", "none"} {
			grant := auth.Grant{Role: role}
			if tenant != "none" && role != auth.PlatformAdmin { // who has no tenant
				grant.Tenant = ours
			}
			var headers []string
			if tenant == "foreign" {
				headers = []string{"X-Tenant-ID", theirs}
			}
			good := g.grant(grant)
			tampered := good[:len(good)-8] + strings.Map(swapped, good[len(good)-8:])
			ended, _, err := g.issuer.Issue(grant, time.Now().Add(-25*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range contractDoors() {
				k := asker{role, tenant}
				if role == auth.PlatformAdmin && tenant == "own" {
					k.tenant = "none"
				}
				asked++
				got, want := g.do(d.method, d.url(), good, d.body(), headers...), d.wants(k)
				if want != 0 && got.status != want || want == 0 && (got.status == 401 || got.status == 403 || got.status >= 500) {
					t.Errorf("%s %s as %s, tenant %s: got %d, want %d: %s", d.method, d.path, role, tenant, got.status, want, got.body)
				}
				for name, bad := range map[string]string{"ended": ended, "tampered": tampered} {
					r := g.do(d.method, d.url(), bad, d.body(), headers...)
					if r.fails(401, codeUnauth); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
						t.Errorf("%s %s, %s token: no WWW-Authenticate", d.method, d.path, name)
					}
				}
			}
		}
	}
	t.Logf("%d passages with a good token, twice as many with a bad one", asked)
}

// swapped changes the case of a letter.
func swapped(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r - 32
	case r >= 'A' && r <= 'Z':
		return r + 32
	}
	return r
}
