package alert

import (
	"cmp"
	"slices"
	"time"

	"starling/engine/fleet"
)

// turn is one Decide: what it has decided so far, and the alerts as they are with that.
type turn struct {
	s     *State
	now   time.Time
	by    fleet.Actor
	trace fleet.Trace
	draft map[ID]*Alert
	out   []Effect
	fresh map[key]bool // alerts that this turn opens: two feeds may name the same key
}

// Decide appends to out, in order, what the shell must do about m. It reads s and changes only soft fields.
func (s *State) Decide(now time.Time, m Msg, out []Effect) []Effect {
	t := &turn{s: s, now: now, by: byRules(), out: out}
	switch m := m.(type) {
	case Reviewed:
		for i := range m.Reviews {
			t.review(&m.Reviews[i])
		}
		t.timed()
		s.forget(now)
	case Commanded:
		t.by, t.trace = m.By, m.Trace
		t.command(&m)
	case MissReported:
		t.by, t.trace = m.By, m.Trace
		t.missed(&m)
	case RemedyApplied:
		t.by, t.trace = m.By, m.Trace
		t.applied(&m)
	case RemedyMeasured:
		t.by = m.By
		t.measured(&m)
	case RemedyUndone:
		t.by = m.By
		t.undone(&m)
	case RulesChanged:
		s.rules = m.Rules
		t.timed()
	case Woke:
		t.timed()
		s.forget(now)
	case Restored:
		t.timed()
	}
	t.wake()
	return t.out
}

// get is an alert as it is with what this turn has decided; nil = unknown.
func (t *turn) get(id ID) *Alert {
	if a := t.draft[id]; a != nil {
		return a
	}
	if v := t.s.alerts[id]; v != nil {
		return &v.Alert
	}
	return nil
}

// record makes the next event of an alert: a is it as it was, change what becomes of it.
func (t *turn) record(a *Alert, action Action, d Details, change func(a *Alert)) {
	next := *a
	next.Version++
	next.UpdatedAt = t.now
	change(&next)
	next.Peak = max(next.Peak, next.Level)
	if t.draft == nil {
		t.draft = map[ID]*Alert{}
	}
	t.draft[next.ID] = &next
	t.out = append(t.out, Record{
		Event: Event{After: next, Step: Handling{Seq: next.Version, Action: action, By: t.by, At: t.now, Details: d}},
		By:    t.by, Trace: t.trace,
	})
}

// review folds what one feed sees now into its signals, and judges each.
func (t *turn) review(r *Review) {
	s, now := t.s, t.now
	if !r.At.IsZero() && r.At.Before(now) {
		t.now = r.At.UTC()
		defer func() { t.now = now }()
	}
	var passed time.Duration
	if last := s.feeds[r.Feed]; !last.IsZero() {
		passed = min(max(t.now.Sub(last), 0), maxGap)
	}
	s.feeds[r.Feed] = t.now
	for _, g := range s.signals {
		if g.feed == r.Feed {
			g.pass(passed, s.rules.Of(g.cond.Cause).Dwell)
		}
	}
	clear(s.named)
	for i := range r.Conditions {
		t.see(r.Feed, &r.Conditions[i])
	}
	for _, k := range s.keys(s.signals) {
		g := s.signals[k]
		if g.feed != r.Feed {
			continue
		}
		if !s.named[k] {
			g.cond.Level = NoLevel
		}
		t.judge(k, g)
	}
}

// pass lets time pass over a signal that stayed as it was: what it has been is added up, what it has not been taken off,
// so that a signal that flickers counts for as much as it is there (a leaky bucket).
func (g *signal) pass(d, dwell time.Duration) {
	for l := L1; l <= L3; l++ {
		if g.cond.Level >= l {
			g.above[l] = min(g.above[l]+d, dwell)
		} else {
			g.above[l] = max(g.above[l]-d, 0)
		}
	}
}

// see takes one condition of a review; where a key is named twice the worse one counts.
func (t *turn) see(feed string, c *Condition) {
	s := t.s
	if c.Level == NoLevel || c.Level > L3 || s.rules.Of(c.Cause).Off {
		return
	}
	k := key{c.Subject, c.Cause}
	g := s.signals[k]
	if g == nil {
		if len(s.signals) >= MaxSignals {
			s.dropped++
			return
		}
		g = &signal{feed: feed}
		s.signals[k] = g
	}
	if g.feed != feed { // another feed looks after it now
		g.feed = feed
	}
	if s.named[k] && g.cond.Level >= c.Level {
		return
	}
	if g.cond.Level == NoLevel && !s.named[k] {
		g.comes++
	}
	s.named[k] = true
	g.cond = *c
	g.cond.Message, g.cond.Details = cut(c.Message, MaxMessage), bounded(c.Details)
}

// judge finds what a signal means for its alert.
func (t *turn) judge(k key, g *signal) {
	rule := t.s.rules.Of(k.cause)
	if g.cond.Level == NoLevel {
		if g.away.IsZero() {
			g.away = t.now
		}
		g.refused = false
		g.rested = g.rested || t.now.Sub(g.away) >= rule.Clear
	} else {
		g.away = time.Time{}
	}
	level := g.lasting(rule.Dwell)
	a := t.get(t.s.newest[k])
	switch open := a != nil && a.Status != Resolved; {
	case !open:
		g.below = time.Time{}
	case g.cond.Level == NoLevel && g.below.IsZero(): // away is below too: else a signal that comes and goes is never lowered
		g.below = t.now
	}
	switch {
	case a != nil && a.Status != Resolved:
		t.tend(a, g, level, rule)
	case level == NoLevel:
	case a != nil && t.s.reopens(t.s.alerts[a.ID], t.now):
		t.reopen(a, g, level, rule)
	default:
		t.open(k, g, level)
	}
}

// lasting is the highest level that the signal has now and has had for long enough.
func (g *signal) lasting(dwell time.Duration) Level {
	for l := g.cond.Level; l > NoLevel; l-- {
		if g.above[l] >= dwell {
			return l
		}
	}
	return NoLevel
}

// open makes a new alert.
func (t *turn) open(k key, g *signal, level Level) {
	if t.fresh[k] || !t.room(g) {
		return
	}
	a := &Alert{ID: t.s.uuid(), Subject: k.Subject, Cause: k.cause, Feed: g.feed}
	t.record(a, ActOpen, Details{Text: g.cond.Message, To: level}, func(a *Alert) {
		a.Level, a.Status, a.Count = level, Open, max(1, g.comes)
		a.OpenedAt, a.CalledAt = t.now, t.now
		t.seen(a, g)
	})
	t.begin(k)
}

func (t *turn) begin(k key) {
	if t.fresh == nil {
		t.fresh = map[key]bool{}
	}
	t.fresh[k] = true
}

// room says that one more alert may be open; where not, that is counted once for each signal.
func (t *turn) room(g *signal) bool {
	if t.s.open+len(t.fresh) < MaxOpen {
		return true
	}
	if !g.refused {
		g.refused = true
		t.s.dropped++
	}
	return false
}

// seen notes in an alert what its signal says.
func (t *turn) seen(a *Alert, g *signal) {
	a.SeenAt, a.Message, a.Details = t.now, g.cond.Message, g.cond.Details
}

// reopen lets a resolved alert come back: its signal has returned soon, or has stayed although a person resolved it.
func (t *turn) reopen(a *Alert, g *signal, level Level, rule Rule) {
	if a.Resolution == ByPerson && !g.rested && t.now.Before(a.ResolvedAt.Add(rule.CoolDown)) {
		return // a person has seen this very signal
	}
	if !t.room(g) {
		return
	}
	t.record(a, ActReopen, Details{Text: g.cond.Message, From: a.Level, To: level}, func(a *Alert) {
		a.Level, a.Status, a.Count, a.Resolution = level, Open, a.Count+max(1, g.comes), ""
		a.ResolvedAt, a.AcknowledgedAt, a.AcknowledgedBy = time.Time{}, time.Time{}, fleet.Actor{}
		a.SnoozedUntil, a.CalledAt, a.Escalations = time.Time{}, t.now, 0
		t.seen(a, g)
	})
	t.begin(a.key())
}

// tend looks after an open alert: raises, lowers, resolves and counts.
func (t *turn) tend(a *Alert, g *signal, lasting Level, rule Rule) {
	seen := func(a *Alert) { a.Count += g.comes; t.seen(a, g) }
	switch level := g.cond.Level; {
	case level == NoLevel && t.now.Sub(g.away) >= rule.Clear:
		t.record(a, ActResolve, Details{From: a.Level, Resolution: Cleared}, func(a *Alert) {
			a.Status, a.Resolution, a.ResolvedAt, a.SnoozedUntil = Resolved, Cleared, t.now, time.Time{}
			a.Count += g.comes
		})
		return
	case level == NoLevel:
		return
	case lasting > a.Level:
		g.below = time.Time{}
		t.record(a, ActRaise, Details{Text: g.cond.Message, From: a.Level, To: lasting}, func(a *Alert) {
			a.Level, a.CalledAt = lasting, t.now
			seen(a)
		})
		return
	case level >= a.Level:
		g.below = time.Time{}
	case g.below.IsZero():
		g.below = t.now
	case t.now.Sub(g.below) >= rule.Lower:
		g.below = t.now
		to := max(a.Level-1, level)
		t.record(a, ActLower, Details{Text: g.cond.Message, From: a.Level, To: to}, func(a *Alert) {
			a.Level = to
			seen(a)
		})
		return
	}
	if g.comes > 0 && t.now.Sub(a.SeenAt) >= countEvery {
		t.record(a, ActCount, Details{Text: g.cond.Message}, seen)
	}
}

// timed does what time alone brings: ends of snoozes, escalations, and remedies that are to be undone.
func (t *turn) timed() {
	for _, v := range t.s.sorted() {
		a := t.get(v.ID)
		if a.Status == Resolved {
			t.undoing(a)
			continue
		}
		if !a.SnoozedUntil.IsZero() && !t.now.Before(a.SnoozedUntil) {
			t.record(a, ActWake, Details{}, func(a *Alert) { a.SnoozedUntil, a.CalledAt = time.Time{}, t.now })
			a = t.get(v.ID)
		}
		if due := t.s.due(a); !due.IsZero() && !t.now.Before(due) {
			t.record(a, ActEscalate, Details{To: a.Level}, func(a *Alert) {
				a.Escalations++
				a.CalledAt = t.now
			})
		}
		t.undoing(a)
	}
}

// due is when an alert is to be called out again, zero = never.
func (s *State) due(a *Alert) time.Time {
	if a.Status != Open || !a.SnoozedUntil.IsZero() || a.Escalations >= maxEscalations || a.Level == NoLevel {
		return time.Time{}
	}
	rule := s.rules.Of(a.Cause)
	if after := rule.Escalate[a.Level-1]; after > 0 {
		return a.CalledAt.Add(after)
	}
	return time.Time{}
}

// undoing asks again for what is to be undone.
func (t *turn) undoing(a *Alert) {
	for _, r := range a.Remedies {
		if r.State != Undoing || t.now.Sub(t.s.undo[r.ID]) < undoEvery {
			continue
		}
		t.s.undo[r.ID] = t.now
		t.out = append(t.out, UndoRemedy{Alert: a.ID, Remedy: r})
	}
}

// wake asks for the next time at which something is due. What is due already is waiting to be recorded: it is looked at
// again soon, in case that fails.
func (t *turn) wake() {
	var next time.Time
	at := func(w time.Time) {
		if w = later(w, t.now.Add(time.Second)); next.IsZero() || w.Before(next) {
			next = w
		}
	}
	for _, v := range t.s.alerts {
		a := t.get(v.ID)
		if slices.ContainsFunc(a.Remedies, func(r Remedy) bool { return r.State == Undoing }) {
			at(t.now.Add(undoEvery))
		}
		if a.Status == Resolved {
			continue
		}
		if !a.SnoozedUntil.IsZero() {
			at(a.SnoozedUntil)
		} else if due := t.s.due(a); !due.IsZero() {
			at(due)
		}
	}
	if next.Equal(t.s.wakeAt) {
		return
	}
	t.s.wakeAt = next
	t.out = append(t.out, WakeAt{At: next})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sorted lists the alerts by id: effects are never made while ranging over a map.
func (s *State) sorted() []*View {
	list := make([]*View, 0, len(s.alerts))
	for _, v := range s.alerts {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *View) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
