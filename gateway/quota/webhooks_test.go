package quota

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"starling/engine/fact"
)

const secretHook = "0123456789abcdef"

func TestEveryFaultOfWebhooksIsToldAtOnce(t *testing.T) {
	t.Parallel()
	hook := func(more string) string {
		return `{"url":"https://a.example/x","secret":"` + secretHook + `"` + more + `}`
	}
	many := make([]string, 0, 11)
	for i := range 11 {
		many = append(many, fmt.Sprintf(`"h%d":%s`, i, hook("")))
	}
	for raw, want := range map[string][]Problem{
		`{"webhooks":null}`: nil,
		`{"webhooks":{}}`:   nil,
		`{"webhooks":{"a":` + hook("") + `,"b":null}}`:                                       nil,
		`{"webhooks":{"a":` + hook(`,"min_level":"L3","topics":["alert"],"off":true`) + `}}`: nil,
		`{"webhooks":{"a":` + hook(`,"min_level":null,"topics":null,"off":null`) + `}}`:      nil,
		`{"webhooks":[]}`: {{"webhooks", "want an object of at most 10 receivers by name"}},
		`{"webhooks":{` + strings.Join(many, ",") + `}}`:   {{"webhooks", "want an object of at most 10 receivers by name"}},
		`{"webhooks":{"A b":` + hook("") + `}}`:            {{"webhooks.A b", "want a name of at most 32 lower case letters, digits and hyphens"}},
		`{"webhooks":{"a":7}}`:                             {{"webhooks.a", "want an object"}},
		`{"webhooks":{"a":{}}}`:                            {{"webhooks.a.secret", "is needed"}, {"webhooks.a.url", "is needed"}},
		`{"webhooks":{"a":{"url":null,"secret":"short"}}}`: {{"webhooks.a.secret", "want 16..200 printable characters without spaces"}, {"webhooks.a.url", "is needed"}},
		`{"webhooks":{"a":` + hook(`,"min_level":"L4","topics":["x"],"off":1,"colour":2`) + `}}`: {
			{"webhooks.a.colour", "there is no such setting"},
			{"webhooks.a.min_level", "want L1, L2 or L3"},
			{"webhooks.a.off", "want true or false"},
			{"webhooks.a.topics", "want a list of congestion_alert and alert"},
		},
	} {
		if got := Check(json.RawMessage(raw), nil); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
	for _, u := range []string{"ftp://a/", "https://", "https://u:p@a/", "https://a/#f", "a", "", "https://a/" + strings.Repeat("x", maxHookURL)} {
		doc := map[string]any{"webhooks": map[string]any{"a": map[string]any{"url": u, "secret": secretHook}}}
		raw, _ := json.Marshal(doc)
		if got := Check(raw, nil); len(got) != 1 || got[0].Field != "webhooks.a.url" {
			t.Errorf("URL %q: %v", u, got)
		}
	}
}

func TestWebhooksAreThoseThatAreComplete(t *testing.T) {
	t.Parallel()
	s := parse(json.RawMessage(`{"webhooks":{"b":{"url":"https://b.example/","secret":"whsec_AAECAwQFBgcICQoLDA0ODw==","min_level":"L2","topics":["alert","alert"]},
		"a":{"url":"https://a.example/","secret":"`+secretHook+`"},"no":{"url":"https://c.example/"}}}`), nil)
	all := s.Webhooks()
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Fatalf("webhooks are %v", all)
	}
	if a, b := all[0], all[1]; string(a.Key()) != secretHook || len(b.Key()) != 16 || b.Key()[15] != 15 {
		t.Errorf("keys are %x and %x", a.Key(), b.Key())
	}
	if fmt.Sprintf("%v %+v %#v %s", all[0], all[0], all[0], all[:1]) != "webhook a webhook a webhook a [webhook a]" {
		t.Errorf("a webhook prints as %#v", all[0])
	}
	for i, want := range []bool{true, true, false, true} {
		topic, level := []fact.Topic{fact.TopicAlert, fact.TopicCongestion, fact.TopicCongestion, fact.TopicAlert}[i], []int{1, 1, 3, 2}[i]
		if got := all[i/2].Wants(topic, level); got != want {
			t.Errorf("webhook %s wants %s of level %d: %t", all[i/2].Name, topic, level, got)
		}
	}
}

func TestSecretsAreNotShownAndKept(t *testing.T) {
	t.Parallel()
	stored := json.RawMessage(`{"webhooks":{"a":{"url":"https://a.example/","secret":"` + secretHook + `"},"b":{"url":"https://b.example/","secret":"other-0123456789"}}}`)
	shown := map[string]any{}
	if err := json.Unmarshal(stored, &shown); err != nil {
		t.Fatal(err)
	}
	ShowHooks(shown)
	if b, _ := json.Marshal(shown); strings.Contains(string(b), secretHook) || strings.Count(string(b), Redacted) != 2 {
		t.Fatalf("shown as %s", b)
	}
	// What was shown may be sent back: a with a new URL, b with a new secret, c without any.
	hooks := shown["webhooks"].(map[string]any)
	hooks["a"].(map[string]any)["url"] = "https://new.example/"
	hooks["b"].(map[string]any)["secret"] = "brand-new-secret-1"
	hooks["c"] = map[string]any{"url": "https://c.example/", "secret": Redacted}
	hooks["d"] = 7
	KeepSecrets(shown, stored)
	b, _ := json.Marshal(shown)
	want := `{"webhooks":{"a":{"secret":"` + secretHook + `","url":"https://new.example/"},"b":{"secret":"brand-new-secret-1","url":"https://b.example/"},"c":{"url":"https://c.example/"},"d":7}}`
	if string(b) != want {
		t.Errorf("kept as %s, want %s", b, want)
	}
}
