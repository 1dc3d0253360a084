package hall

import (
	"math"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// target is where the robot drives or, with nothing granted, turns to.
func (b *bot) target() (v fleet.Vertex, granted bool) {
	switch {
	case len(b.order.Base) > 0:
		return b.order.Base[0], true
	case len(b.order.Horizon) > 0:
		return b.order.Horizon[0], false
	}
	return fleet.NoVertex, false
}

// way is how far the robot has to turn towards a neighbour vertex, and the lane that leads there.
func (b *bot) way(target fleet.Vertex) (lane int32, turn float64, ok bool) {
	if target == fleet.NoVertex {
		return 0, 0, false
	}
	if lane, ok = b.graph.Lane(b.at, target); !ok {
		return 0, 0, false
	}
	return lane, math.Remainder(b.graph.Lanes[lane].HeadingRad-b.heading, 2*math.Pi), true
}

const aligned = 0.1 // radians

// act does one action of lock-step: a quarter turn towards the next vertex, or the move to it where it is granted.
func (h *Hall) act(b *bot, begin time.Time) {
	target, granted := b.target()
	_, turn, ok := b.way(target)
	switch {
	case !ok:
		return
	case math.Abs(turn) > aligned:
		b.heading = math.Remainder(b.heading+math.Copysign(min(math.Abs(turn), math.Pi/2), turn), 2*math.Pi)
		h.report(b, h.now)
	case granted:
		h.arrive(b, target, begin, h.now)
	}
}

// arrive ends a move.
func (h *Hall) arrive(b *bot, to fleet.Vertex, depart, at time.Time) {
	from := b.at
	b.at = to
	if len(b.order.Base) > 0 && b.order.Base[0] == to {
		b.order.Base = b.order.Base[1:]
	}
	if h.OnMove != nil {
		h.OnMove(Move{Robot: b.number, From: from, To: to, Depart: depart, Arrive: at})
	}
	h.report(b, at)
}

func (h *Hall) report(b *bot, at time.Time) {
	b.seq++
	b.box.Tell(robot.Progressed{BootID: boot, Number: b.seq, Vertex: b.at, Heading: b.heading, At: at})
}

// drive ends what the robot was about until now, and goes on.
func (h *Hall) drive(b *bot) {
	h.delay(b)
	for b.busy && !b.till.After(h.now) {
		at := b.till
		b.busy = false
		switch {
		case b.to != fleet.NoVertex:
			to := b.to
			b.to = fleet.NoVertex
			h.arrive(b, to, b.depart, at)
		case b.turning:
			b.turning = false
			h.report(b, at)
		}
		h.begin(b, at)
	}
}

// delay throws for each second since the last time whether the robot is late from now on.
func (h *Hall) delay(b *bot) {
	d := h.Delays
	for ; d.P > 0 && h.now.Sub(b.checked) >= time.Second; b.checked = b.checked.Add(time.Second) {
		if b.checked.Before(b.late) || h.rng.Float64() >= d.P {
			continue
		}
		span := float64(d.Max - d.Min)
		b.late = b.checked.Add(min(max(d.Min+time.Duration(span*(d.Mean+d.Std*h.rng.NormFloat64())), d.Min), d.Max))
	}
}

// begin starts the next turn, move or wait, where the robot has something to do.
func (h *Hall) begin(b *bot, now time.Time) {
	if b.busy || b.order.Paused {
		return
	}
	target, granted := b.target()
	lane, turn, ok := b.way(target)
	switch {
	case !ok || granted && !b.order.NotAfter.IsZero() && now.After(b.order.NotAfter):
		b.speed = 0
	case now.Before(b.late):
		b.busy, b.till, b.speed = true, b.late, 0
	case math.Abs(turn) > aligned && h.Motion.QuarterTurn > 0:
		quarters := math.Round(math.Abs(turn) / (math.Pi / 2))
		b.heading = math.Remainder(b.heading+turn, 2*math.Pi)
		b.busy, b.turning, b.till, b.speed = true, true, now.Add(time.Duration(quarters)*h.Motion.QuarterTurn), 0
	case granted:
		l := &b.graph.Lanes[lane]
		took, exit := h.Motion.Travel(l.LengthM, l.SpeedMPS, b.speed, b.room())
		b.busy, b.to, b.depart, b.till, b.speed = true, target, now, now.Add(took), exit
	default:
		b.speed = 0
	}
}

// room is how far the robot may roll on after the next vertex, straight ahead.
func (b *bot) room() float64 {
	room := 0.0
	for i := 1; i < len(b.order.Base); i++ {
		lane, ok := b.graph.Lane(b.order.Base[i-1], b.order.Base[i])
		if !ok || math.Abs(math.Remainder(b.graph.Lanes[lane].HeadingRad-b.heading, 2*math.Pi)) > aligned {
			break
		}
		room += b.graph.Lanes[lane].LengthM
	}
	return room
}
