package sim

import (
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// progress is one entry of the reliable lane, kept until the engine says that it has it.
type progress struct {
	number  uint64
	vertex  fleet.Vertex
	heading float64
	at      time.Time
	order   uint64 // that it was driving
}

// visit is a fact: the robot stood on a vertex from then on.
type visit struct {
	vertex fleet.Vertex
	at     time.Duration
}

// device is a robot as it really is. Where it stands is the truth that the laws are held against.
type device struct {
	site  *site
	id    fleet.RobotID
	index int
	stray bool // others control it: it goes where it likes, politely

	// Body.
	at      fleet.Vertex
	to      fleet.Vertex // under way to it, NoVertex = stands
	heading float64
	busy    bool // turning or moving
	cell    cell
	speed   float64       // metres a second
	radius  float64       // metres
	left    time.Duration // when it set off last
	due     time.Duration // when it should be there
	visits  []visit
	moved   time.Duration // of the last departure or arrival
	gone    bool          // taken off the floor
	removed bool          // the engine has said that it is out of the books
	named   bool          // by a task that no other robot may do

	// Mind; lost in a reboot.
	boot       string
	boots      int
	seq        uint64
	number     uint64
	queue      []progress
	base       []fleet.Vertex
	horizon    []fleet.Vertex
	order      uint64
	update     uint32
	notAfter   time.Time
	inc        fleet.Incarnation
	stopped    bool // by the order
	paused     bool // by a command
	commands   map[fleet.CommandID]bool
	silentTill time.Duration
	faultTill  time.Duration
	bootTill   time.Duration
	retrying   bool

	link   *link
	dials  int
	wishes int
}

func newDevice(s *site, i int, at fleet.Vertex, stray bool) *device {
	d := &device{
		site: s, id: fleet.RobotID(s.id(idRobot, i)), index: i, at: at, to: fleet.NoVertex, stray: stray,
		heading: float64(s.w.rng.IntN(4)) * math.Pi / 2, speed: 1, radius: 0.3, commands: map[fleet.CommandID]bool{},
	}
	d.cell = s.newCell()
	d.boots++
	d.boot = "boot-1"
	d.visits = []visit{{at, 0}}
	return d
}

// begin registers the robot and starts its life.
func (d *device) begin() {
	w, s := d.site.w, d.site
	d.register()
	w.clock.after(w.upTo(time.Second), "status", d.status)
	if d.stray {
		w.clock.after(w.upTo(10*time.Second), "stray", d.roam)
		return
	}
	w.clock.after(w.upTo(500*time.Millisecond), "dial", d.dial)
	w.clock.after(time.Second, "repeat", d.repeat)
	if w.Lockstep {
		return
	}
	f := w.Faults
	w.every(scaled(f.LinkDrop, s), "link drop", func() { d.dropLink() })
	w.every(scaled(f.Silence, s), "silence", func() {
		d.silentTill = w.clock.now + w.upTo(40*time.Second)
		w.trace("SILENT %s until %v", short(d.id), d.silentTill)
	})
	w.every(scaled(f.Stop, s), "stop", func() {
		d.faultTill = w.clock.now + w.upTo(20*time.Second)
		w.trace("FAULT %s until %v", short(d.id), d.faultTill)
		w.clock.after(d.faultTill-w.clock.now, "mended", d.drive)
	})
	w.every(scaled(f.Reboot, s), "reboot", d.reboot)
}

// scaled turns a mean time between faults in a warehouse into one of a single robot.
func scaled(mean time.Duration, s *site) time.Duration {
	return mean * time.Duration(max(1, s.w.Robots))
}

// register puts the robot into the books, until that is acknowledged.
func (d *device) register() {
	s := d.site
	spec := robot.Spec{
		ID: d.id, Tenant: s.shard.Tenant, Warehouse: s.shard.Warehouse, Code: string(d.id), Protocol: "link",
		RadiusM: d.radius, MaxSpeedMPS: d.speed, CreatedAt: s.w.now(),
	}
	if d.stray {
		spec.Control, spec.Protocol = fleet.ControlExternal, "rest"
	}
	s.request("register", func(a *ask) {
		s.robot(d.id).mail(robot.RegisterRequested{Spec: spec, IfVersion: -1, By: fleet.Actor{Part: "test"}}, a)
	}, func(result any, err error) {
		if err != nil || result != robot.Done {
			s.w.clock.after(time.Second, "register again", d.register)
		}
	})
}

// holds says whether the robot is, or may go, where it is asked about.
func (d *device) holds(v fleet.Vertex) bool {
	return !d.gone && (d.at == v || d.to == v || d.mayEnter(v))
}

// mayEnter says that v is in the base that the robot obeys.
func (d *device) mayEnter(v fleet.Vertex) bool {
	return slices.Contains(d.base, v) && d.site.w.now().Before(d.notAfter)
}

// drive does the next thing, if there is one to do.
func (d *device) drive() {
	w := d.site.w
	if d.busy || d.gone || w.Lockstep || d.halted() || len(d.base) == 0 {
		return
	}
	next := d.base[0]
	if !w.now().Before(d.notAfter) {
		return
	}
	lane, ok := d.site.graph.Lane(d.at, next)
	if !ok {
		w.fail(2, "robot %s on %d is to drive to %d, where no lane leads", short(d.id), d.at, next)
		return
	}
	l := &d.site.graph.Lanes[lane]
	if turn := angle(d.heading, l.HeadingRad); turn > 0.1 {
		d.busy = true
		w.clock.after(time.Duration(turn/(math.Pi/2)*float64(700*time.Millisecond))+d.slow(300*time.Millisecond), "turned", func() {
			d.busy, d.heading = false, l.HeadingRad
			d.drive()
		})
		return
	}
	if d.obstructed(next) {
		return
	}
	w.laws.floor.departs(d, next)
	d.settle()
	d.to, d.base, d.busy = next, d.base[1:], true
	d.moved = w.clock.now
	took := time.Duration(l.LengthM/d.speed*w.stage.factor(d)*float64(time.Second)) + d.slow(time.Second)
	d.left, d.due = w.clock.now, w.clock.now+took
	w.stage.departed(d, next)
	w.clock.after(took, "arrival", d.arrive)
}

// obstructed says that a robot of others stands in the way: the bumper knows what the engine cannot.
func (d *device) obstructed(v fleet.Vertex) bool {
	for _, o := range d.site.devices {
		if o.stray && !o.gone && (o.at == v || o.to == v) {
			if !d.retrying {
				d.retrying = true
				d.site.w.clock.after(500*time.Millisecond, "look again", func() {
					d.retrying = false
					d.drive()
				})
			}
			return true
		}
	}
	return false
}

func (d *device) slow(of time.Duration) time.Duration {
	w := d.site.w
	if w.calm {
		return 0
	}
	return time.Duration(w.rng.Float64() * w.Faults.Slow * float64(of))
}

func (d *device) arrive() {
	w := d.site.w
	if now := w.clock.now; now < d.faultTill {
		w.clock.after(d.faultTill-now+time.Millisecond, "arrival", d.arrive)
		return
	}
	d.settle()
	d.paid(d.site.graph.Manhattan(d.at, d.to))
	d.at, d.to, d.busy = d.to, fleet.NoVertex, false
	d.moved = w.clock.now
	w.result.Moves++
	d.visits = append(d.visits, visit{d.at, w.clock.now})
	w.stage.arrived(d)
	w.trace("arrived: %s at %d base %v", short(d.id), d.at, d.base)
	w.laws.floor.changed(d)
	if w.clock.now >= d.bootTill {
		d.report()
	}
	d.drive()
}

func (d *device) halted() bool {
	now := d.site.w.clock.now
	return d.flat() || d.stopped || d.paused || now < d.faultTill || now < d.bootTill
}

// report puts where the robot stands on the reliable lane.
func (d *device) report() {
	d.number++
	d.queue = append(d.queue, progress{d.number, d.at, d.heading, d.site.w.now(), d.order})
	d.site.w.laws.bounds.queue("progress", len(d.queue))
	if !d.silent() && d.link != nil {
		d.sendProgress(d.queue[len(d.queue)-1])
	}
}

func (d *device) sendProgress(p progress) {
	boot := d.boot
	d.link.up("progress", func() {
		d.site.robot(d.id).mail(robot.Progressed{BootID: boot, Number: p.number, Vertex: p.vertex, Heading: p.heading, At: p.at, OrderID: p.order}, nil)
	})
}

// repeat sends again what the engine has not acknowledged.
func (d *device) repeat() {
	w := d.site.w
	if d.gone {
		return
	}
	if !d.silent() && d.link != nil {
		for _, p := range d.queue {
			if w.now().Sub(p.at) >= time.Second {
				d.sendProgress(p)
			}
		}
	}
	d.drive()
	w.clock.after(time.Second, "repeat", d.repeat)
}

// acknowledged comes from the engine over the link.
func (d *device) acknowledged(boot string, number uint64) {
	l := d.link
	if l == nil || !l.welcome {
		return
	}
	l.down("high water", func() {
		if d.boot == boot {
			d.queue = slices.DeleteFunc(d.queue, func(p progress) bool { return p.number <= number })
		}
	})
}

func (d *device) silent() bool {
	return d.site.w.clock.now < d.silentTill || d.site.w.clock.now < d.bootTill
}

// status tells how the robot is, each second.
func (d *device) status() {
	w, s := d.site.w, d.site
	if d.gone {
		return
	}
	w.clock.after(time.Second, "status", d.status)
	if d.silent() || !d.stray && d.link == nil {
		return
	}
	d.seq++
	d.settle()
	m := &robot.StatusReported{
		BootID: d.boot, Seq: d.seq, At: w.now(), Battery: d.cell.level, State: fleet.Idle,
		Pose: d.pose(),
	}
	switch {
	case w.clock.now < d.faultTill:
		m.State = fleet.Error
		m.Errors = []fleet.RobotError{{Code: "stuck", Level: fleet.LevelFatal, Message: "a fault"}}
	case d.paused:
		m.State = fleet.Paused
	case d.to != fleet.NoVertex:
		m.State, m.Velocity = fleet.Moving, 1
	case d.plugged():
		m.State = fleet.Charging
	}
	deliver := func() {
		m.ReceivedAt = w.now()
		s.robot(d.id).mail(m, nil)
	}
	if d.stray {
		life := s.life
		w.clock.after(w.upTo(w.Mail.Delay), "status", func() {
			if s.life == life && life%2 == 1 {
				deliver()
			}
		})
		return
	}
	d.link.up("status", deliver)
}

// pose is where the robot is; half way while it moves.
func (d *device) pose() fleet.Pose {
	g := d.site.graph
	a := &g.Vertices[d.at]
	p := fleet.Pose{X: a.X, Y: a.Y, Theta: d.heading}
	if d.to != fleet.NoVertex {
		b := &g.Vertices[d.to]
		p.X, p.Y = (a.X+b.X)/2, (a.Y+b.Y)/2
	}
	return p
}

// reboot forgets everything but where the robot stands; a move under way is ended without a word.
func (d *device) reboot() {
	w := d.site.w
	w.trace("REBOOT %s", short(d.id))
	d.dropLink()
	d.boots++
	d.boot = "boot-" + itoa(d.boots)
	d.seq, d.number, d.order, d.update, d.inc = 0, 0, 0, 0, 0
	d.queue, d.base, d.horizon = nil, nil, nil
	d.stopped, d.paused = false, false
	d.notAfter = time.Time{}
	clear(d.commands)
	d.bootTill = w.clock.now + 2*time.Second + w.upTo(5*time.Second)
}

// becalm mends the robot.
func (d *device) becalm() {
	w := d.site.w
	d.silentTill = min(d.silentTill, w.clock.now)
	d.faultTill = min(d.faultTill, w.clock.now)
	if d.stray && !d.gone {
		d.remove()
	}
	d.drive()
}

// remove takes a robot off the floor, and out of the books until that is acknowledged. An answer may get lost with the
// robot's actor: it is asked again all the same.
func (d *device) remove() {
	s := d.site
	d.gone = true
	if d.removed {
		return
	}
	s.clearAt = s.w.clock.now + time.Second
	s.w.clock.after(time.Second, "remove again", d.remove)
	s.request("remove", func(a *ask) {
		s.robot(d.id).mail(robot.RemoveRequested{IfVersion: -1, By: fleet.Actor{Part: "test"}}, a)
	}, func(result any, err error) {
		if err == nil && result != robot.Conflict {
			d.removed = true
		}
	})
}

// roam moves a robot of others by one vertex now and then, where nobody is or may go.
func (d *device) roam() {
	w, g := d.site.w, d.site.graph
	if d.gone {
		return
	}
	out := g.Out[d.at]
	if to := g.Lanes[out[w.rng.IntN(len(out))]].To; !slices.ContainsFunc(d.site.devices, func(o *device) bool { return o.holds(to) }) {
		d.at = to
		w.laws.floor.changed(d)
	}
	w.clock.after(5*time.Second+w.upTo(20*time.Second), "stray", d.roam)
}

// angle is between two headings, 0..pi.
func angle(a, b float64) float64 {
	d := math.Mod(math.Abs(a-b), 2*math.Pi)
	return min(d, 2*math.Pi-d)
}
