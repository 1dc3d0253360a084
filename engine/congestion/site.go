package congestion

import (
	"math"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// How a site is measured. Everything that decides in which bin a status counts follows from the status alone, so that a
// replay of the same statuses, robots in whatever order, comes to the same figures.
const (
	// Bin is the span of one score. Notes §4: 10 s bins.
	Bin = 10 * time.Second
	// Grace is how long before it was received a status may say that it was. What says longer ago, or later than it was
	// received, comes from a clock that is wrong, or of a journal: it counts when it was received.
	Grace = 5 * time.Second
	// Slack is what the way from the robot's actor to the site may take beyond that. Statuses that come later still count from
	// the bins on that are open, and are counted in Counts.Late: a replay does better.
	Slack = 3 * time.Second

	// A robot is where it was said to be for so long as two of its periods, within these bounds; then it is missing, and
	// forgotten a minute later.
	leastHold = 12 * time.Second
	mostHold  = 150 * time.Second
	forget    = time.Minute

	// maxOpen is how many bins may be open: two and a half minutes in which nobody closes any. Statuses beyond count from the
	// last of them on, and are counted in Counts.Early.
	maxOpen = 15
	// maxRobots bounds the robots of a site; statuses of more are dropped, counted in Counts.Dropped.
	maxRobots = 250_000

	jitter  = 10     // mm between two statuses that are no driving
	fastest = 6.0    // m/s: who went faster was carried, or relocated
	leap    = 1000   // mm that are always believed
	nobody  = -1     // no zone, no lane
	binMS   = 10_000 // Bin
)

// SiteSpec says of what a site is made.
type SiteSpec struct {
	Graph    *roadmap.Graph
	Settings Settings
	// From is when the first bin begins: statuses of before are left out. Zero = the bin of the first status.
	From time.Time
}

// Counts are what a site did with statuses.
type Counts struct {
	Taken   uint64 // statuses that counted
	Doubles uint64 // that had come already, or were overtaken by a newer one
	Late    uint64 // came after their bin was closed: they count from the open bins on
	Early   uint64 // too far ahead of the open bins
	Dropped uint64 // of robots beyond the bound
	Robots  int    // that are known now
	Bins    uint64 // closed
}

// Site measures the zones and lanes of one warehouse on one version of its map from the statuses of its robots, and scores
// them every ten seconds. Its owner adds statuses, those of one robot in their order, and closes bins when they are due.
//
// All that is summed within a bin is whole (milliseconds, millimetres, robots): the order of robots does not matter. What
// is computed of the sums is computed in the order of zones and lanes.
//
// Cost: BenchmarkAdd, about 0.15 us a status and no allocation; 200 bytes a robot, 100 a zone and open bin, 4 a lane and open bin.
type Site struct {
	g        *roadmap.Graph
	settings Settings
	from     int64 // ms; statuses of before are left out
	zoneOf   map[fleet.ZoneID]int32
	kinds    []Kind
	classes  []Class
	laneMM   []float64 // by zone: mean length of its lanes
	cells    []cell    // by vertex, and one more
	laneKeys []uint32  // by lane: laneKey of its id

	index  map[fleet.RobotID]int32
	riders []rider
	free   []int32 // riders that nobody has

	first int64 // number of the oldest open bin; 0 = none yet
	open  []*tally
	spare []*tally

	counts Counts
	score  scorer
}

// cell is what the hot path needs of a vertex.
type cell struct {
	zone int32
	lane int32 // the first that leaves it: lanes are grouped by where they begin
}

// rider is what is known of one robot.
type rider struct {
	id        fleet.RobotID
	boot      string
	goalID    fleet.ZoneID
	seq       uint64
	last      int64 // ms, of the newest status
	accounted int64 // ms, up to which it is summed
	hold      int32 // ms that the newest status is believed
	period    int32 // ms to the next status
	x, y      float64
	speed     float64
	zone      int32
	goal      int32
	lane      int32
	vertex    fleet.Vertex
	located   bool
	way       bool // under way: it wants to be somewhere, or drives
	waits     bool // for others
	refused   bool // a full zone does not let it in
	faulted   bool
}

// NewSite returns a site that has seen nothing.
func NewSite(spec SiteSpec) *Site {
	g := spec.Graph
	s := &Site{
		g: g, settings: spec.Settings, zoneOf: make(map[fleet.ZoneID]int32, len(g.Zones)),
		kinds: make([]Kind, len(g.Zones)), classes: make([]Class, len(g.Zones)), laneMM: make([]float64, len(g.Zones)), index: map[fleet.RobotID]int32{},
	}
	if !spec.From.IsZero() {
		s.from = ceilBin(spec.From.UnixMilli()) * binMS
	}
	length, lanes := make([]float64, len(g.Zones)), make([]int, len(g.Zones))
	s.laneKeys = make([]uint32, len(g.Lanes))
	s.cells = make([]cell, len(g.Vertices)+1)
	for i, v := len(g.Lanes), len(g.Vertices); v >= 0; v-- {
		for i > 0 && int(g.Lanes[i-1].From) >= v {
			i--
		}
		if s.cells[v].lane = int32(i); v < len(g.Vertices) {
			s.cells[v].zone = g.ZoneOf[v]
		}
	}
	for i := range g.Lanes {
		s.laneKeys[i] = laneKey(g.Lanes[i].ID)
		z := g.ZoneOf[g.Lanes[i].From]
		length[z] += g.Lanes[i].LengthM
		lanes[z]++
	}
	for z := range g.Zones {
		s.zoneOf[g.Zones[z].ID] = int32(z)
		s.classes[z] = ClassOf(g, z)
		s.kinds[z] = kindOf(g, z, s.classes[z])
		s.laneMM[z] = 1000
		if lanes[z] > 0 && length[z] > 0 {
			s.laneMM[z] = 1000 * length[z] / float64(lanes[z])
		}
	}
	s.score.init(s)
	return s
}

func kindOf(g *roadmap.Graph, zone int, c Class) Kind {
	parking, charging := 0, 0
	for _, v := range g.Zones[zone].Vertices {
		if g.Vertices[v].Charging {
			charging++
		} else if g.Vertices[v].Parking {
			parking++
		}
	}
	half := (len(g.Zones[zone].Vertices) + 1) / 2
	switch {
	case charging >= half:
		return KindCharging
	case parking+charging >= half:
		return KindParking
	}
	switch c {
	case Open:
		return KindOpen
	case Aisle:
		return KindAisle
	case OneLane:
		return KindOneLane
	}
	return KindOpen
}

func ceilBin(ms int64) int64 { return (ms + binMS - 1) / binMS }

// Counts are what the site did with statuses so far.
func (s *Site) Counts() Counts {
	c := s.counts
	c.Robots = len(s.index)
	return c
}

// Settings are those in force; Set puts others in force from the next Close on.
func (s *Site) Settings() Settings { return s.settings }

// Set puts settings in force from the next Close on.
func (s *Site) Set(settings Settings) { s.settings = settings }

// when is the time at which a status counts.
func when(m *Sample) int64 {
	at, received := m.At.UnixMilli(), m.ReceivedAt.UnixMilli()
	if at > received || received-at > Grace.Milliseconds() {
		return received
	}
	return at
}

// Add takes one status. Those of one robot come in the order in which they were measured; a double changes nothing.
func (s *Site) Add(m *Sample) {
	t := when(m)
	if t < s.from {
		return
	}
	n := t / binMS
	if s.first == 0 {
		s.first = n
	}
	if n < s.first && s.counts.Bins == 0 { // another robot's, of before
		s.prepend(n)
	}
	switch {
	case n < s.first:
		s.counts.Late++
		t = s.first * binMS
	case n >= s.first+maxOpen:
		s.counts.Early++
		t = (s.first+maxOpen)*binMS - 1
	}
	i, known := s.index[m.Robot]
	if known {
		r := &s.riders[i]
		if r.boot == m.Boot && m.Seq <= r.seq {
			s.counts.Doubles++
			return
		}
		if t = max(t, r.last); t-r.last < int64(r.hold)+forget.Milliseconds() {
			s.counts.Taken++
			s.next(r, m, t)
			return
		}
		s.account(r, t)
	} else if i, known = s.seat(m.Robot); !known {
		s.counts.Dropped++
		return
	}
	s.counts.Taken++
	r := &s.riders[i]
	*r = rider{id: m.Robot, zone: nobody, goal: nobody, lane: nobody, vertex: fleet.NoVertex}
	r.last, r.accounted = t, t
	s.place(r, m)
	if r.refused && r.zone >= 0 {
		s.at(t).zones[r.zone].denials++
	}
}

// seat finds room for a robot.
func (s *Site) seat(id fleet.RobotID) (int32, bool) {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		s.index[id] = i
		return i, true
	}
	if len(s.riders) >= maxRobots {
		return 0, false
	}
	s.riders = append(s.riders, rider{})
	i := int32(len(s.riders) - 1)
	s.index[id] = i
	return i, true
}

// next takes a status of a robot that was heard of lately.
func (s *Site) next(r *rider, m *Sample, t int64) {
	s.account(r, t)
	b := s.at(t)
	if r.zone >= 0 {
		z := &b.zones[r.zone]
		if d := r.drove(m, t); d > 0 {
			z.drove += d
			if r.way {
				z.wayMM += d
				if r.lane >= 0 {
					b.lane(r.lane).wayMM += uint32(d)
				}
			}
		}
	}
	zone, refused := r.zone, r.refused
	r.last = t
	s.place(r, m)
	if r.zone != zone {
		if zone >= 0 {
			b.zones[zone].left++
		}
		if r.zone >= 0 {
			b.zones[r.zone].entered++
		}
	}
	if r.refused && !refused && r.zone >= 0 {
		b.zones[r.zone].denials++
	}
}

// drove is how many millimetres the robot came on since its last status. What lies between two statuses counts for the bin of
// the second, where and as what the first one said: it never depends on what comes later.
func (r *rider) drove(m *Sample, t int64) int64 {
	span := t - r.last
	if !r.located || !m.Located {
		return int64(math.Round(math.Abs(r.speed) * float64(min(span, int64(r.hold)))))
	}
	d := int64(math.Round(1000 * math.Hypot(m.X-r.x, m.Y-r.y)))
	if d < jitter || float64(d) > leap+fastest*float64(span) {
		return 0
	}
	return d
}

// place makes what a status says what is known of the robot.
func (s *Site) place(r *rider, m *Sample) {
	r.boot, r.seq = m.Boot, m.Seq
	r.x, r.y, r.located, r.speed = m.X, m.Y, m.Located, m.VelocityMPS
	r.period = 1000
	if m.SamplingHz > 0 {
		r.period = int32(min(1000/m.SamplingHz, float64(mostHold.Milliseconds())))
	}
	r.hold = min(max(2*r.period, int32(leastHold.Milliseconds())), int32(mostHold.Milliseconds()))
	zone, lane, vertex := int32(nobody), int32(nobody), fleet.NoVertex
	if m.Vertex >= 0 && int(m.Vertex) < len(s.cells)-1 && (m.MapVersion == 0 || m.MapVersion == s.g.Version) {
		vertex = m.Vertex
		zone = s.cells[vertex].zone
		lane = s.lane(r, vertex, m.Lane)
	} else if z, known := s.zoneOf[m.Zone]; known {
		zone = z
	}
	r.zone, r.lane, r.vertex = zone, lane, vertex
	if m.GoalZone != r.goalID {
		r.goalID, r.goal = m.GoalZone, nobody
		if z, known := s.zoneOf[m.GoalZone]; known {
			r.goal = z
		}
	}
	r.faulted = m.State == fleet.Error || m.State == fleet.Paused || m.State == fleet.Manual || m.WaitingFor == fleet.CauseHalted
	why := causeOf(m)
	r.way = !r.faulted && why != itself && (m.GoalZone != "" || m.Lane != "" || m.State == fleet.Waiting || m.State == fleet.Moving && math.Abs(m.VelocityMPS) > standing)
	r.waits = r.way && why == others
	r.refused = r.waits && m.WaitingFor == fleet.CauseAdmission
}

// lane is the lane on which a robot counts: the one that it drives, else the one on which it came to where it stands.
func (s *Site) lane(r *rider, at fleet.Vertex, id fleet.LaneID) int32 {
	if id != "" {
		key := laneKey(id)
		for l := s.cells[at].lane; l < s.cells[at+1].lane; l++ {
			if s.laneKeys[l] == key {
				return l
			}
		}
		return nobody
	}
	if l := r.lane; l >= 0 && s.g.Lanes[l].To == at {
		return l
	}
	if r.vertex >= 0 && r.vertex != at {
		if l, joined := s.g.Lane(r.vertex, at); joined {
			return l
		}
	}
	return nobody
}

// laneKey tells apart the few lanes that leave one vertex, without a look at their ids: those are UUIDs, made by a hash.
func laneKey(id fleet.LaneID) uint32 {
	n := len(id)
	if n < 8 {
		return uint32(n)
	}
	h := uint64(id[n-8]) | uint64(id[n-7])<<8 | uint64(id[n-6])<<16 | uint64(id[n-5])<<24 |
		uint64(id[n-4])<<32 | uint64(id[n-3])<<40 | uint64(id[n-2])<<48 | uint64(id[n-1])<<56
	return uint32(h * 0x9e3779b97f4a7c15 >> 32)
}

// causes says why a robot that has somewhere to go does not: because of others, for want of a way, a lease or a battery of its own, or
// for no reason that counts.
type causes uint8

const (
	noReason causes = iota
	others
	itself
)

func causeOf(m *Sample) causes {
	switch m.WaitingFor {
	case fleet.CauseOccupied, fleet.CauseClaimed, fleet.CauseClosed, fleet.CauseSuspect, fleet.CauseBorder, fleet.CauseAdmission:
		return others
	case fleet.CauseNone:
		if m.State == fleet.Waiting {
			return others
		}
		return noReason
	case fleet.CauseHalted, fleet.CauseNoWay, fleet.CauseNoRobot, fleet.CauseNotYet, fleet.CauseNoMap, fleet.CauseUnlocalised, fleet.CauseBattery, fleet.CauseFootprint:
		return itself
	case fleet.CauseNoLease, fleet.CauseRecording: // a moment, as a rule
		return noReason
	}
	return noReason
}

// Due says whether Close would close a bin at that time.
func (s *Site) Due(wall time.Time) bool {
	return s.first != 0 && wall.UnixMilli() >= (s.first+1)*binMS+(Grace+Slack).Milliseconds()
}

// Close closes the oldest open bin if it is due at that time, and scores it: all zones by their number, then the lanes worth telling,
// then the warehouse. nil = none is due. The scores are the site's again at the next Close.
func (s *Site) Close(wall time.Time) []Score {
	if !s.Due(wall) {
		return nil
	}
	return s.close()
}

func (s *Site) close() []Score {
	b := s.at(s.first * binMS)
	end := b.end()
	for i := range s.riders {
		r := &s.riders[i]
		if r.id == "" {
			continue
		}
		s.account(r, end)
		if end >= r.last+int64(r.hold)+forget.Milliseconds() {
			delete(s.index, r.id)
			*r = rider{}
			s.free = append(s.free, int32(i))
		}
	}
	s.counts.Bins++
	out := s.score.close(s, b)
	s.first++
	s.open = s.open[:copy(s.open, s.open[1:])]
	b.clear()
	s.spare = append(s.spare, b)
	return out
}
