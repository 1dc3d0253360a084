package robots

import (
	"testing"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// Robots report as often as they are asked to, whatever was agreed first.
func TestRobotsReportAsOftenAsTheyAreAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ask  *linkv1.Sampling
		deaf bool
		want [2]int // of two robots, in 20 s
	}{
		"nothing is asked": {&linkv1.Sampling{}, false, [2]int{20, 20}},
		"less of all":      {&linkv1.Sampling{StatusHz: .5}, false, [2]int{10, 10}},
		"more of one":      {&linkv1.Sampling{StatusHz: 5, Handle: []uint32{1}}, false, [2]int{100, 20}},
		"much less of one": {&linkv1.Sampling{StatusHz: .1, Handle: []uint32{2, 77}}, false, [2]int{20, 2}},
		"the deaf go on":   {&linkv1.Sampling{StatusHz: 5}, true, [2]int{20, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bots := []*bot{{handle: 1}, {handle: 2, index: 1}}
			car := &carrier{fleet: &Fleet{o: Options{Deaf: c.deaf}}, bots: bots, handle: map[uint32]*bot{1: bots[0], 2: bots[1]}}
			now := time.Now()
			car.pace = pace{since: now, every: time.Second / beats, last: -1}
			var got [2]int
			count := func(from, to time.Duration) {
				for d := from; d < to; d += 10 * time.Millisecond { // as serve does
					beat := car.pace.beat(now.Add(d))
					if beat <= car.pace.last {
						continue
					}
					car.pace.last = beat
					for i, b := range bots {
						if b.due(beat) {
							got[i]++
						}
					}
				}
			}
			count(0, 10*time.Second)
			car.sample(c.ask)
			got = [2]int{}
			count(10*time.Second, 30*time.Second)
			for i := range got {
				if d := got[i] - c.want[i]; d < -1 || d > 1 { // the first comes at once
					t.Fatalf("%v reports, want %v", got, c.want)
				}
			}
		})
	}
}
