package fleet

import "time"

// Request is a robot's standing wish towards the zone that plans for it, and its assertion of what it holds.
// It is state, not a delta: the zone keeps the one with the highest Version and may be sent it any number of times.
type Request struct {
	Robot    RobotID
	Version  uint64    // rises with every change, over restarts too (milliseconds of the activation << 20 at first)
	At       Vertex    // last vertex the robot reported reached; it occupies it until it reports its next
	Heading  float64   // radians
	Base     []Vertex  // granted and not yet reached, in driving order; shared, never changed after sending
	Firm     uint64    // grants of this zone that were made on a Version before Firm, and are not in Base, it will not take any more
	Goal     Vertex    // where it wants to be; NoVertex = nowhere (it may be pushed aside)
	Tasked   bool      // it has a task: its waiting counts as waiting
	Since    time.Time // when this goal was set: age gives priority
	Priority uint8     // 0..9, of the task
	Window   int       // vertices it may lease ahead, >= 1
	RadiusM  float64   // footprint
	SpeedMPS float64   // top speed
	Control  Control   // anything but ControlEngine: planned around, never granted
	Halted   bool      // cannot move now (paused, faulted, offline): planned around, its holdings stay
	Allowed  []ZoneID  // nil = everywhere
	Trace    Trace
}

// Arrival is a robot's report that it stands on a vertex: it has reached it, or has turned on the spot there.
type Arrival struct {
	Robot   RobotID
	Vertex  Vertex
	Heading float64   // radians
	At      time.Time // by the robot's clock, corrected to ours where known
	Version uint64    // of the robot's Request state after this arrival (same counter as Request.Version)
}

// Grant is a lease on vertices: the robot may drive After -> Vertices[0] -> … in this order, each entered
// before NotAfter. A repeat of what the robot holds is harmless; a grant whose After the robot neither stands
// on nor holds is answered by a fresh Request. Without Vertices it grants nothing: it only says, while the robot
// waits with an empty base, what to expect (turn towards Horizon[0]).
type Grant struct {
	Robot       RobotID
	Zone        ZoneID // the granting zone: it plans for the robot from now on
	After       Vertex
	Vertices    []Vertex
	Horizon     []Vertex  // expected rest, not granted
	NotAfter    time.Time // a robot that has not entered by then stops and asks anew
	Incarnation Incarnation
	// Epoch is the zone's activation: a robot that has asserted itself to a newer one refuses older grants.
	Epoch uint64
	// Version is the robot's own Version (Request, Arrival) that the zone knew: a robot that has deviated since
	// refuses the grant.
	Version uint64
	Trace   Trace
}

// Wait says why one robot does not move: an edge of the wait-for graph.
type Wait struct {
	Robot  RobotID
	Cause  Cause
	Vertex Vertex  // what it wants, NoVertex where none
	Holder RobotID // who holds it, "" where nobody
	Since  time.Time
	Tasked bool
}

// Cause is why something waits.
type Cause uint8

// The causes that a zone, a robot or the dispatcher can give.
const (
	CauseNone        Cause = iota
	CauseOccupied          // the vertex is held by Holder
	CauseClaimed           // another robot with more priority goes first
	CauseClosed            // lane closed or vertex kept out
	CauseSuspect           // the vertex is blocked until Holder reports or an operator clears it
	CauseNoLease           // the engine may not grant now (its own lease ran out)
	CauseRecording         // the roster entry is not durable yet
	CauseNoWay             // the goal cannot be reached
	CauseHalted            // the robot itself is paused, faulted or offline
	CauseNoRobot           // no free robot can do the task
	CauseNotYet            // earliest_start lies ahead
	CauseNoMap             // the warehouse has no active map
	CauseBorder            // the neighbour zone has not answered
	CauseUnlocalised       // the robot's position is unknown or off the map
	CauseAdmission         // the next zone is full: its congestion window admits no more robots on their way through
	CauseBattery           // the batteries of the robots that could do the task do not last for it
	CauseFootprint         // the robot is too wide for the vertex: it would reach over the zone's border
)

var causeNames = [...]string{
	"none", "occupied", "claimed", "closed", "suspect", "no_lease", "recording", "no_way", "halted",
	"no_robot", "not_yet", "no_map", "border", "unlocalised", "admission", "battery", "footprint",
}

// String is the wire name.
func (c Cause) String() string { return nameOf(causeNames[:], int(c)) }

// ParseCause reads a wire name.
func ParseCause(s string) (Cause, bool) {
	i := indexOf(causeNames[:], s)
	return Cause(max(i, 0)), i >= 0
}
