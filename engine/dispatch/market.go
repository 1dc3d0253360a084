package dispatch

import (
	"cmp"
	"slices"
	"strings"

	"starling/engine/fleet"
)

// class is what decides, but for the travel itself, which robots may have a task.
type class struct {
	part   int32
	fleet  string // "" = any
	needs  string // capabilities as words has them
	charge bool
}

// crew is what decides, but for the travel itself, which tasks a robot may have.
type crew struct {
	part  int32
	fleet string
	can   string // capabilities as words has them
	low   bool   // its battery allows but charging
}

// shelf holds the tasks of one class that may be awarded now.
type shelf struct {
	class
	needs []string
	index *index[job]
	all   []*job
	fits  []*bench // of the batch that is being made: who may have them
}

// bench holds the free robots of one crew.
type bench struct {
	crew
	can   []string
	index *index[worker]
	fits  []*shelf // of the batch that is being made: what they may have
}

// spareShelves is how many shelves, and benches, there may be before those that have become empty are thrown away.
const spareShelves = 64

// market is who may be matched: tasks that wait and robots that are free, found by place. It changes by what changes;
// a batch looks at no more than it needs. Bound: one entry per open task and per free robot, and one per bucket for each
// class and crew of more than a few.
type market struct {
	ground  ground
	frame   *frame
	shelves map[class]*shelf
	benches map[crew]*bench
	pinned  map[fleet.RobotID][]*job // tasks for one robot alone
	free    map[fleet.RobotID]*worker
	jobs    int // those of pinned too
	workers int
	stamp   uint32   // of the marks of the choice that is being made
	divided *sectors // nil = not yet
}

func newMarket(on ground) *market {
	m := &market{ground: on, shelves: map[class]*shelf{}, benches: map[crew]*bench{}, pinned: map[fleet.RobotID][]*job{}, free: map[fleet.RobotID]*worker{}}
	if on.graph != nil {
		m.frame = newFrame(on.graph)
	}
	return m
}

// words makes one text of a set, by which sets are compared.
func words(set []string) string {
	var b strings.Builder
	for _, w := range slices.Compact(slices.Sorted(slices.Values(set))) {
		b.WriteString(w)
		b.WriteByte(0) // a capability may have spaces
	}
	return b.String()
}

// takes says whether the crew's robots may have the class's tasks.
func (b *bench) takes(s *shelf) bool {
	if b.part != s.part || s.class.fleet != "" && s.class.fleet != b.crew.fleet || b.low && !s.charge {
		return false
	}
	return able(s.needs, b.can)
}

// able says that the capabilities cover the needs.
func able(needs, can []string) bool {
	for _, n := range needs {
		if !slices.Contains(can, n) {
			return false
		}
	}
	return true
}

// addJob takes a task in; it is not there yet.
func (m *market) addJob(j *job) {
	m.jobs++
	j.in = true
	if j.spec.Robot != "" {
		m.pinned[j.spec.Robot] = append(m.pinned[j.spec.Robot], j)
		return
	}
	c := class{part: m.ground.parts[j.goal], fleet: j.spec.Fleet, needs: words(j.needs), charge: j.spec.Type == fleet.Charge}
	s := m.shelves[c]
	if s == nil {
		s = &shelf{class: c, needs: j.needs, index: &index[job]{frame: m.frame}}
		m.shelves[c] = s
	}
	v := &m.ground.graph.Vertices[j.goal]
	j.x, j.y, j.shelf, j.slot = v.X, v.Y, s, len(s.all)
	s.all = append(s.all, j)
	s.index.add(spot[job]{v.X, v.Y, string(j.spec.ID), j})
}

// dropJob takes a task out that is there.
func (m *market) dropJob(j *job) {
	m.jobs--
	j.in = false
	if r := j.spec.Robot; r != "" {
		m.pinned[r] = slices.DeleteFunc(m.pinned[r], func(o *job) bool { return o == j })
		if len(m.pinned[r]) == 0 {
			delete(m.pinned, r)
		}
		return
	}
	s := j.shelf
	last := len(s.all) - 1
	s.all[j.slot] = s.all[last]
	s.all[j.slot].slot = j.slot
	s.all[last] = nil
	s.all = s.all[:last]
	s.index.remove(j.x, j.y, j)
	j.shelf = nil
	if last == 0 && len(m.shelves) > spareShelves {
		delete(m.shelves, s.class)
	}
}

// addWorker takes a robot in; it is not there yet.
func (m *market) addWorker(w *worker) {
	m.workers++
	m.free[w.ID] = w
	w.in = true
	c := crew{part: m.ground.parts[w.At], fleet: w.Fleet, can: words(w.Capabilities), low: w.low()}
	b := m.benches[c]
	if b == nil {
		b = &bench{crew: c, can: w.Capabilities, index: &index[worker]{frame: m.frame}}
		m.benches[c] = b
	}
	v := &m.ground.graph.Vertices[w.At]
	w.x, w.y, w.bench = v.X, v.Y, b
	b.index.add(spot[worker]{v.X, v.Y, string(w.ID), w})
}

// dropWorker takes a robot out that is there.
func (m *market) dropWorker(w *worker) {
	m.workers--
	delete(m.free, w.ID)
	w.in = false
	b := w.bench
	b.index.remove(w.x, w.y, w)
	w.bench = nil
	if b.index.n == 0 && len(m.benches) > spareShelves {
		delete(m.benches, b.crew)
	}
}

// match works out once for a batch which crews and classes fit each other.
func (m *market) match() {
	for _, b := range m.benches {
		b.fits = b.fits[:0]
	}
	for _, s := range m.shelves {
		s.fits = s.fits[:0]
	}
	benches := make([]*bench, 0, len(m.benches))
	for _, b := range m.benches {
		if b.index.n > 0 {
			benches = append(benches, b)
		}
	}
	slices.SortFunc(benches, func(a, b *bench) int { return a.compare(&b.crew) })
	shelves := make([]*shelf, 0, len(m.shelves))
	for _, s := range m.shelves {
		if len(s.all) > 0 {
			shelves = append(shelves, s)
		}
	}
	slices.SortFunc(shelves, func(a, b *shelf) int { return a.compare(&b.class) })
	for _, b := range benches {
		for _, s := range shelves {
			if b.takes(s) {
				b.fits, s.fits = append(b.fits, s), append(s.fits, b)
			}
		}
	}
}

func (c *crew) compare(o *crew) int {
	return cmp.Or(cmp.Compare(c.part, o.part), strings.Compare(c.fleet, o.fleet), strings.Compare(c.can, o.can), compareBools(c.low, o.low))
}

func (c *class) compare(o *class) int {
	return cmp.Or(cmp.Compare(c.part, o.part), strings.Compare(c.fleet, o.fleet), strings.Compare(c.needs, o.needs), compareBools(c.charge, o.charge))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// matchable lists the tasks that some free robot may have, and the robots that may have some task, in no order.
func (m *market) matchable() (jobs []*job, workers []*worker) {
	for _, s := range m.shelves {
		if len(s.fits) > 0 {
			jobs = append(jobs, s.all...)
		}
	}
	for _, b := range m.benches {
		all := len(b.fits) > 0
		if !all && len(m.pinned) == 0 {
			continue
		}
		b.index.each(func(w *worker) {
			own := m.ownJobs(w)
			jobs = append(jobs, own...)
			if all || len(own) > 0 {
				workers = append(workers, w)
			}
		})
	}
	return jobs, workers
}

// ownJobs are the tasks for this robot alone that it may have, the most urgent first, at most nearest.
func (m *market) ownJobs(w *worker) []*job {
	var own []*job
	for _, j := range m.pinned[w.ID] {
		if suits(j, w) && m.ground.parts[w.At] == m.ground.parts[j.goal] {
			own = append(own, j)
		}
	}
	slices.SortFunc(own, compareJobs)
	return own[:min(len(own), nearest)]
}

// suits says whether the robot may have the task at all.
func suits(j *job, w *worker) bool {
	t := &j.spec
	return (t.Robot == "" || t.Robot == w.ID) && (t.Fleet == "" || t.Fleet == w.Fleet) && (t.Type == fleet.Charge || !w.low()) &&
		able(j.needs, w.Capabilities) && w.mayEnter(j)
}

// mayEnter says that the robot is allowed into the zones of all errands of the task.
func (w *worker) mayEnter(j *job) bool {
	if len(w.Allowed) == 0 {
		return true
	}
	for _, z := range j.zones {
		if !slices.Contains(w.Allowed, z) {
			return false
		}
	}
	return true
}

// urgent lists the n tasks of a shelf with the highest rank, the highest first.
func (s *shelf) urgent(n int) []*job {
	var top []*job
	for _, j := range s.all {
		if len(top) == n && !before(j, top[n-1]) {
			continue
		}
		if len(top) == n {
			top = top[:n-1]
		}
		at, _ := slices.BinarySearchFunc(top, j, func(a, b *job) int {
			if before(a, b) {
				return -1
			}
			return 1
		})
		top = slices.Insert(top, at, j)
	}
	return top
}

// before says that a is more urgent than b; a total order.
func before(a, b *job) bool { return compareJobs(a, b) < 0 }

// compareJobs puts the more urgent task first; a total order.
func compareJobs(a, b *job) int {
	return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.spec.ID, b.spec.ID))
}

// rank is what a task's bonus grows from: of two tasks, the one with the higher rank has the higher bonus at any time,
// but for what lateness adds.
func (j *job) rank() float64 {
	return priorityWeight*float64(j.spec.Priority) - ageWeight*float64(j.spec.CreatedAt.UnixMilli())/1000
}

// mark is the number of a column in the choice of this stamp, and its price there.
type mark struct {
	stamp  uint32
	column int32
	price  float64
}
