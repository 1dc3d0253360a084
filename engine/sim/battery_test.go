package sim_test

import (
	"fmt"
	"testing"
	"time"

	"starling/engine/sim"
)

// charged is a warehouse that works for long: each robot empties its battery several times over.
func charged(seed uint64, chargers int) sim.Config {
	return sim.Config{
		Seed: seed, Side: 10, Split: 2, Blocked: 0.05, Robots: 8, Window: 3, Tasks: 8, Chaos: 20 * time.Minute, Calm: 7 * time.Minute,
		Mail: sim.Mail{Delay: 20 * time.Millisecond, Lose: 0.01}, Journal: sim.Journal{Commit: 20 * time.Millisecond},
		Faults:  sim.Faults{RobotCore: time.Minute, DispatchCore: 3 * time.Minute, Stop: time.Minute, Slow: 1, Cancel: time.Minute},
		Battery: sim.Battery{PerM: 1.0 / 240, PerS: 1.0 / 3600, PerCharge: 1.0 / 60, Chargers: chargers, Least: 0.3, Belief: 1},
	}
}

// Batteries are worth four minutes' driving, and chargers are few: no robot is ever stranded, and every task comes to its
// end.
func TestNoRobotIsStranded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		for _, chargers := range []int{2, 4} {
			t.Run(fmt.Sprint(seed, "/", chargers), func(t *testing.T) {
				t.Parallel()
				r := sim.New(charged(seed+1, chargers)).Run(0)
				if r.Broken != nil {
					t.Error(r.Broken)
				}
				if r.Charged < 8 {
					t.Errorf("the robots charged %.1f batteries: not worth the name of a soak", r.Charged)
				}
				t.Logf("%d moves, %d tasks (%d succeeded), %.1f batteries charged, lowest %.0f %%", r.Moves, r.Created, r.Finished, r.Charged, 100*r.Lowest)
			})
		}
	}
}
