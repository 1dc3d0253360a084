package actors

import (
	"slices"
	"sync"
	"testing"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
)

// What is recorded bears the tokens of its decision, whatever the locks have become until then.
func TestARecordBearsTheTokensOfItsDecision(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got [][]fact.Fence
	now := int64(9)
	b := newBed(t, func(o *Options) {
		o.Token = func(fleet.Shard, string) int64 { mu.Lock(); defer mu.Unlock(); return now }
	})
	b.mem.set(func(units []fact.Unit) ([]error, []bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, u := range units {
			got = append(got, u.Fences)
		}
		return make([]error, len(units)), nil
	})
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.RegisterRobot(t.Context(), testRobot(1), 0, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	r := testRobot(1).ID
	dispatched := func(token int64) []fact.Fence { return []fact.Fence{{Lock: fact.LockDispatch, Token: token}} }
	replanned := func(token int64) []fact.Fence { return []fact.Fence{{Lock: fact.LockReplan, Token: token}} }
	for _, c := range []struct {
		name string
		told []task.Msg
		want []fact.Fence
	}{
		{"an offer", []task.Msg{task.AwardOffered{Robot: r, Token: 5}}, dispatched(5)},
		{"a recall", []task.Msg{task.RecallRequested{Robot: r, Reason: "another is nearer", Token: 4}, task.RobotLetGo{Robot: r}}, replanned(4)},
		{"an offer that was refused the lock", []task.Msg{task.AwardOffered{Robot: r, Token: fact.Refused}}, dispatched(fact.Refused)},
		{"the task's own", []task.Msg{task.RobotRefused{Robot: r, Reason: "no"}}, replanned(9)},
		{"an offer while nobody could say", []task.Msg{task.AwardOffered{Robot: r}}, dispatched(0)},
	} {
		mu.Lock()
		got = nil
		mu.Unlock()
		for _, m := range c.told {
			if err := sh.tell(kindTask, "task-00001", m); err != nil {
				t.Fatal(err)
			}
			b.quiesce(t)
		}
		if len(got) != 1 || !slices.Equal(got[0], c.want) {
			t.Errorf("%s was recorded under %v, want %v", c.name, got, c.want)
		}
	}
}

// A batch takes the tokens before it looks at anything.
func TestABatchDecidesUnderTheTokensOfItsStart(t *testing.T) {
	t.Parallel()
	tokens := map[string]int64{fact.LockDispatch: 5, fact.LockReplan: 6}
	sys := &System{Options: Options{Token: func(_ fleet.Shard, lock string) int64 { return tokens[lock] }}}
	w := &warehouseShell{}
	w.box = &box{sys: sys, sh: &shard{id: testShard}}
	out := []dispatch.Effect{dispatch.Offer{Task: "another's", Token: 1}}
	out = w.under(1, func() []dispatch.Effect {
		tokens[fact.LockDispatch], tokens[fact.LockReplan] = 7, 8 // it was paused, and others have held them
		return append(out, dispatch.Offer{Task: "t"}, dispatch.Show{}, dispatch.Recall{Task: "u"})
	})
	var got []int64
	for _, f := range out {
		switch f := f.(type) {
		case dispatch.Offer:
			got = append(got, f.Token)
		case dispatch.Recall:
			got = append(got, f.Token)
		}
	}
	if !slices.Equal(got, []int64{1, 5, 6}) {
		t.Errorf("decided under %v", got)
	}
}
