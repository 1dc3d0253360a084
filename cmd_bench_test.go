package main

import (
	"testing"

	"starling/bench/record"
	"starling/bench/validate"
)

func TestABenchFailsWhereTheRobotsMovesSayOtherwise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s    record.Summary
		r    validate.Report
		good bool
	}{
		"agreed":                    {record.Summary{TasksFinished: 3, StuckMaxS: 9}, validate.Report{Finished: 3, StillMaxMS: 9400}, true},
		"one was not yet recorded":  {record.Summary{TasksFinished: 2}, validate.Report{Finished: 3}, true},
		"a conflict":                {record.Summary{}, validate.Report{Counts: []validate.Count{{Rule: validate.RuleSwap, Times: 1}}}, false},
		"a task that nobody drove":  {record.Summary{TasksFinished: 4}, validate.Report{Finished: 3}, false},
		"a stand that was not seen": {record.Summary{StuckMaxS: 9}, validate.Report{StillMaxMS: 61_000}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := judge(c.s, &c.r); (err == nil) != c.good {
				t.Errorf("%v", err)
			}
		})
	}
}
