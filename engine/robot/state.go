package robot

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// The ages and bounds of a robot's life.
const (
	StaleAfter   = 5 * time.Second  // without a status
	OfflineAfter = 30 * time.Second // without a status
	LostAfter    = 60 * time.Second // offline or in a fatal error: its task goes to another robot
	MaxSkew      = 5 * time.Minute  // of a status's time against ours
	retryAfter   = 3 * time.Second  // without an answer: ask, send again
	retellAfter  = 15 * time.Second // what others may have missed is said again
	maxCommands  = 32               // remembered; the oldest finished ones are forgotten
	maxTrail     = 16               // arrivals remembered: twice the widest window
	maxDone      = 4                // tasks done, remembered
	offMap       = 5.0              // metres beyond the map's edge
)

// Rules says how far robots lease ahead. The zero value is for real driving.
type Rules struct {
	Window0   int // at first, and at least: covers braking; 0 = 2
	WindowMax int // 0 = 8
}

// State is one robot. Durable fields change only by Apply of a recorded event.
type State struct {
	rules Rules

	// Durable.
	spec       Spec
	exists     bool
	version    int64
	connection fleet.Connection
	commands   []command
	paused     bool // by the last pause, stop or resume that was heard or may yet be

	pausedBefore bool // by the commands that are forgotten

	// Soft: what the robot said last.
	boot       string
	seq        uint64
	pose       fleet.Pose
	located    bool
	velocity   float64
	battery    float64
	energy     energy
	state      fleet.RobotState
	errors     []fleet.RobotError
	reportedAt time.Time
	receivedAt time.Time
	since      time.Time // of state
	lostSince  time.Time // offline or in a fatal error, zero = neither
	verdict    string    // why the last status was not accepted, "" = it was
	progress   uint64

	// Soft: the road.
	graph       *roadmap.Graph
	box         [4]float64     // x0, y0, x1, y1 of the map
	former      *roadmap.Graph // the map before, of which a link may still speak, nil = none
	formerFrom  uint64         // orders up to this one are of a map before that
	formerUntil uint64         // the last order on it
	at          fleet.Vertex
	heading     float64
	base        []fleet.Vertex // copied when it grows, never written
	horizon     []fleet.Vertex
	inc         fleet.Incarnation
	trail       []footstep // last arrivals, oldest first
	ver         uint64     // Request.Version
	firm        uint64     // grants made on older versions are void
	epochs      []epoch
	asked       fleet.ZoneID // zone that plans for it, as last asked
	lastAsk     time.Time
	window      int
	waiting     fleet.Wait
	session     uint64 // 0 = no link
	orderID     uint64
	update      uint32
	sentUntil   time.Time
	avail       Availability
	availKnown  bool
	availAt     time.Time        // when it was told last
	disowned    time.Time        // when it last refused a grant
	changing    fleet.Connection // being recorded, NeverSeen = none
	changingAt  time.Time
	pausing     bool // a pause is being recorded
	pausingAt   time.Time
	toldHalted  bool // by the last request
	toldPaused  bool // by the last order
	repeats     int  // how often to assert its place again: the zone may not have heard
	wake        time.Time

	// Soft: what it does.
	task      fleet.TaskID
	done      []fleet.TaskID // the last ones, oldest first
	errands   []fleet.Vertex
	places    []string
	errand    int
	started   bool
	priority  uint8
	goal      fleet.Vertex
	goalAt    time.Time
	goalOrder uint64 // the first order towards it
	move      Move   // of the dispatcher: the goal is where it leads
	moveUntil time.Time
	trace     fleet.Trace

	sampler sampler // soft: what of its statuses is measured
}

type command struct {
	Command
	stage  fleet.Stage
	staged time.Time // when it got there
	reason string
	sent   time.Time
}

type footstep struct {
	vertex  fleet.Vertex
	version uint64 // of the arrival
}

type epoch struct {
	zone  fleet.ZoneID
	value uint64
	firm  uint64    // grants of the zone made on older versions are void
	lease time.Time // until when what it has granted may be entered
}

// New returns a robot of which nothing is known yet. Its counters start beyond those of any earlier activation.
func New(now time.Time, rules Rules) *State {
	if rules.Window0 <= 0 {
		rules.Window0 = 2
	}
	if rules.WindowMax < rules.Window0 {
		rules.WindowMax = max(8, rules.Window0)
	}
	ms := uint64(max(0, now.UnixMilli()))
	return &State{
		rules: rules, at: fleet.NoVertex, goal: fleet.NoVertex, window: rules.Window0, ver: ms << 20, firm: ms << 20, orderID: ms << 10,
	}
}

// Apply folds one recorded event into s: the only writer of durable fields, live and in recovery.
func (s *State) Apply(_ time.Time, e Event) {
	switch e := e.(type) {
	case Registered:
		s.spec, s.exists, s.version = e.Spec, true, e.Version
	case Removed:
		s.exists, s.version = false, e.Version
	case ConnectionChanged:
		s.connection, s.changing = e.To, fleet.NeverSeen
	case CommandAccepted:
		s.commands = append(s.forget(), command{Command: e.Command})
		s.paused, s.pausing = s.standing(), false
	case CommandStaged:
		for i := range s.commands {
			if c := &s.commands[i]; c.ID == e.ID && !c.stage.Final() {
				c.stage, c.reason, c.staged = e.Stage, e.Reason, e.At
			}
		}
		s.paused = s.standing()
	}
}

// Digest is a hash of the durable fields: equal digests mean equal robots.
func (s *State) Digest() uint64 {
	h := fnv.New64a()
	spec := s.spec
	spec.CreatedAt = time.Time{} // printed by its instant: a store keeps no more
	fmt.Fprintf(h, "%+v %d %t %d %d %t %t", spec, s.spec.CreatedAt.UnixMilli(), s.exists, s.version, s.connection, s.paused, s.pausedBefore)
	for i := range s.commands {
		c := &s.commands[i]
		fmt.Fprintf(h, "%q %q %d %d %q %q %d %d %d %d %q", c.ID, c.Robot, c.Kind, c.Vertex, c.Place, c.By,
			c.At.UnixMilli(), c.ExpiresAt.UnixMilli(), c.stage, c.staged.UnixMilli(), c.reason)
	}
	return h.Sum64()
}

// Exists says that the robot is registered.
func (s *State) Exists() bool { return s.exists }

// Version counts the registrations and changes of it; it is the robot's ETag.
func (s *State) Version() int64 { return s.version }

// Verdict says why the last status was not accepted: "stale_seq", "clock_skew", "unknown_map", "off_map",
// "unknown_robot"; "" = it was accepted.
func (s *State) Verdict() string { return s.verdict }

// Progress is the number of the last progress entry taken.
func (s *State) Progress() uint64 { return s.progress }

// LastKnown is the soft state worth keeping over a restart.
func (s *State) LastKnown() LastKnown {
	return LastKnown{
		BootID: s.boot, Seq: s.seq, ReportedAt: s.reportedAt, Pose: s.pose, Battery: s.battery, State: s.state, Connection: s.connection,
	}
}

// Idle says that the robot may be put aside: nobody talks to it and it does nothing.
func (s *State) Idle() bool {
	return s.session == 0 && s.task == "" && len(s.base) == 0 && s.openCommands() == 0 && s.connection != fleet.Online && s.connection != fleet.Stale
}

// View fills v without allocating; slices are shared and not written afterwards.
func (s *State) View(v *View) {
	*v = View{
		ID: s.spec.ID, Spec: &s.spec, Version: s.version, Connection: s.connection, State: s.state, Pose: s.pose, Located: s.located, Linked: s.session != 0,
		Vertex: s.at, Goal: s.goal, Velocity: s.velocity, Battery: s.battery, Errors: s.errors, Task: s.task, OrderID: s.orderID,
		Base: s.base, Lease: s.lease(), Horizon: s.horizon, Window: s.window, BootID: s.boot, Seq: s.seq, ReportedAt: s.reportedAt, ReceivedAt: s.receivedAt,
		Waiting: s.waiting, Since: s.since, Move: s.move, Pace: s.sampler.pace, SamplingHz: s.sampler.at(s.sampler.pace), Key: s.sampler.key,
	}
	if s.graph != nil {
		v.MapID, v.MapVersion = s.graph.MapID, s.graph.Version
		if s.at != fleet.NoVertex {
			v.Zone = s.zoneOf(s.at)
			if len(s.base) > 0 && s.joined(s.at, s.base[0]) {
				l, _ := s.graph.Lane(s.at, s.base[0])
				v.Lane = s.graph.Lanes[l].ID
			}
		}
		v.GoalZone = s.zoneOf(s.goal)
	}
}

func (s *State) zoneOf(v fleet.Vertex) fleet.ZoneID {
	if s.graph == nil || v < 0 || int(v) >= len(s.graph.ZoneOf) {
		return ""
	}
	return s.graph.Zones[s.graph.ZoneOf[v]].ID
}

// lease is until when the base may be entered: each zone's vertices for as long as that zone says, so the earliest of
// them. Vertices that were granted in an earlier life may not be, before they are granted again.
func (s *State) lease() (until time.Time) {
	for i, v := range s.base {
		t := time.UnixMilli(1)
		for k := range s.epochs {
			if e := &s.epochs[k]; e.zone == s.zoneOf(v) && !e.lease.IsZero() {
				t = e.lease
			}
		}
		if i == 0 || t.Before(until) {
			until = t
		}
	}
	return until
}

func (s *State) tail() fleet.Vertex {
	if n := len(s.base); n > 0 {
		return s.base[n-1]
	}
	return s.at
}

func (s *State) fatal() bool {
	return s.state == fleet.Error || slices.ContainsFunc(s.errors, func(e fleet.RobotError) bool { return e.Level == fleet.LevelFatal })
}

// halted says that the robot cannot move now.
func (s *State) halted() bool {
	offline := s.connection == fleet.Offline && s.changing != fleet.Online // it speaks again; that is being recorded
	return !s.exists || s.stopped() || s.state == fleet.Manual || s.fatal() || offline
}
