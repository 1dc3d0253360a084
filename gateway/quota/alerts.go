package quota

import (
	"encoding/json"
	"slices"
	"time"

	"starling/engine/alert"
)

// settingAlerts names the settings of how signals become alerts, by cause: {"low_battery": {"dwell_s": 60, "off": false}}.
const settingAlerts = "alerts"

// The bounds of alerts' times, in seconds.
const (
	maxAlertTime     = 3600
	maxAlertEscalate = 24 * 3600
)

// AlertRules are the tenant's rules of alerts.
func (s *Settings) AlertRules() alert.Rules {
	r := s.alerts
	r.Version = s.version
	return r
}

// alerts checks them, or reads them where nobody complains.
func (c *checker) alerts(raw json.RawMessage) alert.Rules {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add(settingAlerts, "want an object of rules by cause")
		return alert.Rules{}
	}
	rules := alert.Rules{Causes: map[alert.Cause]alert.Rule{}}
	for name, value := range doc {
		at := settingAlerts + "." + bounded(name)
		if !slices.Contains(alert.Causes(), alert.Cause(name)) {
			c.add(at, "there is no such cause")
			continue
		}
		if !isNull(value) {
			rules.Causes[alert.Cause(name)] = c.alertRule(at, value)
		}
	}
	return rules
}

func (c *checker) alertRule(at string, raw json.RawMessage) (r alert.Rule) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add(at, "want an object")
		return r
	}
	times := map[string]struct {
		to   *time.Duration
		most int
	}{
		"dwell_s": {&r.Dwell, maxAlertTime}, "lower_s": {&r.Lower, maxAlertTime}, "clear_s": {&r.Clear, maxAlertTime},
		"cool_down_s": {&r.CoolDown, maxAlertTime}, "escalate_l1_s": {&r.Escalate[0], maxAlertEscalate},
		"escalate_l2_s": {&r.Escalate[1], maxAlertEscalate}, "escalate_l3_s": {&r.Escalate[2], maxAlertEscalate},
	}
	for name, value := range doc {
		if isNull(value) {
			continue
		}
		if name == "off" {
			if json.Unmarshal(value, &r.Off) != nil {
				c.add(at+".off", "want true or false")
			}
			continue
		}
		f, known := times[name]
		if !known {
			c.add(at+"."+bounded(name), "there is no such setting")
			continue
		}
		n, ok := number(value)
		if !ok || n > f.most {
			c.add(at+"."+name, "want a whole number 0..%d", f.most)
			continue
		}
		if *f.to = time.Duration(n) * time.Second; n == 0 {
			*f.to = -1 // at once, or (escalate) never: zero is the default
		}
	}
	return r
}
