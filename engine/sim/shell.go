package sim

import (
	"errors"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// The bounds of the shells, as in package actors.
const (
	stashBound = 256
	stepBound  = 64
	outBound   = 4096 // effects of one message; law 7
)

type rank uint8

const (
	rankRecord rank = iota // made durable first
	rankHeld               // waits for the records of its Decide
	rankSoft               // promises nothing that is recorded
)

// ask is a request of the outside; answer is called once.
type ask struct {
	answer func(result any, err error)
	idem   *fact.Idempotency
	given  bool
}

func (a *ask) reply(result any, err error) {
	if a != nil && !a.given {
		a.given = true
		a.answer(result, err)
	}
}

// trade is what is peculiar to a kind of actor that records.
type trade[M, E, F any] interface {
	decide(now time.Time, m M, out []F) []F
	apply(at time.Time, e E)
	version(n int) int64
	rank(f F) rank
	event(f F) (E, fleet.Actor)
	soft(m M) bool
	perform(f F, a *ask)
	load() // builds the core anew from what is recorded
	after(m M)
	applied()
}

type letter[M any] struct {
	m M
	a *ask
}

// step is one Decide's records on their way, with the effects that wait for them.
type step[E, F any] struct {
	unit   fact.Unit
	events []E
	at     time.Time
	held   []F
	ask    *ask
	tries  int
}

// actor is the simulated shell of an actor that records: records first, then what waits for them; mail that depends
// on the outcome is stashed, soft mail keeps flowing; what the journal refuses for a while is tried again, unless a
// client waits, who is told.
type actor[M, E, F any] struct {
	site    *site
	trade   trade[M, E, F]
	kind    string
	subject string
	life    int  // of the activation
	up      bool // loaded
	steps   []*step[E, F]
	stash   []letter[M]
	early   []letter[M] // came before it was loaded
	out     []F
}

// start loads the actor; mail waits meanwhile.
func (x *actor[M, E, F]) start() {
	x.life++
	life, house := x.life, x.site.life
	x.up = false
	x.site.journal.load(func() {
		if x.life != life || x.site.life != house {
			return
		}
		x.up = true
		x.trade.load()
		early := x.early
		x.early = nil
		for _, l := range early {
			x.mail(l.m, l.a)
		}
	})
}

// crash drops the state and starts again from what is recorded. Requests under way learn nothing of their outcome.
func (x *actor[M, E, F]) crash() {
	x.site.w.trace("CRASH %s %s", x.kind, short(x.subject))
	x.stop(fact.ErrUnknown)
	x.start()
}

func (x *actor[M, E, F]) stop(err error) {
	x.life++
	x.up = false
	for _, s := range x.steps {
		s.ask.reply(nil, err)
	}
	for _, l := range append(x.stash, x.early...) {
		l.a.reply(nil, err)
	}
	x.steps, x.stash, x.early = nil, nil, nil
}

// mail takes a message, decides it now or keeps it.
func (x *actor[M, E, F]) mail(m M, a *ask) {
	switch {
	case !x.up:
		if len(x.early) >= stashBound {
			a.reply(nil, fact.ErrBusy)
			return
		}
		x.early = append(x.early, letter[M]{m, a})
	case len(x.steps) == 0 || a == nil && x.trade.soft(m):
		x.now(m, a)
	case len(x.stash) >= stashBound:
		a.reply(nil, fact.ErrBusy)
	default:
		x.stash = append(x.stash, letter[M]{m, a})
		x.site.w.laws.bounds.queue("stash", len(x.stash))
	}
}

// now decides a message.
func (x *actor[M, E, F]) now(m M, a *ask) {
	w := x.site.w
	x.out = x.trade.decide(w.now(), m, x.out[:0])
	w.laws.bounds.queue("effects", len(x.out))
	st := &step[E, F]{at: w.now(), ask: a}
	var soft []F
	for _, f := range x.out {
		switch x.trade.rank(f) {
		case rankRecord:
			e, by := x.trade.event(f)
			st.events = append(st.events, e)
			st.unit.Facts = append(st.unit.Facts, fact.Fact{ID: x.site.eventID(), At: st.at, By: by, Subject: x.subject, Event: e})
		case rankHeld:
			st.held = append(st.held, f)
		case rankSoft:
			soft = append(soft, f)
		}
	}
	life := x.life
	switch {
	case len(st.events) == 0:
		x.perform(st.held, a)
		if a != nil && !a.given {
			a.reply(nil, fact.ErrRejected)
		}
	case len(x.steps) >= stepBound:
		w.fail(7, "%s %s has %d recordings under way", x.kind, x.subject, len(x.steps))
	default:
		st.unit.Shard, st.unit.Incarnation = x.site.shard, x.site.inc
		if a != nil {
			st.unit.Idempotency = a.idem
		}
		x.steps = append(x.steps, st)
		if len(x.steps) == 1 {
			x.submit(st)
		}
	}
	if x.life == life {
		x.perform(soft, nil)
		x.trade.after(m)
	}
}

func (x *actor[M, E, F]) perform(effects []F, a *ask) {
	life := x.life
	for _, f := range effects {
		if x.life != life {
			return
		}
		x.trade.perform(f, a)
	}
}

// submit gives the first step to the journal. A second try has the same event ids.
func (x *actor[M, E, F]) submit(st *step[E, F]) {
	for i := range st.unit.Facts {
		st.unit.Facts[i].Version = x.trade.version(i)
	}
	life, house := x.life, x.site.life
	x.site.journal.append(st.unit, func(err error) {
		if x.life == life && x.site.life == house {
			x.settle(st, err)
		}
	})
}

func (x *actor[M, E, F]) settle(st *step[E, F], err error) {
	w := x.site.w
	switch {
	case err == nil:
		for _, e := range st.events {
			x.trade.apply(st.at, e)
		}
		x.steps = x.steps[1:]
		x.trade.applied()
		x.perform(st.held, st.ask)
		if st.ask != nil && !st.ask.given {
			st.ask.reply(nil, fact.ErrRejected)
		}
	case st.ask != nil:
		x.steps = x.steps[1:]
		st.ask.reply(nil, err)
		if stale(err) {
			x.crash()
			return
		}
	case refused(err), errors.Is(err, fact.ErrFenced):
		x.crash()
		return
	default:
		st.tries++
		life, house := x.life, x.site.life
		w.clock.after(w.pause(time.Duration(min(st.tries, 5))*500*time.Millisecond), "record again", func() {
			if x.life == life && x.site.life == house {
				x.submit(st)
			}
		})
		return
	}
	x.next()
}

// stale says that the journal has a newer state of the aggregate than the actor.
func stale(err error) bool {
	var c *fact.ConflictError
	return errors.As(err, &c) && (c.Key == "version" || c.Key == "state")
}

// next submits the next step or, where there is none, decides what was stashed until something is recorded again.
func (x *actor[M, E, F]) next() {
	if len(x.steps) > 0 {
		x.submit(x.steps[0])
		return
	}
	for x.up && len(x.steps) == 0 && len(x.stash) > 0 {
		l := x.stash[0]
		x.stash = x.stash[1:]
		x.now(l.m, l.a)
	}
}

// alarm is an actor's timer: a later one replaces it.
type alarm struct {
	at time.Time
	no int
}

// set arms the timer; ring is called at its time, if it is still the newest and the house has not crashed.
func (t *alarm) set(s *site, at time.Time, what string, ring func()) {
	t.no++
	t.at = at
	if at.IsZero() {
		return
	}
	no, life, w := t.no, s.life, s.w
	w.clock.after(at.Sub(w.now()), what, func() {
		if t.no == no && s.life == life {
			ring()
		}
	})
}
