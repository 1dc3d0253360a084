// Package zone is the owner of a set of vertices: it decides who enters what next, settles conflicts with its
// neighbour zones by messages alone, and grants vertices as leases. Priority inheritance with backtracking
// (PIBT, arXiv 1901.11282) inside a zone; claims, pushes that carry inherited priority, grants and denials
// across borders, in phases by zone colour that rotate every tick.
//
// Size: about 40 bytes per vertex and 300 bytes per robot in the zone.
package zone

import (
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
)

// Rules says how robots may follow each other. The zero value is for real driving.
type Rules struct {
	// Lockstep lets a robot enter a vertex in the same step in which its occupant leaves, and lets closed
	// rotations inside the zone move at once; one action (move or quarter turn) a step. Virtual time only.
	Lockstep bool
	// LeaseTTL is how long a grant may stay unentered before its vertex is suspect. Zero = 10 s.
	LeaseTTL time.Duration
	// WindowMax is how many vertices one robot may hold ahead, whatever it asks for. Zero = 8.
	WindowMax int
	// Admission says when the zone holds to its congestion window. Zero = at congestion level 2 and above.
	Admission congestion.Rules
}

// Lease is LeaseTTL or, where that is zero, its default.
func (r Rules) Lease() time.Duration {
	if r.LeaseTTL == 0 {
		return 10 * time.Second
	}
	return r.LeaseTTL
}

// Msg is what a zone can be told.
//
//sumtype:decl
type Msg interface{ isZoneMsg() }

type (
	// Ticked starts planning round Tick. Grants are given only while now < LeaseUntil.
	Ticked struct {
		Tick       uint64
		LeaseUntil time.Time
	}
	// Asked is a robot's standing request.
	Asked struct{ Request fleet.Request }
	// Arrived is a robot's report.
	Arrived struct{ Arrival fleet.Arrival }
	// TokenReceived is a neighbour's state of a tick.
	TokenReceived struct{ Token Token }
	// Answered is a neighbour's answer to one claim, ahead of its next token.
	Answered struct{ Answer Answer }
	// EntryRecorded and EntryFailed say how the recording of a roster entry ended.
	EntryRecorded struct {
		Robot  fleet.RobotID
		Number uint64 // of the RecordEntry
	}
	// EntryFailed says that the roster entry could not be recorded: no grant, ask again later.
	EntryFailed struct {
		Robot  fleet.RobotID
		Number uint64
	}
	// Restored follows activation after an earlier life: the roster as recorded. Each robot in it is expected
	// to assert itself; until then every vertex it can have reached is blocked (law 3).
	Restored struct {
		Roster []RosterEntry
		Until  time.Time // no grants before (the former owner's lease), zero = none
	}
	// RobotGone says that a robot left the floor: an operator has taken it away. All it holds here is free; this is how
	// suspect vertices are cleared whose robot will not report any more.
	RobotGone struct{ Robot fleet.RobotID }
	// LaneChanged closes or opens a lane that starts or ends here: no more grants over it. What is granted is driven.
	LaneChanged struct {
		Lane   int32
		Closed bool
	}
	// KeepOutChanged replaces the set of this zone's vertices that nobody may enter.
	KeepOutChanged struct{ Vertices []fleet.Vertex }
	// BreakRequested cancels the robot's ungranted claim and makes it yield for some ticks: a deadlock's resolution.
	BreakRequested struct{ Robot fleet.RobotID }
	// Led, Lent and Advised are what zones of a domain say to each other.
	Led struct{ Lead Lead }
	// Lent is a member's floor, for its leader.
	Lent struct{ Lend Lend }
	// Advised is what the leader would have this zone's robots do.
	Advised struct{ Advice Advice }
)

func (Ticked) isZoneMsg()         {}
func (Asked) isZoneMsg()          {}
func (Arrived) isZoneMsg()        {}
func (TokenReceived) isZoneMsg()  {}
func (Answered) isZoneMsg()       {}
func (EntryRecorded) isZoneMsg()  {}
func (EntryFailed) isZoneMsg()    {}
func (Restored) isZoneMsg()       {}
func (RobotGone) isZoneMsg()      {}
func (LaneChanged) isZoneMsg()    {}
func (KeepOutChanged) isZoneMsg() {}
func (BreakRequested) isZoneMsg() {}
func (Led) isZoneMsg()            {}
func (Lent) isZoneMsg()           {}
func (Advised) isZoneMsg()        {}

// Token is what a zone tells one neighbour in each tick, once it has decided (the DONE of motion.md §3). It is
// state: the border as the neighbour may see it, and every claim outstanding on the neighbour's vertices with
// all that the neighbour needs to plan for the claimant. A lost token costs a tick, never safety.
type Token struct {
	From, To fleet.ZoneID
	Tick     uint64
	Epoch    uint64 // of the sender's activation: a new one voids its earlier claims
	Border   []Border
	Claims   []Claim
	Answers  []Answer    // repeated until the claim is gone
	Wide     []WideRobot // of the sender's that reach over to the receiver
}

// Border is the state of one border vertex of the sender, or (third parties' corners) a claim it has seen.
type Border struct {
	Vertex   fleet.Vertex
	Occupant fleet.RobotID // "" = free
	Leaving  bool          // the occupant has decided (claimed or been granted) another vertex
	Next     fleet.Vertex  // where the occupant goes, NoVertex where unknown
	Claimed  bool          // somebody has it as next
	Firm     bool          // … by a grant, which stands over ticks
	Blocked  bool          // suspect, kept out, closed
}

// Claim asks the owner of Vertex for it (claim of motion.md §3; a pending grant).
type Claim struct {
	Number   uint64 // of the claim, unique per zone and epoch
	Vertex   fleet.Vertex
	Withdraw bool     // the claimant no longer wants it: deny it, unless it is granted already
	Push     bool     // the vertex's occupant has not decided: move it with Effective priority
	Priority Priority // effective: inherited where the claimant was pushed itself
	Request  fleet.Request
	Long     bool      // the claimant has stood for long: where it cannot wait, it comes next
	Yields   time.Time // until then the claimant lets itself be pushed aside and wants nothing; zero = it does not
}

// Priority orders robots; greater goes first.
type Priority struct {
	Age   int64         // milliseconds since the goal was set, boosted by the task's priority; idle robots -1
	Robot fleet.RobotID // of the one who first pushed: ties break by id, lower first
}

// Answer is what became of a claim.
type Answer struct {
	From   fleet.ZoneID
	To     fleet.ZoneID
	Number uint64
	Epoch  uint64 // of the claiming zone
	Robot  fleet.RobotID
	Vertex fleet.Vertex
	Kind   AnswerKind
	Cause  fleet.Cause   // of a denial
	Holder fleet.RobotID // of a denial
}

// AnswerKind is what became of a claim.
type AnswerKind uint8

// A claim is pending until it is granted (the zone has sent the grant to the robot and plans for it from now
// on) or denied (it may be claimed again).
const (
	ClaimPending AnswerKind = iota
	ClaimGranted
	ClaimDenied
)

// RosterEntry is a recorded stay of a robot in the zone.
type RosterEntry struct {
	Robot      fleet.RobotID
	Vertex     fleet.Vertex // last recorded position, NoVertex = unknown
	MapID      fleet.MapID  // on which Vertex is; on another map the position counts as unknown
	MapVersion int
	PositionAt time.Time
	SpeedMPS   float64
	Window     int
}
