package jams_test

import (
	"reflect"
	"strings"
	"testing"

	"starling/bench/jams"
	"starling/engine/congestion"
)

func TestARunIsARepeatOfItself(t *testing.T) {
	t.Parallel()
	all := jams.Scenarios()
	s := all[1]
	s.Seconds = 60
	seen := 0
	o := jams.Options{Acting: congestion.Usual().Acting, Sample: func(*congestion.Sample) { seen++ }}
	first, err := jams.Run(t.Context(), &s, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := jams.Run(t.Context(), &s, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) || first.Ordered == 0 || first.Finished == 0 {
		t.Errorf("two runs of one seed: %+v and %+v", first, again)
	}
	if seen < 2*s.Robots*50 {
		t.Errorf("%d statuses of %d robots in two minutes", seen, s.Robots)
	}
	if other, err := jams.Run(t.Context(), &s, 2, o); err != nil || other.Ordered == first.Ordered && other.Finished == first.Finished && other.P50S == first.P50S {
		t.Errorf("another seed gave the same: %+v, %v", other, err)
	}
}

func TestActingIsJudgedByItsAims(t *testing.T) {
	t.Parallel()
	run := func(scenario string, seed uint64, acting bool, tasks float64) jams.Result {
		return jams.Result{Scenario: scenario, Seed: seed, Acting: acting, Finished: int(tasks), PerMinute: tasks, Each: []float64{tasks}}
	}
	good := []jams.Result{
		run("wave", 1, false, 10), run("wave", 1, true, 20), run("wave", 2, false, 20), run("wave", 2, true, 19),
		run("calm floor", 1, false, 100), run("calm floor", 1, true, 99),
	}
	rows := jams.Rows(good)
	if len(rows) != 2 || rows[0].Seeds != 2 || rows[0].Won != 1 || rows[0].Without.PerMinute != 15 || rows[0].With.PerMinute != 19.5 {
		t.Fatalf("%+v", rows)
	}
	if err := jams.Judge(rows); err != nil {
		t.Error(err)
	}
	bad := jams.Rows([]jams.Result{
		run("wave", 1, false, 10), run("wave", 1, true, 10), run("calm floor", 1, false, 100), run("calm floor", 1, true, 97),
	})
	if err := jams.Judge(bad); err == nil || !strings.Contains(err.Error(), "does not win") || !strings.Contains(err.Error(), "calm floor: acting loses 3.0 %") {
		t.Errorf("judged as %v", err)
	}
}
