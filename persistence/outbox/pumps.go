package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what pumps need. The zero value of a field below Sink is its stated default.
type Options struct {
	Store Store
	Locks Locks
	Sink  Sink

	Shards     int                 // 16; the store's
	Topics     []string            // looked at from the beginning; others are learned from the sweep
	Mirror     bool                // facts in JSON too, on <topic>.json
	Batch      int                 // facts of each topic at a time; 500
	Attempts   int                 // refusals after which a fact is a dead letter; 8
	MinRetry   time.Duration       // pause after the first refusal, twice as long after each more; 200 ms
	MaxRetry   time.Duration       // 30 s
	MaxWaiting int                 // aggregates of a shard that wait for another try; 1,000
	MaxRest    time.Duration       // of a topic that the brokers do not take, or of a pump whose store is away; 3 s
	Apart      time.Duration       // after which a worker whose facts the brokers do not take leaves the shards to others; 20 s
	SweepEvery time.Duration       // looks for what nobody has said; 1 s
	LagEvery   time.Duration       // measures; 5 s
	Ring       func(shards uint16) // tells other processes of work in shards that they pump; nil = there are none
	Log        *slog.Logger        // nil = silence
	Registerer prometheus.Registerer
}

func (o *Options) fill() {
	o.Shards, o.Batch, o.Attempts = cmp.Or(o.Shards, 16), cmp.Or(o.Batch, 500), cmp.Or(o.Attempts, 8)
	o.MinRetry, o.MaxRetry = cmp.Or(o.MinRetry, 200*time.Millisecond), cmp.Or(o.MaxRetry, 30*time.Second)
	o.MaxWaiting, o.MaxRest = cmp.Or(o.MaxWaiting, 1000), cmp.Or(o.MaxRest, 3*time.Second)
	o.Apart = cmp.Or(o.Apart, 20*time.Second)
	o.SweepEvery, o.LagEvery = cmp.Or(o.SweepEvery, time.Second), cmp.Or(o.LagEvery, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// maxTopics bounds what is learned: topics are few, whatever the rows say.
const maxTopics = 64

// Pumps are all pumps of a process. They are safe for concurrent use.
type Pumps struct {
	o       Options
	metrics *metrics
	pumps   []*pump
	// share is how many shards this process may pump, by the number of workers.
	share atomic.Int32
	apart apart
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu     sync.Mutex
	topics []string       // sorted
	sick   map[string]int // pumps to which a topic gives trouble; "" = the store
}

// Start starts one pump a shard, the sweep, the measuring and the ear for other processes. Errors: metrics.
func Start(ctx context.Context, o Options) (*Pumps, error) {
	o.fill()
	p := &Pumps{o: o, metrics: newMetrics(), topics: slices.Sorted(slices.Values(o.Topics)), sick: map[string]int{}}
	p.share.Store(int32(o.Shards))
	if o.Registerer != nil {
		if err := p.metrics.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("register the metrics of the outbox: %w", err)
		}
	}
	for i := range o.Shards {
		p.pumps = append(p.pumps, newPump(p, i))
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, x := range p.pumps {
		p.done.Go(func() { x.run(ctx) })
	}
	p.done.Go(func() { o.Store.Listen(ctx, p.heard) })
	p.done.Go(func() { p.every(ctx, o.SweepEvery, func() { p.balance(ctx); _ = p.Sweep(ctx) }) })
	p.done.Go(func() { p.every(ctx, o.LagEvery, func() { p.measure(ctx) }) })
	return p, nil
}

// Stop ends all of them: what is with the brokers is waited for (as long as the sink does) and marked.
func (p *Pumps) Stop(ctx context.Context) error {
	p.stop()
	done := make(chan struct{})
	go func() { p.done.Wait(); close(done) }() // ends with the pumps
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("stop the pumps of the outbox: %w", ctx.Err())
	}
	p.o.Locks.Close(ctx)
	return nil
}

// Wake says that a shard has something to send. It never waits. Where another process pumps the shard, that one is told.
func (p *Pumps) Wake(shard int) {
	if shard >= 0 && shard < len(p.pumps) {
		p.pumps[shard].rouse(true)
	}
}

// WakeAll wakes the shards of a mask.
func (p *Pumps) WakeAll(shards uint16) {
	for i, x := range p.pumps {
		if shards&(1<<i) != 0 {
			x.rouse(true)
		}
	}
}

// heard wakes what another process has spoken of.
func (p *Pumps) heard(shards uint16) {
	for i, x := range p.pumps {
		if shards&(1<<i) != 0 {
			x.rouse(false)
		}
	}
}

// Sweep looks for what is pending, and for what people have decided, and wakes those shards. Errors: the store's.
func (p *Pumps) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pending, asked, err := p.o.Store.Pending(ctx)
	if err != nil {
		p.metrics.faults.WithLabelValues("sweep").Inc()
		return fmt.Errorf("sweep the outbox: %w", err)
	}
	for shard, topics := range pending {
		p.learn(topics)
		if shard < len(p.pumps) {
			p.pumps[shard].rouse(false)
		}
	}
	for _, shard := range asked {
		if shard < len(p.pumps) {
			p.pumps[shard].asked.Store(true)
			p.pumps[shard].rouse(false)
		}
	}
	return nil
}

func (p *Pumps) learn(topics []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range topics {
		i, found := slices.BinarySearch(p.topics, t)
		if !found && len(p.topics) < maxTopics {
			p.topics = slices.Insert(slices.Clone(p.topics), i, t)
		}
	}
}

// known are the topics, not to be changed.
func (p *Pumps) known() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics
}

func (p *Pumps) every(ctx context.Context, d time.Duration, do func()) {
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
		}
	}
}

// balance divides the shards among the workers there are: who has more than its share gives some back, who has less takes
// what is free.
func (p *Pumps) balance(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if p.apart.is() {
		p.stayAway(ctx)
		return
	}
	workers, err := p.o.Locks.Workers(ctx)
	if err != nil {
		p.metrics.faults.WithLabelValues("locks").Inc()
		return
	}
	if workers = max(1, workers); workers > 1 && p.apart.due(time.Now(), p.o.Apart) {
		p.leave(ctx)
		p.stayAway(ctx)
		return
	}
	share := (p.o.Shards + workers - 1) / workers
	p.share.Store(int32(share))
	var held, free []*pump
	for _, x := range p.pumps {
		if p.o.Locks.Held(x.shard) {
			held = append(held, x)
		} else {
			free = append(free, x)
		}
	}
	p.metrics.held.Set(float64(len(held)))
	for _, x := range held[min(share, len(held)):] {
		x.yield.Store(true)
		x.rouse(false)
	}
	if len(held) < share {
		for _, x := range free {
			x.rouse(false)
		}
	}
}

// troubled notes that a topic, or the store (""), gives trouble to one more pump; the first of them is heard of.
func (p *Pumps) troubled(ctx context.Context, topic string, err error) {
	p.mu.Lock()
	p.sick[topic]++
	first := p.sick[topic] == 1
	p.mu.Unlock()
	if first {
		p.o.Log.LogAttrs(ctx, slog.LevelWarn, "outbox does not get on", slog.String("event", "outbox.away"), slog.String("topic", topic), slog.Any("error", err))
	}
}

// well notes that it gives one pump less trouble.
func (p *Pumps) well(ctx context.Context, topic string) {
	p.mu.Lock()
	p.sick[topic]--
	last := p.sick[topic] == 0
	p.mu.Unlock()
	if last {
		p.o.Log.LogAttrs(ctx, slog.LevelInfo, "outbox gets on again", slog.String("event", "outbox.back"), slog.String("topic", topic))
	}
}

// mayTake says whether another shard would still be within the share.
func (p *Pumps) mayTake() bool {
	if p.apart.is() {
		return false
	}
	held := 0
	for _, x := range p.pumps {
		if p.o.Locks.Held(x.shard) {
			held++
		}
	}
	return held < int(p.share.Load())
}

// measure sets what is known of the lag of the shards that this process pumps.
func (p *Pumps) measure(ctx context.Context) {
	var shards []int
	for _, x := range p.pumps {
		if p.o.Locks.Held(x.shard) {
			shards = append(shards, x.shard)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	topics := p.known()
	lag, parked, err := p.o.Store.Lag(ctx, shards, topics)
	if err != nil {
		p.metrics.faults.WithLabelValues("lag").Inc()
		return
	}
	pending, age := map[string]int{}, map[string]time.Duration{}
	for _, l := range lag {
		pending[l.Topic] += l.Pending
		age[l.Topic] = max(age[l.Topic], l.Age)
	}
	for _, t := range topics {
		p.metrics.pending.WithLabelValues(t).Set(float64(pending[t]))
		p.metrics.oldest.WithLabelValues(t).Set(age[t].Seconds())
		p.metrics.parked.WithLabelValues(t).Set(float64(parked[t]))
	}
	if p.o.Locks.Held(0) {
		if err := p.o.Store.Tidy(ctx); err != nil && !errors.Is(err, context.Canceled) {
			p.metrics.faults.WithLabelValues("tidy").Inc()
		}
	}
}
