package actors

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// StatusSink takes measured statuses. (persistence/influx, persistence/kafka.)
type StatusSink interface {
	// WriteStatuses takes a batch in the order in which it was measured. It may take its time: what is measured meanwhile
	// waits in the writer's ring. The batch is the writer's again when it returns.
	WriteStatuses(ctx context.Context, batch []fact.Status)
}

// TelemetryOptions say where measured statuses go. The zero value of a setting is its stated default.
type TelemetryOptions struct {
	Sinks      map[string]StatusSink // by the name that metrics have for them
	Ring       int                   // statuses that wait for each sink; 0 = 65,536 (24 MB when full)
	Batch      int                   // that a sink is given at once, at most; 0 = 5,000
	Every      time.Duration         // how long a status waits for company; 0 = 200 ms
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
}

// TelemetryWriter is the persistence actor of what is measured: it stands between the robots' shells, which never wait, and
// sinks that may be slow or away. Each sink has a bounded ring for each pace of robots, half of the bound for those that
// move and a quarter each for those that stand and for those in trouble: what is full gives up its own oldest, so that the
// newest is kept and no flood of the idle displaces an alarm. What is given up is counted. Sinks get what is left in the
// order in which it was measured.
//
// Cost: 0.15 us a status and sink, and no allocation once the rings have grown (BenchmarkTelemetry).
type TelemetryWriter struct {
	queues []*statusQueue
	stop   chan struct{}
	drain  chan context.Context
	done   sync.WaitGroup
}

// statusQueue is what waits for one sink.
type statusQueue struct {
	sink  StatusSink
	every time.Duration
	wake  chan struct{}
	batch []fact.Status

	mu    sync.Mutex
	rings [robot.Paces]statusRing
	seq   uint64
	n     int

	written prometheus.Counter
	dropped [robot.Paces]prometheus.Counter
}

// statusRing keeps the newest of one pace.
type statusRing struct {
	items   []fact.Status
	seqs    []uint64
	head, n int // items[head] is the oldest
	most    int
}

// NewTelemetryWriter starts a writer; Stop ends it.
func NewTelemetryWriter(o TelemetryOptions) *TelemetryWriter {
	if o.Ring <= 0 {
		o.Ring = 1 << 16
	}
	if o.Batch <= 0 {
		o.Batch = 5000
	}
	if o.Every <= 0 {
		o.Every = 200 * time.Millisecond
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "starling_telemetry_dropped_total", Help: "Measured statuses that a full ring gave up, by sink and pace of the robot.",
	}, []string{"queue", "pace"})
	written := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "starling_telemetry_statuses_total", Help: "Measured statuses handed to a sink.",
	}, []string{"sink"})
	if o.Registerer != nil {
		o.Registerer.MustRegister(dropped, written)
	}
	w := &TelemetryWriter{stop: make(chan struct{})}
	for name, sink := range o.Sinks {
		q := &statusQueue{
			sink: sink, every: o.Every, wake: make(chan struct{}, 1), batch: make([]fact.Status, o.Batch), written: written.WithLabelValues(name),
		}
		for p := range q.rings {
			pace := robot.Pace(p)
			q.rings[p].most = max(1, o.Ring/4)
			if pace == robot.PaceMoving {
				q.rings[p].most = max(1, o.Ring/2)
			}
			q.dropped[p] = dropped.WithLabelValues(name, pace.String())
		}
		w.queues = append(w.queues, q)
	}
	w.drain = make(chan context.Context, len(w.queues))
	for _, q := range w.queues {
		w.done.Go(func() { q.run(w.stop, w.drain) })
	}
	return w
}

// Measure takes a robot's newest status. It never blocks.
func (w *TelemetryWriter) Measure(shard fleet.Shard, v *robot.View) {
	for _, q := range w.queues {
		q.put(shard, v)
	}
}

// Stop hands the sinks what waits, until ctx is done, and ends the writer.
func (w *TelemetryWriter) Stop(ctx context.Context) {
	for range w.queues {
		w.drain <- ctx
	}
	close(w.stop)
	w.done.Wait()
}

func (q *statusQueue) put(shard fleet.Shard, v *robot.View) {
	q.mu.Lock()
	r := &q.rings[v.Pace]
	slot, full := r.slot(q.seq)
	fact.FillStatus(slot, shard, v)
	q.seq++
	if !full {
		q.n++
	}
	wake := q.n == len(q.batch)
	q.mu.Unlock()
	if full {
		q.dropped[v.Pace].Inc()
	}
	if wake {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// slot is where the next one goes; full = it was the oldest one's.
func (r *statusRing) slot(seq uint64) (s *fact.Status, full bool) {
	if r.n == len(r.items) && r.n < r.most {
		r.grow()
	}
	i := (r.head + r.n) % len(r.items)
	if full = r.n == len(r.items); full {
		r.head = (r.head + 1) % len(r.items)
	} else {
		r.n++
	}
	r.seqs[i] = seq
	return &r.items[i], full
}

func (r *statusRing) grow() {
	size := min(r.most, max(1024, 2*len(r.items)))
	items, seqs := make([]fact.Status, size), make([]uint64, size)
	n := copy(items, r.items[r.head:])
	copy(items[n:], r.items[:r.head])
	copy(seqs, r.seqs[r.head:])
	copy(seqs[n:], r.seqs[:r.head])
	r.items, r.seqs, r.head = items, seqs, 0
}

// take moves what was measured first into the batch.
func (q *statusQueue) take() []fact.Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.batch) {
		var next *statusRing
		for p := range q.rings {
			if r := &q.rings[p]; r.n > 0 && (next == nil || r.seqs[r.head] < next.seqs[next.head]) {
				next = r
			}
		}
		if next == nil {
			break
		}
		q.batch[n] = next.items[next.head]
		next.head = (next.head + 1) % len(next.items)
		next.n--
		n++
	}
	q.n -= n
	return q.batch[:n]
}

func (q *statusQueue) run(stop chan struct{}, drain chan context.Context) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // a sink that takes its time is told when that is over
		select {
		case end := <-drain:
			select {
			case <-end.Done():
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(q.every)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-stop:
			last = true
		case <-q.wake:
		case <-tick.C:
		}
		for ctx.Err() == nil {
			batch := q.take()
			if len(batch) == 0 {
				break
			}
			q.sink.WriteStatuses(ctx, batch)
			q.written.Add(float64(len(batch)))
			if len(batch) < len(q.batch) && !last {
				break // the next ones gather
			}
		}
	}
}
