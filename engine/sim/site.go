package sim

import (
	"math/rand/v2"
	"strings"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// site is one warehouse: its floor and robots, which last, its journal, which lasts, and its house of actors, which
// crashes.
type site struct {
	w       *World
	number  int
	shard   fleet.Shard
	graph   *roadmap.Graph
	tables  *roadmap.TableMap
	journal *journal
	devices []*device
	byID    map[fleet.RobotID]*device
	clients clients

	life          int // of the house; odd while it is up
	inc           fleet.Incarnation
	leaseUntil    time.Time
	noGrantsUntil time.Time
	epochs        uint64
	events        uint64
	robots        map[fleet.RobotID]*robotActor
	robotList     []*robotActor
	tasks         map[fleet.TaskID]*taskActor
	taskList      []*taskActor
	zones         []*zoneActor
	dispatcher    *dispatchActor
	lanesTold     map[fleet.ZoneID][]zone.LaneChanged
	keptTold      map[fleet.ZoneID]zone.KeepOutChanged
	keptOut       []fleet.Vertex // on record
	keptOutNo     int
	taken         int           // robots taken off the floor by an operator
	clearAt       time.Duration // no robot was away without the engine's knowing since then
}

func newSite(w *World, number int) *site {
	s := &site{w: w, number: number, byID: map[fleet.RobotID]*device{}}
	s.shard = fleet.Shard{Tenant: fleet.TenantID(s.id("7e4a", 0)), Warehouse: fleet.WarehouseID(s.id("3a5e", 0))}
	if sc := w.Scenario; sc != nil {
		s.set(sc)
		return s
	}
	s.graph = s.floor()
	s.furnish()
	s.tables = roadmap.NewTableMap(s.graph, len(s.graph.Vertices))
	s.journal = newJournal(s)
	spots := w.rng.Perm(len(s.graph.Vertices))
	n := min(w.Robots, len(spots)*2/5)
	for i := range n + w.Strays {
		d := newDevice(s, i, fleet.Vertex(spots[i]), i >= n)
		s.devices = append(s.devices, d)
		s.byID[d.id] = d
	}
	s.clients.init(s)
	return s
}

// set builds the floor of a scenario and puts its robots there.
func (s *site) set(sc *Scenario) {
	g, err := sc.graph(fleet.MapID(s.id(idMap, 0)))
	if err != nil {
		panic(err) // ParseScenario has built it once
	}
	s.graph, s.tables, s.journal = g, roadmap.NewTableMap(g, len(g.Vertices)), newJournal(s)
	for i, c := range sc.Robots {
		cell, _ := sc.cell(c.At)
		v, _ := g.Find(itoa(cell))
		d := newDevice(s, i, v, c.Foreign)
		d.heading, d.speed, d.radius = c.Facing, c.SpeedMPS, c.RadiusM
		s.devices = append(s.devices, d)
		s.byID[d.id] = d
	}
	s.clients.init(s)
}

// floor makes a square with obstacles on which every free cell can be reached from every other, as a rule in two ways.
func (s *site) floor() *roadmap.Graph {
	w := s.w
	for density := w.Blocked; ; density *= 0.8 {
		rows := make([]string, w.Side)
		for r := range rows {
			var b strings.Builder
			for range w.Side {
				cell := byte('.')
				if w.rng.Float64() < density {
					cell = '@'
				}
				b.WriteByte(cell)
			}
			rows[r] = b.String()
		}
		g := s.build(rows)
		if g != nil && connected(g) && (w.DeadEnds || ringed(g)) {
			return g
		}
	}
}

func (s *site) build(rows []string) *roadmap.Graph {
	side := len(rows)
	text := "type octile\nheight " + itoa(side) + "\nwidth " + itoa(side) + "\nmap\n" + strings.Join(rows, "\n") + "\n"
	draft, _ := roadmap.Import("movingai", []byte(text), 1)
	if draft == nil {
		return nil
	}
	edge := (side + s.w.Split - 1) / s.w.Split
	g, err := roadmap.Build(draft, roadmap.BuildOptions{MapID: fleet.MapID(s.id(idMap, 0)), Version: 1, MaxZone: edge * edge})
	if err != nil {
		return nil
	}
	return g
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func connected(g *roadmap.Graph) bool { return reach(g, 0, fleet.NoVertex) == len(g.Vertices) }

// ringed says that no single vertex cuts the floor in two: then every adjacent pair lies on a cycle, which is what
// priority inheritance needs to promise an end.
func ringed(g *roadmap.Graph) bool {
	for v := range g.Vertices {
		from := fleet.Vertex(0)
		if v == 0 {
			from = 1
		}
		if reach(g, from, fleet.Vertex(v)) != len(g.Vertices)-1 {
			return false
		}
	}
	return true
}

// reach counts the vertices that can be reached without one of them.
func reach(g *roadmap.Graph, from, without fleet.Vertex) int {
	seen := make([]bool, len(g.Vertices))
	seen[from] = true
	n := 0
	for queue := []fleet.Vertex{from}; len(queue) > 0; queue = queue[1:] {
		n++
		for _, l := range g.Out[queue[0]] {
			if to := g.Lanes[l].To; !seen[to] && to != without {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
	return n
}

// open starts everything for the first time.
func (s *site) open() {
	w := s.w
	s.raise()
	for _, d := range s.devices {
		d.begin()
	}
	if w.Scenario == nil {
		s.clients.begin()
	}
	f := w.Faults
	s.crashEvery(f.RobotCore, "robot crash", func(r *rand.Rand) { s.crashRobot(s.robotList[r.IntN(len(s.robotList))]) })
	s.crashEvery(f.ZoneCore, "zone crash", func(r *rand.Rand) { s.zones[r.IntN(len(s.zones))].crash() })
	s.crashEvery(f.DispatchCore, "dispatcher crash", func(*rand.Rand) { s.dispatcher.crash() })
	s.crashEvery(f.TaskCore, "task crash", func(r *rand.Rand) {
		if n := len(s.taskList); n > 0 {
			s.taskList[n-1-r.IntN(min(n, 10))].crash()
		}
	})
	w.every(f.Process, "process crash", s.crash)
	w.every(w.Journal.OutageEvery, "outage", func() {
		s.journal.awayTil = w.clock.now + w.upTo(w.Journal.Outage)
		w.trace("OUTAGE until %v", s.journal.awayTil)
	})
	w.clock.after(0, "snapshots", s.snapshots)
	if w.Lockstep {
		s.actTogether()
	}
}

func (s *site) crashEvery(mean time.Duration, what string, do func(*rand.Rand)) {
	s.w.every(mean, what, func() {
		if s.life%2 == 1 {
			s.w.result.Crashes++
			do(s.w.rng)
		}
	})
}

// raise takes the shard and starts the house: the dispatcher, the zones, the robots, the tasks that are under way.
func (s *site) raise() {
	w := s.w
	s.life++
	s.inc++
	s.journal.inc = s.inc
	s.noGrantsUntil = time.Time{}
	if w.Lease > 0 && s.inc > 1 {
		s.noGrantsUntil = s.leaseUntil.Add(100 * time.Millisecond)
	}
	s.leaseUntil = time.Time{}
	s.robots, s.robotList = map[fleet.RobotID]*robotActor{}, nil
	s.tasks, s.taskList = map[fleet.TaskID]*taskActor{}, nil
	s.lanesTold, s.keptTold = map[fleet.ZoneID][]zone.LaneChanged{}, map[fleet.ZoneID]zone.KeepOutChanged{}
	s.dispatcher = newDispatchActor(s)
	s.dispatcher.start()
	s.zones = nil
	for i := range s.graph.Zones {
		z := &zoneActor{site: s, number: i, id: s.graph.Zones[i].ID}
		s.zones = append(s.zones, z)
		z.start()
	}
	for _, d := range s.devices {
		s.robot(d.id)
	}
	for _, id := range s.clients.known {
		if t := s.journal.taskState(id); t != nil && t.Status != fleet.TaskCreated && !t.Status.Final() {
			s.task(id)
		}
	}
	life := s.life
	s.tickZones(life)
	s.tickDispatcher(life)
	s.renew(life)
}

// crash ends every process of the house at once; it comes back after a while.
func (s *site) crash() {
	w := s.w
	if s.life%2 == 0 {
		return
	}
	w.trace("CRASH of everything")
	w.result.Crashes++
	s.life++
	s.journal.crash()
	for _, r := range s.robotList {
		r.stop(fact.ErrUnknown)
	}
	for _, t := range s.taskList {
		t.stop(fact.ErrUnknown)
	}
	s.dispatcher.stop(fact.ErrUnknown)
	for _, z := range s.zones {
		z.life++
		z.state = nil
	}
	for _, d := range s.devices {
		d.dropLink()
	}
	w.laws.lasting.check(s)
	w.clock.after(500*time.Millisecond+w.upTo(3*time.Second), "raise", s.raise)
}

// crashRobot restarts a robot's actor; the gateway closes its link, so that the robot says again what it holds.
func (s *site) crashRobot(r *robotActor) {
	r.crash()
	s.byID[r.id].dropLink()
}

func (s *site) becalm() {
	s.journal.awayTil = 0
	for _, d := range s.devices {
		d.becalm()
	}
	s.clients.becalm()
}

// up runs f again and again while this life of the house lasts.
func (s *site) up(life int, every time.Duration, what string, f func()) {
	if s.life != life {
		return
	}
	f()
	s.w.clock.after(every, what, func() { s.up(life, every, what, f) })
}

// tickZones starts a planning round in every zone, the rounds a little apart.
func (s *site) tickZones(life int) {
	w := s.w
	every := w.perTick()
	w.clock.after(every-w.clock.now%every, "tick", func() {
		s.up(life, every, "tick", func() {
			n := uint64(w.now().UnixMilli() / every.Milliseconds())
			for _, i := range w.rng.Perm(len(s.zones)) {
				z := s.zones[i]
				w.clock.after(w.upTo(w.Mail.Delay), "zone tick", func() {
					if s.life == life {
						z.mail(zone.Ticked{Tick: n, LeaseUntil: s.lease()})
					}
				})
			}
		})
	})
}

func (s *site) tickDispatcher(life int) {
	s.up(life, 500*time.Millisecond, "dispatch", func() { s.dispatcher.mail(dispatch.Ticked{}, nil) })
}

// renew extends the lease while the journal answers.
func (s *site) renew(life int) {
	w := s.w
	s.up(life, 300*time.Millisecond, "renew", func() {
		if w.calm || w.clock.now >= s.journal.awayTil {
			s.leaseUntil = w.now().Add(w.Lease)
		}
	})
}

// snapshots saves the robots' newest soft state now and then, as the snapshot writer does.
func (s *site) snapshots() {
	for _, r := range s.robotList {
		if r.up && s.life%2 == 1 && r.folded > 0 {
			s.journal.snaps[r.id] = r.state.LastKnown()
		}
	}
	s.w.clock.after(2*time.Second, "snapshots", s.snapshots)
}

func (s *site) eventID() fleet.EventID {
	s.events++
	return fleet.EventID(s.id(idEvent, int(s.events)))
}

// nextEpoch is a zone's activation number: it rises over crashes too.
func (s *site) nextEpoch() uint64 {
	s.epochs = max(s.epochs+1, uint64(s.w.now().UnixMilli()))
	return s.epochs
}

// robot is the robot's actor, started where needed.
func (s *site) robot(id fleet.RobotID) *robotActor {
	r := s.robots[id]
	if r == nil {
		r = newRobotActor(s, id)
		s.robots[id] = r
		s.robotList = append(s.robotList, r)
		r.start()
	}
	return r
}

// task is the task's actor, started where needed.
func (s *site) task(id fleet.TaskID) *taskActor {
	t := s.tasks[id]
	if t == nil {
		t = newTaskActor(s, id)
		s.tasks[id] = t
		s.taskList = append(s.taskList, t)
		t.start()
	}
	return t
}

func (s *site) device(id fleet.RobotID) *device { return s.byID[id] }

// fresh starts the actor of a task that does not exist yet: there is nothing to load.
func (s *site) fresh(id fleet.TaskID) *taskActor {
	t := newTaskActor(s, id)
	t.life, t.up = 1, true
	s.tasks[id] = t
	s.taskList = append(s.taskList, t)
	return t
}

func (s *site) toRobot(id fleet.RobotID, what string, m robot.Msg) {
	s.w.laws.isolated.id(s, string(id), what)
	s.w.mail(s, what, func() { s.robot(id).mail(m, nil) })
}

func (s *site) toTask(id fleet.TaskID, what string, m task.Msg) {
	s.w.laws.isolated.id(s, string(id), what)
	s.w.mail(s, what, func() { s.task(id).mail(m, nil) })
}

func (s *site) toZone(id fleet.ZoneID, what string, m zone.Msg) {
	n, ok := s.graph.ZoneNumber(id)
	if !ok {
		s.w.fail(8, "%s goes to zone %s, which is not of this warehouse", what, id)
		return
	}
	s.w.mail(s, what, func() { s.zones[n].mail(m) })
}

func (s *site) toDispatcher(what string, m dispatch.Msg) {
	s.w.mail(s, what, func() { s.dispatcher.mail(m, nil) })
}

// laneTold remembers what a zone would forget in a restart.
func (s *site) laneTold(z fleet.ZoneID, m zone.LaneChanged) {
	for i, old := range s.lanesTold[z] {
		if old.Lane == m.Lane {
			s.lanesTold[z][i] = m
			return
		}
	}
	s.lanesTold[z] = append(s.lanesTold[z], m)
}

// warehouseRecord is what the dispatcher finds when it starts.
func (s *site) warehouseRecord() dispatch.Restored {
	m := dispatch.Restored{Graph: s.graph, KeepOut: s.keptOut}
	lanes := map[fleet.LaneID]int{}
	for _, i := range s.journal.bySubj[string(s.shard.Warehouse)] {
		if e, ok := s.journal.facts[i].Event.(dispatch.LaneChanged); ok {
			n, seen := lanes[e.State.Lane]
			if !seen {
				n = len(m.Lanes)
				lanes[e.State.Lane] = n
				m.Lanes = append(m.Lanes, dispatch.LaneState{})
			}
			m.Lanes[n] = e.State
		}
	}
	for _, id := range s.clients.known {
		if t := s.journal.taskState(id); t != nil && t.Status == fleet.TaskCreated {
			m.Tasks = append(m.Tasks, t.Spec)
		}
	}
	return m
}

// digest is a hash of all that is durable and of where the robots are.
func (s *site) digest() uint64 {
	h := uint64(len(s.journal.facts))
	for _, d := range s.devices {
		h = h*31 + uint64(d.at+1)
	}
	for _, id := range s.clients.known {
		if t := s.journal.taskState(id); t != nil {
			h = h*31 + t.Digest()
		}
	}
	for _, r := range s.robotList {
		if r.up {
			h = h*31 + r.state.Digest()
		}
	}
	return h
}
