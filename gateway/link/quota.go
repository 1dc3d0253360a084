package link

import (
	"context"
	"slices"
	"time"

	"starling/engine/fleet"
)

// Quotas bounds what all streams of a tenant may use together.
type Quotas interface {
	// TakeStatuses takes as many of n statuses as the tenant may send now. It never waits: order progress comes behind.
	TakeStatuses(tenant fleet.TenantID, n int) (taken int)
	// CarryRobot takes a place for one more robot of the tenant; leave, to be called once, gives it back. false = there
	// are as many as may be.
	CarryRobot(ctx context.Context, tenant fleet.TenantID) (leave func(), ok bool)
}

// What is over the quota is not folded: of a frame's statuses as many are taken as there is room for, the newest of each
// robot, in turns, so that every robot is heard of. The reader neither stops nor waits for it: order progress and
// acknowledgements come on the same stream behind the statuses, and neither is ever dropped or held up by them.

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
	turn           int     // with which robot of a frame taking begins, where not all are taken
	asked          float64 // the rate that the sender was told, 0 = none
	before         float64 // at which it sent when it was told first

	// Scratch of frames of which not all is taken.
	frame  uint64   // counts them
	seen   []uint64 // by handle - 1: the frame of its last status
	places []int32
	picked []int32
}

// admit says which statuses of a frame may be folded, by their place in it; nil = all of them. What it returns is valid
// until the next call.
func (t *stream) admit(now time.Time, handles []uint32) (places []int32, all bool) {
	q := t.server.Quotas
	if q == nil {
		return nil, true
	}
	s, n := &t.sampled, len(handles)
	taken := q.TakeStatuses(t.who.Tenant, n)
	if all = taken >= n; !all {
		places = s.newest(handles, len(t.robots))
		taken = min(taken, len(places))
		places = s.turns(places, taken)
		t.server.metrics.dropped.WithLabelValues("over_quota").Add(float64(n - taken))
	}
	s.offered, s.taken = s.offered+n, s.taken+taken
	switch passed := now.Sub(s.since); {
	case s.since.IsZero():
		s.since = now
	case passed >= tellEvery:
		if hz := s.rate(passed, len(t.robots)); hz > 0 {
			t.slowDown(hz, s.asked > 0)
		}
		s.since, s.offered, s.taken = now, 0, 0
	}
	return places, all
}

// newest are the places of each robot's last status in a frame.
func (s *sampled) newest(handles []uint32, robots int) []int32 {
	s.frame++
	if len(s.seen) < robots {
		s.seen = make([]uint64, robots)
	}
	s.places = s.places[:0]
	for i, h := range slices.Backward(handles) {
		if s.seen[h-1] != s.frame {
			s.seen[h-1] = s.frame
			s.places = append(s.places, int32(i))
		}
	}
	slices.Reverse(s.places)
	return s.places
}

// turns picks so many of the places: those after the ones that were picked last.
func (s *sampled) turns(places []int32, taken int) []int32 {
	if len(places) == 0 {
		return nil
	}
	first := s.turn % len(places)
	s.turn = (first + taken) % len(places)
	s.picked = s.picked[:0]
	for j := range taken {
		s.picked = append(s.picked, places[(first+j)%len(places)])
	}
	return s.picked
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

// placed takes the place that place has spared c, where the way that had it was gone before carry could hand it on.
func (s *Server) placed(ctx context.Context, c *carried) bool {
	p := s.part(c.id)
	p.mu.RLock()
	has := s.Quotas == nil || c.leave != nil
	p.mu.RUnlock()
	if has {
		return true
	}
	leave, ok := s.Quotas.CarryRobot(ctx, c.stream.who.Tenant)
	if !ok {
		s.metrics.dropped.WithLabelValues("robots_over_quota").Inc()
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.m[c.id]; now != nil && now.leave == nil { // c, or whoever took over meanwhile
		now.leave = leave
		return true
	}
	leave()
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
