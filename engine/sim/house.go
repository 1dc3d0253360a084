package sim

import (
	"fmt"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// robotActor is the simulated shell of a robot's core.
type robotActor struct {
	actor[robot.Msg, robot.Event, robot.Effect]
	id     fleet.RobotID
	state  *robot.State
	folded int64
	timer  alarm
	view   robot.View
}

var _ trade[robot.Msg, robot.Event, robot.Effect] = (*robotActor)(nil)

func newRobotActor(s *site, id fleet.RobotID) *robotActor {
	r := &robotActor{id: id}
	r.site, r.trade, r.kind, r.subject = s, r, "robot", string(id)
	return r
}

func (r *robotActor) load() {
	s := r.site
	r.state = robot.New(s.w.now(), robot.Rules{Window0: min(s.w.Window, 2), WindowMax: s.w.Window})
	r.folded = s.journal.robotState(r.id, r.state)
	r.now(robot.MapActivated{Graph: s.graph}, nil)
	if r.folded == 0 {
		return
	}
	m := robot.Restored{Last: s.journal.snaps[r.id]}
	if t := s.journal.active(r.id); t != nil {
		m.ActiveTask = &robot.TaskAwarded{
			Task: t.Spec.ID, Errands: t.Spec.Errands, First: t.Errand, Priority: t.Spec.Priority, Since: t.Spec.CreatedAt,
		}
	}
	r.now(m, nil)
}

func (r *robotActor) decide(now time.Time, m robot.Msg, out []robot.Effect) []robot.Effect {
	return r.state.Decide(now, m, out)
}

func (r *robotActor) apply(at time.Time, e robot.Event) {
	r.state.Apply(at, e)
	r.folded++
}

func (r *robotActor) applied()            { r.site.w.laws.folds.robot(r) }
func (r *robotActor) version(n int) int64 { return r.folded + int64(n) + 1 }

func (r *robotActor) after(m robot.Msg) {
	if p, ok := m.(robot.Progressed); ok {
		r.site.device(r.id).acknowledged(p.BootID, p.Number)
	}
}

func (r *robotActor) soft(m robot.Msg) bool {
	switch m.(type) {
	case robot.RegisterRequested, robot.RemoveRequested, robot.CommandRequested, robot.CommandAcknowledged, robot.Woke, robot.Restored:
		return false
	default:
		return true
	}
}

func (r *robotActor) rank(f robot.Effect) rank {
	switch f.(type) {
	case robot.Record:
		return rankRecord
	case robot.AskZone, robot.ReportZone, robot.SendOrder, robot.AskRate, robot.Show, robot.Measure:
		return rankSoft
	default:
		return rankHeld
	}
}

func (r *robotActor) event(f robot.Effect) (robot.Event, fleet.Actor) {
	rec, _ := f.(robot.Record)
	return rec.Event, rec.By
}

func (r *robotActor) perform(f robot.Effect, a *ask) {
	s := r.site
	switch f := f.(type) {
	case robot.Record, robot.Measure, robot.AskRate:
	case robot.Reply:
		a.reply(f.Outcome, nil)
	case robot.AskZone:
		s.w.trace("ask: %s v%d at %d base %v goal %d halted %v", short(r.id), f.Request.Version&0xfffff, f.Request.At, f.Request.Base, f.Request.Goal, f.Request.Halted)
		s.toZone(f.Zone, "asked", zone.Asked{Request: f.Request})
	case robot.ReportZone:
		s.w.trace("report: %s v%d at %d to zone %s", short(r.id), f.Arrival.Version&0xfffff, f.Arrival.Vertex, short(f.Zone))
		s.toZone(f.Zone, "arrived", zone.Arrived{Arrival: f.Arrival})
	case robot.LeaveZone:
		s.toZone(f.Zone, "gone", zone.RobotGone{Robot: r.id})
	case robot.SendOrder:
		s.w.laws.isolated.order(s, f.Order)
		s.device(r.id).sendOrder(f.Order)
	case robot.SendCommand:
		s.w.laws.told.command(s, f.Command)
		s.device(r.id).sendCommand(f.Command)
	case robot.StartedTask:
		s.toTask(f.Task, "started", task.RobotStarted{Robot: r.id})
	case robot.ReachedErrand:
		s.toTask(f.Task, "reached", task.RobotReached{Robot: r.id, Errand: f.Errand})
	case robot.RefusedTask:
		s.w.trace("refuse: %s %s: %s", short(r.id), short(f.Task), f.Reason)
		s.toTask(f.Task, "refused", task.RobotRefused{Robot: r.id, Reason: f.Reason, Fatal: f.Fatal})
	case robot.LetGoTask:
		s.toTask(f.Task, "let go", task.RobotLetGo{Robot: r.id})
	case robot.TellDispatcher:
		av := f.Availability
		s.toDispatcher("availability", dispatch.RobotChanged{Robot: dispatch.Robot{
			ID: av.Robot, Fleet: av.Fleet, Capabilities: av.Capabilities, Free: av.Free, At: av.At, Battery: av.Battery,
			Since: av.Since, Reason: av.Reason, Gone: av.Gone, Allowed: av.Allowed, SpeedMPS: av.SpeedMPS, Move: av.Move, Power: av.Power,
		}})
	case robot.Show:
		r.state.View(&r.view)
		s.w.laws.bounds.queue("base", len(r.view.Base))
	case robot.WakeAt:
		r.timer.set(s, f.At, "robot wakes", func() { r.mail(robot.Woke{}, nil) })
	}
}

// taskActor is the simulated shell of a task's core.
type taskActor struct {
	actor[task.Msg, task.Event, task.Effect]
	id    fleet.TaskID
	state *task.State
	timer alarm
}

var _ trade[task.Msg, task.Event, task.Effect] = (*taskActor)(nil)

func newTaskActor(s *site, id fleet.TaskID) *taskActor {
	t := &taskActor{id: id, state: &task.State{}}
	t.site, t.trade, t.kind, t.subject = s, t, "task", string(id)
	return t
}

func (t *taskActor) load() {
	if t.state = t.site.journal.taskState(t.id); t.state == nil {
		t.state = &task.State{}
		return
	}
	t.now(task.Restored{}, nil)
}

func (t *taskActor) decide(now time.Time, m task.Msg, out []task.Effect) []task.Effect {
	return t.state.Decide(now, m, out)
}

func (t *taskActor) apply(at time.Time, e task.Event) { t.state.Apply(at, e) }
func (t *taskActor) applied()                         { t.site.w.laws.folds.task(t) }
func (t *taskActor) version(n int) int64              { return t.state.Version + int64(n) + 1 }
func (t *taskActor) after(task.Msg)                   {}
func (t *taskActor) soft(task.Msg) bool               { return false }

func (t *taskActor) rank(f task.Effect) rank {
	if _, ok := f.(task.Record); ok {
		return rankRecord
	}
	return rankHeld
}

func (t *taskActor) event(f task.Effect) (task.Event, fleet.Actor) {
	rec, _ := f.(task.Record)
	return rec.Event, rec.By
}

func (t *taskActor) perform(f task.Effect, a *ask) {
	s := t.site
	switch f := f.(type) {
	case task.Record, task.Show:
	case task.Reply:
		if f.Outcome == task.Conflict {
			v := *t.state
			a.reply(nil, &fact.ConflictError{Key: "state", Existing: t.subject, Task: &v})
			return
		}
		s.w.laws.told.answered(s, t.id)
		a.reply(f.Outcome, nil)
	case task.Award:
		s.w.laws.told.award(s, t.id, f)
		s.toRobot(f.Robot, "awarded", robot.TaskAwarded{
			Task: t.id, Errands: f.Errands, First: f.First, Priority: f.Spec.Priority, Since: f.Spec.CreatedAt, Trace: f.Trace,
		})
	case task.Withdraw:
		s.toRobot(f.Robot, "withdrawn", robot.TaskWithdrawn{Task: t.id, Untouched: f.Untouched})
	case task.TellDispatcher:
		s.toDispatcher("task", dispatch.TaskChanged{State: f.State, Robot: f.Robot, Spec: f.Spec, Errand: f.Errand})
	case task.WakeAt:
		t.timer.set(s, f.At, "task wakes", func() { t.mail(task.Woke{}, nil) })
	}
}

// dispatchActor is the simulated shell of a warehouse's core.
type dispatchActor struct {
	actor[dispatch.Msg, dispatch.Event, dispatch.Effect]
	state  *dispatch.State
	view   dispatch.View
	folded int64
	timer  alarm
}

var _ trade[dispatch.Msg, dispatch.Event, dispatch.Effect] = (*dispatchActor)(nil)

func newDispatchActor(s *site) *dispatchActor {
	d := &dispatchActor{}
	d.site, d.trade, d.kind, d.subject = s, d, "warehouse", string(s.shard.Warehouse)
	return d
}

func (d *dispatchActor) load() {
	d.state = dispatch.New(d.site.tables, d.site.w.Seed)
	d.state.UseFlow(d.site.w.Scenario == nil && d.site.w.Seed%2 == 1)
	d.site.tables.Weigh(nil)
	d.state.LimitActive(d.site.w.Active)
	r := d.site.warehouseRecord()
	d.folded = d.site.journal.versions[d.subject]
	d.now(d.site.w.Battery.rules(), nil)
	d.now(r, nil)
}

func (d *dispatchActor) decide(now time.Time, m dispatch.Msg, out []dispatch.Effect) []dispatch.Effect {
	return d.state.Decide(now, m, out)
}

func (d *dispatchActor) apply(at time.Time, e dispatch.Event) {
	d.state.Apply(at, e)
	d.folded++
}

func (d *dispatchActor) applied()            { d.site.w.laws.folds.dispatch(d) }
func (d *dispatchActor) version(n int) int64 { return d.folded + int64(n) + 1 }
func (d *dispatchActor) after(dispatch.Msg)  {}

func (d *dispatchActor) soft(m dispatch.Msg) bool {
	switch m.(type) {
	case dispatch.TaskChanged, dispatch.RobotChanged, dispatch.ZoneReported:
		return true
	default:
		return false
	}
}

func (d *dispatchActor) rank(f dispatch.Effect) rank {
	if _, ok := f.(dispatch.Record); ok {
		return rankRecord
	}
	return rankHeld
}

func (d *dispatchActor) event(f dispatch.Effect) (dispatch.Event, fleet.Actor) {
	rec, _ := f.(dispatch.Record)
	return rec.Event, rec.By
}

func (d *dispatchActor) perform(f dispatch.Effect, a *ask) {
	s := d.site
	switch f := f.(type) {
	case dispatch.Record, dispatch.UseMap:
	case dispatch.Reply:
		a.reply(f.Outcome, nil)
	case dispatch.Offer:
		s.w.trace("offer: %s to %s", short(f.Task), short(f.Robot))
		s.toTask(f.Task, "offered", task.AwardOffered{Robot: f.Robot, Decision: f.Decision})
	case dispatch.Send:
		s.w.trace("send: %s %s to %d: %s", short(f.Robot), f.Move.Kind, f.Move.To, f.Move.Reason)
		s.toRobot(f.Robot, "sent", robot.Sent{Move: f.Move})
	case dispatch.Recall:
		s.w.trace("recall: %s from %s: %s", short(f.Task), short(f.Robot), f.Reason)
		s.toTask(f.Task, "recalled", task.RecallRequested{Robot: f.Robot, Reason: f.Reason})
	case dispatch.TellLane:
		s.tables.Lane(f.Lane, roadmap.LaneOverlay{Closed: f.Closed, SpeedMPS: f.SpeedMPS})
		for _, z := range f.Zones {
			m := zone.LaneChanged{Lane: f.Lane, Closed: f.Closed}
			s.laneTold(z, m)
			s.toZone(z, "lane", m)
		}
	case dispatch.Reweigh:
		s.w.trace("reweigh: %d lanes", len(f.Costs))
		s.tables.Weigh(f.ByLane())
	case dispatch.TellKeepOut:
		s.tables.KeepOut(f.Zone, f.Vertices)
		m := zone.KeepOutChanged{Vertices: f.Vertices}
		s.keptTold[f.Zone] = m
		s.toZone(f.Zone, "keep out", m)
	case dispatch.Break:
		s.w.trace("break: %s in zone %s", short(f.Robot), short(f.Zone))
		s.toZone(f.Zone, "break", zone.BreakRequested{Robot: f.Robot})
	case dispatch.WakeAt:
		d.timer.set(s, f.At, "dispatcher wakes", func() { d.mail(dispatch.Woke{}, nil) })
	case dispatch.Show:
		d.state.FillView(&d.view)
	}
}

// zoneActor is the simulated shell of a zone's core: entries and exits are recorded beside its work.
type zoneActor struct {
	site   *site
	number int
	id     fleet.ZoneID
	state  *zone.State // nil = not loaded
	early  []zone.Msg  // came before it was loaded
	life   int
	out    []zone.Effect
	view   zone.View
	latest map[fleet.RobotID]uint64 // number of the robot's last roster fact: an exit is tried again only while none follows
	facts  uint64
}

// start loads the roster; mail waits meanwhile.
func (z *zoneActor) start() {
	z.life++
	z.state = nil
	life, s := z.life, z.site
	s.journal.load(func() {
		if z.life != life {
			return
		}
		z.state = zone.New(s.graph, z.number, s.tables, zone.Rules{Lockstep: s.w.Lockstep, WindowMax: s.w.Window, Admission: s.w.Admission}, s.nextEpoch(), s.inc)
		z.latest = map[fleet.RobotID]uint64{}
		z.view = zone.View{}
		for _, m := range s.lanesTold[z.id] {
			z.mail(m)
		}
		if m, told := s.keptTold[z.id]; told {
			z.mail(m)
		}
		if roster := s.journal.rosterOf(z.id); len(roster) > 0 || s.noGrantsUntil.After(s.w.now()) {
			z.mail(zone.Restored{Roster: roster, Until: s.noGrantsUntil})
		}
		early := z.early
		z.early = nil
		for _, m := range early {
			z.mail(m)
		}
	})
}

func (z *zoneActor) crash() {
	z.site.w.trace("CRASH zone %s", short(z.id))
	z.start()
}

func (z *zoneActor) mail(m zone.Msg) {
	if z.state == nil {
		if _, tick := m.(zone.Ticked); !tick && len(z.early) < stashBound {
			z.early = append(z.early, m)
		}
		return
	}
	w := z.site.w
	if wait := w.stage.thaw(z.number); wait > 0 {
		life := z.life
		w.clock.after(wait, "thawed", func() {
			if z.life == life {
				z.mail(m)
			}
		})
		return
	}
	z.out = z.state.Decide(w.now(), m, z.out[:0])
	w.laws.bounds.queue("effects", len(z.out))
	w.laws.bounds.guests(z)
	w.laws.floor.books(z, m)
	life := z.life
	for _, f := range z.out {
		if z.life == life {
			z.perform(f)
		}
	}
}

// toNeighbour sends mail to another zone, as a scenario lets it go.
func (z *zoneActor) toNeighbour(id fleet.ZoneID, what string, m zone.Msg) {
	s := z.site
	n, ok := s.graph.ZoneNumber(id)
	lost, late := false, time.Duration(0)
	if ok {
		lost, late = s.w.stage.wireOf(z.number, int(n))
	}
	switch {
	case lost:
	case late > 0:
		life := s.life
		s.w.clock.after(late, what, func() {
			if s.life == life {
				s.toZone(id, what, m)
			}
		})
	default:
		s.toZone(id, what, m)
	}
}

func (z *zoneActor) perform(f zone.Effect) {
	s := z.site
	switch f := f.(type) {
	case zone.RecordEntry:
		number := f.Number
		z.record(f.Entry.Robot, fact.RosterEntered{Zone: z.id, Entry: f.Entry}, func(err error) {
			if err != nil {
				z.mail(zone.EntryFailed{Robot: f.Entry.Robot, Number: number})
				return
			}
			z.mail(zone.EntryRecorded{Robot: f.Entry.Robot, Number: number})
		})
	case zone.RecordExit:
		z.exit(f.Robot)
	case zone.SendGrant:
		s.w.trace("grant: zone %s to %s v%d after %d %v horizon %v", short(z.id), short(f.Grant.Robot), f.Grant.Version&0xfffff, f.Grant.After, f.Grant.Vertices, f.Grant.Horizon)
		s.w.result.Grants += len(f.Grant.Vertices)
		s.w.laws.told.grant(z, f.Grant)
		s.w.laws.leases.granted(z, f.Grant)
		s.toRobot(f.Grant.Robot, "granted", robot.Granted{Grant: f.Grant})
	case zone.SendRefusal:
		s.toRobot(f.Wait.Robot, "refused", robot.Refused{Wait: f.Wait})
	case zone.CallRoll:
		s.toRobot(f.Robot, "roll call", robot.ZoneRestarted{Zone: z.id, Epoch: f.Epoch})
	case zone.SendToken:
		z.toNeighbour(f.Token.To, "token", zone.TokenReceived{Token: f.Token})
	case zone.SendAnswer:
		s.w.trace("answer: zone %s to %s: %s at %d kind %d cause %s", short(z.id), short(f.Answer.To), short(f.Answer.Robot), f.Answer.Vertex, f.Answer.Kind, f.Answer.Cause)
		z.toNeighbour(f.Answer.To, "answer", zone.Answered{Answer: f.Answer})
	case zone.SendLead:
		s.w.trace("lead: zone %s asks %s, term %d end %v, for %s", short(z.id), short(f.Lead.To), f.Lead.Term, f.Lead.End, short(f.Lead.Priority.Robot))
		z.toNeighbour(f.Lead.To, "lead", zone.Led{Lead: f.Lead})
	case zone.SendLend:
		s.w.trace("lend: zone %s to %s, term %d refused %v, %d robots", short(z.id), short(f.Lend.To), f.Lend.Term, f.Lend.Refused, len(f.Lend.Guests))
		z.toNeighbour(f.Lend.To, "lend", zone.Lent{Lend: f.Lend})
	case zone.SendAdvice:
		s.w.trace("advice: zone %s to %s, term %d %v", short(z.id), short(f.Advice.To), f.Advice.Term, f.Advice.Moves)
		z.toNeighbour(f.Advice.To, "advice", zone.Advised{Advice: f.Advice})
	case zone.Show:
		z.view = f.View
		s.w.stage.shown(z, &z.view)
		s.toDispatcher("zone", dispatch.ZoneReported{View: f.View})
	}
}

// exit takes a robot off the roster, again and again until it is recorded or the robot has come back.
func (z *zoneActor) exit(id fleet.RobotID) {
	no := z.facts + 1
	z.record(id, fact.RosterLeft{Zone: z.id, Robot: id}, func(err error) {
		if err == nil || z.latest[id] != no {
			return
		}
		life, house := z.life, z.site.life
		z.site.w.clock.after(z.site.w.pause(time.Second), "exit again", func() {
			if z.life == life && z.site.life == house && z.latest[id] == no {
				z.exit(id)
			}
		})
	})
}

func (z *zoneActor) record(id fleet.RobotID, event any, done func(error)) {
	s := z.site
	z.facts++
	z.latest[id] = z.facts
	u := fact.Unit{Shard: s.shard, Incarnation: s.inc, Facts: []fact.Fact{{
		ID: s.eventID(), At: s.w.now(), By: fleet.Actor{Part: "zone"}, Subject: string(z.id), Event: event,
	}}}
	life, house := z.life, s.life
	s.journal.append(u, func(err error) {
		if z.life == life && s.life == house && z.state != nil {
			done(err)
		}
	})
}

// String names the zone for people.
func (z *zoneActor) String() string { return fmt.Sprintf("zone %s", short(z.id)) }
