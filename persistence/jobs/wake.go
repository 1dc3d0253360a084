package jobs

import (
	"context"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"
)

// KindWake is the job that wakes the pump of one outbox shard.
const KindWake = "outbox.wake"

// Shards is how many shards the outbox has.
const Shards = 16

// wakeEvery is how often wake-ups are passed on to Redis: between two, any number of commits make one of each shard. The
// pump of this process does not wait for it, whoever commits wakes that directly.
const wakeEvery = time.Second

// waker gathers which shards have got events.
type waker struct {
	dirty atomic.Uint32 // bit n: shard n
	rung  chan struct{}
}

func (w *waker) init() { w.rung = make(chan struct{}, 1) }

// Wake says that shard has got events, for a worker anywhere to pump them. It never blocks and may be called once a commit.
func (r *Runner) Wake(shard int) {
	if r.inspect == nil || shard < 0 || shard >= Shards {
		return
	}
	bit := uint32(1) << shard
	if r.waker.dirty.Or(bit)&bit != 0 {
		return
	}
	select {
	case r.waker.rung <- struct{}{}:
	default:
	}
}

// wake passes wake-ups on.
func (r *Runner) wake() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.waker.rung:
		}
		for r.waker.dirty.Load() != 0 && r.ctx.Err() == nil {
			r.passOn()
			select {
			case <-r.ctx.Done():
			case <-time.After(wakeEvery):
			}
		}
	}
}

// passOn makes a job of each shard that has got events. A shard whose job exists keeps its bit: the job may be running
// already, and have woken the pump before the event was there. It is made then once that one has ended; while Redis is
// away the bit stays, and the sweeper is there.
func (r *Runner) passOn() {
	k, ok := r.kinds[KindWake]
	for set := r.waker.dirty.Load(); set != 0; set &= set - 1 {
		shard := bits.TrailingZeros32(set)
		bit := uint32(1) << shard
		r.waker.dirty.And(^bit)
		if !ok {
			continue
		}
		key := strconv.Itoa(shard)
		ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
		j := Job{Kind: KindWake, Key: key, Body: []byte(key)}
		made, err := r.enqueue(ctx, &k, j, id(&j))
		cancel()
		if !made {
			r.waker.dirty.Or(bit)
		}
		if err != nil {
			return
		}
	}
}
