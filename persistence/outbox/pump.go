package outbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	eventsv1 "starling/proto/gen/starling/events/v1"
)

// probe is how many facts of each topic are tried first while a topic does not get on; then twice as many, and so on.
const probe = 20

// leastRest is the first pause of something that does not get on.
const leastRest = 50 * time.Millisecond

// markWithin bounds the mark of what the brokers keep, also while the process stops.
const markWithin = 10 * time.Second

// rest is the pause of something that does not get on.
type rest struct {
	fails int
	tries int // of a topic, in a row, with ever more facts
	until time.Time
}

// more makes the pause longer: twice as long each time, at most most, and of that at least half, by chance.
func (r *rest) more(now time.Time, most time.Duration) {
	r.fails, r.tries = r.fails+1, 0
	r.until = now.Add(pause(r.fails, leastRest, most))
}

// pause is how long to wait after the nth failure in a row.
func pause(n int, least, most time.Duration) time.Duration {
	d := min(least<<min(n-1, 20), most)
	return d/2 + rand.N(d/2+1)
}

// pump sends the facts of one shard. Its fields belong to run's goroutine, but for the atomics and the channel.
type pump struct {
	p     *Pumps
	shard int
	wake  chan struct{}
	local atomic.Bool // somebody in this process has woken it
	asked atomic.Bool // people have decided about dead letters
	yield atomic.Bool // the shard is to be given back

	learned  bool                 // waits are known since the lock was taken
	barred   time.Time            // the shard is not taken again before
	topics   map[string]*rest     // that do not get on
	waits    map[string]wait      // aggregates whose first fact was not taken
	patchy   map[string]time.Time // topics of which some facts are taken: their waits are not cut short again before
	unmarked []Event              // the brokers keep them, the store does not know
	store    rest                 // of the whole pump, while the store does not get on
}

func newPump(p *Pumps, shard int) *pump {
	return &pump{
		p: p, shard: shard, wake: make(chan struct{}, 1), topics: map[string]*rest{}, waits: map[string]wait{}, patchy: map[string]time.Time{},
	}
}

func (x *pump) rouse(local bool) {
	if local {
		x.local.Store(true)
	}
	select {
	case x.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (x *pump) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			x.last(ctx)
			return
		case <-x.wake:
		case <-timer.C:
		}
		if now := time.Now(); !now.Before(x.store.until) {
			x.settle(ctx, x.drain(ctx))
		}
		timer.Reset(x.next(time.Now()))
	}
}

// settle lets the pump rest after an error of the store.
func (x *pump) settle(ctx context.Context, err error) {
	switch {
	case err == nil:
		if x.store.fails > 0 {
			x.p.well(ctx, "")
		}
		x.store = rest{}
	case ctx.Err() == nil:
		x.p.metrics.faults.WithLabelValues("pump").Inc()
		if x.store.fails == 0 {
			x.p.troubled(ctx, "", err)
		}
		x.store.more(time.Now(), x.p.o.MaxRest)
	}
}

// next is when something is due that nobody will say.
func (x *pump) next(now time.Time) time.Duration {
	due := now.Add(time.Minute)
	if x.store.fails > 0 {
		return max(0, x.store.until.Sub(now))
	}
	for _, r := range x.topics {
		if r.until.Before(due) {
			due = r.until
		}
	}
	for _, w := range x.waits {
		if w.until.Before(due) {
			due = w.until
		}
	}
	return max(time.Millisecond, due.Sub(now))
}

// drain sends until nothing is left that can be sent now. Errors: the store's.
func (x *pump) drain(ctx context.Context) error {
	locks, local := x.p.o.Locks, x.local.Swap(false)
	if x.yield.Swap(false) && locks.Held(x.shard) {
		x.barred = time.Now().Add(3 * x.p.o.SweepEvery)
		return locks.Release(ctx, x.shard)
	}
	if !locks.Held(x.shard) {
		x.learned = false
		mine := false
		if !time.Now().Before(x.barred) && x.p.mayTake() {
			var err error
			if mine, err = locks.Try(ctx, x.shard); err != nil {
				return err
			}
		}
		if !mine {
			clear(x.waits)
			for t := range x.topics {
				x.rested(ctx, t)
			}
			if local && x.p.o.Ring != nil {
				x.p.o.Ring(1 << x.shard)
			}
			return nil
		}
	}
	if err := x.learn(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil && !x.yield.Load() && locks.Held(x.shard) {
		more, err := x.batch(ctx)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// learn reads what the shard's former pump knew, and does what people have decided.
func (x *pump) learn(ctx context.Context) error {
	if !x.learned {
		waits, err := x.p.o.Store.Waiting(ctx, x.shard, x.p.o.MaxWaiting)
		if err != nil {
			return err
		}
		clear(x.waits)
		for _, w := range waits {
			x.waits[w.AggregateID] = wait{until: w.Until}
		}
		x.learned = true
		x.asked.Store(true)
	}
	if x.asked.Swap(false) {
		x.handle(ctx)
	}
	return nil
}

// handle does what people have decided. What fails is tried again later: nothing else waits for it.
func (x *pump) handle(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := x.p.o.Store.Handle(ctx, x.shard)
		if err != nil {
			x.asked.Store(true)
			if ctx.Err() == nil {
				x.p.metrics.faults.WithLabelValues("handle").Inc()
				x.p.o.Log.LogAttrs(ctx, slog.LevelWarn, "dead letters not dealt with", slog.String("event", "outbox.handle"),
					slog.Int("shard", x.shard), slog.Any("error", err))
			}
			return
		}
		if n == 0 {
			return
		}
	}
}

// batch claims, sends and marks once; more: there is probably something left.
func (x *pump) batch(ctx context.Context) (more bool, err error) {
	if err := x.mark(ctx); err != nil {
		return false, err
	}
	now := time.Now()
	topics, except, atMost := x.open(now)
	if len(topics) == 0 {
		return false, nil
	}
	events, err := x.p.o.Store.Claim(ctx, x.shard, topics, except, atMost)
	if err != nil {
		return false, err
	}
	byTopic := map[string]int{}
	var parked, free []Event
	for _, e := range events {
		byTopic[e.Topic]++
		more = more || byTopic[e.Topic] >= atMost
		if e.Parked {
			parked = append(parked, e)
		} else {
			free = append(free, e)
		}
	}
	for _, t := range topics {
		switch {
		case byTopic[t] > 0:
		case x.again(t, now): // whoever else there was has been tried
		default:
			x.rested(ctx, t) // nothing waits for it any more
		}
	}
	if len(events) == 0 {
		return false, nil
	}
	x.p.metrics.batch.Observe(float64(len(events)))
	if len(parked) > 0 {
		if err := x.p.o.Store.Hold(ctx, parked); err != nil {
			return false, err
		}
	}
	err = x.send(ctx, free)
	return more, errors.Join(err, x.mark(ctx))
}

// open says what may be claimed now.
func (x *pump) open(now time.Time) (topics, except []string, atMost int) {
	atMost = x.p.o.Batch
	for _, t := range x.p.known() {
		if r := x.topics[t]; r != nil {
			if now.Before(r.until) {
				continue
			}
			atMost = min(atMost, probe<<min(r.tries, 10))
		}
		topics = append(topics, t)
	}
	maps.DeleteFunc(x.waits, func(_ string, w wait) bool { return !now.Before(w.until) })
	return topics, slices.Collect(maps.Keys(x.waits)), atMost
}

// mark tells the store what the brokers keep. Nothing is claimed before it knows: it would be sent again.
func (x *pump) mark(ctx context.Context) error {
	if len(x.unmarked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markWithin)
	defer cancel()
	if err := x.p.o.Store.Sent(ctx, x.unmarked); err != nil {
		return err
	}
	x.unmarked = x.unmarked[:0]
	return nil
}

// last marks what is left when the process ends.
func (x *pump) last(ctx context.Context) {
	if err := x.mark(ctx); err != nil {
		x.p.o.Log.LogAttrs(ctx, slog.LevelWarn, "facts will be sent twice", slog.String("event", "outbox.unmarked"),
			slog.Int("shard", x.shard), slog.Int("facts", len(x.unmarked)), slog.Any("error", err))
	}
}

// send hands facts over in waves: of each aggregate the first, then the second, … A fact whose forerunner is not known to be
// kept is not handed over.
func (x *pump) send(ctx context.Context, events []Event) error {
	for len(events) > 0 {
		seen := make(map[string]bool, len(events))
		var wave, later []Event
		for _, e := range events {
			if seen[e.AggregateID] {
				later = append(later, e)
				continue
			}
			seen[e.AggregateID] = true
			wave = append(wave, e)
		}
		stuck, err := x.sendWave(ctx, wave)
		if err != nil || ctx.Err() != nil {
			return err
		}
		events = slices.DeleteFunc(later, func(e Event) bool { return stuck[e.AggregateID] || x.topics[e.Topic] != nil })
	}
	return nil
}

// sendWave hands over facts of as many aggregates and says which aggregates do not get on.
func (x *pump) sendWave(ctx context.Context, wave []Event) (stuck map[string]bool, err error) {
	messages := make([]Message, 0, len(wave)*2)
	main, copied := make([]int, len(wave)), make([]int, len(wave)) // where a fact's messages stand, -1 = nowhere
	types := make([]string, len(wave))
	refusals := make([]error, len(wave))
	for i := range wave {
		main[i], copied[i] = -1, -1
		var env *eventsv1.Envelope
		if env, refusals[i] = envelope(&wave[i]); refusals[i] != nil {
			continue
		}
		types[i] = env.Type
		main[i] = len(messages)
		messages = append(messages, message(&wave[i], env))
		if x.p.o.Mirror {
			m, err := mirror(&wave[i], env)
			if err != nil {
				x.p.metrics.dropped.WithLabelValues("mirror").Inc()
				continue
			}
			copied[i] = len(messages)
			messages = append(messages, m)
		}
	}
	began := time.Now()
	errs := x.p.o.Sink.Publish(ctx, messages)
	now := time.Now()
	stuck = map[string]bool{}
	fate := outcomes{}
	for i := range wave {
		e := &wave[i]
		fault := refusals[i]
		if main[i] >= 0 {
			fault = errs[main[i]]
		}
		if fault == nil && copied[i] >= 0 {
			if fault = errs[copied[i]]; errors.Is(fault, ErrRefused) { // a mirror is a service, not a promise
				x.p.metrics.dropped.WithLabelValues("mirror").Inc()
				fault = nil
			}
		}
		of := fate.of(e.Topic)
		switch {
		case fault == nil:
			of.back = x.kept(e, now) || of.back
			of.kept = true
		case errors.Is(fault, ErrRefused):
			stuck[e.AggregateID] = true
			if bad := x.refused(ctx, e, types[i], fault); bad != nil {
				err = errors.Join(err, bad)
			}
		default:
			stuck[e.AggregateID] = true
			of.fault, of.away = fault, append(of.away, e.AggregateID)
			x.p.metrics.failed.WithLabelValues(e.Topic, "away").Inc()
		}
	}
	for _, of := range fate {
		x.p.apart.tried(now, of.kept, ctx.Err() == nil && len(of.away) > 0)
	}
	x.missed(ctx, fate, now, now.Sub(began))
	return stuck, err
}

// kept notes a fact that the brokers have: it is marked with the others of its batch. back: that ends its topic's rest.
func (x *pump) kept(e *Event, now time.Time) (back bool) {
	x.unmarked = append(x.unmarked, *e)
	x.p.metrics.sent.WithLabelValues(e.Topic).Inc()
	x.p.metrics.delay.Observe(now.Sub(e.CreatedAt).Seconds())
	if r := x.topics[e.Topic]; r != nil && now.After(r.until) {
		x.rested(context.Background(), e.Topic)
		return true
	}
	return false
}

// rested ends a topic's rest.
func (x *pump) rested(ctx context.Context, topic string) {
	if x.topics[topic] != nil {
		delete(x.topics, topic)
		x.p.well(ctx, topic)
	}
}

// refused counts a refusal, or buries the fact.
func (x *pump) refused(ctx context.Context, e *Event, eventType string, fault error) error {
	x.p.metrics.failed.WithLabelValues(e.Topic, "refused").Inc()
	now, cause := time.Now(), clip(fault.Error(), 2000)
	next := now.Add(pause(e.Attempts+1, x.p.o.MinRetry, x.p.o.MaxRetry))
	if !x.wait(e.AggregateID, wait{until: next}, x.p.o.MaxWaiting) {
		x.rests(ctx, e.Topic, fault, now, true)
		return nil
	}
	if e.Attempts+1 < x.p.o.Attempts {
		return x.p.o.Store.Refuse(ctx, e, cause, next)
	}
	if !x.tell(ctx, e, cause) {
		return nil // the brokers are away: once more, after the pause
	}
	if err := x.p.o.Store.Bury(ctx, e, eventType, cause); err != nil {
		return err
	}
	delete(x.waits, e.AggregateID) // it is parked by its dead letter from now on
	x.p.metrics.dead.WithLabelValues(e.Topic).Inc()
	x.p.o.Log.LogAttrs(ctx, slog.LevelError, "fact is a dead letter", slog.String("event", "outbox.dead"), slog.String("event_id", e.EventID),
		slog.String("tenant_id", e.TenantID), slog.String("topic", e.Topic), slog.String("type", eventType), slog.String("cause", cause))
	return nil
}

// tell puts the fact on its topic's .dlq, without its value where that is refused there too; false: the brokers are away.
func (x *pump) tell(ctx context.Context, e *Event, cause string) bool {
	for _, bare := range []bool{false, true} {
		err := x.p.o.Sink.Publish(ctx, []Message{deadMessage(e, cause, bare)})[0]
		if err == nil {
			return true
		}
		if !errors.Is(err, ErrRefused) {
			x.p.metrics.failed.WithLabelValues(e.Topic+deadSuffix, "away").Inc()
			return false
		}
	}
	x.p.metrics.dropped.WithLabelValues("dlq").Inc() // it stands in the store all the same
	return true
}
