package dispatch

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
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
	others []task.Alternative
}

// deal is one batch over a market: it chooses, and takes what it has chosen out of the market.
type deal struct {
	*market
	now     time.Time
	budget  int  // tables that may still be made to learn whether there is a way
	cheap   int  // and to price better than by the straight way
	exact   bool // a small map: tables are looked into
	known   map[*job]*roadmap.Table
	urgents map[*shelf][]*job
	room    int // most awards
	matches []match
	policy  Policy
}

func (m *market) deal(now time.Time) *deal {
	m.match()
	n := len(m.ground.graph.Vertices)
	cheap := cheapWork / n
	exact := cheap >= fewestTables
	if !exact { // those who drive make the tables
		cheap = 0
	}
	return &deal{market: m, now: now, budget: max(fewestTables, tableWork/n), cheap: cheap, exact: exact, known: map[*job]*roadmap.Table{}, urgents: map[*shelf][]*job{}, room: math.MaxInt}
}

// everybody matches all who can be matched. Rows are whichever of tasks and robots are fewer, so that each of them is
// served.
func (d *deal) everybody() {
	jobs, workers := d.matchable()
	if d.room < min(len(jobs), len(workers)) {
		d.few(jobs)
	} else if len(jobs) <= len(workers) {
		d.serve(jobs)
	} else {
		d.employ(workers)
	}
}

// row is a task that looks for a robot, or a robot that looks for a task.
type row struct {
	job    *job
	worker *worker
}

// serve finds robots for these tasks.
func (d *deal) serve(jobs []*job) {
	slices.SortFunc(jobs, compareJobs)
	rows := make([]row, 0, min(len(jobs), MaxBatch))
	for _, j := range jobs[:min(len(jobs), MaxBatch)] {
		rows = append(rows, row{job: j})
	}
	d.solve(rows)
}

// employ finds tasks for these robots.
func (d *deal) employ(workers []*worker) {
	slices.SortFunc(workers, func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) })
	rows := make([]row, 0, min(len(workers), MaxBatch))
	for _, w := range workers[:min(len(workers), MaxBatch)] {
		rows = append(rows, row{worker: w})
	}
	d.solve(rows)
}

// solve matches the rows at the least total cost among the candidates of each. Rows whose candidates all went to others
// look again among what is left, until nothing is awarded any more.
func (d *deal) solve(rows []row) {
	if d.policy == Hierarchical {
		rows = d.bySectors(rows)
	}
	for len(rows) > 0 {
		priced := make([][]match, 0, len(rows))
		left := rows[:0]
		for _, r := range rows {
			if ms := d.candidates(r); len(ms) > 0 {
				priced, left = append(priced, ms), append(left, r)
			}
		}
		rows = left
		chosen := d.choose(rows, priced)
		for range widenings {
			if d.policy == Greedy || !d.widen(rows, priced, chosen) {
				break
			}
			chosen = d.choose(rows, priced)
		}
		n := len(d.matches)
		if rows = d.take(rows, priced, chosen); len(d.matches) == n {
			return
		}
	}
}

// take awards each row the candidate that was chosen for it, and returns the rows that got none.
func (d *deal) take(rows []row, priced [][]match, chosen []int) (left []row) {
	left = rows[:0]
	n := len(d.matches)
	for i, k := range chosen {
		if k < 0 {
			left = append(left, rows[i])
			continue
		}
		m := priced[i][k]
		m.job.award = int32(len(d.matches))
		d.matches = append(d.matches, m)
	}
	d.compare(priced, d.matches[n:])
	for i := range d.matches[n:] {
		d.dropJob(d.matches[n+i].job)
		d.dropWorker(d.matches[n+i].worker)
	}
	return left
}

// choose gives for each row which of its candidates it gets, -1 = none, and notes the prices of the columns.
func (d *deal) choose(rows []row, priced [][]match) []int {
	d.stamp++
	var columns []*mark
	edges := make([][]planner.Edge, len(rows))
	for i, ms := range priced {
		edges[i] = make([]planner.Edge, len(ms))
		for k := range ms {
			at := ms[k].column(rows[i])
			if at.stamp != d.stamp {
				*at = mark{stamp: d.stamp, column: int32(len(columns))}
				columns = append(columns, at)
			}
			edges[i][k] = planner.Edge{Column: at.column, Cost: ms[k].cost.Total}
		}
	}
	chosen := make([]int, len(rows))
	var taken []int32
	prices := make([]float64, len(columns))
	switch d.policy {
	case Optimal, Hierarchical:
		taken, prices = planner.AssignPriced(edges, len(columns))
	case Greedy:
		taken = greedy(edges, len(columns))
	}
	for i, c := range taken {
		chosen[i] = -1
		if c >= 0 {
			chosen[i] = slices.IndexFunc(edges[i], func(e planner.Edge) bool { return e.Column == c })
		}
	}
	for c, at := range columns {
		at.price = prices[c]
	}
	return chosen
}

// column is the mark of whom the row is matched with.
func (m *match) column(r row) *mark {
	if r.worker != nil {
		return &m.job.mark
	}
	return &m.worker.mark
}

// candidates prices what is worth looking at for a row: the nearest by straight line, for a robot the most urgent tasks
// too, and what is for that robot alone.
func (d *deal) candidates(r row) []match {
	var out []match
	if r.worker != nil {
		for _, j := range d.jobsNear(r.worker) {
			out = d.offer(j, r.worker, out)
		}
		return out
	}
	if id := r.job.spec.Robot; id != "" {
		if w := d.free[id]; w != nil && suits(r.job, w) {
			out = d.offer(r.job, w, out)
		}
		return out
	}
	var near []found[worker]
	ok := func(w *worker) bool { return d.possible(r.job, w) }
	for _, b := range r.job.shelf.fits {
		near = b.index.nearest(r.job.x, r.job.y, nearest, ok, near)
	}
	for i := range near {
		out = d.offer(r.job, near[i].item, out)
	}
	return out
}

// jobsNear lists tasks that the robot might do.
func (d *deal) jobsNear(w *worker) []*job {
	out := d.ownJobs(w)
	own := len(out)
	var near []found[job]
	ok := func(j *job) bool { return d.possible(j, w) }
	for _, s := range w.bench.fits {
		near = s.index.nearest(w.x, w.y, nearest, ok, near)
	}
	for i := range near {
		out = append(out, near[i].item)
	}
	for _, s := range w.bench.fits {
		if _, known := d.urgents[s]; !known {
			d.urgents[s] = s.urgent(urgent)
		}
		for _, j := range d.urgents[s] {
			if j.in && d.possible(j, w) && !slices.Contains(out[own:], j) {
				out = append(out, j)
			}
		}
	}
	return out
}

// offer adds the pair, priced, unless the robot may not or cannot get there, or nobody knows.
func (d *deal) offer(j *job, w *worker, out []match) []match {
	if !w.mayEnter(j) {
		return out
	}
	m := match{job: j, worker: w, table: d.table(j, w)}
	if d.price(&m) {
		out = append(out, m)
	}
	return out
}

// possible says that the robot is allowed there, and no table is known by which it could not get there.
func (d *deal) possible(j *job, w *worker) bool {
	if !w.mayEnter(j) || !w.lasts(j, d.ground.graph.Manhattan(w.At, j.goal)) {
		return false
	}
	if d.ground.sure(w.At, j.goal) {
		return true
	}
	t := d.tableOf(j)
	if t == nil {
		return true
	}
	c, known := t.Known(w.At)
	return !known || c != roadmap.Unreachable
}

// tableOf is the table towards the task's first errand if it is there.
func (d *deal) tableOf(j *job) *roadmap.Table {
	t, known := d.known[j]
	if !known {
		if d.ground.cached(j.goal) {
			t = d.ground.tables.Get(j.goal)
		}
		d.known[j] = t
	}
	return t
}

// table is the one by which the pair is priced: made where nothing else says whether there is a way, or where tables are
// cheap, as far as the budgets go. Those of this batch are there in the next one.
func (d *deal) table(j *job, w *worker) *roadmap.Table {
	t := d.tableOf(j)
	if t != nil {
		return t
	}
	left := &d.cheap
	if !d.ground.sure(w.At, j.goal) {
		left = &d.budget
	}
	if *left > 0 {
		*left--
		t = d.ground.tables.Get(j.goal)
		d.known[j] = t
	}
	return t
}

// price fills the cost of an award; false where the robot cannot get there, or nobody knows yet. On a large map, travel
// that no table knows is estimated along the axes: a burst of tasks is awarded at once, and those who drive make the tables.
func (d *deal) price(m *match) bool {
	g := &d.ground
	at, goal := m.worker.At, m.job.goal
	if !on(g.graph, at) {
		return false
	}
	travel := g.graph.Manhattan(at, goal)
	if m.table != nil {
		cost, known := m.table.Known(at)
		if !known && (d.exact || !g.sure(at, goal)) {
			cost, known = m.table.To(at), true
		}
		if known && cost == roadmap.Unreachable {
			return false
		}
		if known {
			travel = float64(cost) / 10
		}
	} else if !g.sure(at, goal) {
		return false
	}
	if !m.worker.lasts(m.job, travel) {
		return false
	}
	m.cost = task.Cost{
		Travel: travel + loadedWeight*m.job.rest, Battery: m.worker.worth(), Priority: -urgency(d.now, &m.job.spec),
		Deadline: -lateness(d.now, &m.job.spec),
	}
	m.cost.Total = m.cost.Travel + m.cost.Queue + m.cost.Battery + m.cost.Priority + m.cost.Deadline
	return true
}

// worth is what it costs to take this robot rather than another, in seconds.
func (w *worker) worth() float64 { return batteryWeight * (1 - w.Battery) }

// bonus is what a task's urgency is worth, in seconds.
func bonus(now time.Time, t *task.Spec) float64 { return urgency(now, t) + lateness(now, t) }

// urgency is the part of the bonus that age and priority give.
func urgency(now time.Time, t *task.Spec) float64 {
	return ageWeight*max(0, now.Sub(t.CreatedAt).Seconds()) + priorityWeight*float64(t.Priority)
}

// lateness is the part of the bonus that a deadline gives.
func lateness(now time.Time, t *task.Spec) float64 {
	if !t.Deadline.IsZero() && now.After(t.Deadline.Add(-lateBonus*time.Second)) {
		return lateBonus
	}
	return 0
}

// alternatives is how many robots a decision names that were not chosen.
const alternatives = 5

// compare notes with each new award which other robots were candidates for the task.
func (d *deal) compare(priced [][]match, fresh []match) {
	base := len(d.matches) - len(fresh)
	for _, ms := range priced {
		for k := range ms {
			o := &ms[k]
			at := int(o.job.award) - base
			if at < 0 || at >= len(fresh) || fresh[at].job != o.job || fresh[at].worker == o.worker {
				continue
			}
			m := &fresh[at]
			i, _ := slices.BinarySearchFunc(m.others, o, func(a task.Alternative, o *match) int {
				return cmp.Or(cmp.Compare(a.Total, o.cost.Total), cmp.Compare(a.Robot, o.worker.ID))
			})
			if i >= alternatives {
				continue
			}
			reason := "costs more"
			if o.cost.Total < m.cost.Total {
				reason = "is worth more on another task of the batch"
			}
			m.others = slices.Insert(m.others, i, task.Alternative{Robot: o.worker.ID, Total: o.cost.Total, Reason: reason})
			m.others = m.others[:min(len(m.others), alternatives)]
		}
	}
}

// batch assigns open tasks to free robots: all of them, or those that have changed since the last one.
func (s *State) batch(now time.Time, all bool, out []Effect) []Effect {
	s.lastBatch, s.wake = now, time.Time{}
	if all {
		s.refresh(now)
	}
	jobs, workers := s.freshJobs, s.freshWorkers
	s.freshJobs, s.freshWorkers = nil, nil
	jobs, workers = present(jobs, func(j *job) bool { return j.in }), present(workers, func(w *worker) bool { return w.in })
	if s.graph == nil {
		return out
	}
	if all && len(s.engaged) > 0 {
		jobs = present(append(jobs, s.stillUrgent(now)...), func(j *job) bool { return j.in })
	}
	if s.market.jobs == 0 || s.market.workers == 0 {
		return s.improve(now, jobs, workers, out)
	}
	open, free := s.market.jobs, s.market.workers
	d := s.market.deal(now)
	d.policy = s.policy
	if d.room = s.room(now); d.room == 0 {
		return s.improve(now, jobs, workers, out)
	}
	if all || d.room < len(jobs)+len(workers) {
		d.everybody()
	} else {
		d.employ(slices.Clone(workers))
		d.serve(slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return !j.in }))
	}
	return s.improve(now, jobs, workers, s.award(now, d, open, free, out))
}

// improve looks whether what has changed and was left over is a reason to take tasks back.
func (s *State) improve(now time.Time, jobs []*job, workers []*worker, out []Effect) []Effect {
	return s.preempt(now, jobs, s.swap(now, workers, out))
}

// present lists each of those that are (still) in the market once.
func present[T any](list []*T, in func(*T) bool) []*T {
	seen := make(map[*T]bool, len(list))
	return slices.DeleteFunc(list, func(t *T) bool {
		again := seen[t]
		seen[t] = true
		return again || !in(t)
	})
}

// award offers each task that was matched.
func (s *State) award(now time.Time, d *deal, open, free int, out []Effect) []Effect {
	if len(d.matches) == 0 {
		return out
	}
	digest := inputsDigest(d.matches)
	reason := fmt.Sprintf("least total cost among %d open tasks and %d free robots", open, free)
	for i := range d.matches {
		m := &d.matches[i]
		c := task.Decision{
			ID: fleet.DecisionID(s.uuid()), At: now, Task: m.job.spec.ID, Robot: m.worker.ID, Cost: m.cost, InputsDigest: digest,
			Alternatives: m.others, Reason: reason,
		}
		m.job.offered, m.job.to, m.worker.offered = now, m.worker.ID, now
		out = append(out, Offer{Task: m.job.spec.ID, Robot: m.worker.ID, Decision: c})
	}
	return out
}

// inputsDigest is a hash of who was matched, and where the robots stood.
func inputsDigest(ms []match) string {
	h := fnv.New64a()
	var at [4]byte
	for i := range ms {
		_, _ = h.Write([]byte(ms[i].job.spec.ID))
		_, _ = h.Write([]byte{ms[i].job.spec.Priority})
		_, _ = h.Write([]byte(ms[i].worker.ID))
		v := uint32(ms[i].worker.At)
		at = [4]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}
		_, _ = h.Write(at[:])
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// noteTaskWaits remembers why open tasks have no robot, of those that wait longest.
func (s *State) noteTaskWaits(now time.Time) {
	waits := make([]TaskWait, 0, len(s.tasks))
	crowded := s.crowded(now)
	for _, j := range s.tasks {
		cause, detail := s.yard.cause(j.spec.ID)
		switch {
		case s.graph == nil:
			cause = fleet.CauseNoMap
		case j.goal == fleet.NoVertex:
			cause = fleet.CauseNoWay
		case now.Before(j.spec.EarliestStart):
			cause = fleet.CauseNotYet
		case s.heldBack(j):
			cause, detail = fleet.CauseAdmission, s.jammed(j)
		case !j.in: // offered
			continue
		case crowded != "" && cause == fleet.CauseNoRobot:
			cause, detail = fleet.CauseAdmission, crowded
		}
		waits = append(waits, TaskWait{Task: j.spec.ID, Cause: cause, Since: j.since, Detail: detail})
	}
	slices.SortFunc(waits, func(a, b TaskWait) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Task, b.Task))
	})
	s.taskWait = slices.Clone(waits[:min(len(waits), maxTaskWaits)])
}

// maxTaskWaits bounds what the view says of tasks that wait.
const maxTaskWaits = 1000
