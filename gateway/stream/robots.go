package stream

import (
	"encoding/json"
	"math"
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
	hub  *hub
	upto uint64
	cut  uint64 // removals up to this one are forgotten
	rows []mirrored
	revs []uint64 // of the last change, by row; 0 = no robot
	gone []view.Gone[fleet.RobotID]
	rev  []uint64 // of the removals
	grid grid

	graphs map[fleet.WarehouseID]*roadmap.Graph // of this refreshing
	news   map[uint64][]int32                   // rows that changed since a number, of this round
	newsAt uint64
}

type mirrored struct {
	id        fleet.RobotID
	warehouse fleet.WarehouseID
	born      uint64
	puts      uint64
	spec      *robot.Spec
	fixed     []byte // the part of the JSON that the registration makes
	body      []byte // the JSON up to the value of age_ms
	x, y      float64
	located   bool
	heard     time.Time // zero = never
	bin       record
}

// refresh reads what has changed since the last time.
func (m *mirror) refresh() {
	t := m.hub.views.Robots
	if now, _ := t.Now(); now == m.upto && m.upto > 0 {
		return
	}
	m.graphs = map[fleet.WarehouseID]*roadmap.Graph{}
	since := m.upto
	upto, ok := t.Changes(since, m.removed, m.changed)
	if !ok { // more has gone than is remembered
		*m = mirror{hub: m.hub, graphs: m.graphs, grid: m.grid, cut: math.MaxUint64}
		upto, _ = t.Changes(0, nil, m.changed)
		m.cut = upto
	}
	m.upto = upto
	m.graphs = nil
}

// forget frees the mirror when nobody looks.
func (m *mirror) forget() {
	if m.rows != nil {
		*m = mirror{hub: m.hub}
		for i := range m.hub.classes {
			m.hub.classes[i] = class{}
		}
	}
}

// removed takes a removal. Its number is at least the row's last change: every look that has not seen it sees it.
func (m *mirror) removed(g *view.Gone[fleet.RobotID]) {
	if g.Row >= len(m.rows) || m.rows[g.Row].id != g.ID {
		return // it came and went between two looks
	}
	m.rows[g.Row], m.revs[g.Row] = mirrored{}, 0
	if len(m.gone) >= maxRemoved {
		half := maxRemoved / 2
		m.cut = m.rev[half-1]
		m.gone, m.rev = slices.Delete(m.gone, 0, half), slices.Delete(m.rev, 0, half)
	}
	m.gone, m.rev = append(m.gone, *g), append(m.rev, g.Rev())
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
		*x = mirrored{id: v.ID, born: r.Rev}
	}
	m.revs[r.Row] = r.Rev
	x.warehouse, x.puts, x.located, x.heard = r.Warehouse, r.Puts, v.Located, v.ReceivedAt
	x.x, x.y = v.Pose.X, v.Pose.Y
	if v.Spec != nil && x.spec != v.Spec {
		x.spec, x.fixed = v.Spec, fixedJSON(v.Spec)
	}
	x.body = appendRobot(x.body[:0], x.fixed, v, m.graph(r.Warehouse))
	m.grid.cover(v)
	x.bin = recordOf(v)
}

func (m *mirror) graph(w fleet.WarehouseID) *roadmap.Graph {
	g, ok := m.graphs[w]
	if !ok {
		g = m.hub.srv.o.Graph(fleet.Shard{Tenant: m.hub.tenant, Warehouse: w})
		m.graphs[w] = g
	}
	return g
}

// since lists the rows that changed after a number, made once a round for all who ask.
func (m *mirror) since(from uint64) []int32 {
	if m.newsAt != m.upto || m.news == nil {
		m.news, m.newsAt = map[uint64][]int32{}, m.upto
	}
	rows, ok := m.news[from]
	if !ok {
		for i, rev := range m.revs {
			if rev > from {
				rows = append(rows, int32(i))
			}
		}
		m.news[from] = rows
	}
	return rows
}

// wants says whether a robot matches a subscription.
func (s *sub) wants(x *mirrored) bool {
	return (s.warehouse == "" || s.warehouse == x.warehouse) && (s.robots == nil || s.robots[x.id]) &&
		(s.rect == nil || x.located && s.rect.holds(x.x, x.y))
}

// part sends the next part of a snapshot.
func (m *mirror) part(s *sub) {
	m.refresh()
	binary := s.session.binary && !s.detail
	var picked []int32
	size := 0
	for ; s.next < s.rows && len(picked) < partItems && size < partBytes; s.next++ {
		x := &m.rows[s.next]
		if m.revs[s.next] == 0 || x.born > s.rev || !s.wants(x) {
			continue
		}
		picked = append(picked, int32(s.next))
		size += len(x.body)
		if s.partial() {
			s.know(s.next, true)
		}
	}
	last := s.next >= s.rows
	if last {
		s.phase = live
	}
	s.more.Store(!last)
	k := frameKey{what: "snapshot", warehouse: s.warehouse, id: s.id, seq: s.seq, from: s.rev<<20 | uint64(s.next)}
	shared := s.robots == nil && s.rect == nil && !binary
	if b := m.hub.frames[k]; shared && b != nil {
		m.hub.give(s, "snapshot", b, false)
		return
	}
	if binary {
		m.hub.give(s, "snapshot", m.binarySnapshot(s, picked, !last), true)
		return
	}
	b := append(head(make([]byte, 0, size+64*len(picked)+100), "snapshot", s), `,"items":[`...)
	now := time.Now()
	for i, row := range picked {
		if i > 0 {
			b = append(b, ',')
		}
		b = m.item(b, s, &m.rows[row], now)
	}
	b = append(b, `],"more":`...)
	b = append(strconv.AppendBool(b, !last), '}')
	if shared {
		m.hub.frames[k] = b
	}
	m.hub.give(s, "snapshot", b, false)
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
	if s.busy.Load() || !m.hub.room() {
		m.hub.srv.metrics.dropped.WithLabelValues("robots").Inc()
		return
	}
	if s.rev == m.upto {
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
	k := frameKey{what: "robots", warehouse: s.warehouse, id: s.id, seq: s.seq + 1, from: s.rev}
	shared := s.robots == nil && s.rect == nil
	if b := m.hub.frames[k]; shared && b != nil {
		s.seq++
		s.rev = m.upto
		m.hub.give(s, "delta", b, false)
		return
	}
	left, changed := m.tell(s)
	coalesced := m.coalesced(c, changed)
	s.rev = m.upto
	if len(left)+len(changed) == 0 {
		return
	}
	s.seq++
	b := append(head(nil, "delta", s), `,"events":[`...)
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
	for _, row := range changed {
		comma()
		b = append(b, `{"type":"robot_status","data":`...)
		b = append(m.item(b, s, &m.rows[row], now), '}')
	}
	b = append(b, `],"coalesced":`...)
	b = append(strconv.AppendUint(b, coalesced, 10), '}')
	if shared {
		m.hub.frames[k] = b
	}
	m.hub.give(s, "delta", b, false)
}

// leaver is a robot that a client is told has gone.
type leaver struct {
	row int
	id  fleet.RobotID
}

// tell finds what left and what changed for a subscription since it was told last, and notes what it will know.
func (m *mirror) tell(s *sub) (left []leaver, changed []int32) {
	i, _ := slices.BinarySearch(m.rev, s.rev+1)
	for ; i < len(m.gone); i++ {
		g := &m.gone[i]
		switch {
		case s.partial():
			if !s.knows(g.Row) {
				continue
			}
			s.know(g.Row, false)
		case s.warehouse != "" && s.warehouse != g.Warehouse, s.robots != nil && !s.robots[g.ID]:
			continue
		}
		left = append(left, leaver{g.Row, g.ID})
	}
	for _, row := range m.since(s.rev) {
		x := &m.rows[row]
		yes := s.wants(x)
		if s.partial() {
			knew := s.knows(int(row))
			if knew && !yes {
				s.know(int(row), false)
				left = append(left, leaver{int(row), x.id})
			} else if yes && !knew {
				s.know(int(row), true)
			}
		}
		if yes {
			changed = append(changed, row)
		}
	}
	return left, changed
}

// coalesced counts the changes that the ones sent now replace.
func (m *mirror) coalesced(c *class, changed []int32) uint64 {
	n := uint64(0)
	for _, row := range changed {
		x := &m.rows[row]
		if before := c.base.putsOf(row, x); x.puts > before+1 {
			n += x.puts - before - 1
		}
	}
	return n
}

// fixedJSON is the part of a robot's JSON that its registration makes, up to where its connection follows.
func fixedJSON(s *robot.Spec) []byte {
	zones := make([]string, 0, len(s.AllowedZones))
	for _, z := range s.AllowedZones {
		zones = append(zones, string(z))
	}
	text := func(v string) *string {
		if v == "" {
			return nil
		}
		return &v
	}
	caps := s.Capabilities
	if caps == nil {
		caps = []string{}
	}
	b, _ := json.Marshal(struct {
		RobotID      string   `json:"robot_id"`
		Code         string   `json:"robot_code"`
		DisplayName  *string  `json:"display_name"`
		Fleet        *string  `json:"fleet"`
		Model        *string  `json:"model"`
		Protocol     string   `json:"protocol"`
		WarehouseID  string   `json:"warehouse_id"`
		Capabilities []string `json:"capabilities"`
		AllowedZones []string `json:"allowed_zones"`
		Priority     int      `json:"priority"`
		RadiusM      float64  `json:"footprint_radius_m"`
		MaxSpeedMPS  float64  `json:"max_speed_mps"`
		Control      string   `json:"control"`
		CreatedAt    string   `json:"created_at"`
	}{
		string(s.ID), s.Code, text(s.DisplayName), text(s.Fleet), text(s.Model), s.Protocol, string(s.Warehouse), caps, zones,
		int(s.Priority), s.RadiusM, s.MaxSpeedMPS, s.Control.String(), stamp(s.CreatedAt),
	})
	return b[:len(b)-1]
}

// appendRobot appends a robot's JSON as REST renders it, up to the value of age_ms, which stands last.
func appendRobot(b, fixed []byte, v *robot.View, g *roadmap.Graph) []byte {
	if fixed == nil {
		b = append(b, `{"robot_id":"`...)
		b = append(append(b, v.ID...), '"')
	} else {
		b = append(b, fixed...)
	}
	text := func(name, value string) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		if value == "" {
			b = append(b, "null"...)
			return
		}
		b = append(append(append(b, '"'), value...), '"')
	}
	text("connection", v.Connection.String())
	state := ""
	if v.State != fleet.StateUnknown {
		state = v.State.String()
	}
	text("state", state)
	if v.Located {
		b = append(b, `,"pose":{"x":`...)
		b = number(b, v.Pose.X, 1000)
		b = append(b, `,"y":`...)
		b = number(b, v.Pose.Y, 1000)
		b = append(b, `,"theta":`...)
		b = number(b, v.Pose.Theta, 10000)
		text("map_id", string(v.MapID))
		b = append(b, `},"velocity_mps":`...)
		b = number(b, v.Velocity, 1000)
		b = append(b, `,"battery_soc":`...)
		b = number(b, v.Battery, 10000)
	} else {
		b = append(b, `,"pose":null,"velocity_mps":null,"battery_soc":null`...)
	}
	vertex := ""
	if g != nil && v.Vertex != fleet.NoVertex && int(v.Vertex) < len(g.Vertices) && g.MapID == v.MapID && g.Version == v.MapVersion {
		vertex = g.Vertices[v.Vertex].ID
	}
	b = append(b, `,"vertex":`...)
	if vertex == "" {
		b = append(b, "null"...)
	} else {
		q, _ := json.Marshal(vertex)
		b = append(b, q...)
	}
	text("task_id", string(v.Task))
	b = append(b, `,"errors":`...)
	b = appendErrors(b, v.Errors)
	if v.Waiting.Cause != fleet.CauseNone {
		text("waiting", v.Waiting.Cause.String())
		text("waiting_since", stamp(v.Waiting.Since))
	} else {
		b = append(b, `,"waiting":null,"waiting_since":null`...)
	}
	b = append(b, `,"version":`...)
	b = strconv.AppendInt(b, v.Version, 10)
	return append(b, `,"age_ms":`...)
}

// number writes a number with as many digits after the point as of has zeros.
func number(b []byte, v, of float64) []byte {
	return strconv.AppendFloat(b, math.Round(v*of)/of, 'f', -1, 64)
}

type robotError struct {
	Code    string `json:"code"`
	Level   string `json:"level"`
	Message string `json:"message"`
}

func appendErrors(b []byte, errs []fleet.RobotError) []byte {
	if len(errs) == 0 {
		return append(b, "[]"...)
	}
	out := make([]robotError, len(errs))
	for i, e := range errs {
		out[i] = robotError{e.Code, e.Level.String(), e.Message}
	}
	j, _ := json.Marshal(out)
	return append(b, j...)
}

type stop struct {
	Vertex string  `json:"vertex"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
}

type orderJSON struct {
	OrderID    uint64  `json:"order_id"`
	Base       []stop  `json:"base"`
	Horizon    []stop  `json:"horizon"`
	Goal       *stop   `json:"goal"`
	Window     int     `json:"window"`
	LeaseUntil *string `json:"lease_until"`
}

// order appends where a robot may drive, and means to.
func (m *mirror) order(b []byte, x *mirrored) []byte {
	v, _, ok := m.hub.views.Robots.Get(x.id)
	g := m.hub.srv.o.Graph(fleet.Shard{Tenant: m.hub.tenant, Warehouse: x.warehouse})
	if !ok || g == nil || g.MapID != v.MapID || g.Version != v.MapVersion {
		return append(b, "null"...)
	}
	at := func(vs ...fleet.Vertex) []stop {
		out := make([]stop, 0, len(vs))
		for _, i := range vs {
			if i >= 0 && int(i) < len(g.Vertices) {
				w := &g.Vertices[i]
				out = append(out, stop{w.ID, w.X, w.Y})
			}
		}
		return out
	}
	o := orderJSON{OrderID: v.OrderID, Base: at(v.Base...), Horizon: at(v.Horizon...), Window: v.Window}
	if goal := at(v.Goal); len(goal) > 0 {
		o.Goal = &goal[0]
	}
	if !v.Lease.IsZero() && len(v.Base) > 0 {
		until := stamp(v.Lease)
		o.LeaseUntil = &until
	}
	j, _ := json.Marshal(o)
	return append(b, j...)
}
