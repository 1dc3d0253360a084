package zone

import (
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// none is the empty value of guest and local vertex numbers.
const none int32 = -1

// State is one zone. It owns the occupancy, the claims and the grants of its vertices; nobody else writes them.
type State struct {
	g       *roadmap.Graph
	number  int32
	colours int
	id      fleet.ZoneID
	tables  roadmap.Tables
	changes uint64 // of tables, when guests got theirs
	relaid  bool   // since the last round
	rules   Rules
	epoch   uint64
	inc     fleet.Incarnation

	// By local vertex number.
	occ     []int32 // guest that stands there, or none
	claim   []int32 // guest that has it as next, or none
	granted []bool  // the claim is a grant
	blocked []int16 // > 0: nobody enters (a restarted zone's unasserted robots, margins of robots we do not control)
	keepOut []bool

	guests    []guest
	free      []int32
	byRobot   map[fleet.RobotID]int32
	apart     float64 // least distance of vertices, in metres
	anyWide   bool    // a guest needs more room than that
	displaced int     // guests whose vertex another guest stands on too
	traded    bool    // a guest has been

	window     *congestion.Window // nil in a union
	flow       *flow              // likewise
	neighbours []neighbour
	byZone     map[fleet.ZoneID]int32
	closed     map[int32]bool // lanes closed at run time, where that differs from the map
	wishes     map[int32]wish // by our vertex
	claims     uint64         // number of the last claim made
	entries    uint64         // number of the last roster entry sent

	now          time.Time // of the message being decided
	tick         uint64
	planned      bool // the round of tick is decided
	leaseUntil   time.Time
	noGrantUntil time.Time
	shuts        uint64  // how often lanes have been closed or opened
	order        []int32 // scratch of a round
	ranks        []rank
	claimants    []int32
	waits        []fleet.Wait
	shown        View
	showing      bool

	dom     leading   // the domain that the zone leads
	lord    following // the one that it follows
	own     []Move    // what is advised for its own robots, as a leader
	span    map[fleet.Vertex]int32
	spanned []fleet.Vertex // a union's vertices; nil = a zone's own
}

// guest is a robot that stands here, is on its way in, or asks to come in.
type guest struct {
	id      fleet.RobotID
	version uint64
	hash    uint64 // of its id: breaks ties
	req     fleet.Request
	at      fleet.Vertex // last reported; NoVertex = unknown
	heading float64
	base    []fleet.Vertex // granted and not reached, in any zone, from at on
	expires time.Time      // of its leases here
	sent    uint64         // Version of the last grant that was sent to it
	table   *roadmap.Table
	around  fleet.Vertex // where the table is known to know the way from
	sure    fleet.Vertex // the goal of the table, where that is exact and of now; NoVertex = look
	dated   bool         // something has changed since the table was given
	course  course

	next    fleet.Vertex // ungranted claim on a vertex of ours, NoVertex = none
	hinted  fleet.Vertex // where it has been told to turn to while it waits
	pending pending      // claim on a neighbour's vertex
	foreign foreignClaim // claim of a neighbour's robot on a vertex of ours

	entry      entryState
	entryNo    uint64
	entrySpeed float64 // as recorded: what bounds its reach after a restart
	expected   bool    // of the roster, has not asserted itself yet
	reach      []int32
	margin     []int32 // local vertices blocked around a robot that we do not control
	displaced  bool
	departing  bool // lock-step: leaves its vertex in this step
	decided    bool // in this round
	prio       Priority
	futile     time.Time      // since when its pushes have failed, zero = they do not
	failed     time.Time      // when one has failed last
	best       uint16         // least cost to its goal that it has come to, less one; 0 = unknown
	cornered   time.Time      // since when it cannot follow pushes though it is idle
	evictUntil time.Time      // until then it tries to come out of its corner
	yieldUntil time.Time      // until then it has no wish and no priority: it lets itself be pushed out of the way
	yielded    time.Time      // since when
	pushed     time.Time      // when somebody has pushed it last
	yields     uint8          // in a row, without a move forward
	stands     time.Time      // since when it has been where it is
	faced      float64        // its heading when it came there
	ahead      []fleet.Vertex // what it was told to expect beyond its grants
	nearer     time.Time      // when it came nearer to its goal than ever, or got it
	wait       fleet.Wait
	told       fleet.Wait
	heard      time.Time // when the robot last spoke to us
	answered   time.Time // when a neighbour last granted it something
	wanted     bool      // somebody waits for what it holds
	shutOut    uint64    // tick in which a full neighbour last refused it
	traded     bool      // another was admitted for that
	used       bool
}

type entryState uint8

const (
	entryNone entryState = iota
	entryRecording
	entryRecorded
)

// pending is an outstanding claim on a neighbour's vertex. Its robot decides nothing else until it is answered.
type pending struct {
	neighbour int32
	vertex    fleet.Vertex // NoVertex = none
	number    uint64
	push      bool
	withdraw  bool
	tick      uint64
	prio      Priority
}

// foreignClaim is a neighbour's claim on one of our vertices.
type foreignClaim struct {
	neighbour int32 // none = no claim
	local     int32
	number    uint64
	push      bool
	prio      Priority
}

// neighbour is what we know of an adjoining zone.
type neighbour struct {
	number  int32
	id      fleet.ZoneID
	colour  int
	tick    uint64
	epoch   uint64
	heard   bool
	full    uint64 // until this tick it is taken to admit no more robots on their way through
	border  map[fleet.Vertex]Border
	wide    []WideRobot // of its robots that reach over to us
	mine    []int32     // our local vertices that it can see: those its robots may enter
	answers []Answer
}

// New returns an empty zone, number of g. Tables may be shared with other zones. Epoch rises with every
// activation of the zone. The zone grants nothing before its first tick.
func New(g *roadmap.Graph, number int, tables roadmap.Tables, rules Rules, epoch uint64, inc fleet.Incarnation) *State {
	rules.LeaseTTL = rules.Lease()
	if rules.WindowMax <= 0 {
		rules.WindowMax = 8
	}
	z := &g.Zones[number]
	n := len(z.Vertices)
	s := &State{
		g: g, number: int32(number), colours: max(g.Colours(), 1), id: z.ID, tables: tables, rules: rules, epoch: epoch, inc: inc,
		occ: make([]int32, n), claim: make([]int32, n), granted: make([]bool, n), blocked: make([]int16, n),
		keepOut: make([]bool, n), byRobot: map[fleet.RobotID]int32{}, byZone: map[fleet.ZoneID]int32{},
		window: congestion.New(n, congestion.ClassOf(g, number), rules.Admission), flow: newFlow(g, number), closed: map[int32]bool{}, wishes: map[int32]wish{}, lord: following{leader: none}, apart: roomy(g, number), neighbours: make([]neighbour, len(z.Neighbours)),
	}
	for i := range n {
		s.occ[i], s.claim[i] = none, none
	}
	for i, zn := range z.Neighbours {
		nz := &g.Zones[zn]
		nb := &s.neighbours[i]
		*nb = neighbour{number: zn, id: nz.ID, colour: nz.Colour, border: map[fleet.Vertex]Border{}}
		s.byZone[nz.ID] = int32(i)
		for l, v := range z.Vertices {
			for _, lane := range g.In[v] {
				if g.ZoneOf[g.Lanes[lane].From] == zn {
					nb.mine = append(nb.mine, int32(l))
					break
				}
			}
		}
	}
	return s
}

// ID is the zone's id.
func (s *State) ID() fleet.ZoneID { return s.id }

// Guests is how many robots the zone knows.
func (s *State) Guests() int { return len(s.byRobot) }

// ours returns the local number of v, or none where another zone owns it.
func (s *State) ours(v fleet.Vertex) int32 {
	if s.span != nil {
		if l, ok := s.span[v]; ok {
			return l
		}
		return none
	}
	if v < 0 || int(v) >= len(s.g.ZoneOf) || s.g.ZoneOf[v] != s.number {
		return none
	}
	return s.g.Local[v]
}

func (s *State) global(l int32) fleet.Vertex {
	if s.span != nil {
		return s.spanned[l]
	}
	return s.g.Zones[s.number].Vertices[l]
}

// tail is the vertex where the robot's grants end: the zone that owns it plans for the robot.
func (g *guest) tail() fleet.Vertex {
	if n := len(g.base); n > 0 {
		return g.base[n-1]
	}
	return g.at
}

// leaving says that the robot has decided to go elsewhere: its vertex may be claimed by who follows.
func (g *guest) leaving() bool {
	return len(g.base) > 0 || g.next != fleet.NoVertex || (g.pending.vertex != fleet.NoVertex && !g.pending.withdraw)
}

// towards is where the robot goes next, NoVertex where it stays.
func (g *guest) towards() fleet.Vertex {
	switch {
	case len(g.base) > 0:
		return g.base[0]
	case g.next != fleet.NoVertex:
		return g.next
	default:
		return g.pending.vertex
	}
}

// movable says that the zone may plan a move for it now.
func (g *guest) movable() bool {
	return !g.req.Halted && g.req.Control == fleet.ControlEngine && !g.expected
}

func (s *State) find(id fleet.RobotID) (int32, *guest) {
	i, ok := s.byRobot[id]
	if !ok {
		return none, nil
	}
	return i, &s.guests[i]
}

func (s *State) admit(id fleet.RobotID) (int32, *guest) {
	if i, g := s.find(id); g != nil {
		return i, g
	}
	var i int32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = int32(len(s.guests))
		s.guests = append(s.guests, guest{})
	}
	s.guests[i] = guest{
		id: id, hash: hashOf(id), used: true, nearer: s.now, at: fleet.NoVertex, next: fleet.NoVertex, hinted: fleet.NoVertex, sure: fleet.NoVertex,
		pending: pending{neighbour: none, vertex: fleet.NoVertex},
		foreign: foreignClaim{neighbour: none, local: none},
	}
	s.byRobot[id] = i
	return i, &s.guests[i]
}

// release forgets a guest that holds nothing here any more and takes it off the roster.
func (s *State) release(i int32, out []Effect) []Effect {
	g := &s.guests[i]
	if g.entry != entryNone {
		out = append(out, RecordExit{Robot: g.id})
	}
	s.unblock(&g.reach)
	s.unblock(&g.margin)
	delete(s.byRobot, g.id)
	s.guests[i] = guest{}
	s.free = append(s.free, i)
	return out
}

// holds says whether the guest stands, has a grant, or has a claim here, or is planned from here.
func (s *State) holds(g *guest) bool {
	if s.ours(g.at) != none || g.foreign.neighbour != none || g.expected {
		return true
	}
	for _, v := range g.base {
		if s.ours(v) != none {
			return true
		}
	}
	return false
}

func (s *State) block(list *[]int32, l int32) {
	s.blocked[l]++
	*list = append(*list, l)
}

func (s *State) unblock(list *[]int32) {
	for _, l := range *list {
		s.blocked[l]--
	}
	*list = nil
}

func (s *State) laneClosed(lane int32) bool {
	if c, ok := s.closed[lane]; ok {
		return c
	}
	return s.g.Lanes[lane].Closed
}

// shutBy says why our vertex l is not enterable, and who keeps it so.
func (s *State) shutBy(l int32) (fleet.Cause, fleet.RobotID) {
	if s.keepOut[l] {
		return fleet.CauseClosed, ""
	}
	for i := range s.guests {
		switch g := &s.guests[i]; {
		case slices.Contains(g.reach, l): // after a restart it has not said yet where it is
			return fleet.CauseSuspect, g.id
		case slices.Contains(g.margin, l):
			return fleet.CauseOccupied, g.id
		}
	}
	return fleet.CauseClosed, ""
}

// enterable says that nothing but robots could keep a robot off our vertex l.
func (s *State) enterable(l int32) bool { return s.blocked[l] <= 0 && !s.keepOut[l] }
