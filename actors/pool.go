package actors

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fleet"
)

// throughput is how many messages one actor handles before others get their turn.
const throughput = 300

// node is a place in the run queue. Each runnable has one and is queued at most once, so the queue needs no bound
// of its own and no allocation.
type node struct {
	next  *node
	lane  *lane // nil = the pool's own
	owner runnable
}

// runnable is what a worker runs: a mailbox with mail, or a function that protoactor scheduled. It says how many
// messages it has handled.
type runnable interface{ run() int }

// pool runs the actors on a few workers that live as long as the system, instead of one new goroutine for each
// message that finds its actor idle (which costs 2 us and would be every status at 1 Hz). Without workers (manual
// mode) it is run by drain, on the caller's goroutine, in an order that depends on nothing but the calls made.
//
// Nothing that runs here may block: I/O goes through async.
type pool struct {
	mu      sync.Mutex
	wake    sync.Cond
	run     turns
	own     lane // of what has no tenant; in manual mode of all: one queue, in the order of the calls
	lanes   map[fleet.TenantID]*lane
	ops     []func() // manual mode: asynchronous operations not yet run
	loads   []*lane  // with loads that wait for a loader, the next one first
	loading int      // loaders at work
	manual  bool
	meter   Meter // manual mode; nil = nobody measures
	closed  bool
	workers sync.WaitGroup
	asyncs  sync.WaitGroup

	// busy counts what is queued, running or under way in async; zero is quiet.
	busy  atomic.Int64
	calm  sync.Cond // on mu
	calls atomic.Int32
	// driving says that a goroutine is inside drain (manual mode).
	driving sync.Mutex
}

var _ actor.Dispatcher = (*pool)(nil)

// newPool starts n workers; none for manual mode.
func newPool(n int, manual bool) *pool {
	p := &pool{manual: manual, lanes: map[fleet.TenantID]*lane{}}
	p.wake.L, p.calm.L = &p.mu, &p.mu
	if manual {
		n = 0
	}
	for range n {
		p.workers.Go(p.work)
	}
	return p
}

// Schedule implements actor.Dispatcher, for protoactor's own mailboxes.
func (p *pool) Schedule(fn func()) {
	f := &scheduled{fn: fn, pool: p}
	f.owner = f
	p.push(&f.node)
}

// Throughput implements actor.Dispatcher.
func (p *pool) Throughput() int { return throughput }

type scheduled struct {
	node
	fn   func()
	pool *pool
}

func (s *scheduled) run() int {
	s.fn()
	s.pool.done()
	return 1
}

// push queues a runnable that is not queued; its run must end in done or in requeue.
func (p *pool) push(n *node) {
	p.busy.Add(1)
	p.requeue(n)
}

// requeue queues a runnable whose turn has not ended.
func (p *pool) requeue(n *node) {
	p.mu.Lock()
	if n.lane == nil {
		n.lane = &p.own
	}
	p.run.push(n)
	p.mu.Unlock()
	if !p.manual {
		p.wake.Signal()
	}
}

// done ends a turn or an asynchronous operation.
func (p *pool) done() {
	if p.busy.Add(-1) == 0 && p.calls.Load() > 0 {
		p.mu.Lock()
		p.calm.Broadcast()
		p.mu.Unlock()
	}
}

func (p *pool) work() {
	p.mu.Lock()
	for {
		n := p.run.pop()
		switch {
		case n != nil:
			p.mu.Unlock()
			used := n.owner.run()
			p.mu.Lock()
			n.lane.credit -= used
		case p.closed:
			p.mu.Unlock()
			return
		default:
			p.wake.Wait()
		}
	}
}

// async runs f, which may block, off the workers. What f posts is counted before f counts as done.
func (p *pool) async(f func()) {
	p.busy.Add(1)
	if p.manual {
		p.mu.Lock()
		p.ops = append(p.ops, f)
		p.mu.Unlock()
		return
	}
	p.asyncs.Go(func() {
		defer p.done()
		f()
	})
}

// loaders is how many actors read the store at once.
const loaders = 32

// load is async for reads of the store, of which a start can bring thousands: at most loaders run at once, the others
// wait, each tenant's in order and the tenants in turns. Bound: one an actor.
func (p *pool) load(l *lane, f func()) {
	if p.manual {
		p.async(f)
		return
	}
	p.busy.Add(1)
	p.mu.Lock()
	if l.loads = append(l.loads, f); len(l.loads) == 1 {
		p.loads = append(p.loads, l)
	}
	start := p.loading < loaders
	if start {
		p.loading++
	}
	p.mu.Unlock()
	if start {
		p.asyncs.Go(p.loader)
	}
}

func (p *pool) loader() {
	for {
		p.mu.Lock()
		if len(p.loads) == 0 {
			p.loads = nil
			p.loading--
			p.mu.Unlock()
			return
		}
		f := p.nextLoad()
		p.mu.Unlock()
		f()
		p.done()
	}
}

// nextLoad takes the next tenant's next load. mu is held, and there is one.
func (p *pool) nextLoad() func() {
	l := p.loads[0]
	p.loads[0] = nil
	p.loads = p.loads[1:]
	f := l.loads[0]
	l.loads[0] = nil
	if l.loads = l.loads[1:]; len(l.loads) > 0 {
		p.loads = append(p.loads, l) // behind the others
	} else {
		l.loads = nil
	}
	return f
}

// quiesce waits until every mailbox is empty and nothing is under way. Mail that outsiders keep sending keeps it
// waiting; so does nothing that waits for a time to come.
func (p *pool) quiesce(ctx context.Context) error {
	if p.manual {
		return p.drain(ctx, nil)
	}
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		p.calm.Broadcast()
		p.mu.Unlock()
	})
	defer stop()
	p.calls.Add(1)
	defer p.calls.Add(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.busy.Load() != 0 && ctx.Err() == nil {
		p.calm.Wait()
	}
	if p.busy.Load() != 0 {
		return context.Cause(ctx)
	}
	return nil
}

// drain (manual mode) runs what is queued, first actors, then one asynchronous operation at a time, until nothing
// is left or until is closed.
func (p *pool) drain(ctx context.Context, until <-chan struct{}) error {
	p.driving.Lock()
	defer p.driving.Unlock()
	for {
		select {
		case <-until:
			return nil
		default:
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p.mu.Lock()
		n := p.run.pop()
		var f func()
		if n == nil && len(p.ops) > 0 {
			f = p.ops[0]
			p.ops[0] = nil
			if p.ops = p.ops[1:]; len(p.ops) == 0 {
				p.ops = nil
			}
		}
		p.mu.Unlock()
		switch {
		case n != nil:
			p.turn(n)
		case f != nil:
			f()
			p.done()
		default:
			return nil
		}
	}
}

// turn (manual mode) runs an actor, under the meter where there is one.
func (p *pool) turn(n *node) {
	if p.meter == nil {
		n.owner.run()
		return
	}
	name := ""
	if m, ok := n.owner.(*mailbox); ok {
		name = m.box.kind.String()
	}
	p.meter.Turn(name, n.owner.run)
}

// close ends the workers once the queue is empty and waits for them and for what is under way, as long as ctx allows.
func (p *pool) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	done := make(chan struct{})
	go func() {
		p.asyncs.Wait()
		p.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
