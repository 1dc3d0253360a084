package zone

import (
	"time"

	"starling/engine/fleet"
)

// Effect is what the shell must do.
//
//sumtype:decl
type Effect interface{ isZoneEffect() }

type (
	// RecordEntry makes a roster entry durable; EntryRecorded or EntryFailed answers. The zone grants only then.
	RecordEntry struct {
		Entry  RosterEntry
		Number uint64 // comes back with the answer: an answer to an earlier one of the same robot does not count
	}
	// RecordExit removes a roster entry, after the reported exit. Needs no answer; repeated exits are harmless.
	RecordExit struct{ Robot fleet.RobotID }
	// SendGrant tells a robot what it may drive.
	SendGrant struct{ Grant fleet.Grant }
	// SendRefusal tells a robot what it waits for.
	SendRefusal struct{ Wait fleet.Wait }
	// SendToken and SendAnswer go to a neighbour zone.
	SendToken struct{ Token Token }
	// SendAnswer answers one claim at once.
	SendAnswer struct{ Answer Answer }
	// SendLead, SendLend and SendAdvice go to a zone of the same domain.
	SendLead struct{ Lead Lead }
	// SendLend lends the zone's floor to its leader.
	SendLend struct{ Lend Lend }
	// SendAdvice tells a member what its robots should do.
	SendAdvice struct{ Advice Advice }
	// CallRoll asks a robot of the roster to assert itself (ZoneRestarted).
	CallRoll struct {
		Robot fleet.RobotID
		Epoch uint64
	}
	// Show publishes the zone's view, at most once a tick and only when it changed.
	Show struct{ View View }
)

func (RecordEntry) isZoneEffect() {}
func (RecordExit) isZoneEffect()  {}
func (SendGrant) isZoneEffect()   {}
func (SendRefusal) isZoneEffect() {}
func (SendToken) isZoneEffect()   {}
func (SendAnswer) isZoneEffect()  {}
func (SendLead) isZoneEffect()    {}
func (SendLend) isZoneEffect()    {}
func (SendAdvice) isZoneEffect()  {}
func (CallRoll) isZoneEffect()    {}
func (Show) isZoneEffect()        {}

// View is what others may see of a zone.
type View struct {
	Zone      fleet.ZoneID
	Tick      uint64
	At        time.Time
	Occupancy int
	Capacity  int
	Queue     int // tasked robots that wait
	Suspects  []fleet.Vertex
	Barred    []fleet.Vertex // a robot stands there that cannot move, ascending, at most 64
	Waits     []fleet.Wait   // every robot that waits, by robot id
	Window    Window
	Flow      []LaneFlow // of lanes that start here and cost 10 % or more above free flow, ascending by lane, at most 64
	Domain    Domain
}

// Window is how many robots the zone admits (its congestion window, motion notes §4).
type Window struct {
	Admitted   int     // occupants
	Inbound    int     // leases granted to robots on their way in
	Limit      int     // most of both together
	Enforced   bool    // inbound leases are refused at the limit; else it is only shown
	Shadow     int     // what the adaptive controller would set
	Critical   float64 // robots per vertex at which production peaks, 0 = not known yet
	Production float64 // moves per second, smoothed
}

// LaneFlow is what a lane costs as robots drive it now, in deciseconds; Free is the cost without traffic.
type LaneFlow struct {
	Lane       int32
	Cost, Free uint16
	Robots     uint16 // that have driven it lately
}

// Domain says that the zone is planned together with others for a bounded time. The zero value: alone.
type Domain struct {
	Term   uint64
	Leader fleet.ZoneID
}
