package link

import (
	"context"
	"time"

	"starling/engine/fleet"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// Quotas bounds what all streams of a tenant may use together.
type Quotas interface {
	// TakeStatuses takes as many of n statuses as the tenant may send now.
	TakeStatuses(ctx context.Context, tenant fleet.TenantID, n int) (taken int)
	// CarryRobot takes a place for one more robot of the tenant; leave, to be called once, gives it back. false = there
	// are as many as may be.
	CarryRobot(ctx context.Context, tenant fleet.TenantID) (leave func(), ok bool)
}

// What is over the quota is not folded: of a frame's statuses as many are taken as there is room for, in turns, so that
// every robot is heard of. The reader does not stop: order progress and acknowledgements come on the same stream behind
// the statuses, and neither is ever dropped or held up. The sender is told at which rate all its statuses would be taken.

const (
	// tellEvery is how often a sender is told to slow down, or that it may go faster again.
	tellEvery = time.Second
	slowest   = 0.05 // statuses a second and robot: nobody is told to be silent
	quicken   = 1.25 // how much faster a sender may go after each tellEvery in which all was taken
)

// sampled keeps what a stream sends and what of it is taken. Its reader owns it.
type sampled struct {
	since          time.Time
	offered, taken int
	turn           int     // with which status of a frame taking begins, where not all are taken
	asked          float64 // the rate that the sender was told, 0 = none
	before         float64 // at which it sent when it was told first
}

// admit says how many of n statuses may be folded and with which to begin.
func (t *stream) admit(ctx context.Context, now time.Time, n int) (first, taken int) {
	q := t.server.Quotas
	if q == nil {
		return 0, n
	}
	s := &t.sampled
	taken = q.TakeStatuses(ctx, t.who.Tenant, n)
	s.offered, s.taken = s.offered+n, s.taken+taken
	if taken < n {
		t.server.metrics.dropped.WithLabelValues("over_quota").Add(float64(n - taken))
		first = s.turn % n
		s.turn = (first + taken) % n
	}
	switch passed := now.Sub(s.since); {
	case s.since.IsZero():
		s.since = now
	case passed >= tellEvery:
		if hz := s.rate(passed, len(t.robots)); hz > 0 {
			t.putSampling(hz)
		}
		s.since, s.offered, s.taken = now, 0, 0
	}
	return first, taken
}

// rate is what the sender is to be told after a while in which so much was offered and taken by so many robots; 0 =
// nothing.
func (s *sampled) rate(passed time.Duration, robots int) float64 {
	if robots == 0 {
		return 0
	}
	each := 1 / (passed.Seconds() * float64(robots))
	switch {
	case s.taken < s.offered:
		if s.asked == 0 {
			s.before = float64(s.offered) * each
		}
		s.asked = max(slowest, float64(s.taken)*each)
	case s.asked == 0:
		return 0
	default:
		if s.asked *= quicken; s.asked >= s.before {
			asked := s.before
			s.asked, s.before = 0, 0
			return asked
		}
	}
	return s.asked
}

// putSampling tells the sender at which rate to report: the newest such wish counts.
func (t *stream) putSampling(hz float64) {
	t.mu.Lock()
	t.sampling = &linkv1.Sampling{StatusHz: float32(hz)}
	t.mu.Unlock()
	t.nudge()
}

// place takes a place for the robot, unless a stream carries it already, whose place it then becomes.
func (s *Server) place(ctx context.Context, c *carried) bool {
	if s.Quotas == nil || s.route(c.id) != nil {
		return true
	}
	leave, ok := s.Quotas.CarryRobot(ctx, c.stream.who.Tenant)
	if !ok {
		s.metrics.dropped.WithLabelValues("robots_over_quota").Inc()
		return false
	}
	c.leave = leave
	return true
}

// moveTo hands the place on to another way to the same robot; one place too many is given back. The part of the table is
// locked.
func (c *carried) moveTo(other *carried) {
	switch {
	case c.leave == nil:
	case other.leave == nil:
		other.leave, c.leave = c.leave, nil
	default:
		c.vacate()
	}
}

// vacate gives the place back. The part of the table is locked.
func (c *carried) vacate() {
	if c.leave != nil {
		c.leave()
		c.leave = nil
	}
}
