package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

const (
	// writerBound is how many units may wait for one shard's journal.
	writerBound = 4096
	// groupBound is how many units one group commit takes.
	groupBound = 512
	// appendTimeout bounds one call of the journal; a call that passes it is resolved by reading back.
	appendTimeout = 10 * time.Second
)

// record is one unit on its way to the journal and back: the writer fills err and returns it to the actor by mail.
type record struct {
	unit   fact.Unit
	client bool // a client waits: better refused at once than late
	to     *box
	err    error
	// then, where set, is what the actor does with the outcome; else it is a step of its own recording.
	then func(err error)
	// ask is the request that waits for it, nil = none.
	ask *ask
}

// writer is the journal writer of one shard: units that arrive while a commit runs form the next group. One group
// is under way at a time, so the units of an aggregate stay in order. It owns no goroutine while it has nothing to
// do. Bound: writerBound units; more are refused (ErrBusy).
type writer struct {
	sys *System
	sh  *shard

	mu      sync.Mutex
	queue   []*record
	running bool
	doubt   []*record // units of unknown outcome; nothing else is recorded until the journal has told
	tries   int
	timer   timer
}

func (w *writer) init(sys *System, sh *shard) {
	w.sys, w.sh = sys, sh
	w.timer.owner = w
}

// submit takes a unit; nil means that its outcome comes by mail.
func (w *writer) submit(r *record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.client && len(w.doubt) > 0:
		return fmt.Errorf("record: the journal does not answer: %w", fact.ErrUnavailable)
	case len(w.queue) >= writerBound:
		w.sys.metrics.dropped("journal").Inc()
		return fmt.Errorf("record: the journal's queue: %w", fact.ErrBusy)
	}
	w.queue = append(w.queue, r)
	r.to.units.Add(1)
	w.sys.metrics.journalQueue.Inc()
	if !w.running {
		w.running = true
		w.sys.pool.async(w.loop)
	}
	return nil
}

// loop commits groups until nothing waits.
func (w *writer) loop() {
	for {
		if !w.settleDoubt() {
			return
		}
		group := w.take()
		if group == nil {
			return
		}
		w.commit(group)
	}
}

func (w *writer) take() []*record {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), groupBound)
	if n == 0 {
		w.running = false
		w.queue = nil
		return nil
	}
	group := w.queue[:n:n]
	w.queue = w.queue[n:]
	w.sys.metrics.journalQueue.Sub(float64(n))
	return group
}

func (w *writer) commit(group []*record) {
	units := make([]fact.Unit, len(group))
	for i, r := range group {
		units[i] = r.unit
	}
	ctx, cancel := context.WithTimeout(w.sys.ctx, appendTimeout)
	defer cancel()
	began := time.Now()
	errs := w.sys.journal.Append(ctx, units)
	w.sys.metrics.journalSeconds.Observe(time.Since(began).Seconds())
	w.sys.metrics.journalGroup.Observe(float64(len(group)))
	var doubt []*record
	for i, r := range group {
		switch {
		case i >= len(errs):
			r.err = fmt.Errorf("journal gave %d results for %d units: %w", len(errs), len(group), fact.ErrUnknown)
			doubt = append(doubt, r)
		case doubtful(errs[i]):
			r.err = errs[i]
			doubt = append(doubt, r)
		default:
			w.answer(r, errs[i])
		}
	}
	w.mu.Lock()
	w.doubt, w.tries = doubt, 0
	w.mu.Unlock()
}

// doubtful says that only the journal itself can tell what became of the unit.
func doubtful(err error) bool {
	return errors.Is(err, fact.ErrUnknown) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// settleDoubt reads back what became of units of unknown outcome; false = the journal does not tell now, and the
// timer will come back.
func (w *writer) settleDoubt() bool {
	w.mu.Lock()
	doubt := w.doubt
	w.mu.Unlock()
	if len(doubt) == 0 {
		return true
	}
	ids := make([]fleet.EventID, len(doubt))
	for i, r := range doubt {
		ids[i] = r.unit.Facts[0].ID
	}
	ctx, cancel := context.WithTimeout(w.sys.ctx, appendTimeout)
	defer cancel()
	known, err := w.sys.journal.Recorded(ctx, w.sh.id, ids)
	if err != nil || len(known) != len(ids) {
		if w.sys.ctx.Err() != nil {
			w.abandon(doubt)
			return true
		}
		w.mu.Lock()
		w.tries++
		wait := w.sys.backoff(w.tries)
		w.mu.Unlock()
		w.sys.log.LogAttrs(ctx, slog.LevelWarn, "journal does not tell the outcome of a recording",
			slog.String("event", "journal.doubt"), slog.String("shard", w.sh.id.Key()), slog.Int("units", len(ids)),
			slog.Any("error", err))
		w.sys.wheel.arm(&w.timer, w.sys.now().Add(wait))
		return false
	}
	w.mu.Lock()
	w.doubt = nil
	w.mu.Unlock()
	for i, r := range doubt {
		if known[i] {
			w.answer(r, nil)
			continue
		}
		w.answer(r, fmt.Errorf("record: read back as not recorded: %w", fact.ErrUnavailable))
	}
	return true
}

// abandon answers at the system's end what nobody will resolve any more.
func (w *writer) abandon(doubt []*record) {
	w.mu.Lock()
	w.doubt = nil
	w.mu.Unlock()
	for _, r := range doubt {
		w.answer(r, r.err)
	}
}

// expire implements expirer: the next read-back.
func (w *writer) expire(time.Time) { w.sys.pool.async(w.loop) }

// answer returns the unit by mail; a fenced one drops the shard.
func (w *writer) answer(r *record, err error) {
	r.err = err
	r.to.units.Add(-1)
	w.sys.metrics.recorded(outcome(err)).Inc()
	fenced := errors.Is(err, fact.ErrFenced)
	if !r.to.postFront(r) {
		r.orphan()
	}
	if fenced {
		w.sys.fenced(w.sh, "journal")
	}
}

// orphan answers for an actor that is gone. Even where the unit was recorded, its effects were not performed: the
// client is told to look.
func (r *record) orphan() {
	r.to.sys.metrics.dropped("orphan_record").Inc()
	if r.ask != nil {
		r.ask.fail(fmt.Errorf("record: the actor ended meanwhile: %w", fact.ErrUnknown))
	}
}

// stop gives up waiting for a read-back.
func (w *writer) stop() {
	w.mu.Lock()
	waiting := len(w.doubt) > 0
	w.mu.Unlock()
	if waiting {
		w.sys.wheel.cancel(&w.timer)
		w.sys.pool.async(w.loop)
	}
}

// outcome names how a recording ended, for the counter.
func outcome(err error) string {
	switch {
	case err == nil:
		return "recorded"
	case errors.Is(err, fact.ErrFenced):
		return "fenced"
	case errors.Is(err, fact.ErrConflict):
		return "conflict"
	case errors.Is(err, fact.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, fact.ErrUnknown):
		return "unknown"
	case errors.Is(err, fact.ErrBusy):
		return "busy"
	}
	return "rejected"
}
