package actors

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/robot"
)

// ringBound is how many control messages a mailbox holds, by kind: one robot's or task's own, those of the robots in
// a zone, those of all robots and tasks of a warehouse (when it opens, all may speak at once).
func ringBound(k kind) int32 {
	return [kinds]int32{kindRobot: 1024, kindZone: 16_384, kindTask: 1024, kindWarehouse: 131_072, kindAlerts: 4096}[k]
}

// mailbox is ours because none of protoactor's is bounded without blocking the sender or dropping silently.
// It has four queues, served in this order:
//
//   - system: protoactor's own mail;
//   - front: answers to what the actor itself asked for (records, loads, wakes), bounded by what it asked;
//   - ring: control mail, at most ringBound messages of them; more are refused to the sender and counted;
//   - status: the newest status alone; an older one that was not yet read is overwritten.
//
// A closed gate holds ring and status back (while the actor loads its state). Memory when idle: about 300 bytes.
type mailbox struct {
	node
	pool    *pool
	invoker actor.MessageInvoker
	box     *box

	mu        sync.Mutex
	system    fifo
	front     fifo
	ring      fifo
	status    *robot.StatusReported
	queued    bool // in the pool's run queue, or running
	suspended bool // by protoactor, between a panic and the restart
	gated     bool
	sealed    bool // nothing is taken any more: the activation is over
}

var _ actor.Mailbox = (*mailbox)(nil)

// PostUserMessage implements actor.Mailbox: mail that came by PID.
func (m *mailbox) PostUserMessage(message any) {
	if !m.post(message) {
		m.box.lost(message)
	}
}

// PostSystemMessage implements actor.Mailbox.
func (m *mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	m.system.push(message)
	m.schedule()
}

// RegisterHandlers implements actor.Mailbox.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	m.mu.Lock()
	m.invoker = invoker
	m.mu.Unlock()
}

// Start implements actor.Mailbox.
func (m *mailbox) Start() {}

// UserMessageCount implements actor.Mailbox.
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.ring.n)
}

// post puts a control message into the ring; false = full or sealed.
func (m *mailbox) post(message any) bool {
	m.mu.Lock()
	if m.sealed || m.ring.n >= ringBound(m.box.kind) {
		m.mu.Unlock()
		return false
	}
	m.ring.push(message)
	m.schedule()
	return true
}

// postFront puts the answer to the actor's own question before all other mail; false = sealed.
func (m *mailbox) postFront(message any) bool {
	m.mu.Lock()
	if m.sealed {
		m.mu.Unlock()
		return false
	}
	m.front.push(message)
	m.schedule()
	return true
}

// postStatus copies s into the newest-status slot; false = sealed.
func (m *mailbox) postStatus(s *robot.StatusReported) bool {
	m.mu.Lock()
	if m.sealed {
		m.mu.Unlock()
		return false
	}
	if m.status == nil {
		m.status = m.box.sys.statuses.get()
	} else {
		m.box.sys.metrics.coalesced.Inc()
	}
	errs := append(m.status.Errors[:0], s.Errors...)
	*m.status = *s
	m.status.Errors = errs
	m.schedule()
	return true
}

// schedule queues the mailbox unless it is queued; called with mu held, which it gives back.
func (m *mailbox) schedule() {
	wake := !m.queued && m.invoker != nil && m.ready()
	if wake {
		m.queued = true
	}
	m.mu.Unlock()
	if wake {
		m.pool.push(&m.node)
	}
}

// ready says that there is mail that may be read now. mu is held.
func (m *mailbox) ready() bool {
	switch {
	case m.system.n > 0:
		return true
	case m.suspended:
		return false
	case m.front.n > 0:
		return true
	case m.gated:
		return false
	}
	return m.ring.n > 0 || m.status != nil
}

// gate holds ring and status back (true) or lets them through. The actor alone calls it.
func (m *mailbox) gate(closed bool) {
	m.mu.Lock()
	m.gated = closed
	m.schedule()
}

// seal ends the activation: nothing more is taken, and what was not read is returned. A sender whose post came
// before the seal finds its mail among the rest, one that came after is told so: nothing vanishes.
func (m *mailbox) seal() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed = true
	return m.rest()
}

// sealIfEmpty is seal for an actor that only goes if nobody wants it.
func (m *mailbox) sealIfEmpty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.front.n > 0 || m.ring.n > 0 || m.status != nil {
		return false
	}
	m.sealed = true
	return true
}

// detach lets go of the actor and returns the answers it has not read. protoactor's sets of PIDs remember the dead for
// long, and a PID its mailbox.
func (m *mailbox) detach() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoker = nobody{}
	return m.front.all()
}

// nobody stands where an actor has been.
type nobody struct{}

func (nobody) InvokeSystemMessage(any)  {}
func (nobody) InvokeUserMessage(any)    {}
func (nobody) EscalateFailure(_, _ any) {}

// takeRing empties the ring without ending the activation (an actor that cannot load refuses its mail).
func (m *mailbox) takeRing() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rest()
}

func (m *mailbox) rest() []any {
	rest := m.ring.all()
	if m.status != nil {
		m.box.sys.statuses.put(m.status)
		m.status = nil
	}
	return rest
}

// run implements runnable: it delivers up to throughput messages.
func (m *mailbox) run() int {
	for i := range throughput {
		if !m.one() {
			m.pool.done()
			return i
		}
	}
	m.pool.requeue(&m.node)
	return throughput
}

// one delivers the next message; false = there is none and the mailbox is idle now.
func (m *mailbox) one() bool {
	m.mu.Lock()
	if msg, ok := m.system.pop(); ok {
		switch msg.(type) {
		case *actor.SuspendMailbox:
			m.suspended = true
			m.mu.Unlock()
		case *actor.ResumeMailbox:
			m.suspended = false
			m.mu.Unlock()
		default:
			m.mu.Unlock()
			m.deliver(msg, true)
		}
		return true
	}
	if !m.ready() {
		m.queued = false
		m.mu.Unlock()
		return false
	}
	if msg, ok := m.front.pop(); ok {
		m.mu.Unlock()
		m.deliver(msg, false)
		return true
	}
	if msg, ok := m.ring.pop(); ok {
		m.mu.Unlock()
		m.deliver(msg, false)
		return true
	}
	s := m.status
	m.status = nil
	m.mu.Unlock()
	m.deliver(s, false)
	m.box.sys.statuses.put(s)
	return true
}

// deliver hands one message to protoactor. A panic goes to the supervisor with the message that caused it, which
// is not delivered again.
func (m *mailbox) deliver(msg any, system bool) {
	invoker := m.invoker // changed by the actor's own goroutine alone, once it has been set
	defer func() {
		if r := recover(); r != nil {
			m.box.sys.crashes.note(m.box, m.box.sys.now())
			c := &crash{kind: m.box.kind, reason: fmt.Sprint(r), stack: debug.Stack(), message: fmt.Sprintf("%T", msg)}
			invoker.EscalateFailure(c, msg)
		}
	}()
	if system {
		invoker.InvokeSystemMessage(msg)
		return
	}
	if m.pool.meter != nil {
		m.pool.meter.Heard(m.box.kind.String(), msg)
	}
	invoker.InvokeUserMessage(msg)
}

// crash is what the supervisor is told of a panic.
type crash struct {
	kind    kind
	reason  string
	stack   []byte
	message string // its type
}

// statusPool lends buffers for newest statuses: as many are in use as statuses wait to be read.
type statusPool struct{ free sync.Pool }

func (p *statusPool) get() *robot.StatusReported {
	if s, ok := p.free.Get().(*robot.StatusReported); ok {
		return s
	}
	return new(robot.StatusReported)
}

func (p *statusPool) put(s *robot.StatusReported) {
	clear(s.Errors)
	*s = robot.StatusReported{Errors: s.Errors[:0]}
	p.free.Put(s)
}

// viewPool lends views: as many are in use as workers show one.
type viewPool struct{ free sync.Pool }

func (p *viewPool) get() *robot.View {
	if v, ok := p.free.Get().(*robot.View); ok {
		return v
	}
	return new(robot.View)
}

func (p *viewPool) put(v *robot.View) {
	*v = robot.View{}
	p.free.Put(v)
}
