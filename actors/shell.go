package actors

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fact"
	"starling/engine/fleet"
)

const (
	// stashBound is how much mail waits in an actor for a recording.
	stashBound = 256
	// stepBound is how many recordings of one actor may wait for each other.
	stepBound = 64
)

// rank says when an effect is performed.
type rank uint8

const (
	rankRecord  rank = iota // made durable first
	rankTell                // promises something: held until the records of its Decide are durable
	rankShow                // like rankTell, after all those
	rankSoft                // promises nothing that is recorded: performed at once
	rankGlimpse             // soft, after the other soft ones
)

// core is a deterministic state machine (conventions §4).
type core[M, F any] interface {
	Decide(now time.Time, m M, out []F) []F
}

// trade is what is peculiar to one kind of actor that records: translation, no rules.
type trade[M, E, F any] interface {
	core[M, F]
	// rank sorts an effect.
	rank(f F) rank
	// event reads a record effect.
	event(f F) (E, fleet.Actor, fleet.Trace)
	// apply folds a recorded event; the only writer of durable fields.
	apply(at time.Time, e E)
	// version is the aggregate's version after event e, the n-th (from 0) of the unit that is recorded next.
	version(e E, n int) int64
	// same says that b repeats a, which is still on its way: the core says again what it does not yet see applied.
	same(a, b E) bool
	// admit refuses a message that no core can take (there is no such aggregate); nil = it may be decided.
	admit(m M) error
	// soft says that the message may be decided while a recording is under way.
	soft(m M) bool
	// perform does what an effect says; a is the request being answered, nil = none.
	perform(f F, a *ask)
	// after is called when m has been decided and its effects are on their way.
	after(m M)
	// woke is the message for the actor's timer, and whether it is due.
	woke() (M, bool)
	// other takes mail that is no message of the core.
	other(m any)
}

// step is one Decide's records on their way, with the effects that wait for them.
type step[E, F any] struct {
	at     time.Time
	events []E
	by     []fleet.Actor
	traces []fleet.Trace
	fences []fact.Fence // as they were when it was decided
	held   []F
	ask    *ask
	tries  int
	rec    *record // nil = not yet submitted
}

// shell is the generic shell: it asks the core what to do about a message and does it, records first. While a
// recording is under way, mail that depends on it is stashed (bounded) and soft mail keeps flowing.
type shell[M, E, F any] struct {
	life
	trade   trade[M, E, F]
	subject string
	out     []F
	steps   []*step[E, F]
	stash   []any
	away    bool // the first step waits for its next try: clients are refused at once
	again   timer
}

// handle implements living.
func (s *shell[M, E, F]) handle(c actor.Context, m any) {
	if msg, ok := m.(M); ok {
		if sender := c.Sender(); sender != nil {
			s.mail(msg, &ask{msg: m, sender: sender, sys: s.box.sys}, nil)
			return
		}
		s.mail(msg, nil, m)
		return
	}
	switch m := m.(type) {
	case *ask:
		if _, ok := m.msg.(hello); ok {
			m.reply(c.Self())
			return
		}
		if msg, ok := m.msg.(M); ok {
			s.mail(msg, m, m)
			return
		}
		s.trade.other(m)
	case *record:
		if m.then != nil {
			m.then(m.err)
			return
		}
		s.settle(m)
	case wake:
		if msg, due := s.trade.woke(); due {
			s.mail(msg, nil, m)
		}
	case retryNow:
		if len(s.steps) > 0 && s.away {
			s.away = false
			s.submit(s.steps[0])
		}
	default:
		s.trade.other(m)
	}
}

// mail decides a message now, or keeps it until the recording under way has ended. raw is how it came.
func (s *shell[M, E, F]) mail(m M, a *ask, raw any) {
	if err := s.trade.admit(m); err != nil {
		if a == nil {
			s.box.sys.metrics.dropped("unknown_" + s.box.kind.String()).Inc()
		}
		a.fail(err)
		return
	}
	if len(s.steps) == 0 || a == nil && s.trade.soft(m) {
		s.decide(m, a)
		return
	}
	switch {
	case a != nil && s.away:
		a.fail(fmt.Errorf("%s waits for the store: %w", s.box.kind, fact.ErrUnavailable))
	case len(s.stash) >= stashBound:
		s.box.sys.metrics.dropped("stash_" + s.box.kind.String()).Inc()
		a.fail(errFull)
	default:
		if raw == nil {
			raw = a
		}
		s.stash = append(s.stash, raw)
	}
}

func (s *shell[M, E, F]) decide(m M, a *ask) {
	now := s.box.sys.now()
	s.out = s.trade.Decide(now, m, s.out[:0])
	records := 0
	for _, f := range s.out {
		if s.trade.rank(f) == rankRecord {
			records++
		}
	}
	if records == 0 {
		s.perform(s.out, a)
		if !a.answered() {
			a.fail(fmt.Errorf("%s gave no answer: %w", s.box.kind, fact.ErrRejected))
		}
	} else {
		s.record(now, a)
	}
	s.trade.after(m)
	clear(s.out)
}

// perform does the effects in rank order; records among them have been dealt with.
func (s *shell[M, E, F]) perform(effects []F, a *ask) {
	shows := false
	for _, f := range effects {
		switch s.trade.rank(f) {
		case rankRecord:
		case rankShow, rankGlimpse:
			shows = true
		case rankTell, rankSoft:
			s.trade.perform(f, a)
		}
	}
	if !shows {
		return
	}
	for _, f := range effects {
		if r := s.trade.rank(f); r == rankShow || r == rankGlimpse {
			s.trade.perform(f, a)
		}
	}
}

// record splits what was decided: soft effects are performed now, the others wait for the records.
func (s *shell[M, E, F]) record(now time.Time, a *ask) {
	st := &step[E, F]{at: now, ask: a}
	var soft []F
	for _, f := range s.out {
		switch s.trade.rank(f) {
		case rankRecord:
			e, by, trace := s.trade.event(f)
			st.events, st.by, st.traces = append(st.events, e), append(st.by, by), append(st.traces, trace)
		case rankSoft, rankGlimpse:
			soft = append(soft, f)
		case rankTell, rankShow:
			st.held = append(st.held, f)
		}
	}
	if f, ok := s.trade.(fencing[E]); ok {
		st.fences = f.fences(st.events)
	}
	if a == nil && s.repeats(st) {
		s.perform(soft, nil)
		return
	}
	if len(s.steps) >= stepBound {
		s.box.sys.metrics.dropped("steps_" + s.box.kind.String()).Inc()
		a.fail(errFull)
		s.perform(soft, nil)
		return
	}
	s.steps = append(s.steps, st)
	if len(s.steps) == 1 {
		s.submit(st)
	}
	s.perform(soft, nil)
}

// repeats takes out of a step what is on its way already; true = nothing is left to record, and what was to follow
// follows the records under way.
func (s *shell[M, E, F]) repeats(st *step[E, F]) bool {
	if len(s.steps) == 0 {
		return false
	}
	n := 0
	for i, e := range st.events {
		pending := slices.ContainsFunc(s.steps, func(p *step[E, F]) bool {
			return slices.ContainsFunc(p.events, func(o E) bool { return s.trade.same(o, e) })
		})
		if !pending {
			st.events[n], st.by[n], st.traces[n] = e, st.by[i], st.traces[i]
			n++
		}
	}
	st.events, st.by, st.traces = st.events[:n], st.by[:n], st.traces[:n]
	if n > 0 {
		return false
	}
	last := s.steps[len(s.steps)-1]
	if len(last.held)+len(st.held) > stashBound {
		s.box.sys.metrics.dropped("held_" + s.box.kind.String()).Add(float64(len(st.held)))
		return true
	}
	last.held = append(last.held, st.held...)
	return true
}

// submit sends the first step's records to the journal writer as one unit. A second try has the same event ids.
func (s *shell[M, E, F]) submit(st *step[E, F]) {
	sys, sh := s.box.sys, s.box.sh
	if st.rec == nil {
		facts := make([]fact.Fact, len(st.events))
		for i, e := range st.events {
			facts[i] = fact.Fact{
				ID: sys.newEventID(), At: st.at, By: st.by[i], Trace: st.traces[i], Subject: s.about(e),
				Version: s.trade.version(e, i), Event: e,
			}
		}
		st.rec = &record{
			unit: fact.Unit{Shard: sh.id, Incarnation: sh.incarnation(), Facts: facts, Fences: st.fences}, client: st.ask != nil,
			to: s.box, ask: st.ask,
		}
		if st.ask != nil {
			st.rec.unit.Idempotency, st.rec.unit.Audit = st.ask.idem, st.ask.audit
		}
	}
	if err := sh.writer.submit(st.rec); err != nil {
		s.failed(st, err)
	}
}

// naming is a trade that looks after many aggregates: its events say which they are of.
type naming[E any] interface {
	named(e E) string
}

// about is the id of the aggregate that an event is of.
func (s *shell[M, E, F]) about(e E) string {
	if n, ok := s.trade.(naming[E]); ok {
		return n.named(e)
	}
	return s.subject
}

// settle takes the journal's answer about the first step.
func (s *shell[M, E, F]) settle(r *record) {
	if len(s.steps) == 0 || s.steps[0].rec != r {
		return
	}
	st := s.steps[0]
	if r.err != nil {
		s.failed(st, r.err)
		return
	}
	for _, e := range st.events {
		s.trade.apply(st.at, e)
	}
	s.steps = s.steps[1:]
	s.perform(st.held, st.ask)
	if !st.ask.answered() {
		st.ask.fail(fmt.Errorf("%s gave no answer: %w", s.box.kind, fact.ErrRejected))
	}
	s.next()
}

// failed ends a step that was not recorded, or keeps it for another try where no client waits for the answer.
func (s *shell[M, E, F]) failed(st *step[E, F], err error) {
	sys := s.box.sys
	switch {
	case errors.Is(err, fact.ErrFenced):
		st.ask.fail(err)
		s.steps = s.steps[1:]
		return // the shard is being dropped
	case st.ask != nil:
		st.ask.fail(err)
		s.steps = s.steps[1:]
		if stale(err) {
			s.reload(errRestarted)
			return
		}
		s.next()
	case errors.Is(err, fact.ErrConflict), errors.Is(err, fact.ErrRejected):
		sys.metrics.wrong("record_" + outcome(err)).Inc()
		sys.log.LogAttrs(sys.ctx, slog.LevelError, "journal contradicts an actor", slog.String("event", "actor.contradicted"),
			slog.String("kind", s.box.kind.String()), slog.String("id", s.box.id), slog.Any("error", err))
		s.steps = s.steps[1:]
		s.reload(errRestarted)
	default:
		st.tries++
		s.away = true
		for _, raw := range s.takeAsks() {
			raw.fail(fmt.Errorf("%s waits for the store: %w", s.box.kind, fact.ErrUnavailable))
		}
		s.again.owner = retrier[M, E, F]{s}
		sys.wheel.arm(&s.again, sys.now().Add(sys.backoff(st.tries)))
	}
}

// stale says that the store has a newer state of the aggregate than the actor.
func stale(err error) bool {
	var c *fact.ConflictError
	return errors.As(err, &c) && (c.Key == "version" || c.Key == "state")
}

// takeAsks removes the requests from the stash.
func (s *shell[M, E, F]) takeAsks() []*ask {
	var asks []*ask
	kept := s.stash[:0]
	for _, raw := range s.stash {
		if a, ok := raw.(*ask); ok {
			asks = append(asks, a)
			continue
		}
		kept = append(kept, raw)
	}
	clear(s.stash[len(kept):])
	s.stash = kept
	return asks
}

type retrier[M, E, F any] struct{ s *shell[M, E, F] }

// expire implements expirer.
func (r retrier[M, E, F]) expire(time.Time) {
	// The steps are the actor's own: it looks itself whether there is still something to try.
	r.s.box.postFront(retryNow{})
}

// retryNow is the mail of a recording's back-off.
type retryNow struct{}

// next starts the next step or, when there is none, decides what was stashed, until something is recorded again.
func (s *shell[M, E, F]) next() {
	if len(s.steps) > 0 {
		s.submit(s.steps[0])
		return
	}
	s.steps = nil
	for len(s.steps) == 0 && len(s.stash) > 0 {
		raw := s.stash[0]
		s.stash[0] = nil
		if s.stash = s.stash[1:]; len(s.stash) == 0 {
			s.stash = nil
		}
		s.unstash(raw)
	}
}

func (s *shell[M, E, F]) unstash(raw any) {
	switch raw := raw.(type) {
	case *ask:
		if m, ok := raw.msg.(M); ok {
			s.decide(m, raw)
		}
	case wake:
		if m, due := s.trade.woke(); due {
			s.decide(m, nil)
		}
	default:
		if m, ok := raw.(M); ok {
			s.decide(m, nil)
		}
	}
}

// idle implements living, as far as recording goes; the kinds add their own condition.
func (s *shell[M, E, F]) settled() bool { return len(s.steps) == 0 && len(s.stash) == 0 }

// failAll implements living.
func (s *shell[M, E, F]) failAll(err error) {
	for _, st := range s.steps {
		st.ask.fail(err)
	}
	for _, a := range s.takeAsks() {
		a.fail(err)
	}
	if n := len(s.stash); n > 0 {
		s.box.sys.metrics.dropped("stash_" + s.box.kind.String()).Add(float64(n))
	}
	s.steps, s.stash, s.away = nil, nil, false
	s.box.sys.wheel.cancel(&s.again)
}
