package actors

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// warehouseShell holds a warehouse's core: the dispatcher and the active map.
type warehouseShell struct {
	shell[dispatch.Msg, dispatch.Event, dispatch.Effect]
	state   *dispatch.State
	view    dispatch.View
	rulesAt time.Time // when the rules were asked for last
	asking  atomic.Bool
	alarm   time.Time
}

var _ trade[dispatch.Msg, dispatch.Event, dispatch.Effect] = (*warehouseShell)(nil)

// createTasks asks the warehouse to record many new tasks as one unit.
type createTasks struct {
	specs []task.Spec
	by    fleet.Actor
	trace fleet.Trace
}

func newWarehouseShell(b *box) *warehouseShell {
	w := &warehouseShell{}
	w.box, w.self, w.trade, w.subject = b, w, w, string(b.sh.id.Warehouse)
	return w
}

// load implements living. What opening the shard has read serves the first activation.
func (w *warehouseShell) load() (any, error) {
	sh := w.box.sh
	sh.mu.Lock()
	first := sh.first
	sh.first = nil
	sh.mu.Unlock()
	if first != nil {
		return *first, nil
	}
	ctx, cancel := context.WithTimeout(w.box.sys.ctx, appendTimeout)
	defer cancel()
	rec, err := w.box.sys.Store.LoadWarehouse(ctx, sh.id)
	if err != nil {
		return nil, fmt.Errorf("load warehouse %s: %w", sh.key, err)
	}
	// The floor stands: the graph in use is the one whose vertices the actors speak of.
	if g := sh.graph(); g != nil && rec.Graph != nil && g.MapID == rec.Graph.MapID && g.Version == rec.Graph.Version {
		rec.Graph = g
	}
	return rec, nil
}

// restore implements living.
func (w *warehouseShell) restore(rec any, _ bool) {
	r, _ := rec.(fact.WarehouseRecord)
	var tables roadmap.Tables
	if f := w.box.sh.floor.Load(); f != nil {
		tables = f.tables
	}
	// Each life has its own seed: the ids of decisions are made of it, and must never come twice.
	w.state = dispatch.New(tables, w.box.sys.Seed+w.box.sys.nextEpoch(w.box.sh.incarnation())*0x9e3779b97f4a7c15)
	w.state.LimitActive(w.box.sys.ActiveRobots)
	w.state.BySight(w.box.sys.BySight)
	w.state.UseFlow(w.box.sys.LiveCosts)
	if f := w.box.sh.floor.Load(); f != nil && f.tables != nil {
		f.tables.weigh(nil) // what an earlier life has said of lanes is not known any more
	}
	specs := make([]task.Spec, len(r.Tasks))
	for i := range r.Tasks {
		specs[i] = r.Tasks[i].Spec
	}
	w.decide(dispatch.Restored{Graph: r.Graph, Lanes: r.Lanes, KeepOut: r.KeepOut, Tasks: specs}, nil)
	for _, b := range w.box.sh.members(kindRobot) {
		b.postFront(again{})
	}
	w.rulesAt = time.Time{}
	w.askRules(w.box.sys.now())
}

// idle implements living: the warehouse lives as long as its shard.
func (w *warehouseShell) idle() bool { return false }

// Decide implements core.
func (w *warehouseShell) Decide(now time.Time, m dispatch.Msg, out []dispatch.Effect) []dispatch.Effect {
	return w.under(len(out), func() []dispatch.Effect { return w.state.Decide(now, m, out) })
}

func (w *warehouseShell) apply(at time.Time, e dispatch.Event) {
	w.state.Apply(at, e)
}

// version implements trade: a warehouse's events are not versioned.
func (w *warehouseShell) version(dispatch.Event, int) int64 { return 0 }

func (w *warehouseShell) same(_, _ dispatch.Event) bool { return false }

func (w *warehouseShell) admit(m dispatch.Msg) error {
	if _, ok := m.(dispatch.Ticked); ok {
		w.box.ticked.Store(false)
	}
	return nil
}

// soft implements trade: what others report does not depend on a map or lane that is being recorded.
func (w *warehouseShell) soft(m dispatch.Msg) bool {
	switch m.(type) {
	case dispatch.TaskChanged, dispatch.RobotChanged, dispatch.ZoneReported, dispatch.RulesChanged, dispatch.ReliefChanged:
		return true
	default:
		return false
	}
}

func (w *warehouseShell) after(dispatch.Msg) {}

// woke implements trade.
func (w *warehouseShell) woke() (dispatch.Msg, bool) {
	due := !w.alarm.IsZero() && !w.box.sys.now().Before(w.alarm)
	if due {
		w.alarm = time.Time{}
	}
	return dispatch.Woke{}, due
}

func (w *warehouseShell) rank(f dispatch.Effect) rank {
	switch f.(type) {
	case dispatch.Record:
		return rankRecord
	case dispatch.Show:
		return rankShow
	default:
		return rankTell
	}
}

func (w *warehouseShell) event(f dispatch.Effect) (dispatch.Event, fleet.Actor, fleet.Trace) {
	r, _ := f.(dispatch.Record)
	return r.Event, r.By, r.Trace
}

func (w *warehouseShell) perform(f dispatch.Effect, a *ask) {
	sh := w.box.sh
	switch f := f.(type) {
	case dispatch.Record:
	case dispatch.Reply:
		w.reply(f.Outcome, a)
	case dispatch.Offer:
		w.tell(kindTask, string(f.Task), task.AwardOffered{Robot: f.Robot, Decision: f.Decision, Token: f.Token})
	case dispatch.Send:
		w.tell(kindRobot, string(f.Robot), robot.Sent{Move: f.Move})
	case dispatch.Recall:
		w.tell(kindTask, string(f.Task), task.RecallRequested{Robot: f.Robot, Reason: f.Reason, Token: f.Token})
	case dispatch.UseMap:
		w.state.SetGraph(f.Graph, sh.useMap(f.Graph))
	case dispatch.TellLane:
		if sh.floor.Load().tables.lane(f.Lane, roadmap.LaneOverlay{Closed: f.Closed, SpeedMPS: f.SpeedMPS}) {
			for _, b := range sh.members(kindRobot) {
				b.post(robot.LaneLimited{Lane: f.Lane}) // where it is full, the robot's next order says it
			}
		}
		for _, id := range f.Zones {
			m := zone.LaneChanged{Lane: f.Lane, Closed: f.Closed}
			sh.told.lane(id, m)
			w.tellZone(id, m)
		}
	case dispatch.Reweigh:
		sh.floor.Load().tables.weigh(f.ByLane())
	case dispatch.TellKeepOut:
		sh.floor.Load().tables.keepOut(f.Zone, f.Vertices)
		m := zone.KeepOutChanged{Vertices: f.Vertices}
		sh.told.keep(f.Zone, m)
		w.tellZone(f.Zone, m)
	case dispatch.Break:
		w.tell(kindZone, string(f.Zone), zone.BreakRequested{Robot: f.Robot})
	case dispatch.WakeAt:
		w.alarm = f.At
		w.box.wakeAt(f.At)
	case dispatch.Show:
		w.askRules(w.box.sys.now())
		w.state.FillView(&w.view)
		w.box.sys.Views.ShowWarehouse(sh.id, &w.view)
	}
}

func (w *warehouseShell) reply(o dispatch.Outcome, a *ask) {
	switch o {
	case dispatch.NotFound:
		a.fail(fact.ErrNotFound)
	case dispatch.Conflict:
		a.fail(&fact.ConflictError{Key: "state"})
	case dispatch.Done:
		if a == nil {
			return
		}
		if m, ok := a.msg.(dispatch.LaneRequested); ok {
			a.reply(w.lane(m.Lane))
			return
		}
		a.reply(done{})
	}
}

// lane is a lane as it was changed last.
func (w *warehouseShell) lane(id fleet.LaneID) dispatch.LaneState {
	for _, l := range w.state.LaneStates() {
		if l.Lane == id {
			return l
		}
	}
	return dispatch.LaneState{Lane: id}
}

// other implements trade.
func (w *warehouseShell) other(m any) {
	a, ok := m.(*ask)
	if !ok {
		return
	}
	c, ok := a.msg.(createTasks)
	if !ok {
		a.fail(fmt.Errorf("warehouse cannot take %T: %w", a.msg, fact.ErrRejected))
		return
	}
	w.createTasks(c, a)
}

// createTasks records the tasks as one unit: all or nothing. Their actors activate when somebody needs them.
func (w *warehouseShell) createTasks(c createTasks, a *ask) {
	sys, sh, now := w.box.sys, w.box.sh, w.box.sys.now()
	facts := make([]fact.Fact, len(c.specs))
	for i := range c.specs {
		facts[i] = fact.Fact{
			ID: sys.newEventID(), At: now, By: c.by, Trace: c.trace, Subject: string(c.specs[i].ID), Version: 1,
			Event: task.Created{Spec: c.specs[i]},
		}
	}
	r := &record{
		unit: fact.Unit{Shard: sh.id, Incarnation: sh.incarnation(), Facts: facts, Idempotency: a.idem, Audit: a.audit},
		to:   w.box, client: true, ask: a,
	}
	r.then = func(err error) {
		if err != nil {
			a.fail(err)
			return
		}
		for i := range c.specs {
			// Shown first: as soon as the dispatcher knows the task its own actor may show what comes next.
			v, created := task.State{}, task.Created{Spec: c.specs[i]}
			v.Apply(now, created)
			sys.Views.TaskChanged(sh.id, created, &v)
			m := dispatch.TaskChanged{State: task.Open, Spec: c.specs[i]}
			if w.alive {
				w.decide(m, nil)
			} else { // restarted since: whoever stands here next may have read the store too early
				w.box.post(m)
			}
			sys.Views.ShowTask(sh.id, &v)
		}
		a.reply(done{})
	}
	if err := sh.writer.submit(r); err != nil {
		a.fail(err)
	}
}

// tell sends; what does not arrive was counted, and the next batch or tick repeats it.
func (w *warehouseShell) tell(k kind, id string, m any) { _ = w.box.sh.tell(k, id, m) }

// tellZone sends to a zone what it is told again whenever it starts: one that is yet to start, after a new map, misses
// nothing.
func (w *warehouseShell) tellZone(id fleet.ZoneID, m zone.Msg) {
	if w.box.sh.find(kindZone, string(id)) != nil {
		w.tell(kindZone, string(id), m)
	}
}
