package actors

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// resolution is how finely time is told: a timer fires at most this much late (plus the machine's load).
	resolution = 10 * time.Millisecond
	slots      = 4096 // 41 s a turn
)

// timer is one place in the wheel, embedded in what it wakes: no allocation to arm or to cancel it.
type timer struct {
	next, prev *timer
	owner      expirer
	due        int64 // in ticks of the wheel; 0 = not armed
	serial     uint64
}

// expirer is what a timer wakes. It must not block. A timer that is armed anew or cancelled while it fires may
// wake its owner in vain.
type expirer interface{ expire(now time.Time) }

// wheel is a hashed timing wheel (Varghese and Lauck 1987): one goroutine for all timers of the process, or none
// in manual mode, where advance is called from outside. Arm and cancel take O(1).
type wheel struct {
	mu     sync.Mutex
	slots  [slots]*timer
	last   int64
	serial uint64
	due    []*timer

	stop chan struct{}
	done sync.WaitGroup
}

func newWheel(now time.Time) *wheel {
	return &wheel{last: now.UnixNano() / int64(resolution), stop: make(chan struct{})}
}

// start advances the wheel by the clock until close.
func (w *wheel) start(now func() time.Time) {
	w.done.Go(func() {
		t := time.NewTicker(resolution)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				w.advance(now())
			case <-w.stop:
				return
			}
		}
	})
}

func (w *wheel) close() {
	close(w.stop)
	w.done.Wait()
}

// arm sets t to fire at or after at; an earlier setting is replaced.
func (w *wheel) arm(t *timer, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(t)
	due := (at.UnixNano() + int64(resolution) - 1) / int64(resolution)
	t.due = max(due, w.last+1)
	w.serial++
	t.serial = w.serial
	head := &w.slots[t.due%slots]
	t.next, t.prev = *head, nil
	if *head != nil {
		(*head).prev = t
	}
	*head = t
}

// cancel takes t out.
func (w *wheel) cancel(t *timer) {
	w.mu.Lock()
	w.unlink(t)
	w.mu.Unlock()
}

func (w *wheel) unlink(t *timer) {
	if t.due == 0 {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.due%slots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev, t.due = nil, nil, 0
}

// advance fires what is due at now, in order of time, then of arming. Not for use by two goroutines at once.
func (w *wheel) advance(now time.Time) {
	tick := now.UnixNano() / int64(resolution)
	w.mu.Lock()
	due := w.due[:0]
	from := max(w.last+1, tick-slots+1)
	for i := from; i <= tick; i++ {
		for t := w.slots[i%slots]; t != nil; t = t.next {
			if t.due <= tick {
				due = append(due, t)
			}
		}
	}
	slices.SortFunc(due, func(a, b *timer) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.serial, b.serial))
	})
	for _, t := range due {
		w.unlink(t)
	}
	w.last = max(w.last, tick)
	w.mu.Unlock()
	for i, t := range due {
		t.owner.expire(now)
		due[i] = nil
	}
	w.due = due
}
