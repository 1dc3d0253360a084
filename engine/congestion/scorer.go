package congestion

import (
	"math"
	"slices"
	"time"
)

// scorer makes figures of what a site has summed.
type scorer struct {
	zones    []zoneState
	lanes    []laneState // of which something is known, in any order
	free     []int32     // of them those that no lane has
	laneAt   []int32     // by lane: index into lanes plus one; 0 = nothing is known
	house    trace
	classes  [OneLane + 1]learner
	speeds   Spread // of robots under way on empty zones of the whole site, by topSpeed
	ofZones  Spread // of the index
	ofLanes  Spread
	miss     float64 // mean square by which forecasts were off
	out      []Score
	laneOut  []Score
	capacity int
}

// learner is what one kind of zone has shown.
type learner struct {
	diagram Diagram
	speeds  Spread
}

// trace is what is remembered of a subject from bin to bin.
type trace struct {
	begun  bool
	way    float64 // smoothed: ms of robots under way
	waits  float64
	wayMM  float64
	drove  float64
	past   [minute]float64 // indices of the last minute, the oldest at next
	next   int8
	bins   int8 // in past
	levels Levels
}

type zoneState struct {
	trace
	learner
	entered, left float64
	said          [minute]float64 // what was forecast with the indices in past
}

type laneState struct {
	trace
	told bool
}

// minute is a minute in bins.
const minute = 6

func (c *scorer) init(s *Site) {
	c.zones = make([]zoneState, len(s.g.Zones))
	for z := range s.g.Zones {
		c.capacity += s.g.Zones[z].Capacity
	}
	c.laneAt = make([]int32, len(s.g.Lanes))
	c.miss = firstMiss * firstMiss
	c.out = make([]Score, 0, len(s.g.Zones)+64)
}

// smooth brings a smoothed value on by a bin.
func smooth(to *float64, v float64, begun bool) {
	if !begun {
		*to = v
		return
	}
	if *to += follow * (v - *to); math.Abs(*to) < 1e-6 {
		*to = 0
	}
}

func (t *trace) take(way, waits, wayMM, drove int64) {
	smooth(&t.way, float64(way), t.begun)
	smooth(&t.waits, float64(waits), t.begun)
	smooth(&t.wayMM, float64(wayMM), t.begun)
	smooth(&t.drove, float64(drove), t.begun)
	t.begun = true
}

// lost is the robot time that is lost against driving at free metres a second: what robots wait, or what they drive slower,
// whichever is more.
func (t *trace) lost(free float64) float64 {
	if free <= 0 {
		return t.waits
	}
	return max(t.waits, t.way-t.wayMM/free)
}

// speed fills what a score says of speeds.
func (t *trace) speed(sc *Score, free float64) {
	sc.SpeedRatio, sc.UnderWay = 1, t.way/binMS
	if t.way > 0 {
		sc.SpeedMPS = t.wayMM / t.way
		sc.WaitingShare = min(1, t.waits/t.way)
	}
	if sc.FreeMPS = free; free > 0 && t.way > 0 {
		sc.SpeedRatio = min(1, sc.SpeedMPS/free)
	}
}

// remember keeps an index.
func (t *trace) remember(index float64) {
	t.past[t.next] = index
	t.next = (t.next + 1) % minute
	t.bins = min(minute, t.bins+1)
}

// before is the index a minute ago, or the oldest known; now where none is.
func (t *trace) before(index float64) float64 {
	switch t.bins {
	case 0:
		return index
	case minute:
		return t.past[t.next]
	}
	return t.past[0]
}

// close scores a bin.
func (c *scorer) close(s *Site, b *tally) []Score {
	c.out = c.out[:0]
	var least [Kinds][LevelCount]float64
	for k := range least {
		usual := &c.ofZones
		if Kind(k) == KindLane {
			usual = &c.ofLanes
		}
		least[k] = s.settings.Ladders[k].least(usual, uint32(len(c.zones))*leastUsual)
	}
	sum := houseSum{}
	for z := range c.zones {
		c.out = append(c.out, c.zone(s, b, int32(z), &least[s.kinds[z]], &sum))
	}
	c.scoreLanes(s, b, &least[KindLane])
	c.out = append(c.out, c.warehouse(s, b, &least[KindWarehouse], &sum))
	return c.out
}

// houseSum gathers what the warehouse's score is made of.
type houseSum struct {
	there, missing, way, waits, wayMM, drove, overdue int64
	robots, queue, faulted, entered, left, denials    int32
	lost                                              float64
	critical, greatest                                float64
	free                                              float64 // weighted with way
	forecast                                          float64 // weighted with way
	weight                                            float64
}

// zone scores one zone.
func (c *scorer) zone(s *Site, b *tally, z int32, least *[LevelCount]float64, house *houseSum) Score {
	t, x, zone := &c.zones[z], &b.zones[z], &s.g.Zones[z]
	capacity := float64(max(1, zone.Capacity))
	fresh := !t.begun
	t.take(x.way, x.waits, x.wayMM, x.drove)
	smooth(&t.entered, float64(x.entered), !fresh)
	smooth(&t.left, float64(x.left), !fresh)
	sc := Score{
		Subject: Subject{OfZone, string(zone.ID)}, At: time.UnixMilli(b.end()).UTC(), Version: s.settings.Version, Queue: int(x.queue), Occupancy: int(x.robots),
		Capacity: zone.Capacity, Denials: int(x.denials), Faulted: int(x.faulted), Inbound: int(x.inbound), Entered: int(x.entered), Left: int(x.left),
		Density: float64(x.there) / (binMS * capacity), Production: t.drove / s.laneMM[z] / Bin.Seconds(),
	}
	c.learn(s, z, x, sc.Density)
	free := c.freeMPS(z, s.classes[z])
	t.speed(&sc, free)
	lost := t.lost(free)
	sc.Index = clip(lost / (t.way + binMS*(lone+loneShare*capacity)))
	sc.Critical, sc.Greatest = c.peak(z, s.classes[z], capacity)
	sc.Trend = sc.Index - t.before(sc.Index)
	sc.Forecast = forecast(&sc, minute*(t.entered-t.left))
	ladder := &s.settings.Ladders[s.kinds[z]]
	sc.Risk = noisyOr(c.reaches(sc.Forecast, ladder), gridlock(&sc, x), cutOff(s.classes[z], int(x.faulted), zone.Capacity))
	sc.Confidence = confidence(x.robots, x.overdue, x.there, x.missing, t.way/binMS, sc.Index)
	c.settle(t, &sc, x.way)
	if x.way >= binMS {
		c.ofZones.learn(sc.Index, uint32(len(c.zones))*usualBins)
	}
	sc.Level = t.level(s, b, &sc, ladder, least)
	house.there, house.missing, house.way, house.waits = house.there+x.there, house.missing+x.missing, house.way+x.way, house.waits+x.waits
	house.wayMM, house.drove, house.overdue = house.wayMM+x.wayMM, house.drove+x.drove, house.overdue+x.overdue
	house.robots, house.queue, house.faulted = house.robots+x.robots, house.queue+x.queue, house.faulted+x.faulted
	house.entered, house.left, house.denials = house.entered+x.entered, house.left+x.left, house.denials+x.denials
	house.lost += lost
	house.critical += sc.Critical * capacity
	house.greatest += sc.Greatest
	if free > 0 {
		house.free, house.weight = house.free+free*t.way, house.weight+t.way
	}
	house.forecast += sc.Forecast * t.way
	return sc
}

// settle remembers a zone's score and learns how far the forecast of a minute ago was off.
func (c *scorer) settle(t *zoneState, sc *Score, way int64) {
	if said := t.said[t.next]; t.bins == minute && way >= binMS {
		c.miss += missFollow * ((said-sc.Index)*(said-sc.Index) - c.miss)
	}
	t.said[t.next] = sc.Forecast
	t.remember(sc.Index)
}

// level brings the subject's level on.
func (t *trace) level(s *Site, b *tally, sc *Score, ladder *Ladder, least *[LevelCount]float64) int {
	if s.settings.Off {
		t.levels = Levels{}
		return 0
	}
	sig := sc.signal()
	return t.levels.take(b.end(), &sig, ladder, least)
}

// signal is what levels go by.
func (sc *Score) signal() Signal {
	sig := Signal{Index: sc.Index, Risk: sc.Risk, Production: 1}
	sig.Crowded = sc.UnderWay*sc.WaitingShare >= crowdedWaits && sc.UnderWay >= crowdedShare*float64(sc.Occupancy)
	if sc.Critical > 0 {
		sig.Density = sc.Density / sc.Critical
	}
	if sc.Greatest > 0 {
		sig.Production = sc.Production / sc.Greatest
	}
	return sig
}

// scoreLanes scores the lanes of which something is known, or was seen in the bin, by their numbers, and appends those worth
// telling: where a tenth or more is lost or a level holds, from then on until next to nothing is lost, and that too.
func (c *scorer) scoreLanes(s *Site, b *tally, least *[LevelCount]float64) {
	c.laneOut = c.laneOut[:0]
	for lane, seen := range b.slot {
		at := c.laneAt[lane]
		if at == 0 && seen == 0 {
			continue
		}
		var x laneSum
		if seen != 0 {
			x = b.lanes[seen-1]
		}
		if at == 0 {
			at = c.begin(lane)
		}
		l := &c.lanes[at-1]
		sc := c.laneScore(s, b, l, int32(lane), &x, least)
		worth := sc.Index >= laneWorth || sc.Level > 0 || l.told && sc.Index >= laneCalm
		if worth || l.told {
			c.laneOut = append(c.laneOut, sc)
		}
		if l.told = worth; !worth && l.way < forgotten {
			c.laneAt[lane] = 0
			c.free = append(c.free, at)
		}
	}
	c.out = append(c.out, worst(c.laneOut, mostLanes)...)
}

// begin finds room for what is known of a lane.
func (c *scorer) begin(lane int) int32 {
	var at int32
	if n := len(c.free); n > 0 {
		at, c.free = c.free[n-1], c.free[:n-1]
	} else {
		c.lanes = append(c.lanes, laneState{})
		at = int32(len(c.lanes))
	}
	c.lanes[at-1] = laneState{trace: trace{begun: true}} // nothing was there before
	c.laneAt[lane] = at
	return at
}

// worst leaves at most so many scores, those of the greatest indices, in their order; of those at the border the first.
func worst(scores []Score, most int) []Score {
	if len(scores) <= most {
		return scores
	}
	var counts [spreadBins]int
	for i := range scores {
		counts[min(spreadBins-1, int(scores[i].Index*spreadBins))]++
	}
	from, room := spreadBins, most
	for ; from > 0 && counts[from-1] <= room; from-- {
		room -= counts[from-1]
	}
	return slices.DeleteFunc(scores, func(sc Score) bool {
		bin := min(spreadBins-1, int(sc.Index*spreadBins))
		if bin == from-1 && room > 0 {
			room--
			return false
		}
		return bin < from
	})
}

func (c *scorer) laneScore(s *Site, b *tally, l *laneState, number int32, x *laneSum, least *[LevelCount]float64) Score {
	lane := &s.g.Lanes[number]
	z := s.g.ZoneOf[lane.From]
	l.take(int64(x.way), int64(x.waits), int64(x.wayMM), int64(x.wayMM))
	capacity := max(1, int(math.Round(1000*lane.LengthM/s.laneMM[z])))
	sc := Score{
		Subject: Subject{OfLane, string(lane.ID)}, At: time.UnixMilli(b.end()).UTC(), Version: s.settings.Version, Queue: int(x.queue), Occupancy: int(x.robots),
		Capacity: capacity, Faulted: int(x.stuck), Density: float64(x.way) / float64(binMS*capacity), Production: l.drove / s.laneMM[z] / Bin.Seconds(),
	}
	free := c.freeMPS(z, s.classes[z])
	if lane.SpeedMPS > 0 {
		free = min(free, lane.SpeedMPS)
	}
	l.speed(&sc, free)
	sc.Index = clip(l.lost(free) / (l.way + binMS*laneLone))
	sc.Trend = sc.Index - l.before(sc.Index)
	sc.Forecast = clip(sc.Index + trendShare*sc.Trend)
	ladder := &s.settings.Ladders[KindLane]
	if sc.Index >= laneWorth || x.stuck > 0 || l.told { // else it is next to nothing
		stuck := 0.0
		if x.stuck > 0 {
			stuck = laneStuck
		}
		sc.Risk = noisyOr(c.reaches(sc.Forecast, ladder), stuck)
		zone := &b.zones[z]
		sc.Confidence = confidence(zone.robots, zone.overdue, zone.there, zone.missing, l.way/binMS, sc.Index)
	}
	l.remember(sc.Index)
	if x.way >= binMS/2 {
		c.ofLanes.learn(sc.Index, uint32(max(1, len(s.g.Zones)))*usualBins)
	}
	sc.Level = l.level(s, b, &sc, ladder, least)
	return sc
}

// warehouse scores all zones together.
func (c *scorer) warehouse(s *Site, b *tally, least *[LevelCount]float64, x *houseSum) Score {
	t := &c.house
	capacity := float64(max(1, c.capacity))
	t.take(x.way, x.waits, x.wayMM, x.drove)
	mm := 0.0
	for z := range s.laneMM {
		mm += s.laneMM[z]
	}
	mm /= float64(max(1, len(s.laneMM)))
	sc := Score{
		Subject: Subject{Of: OfWarehouse}, At: time.UnixMilli(b.end()).UTC(), Version: s.settings.Version, Queue: int(x.queue), Occupancy: int(x.robots),
		Capacity: c.capacity, Denials: int(x.denials), Faulted: int(x.faulted), Entered: int(x.entered), Left: int(x.left),
		Density: float64(x.there) / (binMS * capacity), Production: t.drove / max(1, mm) / Bin.Seconds(), Critical: x.critical / capacity,
	}
	free := 0.0
	if x.weight > 0 {
		free = x.free / x.weight
	}
	t.speed(&sc, free)
	sc.Index = clip(x.lost / (t.way + binMS*lone))
	sc.Trend = sc.Index - t.before(sc.Index)
	sc.Forecast = clip(sc.Index + trendShare*sc.Trend)
	if t.way > 0 {
		sc.Forecast = clip(x.forecast / t.way)
	}
	ladder := &s.settings.Ladders[KindWarehouse]
	sc.Risk = noisyOr(c.reaches(sc.Forecast, ladder), 0, clip(float64(x.faulted)/capacity))
	sc.Confidence = confidence(x.robots, x.overdue, x.there, x.missing, t.way/binMS, sc.Index)
	t.remember(sc.Index)
	sc.Level = t.level(s, b, &sc, ladder, least)
	return sc
}
