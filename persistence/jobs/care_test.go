package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/engine/fact"
	"starling/engine/fleet"
)

var (
	shardA = fleet.Shard{Tenant: "a", Warehouse: "w1"}
	shardB = fleet.Shard{Tenant: "b", Warehouse: "w2"}
)

// fakeRows are rows with what a test puts there.
type fakeRows struct {
	Rows
	stuck  []fact.StuckTask
	idle   []fact.IdleShard
	stale  []fact.StaleRobot
	busy   []fleet.Shard     // nil = shardA
	wrong  [][]fact.Mismatch // at each look
	open   []fact.OpenTask
	now    []fact.OpenTask
	looked int
	forgot fact.Forgotten
}

func pageOf[T any](list []T, after T, zero bool, same func(a, b T) bool, limit int) []T {
	if !zero {
		i := slices.IndexFunc(list, func(x T) bool { return same(x, after) })
		list = list[i+1:]
	}
	return list[:min(limit, len(list))]
}

func (f *fakeRows) StuckTasks(_ context.Context, _ fact.Patience, after fact.StuckTask, limit int) ([]fact.StuckTask, error) {
	return pageOf(f.stuck, after, after.Task == "", func(a, b fact.StuckTask) bool { return a.Task == b.Task }, limit), nil
}

func (f *fakeRows) IdleShards(context.Context, time.Duration, int) ([]fact.IdleShard, error) {
	return f.idle, nil
}

func (f *fakeRows) StaleRobots(_ context.Context, _ time.Duration, after fact.StaleRobot, limit int) ([]fact.StaleRobot, error) {
	return pageOf(f.stale, after, after.Robot == "", func(a, b fact.StaleRobot) bool { return a.Robot == b.Robot }, limit), nil
}

func (f *fakeRows) BusyShards(context.Context, int) ([]fleet.Shard, error) {
	if f.busy != nil {
		return f.busy, nil
	}
	return []fleet.Shard{shardA}, nil
}

func (f *fakeRows) Contradictions(context.Context, fleet.Shard, int) ([]fact.Mismatch, error) {
	if len(f.wrong) == 0 {
		return nil, nil
	}
	w := f.wrong[min(f.looked, len(f.wrong)-1)]
	f.looked++
	return w, nil
}

func (f *fakeRows) OpenTasks(context.Context, fleet.Shard, int) ([]fact.OpenTask, error) {
	return f.open, nil
}

func (f *fakeRows) TasksNow(_ context.Context, _ fleet.Shard, ids []fleet.TaskID) (out []fact.OpenTask, err error) {
	for _, t := range f.now {
		if slices.Contains(ids, t.Task) {
			out = append(out, t)
		}
	}
	return out, nil
}

func (f *fakeRows) Forget(context.Context, int, time.Duration) (fact.Forgotten, error) {
	return f.forgot, nil
}

// fakeEngine notes what it is told.
type fakeEngine struct {
	mu    sync.Mutex
	told  []string
	err   error
	errs  map[fleet.TenantID]error
	tasks [][]fact.OpenTask // at each question
	asked int
	about []map[fleet.RobotID]fleet.TaskID // at each question
}

func (e *fakeEngine) note(format string, args ...any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, fmt.Sprintf(format, args...))
	return e.err
}

// of is the error for what concerns a tenant.
func (e *fakeEngine) of(s fleet.Shard, err error) error {
	if own := e.errs[s.Tenant]; own != nil {
		return own
	}
	return err
}

func (e *fakeEngine) WakeShard(_ context.Context, s fleet.Shard) error {
	return e.of(s, e.note("shard %s", s.Key()))
}

func (e *fakeEngine) WakeTask(_ context.Context, s fleet.Shard, id fleet.TaskID) error {
	return e.of(s, e.note("task %s %s", s.Key(), id))
}

func (e *fakeEngine) WakeRobot(_ context.Context, s fleet.Shard, id fleet.RobotID) error {
	return e.of(s, e.note("robot %s %s", s.Key(), id))
}

func (e *fakeEngine) RobotGone(_ context.Context, s fleet.Shard, id fleet.TaskID, r fleet.RobotID) error {
	return e.note("gone %s %s %s", s.Key(), id, r)
}

func (e *fakeEngine) CancelTask(_ context.Context, s fleet.Shard, id fleet.TaskID, reason string, trace fleet.Trace) error {
	if trace == "" {
		return errors.New("no trace")
	}
	return e.note("cancel %s %s %s", s.Key(), id, reason)
}

func (e *fakeEngine) Robots(fleet.Shard) map[fleet.RobotID]fleet.TaskID {
	if len(e.about) == 0 {
		return nil
	}
	about := e.about[0]
	if len(e.about) > 1 {
		e.about = e.about[1:]
	}
	return about
}

func (e *fakeEngine) Tasks(fleet.Shard) ([]fact.OpenTask, bool) {
	if len(e.tasks) == 0 {
		return nil, false
	}
	list := e.tasks[min(e.asked, len(e.tasks)-1)]
	e.asked++
	return list, true
}

// without Redis each job that a look makes runs at once.
func caring(t *testing.T, rows *fakeRows, e *fakeEngine, late time.Duration) *Runner {
	t.Helper()
	var engine Engine
	if e != nil {
		engine = e
	}
	kinds, attach := CareKinds(CareOptions{
		Settle: time.Millisecond, Retell: time.Millisecond, Late: func(_ context.Context, tenant fleet.TenantID) time.Duration {
			if tenant == "a" {
				return late
			}
			return 0
		},
	}, rows, engine)
	r, err := Open(Options{}, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	attach(r)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func do(t *testing.T, r *Runner, kind string) {
	t.Helper()
	k := r.kinds[kind]
	if err := r.do(t.Context(), &k, Job{Kind: kind}); err != nil {
		t.Fatal(err)
	}
}

func TestStuckTasksAreLookedAfterByTheirCause(t *testing.T) {
	t.Parallel()
	past := time.Now().Add(-time.Hour)
	rows := &fakeRows{}
	for i := range page + 1 { // more than a page of late ones, of a tenant that lets them be
		rows.stuck = append(rows.stuck, fact.StuckTask{Shard: shardB, Task: fleet.TaskID(fmt.Sprintf("b%d", i)), Cause: fact.StuckDeadline, Since: past})
	}
	rows.stuck = append(
		rows.stuck,
		fact.StuckTask{Shard: shardA, Task: "late", Cause: fact.StuckDeadline, Since: past},
		fact.StuckTask{Shard: shardA, Task: "not long", Cause: fact.StuckDeadline, Since: time.Now().Add(-time.Minute)},
		fact.StuckTask{Shard: shardA, Task: "left", Robot: "r", Cause: fact.StuckRobotGone, Since: past},
		fact.StuckTask{Shard: shardB, Task: "ends", Robot: "r", Cause: fact.StuckCancel, Since: past},
	)
	e := &fakeEngine{}
	do(t, caring(t, rows, e, 30*time.Minute), kindFindTasks)
	want := []string{
		"task a/w1 late", "cancel a/w1 late deadline passed", "task a/w1 left", "gone a/w1 left r", "task b/w2 ends",
	}
	if !slices.Equal(e.told, want) {
		t.Fatalf("told %q, want %q", e.told, want)
	}
}

func TestWhatIsNotThereAnyMoreNeedsNoCare(t *testing.T) {
	t.Parallel()
	e := &fakeEngine{err: fmt.Errorf("task: %w", fact.ErrNotFound)}
	rows := &fakeRows{
		stuck: []fact.StuckTask{{Shard: shardA, Task: "t", Robot: "r", Cause: fact.StuckRobotGone}},
		idle:  []fact.IdleShard{{Shard: shardA}}, stale: []fact.StaleRobot{{Shard: shardA, Robot: "r"}},
	}
	r := caring(t, rows, e, 0)
	for _, kind := range []string{kindFindTasks, kindFindIdle, kindFindRobots} {
		do(t, r, kind)
	}
	if len(e.told) != 3 {
		t.Fatal(e.told)
	}
}

// What cannot be done for one tenant keeps no care from another, and is said all the same.
func TestATenantThatFailsKeepsNoCareFromOthers(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	e := &fakeEngine{errs: map[fleet.TenantID]error{"a": broken}, tasks: [][]fact.OpenTask{{}}}
	rows := &fakeRows{
		stuck: []fact.StuckTask{{Shard: shardA, Task: "ta", Cause: fact.StuckCancel}, {Shard: shardB, Task: "tb", Cause: fact.StuckCancel}},
		idle:  []fact.IdleShard{{Shard: shardA}, {Shard: shardB}},
		stale: []fact.StaleRobot{{Shard: shardA, Robot: "ra"}, {Shard: shardA, Robot: "ra2"}, {Shard: shardB, Robot: "rb"}},
		busy:  []fleet.Shard{shardA, shardB}, open: []fact.OpenTask{open("t", fleet.TaskCreated, 1)}, now: []fact.OpenTask{open("t", fleet.TaskCreated, 1)},
	}
	r := caring(t, rows, e, 0)
	for kind, want := range map[string][]string{
		kindFindTasks: {"task a/w1 ta", "task b/w2 tb"}, kindFindIdle: {"shard a/w1", "shard b/w2"},
		kindFindRobots: {"robot a/w1 ra", "robot a/w1 ra2", "robot b/w2 rb"}, kindFindShards: {"task a/w1 t", "task b/w2 t"},
	} {
		e.told, e.asked = nil, 0
		k := r.kinds[kind]
		if err := r.do(t.Context(), &k, Job{Kind: kind}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", kind, err)
		}
		slices.Sort(e.told)
		if !slices.Equal(e.told, want) {
			t.Errorf("%s: told %q, want %q", kind, e.told, want)
		}
	}
}

// A look that a full queue has ended goes on where it was, so that those at the end have their turn.
func TestALookGoesOnWhereTheOneBeforeEnded(t *testing.T) {
	t.Parallel()
	e := &fakeEngine{errs: map[fleet.TenantID]error{"b": ErrFull}}
	rows := &fakeRows{}
	for i := range 3 {
		rows.stuck = append(rows.stuck, fact.StuckTask{Shard: shardA, Task: fleet.TaskID(fmt.Sprint("a", i)), Cause: fact.StuckCancel})
	}
	for i := range 3 {
		rows.stuck = append(rows.stuck, fact.StuckTask{Shard: shardB, Task: fleet.TaskID(fmt.Sprint("b", i)), Cause: fact.StuckCancel})
	}
	r := caring(t, rows, e, 0)
	k := r.kinds[kindFindTasks]
	if err := r.do(t.Context(), &k, Job{Kind: kindFindTasks}); !errors.Is(err, ErrFull) || len(e.told) != 4 {
		t.Fatal(e.told, err)
	}
	for _, want := range [][]string{
		{"task b/w2 b0", "task b/w2 b1", "task b/w2 b2"},
		{"task a/w1 a0", "task a/w1 a1", "task a/w1 a2", "task b/w2 b0", "task b/w2 b1", "task b/w2 b2"}, // and then from the beginning
	} {
		e.told, e.errs = nil, nil
		if do(t, r, kindFindTasks); !slices.Equal(e.told, want) {
			t.Errorf("told %q, want %q", e.told, want)
		}
	}
}

func TestShardsAndRobotsAreWoken(t *testing.T) {
	t.Parallel()
	e := &fakeEngine{}
	rows := &fakeRows{idle: []fact.IdleShard{{Shard: shardA, Tasks: 3}, {Shard: shardB, Tasks: 1, Due: time.Now().Add(time.Minute)}}}
	for i := range 2*page + 1 {
		rows.stale = append(rows.stale, fact.StaleRobot{Shard: shardA, Robot: fleet.RobotID(fmt.Sprint("r", i))})
	}
	r := caring(t, rows, e, 0)
	do(t, r, kindFindIdle)
	if !slices.Equal(e.told, []string{"shard a/w1"}) { // the other one is not due: the next look comes before
		t.Fatal(e.told)
	}
	e.told = nil
	do(t, r, kindFindRobots)
	if len(e.told) != 2*page+1 {
		t.Fatalf("%d robots", len(e.told))
	}
	do(t, r, kindRetention)
}

// A process without the engine leaves the rest to one with it, and complains of nothing.
func TestAWorkerAloneFindsAndDoesNothing(t *testing.T) {
	t.Parallel()
	rows := &fakeRows{stuck: []fact.StuckTask{{Shard: shardA, Task: "t", Cause: fact.StuckCancel}}}
	r := caring(t, rows, nil, 0)
	do(t, r, kindFindTasks)
	b, _ := json.Marshal(taskBody{Warehouse: "w1", Task: "t", Cause: fact.StuckCancel})
	for _, kind := range []string{kindTask, kindShard, kindRobots, kindReconcile} {
		k := r.kinds[kind]
		if err := r.do(t.Context(), &k, Job{Kind: kind, Tenant: "a", Body: b}); !errors.Is(err, ErrElsewhere) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func open(id fleet.TaskID, s fleet.TaskStatus, v int64) fact.OpenTask {
	return fact.OpenTask{Task: id, Status: s, Version: v}
}

func TestRowsAreReconciledWithActors(t *testing.T) {
	t.Parallel()
	created, assigned, done := fleet.TaskCreated, fleet.TaskAssigned, fleet.TaskSucceeded
	for name, c := range map[string]struct {
		before, actor, later, after []fact.OpenTask // rows, actors, actors again, rows again
		woken                       []string
	}{
		"they agree":          {before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{open("t", created, 1)}},
		"the actor went on":   {before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{open("t", assigned, 2)}, after: []fact.OpenTask{open("t", assigned, 2)}},
		"and the row further": {before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{open("t", assigned, 2)}, after: []fact.OpenTask{open("t", assigned, 3)}},
		"it ended meanwhile":  {before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{}, after: []fact.OpenTask{open("t", done, 2)}},
		"it is ending":        {before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{open("t", created, 1)}, later: []fact.OpenTask{}, after: []fact.OpenTask{open("t", done, 2)}},
		"it began meanwhile":  {actor: []fact.OpenTask{open("t", created, 1)}, after: []fact.OpenTask{open("t", created, 1)}},
		"the actor knows it not": {
			before: []fact.OpenTask{open("t", created, 1)}, actor: []fact.OpenTask{}, after: []fact.OpenTask{open("t", created, 1)}, woken: []string{"task a/w1 t"},
		},
		"a ghost": {
			actor: []fact.OpenTask{open("t", created, 1)}, after: []fact.OpenTask{open("t", done, 4)}, woken: []string{"task a/w1 t"},
		},
		"of nothing": {actor: []fact.OpenTask{open("t", created, 1)}, woken: []string{"task a/w1 t"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.later == nil {
				c.later = c.actor
			}
			e := &fakeEngine{tasks: [][]fact.OpenTask{c.actor, c.later}}
			do(t, caring(t, &fakeRows{open: c.before, now: c.after}, e, 0), kindFindShards)
			if !slices.Equal(e.told, c.woken) {
				t.Fatalf("told %q, want %q", e.told, c.woken)
			}
		})
	}
}

func TestActorsAreJudgedByRowsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	created, assigned := fleet.TaskCreated, fleet.TaskAssigned
	for name, c := range map[string]struct {
		before, actor, after fact.OpenTask
		want                 string
	}{
		"behind":     {open("t", assigned, 2), open("t", created, 1), open("t", assigned, 2), "behind"},
		"ahead":      {open("t", created, 1), open("t", assigned, 2), open("t", created, 1), "ahead"},
		"other word": {open("t", created, 2), open("t", assigned, 2), open("t", created, 2), "behind"},
		"same":       {open("t", created, 2), open("t", created, 2), open("t", created, 2), ""},
	} {
		if got := judge(c.before, true, c.actor, true, c.after, true); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What stands in the rows at one look alone was being recorded.
func TestAContradictionStandsAtTwoLooks(t *testing.T) {
	t.Parallel()
	m := fact.Mismatch{Kind: "two_tasks", Task: "t"}
	rows := &fakeRows{wrong: [][]fact.Mismatch{{m}, nil}}
	c := &care{CareOptions: CareOptions{Settle: time.Millisecond}, rows: rows}
	if list, err := c.contradictions(t.Context(), shardA); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	c.rows = &fakeRows{wrong: [][]fact.Mismatch{{m}}}
	if list, err := c.contradictions(t.Context(), shardA); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

func TestTasksAndRobotsAreHeldAgainstEachOther(t *testing.T) {
	t.Parallel()
	has := func(id fleet.TaskID, s fleet.TaskStatus) fact.OpenTask {
		return fact.OpenTask{Task: id, Status: s, Robot: "r", Version: 2}
	}
	type about = map[fleet.RobotID]fleet.TaskID
	for name, c := range map[string]struct {
		rows  []fact.OpenTask
		about []about
		woken []string
		kinds string
	}{
		"they agree":             {rows: []fact.OpenTask{has("t", fleet.TaskExecuting)}, about: []about{{"r": "t"}}},
		"it has not heard yet":   {rows: []fact.OpenTask{has("t", fleet.TaskAssigned)}, about: []about{{"r": ""}, {"r": "t"}}},
		"it never hears":         {rows: []fact.OpenTask{has("t", fleet.TaskAssigned)}, about: []about{{"r": ""}}, woken: []string{"task a/w1 t"}, kinds: "robot_idle"},
		"it does not live":       {rows: []fact.OpenTask{has("t", fleet.TaskAssigned)}, about: []about{{"other": ""}}},
		"it lets go":             {rows: []fact.OpenTask{has("t", fleet.TaskCancelling)}, about: []about{{"r": "t"}}},
		"it has let go":          {rows: []fact.OpenTask{has("t", fleet.TaskCancelling)}, about: []about{{"r": ""}}},
		"it goes on with an old": {about: []about{{"r": "old"}}, kinds: "robot_strays"},
		"it does another's":      {rows: []fact.OpenTask{has("t", fleet.TaskExecuting)}, about: []about{{"r": "t", "q": "t"}}, kinds: "robot_strays"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &fakeEngine{about: c.about}
			r := caring(t, &fakeRows{open: c.rows}, e, 0)
			do(t, r, kindFindShards)
			if !slices.Equal(e.told, c.woken) {
				t.Errorf("told %q, want %q", e.told, c.woken)
			}
			for _, kind := range []string{"robot_idle", "robot_strays"} {
				want := 0.0
				if kind == c.kinds {
					want = 1
				}
				if got := testutil.ToFloat64(r.metrics.found.WithLabelValues(kindReconcile, kind)); got != want {
					t.Errorf("%s: %v found, want %v", kind, got, want)
				}
			}
		})
	}
}
