package congestion_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"starling/engine/congestion"
)

func TestSettingsSayAllTheirFaultsAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doc  string
		want []string // fields
	}{
		"nothing":      {doc: `{}`},
		"no object":    {doc: `[1]`, want: []string{""}},
		"all is well":  {doc: `{"l1":{"index":0.2,"percentile":0.9,"risk":0.5,"after_s":20},"dwell_s":30,"kinds":{"lane":{"l2":{"density":1}}},"acting":{"automatic":"L2","remedies":["reroute"]}}`},
		"null is none": {doc: `{"l1":null,"kinds":null,"warehouses":{"w":null}}`},
		"many": {
			doc: `{"l1":{"index":2,"colour":1},"l4":{},"dwell_s":-1,"off":"yes","kinds":{"attic":{},"lane":{"l1":{"risk":"high"}}},"acting":{"automatic":"L4","remedies":["pray"],"least_gain":7},"warehouses":{"w":{"margin":1,"warehouses":{}}}}`,
			want: []string{
				"acting.automatic", "acting.least_gain", "acting.remedies[0]", "dwell_s", "kinds.attic", "kinds.lane.l1.risk", "l1.colour", "l1.index", "l4", "off",
				"warehouses.w.margin", "warehouses.w.warehouses",
			},
		},
		"levels that fall":            {doc: `{"l1":{"index":0.5},"l2":{"index":0.4}}`, want: []string{"l2.index"}},
		"levels that fall in a kind":  {doc: `{"kinds":{"lane":{"l3":{"index":0.1}}}}`, want: []string{"l3.index"}},
		"levels that fall in a house": {doc: `{"warehouses":{"w":{"l1":{"index":0.9}}}}`, want: []string{"warehouses.w.l2.index"}},
		"a margin that has no end":    {doc: `{"l1":{"index":0.2},"clear_margin":0.2}`, want: []string{"clear_margin"}},
		"one by a risk in a kind":     {doc: `{"kinds":{"lane":{"l1":{"risk":0.05}}}}`, want: []string{"clear_margin"}},
		"one in a house":              {doc: `{"warehouses":{"w":{"clear_margin":0.5}}}`, want: []string{"warehouses.w.clear_margin"}},
		"warehouses that are none":    {doc: `{"warehouses":3}`, want: []string{"warehouses"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range congestion.CheckSettings(json.RawMessage(c.doc)) {
				got = append(got, f.Field)
				if f.Problem == "" {
					t.Errorf("%s: no problem is told", f.Field)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("faults in %q, want %q", got, c.want)
			}
		})
	}
}

func TestSettingsOfAWarehouseStandOnTheTenants(t *testing.T) {
	t.Parallel()
	doc := json.RawMessage(`{"l1":{"index":0.2},"kinds":{"lane":{"l1":{"index":0.4}}},"acting":{"automatic":"L2","remedies":["hold_tasks"]},
		"warehouses":{"a":{"dwell_s":5,"kinds":{"aisle":{"l1":{"after_s":7}}}},"b":{"dwell_s":"long","off":true},"c":{"off":true,"l1":{"percentile":0}}}}`)
	a := congestion.ReadSettings(doc, "a")
	if r := a.Ladders[congestion.KindOpen].Rules[0]; r.Index != 0.2 || r.Percentile != 0.85 || r.After != 30*time.Second {
		t.Errorf("L1 of open zones %+v", r)
	}
	if l := a.Ladders[congestion.KindAisle]; l.Rules[0].After != 7*time.Second || l.Rules[0].Index != 0.2 || l.Dwell != 5*time.Second {
		t.Errorf("aisles %+v", l)
	}
	if r := a.Ladders[congestion.KindLane].Rules[0]; r.Index != 0.4 {
		t.Errorf("L1 of lanes %+v", r)
	}
	if a.Acting.Automatic != 2 || !a.Acting.Remedies[congestion.HoldTasks] || a.Acting.Remedies[congestion.Reroute] {
		t.Errorf("acting %+v", a.Acting)
	}
	if b := congestion.ReadSettings(doc, "b"); b.Off || b.Ladders[0].Dwell != time.Minute {
		t.Error("a part that cannot be read does not count as absent")
	}
	if c := congestion.ReadSettings(doc, "c"); !c.Off || c.Ladders[0].Rules[0].Percentile != 0 || c.Ladders[0].Rules[0].Index != 0.2 {
		t.Errorf("c is %+v", c.Ladders[0].Rules[0])
	}
	if d := congestion.ReadSettings(nil, "d"); d != congestion.Usual() {
		t.Error("no settings are not the usual ones")
	}
	if bad := congestion.ReadSettings(json.RawMessage(`{"off":3}`), "d"); bad != congestion.Usual() {
		t.Error("what cannot be read does not count as absent")
	}
}
