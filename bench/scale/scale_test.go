package scale_test

import (
	"os"
	"testing"

	"starling/bench/scale"
)

func TestAFewWarehousesAreMeasured(t *testing.T) {
	t.Parallel()
	m, err := os.ReadFile("../../testdata/lorr/random_100/random-32-32-20.map")
	if err != nil {
		t.Fatal(err)
	}
	r, err := scale.Measure(t.Context(), scale.Run{Map: m, Robots: 120, PerWarehouse: 60, Warm: 20, Ticks: 40, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Warehouses != 2 || r.Zones != 8 || r.Moves < 30 || r.Tasks < 0.5 || r.PlanMS.P50 <= 0 || r.Messages["tokens"] < 8 {
		t.Errorf("two warehouses of 60 robots: %+v", r)
	}
}
