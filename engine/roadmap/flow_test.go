package roadmap

import (
	"os"
	"testing"
)

func TestCrookedFloorsAreToldFromStraightOnes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]float64{
		"random_100/random-32-32-20.map":                 contraFlowCrooked,
		"sortation_2000/sortation_large.map":             contraFlow,
		"warehouse_5000/warehouse_large.map":             contraFlow,
		"fulfill_2500/warehouse_long_corridor_large.map": contraFlow,
	} {
		content, err := os.ReadFile("../../testdata/lorr/" + path)
		if err != nil {
			t.Fatal(err)
		}
		d, r := Import("lorr", content, 1)
		if d == nil || !r.OK() {
			t.Fatalf("%s: %+v", path, r.Errors)
		}
		g, err := Build(d, BuildOptions{MapID: "m", Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		if g.contra != want {
			t.Errorf("%s: %.1f, want %.1f", path, g.contra, want)
		}
	}
}
