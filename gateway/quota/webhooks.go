package quota

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"starling/engine/fact"
)

const (
	settingWebhooks = "webhooks"

	// Redacted stands for a webhook's secret wherever settings are shown.
	Redacted = "[redacted]"

	maxHooks   = 10
	maxHookURL = 2048
	minSecret  = 16
	maxSecret  = 200
)

func hookName(s string) bool {
	return len(s) <= 32 && regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`).MatchString(s)
}

// hookURL says whether u is one that a message can be sent to. Where it may go is the sender's to know.
func hookURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxHookURL && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

// webhooks checks where a tenant wants to be told of alerts: an object of receivers by name. It returns those that are
// complete.
func (c *checker) webhooks(raw json.RawMessage) (all []fact.Webhook) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil || len(doc) > maxHooks {
		c.add(settingWebhooks, "want an object of at most %d receivers by name", maxHooks)
		return nil
	}
	for name, value := range doc {
		at := settingWebhooks + "." + bounded(name)
		if isNull(value) {
			continue
		}
		if !hookName(name) {
			c.add(at, "want a name of at most 32 lower case letters, digits and hyphens")
			continue
		}
		before := len(c.found)
		if w := c.webhook(name, at, value); len(c.found) == before {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b fact.Webhook) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (c *checker) webhook(name, at string, raw json.RawMessage) fact.Webhook {
	var to, secret string
	level, topics, off := 1, fact.Topics(), false
	if !c.object(at+".", raw, func(member string, value json.RawMessage) bool {
		field := at + "." + member
		switch member {
		case "url":
			if json.Unmarshal(value, &to) != nil || !hookURL(to) {
				c.add(field, "want a URL such as https://host/path of at most %d characters, without user, password and fragment", maxHookURL)
			}
		case "secret":
			if json.Unmarshal(value, &secret) != nil || len(secret) < minSecret || len(secret) > maxSecret || strings.ContainsFunc(secret, func(r rune) bool { return r < '!' || r > '~' }) {
				c.add(field, "want %d..%d printable characters without spaces", minSecret, maxSecret)
			}
		case "min_level":
			var l string
			_ = json.Unmarshal(value, &l)
			if level = slices.Index([]string{"L1", "L2", "L3"}, l) + 1; level == 0 {
				c.add(field, "want L1, L2 or L3")
			}
		case "topics":
			topics = c.topics(field, value)
		case "off":
			if json.Unmarshal(value, &off) != nil {
				c.add(field, "want true or false")
			}
		default:
			return false
		}
		return true
	}) {
		return fact.Webhook{}
	}
	if to == "" {
		c.missing(at+".url", raw, "url")
	}
	if secret == "" {
		c.missing(at+".secret", raw, "secret")
	}
	w := fact.NewWebhook(name, to, secret)
	w.MinLevel, w.Topics, w.Off = level, topics, off
	return w
}

// missing says that a member is needed, where nothing worse is said of it already.
func (c *checker) missing(field string, raw json.RawMessage, member string) {
	var doc map[string]json.RawMessage
	_ = json.Unmarshal(raw, &doc)
	if v := doc[member]; len(v) == 0 || isNull(v) {
		c.add(field, "is needed")
	}
}

func (c *checker) topics(field string, raw json.RawMessage) (out []fact.Topic) {
	if json.Unmarshal(raw, &out) != nil || len(out) == 0 || slices.ContainsFunc(out, func(t fact.Topic) bool { return !slices.Contains(fact.Topics(), t) }) {
		c.add(field, "want a list of congestion_alert and alert")
		return fact.Topics()
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Webhooks are the receivers of a tenant's alerts, ordered by name.
func (s *Settings) Webhooks() []fact.Webhook { return s.webhooks }

// ShowHooks replaces the secrets in settings that are about to be shown.
func ShowHooks(settings map[string]any) {
	eachHook(settings, func(_ string, hook map[string]any) {
		if _, ok := hook["secret"]; ok {
			hook["secret"] = Redacted
		}
	})
}

// KeepSecrets completes a change of settings: a receiver whose secret is not said anew, or said as it was shown, keeps the
// one that is stored.
func KeepSecrets(patch map[string]any, stored json.RawMessage) {
	now := map[string]any{}
	_ = json.Unmarshal(stored, &now) // an object by the store's promise
	kept := map[string]any{}
	eachHook(now, func(name string, hook map[string]any) { kept[name] = hook["secret"] })
	eachHook(patch, func(name string, hook map[string]any) {
		if said, ok := hook["secret"]; ok && said != nil && said != Redacted {
			return
		}
		if delete(hook, "secret"); kept[name] != nil {
			hook["secret"] = kept[name]
		}
	})
}

func eachHook(settings map[string]any, f func(name string, hook map[string]any)) {
	hooks, _ := settings[settingWebhooks].(map[string]any)
	for name, value := range hooks {
		if hook, ok := value.(map[string]any); ok {
			f(name, hook)
		}
	}
}
