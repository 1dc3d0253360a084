package robots

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// bot is one virtual robot. Its carrier's goroutine owns it.
type bot struct {
	Robot
	index  int
	handle uint32 // 0 = not welcome yet
	boot   string
	seq    uint64
	rng    *rand.Rand // its delays depend on the seed and its index alone

	at          uint32 // its number on the map of atRoad
	atRoad      road
	x, y, theta float64
	speed       float64
	battery     float64
	settled     time.Time // battery is of then
	charging    bool

	road     road // of base and horizon
	orderID  uint64
	updateID uint32
	inc      int64
	base     []*linkv1.Waypoint
	horizon  []*linkv1.Waypoint
	notAfter time.Time

	busy   bool // moving or turning: an event will end it
	moving bool
	from   [2]float64
	to     *linkv1.Waypoint
	toRoad road
	depart time.Time
	arrive time.Time

	paused  bool // by command
	held    bool // by the order
	stopped bool // by a fault
	silent  bool
	rest    int64 // beats from status to status, 0 = as often as was agreed at first
	turn    int64 // the last one it took
	errors  bool  // the error list must be sent

	progress uint64
	pending  []*linkv1.Progress // not yet covered by the high-water mark
	unsent   int                // of pending: the first that this stream has not sent
}

// road is the order that a waypoint comes from, and the map on which its number is.
type road struct {
	order   uint64 // 0 = none yet
	mapID   string
	version uint32
}

// step looks what the robot can do now: turn, move, or wait.
func (c *carrier) step(now time.Time, b *bot) {
	if b.busy || b.stopped || b.paused || b.held || c.flat(b) {
		return
	}
	target := b.next(now)
	if target == nil {
		b.speed = 0
		return
	}
	heading := math.Atan2(float64(target.Y)-b.y, float64(target.X)-b.x)
	if turn := quarters(b.theta, heading); turn > 0 && c.fleet.o.Motion.QuarterTurn > 0 {
		b.busy, b.speed = true, 0
		c.push(now.Add(time.Duration(turn)*c.fleet.o.Motion.QuarterTurn), func(at time.Time) { c.turned(at, b, heading) })
		return
	}
	b.theta = heading
	if len(b.base) == 0 {
		b.speed = 0
		return
	}
	if d := c.delay(b); d > 0 {
		b.busy, b.speed = true, 0
		c.push(now.Add(d), func(at time.Time) { c.late(at, b) })
		return
	}
	c.depart(now, b)
}

// late ends a delay. Whatever came meanwhile counts: a pause, a fault, the end of the lease, another way to face.
func (c *carrier) late(now time.Time, b *bot) {
	b.busy = false
	if b.stopped || b.paused || b.held || len(b.base) == 0 || b.next(now) == nil ||
		quarters(b.theta, math.Atan2(float64(b.base[0].Y)-b.y, float64(b.base[0].X)-b.x)) > 0 {
		c.step(now, b)
		return
	}
	c.depart(now, b)
}

// depart begins the move to the first vertex of the base.
func (c *carrier) depart(now time.Time, b *bot) {
	c.settle(now, b)
	b.busy, b.moving, b.to, b.from, b.depart = true, true, b.base[0], [2]float64{b.x, b.y}, now
	b.toRoad = b.road
	b.arrive = now.Add(c.travel(b))
	c.push(b.arrive, func(at time.Time) { c.arrived(at, b) })
}

// next is where it drives or, with nothing granted, turns to.
func (b *bot) next(now time.Time) *linkv1.Waypoint {
	if len(b.base) > 0 {
		if !b.notAfter.IsZero() && now.After(b.notAfter) {
			return nil // the lease is over: ask by standing still
		}
		return b.base[0]
	}
	if len(b.horizon) > 0 {
		return b.horizon[0]
	}
	return nil
}

// travel is how long the move to b.to takes: from the present speed, up to the limit, and so that the robot can stop
// where its grants end.
func (c *carrier) travel(b *bot) time.Duration {
	d := math.Hypot(float64(b.to.X)-b.x, float64(b.to.Y)-b.y)
	room := 0.0 // what it may roll on after this vertex, straight ahead
	for i := 1; i < len(b.base); i++ {
		p, q := b.base[i-1], b.base[i]
		if quarters(b.theta, math.Atan2(float64(q.Y-p.Y), float64(q.X-p.X))) > 0 {
			break
		}
		room += math.Hypot(float64(q.X-p.X), float64(q.Y-p.Y))
	}
	took, exit := c.fleet.o.Motion.Travel(d, float64(b.to.MaxSpeedMps), b.speed, room)
	b.speed = exit
	return took
}

// Travel is how long a move of d metres takes, and the speed at its end: from speed v0 up to the limit (0 = none but the
// robot's own), so that the robot can stop within room metres after it.
func (m Motion) Travel(d, limit, v0, room float64) (took time.Duration, exit float64) {
	top := m.SpeedMPS
	if limit > 0 {
		top = min(top, limit)
	}
	if m.AccelMPS2 <= 0 {
		return seconds(d / top), v0
	}
	exit = min(top, math.Sqrt(2*m.AccelMPS2*room))
	v0 = min(v0, top)
	exit = min(exit, math.Sqrt(v0*v0+2*m.AccelMPS2*d))
	peak := min(top, math.Sqrt((2*m.AccelMPS2*d+v0*v0+exit*exit)/2))
	ramps := (peak*peak-v0*v0)/(2*m.AccelMPS2) + (peak*peak-exit*exit)/(2*m.AccelMPS2)
	return seconds((peak-v0)/m.AccelMPS2 + (peak-exit)/m.AccelMPS2 + max(0, d-ramps)/peak), exit
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// quarters counts the quarter turns between two headings, 0..2.
func quarters(from, to float64) int {
	d := math.Abs(math.Remainder(to-from, 2*math.Pi))
	return int(d/(math.Pi/2) + 0.5)
}

func (c *carrier) delay(b *bot) time.Duration {
	d := c.fleet.o.Delays
	if d.P <= 0 || b.rng.Float64() >= d.P {
		return 0
	}
	span := float64(d.Max - d.Min)
	return min(max(d.Min+time.Duration(span*(d.Mean+d.Std*b.rng.NormFloat64())), d.Min), d.Max)
}

func (c *carrier) turned(now time.Time, b *bot, heading float64) {
	b.busy, b.theta = false, heading
	c.report(now, b, linkv1.ProgressKind_PROGRESS_KIND_TURNED)
	c.step(now, b)
}

func (c *carrier) arrived(now time.Time, b *bot) {
	from := b.at
	c.settle(b.arrive, b)
	b.busy, b.moving = false, false
	b.at, b.x, b.y, b.atRoad = b.to.Vertex, float64(b.to.X), float64(b.to.Y), b.toRoad
	b.battery = max(0, b.battery-c.fleet.o.Battery.PerM*math.Hypot(b.x-b.from[0], b.y-b.from[1]))
	if len(b.base) > 0 && b.here(b.base[0]) {
		b.base = b.base[1:]
	}
	c.fleet.Stats.Moves.Add(1)
	if f := c.fleet.o.OnMove; f != nil {
		f(Move{Robot: b.index, From: from, To: b.at, Depart: b.depart, Arrive: b.arrive})
	}
	c.report(b.arrive, b, linkv1.ProgressKind_PROGRESS_KIND_ARRIVED)
	c.step(now, b)
}

// report adds to the reliable lane.
func (c *carrier) report(at time.Time, b *bot, kind linkv1.ProgressKind) {
	b.progress++
	b.pending = append(b.pending, &linkv1.Progress{
		Handle: b.handle, Number: b.progress, AtMs: at.UnixMilli(), Vertex: b.at, Heading: float32(b.theta), OrderId: b.atRoad.order, Kind: kind,
	})
	c.dirty = true
}

// take obeys an order: the whole truth about what it may drive. What it is entering already cannot be taken back.
func (c *carrier) take(now time.Time, b *bot, o *linkv1.Order) {
	if o.Incarnation < b.inc || o.OrderId < b.orderID || o.OrderId == b.orderID && o.UpdateId <= b.updateID {
		return
	}
	c.fleet.Stats.Orders.Add(1)
	b.inc, b.orderID, b.updateID = o.Incarnation, o.OrderId, o.UpdateId
	b.road = road{o.OrderId, o.MapId, o.MapVersion}
	b.base, b.horizon, b.held = o.Base, o.Horizon, o.Paused
	b.base = b.base[b.reached(b.base):]
	b.notAfter = time.Time{}
	if o.NotAfterMs > 0 {
		b.notAfter = time.UnixMilli(o.NotAfterMs)
	}
	c.step(now, b)
}

// reached counts the vertices at the head of base that it had reached before the order came: those of its latest
// arrivals of which the engine has not said that it knows. A way that leads back to where it stands is no such thing.
func (b *bot) reached(base []*linkv1.Waypoint) int {
	if !b.sameMap() {
		if k := slices.IndexFunc(base, b.here); k >= 0 {
			return k + 1
		}
		return 0
	}
	var unknown []uint32
	for _, p := range b.pending {
		if p.Kind == linkv1.ProgressKind_PROGRESS_KIND_ARRIVED {
			unknown = append(unknown, p.Vertex)
		}
	}
	for k := min(len(unknown), len(base)); k > 0; k-- {
		if slices.EqualFunc(unknown[len(unknown)-k:], base[:k], func(v uint32, w *linkv1.Waypoint) bool { return v == w.Vertex }) {
			return k
		}
	}
	if len(base) > 0 && b.here(base[0]) {
		return 1
	}
	return 0
}

// sameMap says that where it stands is numbered as its order is.
func (b *bot) sameMap() bool {
	return b.atRoad.order == 0 || b.atRoad.mapID == b.road.mapID && b.atRoad.version == b.road.version
}

// here says that w is where it stands: by its number or, where another map counts otherwise, by its place.
func (b *bot) here(w *linkv1.Waypoint) bool {
	if b.sameMap() {
		return w.Vertex == b.at
	}
	return math.Hypot(float64(w.X)-b.x, float64(w.Y)-b.y) < 0.01
}

// command obeys and answers.
func (c *carrier) command(now time.Time, b *bot, m *linkv1.Command) {
	c.fleet.Stats.Commands.Add(1)
	done := true
	switch m.Kind {
	case linkv1.CommandKind_COMMAND_KIND_PAUSE, linkv1.CommandKind_COMMAND_KIND_STOP:
		b.paused = true
	case linkv1.CommandKind_COMMAND_KIND_RESUME:
		b.paused = false
	case linkv1.CommandKind_COMMAND_KIND_CLEAR_ERRORS:
		b.errors = b.errors || b.stopped
		b.stopped = false
	case linkv1.CommandKind_COMMAND_KIND_GO_TO, linkv1.CommandKind_COMMAND_KIND_CHARGE, linkv1.CommandKind_COMMAND_KIND_UNSPECIFIED:
		done = false // the engine sends an order, and knows when the robot is there
	}
	c.acks = append(c.acks, ack{b, &linkv1.CommandAck{CommandId: m.CommandId, Stage: linkv1.CommandStage_COMMAND_STAGE_ACKNOWLEDGED}})
	if done {
		c.acks = append(c.acks, ack{b, &linkv1.CommandAck{CommandId: m.CommandId, Stage: linkv1.CommandStage_COMMAND_STAGE_DONE}})
	}
	c.step(now, b)
}

// fault makes something happen to a robot, and ends it again.
func (c *carrier) fault(now time.Time, b *bot, f Fault) {
	switch f.Kind {
	case FaultStop:
		b.stopped, b.errors = true, true
		c.push(now.Add(f.For), func(at time.Time) {
			b.stopped, b.errors = false, true
			c.step(at, b)
		})
	case FaultSilent:
		b.silent = true
		c.push(now.Add(f.For), func(time.Time) { b.silent, c.dirty = false, true })
	case FaultReboot:
		b.boot += "'"
		b.seq, b.progress, b.pending, b.unsent = 0, 0, nil, 0
		b.orderID, b.updateID, b.base, b.horizon = 0, 0, nil, nil
		c.hangUp = true
	}
}

// state is what it says of itself.
func (b *bot) state() linkv1.RobotState {
	switch {
	case b.stopped:
		return linkv1.RobotState_ROBOT_STATE_ERROR
	case b.paused:
		return linkv1.RobotState_ROBOT_STATE_PAUSED
	case b.moving:
		return linkv1.RobotState_ROBOT_STATE_MOVING
	case b.charging:
		return linkv1.RobotState_ROBOT_STATE_CHARGING
	case len(b.base)+len(b.horizon) > 0:
		return linkv1.RobotState_ROBOT_STATE_WAITING
	}
	return linkv1.RobotState_ROBOT_STATE_IDLE
}

// say adds its status to a batch.
func (c *carrier) say(now time.Time, b *bot, to *linkv1.StatusBatch) {
	c.settle(now, b)
	x, y, v := b.place(now)
	to.Handle, to.Seq, to.TsMs = append(to.Handle, b.handle), append(to.Seq, b.seq), append(to.TsMs, now.UnixMilli())
	to.X, to.Y, to.Theta = append(to.X, float32(x)), append(to.Y, float32(y)), append(to.Theta, float32(b.theta))
	to.VelocityMps, to.BatterySoc = append(to.VelocityMps, float32(v)), append(to.BatterySoc, float32(b.battery))
	to.State = append(to.State, b.state())
	if !b.errors {
		return
	}
	e := &linkv1.RobotErrors{Handle: b.handle}
	if b.stopped {
		e.Errors = []*linkv1.RobotError{{Code: "simulated", Level: linkv1.ErrorLevel_ERROR_LEVEL_FATAL, Message: "stopped by the scenario"}}
	}
	to.Errors = append(to.Errors, e)
}

// place is where it is at this moment, between two vertices while it moves.
func (b *bot) place(now time.Time) (x, y, speed float64) {
	if !b.moving || !now.After(b.depart) || !b.arrive.After(b.depart) {
		return b.x, b.y, 0
	}
	s := min(1, float64(now.Sub(b.depart))/float64(b.arrive.Sub(b.depart)))
	dx, dy := float64(b.to.X)-b.from[0], float64(b.to.Y)-b.from[1]
	return b.from[0] + s*dx, b.from[1] + s*dy, math.Hypot(dx, dy) / b.arrive.Sub(b.depart).Seconds()
}
