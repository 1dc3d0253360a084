package stream

import (
	"encoding/json"

	"starling/engine/congestion"
	"starling/gateway/view"
)

// heatOf is how scores of congestion are told: those of zones and lanes. A lane that has nothing to tell any more was told so
// with its last score; no removal follows.
func (h *hub) heatOf(base *stateBase) *stateOf[congestion.Subject, view.Heat] {
	return &stateOf[congestion.Subject, view.Heat]{table: h.views.Heat, kept: &h.heat, base: base, changed: "congestion_heatmap_update", item: h.heatItem}
}

func (h *hub) heatItem(r *view.Row[view.Heat]) []byte {
	if r.Value.Of == congestion.OfWarehouse {
		return nil
	}
	b, _ := json.Marshal(h.srv.o.Heat(&r.Value.Congestion))
	return b
}
