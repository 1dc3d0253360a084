package rest

import (
	"fmt"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

func TestWaitsAreListedByChainAndAge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	wait := func(robot, holder fleet.RobotID, age time.Duration) fleet.Wait {
		return fleet.Wait{Robot: robot, Holder: holder, Cause: fleet.CauseOccupied, Since: now.Add(-age)}
	}
	v := &dispatch.View{At: now, Cycles: [][]fleet.RobotID{{"d", "e"}}, Waits: []fleet.Wait{
		wait("a", "b", time.Second), wait("b", "c", time.Second), wait("c", "", time.Minute), // c waits for nobody
		wait("d", "e", time.Minute), wait("d", "a", time.Hour), wait("e", "d", time.Second), wait("f", "f", time.Minute),
	}}
	all := func(fleet.RobotID) bool { return true }
	list := func(b waitsBody) (s string) {
		for _, w := range b.Waits {
			s += w.RobotID + w.HolderID + " "
		}
		return s
	}
	b := waitsOf(v, "a", all)
	if got := list(b); got != "ab bc de ed " || b.Total != 4 || len(b.Cycles) != 1 || b.Waits[0].Cause != "occupied" {
		t.Errorf("all: %q of %d, cycles %v", got, b.Total, b.Cycles)
	}
	// A chain is told wherever it leads; a ring is told once round.
	if got := list(waitsOf(v, "e", func(fleet.RobotID) bool { return false })); got != "ed de " {
		t.Errorf("the chain of e: %q", got)
	}
	if got := list(waitsOf(v, "", func(id fleet.RobotID) bool { return id == "b" })); got != "de ed bc " { // rings are told wherever they are
		t.Errorf("inside: %q", got)
	}
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	v := &dispatch.View{}
	for i := range 3 * maxWaits {
		v.Waits = append(v.Waits, fleet.Wait{Robot: fleet.RobotID(fmt.Sprint(i)), Holder: fleet.RobotID(fmt.Sprint(i + 1))})
	}
	if b := waitsOf(v, "7", func(fleet.RobotID) bool { return true }); len(b.Waits) != maxWaits || b.Total != 3*maxWaits || b.Waits[0].RobotID != "7" {
		t.Errorf("%d of %d, the first of %s", len(b.Waits), b.Total, b.Waits[0].RobotID)
	}
}
