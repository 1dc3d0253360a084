package quota

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
)

func TestRulesOfAlerts(t *testing.T) {
	t.Parallel()
	doc := json.RawMessage(`{"alerts": {"low_battery": {"dwell_s": 90, "escalate_l3_s": 0}, "robot_lost": {"off": true}, "suspect": null}}`)
	if faults := Check(doc, nil); len(faults) != 0 {
		t.Fatalf("faults %v", faults)
	}
	s := parse(doc, nil)
	rules := s.AlertRules()
	usual := alert.DefaultRule(alert.LowBattery)
	if r := rules.Of(alert.LowBattery); r.Dwell != 90*time.Second || r.Escalate[2] != 0 || r.Escalate[1] != usual.Escalate[1] || r.Clear != usual.Clear {
		t.Fatalf("low battery: %+v", r)
	}
	if r := rules.Of(alert.RobotLost); !r.Off {
		t.Fatalf("lost robots: %+v", r)
	}
	if r := rules.Of(alert.Suspect); r != alert.DefaultRule(alert.Suspect) {
		t.Fatalf("suspects: %+v", r)
	}
	bad := json.RawMessage(`{"alerts": {"fire": {}, "congestion": {"dwell_s": -1, "clear_s": 3601, "x": 1, "off": "no"}, "suspect": 3}}`)
	var fields []string
	for _, p := range Check(bad, nil) {
		fields = append(fields, p.Field)
	}
	want := []string{"alerts.congestion.clear_s", "alerts.congestion.dwell_s", "alerts.congestion.off", "alerts.congestion.x", "alerts.fire", "alerts.suspect"}
	if !slices.Equal(fields, want) {
		t.Fatalf("faults at %v, want %v", fields, want)
	}
}
