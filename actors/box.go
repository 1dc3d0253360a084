package actors

import (
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fact"
)

// kind numbers the kinds of actors.
type kind uint8

const (
	kindRobot kind = iota
	kindZone
	kindTask
	kindWarehouse
	kindAlerts // of a shard
	kinds
)

// String is the kind's name in the cluster.
func (k kind) String() string {
	return [kinds]string{"robot", "zone", "task", "warehouse", "alerts"}[k]
}

func kindOf(name string) (kind, bool) {
	for k := range kinds {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// box is one activation as the rest of the process sees it: the handle to send by, its mailbox and its timer. It
// exists, and takes mail, from the moment somebody wants the actor.
type box struct {
	mailbox
	sys  *System
	sh   *shard
	kind kind
	id   string
	// fresh: its first incarnation has nothing to load.
	fresh bool

	pid    atomic.Pointer[actor.PID]
	timer  timer        // the WakeAt of the actor
	units  atomic.Int32 // that the journal has taken and not answered
	dirty  atomic.Bool  // robots: changed since the last snapshot
	ticked atomic.Bool  // zones, warehouses: a tick lies in the mailbox
	// idle is since when (UnixNano) the actor could go, 0 = it cannot.
	idle atomic.Int64
	// gone is closed when the actor has ended; zones only.
	gone chan struct{}
}

// Mail that only shells know.
type (
	wake     struct{}
	passing  struct{} // go, if still idle
	snapshot struct{} // hand the snapshot writer what you know
	hello    struct{} // answer with your PID
	again    struct{} // tell the dispatcher again: it was restarted
)

// expire implements expirer.
func (b *box) expire(time.Time) { b.postFront(wake{}) }

// wakeAt arms the actor's timer; zero cancels.
func (b *box) wakeAt(at time.Time) {
	if at.IsZero() {
		b.sys.wheel.cancel(&b.timer)
		return
	}
	b.sys.wheel.arm(&b.timer, at)
}

// lost counts a control message that a full mailbox refused.
func (b *box) lost(message any) {
	b.sys.metrics.dropped("mailbox_" + b.kind.String()).Inc()
	if a, ok := message.(*ask); ok {
		a.fail(errFull)
	}
}

// isSealed says that the activation is over.
func (b *box) isSealed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sealed
}

// ask is a client's request on its way through an actor, and the way back.
type ask struct {
	msg    any
	idem   *fact.Idempotency
	audit  *fact.AuditEntry // recorded with what it causes, nil = none
	ready  chan struct{}
	once   atomic.Bool
	answer any
	err    error
	// sender is who asked by PID, nil = a goroutine that waits for ready.
	sender *actor.PID
	sys    *System
}

func (a *ask) reply(answer any) { a.end(answer, nil) }
func (a *ask) fail(err error)   { a.end(nil, err) }

// end answers once; what comes later is ignored.
func (a *ask) end(answer any, err error) {
	if a == nil || !a.once.CompareAndSwap(false, true) {
		return
	}
	a.answer, a.err = answer, err
	if a.ready != nil {
		close(a.ready)
	}
	if a.sender == nil {
		return
	}
	if err != nil {
		answer = err
	}
	a.sys.as.Root.Send(a.sender, answer)
}

func (a *ask) answered() bool { return a == nil || a.once.Load() }

// request is what was asked, nil where nothing was.
func (a *ask) request() any {
	if a == nil {
		return nil
	}
	return a.msg
}
