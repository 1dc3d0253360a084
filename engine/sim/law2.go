package sim

import (
	"slices"

	"starling/engine/fleet"
	"starling/engine/zone"
)

// floor is law 2, one occupant and at most one successor per vertex, and no swaps: held against where the robots
// really are, and against what they have really been told to enter. On the road, a vertex is entered only when its
// former occupant has arrived at its next; in lock-step, robots may follow each other and rotate in one step.
type floor struct {
	w     *World
	dirty []*device
}

// books: a zone's own account of who stands where and who comes next agrees with itself after every message.
func (l *floor) books(z *zoneActor, m zone.Msg) {
	if err := z.state.Audit(); err != nil {
		l.w.fail(2, "%v after %T: %v", z, m, err)
	}
}

// departs is called before a robot on the road sets off towards next.
func (l *floor) departs(d *device, next fleet.Vertex) {
	for _, o := range d.site.devices {
		if o != d && !o.gone && !o.stray && (o.at == next || o.to == next) {
			l.w.fail(2, "robot %s enters %d from %d, while robot %s is on %d and goes to %d", short(d.id), next, d.at, short(o.id), o.at, o.to)
		}
	}
}

// changed notes that a robot is elsewhere, or may go elsewhere, than before.
func (l *floor) changed(d *device) { l.dirty = append(l.dirty, d) }

// stepped compares what has changed with all others.
func (l *floor) stepped() {
	for _, d := range l.dirty {
		for _, o := range d.site.devices {
			if o != d && !o.stray && !d.stray && !o.gone && !d.gone {
				l.compare(d, o)
			}
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *floor) compare(d, o *device) {
	if d.at == o.at && !(l.w.Lockstep && d.busy) {
		l.w.fail(2, "robots %s and %s are both on %d", short(d.id), short(o.id), d.at)
		return
	}
	for _, v := range d.base {
		if !d.mayEnter(v) {
			break
		}
		if o.mayEnter(v) || !l.w.Lockstep && (o.at == v || o.to == v) {
			l.w.fail(2, "robot %s on %d may enter %v, but robot %s is on %d, goes to %d and may enter %v",
				short(d.id), d.at, d.base, short(o.id), o.at, o.to, o.base)
			return
		}
	}
	if l.w.Lockstep {
		return
	}
	for _, v := range o.base {
		if o.mayEnter(v) && (d.at == v || d.to == v) {
			l.w.fail(2, "robot %s is on %d and goes to %d, but robot %s may enter %v", short(d.id), d.at, d.to, short(o.id), o.base)
			return
		}
	}
}

// together checks the moves of one lock-step: no two end on one vertex, nobody enters where somebody stays, no swaps.
func (l *floor) together(s *site) {
	ends := map[fleet.Vertex]*device{}
	for _, d := range s.devices {
		v := d.at
		if d.to != fleet.NoVertex {
			v = d.to
		}
		if o := ends[v]; o != nil {
			l.w.fail(2, "robots %s (from %d) and %s (from %d) are both on %d after this step", short(d.id), d.at, short(o.id), o.at, v)
		}
		ends[v] = d
	}
	for _, d := range s.devices {
		k := slices.IndexFunc(s.devices, func(o *device) bool { return o.at == d.to && o.to == d.at && d.to != fleet.NoVertex })
		if k >= 0 {
			l.w.fail(2, "robots %s and %s change places between %d and %d", short(d.id), short(s.devices[k].id), d.at, d.to)
		}
	}
}
