package congestion

import "slices"

// tally sums what happened in ten seconds, in whole numbers.
type tally struct {
	number int64
	zones  []zoneSum
	lanes  []laneSum // those where something happened, in any order
	slot   []int32   // by lane: index into lanes plus one; 0 = nothing
}

// zoneSum sums milliseconds of robots, millimetres, and robots.
type zoneSum struct {
	there   int64 // ms of robots there
	missing int64 // ms of robots that were there when they were heard of last
	way     int64 // ms of robots under way
	waits   int64 // ms of those that wait for others
	drove   int64 // mm, all robots
	wayMM   int64 // mm, robots under way
	overdue int64 // at the end of the bin: ms by which statuses are later than they should be

	robots  int32 // at the end of the bin
	queue   int32
	faulted int32
	inbound int32 // robots elsewhere that want to be here
	entered int32
	left    int32
	denials int32
}

// laneSum is small: there are many, and memory is what a status costs. A bin's sums of 400 robots fit.
type laneSum struct {
	lane   int32
	way    uint32 // ms
	waits  uint32
	wayMM  uint32
	robots uint16 // under way, at the end of the bin
	queue  uint16
	stuck  uint16 // faulted
}

func (b *tally) end() int64 { return (b.number + 1) * binMS }

func (b *tally) lane(l int32) *laneSum {
	if i := b.slot[l]; i > 0 {
		return &b.lanes[i-1]
	}
	b.lanes = append(b.lanes, laneSum{lane: l})
	b.slot[l] = int32(len(b.lanes))
	return &b.lanes[len(b.lanes)-1]
}

func (b *tally) clear() {
	for i := range b.lanes {
		b.slot[b.lanes[i].lane] = 0
	}
	b.lanes = b.lanes[:0]
	clear(b.zones)
}

// at is the open bin of a time. The time is not before the oldest open bin, nor beyond the last that may be open.
func (s *Site) at(t int64) *tally {
	i := int(t/binMS - s.first)
	for len(s.open) <= i {
		s.open = append(s.open, s.fresh(s.first+int64(len(s.open))))
	}
	return s.open[i]
}

func (s *Site) fresh(number int64) *tally {
	if n := len(s.spare); n > 0 {
		b := s.spare[n-1]
		s.spare = s.spare[:n-1]
		b.number = number
		return b
	}
	return &tally{number: number, zones: make([]zoneSum, len(s.g.Zones)), slot: make([]int32, len(s.g.Lanes))}
}

// prepend opens bins before the oldest, while none was closed yet: what comes first is not always the oldest.
func (s *Site) prepend(n int64) {
	for s.first > n && len(s.open) < maxOpen {
		s.first--
		s.open = slices.Insert(s.open, 0, s.fresh(s.first))
	}
}

// account sums the robot up to a time, by what its newest status said: as long as that is believed it is there, then it is
// missing.
func (s *Site) account(r *rider, until int64) {
	known := r.last + int64(r.hold)
	until = min(until, known+forget.Milliseconds())
	for r.accounted < until {
		b := s.at(r.accounted)
		to := min(until, b.end())
		if r.accounted < known {
			to = min(to, known)
			s.present(r, b, to-r.accounted, to == b.end())
		} else if r.zone >= 0 {
			b.zones[r.zone].missing += to - r.accounted
		}
		r.accounted = to
	}
}

// present sums so many milliseconds of a robot in a bin; last = they are the last of it.
func (s *Site) present(r *rider, b *tally, ms int64, last bool) {
	if r.zone < 0 {
		return
	}
	z := &b.zones[r.zone]
	z.there += ms
	var l *laneSum
	if r.way {
		z.way += ms
		if r.lane >= 0 {
			l = b.lane(r.lane)
			l.way += uint32(ms)
		}
		if r.waits {
			z.waits += ms
			if l != nil {
				l.waits += uint32(ms)
			}
		}
	}
	if !last {
		return
	}
	z.robots++
	z.overdue += max(0, b.end()-r.last-int64(r.period))
	if r.waits {
		z.queue++
	}
	if l != nil {
		l.robots++
		if r.waits {
			l.queue++
		}
	}
	if r.faulted {
		z.faulted++
		if r.lane >= 0 {
			b.lane(r.lane).stuck++
		}
	}
	if g := r.goal; g >= 0 && g != r.zone {
		b.zones[g].inbound++
	}
}
