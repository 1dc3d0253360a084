package sim

import (
	"slices"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// leases is law 3, a lease that ends blocks and does not free: no zone grants a vertex on which another robot
// stands, into which it moves, which it still may enter, or which its own core believes to hold, however silent the
// robot is; and none grants outside the shard's own lease.
type leases struct{ w *World }

func (l *leases) granted(z *zoneActor, g fleet.Grant) {
	s, w := z.site, l.w
	if len(g.Vertices) == 0 {
		return
	}
	if now := w.now(); !now.Before(s.lease()) || now.Before(s.noGrantsUntil) {
		w.fail(3, "%v grants %v to robot %s outside of the lease (until %v, none before %v)", z, g.Vertices, short(g.Robot), s.lease(), s.noGrantsUntil)
	}
	for _, o := range s.devices {
		if o.id == g.Robot || o.gone || o.stray {
			continue
		}
		for _, v := range g.Vertices {
			if w.Lockstep && !o.mayEnter(v) {
				continue // it may be leaving in this very step: law 2 looks at the step itself
			}
			if o.holds(v) {
				w.fail(3, "%v grants %v to robot %s, but robot %s is on %d, goes to %d and may enter %v until %v",
					z, g.Vertices, short(g.Robot), short(o.id), o.at, o.to, o.base, o.notAfter.Sub(w.epoch))
				return
			}
		}
	}
	for _, r := range s.robotList {
		if r.id == g.Robot || !r.up || s.byID[r.id].gone {
			continue
		}
		var v robot.View
		r.state.View(&v)
		if !w.now().Before(v.Lease) {
			continue // it may not enter what it holds: an operator may have cleared it
		}
		if k := slices.IndexFunc(g.Vertices, func(x fleet.Vertex) bool { return slices.Contains(v.Base, x) }); k >= 0 {
			w.fail(3, "%v grants %v to robot %s, but robot %s holds %v", z, g.Vertices, short(g.Robot), short(r.id), v.Base)
			return
		}
	}
}
