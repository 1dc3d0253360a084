package dispatch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Dry is what a dry run is made of: the floor, all robots of the warehouse, and the tasks asked about.
type Dry struct {
	Ground
	Robots   []Robot // those that are not free too: they say why a task stays without one
	Tasks    []task.Spec
	Flow     map[int32]zone.LaneFlow // lanes that cost more than without traffic now, by number
	SpeedMPS float64                 // of robots that do not say theirs; 0 = 1
	Charging Charging                // the rules of batteries; the zero value is the usual ones
	Policy   Policy
	Active   int // how many robots may hold tasks at once, as LimitActive has it
}

// Planned is one award of a dry run.
type Planned struct {
	Index        int // of the task asked about
	Robot        fleet.RobotID
	Route        []Stop
	Wait         time.Duration // of Route: what traffic as it is now is expected to cost
	Cost         task.Cost
	Alternatives []task.Alternative
	Reason       string
}

// Stop is a vertex of a route and when the robot would be there, with the traffic of now; turns are not counted.
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

// Plan assigns tasks to robots by the batch that the dispatcher runs, and changes nothing.
func Plan(now time.Time, d Dry) ([]Planned, []Unplanned) {
	g := d.Graph
	floor := ground{graph: g, tables: d.Tables, parts: parts(g), strong: strong(g, func(l int32) bool { return d.Laid.Closed(g, l) })}
	mk := newMarket(floor)
	home := newYard()
	home.on(g)
	home.survey(now, floor)
	all, index := make([]*job, len(d.Tasks)), make(map[*job]int, len(d.Tasks))
	for i := range d.Tasks {
		j := newJob(now, d.Tasks[i])
		j.place(nil, g)
		all[i], index[j] = j, i
		if j.goal != fleet.NoVertex {
			j.tail = home.tail(j)
			mk.addJob(j)
		}
	}
	crowd := make([]*worker, len(d.Robots))
	if d.Charging == (Charging{}) {
		d.Charging = UsualCharging()
	}
	for i, r := range d.Robots {
		crowd[i] = &worker{Robot: r, charging: &d.Charging}
		if r.Free && on(g, r.At) {
			mk.addWorker(crowd[i])
		}
	}
	done := make([]bool, len(d.Tasks))
	var planned []Planned
	room := d.room()
	if free := mk.workers; mk.jobs > 0 && free > 0 && room > 0 {
		reason := fmt.Sprintf("least total cost among %d tasks and %d free robots", mk.jobs, free)
		deal := mk.deal(now)
		deal.policy, deal.room = d.Policy, room
		deal.everybody()
		for i := range deal.matches {
			m := &deal.matches[i]
			p := Planned{Index: index[m.job], Robot: m.worker.ID, Cost: m.cost, Alternatives: m.others, Reason: reason}
			p.Route, p.Wait = d.route(later(now, m.job.spec.EarliestStart), &m.worker.Robot, m.job.spec.Errands)
			done[p.Index] = true
			planned = append(planned, p)
		}
	}
	var rest []Unplanned
	for i := range d.Tasks {
		if done[i] {
			continue
		}
		reason, suited := refusal(&floor, all[i], crowd)
		if suited && len(planned) >= room {
			reason = fullFloor(activeOn(g, d.Active))
		}
		rest = append(rest, Unplanned{Index: i, Reason: reason})
	}
	return planned, rest
}

// room is how many more robots may get tasks.
func (d *Dry) room() int {
	most := activeOn(d.Graph, d.Active)
	if len(d.Robots) <= most {
		return math.MaxInt
	}
	for i := range d.Robots {
		if d.Robots[i].Reason == robot.HasTask {
			most--
		}
	}
	return max(0, most)
}

func newJob(now time.Time, t task.Spec) *job {
	return &job{spec: t, since: now, needs: t.Requires()}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refusal says why a task of a dry run got no robot: what keeps it from the robots that come nearest to having it, and
// whether some could have had it.
func refusal(floor *ground, j *job, crowd []*worker) (reason string, suited bool) {
	if j.goal == fleet.NoVertex {
		return "a place is not on the active map", false
	}
	if len(crowd) == 0 {
		return "the warehouse has no robot", false
	}
	var able, free, charged, there int
	for _, w := range crowd {
		full := worker{Robot: w.Robot, charging: w.charging}
		full.Battery, full.Move = 1, robot.Move{}
		if !suits(j, &full) {
			continue
		}
		able++
		if !w.Free || !on(floor.graph, w.At) {
			continue
		}
		free++
		if !suits(j, w) {
			continue
		}
		charged++
		if floor.parts[w.At] == floor.parts[j.goal] && (floor.sure(w.At, j.goal) || floor.tables.Get(j.goal).To(w.At) != roadmap.Unreachable) {
			there++
		}
	}
	switch {
	case able == 0:
		return misfit(j, crowd), false
	case free == 0:
		return fmt.Sprintf("none of the %d robots that could do it is free", able), false
	case charged == 0:
		return fmt.Sprintf("the batteries of the %d free robots that could do it are too low", free), false
	case there == 0:
		return fmt.Sprintf("none of the %d free robots that could do it can get to %s", charged, floor.graph.Vertices[j.goal].ID), false
	}
	return fmt.Sprintf("each of the %d free robots that could do it has a task that is worth more, or a battery that does not last", there), true
}

// misfit says what a task asks for that no robot has.
func misfit(j *job, crowd []*worker) string {
	t := &j.spec
	switch {
	case t.Robot != "":
		return "the robot that it is for is not in the warehouse, or lacks what it needs"
	case t.Fleet != "" && !slices.ContainsFunc(crowd, func(w *worker) bool { return w.Fleet == t.Fleet }):
		return "no robot is of the fleet " + t.Fleet
	case slices.ContainsFunc(crowd, func(w *worker) bool {
		return able(j.needs, w.Capabilities) && (t.Fleet == "" || t.Fleet == w.Fleet) && !w.mayEnter(j)
	}):
		return "no robot that could have it is allowed into the zones of all its places"
	case len(j.needs) > 0:
		return "no robot that may have it can " + strings.Join(j.needs, ", ")
	}
	return "no robot is under the engine's control"
}

// route is the robot's way along its errands and when it is where, and how long traffic holds it up.
func (d *Dry) route(at time.Time, r *Robot, errands []fleet.Vertex) (stops []Stop, wait time.Duration) {
	speed := r.SpeedMPS
	if speed <= 0 {
		speed = d.SpeedMPS
	}
	if speed <= 0 {
		speed = 1
	}
	stops = []Stop{{r.At, at}}
	from := r.At
	for _, e := range errands {
		if len(stops) >= maxRoute {
			break
		}
		way := d.Graph.Route(d.Tables.Get(e), from, maxRoute-len(stops)+1) // from is among the stops
		for i := 1; i < len(way); i++ {
			l, ok := d.Graph.Lane(way[i-1], way[i])
			if !ok {
				break
			}
			top := speed
			if limit := d.Laid.Speed(d.Graph, l); limit > 0 {
				top = min(top, limit)
			}
			at = at.Add(time.Duration(d.Graph.Lanes[l].LengthM / top * float64(time.Second)))
			if f, held := d.Flow[l]; held && f.Cost > f.Free {
				lost := time.Duration(f.Cost-f.Free) * 100 * time.Millisecond
				at, wait = at.Add(lost), wait+lost
			}
			stops = append(stops, Stop{way[i], at})
		}
		from = e
	}
	return stops, wait
}
