package quota

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

func TestRulesOfBatteriesAreChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw  string
		want []Problem
	}{
		"nothing":     {`{"charging":{},"parking":{}}`, nil},
		"gone":        {`{"charging":null,"parking":{"after_s":null}}`, nil},
		"all":         {`{"charging":{"off":false,"reserve":0.05,"critical":0.1,"low":0.2,"leave":0.4,"comfort":0.7,"full":1,"drain_per_m":1e-4,"drain_per_s":1e-5,"charge_per_s":1e-3,"margin":1.5}}`, nil},
		"a warehouse": {`{"charging":{"low":0.3,"warehouses":{"w":{"low":0.2}}},"parking":{"warehouses":{"w":{"off":true}}}}`, nil},
		"a policy":    {`{"dispatch":{"policy":"greedy","warehouses":{"w":{"policy":"hierarchical"},"v":{"policy":null}}}}`, nil},
		"no policy":   {`{"dispatch":{}}`, nil},
		"by sight":    {`{"dispatch":{"active":"sight","warehouses":{"w":{"active":"floor"}}}}`, nil},
		"how many":    {`{"dispatch":{"active":"all"}}`, []Problem{{"dispatch.active", "want floor, sight or a number 1..100000"}}},
		"a number":    {`{"dispatch":{"active":1700}}`, nil},
		"none":        {`{"dispatch":{"active":0}}`, []Problem{{"dispatch.active", "want floor, sight or a number 1..100000"}}},
		"another policy": {
			`{"dispatch":{"policy":"best","speed":1,"warehouses":{"w":{"policy":3},"v":7}}}`,
			[]Problem{
				{"dispatch.policy", "want one of optimal, greedy, hierarchical"},
				{"dispatch.speed", "there is no such setting"},
				{"dispatch.warehouses.v", "want an object"},
				{"dispatch.warehouses.w.policy", "want one of optimal, greedy, hierarchical"},
			},
		},
		"no object":     {`{"charging":[],"parking":7}`, []Problem{{"charging", "want an object"}, {"parking", "want an object"}}},
		"out of order":  {`{"charging":{"low":0.1}}`, []Problem{{"charging.low", "want at least critical, 0.15: 0.1"}}},
		"not its own":   {`{"charging":{"low":0.4,"warehouses":{"w":{"leave":0.3}}}}`, []Problem{{"charging.warehouses.w.leave", "want at least low, 0.4: 0.3"}}},
		"within itself": {`{"parking":{"warehouses":{"w":{"warehouses":{}}}}}`, []Problem{{"parking.warehouses.w", "there is no such setting within a warehouse's own"}}},
		"all at once": {
			`{"charging":{"off":1,"reserve":2,"margin":"x","wheels":4,"warehouses":{"w":{"full":-1},"v":3}},"parking":{"off":"no","after_s":-1,"x":1,"warehouses":[]}}`,
			[]Problem{
				{"charging.margin", "want a number 1..5"},
				{"charging.off", "want true or false"},
				{"charging.reserve", "want a number 0..1"},
				{"charging.warehouses.v", "want an object"},
				{"charging.warehouses.w.full", "want a number 0.05..1"},
				{"charging.wheels", "there is no such setting"},
				{"parking.after_s", "want a number 0..3600"},
				{"parking.off", "want true or false"},
				{"parking.warehouses", "want an object of at most 200 warehouses by id"},
				{"parking.x", "there is no such setting"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Check(json.RawMessage(c.raw), nil); !slices.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestAWarehousesOwnRulesCountThere(t *testing.T) {
	t.Parallel()
	s := parse(json.RawMessage(`{"charging":{"low":0.3,"margin":2,"warehouses":{"w":{"low":0.2}}},"parking":{"after_s":1.5,"warehouses":{"w":{"off":true}}}}`), nil)
	w, v := s.Rules("w"), s.Rules("v")
	usual := dispatch.UsualCharging()
	if w.Charging.Low != 0.2 || w.Charging.Margin != 2 || !w.Parking.Off || w.Parking.After != 1500*time.Millisecond {
		t.Errorf("of w: %+v", w)
	}
	if v.Charging.Low != 0.3 || v.Parking.Off || v.Charging.Full != usual.Full {
		t.Errorf("of v: %+v", v)
	}
	chosen := parse(json.RawMessage(`{"dispatch":{"policy":"greedy","warehouses":{"w":{"policy":"hierarchical"},"x":{"policy":"worst"}}}}`), nil)
	for at, want := range map[fleet.WarehouseID]dispatch.Policy{"v": dispatch.Greedy, "w": dispatch.Hierarchical, "x": dispatch.Greedy} {
		if r := chosen.Rules(at); r.Policy != want || r.Charging != usual {
			t.Errorf("of %s: %+v, want %s", at, r, want)
		}
	}
	if v.Policy != dispatch.Optimal {
		t.Errorf("where nothing is said: %s", v.Policy)
	}
	seen := parse(json.RawMessage(`{"dispatch":{"active":"sight","warehouses":{"w":{"active":"floor"}}}}`), nil)
	if !seen.Rules("v").BySight || seen.Rules("w").BySight || v.BySight {
		t.Errorf("by sight: v %v, w %v, where nothing is said %v", seen.Rules("v").BySight, seen.Rules("w").BySight, v.BySight)
	}
	said := parse(json.RawMessage(`{"dispatch":{"active":1700}}`), nil)
	if r := said.Rules("v"); r.Active != 1700 || r.BySight {
		t.Errorf("1,700: %+v", r)
	}
	broken := parse(json.RawMessage(`{"charging":{"low":9,"margin":2},"parking":[]}`), nil)
	if r := broken.Rules("w"); r.Charging != usual || r.Parking != dispatch.UsualParking() {
		t.Errorf("of what cannot be read: %+v", r)
	}
}
