package sim

import (
	"math/rand/v2"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// Battery says what robots' batteries pay and get. The zero value is a battery that always says 80 %.
type Battery struct {
	PerM, PerS, PerCharge float64 // share of a full battery per metre, per second, per second at a charger
	Chargers, Parks       int     // of a warehouse
	Least                 float64 // level at first, at least
	Belief                float64 // what the warehouse's rules take for the rates, as a share of the true ones
}

// randomBattery draws one for a floor of this edge and so many robots, or none. A full one lasts for any task that clients
// ask for, with the rules' margin and reserve, and not for many.
func randomBattery(r *rand.Rand, side, robots int) Battery {
	if r.IntN(3) == 0 {
		return Battery{}
	}
	b := Battery{
		PerM: (0.35 + 0.35*r.Float64()) / float64(12*side), PerCharge: 1 / (40 + 60*r.Float64()),
		Chargers: 1 + r.IntN(1+robots/3), Least: 0.3 + 0.5*r.Float64(), Belief: 0.8 + 0.4*r.Float64(),
	}
	b.PerS = b.PerM / (10 + 20*r.Float64())
	if r.IntN(2) == 0 {
		b.Parks = 1 + r.IntN(robots)
	}
	return b
}

// rules are the warehouse's, as somebody set them who knows the robots a little.
func (b *Battery) rules() dispatch.RulesChanged {
	m := dispatch.RulesChanged{Charging: dispatch.UsualCharging(), Parking: dispatch.UsualParking()}
	if b.PerM > 0 {
		c := &m.Charging
		c.Reserve, c.Critical, c.Low = 0.12, 0.18, 0.3
		c.PerM, c.PerS, c.ChargePerS = b.PerM*b.Belief, b.PerS*b.Belief, b.PerCharge*b.Belief
	}
	return m
}

// furnish puts chargers and parking places on the floor. It has not been shown to anybody yet.
func (s *site) furnish() {
	b := &s.w.Battery
	if b.Chargers+b.Parks == 0 {
		return
	}
	for v := range s.graph.Vertices {
		s.graph.Vertices[v].Parking = s.graph.Vertices[v].Parking && b.Parks == 0
	}
	r := rand.New(rand.NewPCG(s.w.Seed, uint64(s.number)+0xba77))
	for i, v := range r.Perm(len(s.graph.Vertices)) {
		switch {
		case i < b.Chargers:
			s.graph.Vertices[v].Charging = true
		case i < b.Chargers+b.Parks:
			s.graph.Vertices[v].Parking = true
		default:
			return
		}
	}
}

// cell is a device's battery as it really is.
type cell struct {
	level float64
	at    time.Duration // when it was settled last
}

// newCell is a battery at the beginning.
func (s *site) newCell() cell {
	b := &s.w.Battery
	if b.PerM <= 0 {
		return cell{level: 0.8}
	}
	r := rand.New(rand.NewPCG(s.w.Seed, uint64(len(s.devices))+0xce11))
	return cell{level: b.Least + (1-b.Least)*r.Float64()}
}

// settle brings the battery to now, before the device begins or ends to do something.
func (d *device) settle() {
	b := &d.site.w.Battery
	now := d.site.w.clock.now
	seconds := (now - d.cell.at).Seconds()
	d.cell.at = now
	if b.PerM <= 0 || d.gone {
		return
	}
	if d.plugged() {
		gain := min(1-d.cell.level, b.PerCharge*seconds)
		d.cell.level += gain
		d.site.w.result.Charged += gain
	} else {
		d.cell.level = max(0, d.cell.level-b.PerS*seconds)
	}
}

// plugged says that it stands at a charger.
func (d *device) plugged() bool {
	return d.to == fleet.NoVertex && d.site.graph.Vertices[d.at].Charging && d.site.w.Battery.PerM > 0
}

// paid takes what a move of so many metres costs.
func (d *device) paid(metres float64) {
	d.cell.level = max(0, d.cell.level-d.site.w.Battery.PerM*metres)
	d.site.w.result.Lowest = min(d.site.w.result.Lowest, d.cell.level)
}

// flat says that it cannot move any more.
func (d *device) flat() bool { return d.cell.level <= 0 }

// longestIdle is how long a free robot and an open task that it can do may be there side by side when faults have ended.
const longestIdle = 30 * time.Second

// supply is part of law 9: no robot is ever stranded with an empty battery, and none that is free, has charge enough and
// can get there stays without an open task for longer than its bound.
type supply struct {
	w    *World
	next time.Duration
	idle map[fleet.RobotID]time.Duration // since when it has been free
}

// stepped looks once a simulated second.
func (l *supply) stepped() {
	w := l.w
	if w.clock.now < l.next {
		return
	}
	l.next = w.clock.now + time.Second
	for _, s := range w.sites {
		for _, d := range s.devices {
			if d.settle(); d.flat() && !d.gone && !d.stray {
				w.fail(9, "robot %s is stranded on %d with an empty battery", short(d.id), d.at)
			}
		}
		if w.calm && !w.DeadEnds && w.clock.now > max(w.Chaos, s.clearAt)+graceAfterFaults {
			l.assigned(s)
		}
	}
}

// busy is how many robots have tasks.
func (s *site) busy() int {
	n := 0
	var v robot.View
	for _, r := range s.robotList {
		if r.state.View(&v); v.Task != "" {
			n++
		}
	}
	return n
}

// assigned holds robots that are free against tasks that are open.
func (l *supply) assigned(s *site) {
	w := l.w
	if w.Active > 0 && s.busy() >= w.Active { // as many as may hold tasks: the others have to wait
		clear(l.idle)
		return
	}
	for _, r := range s.robotList {
		if !l.free(r) {
			delete(l.idle, r.id)
			continue
		}
		since, ok := l.idle[r.id]
		if !ok {
			since = w.clock.now
			l.idle[r.id] = since
		}
		if w.clock.now-since < longestIdle {
			continue
		}
		for _, id := range s.clients.acked {
			t := s.journal.taskState(id)
			if t == nil || t.Status != fleet.TaskCreated || w.now().Sub(t.UpdatedAt) < longestIdle || t.Spec.Robot != "" && t.Spec.Robot != r.id {
				continue
			}
			if s.way(s.byID[r.id].at, t.Spec.Errands[0]) {
				w.fail(9, "robot %s (on %d, battery %.2f) has been free for %v, and task %s to %v open for %v", short(r.id), s.byID[r.id].at,
					s.byID[r.id].cell.level, w.clock.now-since, short(id), t.Spec.Errands, w.now().Sub(t.UpdatedAt))
			}
		}
	}
}

// free says that a robot could take any task: by its body and by what its actor knows.
func (l *supply) free(r *robotActor) bool {
	d := r.site.byID[r.id]
	if !r.up || d.gone || d.stray || d.link == nil || d.cell.level < 0.75 {
		return false
	}
	var v robot.View
	r.state.View(&v)
	return dispatch.RobotOf(&v).Free
}

// way says that there is a way from one vertex to another, as lanes are now.
func (s *site) way(from, to fleet.Vertex) bool {
	return len(s.graph.Route(s.tables.Get(to), from, 2)) > 0
}
