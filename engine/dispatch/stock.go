package dispatch

import (
	"maps"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// use makes g the floor, with an empty market.
func (s *State) use(g *roadmap.Graph, t roadmap.Tables) {
	s.graph, s.tables = g, t
	s.market = newMarket(ground{graph: g, tables: t, parts: parts(g)})
	s.freshJobs, s.freshWorkers = nil, nil
	clear(s.engaged)
	clear(s.holds)
	s.pickups = index[engaged]{frame: s.market.frame}
	for _, j := range s.tasks {
		j.in, j.shelf = false, nil
	}
	for _, w := range s.robots {
		w.in, w.bench = false, nil
	}
	s.connect()
}

// connect works out anew between which vertices there is a way: what is closed or kept out has changed.
func (s *State) connect() {
	s.relief.regions = nil
	if s.graph == nil {
		return
	}
	changed := map[int32]bool{}
	for _, id := range slices.Sorted(maps.Keys(s.lanes)) {
		if n, ok := s.graph.LaneNumber(id); ok {
			changed[n] = s.lanes[id].Closed
		}
	}
	s.market.ground.strong = strong(s.graph, func(l int32) bool {
		closed, said := changed[l]
		return said && closed || !said && s.graph.Lanes[l].Closed || s.keepOut[s.graph.Lanes[l].To]
	})
}

// waits says that the task may be awarded now.
func (s *State) waits(now time.Time, j *job) bool {
	return j.goal != fleet.NoVertex && !s.heldBack(j) && (j.offered.IsZero() || now.Sub(j.offered) >= offerPatience) && !now.Before(j.spec.EarliestStart)
}

// idles says that the robot may get a task now.
func (s *State) idles(now time.Time, w *worker) bool {
	if !w.Free || !on(s.graph, w.At) || !w.offered.IsZero() && now.Sub(w.offered) < offerPatience {
		return false
	}
	_, held := s.heldBy[w.ID]
	return !held || now.Sub(later(w.Since, w.held)) >= heldPatience
}

// stock puts the task on the market, or takes it off, as it is now.
func (s *State) stock(now time.Time, j *job) {
	if waits := s.waits(now, j); waits && !j.in {
		s.market.addJob(j)
		s.freshJobs = append(s.freshJobs, j)
	} else if !waits && j.in {
		s.market.dropJob(j)
	}
}

// seat puts the robot on the market, or takes it off, as it is now.
func (s *State) seat(now time.Time, w *worker) {
	if idles := s.idles(now, w); idles && !w.in {
		s.market.addWorker(w)
		s.freshWorkers = append(s.freshWorkers, w)
	} else if !idles && w.in {
		s.market.dropWorker(w)
	}
}

// refresh notices what time alone has changed: patience that has ended, starts that have come.
func (s *State) refresh(now time.Time) {
	if now.Sub(s.relief.counted) >= rationEvery {
		s.ration(now)
	}
	for _, j := range s.tasks {
		s.stock(now, j)
	}
	for _, w := range s.robots {
		s.seat(now, w)
	}
}

// wakeUp asks for a batch of what is fresh, where there is something to match.
func (s *State) wakeUp(now time.Time, out []Effect) []Effect {
	if !s.wake.IsZero() && now.Before(s.wake.Add(changeAfter)) || len(s.freshJobs)+len(s.freshWorkers) == 0 || s.market.jobs == 0 || s.market.workers == 0 {
		return out
	}
	s.wake = s.lastBatch.Add(changeAfter)
	if s.wake.Before(now) {
		s.wake = now
	}
	return append(out, WakeAt{At: s.wake})
}
