package sim

import (
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// laws holds the checkers of the ten laws of the design. Each sees what concerns it as it happens, or looks after
// every step; law 10, that one seed is one run, is checked by running a seed twice.
type laws struct {
	told      told      // 1
	floor     floor     // 2
	leases    leases    // 3
	folds     folds     // 4
	lasting   lasting   // 5
	once      once      // 6
	bounds    bounds    // 7
	isolated  isolated  // 8
	deadlocks deadlocks // 9
	supply    supply    // 9
}

func (l *laws) init(w *World) {
	l.told = told{w: w, commands: map[string]bool{}}
	l.floor.w, l.leases.w, l.folds.w, l.lasting.w, l.isolated.w = w, w, w, w, w
	l.once = once{w: w, tasks: map[string]*life{}}
	l.bounds = bounds{w: w}
	l.supply = supply{w: w, idle: map[fleet.RobotID]time.Duration{}}
	l.deadlocks = deadlocks{w: w, standing: map[string]standing{}}
}

// recorded is told of every fact that becomes durable.
func (l *laws) recorded(s *site, f fact.Fact) {
	l.told.recorded(f)
	l.once.recorded(s, f)
}

// stepped looks at the world after every step.
func (l *laws) stepped() {
	l.floor.stepped()
	l.bounds.stepped()
	l.deadlocks.stepped()
	l.supply.stepped()
}

// ended looks at the world at the end of the run.
func (l *laws) ended() {
	l.lasting.ended()
	l.deadlocks.ended()
}
