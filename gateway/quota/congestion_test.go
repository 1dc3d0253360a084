package quota

import (
	"encoding/json"
	"slices"
	"testing"

	"starling/engine/fleet"
)

func TestCongestionIsSetByTenantAndWarehouse(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`{"congestion":{"l1":{"index":0.2},"warehouses":{"w":{"l1":{"index":0.25},"off":true}}}}`)
	if got := Check(raw, nil); len(got) > 0 {
		t.Fatal(got)
	}
	s := parse(raw, nil)
	s.version = 7
	for warehouse, want := range map[fleet.WarehouseID]float64{"w": 0.25, "x": 0.2} {
		c := s.Congestion(warehouse)
		if c.Version != 7 || c.Ladders[0].Rules[0].Index != want || c.Off != (warehouse == "w") {
			t.Errorf("%s: version %d, index %g, off %v", warehouse, c.Version, c.Ladders[0].Rules[0].Index, c.Off)
		}
	}
	got := Check(json.RawMessage(`{"congestion":{"l1":{"index":2},"wheels":4}}`), nil)
	fields := make([]string, len(got))
	for i, p := range got {
		fields[i] = p.Field
	}
	if want := []string{"congestion.l1.index", "congestion.wheels"}; !slices.Equal(fields, want) {
		t.Errorf("faults at %v, want %v", fields, want)
	}
}
