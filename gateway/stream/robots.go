package stream

import (
	"slices"
	"strconv"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/view"
)

// mirror is the robots as the hub has read them last, each with its JSON, made once a change whoever looks at it. It
// belongs to the hub's goroutine.
type mirror struct {
	hub   *hub
	upto  uint64
	cut   uint64 // removals up to this one are forgotten
	rows  []mirrored
	revs  []uint64 // of the last change, by row; 0 = no robot
	gone  []lost
	rev   []uint64         // of the removals
	cells map[cell][]int32 // rows by place
	byKey map[[16]byte]int32

	floors  map[fleet.WarehouseID]*floor
	all     grid // of all warehouses
	widened bool // some grid has changed in this refreshing

	graphs map[fleet.WarehouseID]*roadmap.Graph // as they were asked for last
	asked  map[fleet.WarehouseID]bool           // in this refreshing
	news   map[uint64][]int32                   // rows that changed since a number, of this look
	newsAt uint64
}

// lost is a robot that was removed, and since when the mirror had had it.
type lost struct {
	view.Gone[fleet.RobotID]
	born uint64
	key  [16]byte
}

type mirrored struct {
	id        fleet.RobotID
	key       [16]byte // the same
	warehouse fleet.WarehouseID
	born      uint64
	puts      uint64
	spec      *robot.Spec
	fixed     []byte // the part of the JSON that the registration makes
	body      []byte // the JSON up to the value of age_ms
	x, y      float64
	located   bool
	cell      cell      // where it is located
	heard     time.Time // zero = never
	bin       record
}

// refresh reads what has changed since the last time.
func (m *mirror) refresh() {
	t := m.hub.views.Robots
	if now, _ := t.Now(); now == m.upto && m.upto > 0 {
		return
	}
	clear(m.asked)
	upto, ok := t.Changes(m.upto, m.removed, m.changed)
	if !ok { // more has gone than is remembered
		*m = mirror{hub: m.hub, graphs: m.graphs, asked: m.asked}
		upto, _ = t.Changes(0, nil, m.changed)
		m.cut = upto
	}
	m.upto = upto
	m.survey()
}

// forget frees the mirror when nobody looks.
func (m *mirror) forget() {
	if m.rows != nil {
		*m = mirror{hub: m.hub}
		for i := range m.hub.classes {
			c := &m.hub.classes[i]
			c.rev, c.base = 0, bases{}
		}
	}
}

// removed takes a removal. Its number is at least the row's last change: every look that has not seen it sees it.
func (m *mirror) removed(g *view.Gone[fleet.RobotID]) {
	if g.Row >= len(m.rows) || m.rows[g.Row].id != g.ID {
		return // it came and went between two looks
	}
	l := lost{*g, m.rows[g.Row].born, m.rows[g.Row].key}
	delete(m.byKey, l.key)
	if x := &m.rows[g.Row]; x.located {
		m.unplace(int32(g.Row), x)
	}
	m.rows[g.Row], m.revs[g.Row] = mirrored{}, 0
	if len(m.gone) >= maxRemoved {
		half := maxRemoved / 2
		m.cut = m.rev[half-1]
		m.gone, m.rev = slices.Delete(m.gone, 0, half), slices.Delete(m.rev, 0, half)
	}
	m.gone, m.rev = append(m.gone, l), append(m.rev, g.Rev())
}

// maxRemoved is how many removals the mirror remembers.
const maxRemoved = 4096

// changed takes a robot's newest state.
func (m *mirror) changed(r *view.Row[robot.View]) {
	for len(m.rows) <= r.Row {
		m.rows, m.revs = append(m.rows, mirrored{}), append(m.revs, 0)
	}
	x, v := &m.rows[r.Row], &r.Value
	if x.id != v.ID {
		if x.located {
			m.unplace(int32(r.Row), x)
		}
		if m.byKey == nil {
			m.byKey = map[[16]byte]int32{}
		}
		if m.byKey[x.key] == int32(r.Row) {
			delete(m.byKey, x.key)
		}
		*x = mirrored{id: v.ID, key: keyOf(string(v.ID)), born: r.Born}
		m.byKey[x.key] = int32(r.Row)
	}
	m.revs[r.Row] = r.Rev
	if x.located && (!v.Located || x.cell != cellOf(v.Pose.X, v.Pose.Y)) {
		m.unplace(int32(r.Row), x)
		x.located = false
	}
	placed := x.located
	x.warehouse, x.puts, x.located, x.heard = r.Warehouse, r.Puts, v.Located, v.ReceivedAt
	x.x, x.y = v.Pose.X, v.Pose.Y
	if x.located && !placed {
		m.place(int32(r.Row), x)
	}
	if v.Spec != nil && x.spec != v.Spec {
		x.spec, x.fixed = v.Spec, fixedJSON(v.Spec)
	}
	x.body = appendRobot(x.body[:0], x.fixed, v, m.graph(r.Warehouse, v))
	x.bin = recordOf(v)
	m.measure(r.Warehouse, x, r.Rev)
}

// graph is the map that a robot drives on, nil where it is not known. It is asked for only where another one is meant
// than the one at hand, and once a refreshing at most.
func (m *mirror) graph(w fleet.WarehouseID, v *robot.View) *roadmap.Graph {
	fits := func(g *roadmap.Graph) bool { return g != nil && g.MapID == v.MapID && g.Version == v.MapVersion }
	if v.MapID != "" && !fits(m.graphs[w]) {
		m.ask(w)
	}
	if g := m.graphs[w]; v.MapID != "" && fits(g) {
		return g
	}
	return nil
}

// ask asks for the map of a warehouse, once a refreshing.
func (m *mirror) ask(w fleet.WarehouseID) {
	if m.asked[w] {
		return
	}
	if m.graphs == nil {
		m.graphs, m.asked = map[fleet.WarehouseID]*roadmap.Graph{}, map[fleet.WarehouseID]bool{}
	}
	m.graphs[w], m.asked[w] = m.hub.srv.o.Graph(fleet.Shard{Tenant: m.hub.tenant, Warehouse: w}), true
}

// wants says whether a robot matches a subscription.
func (s *sub) wants(x *mirrored) bool {
	return (s.warehouse == "" || s.warehouse == x.warehouse) && (s.robots == nil || s.robots.has(x.key)) &&
		(s.rect == nil || x.located && s.rect.holds(x.x, x.y))
}

// part sends the next part of a snapshot.
func (m *mirror) part(s *sub) {
	m.refresh()
	binary := s.session.binary && !s.detail
	k := frameKey{what: "snapshot", warehouse: s.warehouse, id: s.id, seq: s.seq, from: s.rev, upto: m.upto, row: s.next}
	if binary {
		k.what = "binary snapshot"
	}
	shared := s.robots == nil && s.rect == nil
	p, ok := m.hub.frames[k]
	if !shared || !ok {
		picked, size := m.pick(s)
		p.next, p.last = s.next, s.next >= min(s.rows, len(m.rows))
		if binary {
			p.payload = &payload{data: m.binarySnapshot(s, picked, !p.last)}
		} else {
			p.payload = &payload{data: m.jsonSnapshot(s, picked, size, !p.last)}
		}
		if shared {
			m.hub.frames[k] = p
		}
	}
	if s.next = p.next; p.last {
		s.phase = live
	}
	s.mark(m.upto)
	s.more.Store(!p.last)
	m.hub.give(s, "snapshot", p.payload, binary)
}

// pick lists the robots of the next part of a snapshot: those that were there when it began.
func (m *mirror) pick(s *sub) (picked []int32, size int) {
	for end := min(s.rows, len(m.rows)); s.next < end && len(picked) < partItems && size < partBytes; s.next++ {
		x := &m.rows[s.next]
		if m.revs[s.next] == 0 || x.born > s.rev || !s.wants(x) {
			continue
		}
		picked = append(picked, int32(s.next))
		if size += len(x.body); s.session.binary && !s.detail {
			size -= len(x.body) - fullSize
		}
		if s.partial() {
			s.know(s.next, true)
		}
	}
	return picked, size
}

func (m *mirror) jsonSnapshot(s *sub, picked []int32, size int, more bool) []byte {
	b := append(head(make([]byte, 0, size+64*len(picked)+100), "snapshot", s), `,"items":[`...)
	now := time.Now()
	for i, row := range picked {
		if i > 0 {
			b = append(b, ',')
		}
		b = m.item(b, s, &m.rows[row], now)
	}
	b = append(b, `],"more":`...)
	return append(strconv.AppendBool(b, more), '}')
}

// item appends a robot's JSON as of now.
func (m *mirror) item(b []byte, s *sub, x *mirrored, now time.Time) []byte {
	b = append(b, x.body...)
	if x.heard.IsZero() {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, max(0, now.Sub(x.heard).Milliseconds()), 10)
	}
	if s.detail {
		b = append(b, `,"order":`...)
		b = m.order(b, x)
	}
	return append(b, '}')
}

// delta sends what has changed for a subscription since it was told last.
func (m *mirror) delta(s *sub, c *class) {
	if s.rev == m.upto {
		return
	}
	if !m.hub.roomFor(s) {
		m.hub.srv.metrics.dropped.WithLabelValues("robots").Inc()
		return
	}
	if s.rev < m.cut {
		m.hub.resync(s)
		return
	}
	if s.session.binary && !s.detail {
		m.binaryDelta(s, c)
		return
	}
	k := frameKey{what: "robots", warehouse: s.warehouse, id: s.id, seq: s.seq + 1, from: s.rev, upto: m.upto, sum: s.sum}
	shared := s.robots == nil && s.rect == nil
	if p, ok := m.hub.frames[k]; shared && ok {
		s.rev, s.marks, s.sum = m.upto, nil, 0
		if p.payload != nil {
			s.seq++
			m.hub.give(s, "delta", p.payload, false)
		}
		return
	}
	left, changed := m.tell(s)
	coalesced := m.coalesced(c, changed)
	s.rev = m.upto
	if len(left)+len(changed) == 0 {
		if shared {
			m.hub.frames[k] = made{} // nothing in it for any such
		}
		return
	}
	s.seq++
	size := 200 + 100*len(left)
	for _, t := range changed {
		size += len(m.rows[t.row].body) + 60
	}
	b := append(head(make([]byte, 0, size), "delta", s), `,"events":[`...)
	comma := func() {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
	}
	for _, id := range left {
		comma()
		b = append(b, `{"type":"robot_removed","data":{"robot_id":"`...)
		b = append(b, id.id...)
		b = append(b, `"}}`...)
	}
	now := time.Now()
	for _, t := range changed {
		comma()
		b = append(b, `{"type":"robot_status","data":`...)
		b = append(m.item(b, s, &m.rows[t.row], now), '}')
	}
	b = append(b, `],"coalesced":`...)
	b = append(strconv.AppendUint(b, coalesced, 10), '}')
	p := &payload{data: b}
	if shared {
		m.hub.frames[k] = made{payload: p}
	}
	m.hub.give(s, "delta", p, false)
}

// coalesced counts the changes that the ones sent now replace.
func (m *mirror) coalesced(c *class, changed []sighting) uint64 {
	n := uint64(0)
	for _, t := range changed {
		x := &m.rows[t.row]
		if before := c.base.putsOf(t.row, x); x.puts > before+1 {
			n += x.puts - before - 1
		}
	}
	return n
}
