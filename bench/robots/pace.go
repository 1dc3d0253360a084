package robots

import (
	"math"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// beats is how many beats a status has at the rate that was agreed at first: a robot can be asked for so much more.
const beats = 5

// pace is the time of a carrier. Robots of one rate report in one beat, so that their statuses share a frame.
type pace struct {
	since time.Time
	every time.Duration
	last  int64
}

// beat is the number of the present beat, negative before the first.
func (p *pace) beat(now time.Time) int64 {
	if now.Before(p.since) || p.every <= 0 {
		return -1
	}
	return int64(now.Sub(p.since) / p.every)
}

// due says whether it is the robot's turn, and takes it. Robots that report seldom take turns in different beats.
func (b *bot) due(beat int64) bool {
	rest := b.rest
	if rest == 0 {
		rest = beats
	}
	phase := int64(0)
	if groups := rest / beats; groups > 1 {
		phase = int64(b.index) % groups * beats
	}
	turn := (beat+phase)/rest + 1
	if turn <= b.turn {
		return false
	}
	b.turn = turn
	return true
}

// sample takes a wish of the engine: how often these robots, or all, shall report.
func (c *carrier) sample(m *linkv1.Sampling) {
	if c.fleet.o.Deaf || m.StatusHz <= 0 {
		return
	}
	rest := int64(math.Round(float64(time.Second) / float64(m.StatusHz) / float64(c.pace.every)))
	set := func(b *bot) {
		b.rest = max(1, rest)
		b.turn = 0 // it reports with the next beat
	}
	if len(m.Handle) == 0 {
		for _, b := range c.bots {
			set(b)
		}
		return
	}
	for _, h := range m.Handle {
		if b := c.handle[h]; b != nil {
			set(b)
		}
	}
}
