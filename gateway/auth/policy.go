package auth

import "slices"

// Scope says which tenant a door needs.
type Scope uint8

// The scopes of doors.
const (
	OneTenant        Scope = iota // a tenant must be in force
	NoTenant                      // none is needed
	TenantOrPlatform              // a tenant, or none for a platform administrator, who then acts for the platform itself
)

// Kind says what the audit makes of a passage.
type Kind uint8

// The kinds of passages.
const (
	Untold Kind = iota // not recorded: lists, pictures, telemetry
	Read               // of a single object, recorded where AUDIT_READS says so
	Write              // always recorded
)

// Rule says who may pass one door, and as what the audit knows it.
type Rule struct {
	Door     string   // "GET /api/v1/robots", "CHANNEL robots", "RPC starling.link.v1.Link/Connect"
	Open     bool     // passes without a token
	Roles    []string // one of these; nil of a door that is not open = whoever has a good token
	Scope    Scope
	Kind     Kind
	Action   string // "task.create"; "" of an untold one
	Resource string // kind of object: "task"
	Why      string // of an open door, and of a write that is not recorded
}

// Allows says whether an identity's roles may pass. A robot is held to its own robot_id or fleet behind the door.
func (r *Rule) Allows(who *Identity) bool { return r.Roles == nil || who.Has(r.Roles...) }

// inTenant lists the rule's roles that count within a tenant.
func (r *Rule) inTenant() []string {
	return slices.DeleteFunc(slices.Clone(r.Roles), func(role string) bool { return role == PlatformAdmin })
}

// Every lists the roles that pass, those too that another one implies; empty = whoever has a good token.
func (r *Rule) Every() []string {
	out := []string{}
	for _, role := range known {
		if r.Roles != nil && r.Allows(&Identity{Roles: []string{role}}) {
			out = append(out, role)
		}
	}
	return out
}

// Policy is the one table of all doors. The HTTP door, the live channel and the robot link ask it, the OpenAPI document
// and docs/roles.md are made from it, and a door that is not in it cannot be opened.
type Policy struct {
	rules []Rule
	at    map[string]*Rule
}

// NewPolicy returns the table.
func NewPolicy() *Policy {
	p := &Policy{at: map[string]*Rule{}}
	for _, part := range [][]Rule{openRules(), identityRules(), floorRules(), robotRules(), taskRules(), alertRules(), streamRules()} {
		p.rules = append(p.rules, part...)
	}
	for i := range p.rules {
		p.at[p.rules[i].Door] = &p.rules[i]
	}
	return p
}

// Rule finds a door, nil = there is none of the name.
func (p *Policy) Rule(door string) *Rule { return p.at[door] }

// Rules lists all doors in the order of the table.
func (p *Policy) Rules() []Rule { return slices.Clone(p.rules) }

// LinkDoor is the robot link's.
const LinkDoor = "RPC starling.link.v1.Link/Connect"

func openRules() []Rule {
	var rules []Rule
	for _, d := range [][2]string{
		{"GET /healthz", "says that the process lives"},
		{"GET /readyz", "says whether requests should come here"},
		{"GET /metrics", "for the monitoring; a port of its own where METRICS_PORT is set"},
		{"GET /docs", "the API's document"},
		{"GET /docs/*", "the API's document"},
		{"GET /openapi.json", "the API's document"},
		{"GET /openapi.yaml", "the API's document"},
		{"GET /openapi-3.0.json", "the API's document"},
		{"GET /openapi-3.0.yaml", "the API's document"},
		{"GET /asyncapi.yaml", "the live channel's document"},
		{"GET /.well-known/openid-configuration", "the development issuer, in development alone"},
		{"GET /.well-known/jwks.json", "the development issuer, in development alone"},
		{"POST /dev/token", "the development issuer, in development alone"},
	} {
		rules = append(rules, Rule{Door: d[0], Open: true, Scope: NoTenant, Why: d[1]})
	}
	return rules
}

func readers() []string { return []string{Viewer, Service} }

func identityRules() []Rule {
	platform, admin := []string{PlatformAdmin}, []string{Admin}
	return []Rule{
		{Door: "GET /api/v1/me", Scope: NoTenant},
		{Door: "GET /api/v1/tenants/current", Roles: readers()},
		{Door: "GET /api/v1/tenants", Roles: platform, Scope: NoTenant},
		{Door: "POST /api/v1/tenants", Roles: platform, Scope: NoTenant, Kind: Write, Action: "tenant.create", Resource: "tenant"},
		{Door: "GET /api/v1/tenants/{tenant_id}", Roles: platform, Scope: NoTenant, Kind: Read, Action: "tenant.read", Resource: "tenant"},
		{Door: "PATCH /api/v1/tenants/{tenant_id}", Roles: platform, Scope: NoTenant, Kind: Write, Action: "tenant.update", Resource: "tenant"},
		{Door: "GET /api/v1/tenants/current/settings", Roles: admin, Kind: Read, Action: "settings.read", Resource: "settings"},
		{Door: "PATCH /api/v1/tenants/current/settings", Roles: admin, Kind: Write, Action: "settings.update", Resource: "settings"},
		{Door: "GET /api/v1/audit", Roles: []string{Admin, PlatformAdmin}, Scope: TenantOrPlatform, Kind: Read, Action: "audit.read", Resource: "audit"},
		{Door: "GET /api/v1/audit/export", Roles: []string{Admin, PlatformAdmin}, Scope: TenantOrPlatform, Kind: Read, Action: "audit.export", Resource: "audit"},
	}
}

func floorRules() []Rule {
	admin := []string{Admin}
	return []Rule{
		{Door: "GET /api/v1/warehouses", Roles: readers()},
		{Door: "POST /api/v1/warehouses", Roles: admin, Kind: Write, Action: "warehouse.create", Resource: "warehouse"},
		{Door: "GET /api/v1/warehouses/{warehouse_id}", Roles: readers()},
		{Door: "GET /api/v1/maps", Roles: readers()},
		{Door: "POST /api/v1/maps", Roles: admin, Kind: Write, Action: "map.create", Resource: "map"},
		{Door: "POST /api/v1/maps:validate", Roles: readers(), Why: "stores nothing"},
		{Door: "GET /api/v1/maps/{map_id}", Roles: readers()},
		{Door: "GET /api/v1/maps/{map_id}/versions", Roles: readers()},
		{Door: "POST /api/v1/maps/{map_id}/versions", Roles: admin, Kind: Write, Action: "map.upload", Resource: "map"},
		{Door: "GET /api/v1/maps/{map_id}/versions/{n}", Roles: readers()},
		{Door: "GET /api/v1/maps/{map_id}/versions/{n}/floor-plan", Roles: readers()},
		{Door: "GET /api/v1/maps/{map_id}/versions/{n}/diff", Roles: readers()},
		{Door: "POST /api/v1/maps/{map_id}/versions/{n}/activate", Roles: admin, Kind: Write, Action: "map.activate", Resource: "map"},
		{Door: "GET /api/v1/lanes", Roles: readers()},
		{Door: "PATCH /api/v1/lanes/{lane_id}", Roles: admin, Kind: Write, Action: "lane.update", Resource: "lane"},
		{Door: "GET /api/v1/zones", Roles: readers()},
		{Door: "GET /api/v1/zones/{zone_id}", Roles: readers()},
		{Door: "PUT /api/v1/zones/{zone_id}", Roles: admin, Kind: Write, Action: "zone.put", Resource: "zone"},
		{Door: "DELETE /api/v1/zones/{zone_id}", Roles: admin, Kind: Write, Action: "zone.delete", Resource: "zone"},
		{Door: "GET /api/v1/overview", Roles: readers()},
		{Door: "GET /api/v1/waits", Roles: readers()},
		{Door: "GET /api/v1/congestion/hotspots", Roles: readers()},
		{Door: "GET /api/v1/congestion/remedies", Roles: readers()},
		{Door: "POST /api/v1/congestion/remedies", Roles: []string{Operator}, Kind: Write, Action: "remedy.apply", Resource: "remedy"},
		{Door: "DELETE /api/v1/congestion/remedies/{remedy_id}", Roles: []string{Operator}, Kind: Write, Action: "remedy.undo", Resource: "remedy"},
		{Door: "GET /api/v1/congestion/zones/{zone_id}/diagram", Roles: readers()},
		{Door: "GET /api/v1/congestion/zones/{zone_id}/history", Roles: readers()},
		{Door: "GET /api/v1/congestion/lanes/{lane_id}/history", Roles: readers()},
	}
}

func robotRules() []Rule {
	admin, devices := []string{Admin}, []string{RobotRole, Admin, Service}
	return []Rule{
		{Door: "GET /api/v1/robots", Roles: readers()},
		{Door: "POST /api/v1/robots", Roles: admin, Kind: Write, Action: "robot.create", Resource: "robot"},
		{Door: "GET /api/v1/robots/{robot_id}", Roles: readers(), Kind: Read, Action: "robot.read", Resource: "robot"},
		{Door: "PATCH /api/v1/robots/{robot_id}", Roles: admin, Kind: Write, Action: "robot.update", Resource: "robot"},
		{Door: "DELETE /api/v1/robots/{robot_id}", Roles: admin, Kind: Write, Action: "robot.delete", Resource: "robot"},
		{Door: "POST /api/v1/robots/{robot_id}/status", Roles: devices, Why: "telemetry, once a second and robot"},
		{Door: "POST /api/v1/robots/status", Roles: devices, Why: "telemetry, once a second and robot"},
		{Door: "POST /api/v1/robots/{robot_id}/commands", Roles: []string{Operator}, Kind: Write, Action: "robot.command", Resource: "robot"},
		{Door: "GET /api/v1/robots/{robot_id}/commands/{command_id}", Roles: []string{Viewer}},
		{Door: "GET /api/v1/robots/{robot_id}/why", Roles: []string{Viewer}, Kind: Read, Action: "robot.why", Resource: "robot"},
		{Door: "GET /api/v1/robots/{robot_id}/history", Roles: readers()},
		{Door: LinkDoor, Roles: devices, Kind: Write, Action: "link.connect", Resource: "link"},
	}
}

func taskRules() []Rule {
	works := []string{Operator, Service}
	return []Rule{
		{Door: "GET /api/v1/tasks", Roles: readers()},
		{Door: "POST /api/v1/tasks", Roles: works, Kind: Write, Action: "task.create", Resource: "task"},
		{Door: "POST /api/v1/tasks:batch", Roles: works, Kind: Write, Action: "task.create_batch", Resource: "task"},
		{Door: "GET /api/v1/tasks/{task_id}", Roles: readers(), Kind: Read, Action: "task.read", Resource: "task"},
		{Door: "POST /api/v1/tasks/{task_id}/cancel", Roles: works, Kind: Write, Action: "task.cancel", Resource: "task"},
		{Door: "GET /api/v1/tasks/{task_id}/events", Roles: readers(), Kind: Read, Action: "task.events", Resource: "task"},
		{Door: "GET /api/v1/tasks/{task_id}/timing", Roles: readers(), Kind: Read, Action: "task.timing", Resource: "task"},
		{Door: "GET /api/v1/tasks/{task_id}/why", Roles: []string{Viewer}, Kind: Read, Action: "task.why", Resource: "task"},
		{Door: "GET /api/v1/dead-letters", Roles: []string{Admin}, Kind: Read, Action: "dead_letter.list", Resource: "dead_letter"},
		{Door: "GET /api/v1/dead-letters/{event_id}", Roles: []string{Admin}, Kind: Read, Action: "dead_letter.read", Resource: "dead_letter"},
		{Door: "POST /api/v1/dead-letters/{event_id}/retry", Roles: []string{Admin}, Kind: Write, Action: "dead_letter.retry", Resource: "dead_letter"},
		{Door: "POST /api/v1/dead-letters/{event_id}/discard", Roles: []string{Admin}, Kind: Write, Action: "dead_letter.discard", Resource: "dead_letter"},
		{Door: "GET /api/v1/scheduler/decisions", Roles: readers()},
		{Door: "POST /api/v1/scheduler/plan", Roles: works, Why: "changes nothing"},
	}
}

func alertRules() []Rule {
	people, admin := []string{Operator}, []string{Admin}
	rules := []Rule{
		{Door: "GET /api/v1/alerts", Roles: readers()},
		{Door: "POST /api/v1/alerts", Roles: people, Kind: Write, Action: "alert.report", Resource: "alert"},
		{Door: "GET /api/v1/alerts/{alert_id}", Roles: readers(), Kind: Read, Action: "alert.read", Resource: "alert"},
	}
	for _, verb := range []string{"acknowledge", "assign", "snooze", "resolve", "rollback", "mark"} {
		rules = append(rules, Rule{Door: "POST /api/v1/alerts/{alert_id}/" + verb, Roles: people, Kind: Write, Action: "alert." + verb, Resource: "alert"})
	}
	return append(rules,
		Rule{Door: "POST /api/v1/alerts/{alert_id}/comments", Roles: people, Kind: Write, Action: "alert.comment", Resource: "alert"},
		Rule{Door: "GET /api/v1/webhooks", Roles: admin, Kind: Read, Action: "webhook.list", Resource: "webhook"},
		Rule{Door: "POST /api/v1/webhooks/{name}/test", Roles: admin, Kind: Write, Action: "webhook.test", Resource: "webhook"},
		Rule{Door: "POST /api/v1/webhooks/{name}/enable", Roles: admin, Kind: Write, Action: "webhook.enable", Resource: "webhook"},
		Rule{Door: "GET /api/v1/webhooks/deliveries", Roles: admin},
		Rule{Door: "GET /api/v1/webhooks/deliveries/{delivery_id}", Roles: admin, Kind: Read, Action: "delivery.read", Resource: "delivery"},
		Rule{Door: "POST /api/v1/webhooks/deliveries/{delivery_id}/retry", Roles: admin, Kind: Write, Action: "delivery.retry", Resource: "delivery"},
	)
}

func streamRules() []Rule {
	rules := []Rule{{Door: "GET /api/v1/ws", Roles: readers()}, {Door: "GET /api/v1/stream", Roles: readers()}}
	for _, c := range []string{"robots", "tasks", "zones", "congestion", "alerts"} {
		rules = append(rules, Rule{Door: "CHANNEL " + c, Roles: readers()})
	}
	return rules
}
