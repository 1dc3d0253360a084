package actors

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fact"
	"starling/engine/robot"
)

// errFull says that a mailbox or a stash is full.
var errFull = fmt.Errorf("mailbox: %w", fact.ErrBusy)

// errRestarted says that the actor was restarted while the request was under way.
var errRestarted = fmt.Errorf("actor restarted: %w", fact.ErrUnknown)

// loaded brings what the store knows of an actor.
type loaded struct {
	life *life
	rec  any
	err  error
}

// living is what the life of an actor drives: each kind's shell.
type living interface {
	// load reads the actor's record off the pool; nil rec means that there is nothing to load.
	load() (rec any, err error)
	// restore builds the core from the record and says what must be said again. absent: the store knows none.
	restore(rec any, absent bool)
	// handle takes all mail but that of the life itself.
	handle(c actor.Context, m any)
	// idle says that the actor may go.
	idle() bool
	// failAll answers every request under way.
	failAll(err error)
}

// life is what all shells share: activation from the store, passivation, restart, end.
type life struct {
	box   *box
	self  living
	tries int
	alive bool // loaded
	retry timer
	// fresh: nothing is in the store yet, loading would ask in vain.
	fresh bool
}

// Receive implements actor.Actor.
func (l *life) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *robot.StatusReported: // the hot path, first
		l.self.handle(c, m)
		if l.box.idle.Load() != 0 {
			l.markIdle()
		}
		return
	case *actor.Started:
		l.start()
	case *loaded:
		if m.life == l {
			l.arrive(m)
		}
	case passing:
		l.pass()
		return
	case *actor.Restarting:
		l.end(errRestarted)
		l.box.gate(true)
	case *actor.Stopping:
		l.end(fmt.Errorf("actor stopped: %w", fact.ErrUnavailable))
	case *actor.Stopped:
		l.stopped()
		return
	case actor.SystemMessage, actor.AutoReceiveMessage:
	case retryLoad:
		if m.life == l && !l.alive {
			l.begin()
		}
	case *record:
		if l.alive || m.then != nil {
			l.self.handle(c, m)
		}
	default:
		if l.alive { // while it loads, nothing but answers can come
			l.self.handle(c, m)
		}
	}
	l.markIdle()
}

// retryLoad is the mail of the load's back-off.
type retryLoad struct{ life *life }

// expire implements expirer.
func (l *life) expire(time.Time) { l.box.postFront(retryLoad{l}) }

func (l *life) start() {
	l.retry.owner = l
	l.box.sys.metrics.activations.WithLabelValues(l.box.kind.String()).Inc()
	if n := l.box.sys.crashes.recent(l.box, l.box.sys.now()); n > 1 {
		// It has panicked again and again: it comes back, but ever more slowly.
		l.box.sys.wheel.arm(&l.retry, l.box.sys.now().Add(l.box.sys.backoff(n)))
		return
	}
	l.begin()
}

func (l *life) begin() {
	if l.fresh {
		l.fresh = false
		l.arrive(&loaded{life: l, err: fact.ErrNotFound})
		return
	}
	l.box.sys.pool.load(l.box.sh.lane, func() {
		m := &loaded{life: l}
		m.rec, m.err = l.self.load()
		l.box.postFront(m)
	})
}

// arrive takes what was loaded and lets the mail in; where the store is away it tries again, and who asks
// meanwhile is refused.
func (l *life) arrive(m *loaded) {
	absent := errors.Is(m.err, fact.ErrNotFound)
	if m.err != nil && !absent {
		sys := l.box.sys
		sys.metrics.wrong("load").Inc()
		for _, rest := range l.box.takeRing() {
			if a, ok := rest.(*ask); ok {
				a.fail(fmt.Errorf("load %s: %w", l.box.kind, m.err))
				continue
			}
			l.box.lost(rest)
		}
		if errors.Is(m.err, fact.ErrFenced) {
			sys.fenced(l.box.sh, "load")
			return
		}
		l.tries++
		sys.log.LogAttrs(sys.ctx, slog.LevelWarn, "actor cannot load", slog.String("event", "actor.load"),
			slog.String("kind", l.box.kind.String()), slog.String("id", l.box.id), slog.Any("error", m.err))
		sys.wheel.arm(&l.retry, sys.now().Add(sys.backoff(l.tries)))
		return
	}
	l.tries = 0
	l.alive = true
	l.self.restore(m.rec, absent)
	l.box.gate(false)
}

// reload forgets the state, which the journal contradicted, and loads it anew.
func (l *life) reload(err error) {
	l.alive = false
	l.self.failAll(err)
	l.box.gate(true)
	l.begin()
}

func (l *life) markIdle() {
	if !l.alive || !l.self.idle() {
		l.box.idle.Store(0)
		return
	}
	if l.box.idle.Load() == 0 {
		l.box.idle.Store(l.box.sys.now().UnixNano())
	}
}

// pass ends the activation if nothing has come meanwhile: first the directory forgets it, then it stops.
func (l *life) pass() {
	if !l.alive || !l.self.idle() || !l.box.sealIfEmpty() {
		return
	}
	l.box.sh.forget(l.box)
	l.box.stop()
}

// end gives up what is under way.
func (l *life) end(err error) {
	l.alive = false
	l.box.sys.wheel.cancel(&l.retry)
	l.box.sys.wheel.cancel(&l.box.timer)
	l.self.failAll(err)
}

// stopped closes the books: mail that came too late goes to the next activation.
func (l *life) stopped() {
	b := l.box
	rest := b.seal()
	for _, m := range b.detach() {
		if r, ok := m.(*record); ok {
			r.orphan()
		}
	}
	b.sh.forget(b)
	b.sys.wheel.cancel(&b.timer)
	b.sys.metrics.active.WithLabelValues(b.kind.String()).Dec()
	b.sys.crashes.forget(b)
	if b.gone != nil {
		close(b.gone)
	}
	b.sh.resend(b, rest)
}
