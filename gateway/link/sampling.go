package link

import (
	"starling/engine/fleet"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// Two ask robots for a rate: each robot's core, for this robot, by what it is about; and the tenant's quota, for all that
// a stream carries. The lesser of both holds: what the quota says goes to all handles, and after it, again, the wishes
// that are below it. A sender obeys what it was told last.

// handlesASampling is how many robots one frame asks.
const handlesASampling = 1000

// AskRate implements the actors' port: the robot is to report so many statuses a second.
func (s *Server) AskRate(id fleet.RobotID, hz float64) {
	if c := s.route(id); c != nil && !c.gone.Load() {
		c.stream.putWish(c.handle, float32(hz))
	}
}

// wish is the rate that a robot's core wants of it.
type wish struct {
	hz     float32 // 0 = none
	queued bool    // it waits to be sent
}

func (t *stream) putWish(handle uint32, hz float32) {
	t.mu.Lock()
	for len(t.wishes) < int(handle) {
		t.wishes = append(t.wishes, wish{})
	}
	if w := &t.wishes[handle-1]; w.hz != hz {
		w.hz = hz
		if handle <= t.known { // else its welcome lets it out
			t.ask(handle)
		}
	}
	t.mu.Unlock()
	t.nudge()
}

// ask has the robot's wish sent. t.mu is held.
func (t *stream) ask(handle uint32) {
	if w := &t.wishes[handle-1]; w.hz > 0 && !w.queued {
		w.queued = true
		t.unasked = append(t.unasked, handle)
	}
}

// askAgain follows a bound for all, or its end: whoever wants less is asked again. t.mu is held.
func (t *stream) askAgain() {
	for h := uint32(1); int(h) <= len(t.wishes) && h <= t.known; h++ {
		if w := t.wishes[h-1]; t.most == 0 || w.hz < t.most {
			t.ask(h)
		}
	}
}

// slowDown tells the sender of all at which rate to report; bounded = that is a bound, and no longer the end of one.
func (t *stream) slowDown(hz float64, bounded bool) {
	t.mu.Lock()
	t.sampling = &linkv1.Sampling{StatusHz: float32(hz)}
	t.most = 0
	if bounded {
		t.most = float32(hz)
	}
	t.mu.Unlock()
	t.nudge()
}

// nextWish takes the robots that want the rate of the first that waits; nil = nobody waits. t.mu is held.
func (t *stream) nextWish() *linkv1.Sampling {
	if len(t.unasked) == 0 {
		return nil
	}
	hz := func(h uint32) float32 {
		if w := t.wishes[h-1].hz; t.most == 0 || w < t.most {
			return w
		}
		return t.most
	}
	m := &linkv1.Sampling{StatusHz: hz(t.unasked[0])}
	rest := t.unasked[:0]
	for _, h := range t.unasked {
		if len(m.Handle) < handlesASampling && hz(h) == m.StatusHz {
			m.Handle = append(m.Handle, h)
			t.wishes[h-1].queued = false
		} else {
			rest = append(rest, h)
		}
	}
	t.unasked = rest
	return m
}
