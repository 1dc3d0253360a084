package quota

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEveryFaultOfSettingsIsToldAtOnce(t *testing.T) {
	t.Parallel()
	limits := json.RawMessage(`{"robots": 10, "requests_per_s": 100}`)
	for name, c := range map[string]struct {
		raw  string
		want []Problem
	}{
		"nothing":             {`{}`, nil},
		"no object":           {`[]`, []Problem{{"", "want an object"}}},
		"null":                {`null`, []Problem{{"", "want an object"}}},
		"others are free":     {`{"retention":{"days":1},"weights":[1]}`, nil},
		"members may go":      {`{"quotas":null,"cors":null,"degradation_level":null}`, nil},
		"within the limits":   {`{"quotas":{"robots":10,"requests_per_s":1e2,"tasks_per_min":0,"ws_clients":null}}`, nil},
		"no limit is set":     {`{"quotas":{"actors":250000}}`, nil},
		"late tasks":          {`{"tasks":{"cancel_late_after_s":60}}`, nil},
		"late tasks may go":   {`{"tasks":{"cancel_late_after_s":null}}`, nil},
		"too early, and what": {`{"tasks":{"cancel_late_after_s":59,"x":1}}`, []Problem{{"tasks.cancel_late_after_s", "want a whole number 60..2592000"}, {"tasks.x", "there is no such setting"}}},
		"late is no object":   {`{"tasks":60}`, []Problem{{"tasks", "want an object"}}},
		"level":               {`{"degradation_level":3}`, nil},
		"origins":             {`{"cors":{"allowed_origins":["https://a.example","http://localhost:5173","https://[::1]:8443"]}}`, nil},
		"no origins":          {`{"cors":{"allowed_origins":null}}`, nil},
		"quotas are a list":   {`{"quotas":[1]}`, []Problem{{"quotas", "want an object of quotas by name"}}},
		"cors is a list":      {`{"cors":["https://a.example"]}`, []Problem{{"cors", "want an object"}}},
		"origins are no list": {`{"cors":{"allowed_origins":"https://a.example"}}`, []Problem{{"cors.allowed_origins", "want a list of origins"}}},
		"all at once": {
			`{"quotas":{"robots":11,"requests_per_s":-1,"tasks_per_min":1.5,"wheels":4,"actors":"5","replay_hours":9999},
			"cors":{"allowed_origins":["https://a.example","https://a.example/","*","https://A.example","ftp://a",7,null,"https://u@a.example","https://a.example:443"],"max_age":1},"degradation_level":4}`,
			[]Problem{
				{"cors.allowed_origins[1]", badOrigin},
				{"cors.allowed_origins[2]", badOrigin},
				{"cors.allowed_origins[3]", badOrigin},
				{"cors.allowed_origins[4]", badOrigin},
				{"cors.allowed_origins[5]", badOrigin},
				{"cors.allowed_origins[6]", badOrigin},
				{"cors.allowed_origins[7]", badOrigin},
				{"cors.allowed_origins[8]", badOrigin},
				{"cors.max_age", "there is no such setting"},
				{"degradation_level", "want a whole number 0..3"},
				{"quotas.actors", "want a whole number 0..250000"},
				{"quotas.replay_hours", "above the platform's limit of this tenant, 168"},
				{"quotas.requests_per_s", "want a whole number 0..100"},
				{"quotas.robots", "above the platform's limit of this tenant, 10"},
				{"quotas.tasks_per_min", "want a whole number 0..300000"},
				{"quotas.wheels", "there is no such quota"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Check(json.RawMessage(c.raw), limits); !slices.Equal(got, c.want) {
				t.Fatalf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

const badOrigin = "want an origin such as https://host or https://host:8443, in lower case, without a path"

func TestLimitsAreCheckedToo(t *testing.T) {
	t.Parallel()
	if got := CheckLimits(json.RawMessage(`{"robots":1000000,"actors":0}`)); got != nil {
		t.Fatal(got)
	}
	got := CheckLimits(json.RawMessage(`{"robots":1000001,"x":1,"actors":true}`))
	if !slices.Equal(got, []Problem{
		{"actors", "want a whole number 0..1000000"}, {"robots", "above what may be granted, 1000000"}, {"x", "there is no such quota"},
	}) {
		t.Fatal(got)
	}
	if got := CheckLimits(json.RawMessage(`7`)); len(got) != 1 {
		t.Fatal(got)
	}
}

func TestTheSmallerOfQuotaAndLimitHolds(t *testing.T) {
	t.Parallel()
	s := parse(json.RawMessage(`{"quotas":{"robots":5,"actors":9,"tasks_per_min":"x"},"degradation_level":2}`), json.RawMessage(`{"robots":10,"actors":7,"ws_clients":50000}`))
	for k, want := range map[Kind]int{Robots: 5, Actors: 7, Clients: 50_000, Tasks: Tasks.Default(), Requests: Requests.Default()} {
		if got := s.Limit(k); got != want {
			t.Errorf("%s is %d, want %d", k, got, want)
		}
	}
}

func TestWhatPassesTheCheckHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		quotas := rapid.MapOf(rapid.SampledFrom([]string{"requests_per_s", "link_statuses_per_s", "tasks_per_min", "robots", "actors", "ws_clients", "replay_hours"}), rapid.IntRange(-1, 10_000_000)).Draw(t, "quotas")
		limits := rapid.MapOf(rapid.SampledFrom([]string{"requests_per_s", "robots", "ws_clients"}), rapid.IntRange(0, 200_000)).Draw(t, "limits")
		raw, _ := json.Marshal(map[string]any{"quotas": quotas})
		granted, _ := json.Marshal(limits)
		faults, s := Check(raw, granted), parse(raw, granted)
		for k := range kinds {
			most, set := grant(k, rawOf(limits)), -1
			if n, ok := quotas[k.String()]; ok {
				set = n
			}
			if s.Limit(k) > most {
				t.Fatalf("%s is %d, the platform grants %d", k, s.Limit(k), most)
			}
			if len(faults) == 0 && set >= 0 && s.Limit(k) != set {
				t.Fatalf("%s was set to %d and is %d", k, set, s.Limit(k))
			}
		}
	})
}

func rawOf(m map[string]int) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for k, n := range m {
		out[k], _ = json.Marshal(n)
	}
	return out
}

func TestOriginsOfATenant(t *testing.T) {
	t.Parallel()
	s := parse(json.RawMessage(`{"cors":{"allowed_origins":["https://b.example","https://a.example:8443","*"]}}`), nil)
	for origin, want := range map[string]bool{
		"https://b.example": true, "https://B.example": true, "https://a.example:8443": true, "https://a.example": false, "*": false, "": false, "null": false,
	} {
		if s.AllowsOrigin(origin) != want {
			t.Errorf("%q: %v", origin, !want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"quotas":{"robots":5},"cors":{"allowed_origins":["https://a.example"]},"degradation_level":1}`), []byte(`{"robots":9}`))
	f.Fuzz(func(t *testing.T, raw, limits []byte) {
		faults := Check(raw, limits)
		s := parse(raw, limits)
		for k := range kinds {
			if s.Limit(k) < 0 || s.Limit(k) > max(about[k].bound, about[k].usual) {
				t.Fatalf("%s is %d after faults %v", k, s.Limit(k), faults)
			}
		}
	})
}

func TestLateTasksAreCancelledWhereTheTenantWantsIt(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]time.Duration{
		``: 0, `{}`: 0, `{"tasks":{"cancel_late_after_s":90}}`: 90 * time.Second, `{"tasks":{"cancel_late_after_s":5}}`: 0, `{"tasks":7}`: 0,
	} {
		s := parse(json.RawMessage(raw), nil)
		if got := s.CancelLate(); got != want {
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
}
