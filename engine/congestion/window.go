// Package congestion learns how a zone flows and says how many robots it should admit. It must not know how they are
// refused: that is the zone's. Pure: samples in, numbers out.
//
// Size: 800 bytes a zone, some hundred nanoseconds a tick.
package congestion

import (
	"math"
	"time"
)

// Mode says when a zone holds to its window.
type Mode uint8

// The zero value is for real driving.
const (
	// AtLevel2 holds to the static window while the zone is at congestion level 2 or above.
	AtLevel2 Mode = iota
	// Never only shows the window.
	Never
	// Always holds to the static window.
	Always
	// Adaptive always holds to what the adaptive controller sets. For benches: over long runs it is no better than the
	// static window (docs/performance.md), so it stays in the shadow.
	Adaptive
)

var modeNames = [...]string{"level2", "never", "always", "adaptive"}

// String is the name on command lines.
func (m Mode) String() string { return modeNames[min(int(m), len(modeNames)-1)] }

// ParseMode is the reverse of String.
func ParseMode(s string) (Mode, bool) {
	for i, n := range modeNames {
		if n == s {
			return Mode(i), true
		}
	}
	return 0, false
}

// Rules says how a zone admits robots. The zero value is for real driving.
type Rules struct {
	Mode  Mode
	Share float64 // the static window as a share of the zone's vertices; 0 = StaticShare
}

// Window is the congestion window of one zone.
type Window struct {
	rules    Rules
	capacity int
	class    Class

	from               time.Time // of the present sample
	ticks, robots      int       // robots: sum over ticks
	moved, left        int
	asked, denied      int
	diagram            Diagram
	density            float64
	production         float64
	sampled            bool
	since              time.Time // of the present wish to change the level
	enforced           bool
	shadow             float64
	stepped            time.Time
	low                int
	critical, greatest float64 // of the diagram, at the last sample
	known              bool
}

// New returns the window of a zone with so many vertices.
func New(capacity int, class Class, rules Rules) *Window {
	if rules.Share <= 0 {
		rules.Share = StaticShare
	}
	w := &Window{rules: rules, capacity: max(capacity, 1), class: class, critical: class.critical()}
	w.shadow = float64(w.static())
	return w
}

func (w *Window) static() int { return max(1, int(math.Round(w.rules.Share*float64(w.capacity)))) }

// Moved counts a robot that has reached a vertex of the zone; Left one that has left it.
func (w *Window) Moved() { w.moved++ }

// Left counts a robot that has left the zone.
func (w *Window) Left() { w.left++ }

// Asked counts a claim on a neighbour, and whether it was refused because that one is full.
func (w *Window) Asked(refused bool) {
	w.asked++
	if refused {
		w.denied++
	}
}

// Tick counts the robots that the zone has, inbound ones too. Once a period it learns and decides.
func (w *Window) Tick(now time.Time, robots int) {
	if w.from.IsZero() {
		w.from, w.stepped = now, now
	}
	w.ticks++
	w.robots += robots
	span := now.Sub(w.from)
	if span < Period {
		return
	}
	n := float64(w.robots) / float64(w.ticks)
	p := float64(w.moved) / span.Seconds()
	w.density = n / float64(w.capacity)
	if !w.sampled {
		w.production, w.sampled = p, true
	}
	w.production += follow * (p - w.production)
	w.diagram.Learn(w.density, p)
	k, greatest, known := w.diagram.Peak()
	if w.greatest, w.known = greatest, known; known {
		w.critical = k
	} else {
		w.critical = w.class.critical()
	}
	w.level(now)
	w.control(now, n, span)
	w.from, w.ticks, w.robots, w.moved, w.left, w.asked, w.denied = now, 0, 0, 0, 0, 0, 0
}

// level raises and clears congestion level 2 with hysteresis.
func (w *Window) level(now time.Time) {
	wish, after := w.density >= enterShare*w.critical && w.production < fallen*w.greatest, enterAfter
	if w.enforced {
		wish, after = w.density < leaveShare*w.critical || w.production >= recovered*w.greatest, leaveAfter
	}
	switch {
	case !wish:
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = now
	case now.Sub(w.since) >= after:
		w.enforced, w.since = !w.enforced, time.Time{}
	}
}

// control is one step of the adaptive controller, at most one per mean time that a robot spends in the zone.
func (w *Window) control(now time.Time, n float64, span time.Duration) {
	p, most := w.production, float64(w.capacity)
	crit := w.critical * most
	if n > crit && p < fallen*w.greatest {
		w.low++
	} else {
		w.low = 0
	}
	trip := longestTrip
	if w.left > 0 {
		trip = min(max(time.Duration(n/float64(w.left)*float64(span)), shortestTrip), longestTrip)
	}
	if now.Sub(w.stepped) < trip {
		return
	}
	expected, seen := w.diagram.Expect(w.density)
	switch {
	case w.low >= lowPeriods || w.asked > 0 && float64(w.denied) > deniedShare*float64(w.asked):
		w.shadow, w.low, w.stepped = max(floorShare*crit, cutTo*w.shadow), 0, now
	case n >= nearWindow*w.shadow && seen && p >= asExpected*expected:
		w.shadow, w.stepped = min(most, w.shadow+max(1, growShare*most)), now
	}
}

// Enforced says that the zone should refuse robots beyond Limit.
func (w *Window) Enforced() bool {
	switch w.rules.Mode {
	case AtLevel2:
		return w.enforced
	case Never:
		return false
	case Always, Adaptive:
		return true
	}
	return false
}

// Limit is how many robots the zone should have, inbound ones too.
func (w *Window) Limit() int {
	if w.rules.Mode == Adaptive {
		return w.Shadow()
	}
	return w.static()
}

// Shadow is what the adaptive controller would set.
func (w *Window) Shadow() int { return max(1, int(math.Round(w.shadow))) }

// Transit is how many robots on their way through the zone admits at least.
func (w *Window) Transit() int { return max(1, int(math.Ceil(TransitShare*float64(w.capacity)))) }

// Critical is the density of greatest production, 0 while it is not known.
func (w *Window) Critical() float64 {
	if !w.known {
		return 0
	}
	return w.critical
}

// Production is in moves per second, smoothed.
func (w *Window) Production() float64 { return w.production }
