package alert

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"starling/engine/fleet"
)

// The bounds of a warehouse's alerts.
const (
	MaxOpen    = 1000 // open alerts; what comes then is refused and counted (Dropped)
	MaxRecent  = 1000 // resolved ones that are remembered, the newest
	MaxSignals = 8000 // conditions that are watched
)

const (
	// maxGap is how long a feed's last word holds: a feed that stalls lets no dwell pass.
	maxGap = 30 * time.Second
	// countEvery is how often it is recorded that a signal has come again.
	countEvery = time.Minute
	// undoEvery is how often a remedy is asked to be undone until that is confirmed.
	undoEvery = 10 * time.Second
	// maxEscalations is how often an unacknowledged alert is called out again.
	maxEscalations = 5
	// maxSnooze is the longest that an alert can be silenced.
	maxSnooze = 7 * 24 * time.Hour
)

// key is what an alert is one of.
type key struct {
	Subject
	cause Cause
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.cause, o.cause), cmp.Compare(k.Type, o.Type), cmp.Compare(k.ID, o.ID))
}

func (a *Alert) key() key { return key{a.Subject, a.Cause} }

// signal is what a feed says of one key, and for how long: soft, it starts anew with each life.
type signal struct {
	feed  string
	cond  Condition // the newest; Level NoLevel = it is away
	above [L3 + 1]time.Duration
	// below is since when it has been under its alert's level, away since when it is away; zero = it is not.
	below, away time.Time
	comes       int  // how often it has come since that was recorded
	rested      bool // it has been away for long enough since its alert was resolved
	refused     bool // at a bound, and counted
}

// State is the alerts of one warehouse. Durable fields change by Apply alone.
type State struct {
	rng    *rand.Rand
	rules  Rules
	alerts map[ID]*View // durable: the open ones, and those resolved lately
	newest map[key]ID   // durable: the last alert of each key, as far as remembered
	open   int

	signals map[key]*signal
	feeds   map[string]time.Time // when each was heard last
	undo    map[string]time.Time // remedies: when it was last asked to undo them
	named   map[key]bool         // scratch
	wakeAt  time.Time
	dropped int
}

// New returns a state without alerts. The ids of its alerts are made of the seed: each life needs its own.
func New(seed uint64) *State {
	return &State{
		rng: rand.New(rand.NewPCG(seed, 0x616c657274)), alerts: map[ID]*View{}, newest: map[key]ID{},
		signals: map[key]*signal{}, feeds: map[string]time.Time{}, undo: map[string]time.Time{}, named: map[key]bool{},
	}
}

// Restore takes what the store knows: the open alerts, and those resolved lately.
func (s *State) Restore(views []View) {
	for i := range views {
		s.adopt(&views[i])
	}
}

// adopt takes an alert from the store.
func (s *State) adopt(v *View) {
	if s.alerts[v.ID] != nil {
		return
	}
	c := *v
	c.Handling = slices.Clone(lastOf(c.Handling, MaxHandling))
	s.alerts[c.ID] = &c
	k := c.key()
	// An open one is always the newest of its key; what a person reported has never been signalled.
	if old := s.alerts[s.newest[k]]; c.Status != Resolved || c.Resolution != Reported && (old == nil || old.Status == Resolved && old.OpenedAt.Before(c.OpenedAt)) {
		s.newest[k] = c.ID
	}
	if c.Status != Resolved {
		s.open++
		s.watch(&c.Alert)
	}
}

// watch lets an open alert whose feed has not spoken yet resolve itself, when that says that its signal is away.
func (s *State) watch(a *Alert) {
	if k := a.key(); s.signals[k] == nil {
		s.signals[k] = &signal{feed: a.Feed, cond: Condition{Subject: a.Subject, Cause: a.Cause, Level: a.Level, Message: a.Message, Details: a.Details}}
	}
}

// Apply folds one recorded event into s: the only writer of durable fields, live and in recovery.
func (s *State) Apply(e Event) {
	v := s.alerts[e.After.ID]
	if v == nil {
		v = &View{}
		s.alerts[e.After.ID] = v
		v.Status = Resolved // as far as counting goes
	}
	was, count := v.Status, v.Count
	v.Alert = e.After
	if e.Step.Action.Handles() {
		v.Handling = lastOf(append(v.Handling, e.Step), MaxHandling)
	}
	k := v.key()
	if v.Status != Resolved { // one that is resolved was the newest of its key while it was open
		s.newest[k] = v.ID
	}
	switch {
	case was == Resolved && v.Status != Resolved:
		s.open++
	case was != Resolved && v.Status == Resolved:
		s.open--
	}
	sig := s.signals[k]
	if sig == nil {
		return
	}
	sig.comes = max(0, sig.comes-(v.Count-count))
	if was != Resolved && v.Status == Resolved {
		sig.rested = v.Resolution == Cleared
	}
}

// Handles says that the step is one of an alert's handling: all but the counting of signals.
func (a Action) Handles() bool { return a != ActCount }

func lastOf[T any](list []T, n int) []T {
	if len(list) > n {
		return slices.Clone(list[len(list)-n:])
	}
	return list
}

// Get returns an alert as it is; the caller must not change what it points to.
func (s *State) Get(id ID) (View, bool) {
	v := s.alerts[id]
	if v == nil {
		return View{}, false
	}
	c := *v
	c.Handling = slices.Clone(v.Handling)
	return c, true
}

// Open is how many alerts are not resolved.
func (s *State) Open() int { return s.open }

// Dropped is how many signals were refused at a bound in this life.
func (s *State) Dropped() int { return s.dropped }

// Each calls f with every alert that is remembered, by id.
func (s *State) Each(f func(v *View)) {
	for _, id := range slices.Sorted(maps.Keys(s.alerts)) {
		f(s.alerts[id])
	}
}

// forget drops what nobody needs any more: signals without sign or alert, and alerts that were resolved long ago.
func (s *State) forget(now time.Time) {
	for _, k := range s.keys(s.signals) {
		g := s.signals[k]
		if g.cond.Level == NoLevel && g.above == [L3 + 1]time.Duration{} && s.alerts[s.newest[k]] == nil {
			delete(s.signals, k)
		}
	}
	recent := 0
	for id, v := range s.alerts {
		switch {
		case v.Status != Resolved || v.unsettled():
		case s.reopens(v, now):
			recent++
		default:
			s.drop(id)
		}
	}
	if recent <= MaxRecent {
		return
	}
	var old []*View
	for _, v := range s.alerts {
		if v.Status == Resolved && !v.unsettled() {
			old = append(old, v)
		}
	}
	slices.SortFunc(old, func(a, b *View) int { return cmp.Or(a.ResolvedAt.Compare(b.ResolvedAt), cmp.Compare(a.ID, b.ID)) })
	for _, v := range old[:recent-MaxRecent] {
		s.drop(v.ID)
	}
}

func (s *State) drop(id ID) {
	k := s.alerts[id].key()
	delete(s.alerts, id)
	if s.newest[k] == id {
		delete(s.newest, k)
	}
}

// reopens says that a signal would reopen the resolved alert: within its cool-down, and where a person has resolved it as
// long as the signal has stayed.
func (s *State) reopens(v *View, now time.Time) bool {
	rule := s.rules.Of(v.Cause)
	if v.Resolution == Reported {
		return false
	}
	if now.Before(v.ResolvedAt.Add(rule.CoolDown)) {
		return true
	}
	g := s.signals[v.key()]
	return v.Resolution == ByPerson && s.newest[v.key()] == v.ID && g != nil && g.cond.Level > NoLevel && !g.rested
}

// unsettled says that a remedy of the alert is in force, or being undone.
func (a *Alert) unsettled() bool {
	return slices.ContainsFunc(a.Remedies, func(r Remedy) bool { return r.State != Undone })
}

// Unsettled says that a remedy of the alert is in force, or being undone: it is needed however long ago it was resolved.
func (a *Alert) Unsettled() bool { return a.unsettled() }

func (s *State) keys(m map[key]*signal) []key {
	return slices.SortedFunc(maps.Keys(m), key.compare)
}

// uuid makes a random id from the seed.
func (s *State) uuid() ID {
	a, b := s.rng.Uint64(), s.rng.Uint64()
	a = a&^0xf000 | 0x4000
	b = b&^(3<<62) | 2<<62
	return ID(fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff))
}

// byRules is the actor of what rules do.
func byRules() fleet.Actor { return fleet.Actor{Part: "alerts"} }
