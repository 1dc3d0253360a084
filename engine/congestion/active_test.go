package congestion_test

import (
	"testing"
	"time"

	"starling/engine/congestion"
)

// On a floor whose flow falls beyond so many robots the limit comes to stay near there, wherever it begins.
func TestTheCrowdSettlesWhereTheFloorFlows(t *testing.T) {
	t.Parallel()
	const vertices = 38_643
	first, most := congestion.CrowdFirst(vertices), congestion.Active(vertices)
	for name, c := range map[string]struct {
		best       int
		least, top int
	}{
		"an aisle that takes few":       {best: 1_000, least: first, top: first + first/50},
		"some more than at first":       {best: 2_600, least: 2_200, top: 2_900},
		"a floor that takes all it can": {best: 1 << 20, least: most, top: most},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c1 congestion.Crowd
			now, busy := time.Unix(0, 0), 0
			for range 3 * 3600 {
				now = now.Add(time.Second)
				if limit := c1.Limit(); busy < limit {
					busy = min(limit, busy+20) // as fast as tasks are awarded
				} else {
					busy = max(limit, busy-4) // as fast as they end
				}
				// One in four hundred stands where there is room, and every tenth of who is too many.
				c1.Review(now, vertices, busy, busy/400+max(0, busy-c.best)/10)
			}
			if got := c1.Limit(); got < c.least || got > c.top {
				t.Errorf("the limit came to %d, want %d to %d", got, c.least, c.top)
			}
		})
	}
}

// Where fewer robots have tasks than may, nothing is learnt about more.
func TestTheCrowdDoesNotGrowUntried(t *testing.T) {
	t.Parallel()
	var c congestion.Crowd
	for i := range 1000 {
		c.Review(time.Unix(int64(i), 0), 38_643, 200, 0)
	}
	if got, want := c.Limit(), congestion.CrowdFirst(38_643); got != want {
		t.Errorf("the limit is %d, want %d", got, want)
	}
	small := congestion.CrowdFirst(400)
	if small != congestion.Active(400) {
		t.Errorf("a small floor begins with %d, want all it takes, %d", small, congestion.Active(400))
	}
}
