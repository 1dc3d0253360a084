package zone

import (
	"testing"
	"time"
)

// Who claims from beyond the border is spoken for by its own zone: asked by us, the robot would give itself a new version
// that its zone does not know, and refuse what we grant to its claim.
func TestAClaimantFromBeyondTheBorderIsNotAskedWhatItHolds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &State{}
	in := guest{used: true, wanted: true, heard: now.Add(-doubtAfter), foreign: foreignClaim{neighbour: none}}
	if !s.doubtful(now, &in) {
		t.Error("a silent robot of ours in somebody's way is not asked")
	}
	out := in
	out.foreign.neighbour = 0
	if s.doubtful(now, &out) {
		t.Error("a neighbour's robot that claims is asked")
	}
}
