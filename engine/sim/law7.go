package sim

import "time"

// bounds is law 7, everything has a bound: queues, stashes, effects of one message, guests of a zone, what is under
// way in the whole world, and what happens in one second of it: actors that answer each other for ever fill any queue.
type bounds struct {
	w      *World
	second time.Duration
	steps  int
}

// maxPerSecond bounds the steps of one simulated second.
const maxPerSecond = 20_000

// limit is the bound of each queue.
func limit(name string) int {
	switch name {
	case "effects":
		return outBound
	case "stash":
		return stashBound
	case "journal":
		return 4096
	case "progress":
		return 1000
	case "base":
		return 64
	}
	return 0
}

func (l *bounds) queue(name string, n int) {
	if n > limit(name) {
		l.w.fail(7, "%s has %d entries, more than %d", name, n, limit(name))
	}
}

// guests: a zone knows no more robots than there are.
func (l *bounds) guests(z *zoneActor) {
	if n := z.state.Guests(); n > len(z.site.devices) {
		l.w.fail(7, "%v knows %d robots, there are %d", z, n, len(z.site.devices))
	}
}

func (l *bounds) stepped() {
	if n := len(l.w.clock.heap); n > maxEvents {
		l.w.fail(7, "%d events are under way", n)
	}
	if now := l.w.clock.now.Truncate(time.Second); now != l.second {
		l.second, l.steps = now, 0
	}
	if l.steps++; l.steps > maxPerSecond {
		l.w.fail(7, "%d steps in one second: the actors do not stop talking", l.steps)
	}
}
