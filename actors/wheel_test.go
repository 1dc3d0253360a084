package actors

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testClock() time.Time { return testTime }

type alarm struct {
	timer timer
	at    time.Time // zero = not set
	fired []time.Time
	order *[]*alarm
}

func (a *alarm) expire(now time.Time) {
	a.fired = append(a.fired, now)
	*a.order = append(*a.order, a)
}

// The wheel against a dumb twin: each timer fires once, at the first advance at or after its time, in order of time.
func TestWheelFiresAsItsTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := testTime
		w := newWheel(now)
		var order []*alarm
		alarms := make([]*alarm, 8)
		for i := range alarms {
			alarms[i] = &alarm{order: &order}
			alarms[i].timer.owner = alarms[i]
		}
		for range rapid.IntRange(1, 100).Draw(t, "ops") {
			a := alarms[rapid.IntRange(0, len(alarms)-1).Draw(t, "alarm")]
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				// In whole ticks: within one tick the order is that of arming.
				a.at = now.Add(time.Duration(rapid.IntRange(1, 12_000).Draw(t, "ticks")) * resolution)
				w.arm(&a.timer, a.at)
			case 2:
				a.at = time.Time{}
				w.cancel(&a.timer)
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 9_000).Draw(t, "advance")) * resolution)
				order = order[:0]
				w.advance(now)
				var want []*alarm
				for _, a := range alarms {
					if !a.at.IsZero() && !a.at.After(now) {
						want = append(want, a)
					}
				}
				if len(order) != len(want) {
					t.Fatalf("%d fired, want %d", len(order), len(want))
				}
				if !slices.IsSortedFunc(order, func(a, b *alarm) int { return a.at.Compare(b.at) }) {
					t.Fatal("not in order of time")
				}
				for _, a := range want {
					if !slices.Contains(order, a) {
						t.Fatal("a due timer did not fire")
					}
					a.at = time.Time{}
				}
			}
		}
	})
}

func BenchmarkWheelArm(b *testing.B) {
	w := newWheel(testTime)
	timers := make([]timer, 10_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		w.arm(&timers[i%len(timers)], testTime.Add(time.Duration(i%500)*resolution*10))
		i++
	}
}
