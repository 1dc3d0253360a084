package sim

import "time"

// event is something that will happen.
type event struct {
	at   time.Duration
	seq  uint64 // order of making, for events of one instant
	what string // for the digest and the trace
	do   func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// clock is the virtual time and all that is still to happen: a binary heap.
type clock struct {
	now  time.Duration
	seq  uint64
	heap []event
}

// maxEvents bounds what may be under way at once; more means that something multiplies.
const maxEvents = 200_000

func (c *clock) after(d time.Duration, what string, do func()) {
	c.seq++
	h := append(c.heap, event{c.now + max(d, 0), c.seq, what, do})
	for i := len(h) - 1; i > 0; {
		p := (i - 1) / 2
		if !h[i].before(&h[p]) {
			break
		}
		h[i], h[p] = h[p], h[i]
		i = p
	}
	c.heap = h
}

// next takes the next event and moves the time there.
func (c *clock) next() (event, bool) {
	if len(c.heap) == 0 {
		return event{}, false
	}
	h := c.heap
	e, n := h[0], len(h)-1
	h[0], h[n] = h[n], event{}
	h = h[:n]
	for i := 0; ; {
		k := 2*i + 1
		if k >= n {
			break
		}
		if k+1 < n && h[k+1].before(&h[k]) {
			k++
		}
		if !h[k].before(&h[i]) {
			break
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
	c.heap, c.now = h, e.at
	return e, true
}
