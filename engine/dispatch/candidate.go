package dispatch

import (
	"cmp"
	"slices"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// ground is what robots drive on.
type ground struct {
	graph  *roadmap.Graph
	tables roadmap.Tables
	parts  []int32
}

func (s *State) ground() ground { return ground{s.graph, s.tables, s.parts} }

// cached says whether the table is there already, where the tables can tell.
func (g *ground) cached(goal fleet.Vertex) bool {
	c, ok := g.tables.(interface{ Cached(goal fleet.Vertex) bool })
	return ok && c.Cached(goal)
}

// estimable says that the straight way tells enough of the travel: on an open grid, where each lane leads both ways.
func (g *ground) estimable() bool { return g.graph.Rows > 0 && g.tables.Changes() == 0 }

// parts numbers the parts of a map between which no lane leads, vertex by vertex. A way may be missing within a part
// too, where lanes lead one way or are closed: tables alone know that.
func parts(g *roadmap.Graph) []int32 {
	if g == nil {
		return nil
	}
	part := make([]int32, len(g.Vertices))
	for i := range part {
		part[i] = int32(i)
	}
	root := func(v int32) int32 {
		for part[v] != v {
			part[v] = part[part[v]]
			v = part[v]
		}
		return v
	}
	for i := range g.Lanes {
		part[root(int32(g.Lanes[i].From))] = root(int32(g.Lanes[i].To))
	}
	for i := range part {
		part[i] = root(int32(i))
	}
	return part
}

// kind is what decides, but for the travel itself, which robots may have a task. Robots have several: one by name, one
// by fleet, one that serves everybody.
type kind struct {
	part   int32
	robot  fleet.RobotID // "" = any
	fleet  string        // "" = any
	charge bool
}

func (s *State) kindOf(j *job) kind {
	t := &j.spec
	return kind{s.parts[j.goal], t.Robot, t.Fleet, t.Type == fleet.Charge}
}

// kindsOf lists the kinds of task that the robot may have.
func (s *State) kindsOf(w *worker) []kind {
	var ks []kind
	for _, charge := range []bool{true, false} {
		if !charge && w.Battery < minBattery {
			break
		}
		for _, f := range []string{"", w.Fleet} {
			for _, r := range []fleet.RobotID{"", w.ID} {
				ks = append(ks, kind{s.parts[w.At], r, f, charge})
			}
		}
	}
	return ks
}

// doable leaves out tasks that no free robot may have, and robots that may have none of the tasks. At most MaxBatch of
// each stay: every kind of task has its share, so that no kind waits behind another's backlog.
func (s *State) doable(jobs []*job, workers []*worker) ([]*job, []*worker) {
	offered := map[kind]bool{}
	for _, w := range workers {
		for _, k := range s.kindsOf(w) {
			offered[k] = true
		}
	}
	wanted := map[kind]int{} // tasks that have been let in
	some := make([]*job, 0, len(jobs))
	for _, j := range jobs {
		if k := s.kindOf(j); offered[k] {
			wanted[k] = 0
			some = append(some, j)
		}
	}
	share := max(1, MaxBatch/max(1, len(wanted)))
	let := make([]bool, len(some))
	n := 0
	for _, all := range []bool{false, true} {
		for i, j := range some {
			if k := s.kindOf(j); !let[i] && n < MaxBatch && (all || wanted[k] < share) {
				let[i] = true
				wanted[k]++
				n++
			}
		}
	}
	in := make([]*job, 0, n)
	for i, j := range some {
		if let[i] {
			in = append(in, j)
		}
	}
	clear(wanted)
	for _, j := range in {
		wanted[s.kindOf(j)]++
	}
	workers = slices.DeleteFunc(workers, func(w *worker) bool {
		return !slices.ContainsFunc(s.kindsOf(w), func(k kind) bool { return wanted[k] > 0 })
	})
	return in, workers[:min(len(workers), MaxBatch)]
}

// candidates lists the columns worth looking at for row r: the nearest by straight line, and for a robot the most
// urgent tasks. Only pairs that suit each other and between which a way may lead take a place.
func (p *pairing) candidates(r int) []int {
	type near struct {
		column int
		dist   float64
	}
	n := len(p.jobs)
	if p.byTask {
		n = len(p.workers)
	}
	all := make([]near, 0, n)
	var out []int
	for c := range n {
		j, w := p.pair(r, c)
		if !p.possible(j, w) {
			continue
		}
		all = append(all, near{c, p.ground.graph.Manhattan(p.workers[w].At, p.jobs[j].goal)})
		if !p.byTask && len(out) < oldest {
			out = append(out, c)
		}
	}
	slices.SortFunc(all, func(a, b near) int {
		if c := cmp.Compare(a.dist, b.dist); c != 0 {
			return c
		}
		return cmp.Compare(a.column, b.column)
	})
	for _, c := range all[:min(len(all), nearest)] {
		if !slices.Contains(out, c.column) {
			out = append(out, c.column)
		}
	}
	return out
}

// possible says that the robot may have the task and that no table is known by which it could not get there.
func (p *pairing) possible(j, w int) bool {
	at, goal, t := p.workers[w].At, p.jobs[j].goal, p.known[j]
	return suits(p.jobs[j], p.workers[w]) && p.ground.parts[at] == p.ground.parts[goal] && (t == nil || t.Cost[at] != roadmap.Unreachable)
}
