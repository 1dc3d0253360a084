package dispatch

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// Charging are the rules of a warehouse's batteries. Levels are shares of a full battery, 0..1.
type Charging struct {
	Off      bool    // the robots live by the mains, or somebody else looks after their batteries
	Reserve  float64 // what is left when a robot gets to a charger after its task
	Critical float64 // below it a robot gets no work but charging
	Low      float64 // below it a robot without a task goes to charge first, where a charger is free
	Leave    float64 // a robot that charges may leave for work from here on
	Comfort  float64 // below it a robot that has nothing to do charges meanwhile
	Full     float64 // charging ends here
	// What is assumed of a robot whose statuses have not told yet: its battery's share per metre, per second that it
	// stands, and per second at a charger.
	PerM, PerS, ChargePerS float64
	Margin                 float64 // predictions are multiplied by it: detours, age, cold
}

// UsualCharging are the rules of a warehouse of which nothing is said: a battery for 20 km or 18 h, full in an hour.
func UsualCharging() Charging {
	return Charging{
		Reserve: 0.10, Critical: 0.15, Low: 0.25, Leave: 0.50, Comfort: 0.80, Full: 0.95,
		PerM: 5e-5, PerS: 1.5e-5, ChargePerS: 2.8e-4, Margin: 1.3,
	}
}

// standsToo is how many seconds a robot stands for each that it drives, as predictions have it: others go first.
const standsToo = 1.0

// learns is how much of a battery robots must have been seen to use until what they say counts as much as the rules.
const learns = 0.02

// rates are what a robot's battery pays per metre, per second that it stands, and gets per second at a charger: as its
// statuses tell, weighed against the rules.
func (c *Charging) rates(p *robot.Power) (perM, perS, gain float64) {
	perS = (p.IdleDrop + learns) / (p.IdleS + learns/max(c.PerS, 1e-9))
	perM = (max(0, p.DriveDrop-perS*p.DriveS) + learns) / (p.DriveM + learns/max(c.PerM, 1e-9))
	gain = (p.Gain + learns) / (p.ChargeS + learns/max(c.ChargePerS, 1e-9))
	return perM, perS, gain
}

// need is the share of its battery that a way of so many metres takes a robot, with the margin.
func (c *Charging) need(r *Robot, metres float64) float64 {
	perM, perS, _ := c.rates(&r.Power)
	speed := r.SpeedMPS
	if speed <= 0 {
		speed = 1
	}
	return c.Margin * metres * (perM + perS*(1+standsToo)/speed)
}

// field is how far it is from each vertex to the nearest charger.
type field struct {
	cost    []uint32 // deciseconds, as in roadmap.Table
	nearest []fleet.Vertex
	changes uint64
	at      time.Time
}

// fieldAgain is how long a field may be older than the closures in force.
const fieldAgain = 30 * time.Second

const farAway = math.MaxUint32

// survey makes the field of the graph's chargers anew, where that is due.
func (y *yard) survey(now time.Time, on ground) bool {
	if len(y.bays) == 0 || y.field.cost != nil && (on.tables.Changes() == y.field.changes || now.Sub(y.field.at) < fieldAgain) {
		return false
	}
	y.field = newField(on, y.bays)
	y.field.changes, y.field.at = on.tables.Changes(), now
	return true
}

// newField is Dijkstra's algorithm from all chargers at once, over the lanes backwards.
func newField(on ground, bays []bay) field {
	g := on.graph
	f := field{cost: make([]uint32, len(g.Vertices)), nearest: make([]fleet.Vertex, len(g.Vertices))}
	for v := range f.cost {
		f.cost[v], f.nearest[v] = farAway, fleet.NoVertex
	}
	var q frontier
	for i := range bays {
		v := bays[i].at
		f.cost[v], f.nearest[v] = 0, v
		heap.Push(&q, reached{0, v})
	}
	lanes := on.tables.Get(bays[0].at) // what lanes cost, and which are open, all tables know
	for len(q) > 0 {
		x := heap.Pop(&q).(reached) //nolint:forcetypeassert // the heap holds nothing else
		if x.cost > f.cost[x.vertex] {
			continue
		}
		for _, l := range g.In[x.vertex] {
			c, open := lanes.Lane(g, l)
			u := g.Lanes[l].From
			if !open || x.cost+uint32(c) >= f.cost[u] {
				continue
			}
			f.cost[u], f.nearest[u] = x.cost+uint32(c), f.nearest[x.vertex]
			heap.Push(&q, reached{f.cost[u], u})
		}
	}
	return f
}

type reached struct {
	cost   uint32
	vertex fleet.Vertex
}

type frontier []reached

func (q frontier) Len() int           { return len(q) }
func (q frontier) Less(i, j int) bool { return q[i].cost < q[j].cost }
func (q frontier) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *frontier) Push(x any)        { *q = append(*q, x.(reached)) } //nolint:forcetypeassert // nobody pushes anything else
func (q *frontier) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// toCharger is how many metres it is from a vertex to the nearest charger, and which one that is; 0 and none where the
// map has none, or it is not known yet.
func (y *yard) toCharger(v fleet.Vertex) (float64, fleet.Vertex) {
	if int(v) >= len(y.field.cost) || v < 0 || y.field.cost[v] == farAway {
		return 0, fleet.NoVertex
	}
	return float64(y.field.cost[v]) / 10, y.field.nearest[v]
}

// detour is how much longer the way is than the straight one along the axes, where it is not known.
const detour = 1.3

// tail is how many metres a task takes from its first errand to its last, and from there to a charger.
func (y *yard) tail(j *job) float64 {
	home, _ := y.toCharger(j.spec.Errands[len(j.spec.Errands)-1])
	return detour*j.rest + home
}

// measure notes what a task takes beyond its first errand.
func (s *State) measure(j *job) {
	if s.graph != nil && j.goal != fleet.NoVertex {
		j.tail = s.yard.tail(j)
	}
}

// low says that the robot gets no work but charging: its battery is critical, or it charges and is not to leave yet.
func (w *worker) low() bool {
	c := w.rules()
	return !c.Off && (w.Battery < c.Critical || w.Move.Kind == robot.MoveCharge && w.Battery < c.Leave)
}

func (w *worker) rules() *Charging {
	if w.charging == nil {
		u := UsualCharging()
		w.charging = &u
	}
	return w.charging
}

// lasts says that the robot's battery lasts for the task, so many metres away, and for the way to a charger afterwards.
func (w *worker) lasts(j *job, metres float64) bool {
	c := w.rules()
	return c.Off || j.spec.Type == fleet.Charge || w.Battery >= c.need(&w.Robot, metres+j.tail)+c.Reserve
}

// lack says that batteries keep a task from every robot: in words, and which robot is to charge for it, "" = none: what
// the task needs is more than charging gives.
type lack struct {
	text  string
	robot fleet.RobotID
}

// shortage says that batteries alone keep the task from every robot that could have it, with numbers.
func (s *State) shortage(j *job) (lack, bool) {
	if s.charging.Off || j.goal == fleet.NoVertex || j.spec.Type == fleet.Charge {
		return lack{}, false
	}
	var best *worker
	missing := func(w *worker) float64 {
		return s.charging.need(&w.Robot, s.graph.Manhattan(w.At, j.goal)+j.tail) + s.charging.Reserve - w.Battery
	}
	for _, w := range s.robots {
		if !w.Free || !on(s.graph, w.At) || !s.yard.could(j, w) || s.market.ground.parts[w.At] != s.market.ground.parts[j.goal] {
			continue
		}
		if !w.low() && missing(w) <= 0 {
			return lack{}, false
		}
		if best == nil || cmp.Or(cmp.Compare(missing(w), missing(best)), cmp.Compare(w.ID, best.ID)) < 0 {
			best = w
		}
	}
	if best == nil {
		return lack{}, false
	}
	needs := best.Battery + missing(best)
	text := fmt.Sprintf("needs %s, robot %s has %s", percent(max(needs, s.charging.Critical)), best.ID, percent(best.Battery))
	if best.Move.Kind == robot.MoveCharge && best.Battery < s.charging.Leave {
		text = fmt.Sprintf("needs %s, robot %s has %s and charges until %s", percent(needs), best.ID, percent(best.Battery), percent(s.charging.Leave))
	}
	last := j.spec.Errands[len(j.spec.Errands)-1]
	if m, at := s.yard.toCharger(last); at != fleet.NoVertex {
		text += fmt.Sprintf(", charger %s is %.0f m from its end", s.named(at), m)
	} else {
		text += ", the map has no charger that it could reach"
	}
	if needs > 1 {
		text += "; a full battery is not enough"
	}
	l := lack{text: text}
	if needs <= s.charging.Full {
		l.robot = best.ID
	}
	return l, true
}

// could says that the robot may have the task if its battery lets it.
func (y *yard) could(j *job, w *worker) bool {
	full := worker{Robot: w.Robot, charging: &Charging{Off: true}}
	return suits(j, &full)
}

// percent writes a share for people.
func percent(share float64) string { return fmt.Sprintf("%.0f %%", share*100) }

// named is a vertex as people call it.
func (s *State) named(v fleet.Vertex) string {
	if !on(s.graph, v) {
		return "?"
	}
	if n := s.graph.Vertices[v].Name; n != "" {
		return n
	}
	return s.graph.Vertices[v].ID
}

// maxShort bounds the tasks of which it is told that batteries keep them waiting.
const maxShort = 64

// noteShort finds out which of the tasks that have waited longest wait for batteries.
func (s *State) noteShort() {
	clear(s.yard.short)
	clear(s.yard.chosen)
	for _, t := range s.taskWait[:min(len(s.taskWait), maxShort)] {
		if j := s.tasks[t.Task]; j != nil && (t.Cause == fleet.CauseNoRobot || t.Cause == fleet.CauseBattery) {
			if l, ok := s.shortage(j); ok {
				s.yard.short[t.Task] = l.text
				if l.robot != "" {
					s.yard.chosen[l.robot] = true
				}
			}
		}
	}
}

// cause is why a task has no robot that could be given one.
func (y *yard) cause(id fleet.TaskID) (fleet.Cause, string) {
	if text, ok := y.short[id]; ok {
		return fleet.CauseBattery, text
	}
	return fleet.CauseNoRobot, ""
}
