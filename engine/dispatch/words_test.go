package dispatch_test

import (
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/task"
)

// A capability with a space in its name is not two capabilities.
func TestCapabilitiesWithSpacesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	r := free("r", 0)
	r.Robot.Capabilities = []string{"fork", "lift"}
	s.Decide(t0, r, nil)
	s.Decide(t0, open("one", 3, func(s *task.Spec) { s.Payload = []byte(`{"requires":["fork lift"]}`) }), nil)
	s.Decide(t0, open("two", 4, func(s *task.Spec) { s.Payload = []byte(`{"requires":["fork","lift"]}`) }), nil)
	got := offers(s.Decide(t0, dispatch.Ticked{}, nil))
	if len(got) != 1 || got["two"] != fleet.RobotID("r") {
		t.Errorf("offers %v", got)
	}
}
