package lorr_test

import (
	"context"
	"testing"

	"starling/bench/lorr"
	"starling/bench/validate"
)

func TestLockstepFinishesTasksWithoutConflict(t *testing.T) {
	t.Parallel()
	p, err := lorr.Load("../../testdata/lorr/random_100/problem.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := lorr.Lockstep(context.Background(), lorr.Run{Problem: p, Steps: 200, Robots: 50, Seed: 1, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, err := validate.Dir(dir, p.MapPath, validate.Options{Lockstep: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v; %+v", s, r)
	if !r.OK() {
		t.Errorf("conflicts: %+v", r.Findings)
	}
	if s.TasksFinished < 60 {
		t.Errorf("%d tasks finished, want at least 60", s.TasksFinished)
	}
}
