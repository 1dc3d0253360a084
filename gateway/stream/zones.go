package stream

import (
	"encoding/json"
	"strconv"

	"starling/engine/fleet"
	"starling/engine/zone"
	"starling/gateway/view"
)

// zoneFrames are the bodies that were made in a round.
type zoneFrames struct {
	upto  uint64
	from  uint64
	w     fleet.WarehouseID
	body  []byte
	puts  uint64
	empty bool
}

type zoneStatus struct {
	ZoneID    string `json:"zone_id"`
	Occupancy int    `json:"occupancy"`
	Capacity  int    `json:"capacity"`
	Queue     int    `json:"queue_length"`
	Version   uint64 `json:"version"`
}

func zoneItem(r *view.Row[zone.View]) []byte {
	b, _ := json.Marshal(zoneStatus{string(r.Value.Zone), r.Value.Occupancy, r.Value.Capacity, r.Value.Queue, r.Puts})
	return b
}

// zonePart sends the next part of the zones.
func (h *hub) zonePart(s *sub) {
	b := append(head(nil, "snapshot", s), `,"items":[`...)
	n := 0
	end := min(s.next+partItems, s.rows)
	h.views.Zones.Rows(s.rev, s.next, end, func(r *view.Row[zone.View]) {
		if s.warehouse != "" && r.Warehouse != s.warehouse {
			return
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, zoneItem(r)...)
		n++
	})
	s.next = end
	b = append(b, `],"more":`...)
	b = append(strconv.AppendBool(b, s.next < s.rows), '}')
	if s.next >= s.rows {
		s.phase = live
	}
	s.more.Store(s.phase != live)
	h.give(s, "snapshot", b, false)
}

// zoneDelta sends the zones that have changed. Many subscriptions ask for the same: the last body is kept for them.
func (h *hub) zoneDelta(s *sub) {
	if s.busy.Load() || !h.room() {
		h.srv.metrics.dropped.WithLabelValues("zones").Inc()
		return
	}
	now, _ := h.views.Zones.Now()
	if now == s.rev {
		return
	}
	z := &h.zones
	if z.body == nil || z.from != s.rev || z.w != s.warehouse || z.upto != now {
		var events []byte
		told := uint64(0)
		upto, ok := h.views.Zones.Changes(s.rev, func(*view.Gone[fleet.ZoneID]) {}, func(r *view.Row[zone.View]) {
			if s.warehouse != "" && r.Warehouse != s.warehouse {
				return
			}
			if told > 0 {
				events = append(events, ',')
			}
			events = append(events, `{"type":"zone_status","data":`...)
			events = append(append(events, zoneItem(r)...), '}')
			told++
		})
		if !ok {
			h.resync(s)
			return
		}
		*z = zoneFrames{upto: upto, from: s.rev, w: s.warehouse, body: append([]byte{}, events...), empty: told == 0}
		if s.warehouse == "" {
			z.puts = upto - s.rev - min(upto-s.rev, told)
		}
	}
	s.rev = z.upto
	if z.empty {
		return
	}
	s.seq++
	b := append(head(make([]byte, 0, len(z.body)+80), "delta", s), `,"events":[`...)
	b = append(b, z.body...)
	b = append(b, `],"coalesced":`...)
	b = append(strconv.AppendUint(b, z.puts, 10), '}')
	h.give(s, "delta", b, false)
}
