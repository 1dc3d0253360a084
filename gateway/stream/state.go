package stream

import (
	"strconv"

	"starling/engine/fleet"
	"starling/gateway/view"
)

// stateOf says how a table of newest states becomes a channel: latest wins per key, as often as a subscription wants.
type stateOf[K comparable, V any] struct {
	table   *view.Table[K, V]
	kept    *stateFrames
	base    *stateBase                                   // of the class that is told; nil = a snapshot
	before  func()                                       // is called before the table is read: nobody is asked for anything while that is locked; nil = nothing
	changed string                                       // event of a change
	item    func(*view.Row[V]) []byte                    // nil of it = not told
	gone    func(*view.Gone[K]) (event string, b []byte) // nil, or nil of it = not told
}

// stateFrames are the bodies that were made in a round.
type stateFrames struct {
	class *class
	upto  uint64
	from  uint64
	w     fleet.WarehouseID
	body  []byte
	puts  uint64
	empty bool
}

// stateBase is how often each row had changed when a class was told of it.
type stateBase struct {
	upto uint64
	puts []uint64 // by row
}

func remember[K comparable, V any](b *stateBase, t *view.Table[K, V]) {
	if now, _ := t.Now(); now == b.upto {
		return
	}
	b.upto, _ = t.Changes(b.upto, func(*view.Gone[K]) {}, func(r *view.Row[V]) {
		for len(b.puts) <= r.Row {
			b.puts = append(b.puts, 0)
		}
		b.puts[r.Row] = r.Puts
	})
}

// replaced is how many changes of a row the one told now replaces.
func (b *stateBase) replaced(row int, puts uint64) uint64 {
	if row < len(b.puts) && b.puts[row] > 0 && puts > b.puts[row]+1 {
		return puts - b.puts[row] - 1
	}
	return 0
}

// statePart sends the next part of a snapshot.
func statePart[K comparable, V any](h *hub, s *sub, of *stateOf[K, V]) {
	if of.before != nil {
		of.before()
	}
	b := append(head(nil, "snapshot", s), `,"items":[`...)
	n := 0
	end := min(s.next+partItems, s.rows)
	of.table.Rows(s.rev, s.next, end, func(r *view.Row[V]) {
		if s.warehouse != "" && r.Warehouse != s.warehouse {
			return
		}
		item := of.item(r)
		if item == nil {
			return
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
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

// events says what has changed for a subscription.
func (of *stateOf[K, V]) events(s *sub) (body []byte, told int, puts, upto uint64, ok bool) {
	tell := func(kind string, data []byte) {
		if told > 0 {
			body = append(body, ',')
		}
		told++
		body = append(append(append(body, `{"type":"`...), kind...), `","data":`...)
		body = append(append(body, data...), '}')
	}
	upto, ok = of.table.Changes(s.rev, func(g *view.Gone[K]) {
		if of.gone != nil && (s.warehouse == "" || g.Warehouse == s.warehouse) {
			if event, data := of.gone(g); data != nil {
				tell(event, data)
			}
		}
	}, func(r *view.Row[V]) {
		if s.warehouse != "" && r.Warehouse != s.warehouse {
			return
		}
		if item := of.item(r); item != nil {
			tell(of.changed, item)
			puts += of.base.replaced(r.Row, r.Puts)
		}
	})
	return body, told, puts, upto, ok
}

// stateDelta sends what has changed. Many subscriptions ask for the same: the last body is kept for them.
func stateDelta[K comparable, V any](h *hub, s *sub, c *class, of *stateOf[K, V]) {
	z := of.kept
	now, _ := of.table.Now()
	if now == s.rev {
		return
	}
	if !h.roomFor(s) {
		h.srv.metrics.dropped.WithLabelValues(string(s.channel)).Inc()
		return
	}
	if z.class != c || z.from != s.rev || z.w != s.warehouse || z.upto != now {
		if of.before != nil {
			of.before()
		}
		body, told, puts, upto, ok := of.events(s)
		if !ok {
			h.resync(s)
			return
		}
		*z = stateFrames{class: c, upto: upto, from: s.rev, w: s.warehouse, body: body, puts: puts, empty: told == 0}
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
