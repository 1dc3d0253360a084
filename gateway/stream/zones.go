package stream

import (
	"encoding/json"
	"strconv"
	"time"

	"starling/engine/fleet"
	"starling/engine/zone"
	"starling/gateway/view"
)

// zoneFrames are the bodies that were made in a round.
type zoneFrames struct {
	class *class
	upto  uint64
	from  uint64
	w     fleet.WarehouseID
	body  []byte
	puts  uint64
	empty bool
}

// zoneBase is how often each zone had changed when a class was told of it.
type zoneBase struct {
	upto uint64
	puts []uint64 // by row
}

func (b *zoneBase) remember(t *view.Table[fleet.ZoneID, zone.View]) {
	if now, _ := t.Now(); now == b.upto {
		return
	}
	b.upto, _ = t.Changes(b.upto, func(*view.Gone[fleet.ZoneID]) {}, func(r *view.Row[zone.View]) {
		for len(b.puts) <= r.Row {
			b.puts = append(b.puts, 0)
		}
		b.puts[r.Row] = r.Puts
	})
}

// replaced is how many changes of a zone the one told now replaces.
func (b *zoneBase) replaced(r *view.Row[zone.View]) uint64 {
	if r.Row < len(b.puts) && b.puts[r.Row] > 0 && r.Puts > b.puts[r.Row]+1 {
		return r.Puts - b.puts[r.Row] - 1
	}
	return 0
}

type zoneStatus struct {
	ZoneID    string     `json:"zone_id"`
	Occupancy int        `json:"occupancy"`
	Capacity  int        `json:"capacity"`
	Queue     int        `json:"queue_length"`
	Window    windowJSON `json:"window"`
	Domain    *domain    `json:"domain"` // null = the zone is planned alone
	Lanes     []laneJSON `json:"lanes"`
	Version   uint64     `json:"version"`
}

type windowJSON struct {
	Limit    int  `json:"limit"`
	Admitted int  `json:"admitted"`
	Inbound  int  `json:"inbound"`
	Enforced bool `json:"enforced"`
	Shadow   int  `json:"shadow"`
}

type domain struct {
	Term   uint64 `json:"term"`
	Leader string `json:"leader"`
}

func (h *hub) zoneItem(r *view.Row[zone.View]) []byte {
	v := &r.Value
	z := zoneStatus{
		ZoneID: string(v.Zone), Occupancy: v.Occupancy, Capacity: v.Capacity, Queue: v.Queue, Version: r.Puts, Lanes: h.lanes(r.Warehouse, v.Flow),
		Window: windowJSON{v.Window.Limit, v.Window.Admitted, v.Window.Inbound, v.Window.Enforced, v.Window.Shadow},
	}
	if v.Domain.Leader != "" {
		z.Domain = &domain{v.Domain.Term, string(v.Domain.Leader)}
	}
	b, _ := json.Marshal(z)
	return b
}

// zonePart sends the next part of the zones.
func (h *hub) zonePart(s *sub) {
	h.survey(time.Now(), s.warehouse)
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
		b = append(b, h.zoneItem(r)...)
		n++
	})
	s.next = end
	b = append(b, `],"more":`...)
	b = append(strconv.AppendBool(b, s.next < s.rows), '}')
	if s.next >= s.rows {
		s.phase = live
	}
	s.more.Store(s.phase != live)
	h.give(s, "snapshot", &payload{data: b}, false)
}

// zoneEvents says what has changed of the zones that a subscription looks at.
func (h *hub) zoneEvents(s *sub, c *class) (body []byte, told int, puts, upto uint64, ok bool) {
	tell := func(kind string, data []byte) {
		if told > 0 {
			body = append(body, ',')
		}
		told++
		body = append(append(append(body, `{"type":"`...), kind...), `","data":`...)
		body = append(append(body, data...), '}')
	}
	upto, ok = h.views.Zones.Changes(s.rev, func(g *view.Gone[fleet.ZoneID]) {
		if s.warehouse == "" || g.Warehouse == s.warehouse {
			tell("zone_removed", []byte(`{"zone_id":"`+string(g.ID)+`"}`))
		}
	}, func(r *view.Row[zone.View]) {
		if s.warehouse == "" || r.Warehouse == s.warehouse {
			tell("zone_status", h.zoneItem(r))
			puts += c.zones.replaced(r)
		}
	})
	return body, told, puts, upto, ok
}

// zoneDelta sends the zones that have changed. Many subscriptions ask for the same: the last body is kept for them.
func (h *hub) zoneDelta(s *sub, c *class) {
	now, _ := h.views.Zones.Now()
	if now == s.rev {
		return
	}
	if !h.roomFor(s) {
		h.srv.metrics.dropped.WithLabelValues("zones").Inc()
		return
	}
	z := &h.zones
	if z.class != c || z.from != s.rev || z.w != s.warehouse || z.upto != now {
		h.survey(time.Now(), s.warehouse)
		body, told, puts, upto, ok := h.zoneEvents(s, c)
		if !ok {
			h.resync(s)
			return
		}
		*z = zoneFrames{class: c, upto: upto, from: s.rev, w: s.warehouse, body: body, puts: puts, empty: told == 0}
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
	h.give(s, "delta", &payload{data: b}, false)
}
