package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/task"
)

// relief is what the warehouse does against jams (congestion.Relief), and what it has to count for that.
type relief struct {
	congestion.Relief
	most    map[int32]int // Relief.Most, by number of the zone
	regions *regions      // nil = to be made
	begun   map[fleet.RobotID]int
	counted time.Time
}

// ReliefChanged says what is to be done against jams from now on. Until it is said again: nothing of it is kept over a
// restart.
type ReliefChanged struct{ Relief congestion.Relief }

func (ReliefChanged) isDispatchMsg() {}

// reliefChanged takes what is done now.
func (s *State) reliefChanged(now time.Time, r congestion.Relief) {
	s.relief.Relief = r
	s.flows.detour = r.Detour
	s.numberRelief()
	s.ration(now)
}

// numberRelief finds the zones of the relief on the active map.
func (s *State) numberRelief() {
	r := &s.relief
	r.most, r.regions = nil, nil
	if s.graph == nil || len(r.Most) == 0 {
		return
	}
	r.most = make(map[int32]int, len(r.Most))
	for id, most := range r.Most {
		if n, ok := s.graph.ZoneNumber(id); ok {
			r.most[int32(n)] = most
		}
	}
}

// noteBegun remembers how many errands of its task a robot has done.
func (r *relief) noteBegun(m TaskChanged) {
	if r.begun == nil {
		r.begun = map[fleet.RobotID]int{}
	}
	if m.State == task.Held && m.Errand > 0 {
		r.begun[m.Robot] = m.Errand
	} else {
		delete(r.begun, m.Robot)
	}
}

// heldBack says that the task leads through a zone that takes no more now.
func (s *State) heldBack(j *job) bool { return len(s.relief.most) > 0 && j.held }

// mayPassJam says of a new task that it waits for the next ration, for it leads through a zone of the relief.
func (s *State) mayPassJam(j *job) bool {
	if len(s.relief.most) == 0 || j.goal == fleet.NoVertex {
		return false
	}
	for z := range s.passes(fleet.NoVertex, j.spec.Errands) {
		j.jam = z
		return true
	}
	return false
}

// parted gives the regions of the floor as it is now.
func (s *State) parted() *regions {
	if s.relief.regions == nil {
		barred := map[fleet.Vertex]bool{}
		for _, vs := range s.flows.barred {
			for _, v := range vs {
				barred[v] = true
			}
		}
		s.relief.regions = newRegions(s.graph, func(l int32) bool {
			ln := &s.graph.Lanes[l]
			if st, changed := s.lanes[ln.ID]; changed && st.Closed || !changed && ln.Closed {
				return true
			}
			return s.keepOut[ln.To] || barred[ln.To]
		})
	}
	return s.relief.regions
}

// rationEvery is how often it is settled which tasks wait for a jam.
const rationEvery = time.Second

// ration settles which open tasks may be awarded: of those that lead through a zone of the relief, the most urgent, as
// many as it takes besides the robots that are on their way there already.
func (s *State) ration(now time.Time) {
	r := &s.relief
	if s.graph == nil || len(r.most) == 0 {
		return
	}
	r.counted = now
	left := maps.Clone(r.most)
	for id, errands := range s.yard.aims {
		w := s.robots[id]
		if w == nil || !on(s.graph, w.At) {
			continue
		}
		for z := range s.passes(w.At, errands[min(r.begun[id], len(errands)):]) {
			left[z]--
		}
	}
	var jobs []*job
	for _, j := range s.tasks {
		if j.held = false; j.goal == fleet.NoVertex {
			continue
		}
		if !j.offered.IsZero() && now.Sub(j.offered) < offerPatience {
			for z := range s.passes(fleet.NoVertex, j.spec.Errands) {
				left[z]--
			}
			continue
		}
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, compareJobs)
	for _, j := range jobs {
		through := s.passes(fleet.NoVertex, j.spec.Errands)
		for z := range through {
			if left[z] <= 0 {
				j.held, j.jam = true, z
			}
		}
		if !j.held {
			for z := range through {
				left[z]--
			}
		}
		s.stock(now, j)
	}
}

// passes are the zones of the relief through which a way leads, from a vertex (NoVertex = from the first of the errands)
// to the errands one after another.
func (s *State) passes(from fleet.Vertex, errands []fleet.Vertex) map[int32]bool {
	out := map[int32]bool{}
	r := s.parted()
	for _, to := range errands {
		if !on(s.graph, to) {
			continue
		}
		if from == fleet.NoVertex {
			from = to
		}
		r.through(from, to, func(zone int32) {
			if _, ok := s.relief.most[zone]; ok {
				out[zone] = true
			}
		})
		from = to
	}
	return out
}

// jammed says why a task is held back.
func (s *State) jammed(j *job) string {
	z := &s.graph.Zones[j.jam]
	return fmt.Sprintf("%d robots may be on their way into or through zone %s while it is jammed", s.relief.most[j.jam], z.Name)
}
