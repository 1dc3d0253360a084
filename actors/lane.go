package actors

import "starling/engine/fleet"

// quantum is how many messages of one tenant are handled before the next one's turn.
const quantum = 64

// lane is one tenant's part of the run queue. There is one for each tenant of which this process has had a shard: some
// hundred bytes, which stay.
type lane struct {
	head, tail *node
	next       *lane // in the queue of lanes that have something to run
	// credit is how many messages it may still handle in this turn; below zero is what it has had too much.
	credit int
	loads  []func() // that wait for a loader
}

// lane returns the tenant's.
func (p *pool) lane(tenant fleet.TenantID) *lane {
	if p.manual {
		return &p.own
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[tenant]
	if l == nil {
		l = &lane{}
		p.lanes[tenant] = l
	}
	return l
}

// turns is the run queue: lanes take turns of quantum messages (deficit round robin, Shreedhar and Varghese 1995), and
// within one what came first runs first. So an actor waits for the others of its own tenant, and for a turn of each of
// the other tenants, however many of their actors have mail. What one run handles above the lane's credit, throughput
// messages at most, it pays with its next turns.
type turns struct{ first, last *lane }

// push queues n at the end of its lane.
func (t *turns) push(n *node) {
	n.next = nil
	l := n.lane
	if l.tail != nil {
		l.tail.next, l.tail = n, n
		return
	}
	l.head, l.tail = n, n
	l.credit = min(l.credit, 0) + quantum // what was not used in a former turn is gone, what was too much is not
	t.append(l)
}

func (t *turns) append(l *lane) {
	l.next = nil
	if t.last == nil {
		t.first = l
	} else {
		t.last.next = l
	}
	t.last = l
}

// pop takes what is to run next; nil = nothing waits. Who runs it takes what it handled off its lane's credit.
func (t *turns) pop() *node {
	for t.first != nil {
		l := t.first
		if l.credit <= 0 {
			if l.next == nil {
				l.credit = quantum // alone: there is nobody to pay
			} else {
				t.first = l.next
				l.credit += quantum
				t.append(l)
				continue
			}
		}
		n := l.head
		if l.head = n.next; l.head == nil {
			l.tail = nil
			if t.first = l.next; t.first == nil {
				t.last = nil
			}
			l.next = nil
		}
		n.next = nil
		return n
	}
	return nil
}
