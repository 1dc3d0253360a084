package rest

import (
	"fmt"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
)

func TestAnOverviewListsTheWorstOfEachKind(t *testing.T) {
	t.Parallel()
	var sorted []attentionBody
	for i := range 250 {
		sorted = append(sorted, attentionBody{Kind: "unavailable", Cause: fmt.Sprint(i)})
	}
	sorted = append(sorted, attentionBody{Kind: "late"}, attentionBody{Kind: "late"})
	l := attentionOf(sorted)
	if l.Total != 252 || l.Kinds["unavailable"] != 250 || l.Kinds["late"] != 2 || l.Kinds["stuck"] != 0 {
		t.Errorf("counted %d: %v", l.Total, l.Kinds)
	}
	if len(l.Items) != 102 || l.Items[99].Cause != "99" || l.Items[100].Kind != "late" {
		t.Errorf("listed %d items", len(l.Items))
	}
}

func TestATaskThatNobodyCanDoIsStuck(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		cause fleet.Cause
		waits time.Duration
		want  bool
	}{
		"no way, for a while":                    {fleet.CauseNoWay, 20 * time.Second, true},
		"no way, since now":                      {fleet.CauseNoWay, time.Second, false},
		"its turn has not come":                  {fleet.CauseNoRobot, time.Minute, false},
		"its turn does not come":                 {fleet.CauseNoRobot, 6 * time.Minute, true},
		"it is to begin later":                   {fleet.CauseNotYet, time.Hour, false},
		"it is not among those that had no luck": {fleet.CauseNone, time.Hour, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &task.View{Status: fleet.TaskCreated}
			x, got := taskAttention(v, dispatch.TaskWait{Cause: test.cause, Since: now.Add(-test.waits)}, now)
			if got != test.want || got && (x.Kind != "stuck" || x.Cause != test.cause.String()) {
				t.Errorf("got %v: %+v", got, x)
			}
		})
	}
}

func TestAttentionSaysWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	id := fleet.TaskID("t")
	v := &task.View{Status: fleet.TaskCreated}
	v.Spec.ID = id
	f := &dispatch.Facts{Warehouse: &dispatch.View{MapID: "m", TaskWaits: []dispatch.TaskWait{{Task: id, Cause: fleet.CauseNoWay}}}}
	x := attentionBody{Object: objectBody{"task", "t"}, Cause: "deadline_passed"}
	(&api{policy: auth.NewPolicy()}).because(f, map[fleet.TaskID]*task.View{id: v}, &x)
	if x.Because == nil || *x.Because != "no_way" {
		t.Errorf("behind it is %v", x.Because)
	}
}
