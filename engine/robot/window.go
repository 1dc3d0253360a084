package robot

import "math"

// The robot's congestion window: how many vertices it may lease ahead. One more for each vertex passed without a wait,
// half as many after a refusal or a deviation; between what it needs to brake and the cap. Additive increase and multiplicative decrease are TCP's (Chiu and Jain 1989), motion notes §4.

// brakingMPS2 is the deceleration that every robot is taken to manage, and latencyS the time in seconds in which a grant
// reaches nearly every robot.
const (
	brakingMPS2 = 1.0
	latencyS    = 0.3
)

// braking is the least window: the vertices that lie within the braking distance from top speed and what the robot drives
// until a grant reaches it, and the one that it is driving to.
func (s *State) braking() int {
	least := s.rules.Window0
	if s.graph == nil || !s.on(s.at) {
		return least
	}
	length, n := 0.0, 0
	for _, l := range s.graph.Out[s.at] {
		length += s.graph.Lanes[l].LengthM
		n++
	}
	if v := s.spec.MaxSpeedMPS; n > 0 && length > 0 {
		least = max(least, 1+int(math.Ceil((v*v/(2*brakingMPS2)+v*latencyS)/(length/float64(n)))))
	}
	return min(least, s.rules.WindowMax)
}

// widen allows one vertex more, narrow half as many.
func (s *State) widen() { s.window = min(max(s.window+1, s.braking()), s.rules.WindowMax) }

func (s *State) narrow() { s.window = max(s.window/2, s.braking()) }
