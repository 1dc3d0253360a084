package congestion

import (
	"testing"
	"time"

	"starling/engine/fleet"
)

// stage plays bins for Acts.
type stage struct {
	acts  *Acts
	now   time.Time
	steps []Step
}

func newStage(automatic int, kinds ...ActionKind) *stage {
	s := Usual().Acting
	s.Automatic = automatic
	s.Remedies = [ActionKinds]bool{}
	for _, k := range kinds {
		s.Remedies[k] = true
	}
	return &stage{acts: NewActs(s), now: time.Unix(1_800_000_000, 0)}
}

// play closes so many bins with the same scores, in each of which so many tasks end.
func (s *stage) play(bins, tasks int, scores ...Score) []Step {
	var out []Step
	for range bins {
		s.now = s.now.Add(Bin)
		for range tasks {
			s.acts.TaskEnded()
		}
		for i := range scores {
			scores[i].At = s.now
		}
		out = append(out, s.acts.Review(s.now, scores)...)
	}
	s.steps = append(s.steps, out...)
	return out
}

func zoneScore(level int, index, density float64) Score {
	return Score{Subject: Subject{Of: OfZone, ID: "z"}, Level: level, Index: index, Density: density, Critical: 0.2, Capacity: 200, Occupancy: int(200 * density), Queue: 5}
}

func kinds(steps []Step) []StepKind {
	out := make([]StepKind, len(steps))
	for i := range steps {
		out[i] = steps[i].Kind
	}
	return out
}

func TestAJamHoldsTasksBackAndIsLetGoStepByStep(t *testing.T) {
	t.Parallel()
	s := newStage(3, HoldTasks)
	if got := s.play(6, 2, zoneScore(0, 0.1, 0.05)); len(got) != 0 {
		t.Fatalf("on a calm floor it did %+v", got)
	}
	got := s.play(1, 2, zoneScore(1, 0.5, 0.15))
	if len(got) != 1 || got[0].Kind != Applied || got[0].Remedy.Kind != HoldTasks || !got[0].Remedy.Automatic || got[0].Reason == "" {
		t.Fatalf("a jam led to %+v", got)
	}
	if r := s.acts.Relief(); r.Most["z"] != 20 {
		t.Fatalf("relief %+v, want 20 robots: a tenth of the vertices", r)
	}
	s.play(3, 2, zoneScore(0, 0.05, 0.05)) // it clears: more robots after half a minute
	if r := s.acts.Relief(); r.Most["z"] != 25 {
		t.Errorf("after half a minute of calm %+v, want 25", r)
	}
	got = s.play(60, 2, zoneScore(0, 0.05, 0.05))
	if len(got) == 0 || got[len(got)-1].Kind != Undone || len(s.acts.InForce()) != 0 {
		t.Errorf("it still holds when the jam is long over: %v", kinds(got))
	}
}

func TestWhatDoesNotHelpIsTightenedThenTakenBackAndNotTriedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(3, HoldTasks)
	jam := zoneScore(2, 0.5, 0.15)
	s.play(lookBack, 2, zoneScore(1, 0.5, 0.01)) // too few robots there: not held
	s.play(1, 2, jam)
	got := s.play(18, 2, jam) // three minutes
	if len(got) != 1 || got[0].Kind != Measured || s.acts.Relief().Most["z"] != 14 {
		t.Fatalf("after the first look %v, relief %+v, want 14 robots", kinds(got), s.acts.Relief())
	}
	got = s.play(36, 2, jam)
	if len(got) != 3 || got[2].Kind != Undone || len(s.acts.InForce()) != 0 {
		t.Fatalf("after the third look %v", kinds(got))
	}
	if got = s.play(30, 2, jam); len(got) != 0 {
		t.Errorf("within five minutes it was tried again: %v", kinds(got))
	}
	if got = s.play(40, 2, jam); len(got) == 0 || got[0].Kind != Applied {
		t.Errorf("after ten minutes it is not tried again: %v", kinds(got))
	}
}

func TestWhatHelpsStays(t *testing.T) {
	t.Parallel()
	s := newStage(3, HoldTasks)
	s.play(6, 2, zoneScore(2, 0.5, 0.15))
	s.play(60, 2, zoneScore(2, 0.3, 0.15)) // the index falls
	if len(s.acts.InForce()) != 1 {
		t.Errorf("steps %v, nothing holds", kinds(s.steps))
	}
}

func TestNothingIsDoneUnlessTheTenantAllowsIt(t *testing.T) {
	t.Parallel()
	off, other := newStage(0, HoldTasks), newStage(3, CapActive)
	for _, s := range []*stage{off, other} {
		if got := s.play(30, 2, zoneScore(2, 0.7, 0.3)); len(got) != 0 {
			t.Errorf("it did %+v", got)
		}
	}
	step, ok := off.acts.Press(off.now, HoldTasks, Subject{Of: OfZone, ID: "z"}, "u")
	if !ok || step.Kind != Applied || step.Remedy.Automatic || step.Remedy.By != "u" {
		t.Fatalf("a press led to %+v, %t", step, ok)
	}
	if _, again := off.acts.Press(off.now, HoldTasks, Subject{Of: OfZone, ID: "z"}, "u"); again {
		t.Error("the same was applied twice")
	}
	if _, ok = off.acts.Press(off.now, CapActive, Subject{Of: OfZone, ID: "z"}, "u"); ok {
		t.Error("a zone's robots were capped as if it were the warehouse")
	}
	if undone, ok := off.acts.Undo(off.now, step.Remedy.Number, "by hand"); !ok || undone.Kind != Undone || len(off.acts.Relief().Most) != 0 {
		t.Errorf("undone: %+v, %t", undone, ok)
	}
}

func TestRobotsAreLedRoundOneThatHasBrokenDownAndUntilItMoves(t *testing.T) {
	t.Parallel()
	s := newStage(3, Reroute)
	broken := zoneScore(0, 0.1, 0.05)
	broken.Faulted = 1
	if got := s.play(2, 2, broken); len(got) != 0 {
		t.Fatalf("after twenty seconds %+v", got)
	}
	s.play(1, 2, broken)
	if d := s.acts.Relief().Detour; len(d) != 1 || d[0] != fleet.ZoneID("z") {
		t.Fatalf("after half a minute detours %v", d)
	}
	if s.play(60, 2, broken); len(s.acts.Relief().Detour) != 1 {
		t.Error("the detour ended while the robot stood")
	}
	if s.play(1, 2, zoneScore(1, 0.4, 0.05)); len(s.acts.Relief().Detour) != 0 {
		t.Error("the detour goes on when all move")
	}
}

func TestActsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(3, HoldTasks)
	scores := make([]Score, 40)
	for i := range scores {
		scores[i] = zoneScore(2, 0.5, 0.2)
		scores[i].ID = string(rune('A' + i))
	}
	s.play(1, 1, scores...)
	if n := len(s.acts.InForce()); n != s.acts.settings.MostAtOnce {
		t.Errorf("%d remedies hold, want %d", n, s.acts.settings.MostAtOnce)
	}
	s.play(60, 1) // none of them is scored any more
	if len(s.acts.InForce())+len(s.acts.newest)+len(s.acts.past) != 0 {
		t.Errorf("%d remedies, %d and %d subjects are remembered", len(s.acts.InForce()), len(s.acts.newest), len(s.acts.past))
	}
}

func TestSuggestionsNameTheCallThatDoesThem(t *testing.T) {
	t.Parallel()
	calm, jam := zoneScore(0, 0, 0.01), zoneScore(2, 0.5, 0.2)
	if got := Suggest("w", &calm); got != nil {
		t.Errorf("for a calm zone: %+v", got)
	}
	jam.Faulted = 1
	got := Suggest("w", &jam)
	if len(got) != 2 || got[0].Kind != Reroute || got[1].Kind != HoldTasks || string(got[1].Body) != `{"warehouse_id":"w","action":"hold_tasks","subject":{"type":"zone","id":"z"}}` {
		t.Errorf("%+v", got)
	}
}

func TestNothingIsDoneBeyondTheLevelThatIsAllowed(t *testing.T) {
	t.Parallel()
	s := newStage(1, CapActive, Reroute, HoldTasks)
	zone, house := zoneScore(3, 0.7, 0.3), zoneScore(2, 0.7, 0.3)
	zone.Faulted, house.Subject = 1, Subject{Of: OfWarehouse}
	if got := s.play(30, 2, zone, house); len(got) != 0 {
		t.Errorf("it did %+v", got)
	}
}

// Where no task has ended before nor since, nothing has helped; and a jam that has only come down from its own peak is as bad as it was.
func TestWhatBringsNoTasksIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newStage(3, HoldTasks)
	s.play(55, 0, zoneScore(2, 0.5, 0.15))
	if len(s.acts.InForce()) != 0 {
		t.Errorf("steps %v, it still holds with no task done", kinds(s.steps))
	}
	s = newStage(3, HoldTasks)
	s.play(1, 2, zoneScore(2, 0.5, 0.15))
	s.play(12, 2, zoneScore(2, 0.7, 0.15))
	s.play(45, 2, zoneScore(2, 0.5, 0.15))
	if len(s.acts.InForce()) != 0 {
		t.Errorf("steps %v, it still holds with nothing better than before", kinds(s.steps))
	}
}

func TestTheWorstAreAsManyAsThereIsRoomFor(t *testing.T) {
	t.Parallel()
	scores := make([]Score, 50)
	for i := range scores {
		scores[i] = Score{Subject: Subject{Of: OfLane, ID: string(rune('A' + i))}, Index: 1}
	}
	scores[7].Index = 0
	got := worst(scores, 20)
	if len(got) != 20 || got[0].ID != "A" || got[7].ID != string(rune('A'+8)) {
		t.Errorf("%d lanes of a gridlock are told: %+v", len(got), got)
	}
}
