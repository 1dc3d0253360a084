package sim

import (
	"slices"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

// keepSome keeps robots out of some vertices and, after a while, lets them in again.
func (c *clients) keepSome() {
	w, s := c.s.w, c.s
	var vs []fleet.Vertex
	for range 1 + w.rng.IntN(4) {
		vs = append(vs, fleet.Vertex(w.rng.IntN(len(s.graph.Vertices))))
	}
	slices.Sort(vs)
	c.keepOut(slices.Compact(vs))
	w.clock.after(w.upTo(20*time.Second), "let in", func() { c.keepOut(nil) })
}

// keepOut replaces the kept-out vertices: on record first, then the dispatcher is told until it has heard.
func (c *clients) keepOut(vs []fleet.Vertex) {
	c.s.keptOut = vs
	c.s.keptOutNo++
	c.tellKept(c.s.keptOutNo)
}

func (c *clients) tellKept(no int) {
	s := c.s
	if s.keptOutNo != no {
		return
	}
	s.request("keep out", func(a *ask) {
		if s.keptOutNo == no {
			s.dispatcher.mail(dispatch.OverlaysChanged{KeepOut: s.keptOut}, nil)
		}
		a.reply(nil, nil)
	}, func(_ any, err error) {
		if err != nil || !s.dispatcher.up {
			s.w.clock.after(time.Second, "keep out again", func() { c.tellKept(no) })
		}
	})
}

// takeSome takes a robot that will not speak again off the floor: then it says so to the engine, until that is done,
// which is not before the robot's leases have ended and its task is with another.
func (c *clients) takeSome() {
	s := c.s
	d := s.devices[s.w.rng.IntN(len(s.devices))]
	if d.stray || d.gone || d.named || s.taken >= len(s.devices)/4 {
		return // a task for it alone would never end
	}
	s.taken++
	s.w.trace("TAKEN off the floor: %s from %d", short(d.id), d.at)
	d.dropLink()
	d.remove()
}
