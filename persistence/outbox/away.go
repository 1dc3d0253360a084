package outbox

import (
	"context"
	"time"
)

// wait is an aggregate that is left alone until a time.
type wait struct {
	until time.Time
	away  string        // the topic whose brokers did not take its fact; "" = they refused it
	least time.Duration // of the wait, once others of the topic get on
}

const (
	// patchyFor is how long the waits of a topic are not ended early after some of its facts were taken and others were not.
	patchyFor = time.Minute
	// roundWithin bounds a wait for all others of the topic to be tried.
	roundWithin = 5 * time.Minute
)

// outcome is what became of a topic's facts in a wave.
type outcome struct {
	kept, back bool // some were kept; that ended the topic's rest
	away       []string
	fault      error // of those that are away
}

// outcomes are those of a wave, by topic.
type outcomes map[string]*outcome

func (f outcomes) of(topic string) *outcome {
	o := f[topic]
	if o == nil {
		o = &outcome{}
		f[topic] = o
	}
	return o
}

// wait leaves an aggregate alone; false: too many wait already.
func (x *pump) wait(aggregate string, w wait, atMost int) bool {
	if _, waits := x.waits[aggregate]; !waits && len(x.waits) >= atMost {
		return false
	}
	x.waits[aggregate] = w
	return true
}

// missed deals with facts that nobody took. Perhaps one partition of their topic is away and the others are not; its facts
// pile up in front of all others. So their aggregates are left out of what is claimed next, until all others have been tried
// or the topic gets on. After a topic that was away as a whole they are tried at once. Where that turns out badly again and
// again they wait for more than twice as long as their try took: what can leave has most of the time.
func (x *pump) missed(ctx context.Context, fate outcomes, now time.Time, took time.Duration) {
	if ctx.Err() != nil {
		return
	}
	for topic, of := range fate {
		patchy := now.Before(x.patchy[topic])
		room, least := true, x.p.o.MaxRest
		if patchy {
			least += 2 * took
		}
		for _, a := range of.away {
			w := wait{until: now.Add(max(least, roundWithin)), away: topic, least: least}
			room = x.wait(a, w, x.p.o.MaxWaiting*9/10) && room // refused ones find a place too
		}
		switch {
		case len(of.away) > 0 && !(of.kept && room):
			x.rests(ctx, topic, of.fault, now, !room)
		case len(of.away) > 0 || of.back && patchy:
			x.patchy[topic] = now.Add(patchyFor)
			x.shorten(topic, now)
		case of.back:
			x.patchy[topic] = now.Add(patchyFor)
			x.release(topic)
		}
	}
}

// release ends the waits of those whose topic did not take them, and says whether there were any.
func (x *pump) release(topic string) (some bool) {
	for a, w := range x.waits {
		if w.away == topic {
			delete(x.waits, a)
			some = true
		}
	}
	return some
}

// shorten lets them wait no longer than they must.
func (x *pump) shorten(topic string, now time.Time) {
	for a, w := range x.waits {
		if until := now.Add(w.least); w.away == topic && until.Before(w.until) {
			w.until = until
			x.waits[a] = w
		}
	}
}

// rests lets a topic rest: for a moment and then more are tried, or longer each time.
func (x *pump) rests(ctx context.Context, topic string, fault error, now time.Time, longer bool) {
	if ctx.Err() != nil {
		return
	}
	r := x.topics[topic]
	if r == nil {
		r = &rest{}
		x.topics[topic] = r
		x.p.troubled(ctx, topic, fault)
	}
	if longer {
		r.more(now, x.p.o.MaxRest)
		return
	}
	r.tries++
	r.until = now.Add(pause(1, leastRest, x.p.o.MaxRest))
}

// again ends the waits of a topic that rests and of which nobody else is left, after a longer rest; false: nobody waits.
func (x *pump) again(topic string, now time.Time) bool {
	r := x.topics[topic]
	if r == nil || !x.release(topic) {
		return false
	}
	r.more(now, x.p.o.MaxRest)
	return true
}
