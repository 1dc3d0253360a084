package quota

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
)

// Kind is what a quota bounds.
type Kind uint8

// The kinds. Requests, Statuses and Tasks are rates (Take); Actors and Clients are things that last (Enter); Robots is
// counted by the store and ReplayHours bounds one request: their doors ask Settings.Limit.
const (
	Requests    Kind = iota // of REST, a second
	Statuses                // of the robot link, a second
	Tasks                   // created, a minute
	Robots                  // registered
	Actors                  // robots that the link carries at once
	Clients                 // of the live channel at once
	ReplayHours             // that one replay may cover
	kinds
)

type trait struct {
	name         string
	usual, bound int
	per          time.Duration // 0 = no rate
	share        int           // one process takes 1/share of the rate from the common budget at a time
}

// about says of each kind how settings name it, what a tenant has of whom nothing is said, and the most that the
// platform may grant.
var about = [...]trait{
	Requests:    {name: "requests_per_s", usual: 5000, bound: 100_000, per: time.Second, share: 100},
	Statuses:    {name: "link_statuses_per_s", usual: 500_000, bound: 5_000_000, per: time.Second, share: 20},
	Tasks:       {name: "tasks_per_min", usual: 300_000, bound: 6_000_000, per: time.Minute, share: 1000},
	Robots:      {name: "robots", usual: 250_000, bound: 1_000_000},
	Actors:      {name: "actors", usual: 250_000, bound: 1_000_000},
	Clients:     {name: "ws_clients", usual: 20_000, bound: 100_000},
	ReplayHours: {name: "replay_hours", usual: 168, bound: 8760},
}

// String is the kind's name in settings.
func (k Kind) String() string { return about[k].name }

// Default is what a tenant has of whom neither settings nor limits say anything.
func (k Kind) Default() int { return about[k].usual }

const (
	maxOrigins     = 100
	maxOrigin      = 253 + len("https://:65535")
	maxDegradation = 3
)

// Settings are a tenant's bounds in force. The zero value is of no tenant: use Usual.
type Settings struct {
	limits  [kinds]int
	origins []string // sorted
	rules   rules

	cancelLate time.Duration
	webhooks   []fact.Webhook
	congestion json.RawMessage
	alerts     alert.Rules
	version    int64 // of the tenant's settings
}

// Usual are the settings of a tenant of whom nothing is said.
func Usual() Settings { return parse(nil, nil) }

// Limit is the quota in force: what the settings say, at most what the platform grants.
func (s *Settings) Limit(k Kind) int { return s.limits[k] }

// AllowsOrigin says whether pages of the origin may call for this tenant.
func (s *Settings) AllowsOrigin(origin string) bool {
	_, ok := slices.BinarySearch(s.origins, strings.ToLower(origin))
	return ok
}

// rate is the bound of a kind that is one.
func (s *Settings) rate(k Kind) Rate { return Rate{Units: s.limits[k], Per: about[k].per} }

// parse reads what is stored. It was checked when it was stored; what an older version let through and cannot be read
// counts as absent.
func parse(settings, limits json.RawMessage) Settings {
	var doc struct {
		Quotas   map[string]json.RawMessage `json:"quotas"`
		CORS     json.RawMessage            `json:"cors"`
		Charging json.RawMessage            `json:"charging"`
		Parking  json.RawMessage            `json:"parking"`
		Dispatch json.RawMessage            `json:"dispatch"`
		Sampling json.RawMessage            `json:"sampling"`
		Tasks    json.RawMessage            `json:"tasks"`
		Webhooks json.RawMessage            `json:"webhooks"`

		Congestion json.RawMessage `json:"congestion"`
		Alerts     json.RawMessage `json:"alerts"`
	}
	_ = json.Unmarshal(settings, &doc)
	var granted map[string]json.RawMessage
	_ = json.Unmarshal(limits, &granted)
	s := Settings{rules: rules{doc.Charging, doc.Parking, doc.Dispatch, doc.Sampling}, congestion: doc.Congestion}
	if len(doc.Tasks) > 0 {
		s.cancelLate = new(checker).tasks(doc.Tasks)
	}
	if len(doc.Webhooks) > 0 {
		s.webhooks = new(checker).webhooks(doc.Webhooks)
	}
	if len(doc.Alerts) > 0 {
		s.alerts = new(checker).alerts(doc.Alerts)
	}
	for k := range kinds {
		s.limits[k] = grant(k, granted)
		if n, ok := number(doc.Quotas[k.String()]); ok {
			s.limits[k] = min(n, s.limits[k])
		}
	}
	var cors struct {
		Origins []string `json:"allowed_origins"`
	}
	_ = json.Unmarshal(doc.CORS, &cors)
	for _, o := range cors.Origins {
		if isOrigin(o) && len(s.origins) < maxOrigins {
			s.origins = append(s.origins, o)
		}
	}
	slices.Sort(s.origins)
	return s
}

// grant is the most that settings may set.
func grant(k Kind, limits map[string]json.RawMessage) int {
	if n, ok := number(limits[k.String()]); ok {
		return min(n, about[k].bound)
	}
	return about[k].usual
}

// number reads a whole number that is not negative. JSON has one kind of number: 5.0 and 5e0 are 5.
func number(raw json.RawMessage) (int, bool) {
	var f float64
	if len(raw) == 0 || raw[0] == 'n' || json.Unmarshal(raw, &f) != nil || f < 0 || f > 1e15 || f != math.Trunc(f) {
		return 0, false
	}
	return int(f), true
}

// isOrigin says whether o is an origin as browsers write it: scheme, host in lower case, port where it is not the
// scheme's own.
func isOrigin(o string) bool {
	if len(o) > maxOrigin || strings.ToLower(o) != o {
		return false
	}
	u, err := url.Parse(o)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && o == u.Scheme+"://"+u.Host &&
		!strings.HasSuffix(u.Host, ":") && u.Scheme+u.Port() != "https443" && u.Scheme+u.Port() != "http80" && !strings.ContainsAny(o, "*,; \"'\\")
}

// Problem is a fault of a document: where and what.
type Problem struct{ Field, Problem string }

// Check holds a change of settings (a JSON object; null removes a member) against the tenant's limits and returns every
// fault at once, ordered by field; none = it may be stored.
func Check(raw, limits json.RawMessage) []Problem {
	var doc, granted map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		return []Problem{{"", "want an object"}}
	}
	_ = json.Unmarshal(limits, &granted)
	var c checker
	for name, value := range doc {
		if isNull(value) {
			continue
		}
		switch name {
		case "quotas":
			c.quotas(name+".", value, func(k Kind) (int, string) {
				return grant(k, granted), "above the platform's limit of this tenant, %d"
			})
		case "cors":
			c.cors(value)
		case settingCharging:
			c.charging(value)
		case settingParking:
			c.parking(value)
		case settingDispatch:
			c.dispatch(value)
		case settingSampling:
			c.sampling(value)
		case settingTasks:
			c.tasks(value)
		case settingAlerts:
			c.alerts(value)
		case settingCongestion:
			c.congestion(value)
		case settingWebhooks:
			c.webhooks(value)
		case "degradation_level":
			if n, ok := number(value); !ok || n > maxDegradation {
				c.add(name, "want a whole number 0..%d", maxDegradation)
			}
		}
	}
	return c.sorted()
}

// CheckLimits does so for the limits that the platform sets: an object of quotas by name.
func CheckLimits(raw json.RawMessage) []Problem {
	var c checker
	c.quotas("", raw, func(k Kind) (int, string) { return about[k].bound, "above what may be granted, %d" })
	return c.sorted()
}

type checker struct{ found []Problem }

func (c *checker) add(field, format string, args ...any) {
	c.found = append(c.found, Problem{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (c *checker) sorted() []Problem {
	slices.SortFunc(c.found, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return c.found
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

func (c *checker) quotas(at string, raw json.RawMessage, most func(Kind) (int, string)) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add(strings.TrimSuffix(at, "."), "want an object of quotas by name")
		return
	}
	for name, value := range doc {
		k := slices.IndexFunc(about[:], func(a trait) bool { return a.name == name })
		if k < 0 {
			c.add(at+bounded(name), "there is no such quota")
			continue
		}
		if isNull(value) {
			continue
		}
		n, ok := number(value)
		bound, text := most(Kind(k))
		switch {
		case !ok:
			c.add(at+name, "want a whole number 0..%d", bound)
		case n > bound:
			c.add(at+name, text, bound)
		}
	}
}

// bounded keeps a name that somebody chose from filling the answer.
func bounded(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}

func (c *checker) cors(raw json.RawMessage) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add("cors", "want an object")
		return
	}
	for name, value := range doc {
		if name != "allowed_origins" {
			c.add("cors."+bounded(name), "there is no such setting")
			continue
		}
		var origins []json.RawMessage
		if !isNull(value) && json.Unmarshal(value, &origins) != nil {
			c.add("cors.allowed_origins", "want a list of origins")
			continue
		}
		if len(origins) > maxOrigins {
			c.add("cors.allowed_origins", "want at most %d origins", maxOrigins)
			continue
		}
		for i, raw := range origins {
			var o string
			if isNull(raw) || json.Unmarshal(raw, &o) != nil || !isOrigin(o) {
				c.add(fmt.Sprintf("cors.allowed_origins[%d]", i), "want an origin such as https://host or https://host:8443, in lower case, without a path")
			}
		}
	}
}
