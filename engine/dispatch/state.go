package dispatch

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// The bounds and patiences of a batch.
const (
	MaxBatch      = 20_000                // tasks or robots, whichever are fewer, considered at once
	nearest       = 16                    // candidates by straight line for each
	urgent        = 8                     // and the tasks that are most urgent
	changeAfter   = 50 * time.Millisecond // what changes is dispatched this long after the last batch at the earliest
	tableWork     = 1_500_000             // vertices of the tables that one batch may have made: some 100 ms
	cheapWork     = 100_000               // of those that it may make for a better price, where that is fewestTables or more
	fewestTables  = 8                     // that it may have made on any map
	offerPatience = 5 * time.Second       // for a task's answer
	heldPatience  = 10 * time.Second      // a robot that says for so long that it is free is free
	cycleStanding = 2 * time.Second       // before a deadlock is broken
	cycleAgain    = 10 * time.Second      // before it is broken once more
	yieldMemory   = 10 * time.Minute      // how long it counts that a robot gave way
	minBattery    = 0.15                  // below it a robot gets no work but charging
)

// Weights of the cost of an award, in seconds per unit. A task's bonus grows with its age without bound, so that every
// task is the cheapest at last: after five times the travel time across the map at the latest.
const (
	ageWeight      = 0.2
	priorityWeight = 30.0
	batteryWeight  = 20.0
	lateBonus      = 120.0
	loadedWeight   = 0.3 // of a second of the way between a task's errands: docs/adr/0010
)

// State is the dispatcher of one warehouse.
type State struct {
	graph   *roadmap.Graph
	tables  roadmap.Tables
	market  *market
	rng     *rand.Rand
	lanes   map[fleet.LaneID]LaneState // durable
	keepOut map[fleet.Vertex]bool
	toTell  map[fleet.LaneID]int // lanes of which zones are told again, and how often where they are as in the map
	kept    map[int32]int        // zones of the graph to be told of kept-out vertices, and how often where there are none

	tasks  map[fleet.TaskID]*job
	robots map[fleet.RobotID]*worker
	heldBy map[fleet.RobotID]fleet.TaskID
	holder map[fleet.TaskID]fleet.RobotID // heldBy, the other way round

	engaged map[fleet.TaskID]*engaged // tasks that may be taken back; at most one a robot
	pickups index[engaged]            // of them, by their first errand
	swaps   map[fleet.TaskID]int      // how often an open or engaged task was taken back; none = never
	holds   map[fleet.TaskID]hold     // who waits for a task that is being taken back

	zones    map[fleet.ZoneID][]fleet.Wait
	yard     *yard
	charging Charging
	policy   Policy
	parking  Parking
	cycles   map[string]standing

	yielded map[fleet.RobotID]time.Time // who gave way, and when; none older than yieldMemory

	// Open tasks that were put on the market, and robots, since the last batch, and when they will be looked at.
	freshJobs    []*job
	freshWorkers []*worker
	lastBatch    time.Time
	wake         time.Time // zero = no wake-up is under way

	lastScan    time.Time
	lastTold    time.Time // lanes
	flows       flows
	relief      relief
	taskWait    []TaskWait
	mostActive  int
	ruledActive int
	bySight     bool
	crowd       congestion.Crowd
	standing    [][]fleet.RobotID
	at          time.Time
}

type job struct {
	spec    task.Spec
	goal    fleet.Vertex // the first errand on the active map, NoVertex = some errand is not on it
	since   time.Time    // open since
	offered time.Time    // zero = no offer outstanding
	to      fleet.RobotID
	rest    float64        // the way from the first errand to the last, along the axes
	needs   []string       // capabilities
	zones   []fleet.ZoneID // of its errands, each once

	// On the market.
	in        bool
	tail      float64 // metres from its first errand to its last, and to a charger
	x, y      float64
	shelf     *shelf    // nil where the task is for one robot alone
	slot      int       // on the shelf
	preempted time.Time // when a robot was last taken from another task for it
	looked    time.Time // when it was last looked whether there is such a robot
	award     int32     // number of its award in the batch that is being made
	mark      mark
	held      bool  // it leads through a jam that takes no more now
	jam       int32 // number of that zone
}

type worker struct {
	Robot
	offered  time.Time
	held     time.Time // when a task last said that it has this robot
	charging *Charging // nil = the usual ones

	// On the market.
	in    bool
	x, y  float64
	bench *bench
	mark  mark
}

type standing struct {
	since  time.Time
	broken time.Time
	seen   time.Time
}

// New returns an empty dispatcher. The seed makes its ids and nothing else.
func New(tables roadmap.Tables, seed uint64) *State {
	return &State{
		tables: tables, rng: rand.New(rand.NewPCG(seed, 0x5741524c)), lanes: map[fleet.LaneID]LaneState{}, keepOut: map[fleet.Vertex]bool{},
		toTell: map[fleet.LaneID]int{}, kept: map[int32]int{},
		tasks: map[fleet.TaskID]*job{}, robots: map[fleet.RobotID]*worker{}, heldBy: map[fleet.RobotID]fleet.TaskID{}, holder: map[fleet.TaskID]fleet.RobotID{},
		engaged: map[fleet.TaskID]*engaged{}, swaps: map[fleet.TaskID]int{}, holds: map[fleet.TaskID]hold{},
		zones: map[fleet.ZoneID][]fleet.Wait{}, cycles: map[string]standing{}, yielded: map[fleet.RobotID]time.Time{},
		yard: newYard(), charging: UsualCharging(), parking: UsualParking(),
		market: newMarket(ground{}),
	}
}

// UseTables replaces the tables, after the graph has changed.
func (s *State) UseTables(t roadmap.Tables) { s.tables, s.market.ground.tables = t, t }

// Graph is the active map, nil = none.
func (s *State) Graph() *roadmap.Graph { return s.graph }

// LaneStates are the lanes that were changed at run time, by id.
func (s *State) LaneStates() []LaneState {
	ids := slices.Sorted(maps.Keys(s.lanes))
	out := make([]LaneState, len(ids))
	for i, id := range ids {
		out[i] = s.lanes[id]
	}
	return out
}

// Apply folds one recorded event.
func (s *State) Apply(_ time.Time, e Event) {
	switch e := e.(type) {
	case MapActivated: // the graph itself comes with UseMap or Restored
	case LaneChanged:
		s.lanes[e.State.Lane] = e.State
		s.toTell[e.State.Lane] = tellAgain
		s.connect()
	case CycleResolved:
	}
}

// Digest is a hash of the durable fields.
func (s *State) Digest() uint64 {
	h := fnv.New64a()
	for _, l := range s.LaneStates() {
		fmt.Fprint(h, l)
	}
	return h.Sum64()
}

// Decide appends to out, in order, what the shell must do about m.
func (s *State) Decide(now time.Time, m Msg, out []Effect) []Effect {
	switch m := m.(type) {
	case TaskChanged:
		s.taskChanged(now, m)
		return s.wakeUp(now, out)
	case RobotChanged:
		s.robotChanged(now, m.Robot)
		return s.wakeUp(now, out)
	case ZoneReported:
		s.flows.note(&m.View)
		if len(m.View.Waits) == 0 {
			delete(s.zones, m.View.Zone)
		} else {
			s.zones[m.View.Zone] = m.View.Waits
		}
		return out
	case RulesChanged:
		s.policy = m.Policy
		s.BySight(m.BySight)
		s.ruledActive = m.Active
		s.charging, s.parking = m.Charging, m.Parking
		return out
	case ReliefChanged:
		s.reliefChanged(now, m.Relief)
		return s.wakeUp(now, out)
	case Ticked:
		return s.ticked(now, out)
	case Woke:
		if s.wake.IsZero() || now.Before(s.wake) {
			return out
		}
		return s.batch(now, false, out)
	case ActivateRequested:
		return s.activateRequested(m, out)
	case LaneRequested:
		return s.laneRequested(m, out)
	case OverlaysChanged:
		return s.overlaysChanged(m.KeepOut, out)
	case Restored:
		return s.restored(now, m, out)
	}
	return out
}

// activateRequested makes a map the active one. Its zones are new: they are told what was closed and kept out before.
func (s *State) activateRequested(m ActivateRequested, out []Effect) []Effect {
	g := m.Graph
	e := MapActivated{MapID: g.MapID, Version: g.Version}
	e.Heirs, e.Ended = roadmap.Heirs(s.graph, g)
	out = append(out, Record{Event: e, By: m.By, Trace: m.Trace}, Reply{Outcome: Done}, UseMap{Graph: g})
	out = s.laneEffects(g, out)
	kept := map[int32][]fleet.Vertex{}
	for _, v := range s.keptOutOn(g) {
		kept[g.ZoneOf[v]] = append(kept[g.ZoneOf[v]], v)
	}
	for _, z := range slices.Sorted(maps.Keys(kept)) {
		out = append(out, TellKeepOut{Zone: g.Zones[z].ID, Vertices: kept[z]})
	}
	return out
}

// keptOutOn lists the kept-out vertices as g numbers them, ascending; those that g does not have are left out.
func (s *State) keptOutOn(g *roadmap.Graph) []fleet.Vertex {
	var vs []fleet.Vertex
	for v := range s.keepOut {
		if n, ok := translate(s.graph, g, v); ok {
			vs = append(vs, n)
		}
	}
	slices.Sort(vs)
	return vs
}

// SetGraph is told by the shell when UseMap is performed: from here on the dispatcher plans on g. Robots count again
// when they have said where on g they are.
func (s *State) SetGraph(g *roadmap.Graph, t roadmap.Tables) {
	kept := s.keptOutOn(g)
	clear(s.keepOut)
	clear(s.kept)
	s.flows.forget()
	for id := range s.lanes {
		s.toTell[id] = tellAgain
	}
	for _, v := range kept {
		s.keepOut[v] = true
		s.kept[g.ZoneOf[v]] = tellAgain
	}
	for _, j := range s.tasks {
		j.place(s.graph, g)
	}
	s.yard.on(g)
	for _, w := range s.robots {
		w.At, w.Free, w.in = fleet.NoVertex, false, false
	}
	s.use(g, t)
	s.numberRelief()
	clear(s.zones)
	clear(s.cycles)
}

// on says that g has a vertex of this number.
func on(g *roadmap.Graph, v fleet.Vertex) bool { return g != nil && v >= 0 && int(v) < len(g.Vertices) }

// translate finds a vertex of one map on another, by its id.
func translate(from, to *roadmap.Graph, v fleet.Vertex) (fleet.Vertex, bool) {
	if !on(from, v) || to == nil {
		return fleet.NoVertex, false
	}
	return to.Find(from.Vertices[v].ID)
}

// place finds the errands on map g: by the client's names where it gave them, else by the ids of their vertices on the
// former map; a task that has not been on a map yet (from = nil) speaks of g's own vertices.
func (j *job) place(from, g *roadmap.Graph) {
	j.goal = fleet.NoVertex
	errands := make([]fleet.Vertex, len(j.spec.Errands))
	for i, v := range j.spec.Errands {
		ok := on(g, v)
		switch {
		case g == nil:
		case len(j.spec.Places) == len(errands):
			v, ok = g.Find(j.spec.Places[i])
		case from != nil:
			v, ok = translate(from, g, v)
		}
		if !ok {
			return
		}
		errands[i] = v
	}
	if len(errands) > 0 {
		j.spec.Errands, j.goal, j.rest = errands, errands[0], 0
		j.zones = nil
		for _, v := range errands {
			if z := g.Zones[g.ZoneOf[v]].ID; !slices.Contains(j.zones, z) {
				j.zones = append(j.zones, z)
			}
		}
		for i, v := range errands[1:] {
			j.rest += g.Manhattan(errands[i], v)
		}
	}
}

func (s *State) taskChanged(now time.Time, m TaskChanged) {
	s.yard.note(m)
	s.relief.noteBegun(m)
	id := m.Spec.ID
	if r, held := s.holder[id]; held && (m.State != task.Held || r != m.Robot) {
		delete(s.holder, id)
		delete(s.heldBy, r)
	}
	s.engage(now, m)
	s.release(now, id)
	switch m.State {
	case task.Open:
		if j := s.tasks[id]; j != nil {
			j.offered = time.Time{}
			s.stock(now, j)
			break
		}
		s.open(now, m.Spec)
	case task.Held:
		s.shut(id)
		if t, other := s.heldBy[m.Robot]; other && t != id {
			delete(s.holder, t)
		}
		s.heldBy[m.Robot], s.holder[id] = id, m.Robot
	case task.Closed:
		s.shut(id)
	}
	if w := s.robots[m.Robot]; w != nil {
		if w.offered = (time.Time{}); m.State == task.Held {
			w.held = now
		}
		s.seat(now, w)
	}
}

func (s *State) open(now time.Time, t task.Spec) {
	j := &job{spec: t, since: now, needs: t.Requires()}
	j.place(nil, s.graph)
	s.measure(j)
	s.tasks[t.ID] = j
	j.held = s.mayPassJam(j)
	s.stock(now, j)
}

// shut forgets an open task.
func (s *State) shut(id fleet.TaskID) {
	if j := s.tasks[id]; j != nil {
		if j.in {
			s.market.dropJob(j)
		}
		delete(s.tasks, id)
	}
}

func (s *State) robotChanged(now time.Time, r Robot) {
	w := s.robots[r.ID]
	if w != nil && w.in { // where it stands, and what it can, may be another now
		s.market.dropWorker(w)
	}
	if r.Gone {
		delete(s.robots, r.ID)
		delete(s.holder, s.heldBy[r.ID])
		delete(s.heldBy, r.ID)
		return
	}
	if w == nil {
		w = &worker{charging: &s.charging}
		s.robots[r.ID] = w
	}
	w.Robot = r
	s.seat(now, w)
}

func (s *State) laneRequested(m LaneRequested, out []Effect) []Effect {
	if s.graph == nil {
		return append(out, Reply{Outcome: NotFound})
	}
	n, ok := s.graph.LaneNumber(m.Lane)
	if !ok {
		return append(out, Reply{Outcome: NotFound})
	}
	l := &s.graph.Lanes[n]
	st, known := s.lanes[m.Lane]
	if !known {
		st = LaneState{Lane: m.Lane, Closed: l.Closed}
	}
	if m.Closed != nil {
		st.Closed = *m.Closed
	}
	if m.SpeedMPS != nil {
		st.SpeedMPS = *m.SpeedMPS
	}
	st.Reason = m.Reason
	return append(out, Record{Event: LaneChanged{State: st}, By: m.By, Trace: m.Trace}, Reply{Outcome: Done},
		TellLane{Zones: zonesOf(s.graph, l), Lane: n, Closed: st.Closed, SpeedMPS: st.SpeedMPS})
}

func zonesOf(g *roadmap.Graph, l *roadmap.Lane) []fleet.ZoneID {
	a, b := g.ZoneOf[l.From], g.ZoneOf[l.To]
	zs := []fleet.ZoneID{g.Zones[a].ID}
	if a != b {
		zs = append(zs, g.Zones[b].ID)
	}
	return zs
}

func (s *State) overlaysChanged(keepOut []fleet.Vertex, out []Effect) []Effect {
	if s.graph == nil {
		return out
	}
	clear(s.keepOut)
	for _, v := range keepOut {
		if on(s.graph, v) { // else of a map that is no longer active
			s.keepOut[v] = true
		}
	}
	s.connect()
	return s.keepOutEffects(out)
}

// tellAgain is how often zones are told that a lane is as in the map again, or that nothing is kept out any more: they
// may have missed it.
const tellAgain = 12

// keepOutEffects tell the zones which vertices are kept out now.
func (s *State) keepOutEffects(out []Effect) []Effect {
	by := map[int32][]fleet.Vertex{}
	for _, v := range slices.Sorted(maps.Keys(s.keepOut)) {
		z := s.graph.ZoneOf[v]
		s.kept[z] = tellAgain
		by[z] = append(by[z], v)
	}
	for _, z := range slices.Sorted(maps.Keys(s.kept)) {
		out = append(out, TellKeepOut{Zone: s.graph.Zones[z].ID, Vertices: by[z]})
		if s.kept[z]--; by[z] == nil && s.kept[z] <= 0 {
			delete(s.kept, z)
		}
	}
	return out
}

func (s *State) restored(now time.Time, m Restored, out []Effect) []Effect {
	for _, l := range m.Lanes {
		s.lanes[l.Lane] = l
		s.toTell[l.Lane] = tellAgain
	}
	s.use(m.Graph, s.tables)
	for _, t := range m.Tasks {
		s.open(now, t)
	}
	if m.Graph == nil {
		return out
	}
	for z := range m.Graph.Zones { // what was lifted while we were away, nobody has told them
		s.kept[int32(z)] = tellAgain
	}
	return s.overlaysChanged(m.KeepOut, s.laneEffects(m.Graph, out))
}

// ticked runs a batch and, each second, the search for deadlocks.
func (s *State) ticked(now time.Time, out []Effect) []Effect {
	s.at = now
	out = s.batch(now, true, out)
	if now.Sub(s.lastScan) < time.Second {
		return out
	}
	s.lastScan = now
	s.noteTaskWaits(now)
	s.reviewCrowd(now)
	out = s.scan(now, out)
	out = s.tend(now, out)
	out = s.tellLanes(now, out)
	out = s.flows.weigh(now, s.graph, out)
	return append(out, Show{})
}

// lanesAgain is after how long zones are told of changed lanes again: one of them may have missed it.
const lanesAgain = 10 * time.Second

// tellLanes tells the zones of every lane that was changed at run time, and of kept-out vertices.
func (s *State) tellLanes(now time.Time, out []Effect) []Effect {
	if s.graph == nil || now.Sub(s.lastTold) < lanesAgain {
		return out
	}
	s.lastTold = now
	for _, id := range slices.Sorted(maps.Keys(s.toTell)) {
		l := s.lanes[id]
		n, ok := s.graph.LaneNumber(id)
		if ok {
			out = append(out, tellLane(s.graph, n, l))
		}
		if s.toTell[id]--; s.toTell[id] <= 0 && (!ok || l.SpeedMPS == 0 && l.Closed == s.graph.Lanes[n].Closed) {
			delete(s.toTell, id)
		}
	}
	return s.keepOutEffects(out)
}

func tellLane(g *roadmap.Graph, n int32, l LaneState) Effect {
	return TellLane{Zones: zonesOf(g, &g.Lanes[n]), Lane: n, Closed: l.Closed, SpeedMPS: l.SpeedMPS}
}

// laneEffects tell the zones of g of every lane of theirs that was changed at run time.
func (s *State) laneEffects(g *roadmap.Graph, out []Effect) []Effect {
	for _, l := range s.LaneStates() {
		if n, ok := g.LaneNumber(l.Lane); ok {
			out = append(out, tellLane(g, n, l))
		}
	}
	return out
}

// FillView fills v. Slices are shared and not written afterwards.
func (s *State) FillView(v *View) {
	*v = View{At: s.at, OpenTasks: len(s.tasks), TaskWaits: s.taskWait, Cycles: s.standing, Charging: s.charging, Policy: s.policy, Active: s.saidActive()}
	if s.graph != nil {
		v.MapID, v.MapVersion = s.graph.MapID, s.graph.Version
	}
	for _, w := range s.robots {
		if w.Free {
			v.FreeRobots++
		}
	}
	for _, z := range slices.Sorted(maps.Keys(s.zones)) {
		v.Waits = append(v.Waits, s.zones[z]...)
	}
	slices.SortStableFunc(v.Waits, func(a, b fleet.Wait) int { return cmp.Compare(a.Robot, b.Robot) })
}

// uuid makes a random id from the seed.
func (s *State) uuid() string {
	a, b := s.rng.Uint64(), s.rng.Uint64()
	a = a&^0xf000 | 0x4000
	b = b&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
