package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
)

func TestConfirmedRecordIsAppliedThenTold(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	v, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", testIdem("k1"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != 1 || v.Status != fleet.TaskCreated || v.Spec.ID != "task-00001" {
		t.Fatalf("answer %+v", v)
	}
	if got := b.mem.events("task-00001"); len(got) != 1 {
		t.Fatalf("recorded %v", got)
	}
	b.quiesce(t)
	if shown, ok := b.win.task("task-00001"); !ok || shown.Version != 1 {
		t.Fatalf("shown %+v", shown)
	}
	var c *fact.ConflictError
	if _, err := b.CreateTask(t.Context(), testSpec(2), testBy, "", testIdem("k1")); !errors.As(err, &c) ||
		c.Key != "idempotency_key" || string(c.Answer.Body) != "k1" {
		t.Fatalf("reused key: %v", err)
	}
	if _, ok := b.win.task("task-00002"); ok {
		t.Fatal("a task that was not recorded was shown")
	}
}

func TestUnavailableJournalLeavesStateUnchangedAndAnswersTheClient(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	b.mem.set(always(fmt.Errorf("commit: %w", fact.ErrUnavailable), false))
	if _, err := b.CancelTask(t.Context(), testShard, "task-00001", "", testBy, ""); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("cancel: %v", err)
	}
	if v, _ := b.win.task("task-00001"); v.Status != fleet.TaskCreated {
		t.Fatalf("shown as %v though nothing was recorded", v.Status)
	}
	b.mem.set(nil)
	v, err := b.CancelTask(t.Context(), testShard, "task-00001", "later", testBy, "")
	if err != nil || v.Status != fleet.TaskCancelled || v.Version != 2 {
		t.Fatalf("cancel after the journal came back: %+v, %v", v, err)
	}
}

func TestInternalRecordIsTriedAgainUntilTheJournalIsBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := testRobot(1)
	if _, err := b.RegisterRobot(t.Context(), r, 0, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	var tries int
	var ids []fleet.EventID
	b.mem.set(func(units []fact.Unit) ([]error, []bool) {
		tries++
		ids = append(ids, units[0].Facts[0].ID)
		return always(fact.ErrUnavailable, false)(units)
	})
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.tell(kindTask, "task-00001", task.AwardOffered{Robot: r.ID, Decision: task.Decision{At: b.now()}}); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	b.pass(t, 2*time.Second)
	if tries < 3 || tries > 30 {
		t.Fatalf("%d tries in 2 s", tries)
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("a second try has another event id: it could be recorded twice")
		}
	}
	// Meanwhile a client is told at once that the store is away.
	if _, err := b.CancelTask(t.Context(), testShard, "task-00001", "", testBy, ""); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("cancel while away: %v", err)
	}
	b.mem.set(nil)
	b.pass(t, 6*time.Second)
	if v, _ := b.win.task("task-00001"); v.Status != fleet.TaskAssigned || v.Robot != r.ID {
		t.Fatalf("after the journal came back: %+v", v)
	}
	if n := len(b.mem.events("task-00001")); n != 2 {
		t.Fatalf("%d events recorded", n)
	}
}

func TestUnknownOutcomeIsReadBack(t *testing.T) {
	t.Parallel()
	for name, recorded := range map[string]bool{"it was recorded": true, "it was not recorded": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.mem.set(always(fmt.Errorf("commit: %w", fact.ErrUnknown), recorded))
			v, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil)
			b.mem.set(nil)
			if recorded {
				if err != nil || v.Version != 1 {
					t.Fatalf("recorded, but answered %+v, %v", v, err)
				}
				return
			}
			if !errors.Is(err, fact.ErrUnavailable) || errors.Is(err, fact.ErrUnknown) {
				t.Fatalf("not recorded, but answered %v", err)
			}
			if v, err = b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil || v.Version != 1 {
				t.Fatalf("second try: %+v, %v", v, err)
			}
		})
	}
}

func TestReadBackIsRepeatedWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CreateTask(t.Context(), testSpec(0), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	b.mem.set(always(fact.ErrUnknown, true))
	b.mem.mu.Lock()
	b.mem.away = errLost
	b.mem.mu.Unlock()
	var wg sync.WaitGroup
	var v task.View
	var err error
	wg.Go(func() { v, err = b.CreateTask(t.Context(), testSpec(1), testBy, "", nil) })
	deadline := time.Now().Add(10 * time.Second)
	for sh := b.shards[testShard]; ; time.Sleep(time.Millisecond) {
		sh.writer.mu.Lock()
		doubt := len(sh.writer.doubt)
		sh.writer.mu.Unlock()
		if doubt > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no unit in doubt")
		}
	}
	// Nobody else is made to wait for what nobody knows.
	if _, err := b.CancelTask(t.Context(), testShard, "task-00000", "", testBy, ""); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("cancel while in doubt: %v", err)
	}
	b.pass(t, time.Second)
	b.mem.mu.Lock()
	b.mem.away = nil
	b.mem.mu.Unlock()
	b.mem.set(nil)
	b.pass(t, 6*time.Second)
	wg.Wait()
	if err != nil || v.Version != 1 {
		t.Fatalf("after the store came back: %+v, %v", v, err)
	}
}

func TestFencedJournalDropsTheShardUntilItIsTakenAgain(t *testing.T) {
	t.Parallel()
	reg := &registry{}
	var lost []fleet.Shard
	b := newBed(t, func(o *Options) {
		o.Ownership = reg
		o.Lost = func(s fleet.Shard) { lost = append(lost, s) }
	})
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	b.mem.set(always(fact.ErrFenced, false))
	if _, err := b.CreateTask(t.Context(), testSpec(2), testBy, "", nil); !errors.Is(err, fact.ErrFenced) {
		t.Fatalf("create: %v", err)
	}
	b.mem.set(nil)
	b.quiesce(t)
	if _, err := b.CreateTask(t.Context(), testSpec(3), testBy, "", nil); !errors.Is(err, fact.ErrFenced) ||
		!errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("create in a lost shard: %v", err)
	}
	if len(lost) != 1 || lost[0] != testShard {
		t.Fatalf("lost %v", lost)
	}
	if !b.Lease(testShard).IsZero() {
		t.Fatal("a lost shard has a lease")
	}
	if err := b.TakeShard(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	v, err := b.CancelTask(t.Context(), testShard, "task-00001", "", testBy, "")
	if err != nil || v.Status != fleet.TaskCancelled {
		t.Fatalf("after taking it again: %+v, %v", v, err)
	}
}

func TestOneBadUnitHarmsNoOtherOfItsGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.mem.set(func(units []fact.Unit) ([]error, []bool) {
		errs := make([]error, len(units))
		for i, u := range units {
			if u.Facts[0].Subject == "task-00003" {
				errs[i] = fmt.Errorf("bad: %w", fact.ErrRejected)
			}
		}
		return errs, nil
	})
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	asks := make([]*ask, 6)
	for i := range asks {
		sh.findOr(kindTask, string(testSpec(i).ID), true)
		asks[i] = &ask{msg: task.CreateRequested{Spec: testSpec(i)}, ready: make(chan struct{}), sys: b.System}
		if err := sh.tell(kindTask, string(testSpec(i).ID), asks[i]); err != nil {
			t.Fatal(err)
		}
	}
	b.quiesce(t)
	for i, a := range asks {
		if (i == 3) != errors.Is(a.err, fact.ErrRejected) || i != 3 && a.err != nil {
			t.Errorf("unit %d: %v", i, a.err)
		}
	}
	if len(b.mem.groups) != 1 || b.mem.groups[0] != 6 {
		t.Fatalf("groups %v, want one of 6", b.mem.groups)
	}
}

func TestMailThatDependsOnARecordWaitsForIt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	sh := b.shards[testShard]
	var asks []*ask
	for range stashBound + 10 {
		a := &ask{msg: task.CancelRequested{}, ready: make(chan struct{}), sys: b.System}
		asks = append(asks, a)
		if err := sh.tell(kindTask, "task-00001", a); err != nil {
			t.Fatal(err)
		}
	}
	b.quiesce(t)
	busy := 0
	for _, a := range asks {
		switch {
		case errors.Is(a.err, fact.ErrBusy):
			busy++
		case a.err != nil:
			t.Fatal(a.err)
		case a.answer.(task.View).Status != fleet.TaskCancelled:
			t.Fatalf("answered before the record was applied: %+v", a.answer)
		}
	}
	if busy != 9 { // one is being recorded, stashBound wait
		t.Fatalf("%d refused", busy)
	}
	if n := len(b.mem.events("task-00001")); n != 2 {
		t.Fatalf("%d events: cancelled more than once", n)
	}
}

func TestContradictedActorLoadsAnew(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	// Somebody else wrote: the actor's version is old.
	b.mem.mu.Lock()
	b.mem.fold(fact.Fact{ID: "x", Subject: "task-00001", Version: 2, Event: task.Cancelled{Reason: "elsewhere"}})
	b.mem.mu.Unlock()
	var c *fact.ConflictError
	if _, err := b.CancelTask(t.Context(), testShard, "task-00001", "", testBy, ""); !errors.As(err, &c) {
		t.Fatalf("cancel: %v", err)
	}
	v, err := b.CancelTask(t.Context(), testShard, "task-00001", "", testBy, "")
	if err != nil || v.Version != 2 || v.Reason != "elsewhere" {
		t.Fatalf("after the reload: %+v, %v", v, err)
	}
}

func TestFullJournalQueueRefusesClients(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	for range writerBound {
		if err := sh.writer.submit(&record{to: sh.find(kindWarehouse, ""), then: func(error) {}, unit: fact.Unit{
			Facts: []fact.Fact{{ID: b.newEventID()}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := sh.writer.submit(&record{client: true}); !errors.Is(err, fact.ErrBusy) {
		t.Fatalf("unit %d: %v", writerBound+1, err)
	}
	b.quiesce(t)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range b.mem.groups {
		if n > groupBound {
			t.Fatalf("group of %d", n)
		}
	}
}

func TestBatchOfTasksIsOneUnit(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	specs := make([]task.Spec, 50)
	for i := range specs {
		specs[i] = testSpec(i)
	}
	if err := b.CreateTasks(t.Context(), testShard, specs, testBy, "", testIdem("batch")); err != nil {
		t.Fatal(err)
	}
	if len(b.mem.groups) != 1 || b.mem.groups[0] != 1 {
		t.Fatalf("groups %v, want one unit", b.mem.groups)
	}
	var c *fact.ConflictError
	if err := b.CreateTasks(t.Context(), testShard, specs, testBy, "", testIdem("batch")); !errors.As(err, &c) {
		t.Fatalf("same key again: %v", err)
	}
	v, err := b.CancelTask(t.Context(), testShard, specs[7].ID, "", testBy, "")
	if err != nil || v.Version != 2 {
		t.Fatalf("cancel one of them: %+v, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.CreateTasks(ctx, testShard, []task.Spec{testSpec(99)}, testBy, "", nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled call: %v", err)
	}
}

// The warehouse ends while its unit is under way: whoever asked is told, not left waiting.
func TestRequestOfAnEndedActorIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	bx := sh.find(kindWarehouse, "")
	a := &ask{msg: createTasks{specs: []task.Spec{testSpec(1)}}, ready: make(chan struct{}), sys: b.System}
	b.mem.set(func(units []fact.Unit) ([]error, []bool) {
		b.ActorSystem().Root.Stop(bx.pid.Load())
		return nil, nil
	})
	bx.post(a)
	b.quiesce(t)
	if !a.answered() || !errors.Is(a.err, fact.ErrUnknown) {
		t.Fatalf("answered %v: %v, %v", a.answered(), a.answer, a.err)
	}
}
