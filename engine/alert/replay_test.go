package alert

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// Whoever replays what was measured comes to the same alerts, whenever it was looked at.
func TestAReplayedWindowGivesTheSameAlerts(t *testing.T) {
	t.Parallel()
	run := func(late *rand.Rand) (list []Event) {
		r, levels := newRig(t), rand.New(rand.NewPCG(4, 4))
		for bin := range 400 {
			at := start.Add(time.Duration(bin) * 10 * time.Second)
			var seen []Condition
			for i := range 5 {
				if l := levels.IntN(9) - 5; l > 0 || levels.IntN(3) == 0 {
					c := jam(Level(max(1, l)))
					c.Subject.ID = fmt.Sprint(i)
					seen = append(seen, c)
				}
			}
			r.now = at.Add(time.Duration(late.IntN(9000)) * time.Millisecond)
			r.say(Reviewed{Reviews: []Review{{Feed: FeedCongestion, At: at, Conditions: seen}}})
		}
		for _, e := range r.events {
			if e.Step.Action != ActEscalate { // that is of people, who had the time they had
				e.After.Version, e.Step.Seq, e.After.Escalations, e.After.CalledAt = 0, 0, 0, time.Time{}
				list = append(list, e)
			}
		}
		return list
	}
	live, again := run(rand.New(rand.NewPCG(1, 1))), run(rand.New(rand.NewPCG(2, 2)))
	if len(live) < 10 || !reflect.DeepEqual(live, again) {
		t.Fatalf("%d events live, %d replayed, and not the same", len(live), len(again))
	}
}
