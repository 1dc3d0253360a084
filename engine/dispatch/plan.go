package dispatch

import (
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// Planned is one award of a dry run.
type Planned struct {
	Index int // of the task asked about
	Robot fleet.RobotID
	Route []Stop
	Cost  task.Cost
}

// Stop is a vertex of a route and when the robot would be there, without traffic.
type Stop struct {
	Vertex fleet.Vertex
	At     time.Time
}

// Unplanned is a task of a dry run that no robot could get, and why.
type Unplanned struct {
	Index  int
	Reason string
}

// maxRoute bounds the stops of one planned route.
const maxRoute = 5000

// Plan assigns tasks to robots as a batch would, and changes nothing. speed is the robots' speed in m/s.
func Plan(now time.Time, g *roadmap.Graph, tables roadmap.Tables, robots []Robot, tasks []task.Spec, speed float64) ([]Planned, []Unplanned) {
	floor := ground{graph: g, tables: tables, parts: parts(g), strong: strong(g, func(l int32) bool { return g.Lanes[l].Closed })}
	mk := newMarket(floor)
	all, index := make([]*job, len(tasks)), make(map[*job]int, len(tasks))
	for i := range tasks {
		j := &job{spec: tasks[i], since: now, needs: tasks[i].Requires()}
		j.place(nil, g)
		all[i], index[j] = j, i
		if j.goal != fleet.NoVertex {
			mk.addJob(j)
		}
	}
	var workers []*worker
	for _, r := range robots {
		if r.Free && on(g, r.At) {
			w := &worker{Robot: r}
			workers = append(workers, w)
			mk.addWorker(w)
		}
	}
	done := make([]bool, len(tasks))
	var planned []Planned
	if mk.jobs > 0 && mk.workers > 0 {
		d := mk.deal(now)
		d.budget, d.cheap = len(tasks), len(tasks)
		d.everybody()
		for _, m := range d.matches {
			i := index[m.job]
			done[i] = true
			planned = append(planned, Planned{Index: i, Robot: m.worker.ID, Cost: m.cost, Route: route(now, g, tables, m.worker.At, m.job.spec.Errands, speed)})
		}
	}
	var rest []Unplanned
	for i := range tasks {
		if !done[i] {
			rest = append(rest, Unplanned{Index: i, Reason: refusal(all[i], workers)})
		}
	}
	return planned, rest
}

func refusal(j *job, workers []*worker) string {
	if j.goal == fleet.NoVertex {
		return "a place is not on the active map"
	}
	if len(workers) == 0 {
		return "no robot is free"
	}
	for _, w := range workers {
		if suits(j, w) {
			return "every robot that could do it has a better task, or cannot get there"
		}
	}
	return "no free robot suits it"
}

func route(now time.Time, g *roadmap.Graph, tables roadmap.Tables, from fleet.Vertex, errands []fleet.Vertex, speed float64) []Stop {
	stops := []Stop{{from, now}}
	at := now
	for _, e := range errands {
		r := g.Route(tables.Get(e), from, maxRoute-len(stops))
		for i := 1; i < len(r); i++ {
			l, ok := g.Lane(r[i-1], r[i])
			if !ok {
				break
			}
			at = at.Add(time.Duration(g.Lanes[l].LengthM / speed * float64(time.Second)))
			stops = append(stops, Stop{r[i], at})
		}
		from = e
	}
	return stops
}
