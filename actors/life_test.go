package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func testRobot(i int) robot.Spec {
	return robot.Spec{
		ID: fleet.RobotID(fmt.Sprintf("robot-%05d", i)), Tenant: testShard.Tenant, Warehouse: testShard.Warehouse,
		Code: fmt.Sprint("R", i), Protocol: "link", Control: fleet.ControlEngine, RadiusM: 0.3, MaxSpeedMPS: 1,
		CreatedAt: testTime,
	}
}

func (b *bed) register(tb testing.TB, n int) {
	tb.Helper()
	for i := range n {
		if _, err := b.RegisterRobot(tb.Context(), testRobot(i), 0, testBy, "", nil); err != nil {
			tb.Fatal(err)
		}
	}
}

func (b *bed) active(k kind) int {
	sh := b.shards[testShard]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return len(sh.boxes[k])
}

func TestFinalTasksPassivateAndComeBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 3 {
		if _, err := b.CreateTask(t.Context(), testSpec(i), testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.CancelTask(t.Context(), testShard, "task-00000", "", testBy, ""); err != nil {
		t.Fatal(err)
	}
	b.pass(t, 75*time.Second)
	if n := b.active(kindTask); n != 2 {
		t.Fatalf("%d tasks in memory, want the 2 open ones", n)
	}
	v, err := b.CancelTask(t.Context(), testShard, "task-00000", "", testBy, "")
	if err != nil || v.Status != fleet.TaskCancelled || v.Version != 2 {
		t.Fatalf("from the store: %+v, %v", v, err)
	}
}

func TestUnknownActorsAreRefusedAndLeaveMemory(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CancelTask(t.Context(), testShard, "nobody", "", testBy, ""); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("cancel: %v", err)
	}
	if _, err := b.OpenLink(t.Context(), testShard, "nobody", robot.LinkOpened{}); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("open link: %v", err)
	}
	if _, err := b.Mailbox(t.Context(), testShard, "nobody"); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("mailbox: %v", err)
	}
	if err := b.RemoveRobot(t.Context(), testShard, "nobody", -1, testBy, ""); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("remove: %v", err)
	}
	b.pass(t, 2*time.Hour)
	if n := b.active(kindTask) + b.active(kindRobot); n != 0 {
		t.Fatalf("%d unknown actors stay in memory", n)
	}
}

func TestRobotLifeOverTheAPI(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	v, err := b.RegisterRobot(t.Context(), testRobot(1), 0, testBy, "", nil)
	if err != nil || v.Version != 1 || v.Spec.Code != "R1" {
		t.Fatalf("register: %+v, %v", v, err)
	}
	var c *fact.ConflictError
	if _, err = b.RegisterRobot(t.Context(), testRobot(1), 7, testBy, "", nil); !errors.As(err, &c) || c.Key != "version" || c.Robot.Version != 1 {
		t.Fatalf("register over a wrong version: %v", err)
	}
	spec := testRobot(1)
	spec.DisplayName = "Wall-E"
	if v, err = b.RegisterRobot(t.Context(), spec, 1, testBy, "", nil); err != nil || v.Version != 2 || v.Spec.DisplayName != "Wall-E" {
		t.Fatalf("change: %+v, %v", v, err)
	}
	status := func(seq uint64) robot.StatusReported {
		return robot.StatusReported{BootID: "b", Seq: seq, At: b.now(), ReceivedAt: b.now(), State: fleet.Idle, Battery: 0.5}
	}
	if ok, reason, err := b.ReportStatus(t.Context(), testShard, spec.ID, status(5)); err != nil || !ok {
		t.Fatalf("status: %v, %q, %v", ok, reason, err)
	}
	if ok, reason, err := b.ReportStatus(t.Context(), testShard, spec.ID, status(4)); err != nil || ok || reason == "" {
		t.Fatalf("older status: %v, %q, %v", ok, reason, err)
	}
	a, err := b.OpenLink(t.Context(), testShard, spec.ID, robot.LinkOpened{Session: 1, BootID: "b", At: fleet.NoVertex})
	if err != nil || a.ProgressNumber != 0 {
		t.Fatalf("open link: %+v, %v", a, err)
	}
	cmd := robot.Command{ID: "c1", Robot: spec.ID, Kind: fleet.CommandPause, Vertex: fleet.NoVertex, At: b.now(), ExpiresAt: b.now().Add(time.Minute)}
	if err := b.CommandRobot(t.Context(), testShard, cmd, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	if len(b.win.commands) != 1 || b.win.commands[0].ID != "c1" {
		t.Fatalf("commands sent: %v", b.win.commands)
	}
	b.pass(t, 8*time.Second)
	if s, ok := b.mem.snapshots[spec.ID]; !ok || s.Seq != 5 || s.Battery != 0.5 {
		t.Fatalf("snapshot %+v", s)
	}
	if b.win.robots[spec.ID] == 0 {
		t.Error("a registered robot is not shown")
	}
	if err := b.RemoveRobot(t.Context(), testShard, spec.ID, -1, testBy, ""); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	if n, shown := b.win.robots[spec.ID]; shown {
		t.Errorf("a removed robot is still shown (%d times)", n)
	}
	if _, err := b.OpenLink(t.Context(), testShard, spec.ID, robot.LinkOpened{}); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("link of a removed robot: %v", err)
	}
}

func TestConnectionIsRecordedOnceThoughStatusesGoOn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.register(t, 1)
	box, err := b.Mailbox(t.Context(), testShard, testRobot(0).ID)
	if err != nil {
		t.Fatal(err)
	}
	b.mem.set(always(fact.ErrUnavailable, false))
	for i := range 20 {
		box.Status(&robot.StatusReported{BootID: "b", Seq: uint64(i + 1), At: b.now(), ReceivedAt: b.now()})
		b.pass(t, 100*time.Millisecond)
	}
	if n := b.win.robots[testRobot(0).ID]; n < 20 {
		t.Fatalf("shown %d times: statuses wait for the store", n)
	}
	b.mem.set(nil)
	b.pass(t, 6*time.Second)
	online := 0
	for _, e := range b.mem.events(string(testRobot(0).ID)) {
		if c, ok := e.(robot.ConnectionChanged); ok && c.To == fleet.Online {
			online++
		}
	}
	if online != 1 {
		t.Fatalf("ONLINE recorded %d times", online)
	}
}

// shaky panics on a certain message; else it counts.
type shaky struct {
	life
	seen *[]string
}

func (s *shaky) load() (any, error) { return struct{}{}, nil }
func (s *shaky) restore(any, bool)  {}
func (s *shaky) idle() bool         { return false }
func (s *shaky) failAll(error)      {}
func (s *shaky) handle(_ actor.Context, m any) {
	if _, core := m.(robot.Msg); !core {
		return
	}
	*s.seen = append(*s.seen, fmt.Sprintf("%T", m))
	if _, bad := m.(robot.Woke); bad {
		panic("poisoned")
	}
}

func TestPanickedActorComesBackAndThePoisonDoesNot(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var seen []string
	b.makers[kindRobot] = func(bx *box) actor.Actor {
		s := &shaky{seen: &seen}
		s.box, s.self = bx, s
		return s
	}
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []robot.Msg{robot.LinkClosed{}, robot.Woke{}, robot.LinkClosed{}, robot.Woke{}, robot.LinkClosed{}} {
		if err := sh.tell(kindRobot, "r", m); err != nil {
			t.Fatal(err)
		}
	}
	b.quiesce(t)
	if got := strings.Join(seen, " "); got != "robot.LinkClosed robot.Woke robot.LinkClosed robot.Woke" {
		t.Fatalf("before the back-off of the second panic: %s", got)
	}
	b.pass(t, time.Second)
	if got := strings.Join(seen[4:], " "); got != "robot.LinkClosed" {
		t.Fatalf("after it: %s", got)
	}
	if log := b.log.String(); strings.Count(log, "actor panicked") != 2 || !strings.Contains(log, "life_test.go") {
		t.Fatalf("log without stack: %s", log)
	}
}

// A robot's actor panics while a link is open: the link is hung up, for the new life must hear what the robot holds.
func TestALinkDoesNotOutliveItsRobotsActor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	maker := b.makers[kindRobot]
	b.makers[kindRobot] = func(bx *box) actor.Actor { return &fragile{maker(bx)} }
	b.register(t, 1)
	if _, err := b.OpenLink(t.Context(), testShard, testRobot(0).ID, robot.LinkOpened{Session: 1, BootID: "b", At: fleet.NoVertex}); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	if len(b.win.hungUp) != 0 {
		t.Fatalf("hung up without a reason: %v", b.win.hungUp)
	}
	if err := b.shards[testShard].tell(kindRobot, string(testRobot(0).ID), robot.LinkClosed{Session: poison}); err != nil {
		t.Fatal(err)
	}
	b.pass(t, 5*time.Second)
	if len(b.win.hungUp) != 1 || b.win.hungUp[0] != testRobot(0).ID {
		t.Fatalf("hung up %v", b.win.hungUp)
	}
}

// poison is what a fragile actor panics of.
const poison = 4711

type fragile struct{ actor.Actor }

func (f *fragile) Receive(c actor.Context) {
	if m, ok := c.Message().(robot.LinkClosed); ok && m.Session == poison {
		panic("poisoned")
	}
	f.Actor.Receive(c)
}

func TestActivationOfTenThousandIsLinear(t *testing.T) {
	b := newBed(t)
	fill := func(from, to int) {
		b.mem.mu.Lock()
		for i := from; i < to; i++ {
			id := testSpec(i).ID
			b.mem.tasks[id] = &fact.TaskRecord{Version: 2, Events: []fact.Recorded[task.Event]{
				{At: testTime, Event: task.Created{Spec: testSpec(i)}}, {At: testTime, Event: task.Cancelled{}},
			}}
		}
		b.mem.mu.Unlock()
	}
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	cycle := func(from, to int) time.Duration {
		fill(from, to)
		began := time.Now()
		for i := from; i < to; i++ {
			if sh.find(kindTask, string(testSpec(i).ID)) == nil {
				t.Fatal("not started")
			}
		}
		b.quiesce(t)
		if n := b.active(kindTask); n != to-from {
			t.Fatalf("%d active", n)
		}
		for _, bx := range sh.members(kindTask) {
			bx.postFront(passing{})
		}
		b.quiesce(t)
		if n := b.active(kindTask); n != 0 {
			t.Fatalf("%d left", n)
		}
		return time.Since(began)
	}
	cycle(0, 500)
	small, large := cycle(1000, 2000), cycle(10_000, 20_000)
	t.Logf("start and stop of 1,000: %v, of 10,000: %v", small, large)
	if large > 40*small {
		t.Fatalf("1,000 took %v, 10,000 took %v: not linear", small, large)
	}
}

func TestMailForADyingActorReachesTheNextOne(t *testing.T) {
	t.Parallel()
	b := newBed(t, live)
	for i := range 20 {
		if _, err := b.CreateTask(t.Context(), testSpec(i), testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	sh := b.shards[testShard]
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				for _, bx := range sh.members(kindTask) {
					bx.postFront(passing{})
				}
				runtime.Gosched()
			}
		}
	})
	for g := range 4 {
		wg.Go(func() {
			for n := range 100 {
				id := testSpec((g*100 + n) % 20).ID
				v, err := b.CancelTask(t.Context(), testShard, id, "", testBy, "")
				if err != nil || v.Status != fleet.TaskCancelled {
					t.Errorf("cancel %s: %v, %v", id, v.Status, err)
				}
			}
		})
	}
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	wg.Wait()
}

func TestLeaseFollowsTheRenewals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{wait: 2 * time.Second}
		b := newBed(t, live, func(o *Options) { o.Ownership = reg })
		if _, err := b.ActiveGraph(t.Context(), testShard); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if left := time.Until(b.Lease(testShard)); left < 1100*time.Millisecond || left > 1500*time.Millisecond {
			t.Fatalf("lease ends in %v", left)
		}
		if until := b.shards[testShard].notBefore(); until.Before(time.Now().Add(900 * time.Millisecond)) {
			t.Fatalf("grants from %v on, before the former owner's lease has ended", until)
		}
		reg.set(errLost)
		time.Sleep(2 * time.Second)
		if left := time.Until(b.Lease(testShard)); left > 0 {
			t.Fatalf("lease has %v left without renewals", left)
		}
		if _, err := b.ActiveGraph(t.Context(), testShard); err != nil {
			t.Fatalf("a lapsed lease is no lost shard: %v", err)
		}
		reg.set(nil)
		time.Sleep(time.Second)
		if left := time.Until(b.Lease(testShard)); left < time.Second {
			t.Fatalf("lease ends in %v after the renewals came back", left)
		}
		if _, _, err := reg.Take(t.Context(), testShard, "other"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := b.ActiveGraph(t.Context(), testShard); !errors.Is(err, fact.ErrFenced) {
			t.Fatalf("after another took it: %v", err)
		}
	})
}

func TestShardThatCannotBeTakenIsTriedAgainOnDemand(t *testing.T) {
	t.Parallel()
	reg := &registry{err: fmt.Errorf("take: %w", fact.ErrUnavailable)}
	b := newBed(t, func(o *Options) { o.Ownership = reg })
	if _, err := b.ActiveGraph(t.Context(), testShard); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("open: %v", err)
	}
	reg.set(nil)
	b.mem.away = fmt.Errorf("load: %w", fact.ErrUnavailable)
	if _, err := b.ActiveGraph(t.Context(), testShard); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("open: %v", err)
	}
	b.mem.away = nil
	if _, err := b.ActiveGraph(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
}

func TestLoadIsTriedAgainAndClientsAreToldMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.register(t, 1)
	sh := b.shards[testShard]
	for _, bx := range sh.members(kindRobot) {
		bx.postFront(passing{})
	}
	b.pass(t, 2*time.Hour) // until its last words are saved and it is gone
	if b.active(kindRobot) != 0 {
		t.Fatal("the robot is still in memory")
	}
	b.mem.away = fmt.Errorf("load: %w", fact.ErrUnavailable)
	if _, err := b.Mailbox(t.Context(), testShard, testRobot(0).ID); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("mailbox: %v", err)
	}
	b.mem.away = nil
	b.pass(t, time.Second)
	if _, err := b.Mailbox(t.Context(), testShard, testRobot(0).ID); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsAreKeptWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.register(t, 3)
	b.mem.awaySnaps = errLost
	for i := range 3 {
		box, err := b.Mailbox(t.Context(), testShard, testRobot(i).ID)
		if err != nil {
			t.Fatal(err)
		}
		box.Status(&robot.StatusReported{Seq: uint64(i + 1), At: b.now(), ReceivedAt: b.now()})
	}
	b.pass(t, 20*time.Second)
	b.mem.mu.Lock()
	b.mem.awaySnaps = nil
	b.mem.mu.Unlock()
	b.pass(t, 10*time.Second)
	for i := range 3 {
		if s := b.mem.snapshots[testRobot(i).ID]; s.Seq != uint64(i+1) {
			t.Errorf("robot %d: %+v", i, s)
		}
	}
}

func TestActorsAnswerByIdentity(t *testing.T) {
	t.Parallel()
	b := newBed(t, live)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	pid, err := b.PID(t.Context(), "task", testShard, "task-00001")
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.ActorSystem().Root.RequestFuture(pid, task.CancelRequested{}, 5*time.Second).Result()
	if v, ok := res.(task.View); err != nil || !ok || v.Status != fleet.TaskCancelled {
		t.Fatalf("answer %v, %v", res, err)
	}
	if _, err := b.PID(t.Context(), "ghost", testShard, "x"); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("unknown kind: %v", err)
	}
}

func TestStopSavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := newBed(t, live)
	b.register(t, 10)
	for i := range 10 {
		box, err := b.Mailbox(t.Context(), testShard, testRobot(i).ID)
		if err != nil {
			t.Fatal(err)
		}
		box.Status(&robot.StatusReported{Seq: 9, At: b.now(), ReceivedAt: b.now()})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if b.mem.snapshots[testRobot(i).ID].Seq != 9 {
			t.Errorf("robot %d was not saved", i)
		}
	}
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("after stop: %v", err)
	}
}

func TestMailOfAnActorStoppedFromOutsideReachesTheNextOne(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.CreateTask(t.Context(), testSpec(1), testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	sh := b.shards[testShard]
	bx := sh.find(kindTask, "task-00001")
	a := &ask{msg: task.CancelRequested{}, ready: make(chan struct{}), sys: b.System}
	bx.post(a)
	b.ActorSystem().Root.Stop(bx.pid.Load()) // system mail comes first
	b.quiesce(t)
	if a.err != nil || a.answer == nil {
		t.Fatalf("answer %v, %v", a.answer, a.err)
	}
	if sh.find(kindTask, "task-00001") == bx {
		t.Fatal("the dead activation is still in the directory")
	}
}
