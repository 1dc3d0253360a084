package sim

import (
	"math"
	"time"

	"starling/engine/fleet"
)

// actTogether lets all robots of a lock-step world do one thing at once, near the end of each step: a quarter turn or
// a move.
func (s *site) actTogether() {
	w := s.w
	w.clock.after(time.Second-w.clock.now%time.Second-100*time.Millisecond, "act", func() { s.act() })
}

func (s *site) act() {
	w := s.w
	for _, d := range s.devices {
		d.choose()
	}
	w.laws.floor.together(s)
	w.clock.after(99*time.Millisecond, "step done", func() {
		for _, d := range s.devices {
			d.finish()
		}
		for _, d := range s.devices {
			w.laws.floor.changed(d)
		}
	})
	w.clock.after(time.Second, "act", s.act)
}

// choose begins the robot's one action of this step.
func (d *device) choose() {
	w := d.site.w
	d.to, d.busy = fleet.NoVertex, false
	towards := fleet.NoVertex
	switch {
	case d.halted() || d.gone:
	case len(d.base) > 0 && w.now().Before(d.notAfter):
		towards = d.base[0]
	case len(d.base) == 0 && len(d.horizon) > 0:
		towards = d.horizon[0]
	}
	if towards == fleet.NoVertex {
		return
	}
	lane, ok := d.site.graph.Lane(d.at, towards)
	if !ok {
		if len(d.base) > 0 {
			w.fail(2, "robot %s on %d is to drive to %d, where no lane leads", short(d.id), d.at, towards)
		}
		return
	}
	heading := d.site.graph.Lanes[lane].HeadingRad
	w.trace("choose: %s at %d faces %.2f, lane to %d %.2f base %v until %v", short(d.id), d.at, d.heading, towards, heading, d.base, d.notAfter.Sub(w.epoch))
	if angle(d.heading, heading) > 0.1 {
		d.busy = true
		left := math.Mod(heading-d.heading+4*math.Pi, 2*math.Pi) <= math.Pi+0.1
		if left {
			d.heading = math.Mod(d.heading+math.Pi/2, 2*math.Pi)
		} else {
			d.heading = math.Mod(d.heading-math.Pi/2+2*math.Pi, 2*math.Pi)
		}
		return
	}
	if len(d.base) > 0 {
		d.settle()
		d.to, d.base, d.busy = towards, d.base[1:], true
		d.left, d.due = w.clock.now, w.clock.now+99*time.Millisecond
		w.stage.departed(d, towards)
	}
}

// finish ends it and reports.
func (d *device) finish() {
	if !d.busy {
		return
	}
	d.busy = false
	if d.to != fleet.NoVertex {
		w := d.site.w
		d.settle()
		d.paid(d.site.graph.Manhattan(d.at, d.to))
		d.at, d.to = d.to, fleet.NoVertex
		d.moved = w.clock.now
		d.visits = append(d.visits, visit{d.at, w.clock.now})
		w.result.Moves++
		w.stage.arrived(d)
		w.trace("arrived: %s at %d base %v", short(d.id), d.at, d.base)
	}
	d.report()
}
