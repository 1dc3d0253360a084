package dispatch

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/planner"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// match is one possible award with its price.
type match struct {
	job    *job
	worker *worker
	table  *roadmap.Table // towards the job's goal; nil = the cost is estimated
	cost   task.Cost
}

// batch assigns open tasks to free robots.
func (s *State) batch(now time.Time, out []Effect) []Effect {
	open := s.openJobs(now)
	jobs, workers := s.doable(open, s.freeWorkers(now))
	if s.graph != nil && len(jobs) > 0 && len(workers) > 0 {
		out = s.award(now, jobs, workers, out)
	}
	s.noteTaskWaits(now, open)
	return out
}

// award offers each task that it assigns.
func (s *State) award(now time.Time, jobs []*job, workers []*worker, out []Effect) []Effect {
	matches := assign(now, s.ground(), jobs, workers, max(fewestTables, tableWork/len(s.graph.Vertices)))
	digest := inputsDigest(jobs, workers)
	for _, m := range matches {
		d := task.Decision{
			ID: fleet.DecisionID(s.uuid()), At: now, Task: m.job.spec.ID, Robot: m.worker.ID, Cost: m.cost, InputsDigest: digest,
			Alternatives: alternatives(now, s.graph, m, workers),
			Reason:       fmt.Sprintf("least total cost among %d open tasks and %d free robots", len(jobs), len(workers)),
		}
		m.job.offered, m.job.to, m.worker.offered = now, m.worker.ID, now
		out = append(out, Offer{Task: m.job.spec.ID, Robot: m.worker.ID, Decision: d})
	}
	return out
}

// openJobs are the tasks that may be awarded now, the most urgent first.
func (s *State) openJobs(now time.Time) []*job {
	jobs := make([]*job, 0, len(s.tasks))
	for _, j := range s.tasks {
		if j.goal == fleet.NoVertex || !j.offered.IsZero() && now.Sub(j.offered) < offerPatience || now.Before(j.spec.EarliestStart) {
			continue
		}
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, func(a, b *job) int {
		if c := cmp.Compare(bonus(now, &b.spec), bonus(now, &a.spec)); c != 0 {
			return c
		}
		return cmp.Compare(a.spec.ID, b.spec.ID)
	})
	return jobs
}

func (s *State) freeWorkers(now time.Time) []*worker {
	var ws []*worker
	for id, w := range s.robots {
		if !w.Free || !on(s.graph, w.At) || !w.offered.IsZero() && now.Sub(w.offered) < offerPatience {
			continue
		}
		if _, held := s.heldBy[id]; held && now.Sub(w.Since) < heldPatience {
			continue
		}
		ws = append(ws, w)
	}
	slices.SortFunc(ws, func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) })
	return ws
}

// bonus is what a task's urgency is worth, in seconds.
func bonus(now time.Time, t *task.Spec) float64 {
	b := ageWeight*max(0, now.Sub(t.CreatedAt).Seconds()) + priorityWeight*float64(t.Priority)
	if !t.Deadline.IsZero() && now.After(t.Deadline.Add(-lateBonus*time.Second)) {
		b += lateBonus
	}
	return b
}

// suits says whether the robot may have the task at all.
func suits(j *job, w *worker) bool {
	t := &j.spec
	return (t.Robot == "" || t.Robot == w.ID) && (t.Fleet == "" || t.Fleet == w.Fleet) && (w.Battery >= minBattery || t.Type == fleet.Charge)
}

// pairing is what a batch chooses from.
type pairing struct {
	ground  ground
	jobs    []*job    // the most urgent first
	workers []*worker // by id
	known   []*roadmap.Table
	budget  int  // tables that may still be made
	byTask  bool // rows are tasks
}

// assign finds the cheapest awards. Rows are whichever of tasks and robots are fewer, so that each of them is served.
func assign(now time.Time, on ground, jobs []*job, workers []*worker, budget int) []match {
	p := pairing{ground: on, jobs: jobs, workers: workers, known: make([]*roadmap.Table, len(jobs)), budget: budget, byTask: len(jobs) <= len(workers)}
	for i, j := range jobs {
		if on.cached(j.goal) {
			p.known[i] = on.tables.Get(j.goal)
		}
	}
	n, columns := len(workers), len(jobs)
	if p.byTask {
		n, columns = len(jobs), len(workers)
	}
	rows, priced := make([][]planner.Edge, n), make([][]match, n)
	for r := range rows {
		for _, c := range p.candidates(r) {
			j, w := p.pair(r, c)
			m := match{job: jobs[j], worker: workers[w], table: p.table(j)}
			if m.table == nil && !on.estimable() || !m.price(now, on.graph) {
				continue
			}
			rows[r] = append(rows[r], planner.Edge{Column: int32(c), Cost: m.cost.Total})
			priced[r] = append(priced[r], m)
		}
	}
	var matches []match
	for r, c := range planner.Assign(rows, columns) {
		if k := slices.IndexFunc(rows[r], func(e planner.Edge) bool { return e.Column == c }); c >= 0 && k >= 0 {
			matches = append(matches, priced[r][k])
		}
	}
	return matches
}

// pair says which task and which robot meet in a row and a column.
func (p *pairing) pair(r, c int) (j, w int) {
	if p.byTask {
		return r, c
	}
	return c, r
}

// table is the one towards the task's first errand; nil where it is not there and no more may be made in this batch.
// Those of this batch are there in the next one.
func (p *pairing) table(j int) *roadmap.Table {
	if p.known[j] == nil && p.budget > 0 {
		p.budget--
		p.known[j] = p.ground.tables.Get(p.jobs[j].goal)
	}
	return p.known[j]
}

// price fills the cost of an award; false where the robot cannot get there. Without a table the travel is estimated: a
// burst of tasks on a large map is awarded at once rather than as tables get made.
func (m *match) price(now time.Time, g *roadmap.Graph) bool {
	if !on(g, m.worker.At) || m.table != nil && m.table.Cost[m.worker.At] == roadmap.Unreachable {
		return false
	}
	travel := g.Manhattan(m.worker.At, m.job.goal)
	if m.table != nil {
		travel = float64(m.table.Cost[m.worker.At]) / 10
	}
	m.cost = task.Cost{
		Travel: travel, Battery: batteryWeight * (1 - m.worker.Battery), Priority: -bonus(now, &m.job.spec),
	}
	m.cost.Total = m.cost.Travel + m.cost.Queue + m.cost.Battery + m.cost.Priority
	return true
}

// alternatives are the next best robots for the task, at most five.
func alternatives(now time.Time, g *roadmap.Graph, m match, workers []*worker) []task.Alternative {
	var out []task.Alternative
	for _, w := range workers {
		o := match{job: m.job, worker: w, table: m.table}
		if w.ID == m.worker.ID || !suits(o.job, w) || !o.price(now, g) {
			continue
		}
		reason := "costs more"
		if o.cost.Total < m.cost.Total {
			reason = "is worth more on another task of the batch"
		}
		at, _ := slices.BinarySearchFunc(out, o.cost.Total, func(a task.Alternative, total float64) int { return cmp.Compare(a.Total, total) })
		if at < 5 {
			out = slices.Insert(out, at, task.Alternative{Robot: w.ID, Total: o.cost.Total, Reason: reason})
			out = out[:min(len(out), 5)]
		}
	}
	return out
}

func inputsDigest(jobs []*job, workers []*worker) string {
	h := fnv.New64a()
	for _, j := range jobs {
		fmt.Fprint(h, j.spec.ID, j.spec.Priority)
	}
	for _, w := range workers {
		fmt.Fprint(h, w.ID, w.At)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// noteTaskWaits remembers why open tasks have no robot, of those that wait longest.
func (s *State) noteTaskWaits(now time.Time, jobs []*job) {
	var waits []TaskWait
	add := func(j *job, c fleet.Cause, since time.Time) {
		waits = append(waits, TaskWait{Task: j.spec.ID, Cause: c, Since: since})
	}
	for _, j := range jobs {
		if !j.offered.Equal(now) {
			add(j, fleet.CauseNoRobot, j.since)
		}
	}
	for _, j := range s.tasks {
		switch {
		case s.graph == nil:
			add(j, fleet.CauseNoMap, j.since)
		case j.goal == fleet.NoVertex:
			add(j, fleet.CauseNoWay, j.since)
		case now.Before(j.spec.EarliestStart):
			add(j, fleet.CauseNotYet, j.since)
		}
	}
	slices.SortFunc(waits, func(a, b TaskWait) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return cmp.Compare(a.Task, b.Task)
	})
	s.taskWait = slices.Clone(waits[:min(len(waits), maxTaskWaits)])
}

// maxTaskWaits bounds what the view says of tasks that wait.
const maxTaskWaits = 1000

// scan looks for cycles in the wait-for graph; each robot waits for at most one other.
func (s *State) scan(now time.Time, out []Effect) []Effect {
	type edge struct {
		wait fleet.Wait
		zone fleet.ZoneID
	}
	next := map[fleet.RobotID]edge{}
	for _, z := range slices.Sorted(maps.Keys(s.zones)) { // of two zones that speak of the same robot, the lower id counts
		for _, w := range s.zones[z] {
			if _, known := next[w.Robot]; !known && w.Holder != "" && w.Holder != w.Robot {
				next[w.Robot] = edge{w, z}
			}
		}
	}
	s.standing = nil
	done := map[fleet.RobotID]bool{}
	for _, start := range sortedKeys(next) {
		path := map[fleet.RobotID]int{}
		var walk []fleet.RobotID
		r := start
		for _, on := next[r]; on && !done[r]; _, on = next[r] {
			path[r] = len(walk)
			walk = append(walk, r)
			done[r] = true
			r = next[r].wait.Holder
		}
		if at, back := path[r]; back && len(walk) > 0 {
			s.standing = append(s.standing, turnToLowest(walk[at:]))
		}
	}
	for _, c := range s.standing {
		key := fmt.Sprint(c)
		st, known := s.cycles[key]
		if !known {
			st.since = now
		}
		st.seen = now
		if now.Sub(st.since) >= cycleStanding && now.Sub(st.broken) >= cycleAgain {
			st.broken = now
			y := s.yielding(c, func(id fleet.RobotID) bool { return next[id].wait.Tasked })
			s.noteYield(y, now)
			reason := fmt.Sprintf("robots %v waited for each other since %s; %s gives way", c, st.since.UTC().Format(time.RFC3339), y)
			e := CycleResolved{DecisionID: fleet.DecisionID(s.uuid()), At: now, Robots: c, Yielding: y, Reason: reason}
			out = append(out, Record{Event: e, By: fleet.Actor{Part: "dispatcher"}}, Break{Zone: next[y].zone, Robot: y})
		}
		s.cycles[key] = st
	}
	for k, st := range s.cycles {
		if st.seen != now {
			delete(s.cycles, k)
		}
	}
	return out
}

func sortedKeys[V any](m map[fleet.RobotID]V) []fleet.RobotID {
	keys := make([]fleet.RobotID, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func turnToLowest(c []fleet.RobotID) []fleet.RobotID {
	i := slices.Index(c, slices.Min(c))
	return append(slices.Clone(c[i:]), c[:i]...)
}

// yielding is who gives way: one without a task where there is one, else who gave way longest ago, else the last by id.
func (s *State) yielding(c []fleet.RobotID, tasked func(fleet.RobotID) bool) fleet.RobotID {
	return slices.MinFunc(c, func(a, b fleet.RobotID) int {
		if tasked(a) != tasked(b) {
			if tasked(b) {
				return -1
			}
			return 1
		}
		if c := s.yielded[a].Compare(s.yielded[b]); c != 0 {
			return c
		}
		return cmp.Compare(b, a)
	})
}

// noteYield remembers who gave way, of those who did so lately.
func (s *State) noteYield(id fleet.RobotID, now time.Time) {
	maps.DeleteFunc(s.yielded, func(_ fleet.RobotID, at time.Time) bool { return now.Sub(at) > yieldMemory })
	s.yielded[id] = now
}
