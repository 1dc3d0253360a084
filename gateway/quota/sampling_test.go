package quota

import (
	"encoding/json"
	"testing"

	"starling/engine/fleet"
	"starling/engine/robot"
)

func TestRatesOfSampling(t *testing.T) {
	t.Parallel()
	const doc = `{"sampling":{"moving_hz":2,"alarmed_hz":10,"warehouses":{"w1":{"idle_hz":0.5,"moving_hz":null},"w2":null}}}`
	if found := Check(json.RawMessage(doc), nil); len(found) != 0 {
		t.Fatal(found)
	}
	s := parse(json.RawMessage(doc), nil)
	usual := robot.UsualSampling()
	for warehouse, want := range map[fleet.WarehouseID]robot.Sampling{
		"w1": {MovingHz: 2, IdleHz: .5, AlarmedHz: 10},
		"w2": {MovingHz: 2, IdleHz: usual.IdleHz, AlarmedHz: 10},
	} {
		if got := s.Sampling(warehouse); got != want {
			t.Errorf("%s: %+v, want %+v", warehouse, got, want)
		}
	}
	nobody := Usual()
	if got := nobody.Sampling("w"); got != usual {
		t.Errorf("nothing said: %+v", got)
	}
}

func TestFaultsOfSampling(t *testing.T) {
	t.Parallel()
	for doc, field := range map[string]string{
		`{"sampling":3}`:                                      "sampling",
		`{"sampling":{"moving_hz":0}}`:                        "sampling.moving_hz",
		`{"sampling":{"idle_hz":11}}`:                         "sampling.idle_hz",
		`{"sampling":{"alarmed_hz":"5"}}`:                     "sampling.alarmed_hz",
		`{"sampling":{"hz":1}}`:                               "sampling.hz",
		`{"sampling":{"warehouses":{"w":{"idle_hz":-1}}}}`:    "sampling.warehouses.w.idle_hz",
		`{"sampling":{"warehouses":{"w":{"warehouses":{}}}}}`: "sampling.warehouses.w",
	} {
		if found := Check(json.RawMessage(doc), nil); len(found) != 1 || found[0].Field != field {
			t.Errorf("%s: %v, want a fault of %s", doc, found, field)
		}
	}
}
