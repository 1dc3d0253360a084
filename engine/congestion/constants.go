package congestion

import "time"

// Every constant of the package, with where it comes from. "Notes" are the motion notes; "sweep" is bench/density, whose
// figures stand in docs/performance.md.
const (
	// Period is the span of one sample of density and production. Notes §4: 10 s bins.
	Period = 10 * time.Second
	// follow is the weight of a new sample in the smoothed production. Half a minute, so that one wave of arrivals does
	// not count as a trend.
	follow = 0.35

	// binCount is how many bins the density axis has: 4 % of the vertices each, three of them below the peak of the
	// narrowest floor that the notes measured.
	binCount = 25
	// memory is what a sample of then weighs one period later: half after 58 minutes.
	memory = 0.998
	// heavy bounds how slowly a bin follows: 1/heavy per sample, five minutes at one density.
	heavy = 30
	// enough is the weight from which a bin counts for the peak: half a minute at that density.
	enough = 3
	// fallen is the share of the peak below which production counts as fallen. Notes §4: 0.9 of the greatest.
	fallen = 0.9

	// Level 2 of congestion. Notes §4: density of 0.9 of the critical one with falling production for 30 s; cleared at
	// 0.08 lower for 60 s.
	enterShare = 0.9
	leaveShare = 0.82
	enterAfter = 30 * time.Second
	leaveAfter = 60 * time.Second
	// recovered is the share of the peak from which production has recovered whatever the density.
	recovered = 0.95

	// StaticShare is the static window as a share of a zone's vertices. Notes §4: measured on 8×8 zones, 0.45 and 0.55
	// both gave +12 % at 49 % of the cells.
	StaticShare = 0.5
	// The critical density that is assumed until it has been seen. Notes §3.7: production peaked with robots on 30 % of
	// the cells of an open floor with obstacles, on 19 % of those of a warehouse with aisles. Nothing narrower was
	// measured: the same as the aisles.
	criticalOpen  = 0.30
	criticalAisle = 0.19

	// TransitShare is how many robots on their way through a zone admits whatever stands there, as a share of its
	// vertices: who rests in a zone does not leave it, so to wait for that is to wait for ever.
	TransitShare = 0.1
	// Oldest is from which age of its goal on a robot is admitted everywhere. Notes §4: A_max, 120 ticks.
	Oldest = 120 * time.Second

	// The adaptive controller, notes §4, word for word.
	nearWindow   = 0.9  // occupied share of the window from which more may help
	asExpected   = 0.97 // of the production that was seen at this density
	growShare    = 0.01 // of the vertices, at least one robot
	cutTo        = 0.85 // of the window
	floorShare   = 0.8  // of the critical number: no cut below
	deniedShare  = 0.5  // of outbound claims refused
	lowPeriods   = 2
	shortestTrip = 10 * time.Second // bounds of the traversal time between two steps
	longestTrip  = 120 * time.Second

	// ActiveShare is how many robots of a warehouse may hold tasks at once, as a share of its vertices. Sweep: on
	// random-32-32-20, 0.15 to 0.2 gave most from 200 robots (24 % of the cells) to 655 (80 %).
	ActiveShare = 0.16
	// FewActive is how many may hold tasks on the smallest floor. Judgement: a floor of 150 vertices, on which nobody has
	// measured a diagram and few robots are a crowd, is better served by letting all of them drive.
	FewActive = 24

	// StandsFor is after how long a robot with a task that has not moved counts as standing: longer than most stops of the
	// delay model, and than it takes to let another robot pass.
	StandsFor = 10 * time.Second
	// The limit by what is seen begins with so many robots, or that share of the vertices. Measured in real driving: on
	// random-32-32-20 100 robots deliver more than 80; on fulfill_2500 (38,643 cells, most tasks along one aisle) 0.045
	// kept 4.2 tasks a second for 40 minutes, where all 2,500 robots came to 5.2 and fell to 2.2 within half an hour.
	crowdSmall = 131
	crowdShare = 0.045
	// Of the robots with tasks, so many may stand. Measured on fulfill_2500, where aisles run in turn: 0.003 to 0.007 for
	// twenty minutes of its best flow, 0.014 to 0.022 when a knot had formed.
	standingFew  = 0.004
	standingMany = 0.01
	// Judgement: a task takes minutes, and so does what one more robot does to the others.
	crowdEvery = 5 * time.Second
	crowdCut   = 0.995 // of the robots with tasks
	crowdGrow  = 0.01  // of the limit
)
