package sim

import (
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
)

// stage carries out what a scenario says, in its world's one warehouse.
type stage struct {
	sc    *Scenario
	s     *site
	names []string // of robots, by number
	wires map[[2]int]wire
	zones []wire // by zone number
	slow  []pace // by robot number
	told  story
}

// wire is how mail goes between two zones, or between one and all of its neighbours.
type wire struct {
	lostTill, lateTill time.Duration
	late               time.Duration
	frozenTill         time.Duration
}

// pace is how much longer a robot's moves take for a while.
type pace struct {
	factor float64
	till   time.Duration
}

func newStage(w *World, sc *Scenario) *stage {
	s := w.sites[0]
	st := &stage{sc: sc, s: s, wires: map[[2]int]wire{}, zones: make([]wire, len(s.graph.Zones)), slow: make([]pace, len(s.devices))}
	for _, c := range sc.Robots {
		st.names = append(st.names, c.Name)
	}
	st.told.init(st)
	return st
}

// open puts everything on the clock that the scenario has planned.
func (st *stage) open() {
	w := st.s.w
	for _, e := range st.sc.Tasks {
		w.clock.after(curtain+e.At, "scenario task", func() { st.ask(e) })
	}
	for _, f := range st.sc.Faults {
		w.clock.after(curtain+f.At, "scenario fault", func() {
			st.told.note("%s", f.what())
			st.happen(f)
		})
	}
	w.clock.after(curtain, "frame", st.frame)
}

// what is the fault as written, without its time.
func (f *Fault) what() string {
	line := f.Line
	for range 2 {
		if k := slices.Index([]byte(line), ' '); k >= 0 {
			line = line[k+1:]
		}
	}
	return line
}

// vertex finds a cell that was checked.
func (st *stage) vertex(ref string) fleet.Vertex {
	c, err := st.sc.cell(ref)
	if err != nil {
		return fleet.NoVertex
	}
	v, _ := st.s.graph.Find(itoa(c))
	return v
}

func (st *stage) device(name string) *device { return st.s.devices[slices.Index(st.names, name)] }

func (st *stage) zone(name string) int {
	for i := range st.s.graph.Zones {
		if st.s.graph.Zones[i].Name == name {
			return i
		}
	}
	return 0
}

// ask creates a task, as a client does.
func (st *stage) ask(e Errand) {
	s := st.s
	spec := task.Spec{Shard: s.shard, Priority: e.Priority, Source: "api", CreatedAt: s.w.now(), Payload: []byte(e.Name)}
	for _, p := range e.Visit {
		v := st.vertex(p)
		spec.Errands = append(spec.Errands, v)
		spec.Places = append(spec.Places, s.graph.Vertices[v].ID)
	}
	if e.Robot != "" {
		spec.Robot = st.device(e.Robot).id
	}
	s.clients.create(e.Name, spec)
}

// happen carries out one fault or deed.
func (st *stage) happen(f Fault) {
	s, now := st.s, st.s.w.clock.now
	switch f.Kind {
	case ZoneSilent, ZoneFrozen, ZoneSlow, ZoneRestart:
		st.zoneHappen(f)
	case MailLost, MailLate:
		st.wires[[2]int{st.zone(f.Who[0]), st.zone(f.Who[1])}] = f.wire(now)
	case ProcessDown:
		s.crash()
	case DispatchDown:
		s.dispatcher.crash()
	case RobotStop, RobotSilent, RobotSlow, RobotReboot, RobotDrop, RobotTaken:
		st.robotHappen(f)
	case RobotPause:
		s.clients.command(st.device(f.Who[0]), fleet.CommandPause, nil)
	case RobotResume:
		s.clients.resume(st.device(f.Who[0]))
	case LaneClose, LaneOpen:
		a, b := st.vertex(f.Who[0]), st.vertex(f.Who[1])
		for _, ends := range [][2]fleet.Vertex{{a, b}, {b, a}} {
			if l, ok := s.graph.Lane(ends[0], ends[1]); ok {
				s.clients.setLane(s.graph.Lanes[l].ID, f.Kind == LaneClose, func(error) {})
			}
		}
	case KeepOut:
		var vs []fleet.Vertex
		for _, c := range f.Who {
			vs = append(vs, st.vertex(c))
		}
		slices.Sort(vs)
		s.clients.keepOut(vs)
		if f.For > 0 {
			s.w.clock.after(f.For, "let in", func() { s.clients.keepOut(nil) })
		}
	case TaskCancelled:
		s.clients.cancel(s.clients.byKey[f.Who[0]])
	}
}

// wire is how the fault leaves the mail.
func (f *Fault) wire(now time.Duration) wire {
	till := now + f.For
	switch f.Kind {
	case ZoneSilent, MailLost:
		return wire{lostTill: till}
	case ZoneSlow, MailLate:
		return wire{lateTill: till, late: f.Late}
	case ZoneFrozen:
		return wire{frozenTill: till}
	case ZoneRestart, ProcessDown, DispatchDown, RobotStop, RobotSilent, RobotSlow, RobotReboot, RobotDrop, RobotTaken, RobotPause,
		RobotResume, LaneClose, LaneOpen, KeepOut, TaskCancelled:
	}
	return wire{}
}

func (st *stage) zoneHappen(f Fault) {
	n := st.zone(f.Who[0])
	if f.Kind == ZoneRestart {
		st.s.zones[n].crash()
		return
	}
	st.zones[n] = f.wire(st.s.w.clock.now)
}

func (st *stage) robotHappen(f Fault) {
	w, d := st.s.w, st.device(f.Who[0])
	till := w.clock.now + f.For
	switch f.Kind {
	case RobotStop:
		d.faultTill = till
		w.clock.after(f.For, "mended", d.drive)
	case RobotSilent:
		d.silentTill = till
	case RobotSlow:
		st.slow[d.index] = pace{f.Factor, till}
	case RobotReboot:
		d.reboot()
	case RobotDrop:
		d.dropLink()
	case RobotTaken:
		d.dropLink()
		d.remove()
	case ZoneSilent, ZoneFrozen, ZoneSlow, ZoneRestart, ProcessDown, DispatchDown, MailLost, MailLate, RobotPause, RobotResume,
		LaneClose, LaneOpen, KeepOut, TaskCancelled:
	}
}

// factor is how much longer the robot's moves take now.
func (st *stage) factor(d *device) float64 {
	if st == nil || d.site.w.clock.now >= st.slow[d.index].till {
		return 1
	}
	return st.slow[d.index].factor
}

// wireOf joins how the mail goes between two zones: the worst of both ends and of the way between them.
func (st *stage) wireOf(from, to int) (lost bool, late time.Duration) {
	if st == nil {
		return false, 0
	}
	now := st.s.w.clock.now
	for _, x := range [...]wire{st.zones[from], st.zones[to], st.wires[[2]int{from, to}], st.wires[[2]int{to, from}]} {
		lost = lost || now < x.lostTill
		if now < x.lateTill {
			late = max(late, x.late)
		}
	}
	return lost, late
}

// thaw is for how long the zone decides nothing yet.
func (st *stage) thaw(zone int) time.Duration {
	if st == nil {
		return 0
	}
	return max(0, st.zones[zone].frozenTill-st.s.w.clock.now)
}

// over says that the scenario has come to its end: nothing more is planned, every task has ended, every robot stands.
func (st *stage) over() bool {
	if st == nil {
		return false
	}
	w := st.s.w
	if w.clock.now < curtain+st.sc.faultsEnd()+2*time.Second || len(st.s.clients.acked) < len(st.sc.Tasks) || !w.laws.deadlocks.finished() {
		return false
	}
	return !slices.ContainsFunc(st.s.devices, func(d *device) bool { return !d.gone && (d.busy || w.clock.now-d.moved < 2*time.Second) })
}
