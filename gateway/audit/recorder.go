// Package audit puts on record who did what: entries are queued, written in batches, and wait in a journal on the local
// disk while the store is away. Whoever adds one never waits and never fails. It does not decide what is to be recorded
// (the doors do) and does not make writes durable with what they are about (their intents travel to the store with them).
//
// Size: an entry takes about 1 kB; the queue holds 10,000 of them, the journal 256 MB. At 1,000 entries/s, two batches of
// 500 are written a second.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// Sink keeps entries. Written twice, an entry is there once: after an error the same batch may be written again.
type Sink interface {
	WriteAuditLog(ctx context.Context, entries []fact.AuditEntry) error
}

// Users keeps who has signed in.
type Users interface {
	UpsertUserFromOIDC(ctx context.Context, tenant fleet.TenantID, u fact.User) (fact.User, error)
}

// Options of a Recorder. The zero value of a setting is its stated default; Sink and Dir must be given.
type Options struct {
	Sink  Sink
	Users Users  // nil = users are not kept
	Dir   string // of the journal, shared by the processes of a machine; made where it is missing. Must be given
	Log   *slog.Logger
	// Registerer of metrics, nil = they are kept and not registered.
	Registerer prometheus.Registerer

	Queue        int           // entries in memory; 0 = 10,000
	Batch        int           // entries written at once; 0 = 500
	Every        time.Duration // how long an entry waits for its batch to fill; 0 = 100 ms
	Timeout      time.Duration // of one batch; 0 = 5 s
	Retry        time.Duration // after a failure, doubled up to 50 times as long; 0 = 200 ms
	Adopt        time.Duration // how often journals of dead processes are looked for; 0 = 30 s
	JournalBytes int64         // of the journal; 0 = 256 MB
	SegmentBytes int64         // of one file of it; 0 = 4 MB
	Tokens       int           // tokens that are remembered as seen; 0 = 100,000
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Queue, o.Batch, o.Tokens = cmp.Or(o.Queue, 10_000), cmp.Or(o.Batch, 500), cmp.Or(o.Tokens, 100_000)
	o.Every, o.Timeout = cmp.Or(o.Every, 100*time.Millisecond), cmp.Or(o.Timeout, 5*time.Second)
	o.Retry, o.Adopt = cmp.Or(o.Retry, 200*time.Millisecond), cmp.Or(o.Adopt, 30*time.Second)
	o.JournalBytes, o.SegmentBytes = cmp.Or(o.JournalBytes, 256<<20), cmp.Or(o.SegmentBytes, 4<<20)
}

// Recorder takes entries. Its methods may be called from any goroutine, and on nil, which records nothing.
type Recorder struct {
	Options
	metrics  *metrics
	queue    chan fact.AuditEntry
	batches  chan []fact.AuditEntry // to the writer, one at a time
	journal  *journal
	seen     seen
	refusals budget
	logins   chan login
	wake     chan struct{} // something lies in the journal

	down     atomic.Bool // the sink did not take the last batch
	closing  atomic.Bool
	senders  sync.RWMutex // held for reading while something is put into a queue
	complain atomic.Int64 // when (UnixNano) a loss was last logged

	ctx    context.Context //nolint:containedctx // the life of the recorder itself, ended by Stop
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing more comes into the queue
	done   sync.WaitGroup
}

// New opens the journal, takes over those of dead processes, and starts. Errors: the journal's directory cannot be used.
func New(o Options) (*Recorder, error) {
	o.defaults()
	r := &Recorder{
		Options: o, metrics: newMetrics(), queue: make(chan fact.AuditEntry, o.Queue), batches: make(chan []fact.AuditEntry),
		logins: make(chan login, loginBound), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	r.seen.init(o.Tokens)
	var err error
	if r.journal, err = openJournal(o.Dir, o.JournalBytes, o.SegmentBytes, r.torn); err != nil {
		return nil, fmt.Errorf("open the journal of the audit log: %w", err)
	}
	if o.Registerer != nil {
		if err := r.metrics.register(o.Registerer, r); err != nil {
			return nil, errors.Join(fmt.Errorf("register the metrics of audit: %w", err), r.journal.close())
		}
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var collecting sync.WaitGroup
	collecting.Go(r.collect)
	r.done.Go(func() { collecting.Wait(); close(r.batches) })
	r.done.Go(r.write)
	r.done.Go(r.keepUsers)
	return r, nil
}

// Add records an entry, or completes the intent of the same id. It never blocks: an entry that neither the queue nor the
// journal has room for is dropped, counted and complained about.
func (r *Recorder) Add(e fact.AuditEntry) {
	if r == nil {
		return
	}
	r.senders.RLock()
	defer r.senders.RUnlock()
	if r.closing.Load() {
		r.lost("closed", 1, errStopped)
		return
	}
	if r.shed(&e) {
		r.metrics.dropped.WithLabelValues("shed").Inc()
		return
	}
	select {
	case r.queue <- e.Bounded():
		r.metrics.entries.WithLabelValues("queued").Inc()
	default:
		r.lost("entries", 1, errFull)
	}
}

var (
	errFull    = errors.New("the queue is full")
	errStopped = errors.New("the recorder has been stopped")
)

// Stop takes nothing more and writes what it has; what the sink does not take until ctx ends stays in the journal, for the
// next process.
func (r *Recorder) Stop(ctx context.Context) error {
	if r == nil || !r.closing.CompareAndSwap(false, true) {
		return nil
	}
	r.senders.Lock() // whoever is adding has done so
	close(r.ended)
	close(r.logins)
	r.senders.Unlock()
	stop := context.AfterFunc(ctx, r.cancel)
	defer stop()
	r.done.Wait()
	r.cancel()
	if err := r.journal.close(); err != nil {
		return fmt.Errorf("close the journal of the audit log: %w", err)
	}
	return nil
}

// collect makes batches of what comes.
func (r *Recorder) collect() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch := make([]fact.AuditEntry, 0, 16)
		select {
		case e := <-r.queue:
			batch = append(batch, e)
		case <-r.ended:
			select {
			case e := <-r.queue:
				batch = append(batch, e)
			default:
				return
			}
		}
		timer.Reset(r.Every)
		for full := false; len(batch) < r.Batch && !full; {
			select {
			case e := <-r.queue:
				batch = append(batch, e)
			case <-timer.C:
				full = true
			case <-r.ended: // no more will come than lies there
				select {
				case e := <-r.queue:
					batch = append(batch, e)
				default:
					full = true
				}
			}
		}
		r.deliver(batch, timer)
	}
}

// deliver hands a batch to the writer, or puts it into the journal: where the sink does not work, where others wait
// there already, and where the writer is so slow that the queue fills.
func (r *Recorder) deliver(batch []fact.AuditEntry, timer *time.Timer) {
	for !r.down.Load() && r.journal.empty() {
		timer.Reset(r.Every)
		select {
		case r.batches <- batch:
			return
		case <-timer.C:
			if len(r.queue) > cap(r.queue)/2 {
				r.spill(batch)
				return
			}
		}
	}
	r.spill(batch)
}

// spill puts a batch into the journal.
func (r *Recorder) spill(batch []fact.AuditEntry) {
	n, err := r.journal.append(batch)
	r.metrics.entries.WithLabelValues("spilled").Add(float64(n))
	if err != nil {
		r.lost("journal", len(batch)-n, err)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// write gives batches to the sink, and the journal's where there are some.
func (r *Recorder) write() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	adopt := time.NewTicker(r.Adopt)
	defer adopt.Stop()
	wait := r.Retry
	again := func(err error) {
		if err != nil {
			r.down.Store(true)
			retry.Reset(wait)
			wait = min(2*wait, 50*r.Retry)
			return
		}
		r.down.Store(false)
		wait = r.Retry
		if !r.journal.empty() {
			retry.Reset(0)
		}
	}
	for {
		select {
		case batch, open := <-r.batches:
			if !open {
				r.finish()
				return
			}
			err := r.give(batch)
			if err == nil {
				r.metrics.entries.WithLabelValues("written").Add(float64(len(batch)))
			} else {
				r.spill(batch)
			}
			again(err)
		case <-retry.C:
			again(r.replay())
		case <-r.wake:
			if !r.down.Load() {
				retry.Reset(0)
			}
		case <-adopt.C:
			r.adopt()
		}
	}
}

// finish replays at the end as long as the sink takes it.
func (r *Recorder) finish() {
	for !r.journal.empty() && r.ctx.Err() == nil && r.replay() == nil {
	}
}

// give writes a batch, within the time that one may take.
func (r *Recorder) give(batch []fact.AuditEntry) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.Timeout)
	defer cancel()
	err := r.Sink.WriteAuditLog(ctx, batch)
	if err != nil && !r.down.Load() {
		r.Log.LogAttrs(r.ctx, slog.LevelWarn, "audit entries not written, they wait on disk", slog.String("event", "audit.sink_down"),
			slog.Int("entries", len(batch)), slog.Any("error", err))
	}
	return err
}

// replay writes the oldest entries of the journal: a batch, nil where there are none.
func (r *Recorder) replay() error {
	batch, err := r.journal.oldest(r.Batch)
	if err != nil {
		r.complainOf(err, "read the journal", 0)
		return err
	}
	if len(batch) == 0 {
		return nil
	}
	if err := r.give(batch); err != nil {
		return err
	}
	r.metrics.entries.WithLabelValues("replayed").Add(float64(len(batch)))
	if err := r.journal.forget(len(batch)); err != nil { // it will be replayed again: once too often is harmless
		r.complainOf(err, "shorten the journal", 0)
		return err
	}
	return nil
}

// adopt takes over what dead processes have left.
func (r *Recorder) adopt() {
	if err := r.journal.adopt(); err != nil {
		r.complainOf(err, "take over journals of dead processes", 0)
	}
	if !r.journal.empty() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// torn counts lines of a journal that say nothing: their process died while it wrote them.
func (r *Recorder) torn(bytes int) {
	r.metrics.entries.WithLabelValues("torn").Inc()
	r.Log.LogAttrs(context.Background(), slog.LevelWarn, "a torn line of an audit journal was set aside",
		slog.String("event", "audit.torn"), slog.Int("bytes", bytes))
}

// lost counts entries that are on no record, and says so at most once a second.
func (r *Recorder) lost(queue string, n int, err error) {
	r.metrics.dropped.WithLabelValues(queue).Add(float64(n))
	r.complainOf(err, "keep entries", n)
}

func (r *Recorder) complainOf(err error, doing string, n int) {
	now := time.Now().UnixNano()
	if last := r.complain.Load(); now-last < int64(time.Second) || !r.complain.CompareAndSwap(last, now) {
		return
	}
	r.Log.LogAttrs(context.Background(), slog.LevelError, "the audit log is not kept as it should be", slog.String("event", "audit.lost"),
		slog.String("doing", doing), slog.Int("entries_lost", n), slog.Any("error", err))
}
