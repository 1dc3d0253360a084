package congestion

import "time"

// Of is what a score is of.
type Of uint8

// The subjects of scores.
const (
	OfZone Of = iota
	OfLane
	OfWarehouse
)

// String is the wire name.
func (o Of) String() string {
	switch o {
	case OfZone:
		return "zone"
	case OfLane:
		return "lane"
	case OfWarehouse:
		return "warehouse"
	}
	return "INVALID"
}

// Subject is a zone, a lane or a warehouse.
type Subject struct {
	Of Of
	ID string // of the zone or lane; "" = the warehouse
}

// Score is how congested one subject was in the bin of ten seconds that ends At. What is smoothed is an exponentially
// weighted mean over bins with weight 0.35 of the newest, of numerators and denominators apart, so that a bin with few robots
// weighs little. Robots under way are those with a goal, or that drive or wait; all robots of a zone, those at rest
// too, count for its density.
type Score struct {
	Subject
	At      time.Time // end of the bin, a multiple of 10 s
	Version int64     // of the settings in force

	Index      float64 // congestion index, 0..1, smoothed: the share of robot time that is lost against free driving
	Risk       float64 // 0..1: that it reaches level 2 within a minute, gridlocks, or is cut off
	Confidence float64 // 0..1: how much of this is known rather than guessed
	Level      int     // 0..3, with hysteresis

	SpeedMPS     float64 // mean speed of robots under way, m/s, smoothed; 0 where none was
	FreeMPS      float64 // that they drive when nobody is in the way, m/s; 0 = not known yet
	SpeedRatio   float64 // SpeedMPS / FreeMPS, 0..1; 1 where either is not known
	Queue        int     // robots that wait for others at the end of the bin
	Occupancy    int     // robots there at the end of the bin
	Capacity     int     // vertices of the zone; of a lane how many robots fit on it
	Production   float64 // moves (mean lanes driven) a second, smoothed
	UnderWay     float64 // robots under way, mean of the bins, smoothed
	WaitingShare float64 // of the robot time under way, 0..1, smoothed
	Denials      int     // robots that a full zone began to refuse in the bin
	Faulted      int     // robots there that cannot move at the end of the bin
	Density      float64 // robots per vertex, mean of the bin, 0..1 (of a lane: of its capacity)
	Critical     float64 // density at which production is greatest: seen, else of its class
	Greatest     float64 // production there, moves/s; 0 = not seen yet
	Inbound      int     // robots elsewhere whose goal is here, at the end of the bin
	Entered      int     // robots that came in the bin
	Left         int     // robots that left in it
	Trend        float64 // change of the index over the last minute, -1..1
	Forecast     float64 // of the index in a minute, by persistence and inbound demand, 0..1
}
