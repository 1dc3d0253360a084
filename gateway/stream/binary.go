package stream

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// The layout is described in docs/live.md.
const (
	layout     = 1
	headerSize = 56
	fullSize   = 16
	movedSize  = 5
)

// poseKnown is the flag of a robot whose place is told.
const poseKnown = 1

// record is a robot as the binary frames have it, but for its place.
type record struct{ theta, speed, battery, state, flags, waiting uint8 }

func recordOf(v *robot.View) record {
	r := record{
		theta:   uint8(int(math.Round(v.Pose.Theta/(2*math.Pi)*256)) & 255),
		speed:   uint8(min(255, math.Round(math.Abs(v.Velocity)*20))),
		battery: uint8(min(200, max(0, math.Round(v.Battery*200)))),
		state:   uint8(v.State) | uint8(v.Connection)<<4,
		waiting: uint8(v.Waiting.Cause),
	}
	if v.Located {
		r.flags |= poseKnown
	} else {
		r.battery = 255
	}
	if v.Task != "" {
		r.flags |= 2
	}
	if len(v.Errors) > 0 {
		r.flags |= 4
	}
	if v.Spec != nil && v.Spec.Control != fleet.ControlEngine {
		r.flags |= 8
	}
	return r
}

// bases is what the subscriptions of a class that keep step have been told.
type bases struct {
	rows []based
}

type based struct {
	born, puts uint64
	x, y       float64
	heard      time.Time
	bin        record
}

func (b *bases) putsOf(row int32, x *mirrored) uint64 {
	if int(row) < len(b.rows) && b.rows[row].born == x.born {
		return b.rows[row].puts
	}
	return x.puts - 1
}

// remember notes what a class has been told by now.
func (m *mirror) remember(c *class) {
	rows := m.since(c.rev)
	if len(c.base.rows) == 0 {
		rows = m.since(0)
	}
	for len(c.base.rows) < len(m.rows) {
		c.base.rows = append(c.base.rows, based{})
	}
	for _, row := range rows {
		x := &m.rows[row]
		c.base.rows[row] = based{born: x.born, puts: x.puts, x: x.x, y: x.y, heard: x.heard, bin: x.bin}
	}
	c.rev = m.upto
}

// step is a move that fits into a moved record.
type step struct {
	row    int32
	dx, dy int8
}

// binaryFrame lays out one frame.
type binaryFrame struct {
	kind, flags uint8
	coalesced   uint32
	fresh, full []int32
	moved       []step
	gone        []leaver
}

func (m *mirror) layOut(s *sub, f *binaryFrame) []byte {
	g := m.gridOf(s)
	full := append(slices.Clone(f.fresh), f.full...)
	size := headerSize + fullSize*len(full) + movedSize*len(f.moved) + 4*len(f.gone)
	for _, row := range f.fresh {
		size += 17 + len(m.code(row))
	}
	b, le := make([]byte, headerSize, size), binary.LittleEndian
	now := time.Now()
	b[0], b[1] = f.kind, f.flags
	le.PutUint16(b[2:], layout)
	le.PutUint32(b[4:], s.id)
	le.PutUint64(b[8:], math.Float64bits(float64(s.seq)))
	le.PutUint64(b[16:], math.Float64bits(float64(now.UnixMilli())))
	le.PutUint32(b[24:], f.coalesced)
	le.PutUint32(b[28:], math.Float32bits(float32(g.step)))
	le.PutUint32(b[32:], math.Float32bits(float32(g.x0)))
	le.PutUint32(b[36:], math.Float32bits(float32(g.y0)))
	for i, n := range []int{len(f.fresh), len(full), len(f.moved), len(f.gone)} {
		le.PutUint32(b[40+4*i:], uint32(n))
	}
	for _, row := range full {
		b = le.AppendUint32(b, uint32(row))
	}
	for i := range f.gone {
		b = le.AppendUint32(b, uint32(f.gone[i].row))
	}
	b = m.columns(b, full, now, g)
	prev := int32(-1)
	for _, x := range f.moved {
		b = append(b, byte(x.row-prev))
		prev = x.row
	}
	for _, x := range f.moved {
		b = append(b, byte(x.dx))
	}
	for _, x := range f.moved {
		b = append(b, byte(x.dy))
	}
	for _, x := range f.moved {
		b = append(b, m.rows[x.row].bin.theta)
	}
	for _, x := range f.moved {
		b = append(b, m.rows[x.row].bin.speed)
	}
	for _, row := range f.fresh {
		code := m.code(row)
		b = append(b, m.rows[row].key[:]...)
		b = append(append(b, byte(len(code))), code...)
	}
	return b
}

func (m *mirror) columns(b []byte, full []int32, now time.Time, g *grid) []byte {
	le := binary.LittleEndian
	ys := make([]uint16, len(full))
	for i, row := range full {
		var qx uint16
		qx, ys[i] = g.units(m.rows[row].x, m.rows[row].y)
		b = le.AppendUint16(b, qx)
	}
	for _, y := range ys {
		b = le.AppendUint16(b, y)
	}
	for _, row := range full {
		age := uint16(math.MaxUint16)
		if at := m.rows[row].heard; !at.IsZero() {
			age = uint16(min(math.MaxUint16-1, max(0, now.Sub(at).Milliseconds()/100)))
		}
		b = le.AppendUint16(b, age)
	}
	for _, column := range [...]func(*record) uint8{
		func(r *record) uint8 { return r.theta }, func(r *record) uint8 { return r.speed }, func(r *record) uint8 { return r.battery },
		func(r *record) uint8 { return r.state }, func(r *record) uint8 { return r.flags }, func(r *record) uint8 { return r.waiting },
	} {
		for _, row := range full {
			b = append(b, column(&m.rows[row].bin))
		}
	}
	return b
}

func (m *mirror) code(row int32) string {
	if s := m.rows[row].spec; s != nil {
		return s.Code[:min(255, len(s.Code))]
	}
	return ""
}

func (m *mirror) binarySnapshot(s *sub, picked []int32, more bool) []byte {
	f := binaryFrame{kind: 1, fresh: picked}
	if more {
		f.flags = 1
	}
	return m.layOut(s, &f)
}

// binaryDelta sends what has changed: who only moved, and not far, in five bytes, where the client keeps step with its
// class, so that we know where it has the robot.
func (m *mirror) binaryDelta(s *sub, c *class) {
	inStep := s.inStep && s.rev == c.rev && m.gridOf(s).since <= c.rev
	s.inStep = true
	k := frameKey{what: "binary", warehouse: s.warehouse, id: s.id, seq: s.seq + 1, from: s.rev, upto: m.upto, sum: s.sum}
	if inStep {
		k.what = "binary step"
	}
	shared := s.robots == nil && s.rect == nil
	if p, ok := m.hub.frames[k]; shared && ok {
		s.rev, s.marks, s.sum = m.upto, nil, 0
		if p.payload != nil {
			s.seq++
			m.hub.give(s, "delta", p.payload, true)
		}
		return
	}
	f := binaryFrame{kind: 2}
	left, changed := m.tell(s)
	f.gone = left
	f.coalesced = uint32(min(math.MaxUint32, m.coalesced(c, changed)))
	m.sort(s, c, inStep, changed, &f)
	s.rev = m.upto
	if len(left)+len(changed) == 0 {
		if shared {
			m.hub.frames[k] = made{}
		}
		return
	}
	s.seq++
	p := &payload{data: m.layOut(s, &f)}
	if shared {
		m.hub.frames[k] = made{payload: p}
	}
	m.hub.give(s, "delta", p, true)
}

// lately is how long ago a robot may have been heard whose age is not told: the client takes it for heard now.
const lately = 2 * time.Second

// sort puts what a client is told into the lists of a frame. Who was not heard since, though something else about it has
// been looked at, is told in full: its age goes on.
func (m *mirror) sort(s *sub, c *class, inStep bool, changed []sighting, f *binaryFrame) {
	prev, now, g := int32(-1), time.Now(), m.gridOf(s)
	for _, t := range changed {
		row, x := t.row, &m.rows[t.row]
		if t.fresh {
			f.fresh = append(f.fresh, row)
			continue
		}
		if dx, dy, ok := c.base.small(row, x, g); inStep && ok && x.heard.After(c.base.rows[row].heard) && now.Sub(x.heard) <= lately {
			if row-prev > 255 {
				prev, inStep = m.bridge(s, c, prev, row, now, f)
			}
			if inStep {
				f.moved = append(f.moved, step{row, dx, dy})
				prev = row
				continue
			}
		}
		f.full = append(f.full, row)
	}
}

// bridge crosses a gap between the moved that is too wide for its byte, by robots that have not moved: such as the client
// has and as were heard a moment ago, since it will take them for heard now. ok is false where there is none within reach.
func (m *mirror) bridge(s *sub, c *class, prev, row int32, now time.Time, f *binaryFrame) (at int32, ok bool) {
	begun, g := len(f.moved), m.gridOf(s)
	for row-prev > 255 {
		r := prev + 255
		for ; r > prev; r-- {
			x := &m.rows[r]
			if rev := m.revs[r]; rev == 0 || rev > s.rev || now.Sub(x.heard) > lately || s.partial() && !s.knows(int(r)) || !s.wants(x) {
				continue
			}
			if dx, dy, same := c.base.small(r, x, g); same && dx == 0 && dy == 0 {
				break
			}
		}
		if r == prev {
			f.moved = f.moved[:begun]
			return prev, false
		}
		f.moved = append(f.moved, step{r, 0, 0})
		prev = r
	}
	return prev, true
}

// small says how far a robot has moved since its class was told, where that is all that has changed and not far.
func (b *bases) small(row int32, x *mirrored, g *grid) (dx, dy int8, ok bool) {
	if int(row) >= len(b.rows) {
		return 0, 0, false
	}
	old := &b.rows[row]
	now := x.bin
	now.theta, now.speed = old.bin.theta, old.bin.speed
	if old.born != x.born || now != old.bin {
		return 0, 0, false
	}
	qx, qy := g.units(x.x, x.y)
	wasX, wasY := g.units(old.x, old.y)
	mx, my := int(qx)-int(wasX), int(qy)-int(wasY)
	if mx < -128 || mx > 127 || my < -128 || my > 127 {
		return 0, 0, false
	}
	return int8(mx), int8(my), true
}
