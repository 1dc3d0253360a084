package actors

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// ErrAlertFull says that an alert, or the alerts of a warehouse, have reached a bound. What wraps it wraps fact.ErrBusy too.
var ErrAlertFull = errors.New("a bound of alerts is reached")

// alertsShell holds the core of a shard's alerts. One lives as long as its shard: escalations, and remedies that are to be
// undone, wait for nobody's mail.
type alertsShell struct {
	shell[alert.Msg, alert.Event, alert.Effect]
	state   *alert.State
	alarm   time.Time
	rulesAt time.Time // when the rules were asked for last
	asking  atomic.Bool
	dropped int // as the counter knows
}

var (
	_ trade[alert.Msg, alert.Event, alert.Effect] = (*alertsShell)(nil)
	_ naming[alert.Event]                         = (*alertsShell)(nil)
)

func newAlertsShell(b *box) *alertsShell {
	s := &alertsShell{state: alert.New(0)}
	s.box, s.self, s.trade = b, s, s
	return s
}

// load implements living.
func (s *alertsShell) load() (any, error) {
	ctx, cancel := context.WithTimeout(s.box.sys.ctx, appendTimeout)
	defer cancel()
	rec, err := s.box.sys.Store.LoadAlerts(ctx, s.box.sh.id)
	if err != nil {
		return nil, fmt.Errorf("load the alerts of %s: %w", s.box.sh.key, err)
	}
	return rec, nil
}

// restore implements living: it takes the rows, which are the recorded alerts as they are, and lets the core say again what
// must be said again. Robots with an open alert are let live, so that what becomes of them is seen.
func (s *alertsShell) restore(rec any, _ bool) {
	r, _ := rec.(fact.AlertRecord)
	sys, sh := s.box.sys, s.box.sh
	// Each life of each shard has its own seed: the ids of alerts are made of it, and must never come twice in a tenant.
	s.state = alert.New(sys.Seed + keyHash(sh.key) + uint64(sh.incarnation())<<32 + sh.reviews.lives.Add(1)*0x9e3779b97f4a7c15)
	s.dropped = 0
	s.state.Restore(r.Alerts)
	for i := range r.Alerts {
		v := r.Alerts[i]
		sys.Views.AlertChanged(sh.id, nil, &v)
		if a := &r.Alerts[i]; a.Status != alert.Resolved && a.Subject.Type == alert.SubjectRobot {
			sh.find(kindRobot, a.Subject.ID)
		}
	}
	s.decide(alert.Restored{}, nil)
	s.endRemedies(r.Alerts)
	s.rulesAt = time.Time{}
	s.askRules(sys.now())
}

// endRemedies has remedies recorded as undone that ended with the process that did them: else they stay in force on record,
// and their alerts in memory, for ever.
func (s *alertsShell) endRemedies(alerts []alert.View) {
	holds := s.box.sys.HoldsRemedy
	if holds == nil {
		return
	}
	for i := range alerts {
		for _, r := range alerts[i].Remedies {
			if r.State == alert.InForce && !holds(s.box.sh.id, r.ID) {
				s.box.post(alert.RemedyUndone{Remedy: r.ID, Reason: "the process that did it has ended", By: fleet.Actor{Part: "alerts"}})
			}
		}
	}
}

// keyHash makes a number of a shard's key.
func keyHash(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // a hash takes all that is written
	return h.Sum64()
}

// idle implements living: the alerts live as long as their shard.
func (s *alertsShell) idle() bool { return false }

// Decide implements core. Reviews are taken from where their feeds have left them: the newest of each.
func (s *alertsShell) Decide(now time.Time, m alert.Msg, out []alert.Effect) []alert.Effect {
	if _, ok := m.(alert.Reviewed); ok {
		m = alert.Reviewed{Reviews: s.box.sh.reviews.take()}
	}
	out = s.state.Decide(now.UTC().Truncate(time.Microsecond), m, out) // what is recorded is what comes back: no store has finer times
	if n := s.state.Dropped(); n > s.dropped {
		s.box.sys.metrics.dropped("alerts").Add(float64(n - s.dropped))
		s.dropped = n
	}
	return out
}

func (s *alertsShell) apply(_ time.Time, e alert.Event) {
	s.state.Apply(e)
	s.box.sys.metrics.alerts.WithLabelValues(string(e.Step.Action), string(e.After.Cause)).Inc()
	if v, ok := s.state.Get(e.After.ID); ok {
		v.Alert = e.After // of several events of a unit each is told as it was
		s.box.sys.Views.AlertChanged(s.box.sh.id, &e, &v)
	}
}

// version implements trade: each alert counts its own.
func (s *alertsShell) version(e alert.Event, _ int) int64 { return e.After.Version }

// named implements naming: each alert is an aggregate.
func (s *alertsShell) named(e alert.Event) string { return string(e.After.ID) }

func (s *alertsShell) same(_, _ alert.Event) bool { return false }
func (s *alertsShell) admit(alert.Msg) error      { return nil }

// soft implements trade: what is decided depends on the alerts that are being recorded.
func (s *alertsShell) soft(alert.Msg) bool { return false }

func (s *alertsShell) after(m alert.Msg) {
	if _, ok := m.(alert.Reviewed); ok {
		s.askRules(s.box.sys.now())
	}
}

func (s *alertsShell) other(m any) {
	if a, ok := m.(*ask); ok {
		a.fail(fmt.Errorf("alerts cannot take %T: %w", a.msg, fact.ErrRejected))
	}
}

// woke implements trade.
func (s *alertsShell) woke() (alert.Msg, bool) {
	due := !s.alarm.IsZero() && !s.box.sys.now().Before(s.alarm)
	if due {
		s.alarm = time.Time{}
	}
	return alert.Woke{}, due
}

func (s *alertsShell) rank(f alert.Effect) rank {
	switch f.(type) {
	case alert.Record:
		return rankRecord
	case alert.WakeAt:
		return rankSoft
	default:
		return rankTell
	}
}

func (s *alertsShell) event(f alert.Effect) (alert.Event, fleet.Actor, fleet.Trace) {
	r, _ := f.(alert.Record)
	return r.Event, r.By, r.Trace
}

func (s *alertsShell) perform(f alert.Effect, a *ask) {
	switch f := f.(type) {
	case alert.Record:
	case alert.Reply:
		s.reply(f, a)
	case alert.UndoRemedy:
		if undo := s.box.sys.UndoRemedy; undo != nil {
			undo(s.box.sh.id, f.Alert, f.Remedy)
		}
	case alert.WakeAt:
		s.alarm = f.At
		s.box.wakeAt(f.At)
	}
}

func (s *alertsShell) reply(f alert.Reply, a *ask) {
	switch f.Outcome {
	case alert.Done:
		v, ok := s.state.Get(f.Alert)
		if !ok {
			a.fail(fact.ErrNotFound)
			return
		}
		a.reply(v)
	case alert.Conflict:
		a.fail(&fact.ConflictError{Key: "state", Existing: string(f.Alert)})
	case alert.NotFound:
		a.fail(fact.ErrNotFound)
	case alert.Full:
		a.fail(fmt.Errorf("alert %s: %w: %w", f.Alert, ErrAlertFull, fact.ErrBusy))
	}
}

// askRules has the tenant's rules looked up beside, where that is due: they come as mail. One look-up at a time is under way.
func (s *alertsShell) askRules(now time.Time) {
	sys, b := s.box.sys, s.box
	if sys.AlertRules == nil || now.Sub(s.rulesAt) < rulesAgain || !s.asking.CompareAndSwap(false, true) {
		return
	}
	s.rulesAt = now
	asking := &s.asking
	sys.pool.async(func() {
		defer asking.Store(false)
		ctx, cancel := context.WithTimeout(sys.ctx, rulesWithin)
		defer cancel()
		b.post(alert.RulesChanged{Rules: sys.AlertRules(ctx, b.sh.id)})
	})
}

const (
	// feedsBound is how many feeds a shard's alerts may have.
	feedsBound = 16
	// reviewLost is after how long a review that was announced and not taken is announced again.
	reviewLost = 30 * time.Second
)

// reviews are where feeds leave what they see for a shard's alerts: the newest of each, however long the alerts wait for
// the store.
type reviews struct {
	mu     sync.Mutex
	newest map[string]alert.Review
	posted time.Time // when they were announced, zero = they were taken
	lives  atomic.Uint64
}

// put leaves a review; announce = the alerts must be told, kept = there was room.
func (r *reviews) put(v alert.Review, now time.Time) (announce, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newest == nil {
		r.newest = map[string]alert.Review{}
	}
	if _, known := r.newest[v.Feed]; !known && len(r.newest) >= feedsBound {
		return false, false
	}
	r.newest[v.Feed] = v
	if !r.posted.IsZero() && now.Sub(r.posted) < reviewLost {
		return false, true
	}
	r.posted = now
	return true, true
}

func (r *reviews) take() []alert.Review {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]alert.Review, 0, len(r.newest))
	for _, feed := range slices.Sorted(maps.Keys(r.newest)) {
		list = append(list, r.newest[feed])
	}
	clear(r.newest)
	r.posted = time.Time{}
	return list
}

// ReviewAlerts takes all that a feed sees wrong in a shard now; what it does not name is well. It never blocks: the newest
// review of each feed counts, and a shard that is not open here has none. The caller must not change it any more.
func (s *System) ReviewAlerts(shard fleet.Shard, r alert.Review) {
	s.mu.RLock()
	sh := s.shards[shard]
	s.mu.RUnlock()
	if sh == nil || sh.is() != phaseOpen {
		return
	}
	announce, kept := sh.reviews.put(r, s.now())
	if !kept {
		s.metrics.dropped("alert_feeds").Inc()
	}
	if announce {
		_ = sh.tell(kindAlerts, "", alert.Reviewed{}) // where it is refused, it was counted, and the next review comes soon
	}
}

// HandleAlert does what a person wants done about an alert and returns it as it is then; when it returns nil, that is
// durable. What the alert's state forbids is a *fact.ConflictError with Key "state".
func (s *System) HandleAlert(
	ctx context.Context, shard fleet.Shard, id alert.ID, c alert.Command, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency,
) (alert.View, error) {
	m := alert.Commanded{Alert: id, Command: c, By: by, Trace: trace}
	v, err := call[alert.View](ctx, s, shard, kindAlerts, "", m, idem)
	if errors.Is(err, fact.ErrNotFound) { // an old one, perhaps
		var old alert.View
		if old, err = s.Store.LoadAlert(ctx, shard, id); err == nil {
			known := old
			s.Views.AlertChanged(shard, nil, &known) // so that the step that follows is no gap in what is told
			m.Loaded = &old
			v, err = call[alert.View](ctx, s, shard, kindAlerts, "", m, idem)
		}
	}
	if err != nil {
		return v, fmt.Errorf("handle alert %s: %w", id, err)
	}
	return v, nil
}

// ReportMissedAlert records that there should have been an alert.
func (s *System) ReportMissedAlert(ctx context.Context, shard fleet.Shard, m alert.MissReported, idem *fact.Idempotency) (alert.View, error) {
	v, err := call[alert.View](ctx, s, shard, kindAlerts, "", m, idem)
	if err != nil {
		return v, fmt.Errorf("report a missed alert: %w", err)
	}
	return v, nil
}

// RecordRemedy records with its alert that something was done about it (alert.RemedyApplied), what it has brought
// (RemedyMeasured) or that it is undone (RemedyUndone): when it returns nil, that is durable. Errors wrap fact.ErrNotFound
// where there is no such alert.
func (s *System) RecordRemedy(ctx context.Context, shard fleet.Shard, m alert.Msg) (alert.View, error) {
	v, err := call[alert.View](ctx, s, shard, kindAlerts, "", m, nil)
	if err != nil {
		return v, fmt.Errorf("record a remedy: %w", err)
	}
	return v, nil
}

// LiveShards lists the shards that are open here, in order of their keys.
func (s *System) LiveShards() []fleet.Shard {
	var live []fleet.Shard
	for _, sh := range s.list() {
		if sh.is() == phaseOpen {
			live = append(live, sh.id)
		}
	}
	return live
}

// TellAlerts is RecordRemedy for whoever must not wait: where the store is away it is recorded later, where a queue is full
// it is lost and counted.
func (s *System) TellAlerts(shard fleet.Shard, m alert.Msg) {
	s.mu.RLock()
	sh := s.shards[shard]
	s.mu.RUnlock()
	if sh != nil && sh.is() == phaseOpen {
		_ = sh.tell(kindAlerts, "", m)
	}
}
