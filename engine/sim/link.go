package sim

import (
	"slices"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// link is one stream between a robot and the gateway: ordered both ways, until it ends.
type link struct {
	d        *device
	session  uint64
	life     int // of the house
	lastUp   time.Duration
	lastDown time.Duration
	welcome  bool
	closed   bool
}

// up carries something to the engine, in order.
func (l *link) up(what string, deliver func()) { l.carry(&l.lastUp, what, deliver) }

// down carries something to the robot, in order.
func (l *link) down(what string, deliver func()) { l.carry(&l.lastDown, what, deliver) }

func (l *link) carry(last *time.Duration, what string, deliver func()) {
	w := l.d.site.w
	*last = max(*last, w.clock.now+w.upTo(w.Mail.Delay))
	w.clock.after(*last-w.clock.now, what, func() {
		if !l.closed && l.d.site.life == l.life {
			deliver()
		}
	})
}

// dial opens a link, again and again until one stands.
func (d *device) dial() {
	w, s := d.site.w, d.site
	if d.link != nil || d.gone {
		return
	}
	again := func() { w.clock.after(500*time.Millisecond+w.upTo(time.Second), "dial", d.dial) }
	if s.life%2 == 0 || w.clock.now < d.bootTill || w.clock.now < d.silentTill {
		again()
		return
	}
	d.dials++
	l := &link{d: d, session: uint64(w.now().UnixMicro()) + uint64(d.dials), life: s.life}
	d.link = l
	hello := robot.LinkOpened{
		Session: l.session, BootID: d.boot, At: d.at, Heading: d.heading, ProgressNo: d.number,
	}
	if d.to != fleet.NoVertex {
		hello.Base = append(hello.Base, d.to)
	}
	if w.now().Before(d.notAfter) {
		hello.Base = append(hello.Base, d.base...)
	} else {
		d.base = nil // what it may not use any more, it does not claim
	}
	w.trace("hello: %s at %d base %v progress %d", short(d.id), hello.At, hello.Base, hello.ProgressNo)
	l.up("hello", func() {
		r := s.robot(d.id)
		if !r.up || r.folded == 0 { // the gateway's request times out or finds no such robot
			d.dropLink()
			return
		}
		l.welcome = true
		r.mail(hello, nil)
		done := r.state.Progress()
		l.down("welcome", func() {
			d.queue = slices.DeleteFunc(d.queue, func(p progress) bool { return p.number <= done })
			for _, p := range d.queue {
				d.sendProgress(p)
			}
		})
	})
}

// dropLink ends the link; the robot dials again.
func (d *device) dropLink() {
	w, s := d.site.w, d.site
	l := d.link
	if l == nil {
		return
	}
	d.link, l.closed = nil, true
	w.trace("LINK of %s ends", short(d.id))
	if life := s.life; life == l.life && l.welcome {
		w.clock.after(w.upTo(time.Second), "link closed", func() {
			if s.life == life {
				s.robot(d.id).mail(robot.LinkClosed{Session: l.session}, nil)
			}
		})
	}
	w.clock.after(500*time.Millisecond+w.upTo(4*time.Second), "dial", d.dial)
}

// sendOrder carries an order down; without a link it is lost.
func (d *device) sendOrder(o robot.Order) {
	l := d.link
	if l == nil || !l.welcome {
		return
	}
	l.down("order", func() { d.obey(o) })
}

// obey takes an order: it is state, and replaces what the robot had.
func (d *device) obey(o robot.Order) {
	w := d.site.w
	if o.Incarnation < d.inc || o.ID < d.order || o.ID == d.order && o.Update <= d.update || w.clock.now < d.bootTill {
		return
	}
	d.inc, d.order, d.update, d.stopped = o.Incarnation, o.ID, o.Update, o.Paused
	base := o.Base
	k := -1 // index of the robot's place in the base; -1 = From
	here := d.at
	if d.to != fleet.NoVertex {
		here = d.to
	}
	if here != o.From {
		if k = slices.Index(base, here); k < 0 {
			w.trace("order: %s cannot use %v from %d, it is at %d", short(d.id), base, o.From, here)
			d.base, d.horizon = nil, nil // nothing of it is granted from where it is
			return
		}
	}
	d.base, d.horizon, d.notAfter = base[k+1:], o.Horizon, o.NotAfter
	w.trace("order: %s at %d (to %d) from %d base %v until %v", short(d.id), d.at, d.to, o.From, d.base, o.NotAfter.Sub(w.epoch))
	w.laws.floor.changed(d)
	d.drive()
}

// sendCommand carries a command down.
func (d *device) sendCommand(c robot.Command) {
	l := d.link
	if l == nil || !l.welcome {
		return
	}
	l.down("command", func() { d.command(c) })
}

// command does what it is told, once, and says so as often as it is told.
func (d *device) command(c robot.Command) {
	w := d.site.w
	if w.clock.now < d.bootTill || !w.now().Before(c.ExpiresAt) {
		return
	}
	if !d.commands[c.ID] {
		d.commands[c.ID] = true
		switch c.Kind {
		case fleet.CommandPause, fleet.CommandStop:
			d.paused = true
		case fleet.CommandResume:
			d.paused = false
			d.drive()
		case fleet.CommandGoTo, fleet.CommandCharge, fleet.CommandClearErrors:
		}
	}
	if d.silent() {
		return
	}
	for _, stage := range []fleet.Stage{fleet.StageAcknowledged, fleet.StageDone} {
		if d.link != nil {
			d.link.up("ack", func() {
				d.site.robot(d.id).mail(robot.CommandAcknowledged{ID: c.ID, Stage: stage}, nil)
			})
		}
	}
}

// request carries a client's request; the answer comes back, or the connection ends with the house.
func (s *site) request(what string, send func(a *ask), answer func(result any, err error)) {
	w := s.w
	w.clock.after(w.upTo(20*time.Millisecond), what, func() {
		if s.life%2 == 0 {
			w.clock.after(0, what, func() { answer(nil, fact.ErrUnavailable) })
			return
		}
		send(&ask{answer: func(result any, err error) {
			w.clock.after(w.upTo(20*time.Millisecond), what, func() { answer(result, err) })
		}})
	})
}
