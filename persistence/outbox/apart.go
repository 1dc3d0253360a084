package outbox

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// apart is what a worker knows of being cut off from the brokers while others may not be.
type apart struct {
	mu     sync.Mutex
	missed time.Time // the first try that nobody took since the brokers kept something last; zero = they take what they get
	now    bool      // it has given its shards up
	fails  int       // times that it has given them up since the brokers kept something
	until  time.Time // until then it does not come back, however well the brokers seem
}

// A worker whose brokers answer and take nothing stays away for longer each time.
const (
	leastApart = 15 * time.Second
	mostApart  = 2 * time.Minute
)

// tried notes how the brokers treated a wave of facts.
func (a *apart) tried(now time.Time, kept, away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case kept:
		a.missed, a.fails = time.Time{}, 0
	case away && a.missed.IsZero():
		a.missed = now
	}
}

// is says whether the worker has given its shards up.
func (a *apart) is() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// due says whether nothing has been taken for so long that others should try.
func (a *apart) due(now time.Time, bound time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.missed.IsZero() && now.Sub(a.missed) >= bound
}

// leave makes the worker give its shards to others that there are: they may reach the brokers. It counts as no worker until
// the brokers answer it. The last one stays, whatever the brokers do.
func (p *Pumps) leave(ctx context.Context) {
	a := &p.apart
	a.mu.Lock()
	a.now, a.until = true, time.Time{}
	if a.fails > 0 { // the first time it comes back as soon as they answer
		a.until = time.Now().Add(pause(a.fails, leastApart, mostApart))
	}
	a.fails++
	a.mu.Unlock()
	p.metrics.apart.Set(1)
	p.o.Log.LogAttrs(ctx, slog.LevelWarn, "brokers take nothing from this worker: it leaves the outbox to others", slog.String("event", "outbox.apart"))
}

// stayAway gives back what is held, and ends when the brokers answer, or when nobody else is there: two may have left at once,
// or the other one has ended since.
func (p *Pumps) stayAway(ctx context.Context) {
	held := false
	for _, x := range p.pumps {
		if p.o.Locks.Held(x.shard) { // its pump gives it back, between two batches
			held = true
			x.yield.Store(true)
			x.rouse(false)
		}
	}
	if held {
		return
	}
	p.metrics.held.Set(0)
	p.o.Locks.Close(ctx)
	a := &p.apart
	a.mu.Lock()
	rests := time.Now().Before(a.until)
	a.mu.Unlock()
	if rests || p.o.Sink.Ping(ctx) != nil {
		if n, err := p.o.Locks.Others(ctx); err != nil || n > 0 {
			return
		}
	}
	a.mu.Lock()
	a.now, a.missed = false, time.Time{}
	a.mu.Unlock()
	p.metrics.apart.Set(0)
	p.o.Log.LogAttrs(ctx, slog.LevelInfo, "this worker takes its share of the outbox again", slog.String("event", "outbox.joined"))
}
