package actors

import (
	"context"
	"fmt"
	"slices"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// robotShell holds a robot's core.
type robotShell struct {
	shell[robot.Msg, robot.Event, robot.Effect]
	state *robot.State
	graph *roadmap.Graph // that the core drives on: the last MapActivated it was told
	alarm time.Time
	spec  *robot.Spec     // what is registered; replaced, never changed, so that views may share it
	known *dispatch.Robot // what the dispatcher was told last, nil = nothing
	rates *robot.Sampling // that the core was told last, nil = none
}

var _ trade[robot.Msg, robot.Event, robot.Effect] = (*robotShell)(nil)

func newRobotShell(b *box) *robotShell {
	r := &robotShell{state: robot.New(b.sys.now(), b.sys.RobotRules)}
	r.box, r.self, r.trade, r.subject = b, r, r, b.id
	r.fresh, b.fresh = b.fresh, false
	return r
}

// load implements living.
func (r *robotShell) load() (any, error) {
	ctx, cancel := context.WithTimeout(r.box.sys.ctx, appendTimeout)
	defer cancel()
	rec, err := r.box.sys.Store.LoadRobot(ctx, r.box.sh.id, fleet.RobotID(r.box.id))
	if err != nil {
		return nil, fmt.Errorf("load robot %s: %w", r.box.id, err)
	}
	return rec, nil
}

// restore implements living.
func (r *robotShell) restore(rec any, absent bool) {
	r.state, r.known, r.rates = robot.New(r.box.sys.now(), r.box.sys.RobotRules), nil, nil
	r.graph = r.box.sh.graph()
	if absent {
		r.decide(robot.MapActivated{Graph: r.graph}, nil)
		return
	}
	r.box.sys.Links.HangUp(fleet.RobotID(r.box.id))
	l, _ := rec.(fact.RobotRecord)
	for _, e := range l.Events {
		r.fold(e.At, e.Event)
	}
	r.decide(robot.MapActivated{Graph: r.graph}, nil)
	m := robot.Restored{Last: l.Last}
	if t := l.Active; t != nil {
		m.ActiveTask = &robot.TaskAwarded{
			Task: t.Spec.ID, Errands: t.Spec.Errands, Places: t.Spec.Places, First: t.Errand, Priority: t.Spec.Priority, Since: t.Spec.CreatedAt,
		}
	}
	r.decide(m, nil)
}

// idle implements living: a robot that is not there, or is silent and does nothing, and whose last words are saved.
func (r *robotShell) idle() bool {
	return r.settled() && (r.absent() || r.state.Idle() && !r.box.dirty.Load())
}

func (r *robotShell) absent() bool { return !r.state.Exists() }

// Decide implements core.
func (r *robotShell) Decide(now time.Time, m robot.Msg, out []robot.Effect) []robot.Effect {
	if g, ok := m.(robot.MapActivated); ok {
		r.graph = g.Graph
	}
	if rates := r.box.sh.rates.Load(); rates != r.rates { // whoever is told something hears of them first
		r.rates = rates
		out = r.state.Decide(now, robot.SamplingChanged{Sampling: *rates}, out)
	}
	return r.state.Decide(now, m, out)
}

func (r *robotShell) apply(at time.Time, e robot.Event) {
	if c, ok := e.(robot.CommandStaged); ok && c.Stage == fleet.StageAcknowledged {
		if asked, known := r.state.AskedAt(c.ID); known {
			r.box.sys.Views.CommandHeard(r.box.sh.id, c.At.Sub(asked))
		}
	}
	r.fold(at, e)
	switch e.(type) { // what shows a robot is soft and does not wait for records; after these it may have nothing more to show
	case robot.ConnectionChanged, robot.Registered, robot.Removed:
		r.perform(robot.Show{}, nil)
	default:
	}
}

func (r *robotShell) fold(at time.Time, e robot.Event) {
	if e, ok := e.(robot.Registered); ok {
		r.spec = &e.Spec
	}
	r.state.Apply(at, e)
}

// version implements trade: registrations alone are versions; other events leave it as it is.
func (r *robotShell) version(e robot.Event, _ int) int64 {
	switch e := e.(type) {
	case robot.Registered:
		return e.Version
	case robot.Removed:
		return e.Version
	default:
		return r.state.Version()
	}
}

func (r *robotShell) same(a, b robot.Event) bool {
	switch b := b.(type) {
	case robot.ConnectionChanged:
		a, ok := a.(robot.ConnectionChanged)
		return ok && a.From == b.From && a.To == b.To
	case robot.CommandStaged:
		a, ok := a.(robot.CommandStaged)
		return ok && a.ID == b.ID && a.Stage == b.Stage
	default:
		return false
	}
}

func (r *robotShell) admit(m robot.Msg) error {
	if !r.absent() {
		return nil
	}
	switch m.(type) {
	case robot.RegisterRequested, robot.MapActivated, robot.Woke:
		return nil
	case robot.ZoneRestarted, robot.TaskAwarded, robot.TaskWithdrawn:
		return nil // zones and tasks must hear that it is no more
	default:
		return fmt.Errorf("robot %s: %w", r.box.id, fact.ErrNotFound)
	}
}

// after implements trade: the link hears how far the robot's progress has been taken. An entry that was not taken, for
// it speaks of no vertex of the map, is sent again; a repeat is answered again.
func (r *robotShell) after(m robot.Msg) {
	p, ok := m.(robot.Progressed)
	if n := r.state.Progress(); ok && p.Number <= n {
		r.box.sys.Links.ProgressDone(fleet.RobotID(r.box.id), n)
	}
}

func (r *robotShell) other(m any) {
	switch m := m.(type) {
	case snapshot:
		if !r.absent() {
			r.box.sh.snaps.put(fleet.RobotID(r.box.id), r.state.LastKnown())
		}
	case again:
		if r.known != nil {
			r.tell(kindWarehouse, "", dispatch.RobotChanged{Robot: *r.known})
		}
	case *ask:
		r.asked(m)
	}
}

// show lends the robot's view to f.
func (r *robotShell) show(f func(fleet.Shard, *robot.View)) {
	v := r.box.sys.views.get()
	r.state.View(v)
	v.Spec = r.spec
	f(r.box.sh.id, v)
	r.box.sys.views.put(v)
}

// seen is a copy of the robot's view for a client.
func (r *robotShell) seen() robot.View {
	var v robot.View
	r.state.View(&v)
	v.Spec = r.spec
	v.Errors, v.Base, v.Horizon = slices.Clone(v.Errors), slices.Clone(v.Base), slices.Clone(v.Horizon)
	return v
}

// exists asks whether the robot is registered.
type exists struct{}

// openLink tells the robot that somebody carries its orders, and asks how far its progress is known.
type openLink struct{ m robot.LinkOpened }

// reportStatus is a status whose sender wants to know whether it counted.
type reportStatus struct{ m *robot.StatusReported }

// statusAnswer says whether it did.
type statusAnswer struct {
	accepted bool
	reason   string
}

// asked takes the requests that no message of the core answers.
func (r *robotShell) asked(a *ask) {
	if r.absent() {
		a.fail(fmt.Errorf("robot %s: %w", r.box.id, fact.ErrNotFound))
		return
	}
	switch m := a.msg.(type) {
	case exists:
		a.reply(done{})
	case openLink:
		r.decide(m.m, nil)
		a.reply(LinkAnswer{ProgressNumber: r.state.Progress()})
	case reportStatus:
		r.decide(m.m, nil)
		verdict := r.state.Verdict()
		a.reply(statusAnswer{accepted: verdict == "", reason: verdict})
	default:
		a.fail(fmt.Errorf("robot cannot take %T: %w", a.msg, fact.ErrRejected))
	}
}

func (r *robotShell) woke() (robot.Msg, bool) {
	due := !r.alarm.IsZero() && !r.box.sys.now().Before(r.alarm)
	return robot.Woke{}, due
}

func (r *robotShell) soft(m robot.Msg) bool {
	switch m.(type) {
	case *robot.StatusReported, robot.Progressed, robot.LinkOpened, robot.LinkClosed, robot.Granted, robot.Refused,
		robot.ZoneRestarted, robot.MapActivated, robot.LaneLimited, robot.SamplingChanged, robot.TaskAwarded, robot.TaskWithdrawn, robot.Sent,
		robot.Woke:
		return true
	default:
		return false
	}
}

func (r *robotShell) rank(f robot.Effect) rank {
	switch f.(type) {
	case robot.Record:
		return rankRecord
	case robot.AskZone, robot.ReportZone, robot.SendOrder, robot.AskRate, robot.WakeAt:
		return rankSoft
	case robot.Show, robot.Measure:
		return rankGlimpse
	default:
		return rankTell
	}
}

// limits looks up how fast the lanes of an order's base may be driven now; nil = as the map says, all of them.
func (r *robotShell) limits(o *robot.Order) []float64 {
	f := r.box.sh.floor.Load()
	if f == nil || f.graph != r.graph || r.graph == nil || !f.tables.laid().Said() {
		return nil
	}
	limits := make([]float64, len(o.Base))
	from := o.From
	for i, v := range o.Base {
		if l, ok := r.graph.Lane(from, v); ok {
			limits[i] = f.tables.limit(l)
		}
		from = v
	}
	return limits
}

func (r *robotShell) event(f robot.Effect) (robot.Event, fleet.Actor, fleet.Trace) {
	rec, _ := f.(robot.Record)
	return rec.Event, rec.By, rec.Trace
}

func (r *robotShell) perform(f robot.Effect, a *ask) {
	sys, sh, id := r.box.sys, r.box.sh, fleet.RobotID(r.box.id)
	switch f := f.(type) {
	case robot.Record:
	case robot.Reply:
		r.reply(f.Outcome, a)
	case robot.AskZone:
		r.tellZone(f.Zone, zone.Asked{Request: f.Request})
	case robot.ReportZone:
		r.tellZone(f.Zone, zone.Arrived{Arrival: f.Arrival})
	case robot.LeaveZone:
		r.tellZone(f.Zone, zone.RobotGone{Robot: id})
	case robot.SendOrder:
		f.Order.Limits = r.limits(&f.Order)
		sys.Links.SendOrder(f.Order, r.graph)
	case robot.SendCommand:
		sys.Links.SendCommand(f.Command)
	case robot.AskRate:
		sys.Links.AskRate(id, f.Hz)
	case robot.StartedTask:
		r.tell(kindTask, string(f.Task), task.RobotStarted{Robot: id})
	case robot.ReachedErrand:
		r.tell(kindTask, string(f.Task), task.RobotReached{Robot: id, Errand: f.Errand})
	case robot.RefusedTask:
		r.tell(kindTask, string(f.Task), task.RobotRefused{Robot: id, Reason: f.Reason, Fatal: f.Fatal})
	case robot.LetGoTask:
		r.tell(kindTask, string(f.Task), task.RobotLetGo{Robot: id})
	case robot.TellDispatcher:
		av := f.Availability
		r.known = &dispatch.Robot{
			ID: av.Robot, Fleet: av.Fleet, Capabilities: av.Capabilities, Free: av.Free, At: av.At, Battery: av.Battery,
			Since: av.Since, Reason: av.Reason, Gone: av.Gone, Allowed: av.Allowed, SpeedMPS: av.SpeedMPS, Move: av.Move, Power: av.Power,
		}
		r.tell(kindWarehouse, "", dispatch.RobotChanged{Robot: *r.known})
	case robot.Show:
		r.box.dirty.Store(true)
		if r.absent() {
			sys.Views.RobotGone(sh.id, id)
			return
		}
		r.show(sys.Views.ShowRobot)
	case robot.Measure:
		if sys.Telemetry != nil {
			r.show(sys.Telemetry.Measure)
		}
	case robot.WakeAt:
		r.alarm = f.At
		r.box.wakeAt(f.At)
	}
}

func (r *robotShell) reply(o robot.Outcome, a *ask) {
	switch o {
	case robot.Done:
		a.reply(r.seen())
	case robot.Conflict, robot.Stale:
		key := "state"
		if o == robot.Stale {
			key = "version"
		}
		v := r.seen()
		a.fail(&fact.ConflictError{Key: key, Existing: r.box.id, Robot: &v})
	case robot.NotFound:
		a.fail(fmt.Errorf("robot %s: %w", r.box.id, fact.ErrNotFound))
	case robot.Precondition:
		a.fail(fmt.Errorf("robot %s: %w", r.box.id, fact.ErrPrecondition))
	}
}

// tellZone sends to a zone of the map that the core drives on; a zone of another map is not meant.
func (r *robotShell) tellZone(id fleet.ZoneID, m any) {
	b := r.box.sh.zoneOf(id, r.graph)
	if b == nil || !b.post(m) {
		r.box.sys.metrics.dropped("zone_mail").Inc()
	}
}

// tell sends; what does not arrive was counted.
func (r *robotShell) tell(k kind, id string, m any) { _ = r.box.sh.tell(k, id, m) }
