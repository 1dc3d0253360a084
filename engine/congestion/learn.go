package congestion

import "math"

// The figures of scores, and where they come from. "Notes" are the motion notes.
const (
	// lone and loneShare: so many robots that lose nothing are added to those under way before a share is made of
	// them (of a lane: laneLone), so that one robot that waits in a large zone is no jam. Judgement.
	lone      = 0.5
	loneShare = 0.01
	laneLone  = 0.5

	// Free speed. Notes §4: seen where less than 5 % of the vertices are taken; here by robots under way, for those at rest make no traffic.
	freeDensity = 0.05
	freeWay     = binMS // ms of robots under way in a bin, at least: less is noise
	topSpeed    = 5.0   // m/s, of the histogram
	// freeShare is the quantile that counts as free. Notes §4 say 0.95 of single bins; a robot alone in a bin that
	// need not turn sets that, and then every zone in which robots turn seems congested. The median of such bins is what driving
	// there takes when nobody is in the way.
	freeShare  = 0.5
	freeKept   = 2_000 // bins that weigh
	leastSeen  = 30    // bins before they tell anything
	leastUsual = 180   // bins of each zone before percentiles of the site count: half an hour
	usualBins  = 4_320 // bins of each zone that the site's percentiles remember: half a day
	// The index in a minute. Fitted on jams, waves and calm floors in virtual time (docs/congestion.md), by least squares.
	trendShare   = -0.1 // of the last minute's change: a tenth of it comes back
	inflowShare  = 0.25 // of what the last minute's net inflow would cost if it went on
	inboundShare = 0.05 // of what all robots elsewhere with their goal here would

	standing = 0.05 // m/s: who has no goal and drives slower is at rest

	firstMiss  = 0.10  // by which forecasts are thought to be off before any was seen
	leastMiss  = 0.03  // however good they were
	missFollow = 0.002 // weight of one
	logistic   = 0.5513

	// Gridlock. Notes §4: σ((k/k_crit − 1)/0.1).
	gridlockWidth = 0.1
	// Density without traffic is parking: density counts in full where at least a quarter of the robots are under way and, for
	// levels, some wait.
	crowdedShare = 0.25
	crowdedWaits = 0.5 // robots

	// Vertices that one robot that cannot move cuts off. Judgement: on an open floor its own, in aisles as many as lie to the
	// next crossing; a zone of one lane is cut in two.
	aisleCut  = 5
	laneStuck = 0.5

	// Confidence. Notes §4.
	freshTau  = 10_000.0 // ms
	binsHeld  = 4.7      // bins that the smoothing holds: 2/follow − 1
	wide80    = 0.8      // width of the middle 80 % where nothing is known
	quantile  = 2.563    // standard deviations that the middle 80 % of a normal one are wide
	mostLanes = 2_000    // scores of lanes in a bin
	laneWorth = 0.20     // index from which on a lane is told
	laneCalm  = 0.02     // and below which it is told for the last time
	forgotten = 200.0    // ms under way, smoothed, below which a lane is forgotten
)

func clip(v float64) float64 { return min(1, max(0, v)) }

func sigma(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

// noisyOr is the chance that at least one of independent causes strikes. Notes §4.
func noisyOr(p ...float64) float64 {
	none := 1.0
	for _, v := range p {
		none *= 1 - clip(v)
	}
	return clip(1 - none)
}

// learn takes what a bin says of free driving and of the macroscopic diagram.
func (c *scorer) learn(s *Site, z int32, x *zoneSum, density float64) {
	t, class := &c.zones[z], &c.classes[s.classes[z]]
	if float64(x.way) < freeDensity*binMS*float64(s.g.Zones[z].Capacity) && x.way >= freeWay {
		v := float64(x.wayMM) / float64(x.way) / topSpeed
		t.speeds.learn(v, freeKept)
		class.speeds.learn(v, 4*freeKept)
		c.speeds.learn(v, 4*freeKept)
	}
	if x.there == 0 {
		return
	}
	production := float64(x.drove) / s.laneMM[z] / Bin.Seconds()
	t.diagram.Learn(density, production)
	class.diagram.Learn(density, production/float64(max(1, s.g.Zones[z].Capacity)))
}

// freeMPS is how fast robots drive there when nobody is in the way: as seen in the zone, else in zones of its class, else
// anywhere; 0 = not known.
func (c *scorer) freeMPS(z int32, class Class) float64 {
	for _, seen := range [...]*Spread{&c.zones[z].speeds, &c.classes[class].speeds, &c.speeds} {
		if v, known := seen.Quantile(freeShare, leastSeen); known {
			return v * topSpeed
		}
	}
	return 0
}

// peak is the density at which the zone's production is greatest, and that production: seen there, else in zones of its class,
// else the class's usual density and the most that was seen.
func (c *scorer) peak(z int32, class Class, capacity float64) (density, production float64) {
	k, p, known := c.zones[z].diagram.Peak()
	if known {
		return k, p
	}
	if k, most, known := c.classes[class].diagram.Peak(); known {
		return k, most * capacity
	}
	return class.critical(), p
}

// forecast is the index in a minute: as it is, but for a little of how it changed, and what robots on their way add. A robot more
// per vertex costs as on Greenshields' diagram, whose speed falls by half up to the critical density.
func forecast(sc *Score, inflow float64) float64 {
	cost := 1 / (2 * max(0.01, sc.Critical) * float64(max(1, sc.Capacity)))
	return clip(sc.Index + trendShare*sc.Trend + cost*(inflowShare*inflow+inboundShare*float64(sc.Inbound)))
}

// reaches is the chance that the index comes to level 2, by how far forecasts were off so far.
func (c *scorer) reaches(forecast float64, l *Ladder) float64 {
	at := l.Rules[1].Index
	if at <= 0 {
		return 0
	}
	return sigma((forecast - at) / (logistic * max(leastMiss, math.Sqrt(c.miss))))
}

// gridlock is the chance of it by density alone, where robots are under way.
func gridlock(sc *Score, x *zoneSum) float64 {
	if x.there == 0 || sc.Critical <= 0 {
		return 0
	}
	traffic := min(1, float64(x.way)/(crowdedShare*float64(x.there)))
	return traffic * sigma((sc.Density/sc.Critical-1)/gridlockWidth)
}

// cutOff is the share of the zone that lies behind robots that cannot move.
func cutOff(class Class, faulted, capacity int) float64 {
	if faulted == 0 {
		return 0
	}
	n := float64(max(1, capacity))
	switch class {
	case Open:
		return clip(float64(faulted) / n)
	case Aisle:
		return clip(aisleCut * float64(faulted) / n)
	case OneLane:
		return 0.5
	}
	return 0
}

// confidence is freshness, coverage and sharpness multiplied. Fresh: how much later than they should be the statuses are, at the
// end of the bin. Covered: robots of which something is known, of all that should be there. Sharp: how narrow the index's middle 80 %
// are for so many robots under way; where there is nobody there is nothing to be unsure of.
func confidence(robots int32, overdue, there, missing int64, way, index float64) float64 {
	fresh, covered := 1.0, 1.0
	if robots > 0 {
		fresh = math.Exp(-float64(overdue) / float64(robots) / freshTau)
	}
	if there+missing > 0 {
		covered = float64(there) / float64(there+missing)
	}
	if way < 0.05 {
		return fresh * covered
	}
	n := way * binsHeld
	p := (index*n + 0.5) / (n + 1)
	width := quantile * math.Sqrt(p*(1-p)/(n+1))
	return fresh * covered * clip(1-width/wide80)
}

// worse orders scores by how bad they are, the worst first; equals by subject.
func worse(a, b Score) int {
	switch {
	case a.Level != b.Level:
		return b.Level - a.Level
	case a.Index != b.Index:
		if a.Index > b.Index {
			return -1
		}
		return 1
	case a.Risk != b.Risk:
		if a.Risk > b.Risk {
			return -1
		}
		return 1
	case a.Of != b.Of:
		return int(a.Of) - int(b.Of)
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}
