//go:build integration

package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres"
	"starling/persistence/postgres/gen"
)

func jobsOf(t *testing.T, s *postgres.Store) *postgres.JobsRepo {
	t.Helper()
	r, err := s.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// assigned records a task that a robot has.
func assigned(t *testing.T, s *postgres.Store, spec task.Spec, r fleet.RobotID) {
	t.Helper()
	mustAppend(t, s, creation(spec))
	mustAppend(t, s, fact.Unit{Shard: spec.Shard, Facts: []fact.Fact{oneFact(string(spec.ID), 2, spec.CreatedAt, task.Assigned{
		Robot: r, Decision: task.Decision{ID: newID[fleet.DecisionID](), At: spec.CreatedAt, Task: spec.ID, Robot: r},
	})}})
}

func TestStuckTasksAreFoundByWhatKeepsThem(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	jobs, root := jobsOf(t, s), connect(t, url, "")
	patience := fact.Patience{Deadline: 30 * time.Second, Robot: 150 * time.Second, Cancel: time.Minute}
	now := time.Now().UTC().Truncate(time.Millisecond)
	want := map[fleet.TaskID]fact.StuckCause{}
	for range 2 { // tenants
		shard := newShard(t, s)
		one := func(cause fact.StuckCause, deadline time.Time, conn fleet.Connection, since time.Duration, change string) {
			t.Helper()
			spec := newTask(shard, now.Add(-time.Hour))
			spec.Deadline = deadline
			r, register := registration(shard, uuid.NewString())
			mustAppend(t, s, register)
			mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(r.ID), 1, now.Add(-since), robot.ConnectionChanged{To: conn, At: now.Add(-since)})}})
			assigned(t, s, spec, r.ID)
			if change != "" {
				mustExec(t, root, strings.NewReplacer("$T", "'"+string(spec.ID)+"'", "$R", "'"+string(r.ID)+"'").Replace(change))
			}
			if cause != "" {
				want[spec.ID] = cause
			}
		}
		one("", time.Time{}, fleet.Online, time.Hour, "")
		one("", now.Add(time.Hour), fleet.Online, 0, "")
		one("", now.Add(-10*time.Second), fleet.Online, 0, "") // not for long
		one(fact.StuckDeadline, now.Add(-time.Minute), fleet.Online, 0, "")
		one("", now.Add(-time.Minute), fleet.Online, 0, "UPDATE tasks SET status = 'SUCCEEDED' WHERE task_id = $T")
		one("", time.Time{}, fleet.Offline, time.Minute, "") // the engine is about to take it back
		one(fact.StuckRobotGone, time.Time{}, fleet.Offline, 10*time.Minute, "")
		one(fact.StuckRobotGone, now.Add(-time.Hour), fleet.Online, 0, "UPDATE robots SET removed_at = now() WHERE robot_id = $R")
		one(fact.StuckCancel, time.Time{}, fleet.Online, 0, "UPDATE tasks SET status = 'CANCELLING', updated_at = now() - interval '2 min' WHERE task_id = $T")
		one("", time.Time{}, fleet.Online, 0, "UPDATE tasks SET status = 'CANCELLING', updated_at = now() WHERE task_id = $T")
	}
	got := map[fleet.TaskID]fact.StuckCause{}
	var after fact.StuckTask
	for {
		list, err := jobs.StuckTasks(t.Context(), patience, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if _, twice := got[x.Task]; twice {
				t.Fatalf("task %s stands on two pages", x.Task)
			}
			if got[x.Task] = x.Cause; x.Shard.Tenant == "" || x.Robot == "" || x.Version != 2 || x.Since.IsZero() {
				t.Errorf("%+v", x)
			}
		}
		if len(list) < 3 {
			break
		}
		after = list[len(list)-1]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("found\n%v, want\n%v", got, want)
	}
}

func TestShardsThatNobodyHoldsAndRobotsThatAreSilentAreFound(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	jobs, root := jobsOf(t, s), connect(t, url, "")
	due, later, held, lapsed, empty := newShard(t, s), newShard(t, s), newShard(t, s), newShard(t, s), newShard(t, s)
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, shard := range []fleet.Shard{due, held, lapsed} {
		mustAppend(t, s, creation(newTask(shard, now)))
	}
	spec := newTask(later, now)
	spec.EarliestStart = now.Add(time.Hour)
	mustAppend(t, s, creation(spec))
	soon := newTask(due, now)
	soon.EarliestStart = now.Add(30 * time.Second)
	mustAppend(t, s, creation(soon))
	for shard, at := range map[fleet.Shard]string{held: "now()", lapsed: "now() - interval '1 min'"} {
		if _, _, err := s.Take(t.Context(), shard, "other"); err != nil {
			t.Fatal(err)
		}
		mustExec(t, root, "UPDATE shard_incarnations SET renewed_at = "+at+" WHERE warehouse_id = '"+string(shard.Warehouse)+"'")
	}
	list, err := jobs.IdleShards(t.Context(), time.Minute, 100)
	if err != nil || len(list) != 2 || list[0].Tasks+list[1].Tasks != 3 {
		t.Fatal(list, err)
	}
	for _, x := range list {
		if x.Shard != due && x.Shard != lapsed || !x.Due.Equal(now) {
			t.Errorf("%+v", x)
		}
	}
	for shard, want := range map[fleet.Shard]struct {
		owner string
		alive bool
	}{held: {"other", true}, lapsed: {"other", false}, empty: {"", false}} {
		owner, alive, err := jobs.Owner(t.Context(), shard)
		if err != nil || owner != want.owner || shard == lapsed && alive || shard == empty && alive {
			t.Errorf("%v: %q %v %v", shard, owner, alive, err)
		}
	}
	busy, err := jobs.BusyShards(t.Context(), 100)
	if err != nil || len(busy) != 4 || slices.Contains(busy, empty) {
		t.Error(busy, err)
	}

	silent, register := registration(empty, "silent")
	heard, register2 := registration(empty, "heard")
	off, register3 := registration(empty, "off")
	mustAppend(t, s, register, register2, register3)
	for id, c := range map[fleet.RobotID]fleet.Connection{silent.ID: fleet.Online, heard.ID: fleet.Online, off.ID: fleet.Offline} {
		mustAppend(t, s, fact.Unit{Shard: empty, Facts: []fact.Fact{oneFact(string(id), 1, now, robot.ConnectionChanged{To: c, At: now.Add(-time.Hour)})}})
	}
	mustExec(t, root, "UPDATE robots SET reported_at = now() WHERE robot_id = '"+string(heard.ID)+"'")
	robots, err := jobs.StaleRobots(t.Context(), 2*time.Minute, fact.StaleRobot{}, 100)
	if err != nil || len(robots) != 1 || robots[0].Robot != silent.ID || robots[0].Shard != empty {
		t.Fatal(robots, err)
	}
	if more, err := jobs.StaleRobots(t.Context(), 2*time.Minute, robots[0], 100); err != nil || len(more) != 0 {
		t.Error(more, err)
	}
}

func TestRowsThatContradictEachOtherAreFound(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	jobs, root := jobsOf(t, s), connect(t, url, "")
	shard := newShard(t, s)
	r, register := registration(shard, "r1")
	gone, register2 := registration(shard, "r2")
	mustAppend(t, s, register, register2)
	fine, lost, ahead := newTask(shard, day), newTask(shard, day), newTask(shard, day)
	assigned(t, s, fine, r.ID)
	assigned(t, s, lost, gone.ID)
	mustAppend(t, s, creation(ahead))
	if list, err := jobs.Contradictions(t.Context(), shard, 100); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	mustExec(t, root, "UPDATE tasks SET version = 3 WHERE task_id = '"+string(ahead.ID)+"'")
	mustExec(t, root, "UPDATE robots SET removed_at = now() WHERE robot_id = '"+string(gone.ID)+"'")
	second := newTask(shard, day)
	mustAppend(t, s, creation(second))
	mustExec(t, root, "UPDATE tasks SET status = 'ASSIGNED', robot_id = '"+string(r.ID)+"' WHERE task_id = '"+string(second.ID)+"'")
	list, err := jobs.Contradictions(t.Context(), shard, 100)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, m := range list {
		kinds[m.Kind]++
	}
	if fmt.Sprint(kinds) != "map[robot_absent:1 two_tasks:1 version_gap:2]" {
		t.Errorf("%v: %+v", kinds, list)
	}
	open, err := jobs.OpenTasks(t.Context(), shard, 100)
	if err != nil || len(open) != 4 {
		t.Fatal(open, err)
	}
	now, err := jobs.TasksNow(t.Context(), shard, []fleet.TaskID{fine.ID, newID[fleet.TaskID]()})
	if err != nil || len(now) != 1 || now[0] != (fact.OpenTask{Task: fine.ID, Status: fleet.TaskAssigned, Robot: r.ID, Version: 2}) {
		t.Fatal(now, err)
	}
	other := newShard(t, s)
	if list, err := jobs.OpenTasks(t.Context(), fleet.Shard{Tenant: other.Tenant, Warehouse: shard.Warehouse}, 100); err != nil || len(list) > 0 {
		t.Errorf("another tenant sees %v %v", list, err)
	}
}

// outboxDay makes a day of the outbox, so many days ago, with an event of each status that is numbered by its status.
func outboxDay(t *testing.T, root *pgx.Conn, shard fleet.Shard, ago int, statuses ...string) (table string) {
	t.Helper()
	day := time.Now().UTC().AddDate(0, 0, -ago)
	from := day.Format("2006-01-02")
	mustExec(t, root, "SET ROLE starling_migrate")
	mustExec(t, root, fmt.Sprintf("SELECT make_partition('outbox_events', '%s', '%s 00:00:00+00', '%s 00:00:00+00', 'created_at')",
		day.Format("20060102"), from, day.AddDate(0, 0, 1).Format("2006-01-02")))
	mustExec(t, root, "RESET ROLE")
	for _, status := range statuses {
		mustExec(t, root, fmt.Sprintf(`INSERT INTO outbox_events (event_id, tenant_id, aggregate_type, aggregate_id, topic, key, payload, shard, status, created_at, held)
			VALUES (gen_random_uuid(), '%s', 'task', gen_random_uuid(), 't', '%d', '', 0, '%s', '%s 12:00:00+00', %t)`,
			shard.Tenant, ago, strings.TrimPrefix(status, "HELD "), from, strings.HasPrefix(status, "HELD ")))
	}
	return "outbox_events_" + day.Format("20060102")
}

// letter makes a dead letter of what died in a day.
func letter(t *testing.T, root *pgx.Conn, table, state string) {
	t.Helper()
	mustExec(t, root, fmt.Sprintf(`INSERT INTO dead_letters (event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, event_type, cause, attempts, created_at, state)
		SELECT event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, '', 'c', 1, created_at, '%s' FROM %s WHERE status = 'DEAD'`, state, table))
}

// Days of which nothing is to be sent any more go; one with events that are not sent stays as it is, however old it is, and
// so do those that were sent beside them.
func TestOldDaysAreForgottenAndNothingUnsentIsTouched(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	jobs, root := jobsOf(t, s), connect(t, url, "")
	shard := newShard(t, s)
	outboxDay(t, root, shard, 30, "SENT", "PENDING")
	outboxDay(t, root, shard, 20, "SENT", "SENT")
	outboxDay(t, root, shard, 19, "SENT", "HELD PENDING")
	letter(t, root, outboxDay(t, root, shard, 18, "SENT", "DEAD"), "open")
	letter(t, root, outboxDay(t, root, shard, 17, "SENT", "DEAD"), "discarded")
	outboxDay(t, root, shard, 9, "SENT")
	outboxDay(t, root, shard, 3, "SENT", "PENDING")
	rows := func() []string {
		return names(t, root, "SELECT tableoid::regclass || ' ' || seq || ' ' || key || ' ' || status FROM outbox_events WHERE key NOT IN ('20', '17', '9') ORDER BY seq")
	}
	before := rows()
	for i := range 25 {
		mustExec(t, root, fmt.Sprintf("INSERT INTO inbox_events (tenant_id, consumer, event_id, processed_at) VALUES ('%s', 'c', gen_random_uuid(), now() - interval '%d days')", shard.Tenant, i))
	}
	if f, err := jobs.Forget(t.Context(), -1, 100*24*time.Hour); err != nil || f.Outbox != 0 {
		t.Fatal("nobody sends, and days went:", f, err)
	}
	f, err := jobs.Forget(t.Context(), 7, 14*24*time.Hour)
	if err != nil || f.Outbox != 3 || f.Inbox != 11 {
		t.Fatal(f, err)
	}
	if after := rows(); !slices.Equal(before, after) || len(after) != 8 {
		t.Errorf("events were %v and are %v", before, after)
	}
	if gone := names(t, root, "SELECT key FROM outbox_events WHERE key IN ('20', '17', '9')"); len(gone) > 0 {
		t.Errorf("sent events that are left: %v", gone)
	}
	if f, err := jobs.Forget(t.Context(), 7, 14*24*time.Hour); err != nil || f != (fact.Forgotten{}) {
		t.Error(f, err)
	}
}

// Whoever holds the outbox has its way: no writer waits behind a day that is to go, and the inbox is forgotten all the same.
func TestADayThatCannotGoAtOnceStays(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	jobs, root, reader := jobsOf(t, s), connect(t, url, ""), connect(t, url, "")
	shard := newShard(t, s)
	outboxDay(t, root, shard, 20, "SENT")
	mustExec(t, root, fmt.Sprintf("INSERT INTO inbox_events (tenant_id, consumer, event_id, processed_at) VALUES ('%s', 'c', gen_random_uuid(), now() - interval '20 days')", shard.Tenant))
	mustExec(t, reader, "BEGIN; SELECT count(*) FROM outbox_events")
	f, err := jobs.Forget(t.Context(), 7, 14*24*time.Hour)
	if err == nil || f.Outbox != 0 || f.Inbox != 1 {
		t.Fatal(f, err)
	}
	mustExec(t, reader, "COMMIT")
	if f, err = jobs.Forget(t.Context(), 7, 14*24*time.Hour); err != nil || f.Outbox != 1 {
		t.Fatal(f, err)
	}
}

// history are the events of one task, as a consumer gets them.
func history(shard fleet.Shard, at time.Time) (fleet.TaskID, []fact.Told) {
	spec := newTask(shard, at)
	spec.EarliestStart = at.Add(10 * time.Second)
	r := newID[fleet.RobotID]()
	var out []fact.Told
	for i, e := range []task.Event{
		task.Created{Spec: spec}, task.Assigned{Robot: r}, task.Started{}, task.ErrandReached{}, task.Succeeded{},
	} {
		f := oneFact(string(spec.ID), int64(i+1), at.Add(time.Duration(i)*15*time.Second), e)
		out = append(out, fact.Told{Fact: f, Shard: shard})
	}
	return spec.ID, out
}

func TestEventsTakeEffectOnceHoweverOftenTheyCome(t *testing.T) {
	t.Parallel()
	s, _ := freshAt(t)
	shard := newShard(t, s)
	var ids []fleet.TaskID
	var all []fact.Told
	for range 10 {
		id, events := history(shard, day)
		ids, all = append(ids, id), append(all, events...)
	}
	// Two consumers of one group, each given everything in batches that overlap: after a rebalance that went wrong.
	var wg sync.WaitGroup
	fresh := make([]int, 2)
	errs := make([]error, 2)
	for n := range 2 {
		wg.Go(func() {
			for from := 0; from < len(all) && errs[n] == nil; from += 5 {
				var f int
				f, errs[n] = s.ProjectTasks(t.Context(), "c", shard.Tenant, all[max(0, from-3):min(len(all), from+5)])
				fresh[n] += f
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || fresh[0]+fresh[1] != len(all) {
		t.Fatalf("%v new of %d: %v", fresh, len(all), err)
	}
	for _, id := range ids {
		got, err := s.Tasks.GetTiming(t.Context(), shard.Tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != 5 || got.Delayed != 10*time.Second || got.Waiting != 5*time.Second || got.Approach != 15*time.Second ||
			got.Executing != 30*time.Second || got.Awards != 1 || got.Errands != 1 || got.Phase != fleet.TaskSucceeded || !got.FinishedAt.Equal(day.Add(time.Minute)) {
			t.Fatalf("%+v", got)
		}
	}
	if f, err := s.ProjectTasks(t.Context(), "another", shard.Tenant, all[:5]); err != nil || f != 5 {
		t.Errorf("another consumer has a memory of its own: %d %v", f, err)
	}
}

func TestWhatCannotBeProjectedIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard, root := newShard(t, s), connect(t, url, "")
	_, events := history(shard, day)
	nobody := fleet.TenantID(uuid.NewString())
	bad := slices.Clone(events)
	bad[1].ID = "no id"
	for name, try := range map[string]func() error{
		"no such tenant": func() error { _, err := s.ProjectTasks(t.Context(), "c", nobody, events); return err },
		"no tenant":      func() error { _, err := s.ProjectTasks(t.Context(), "c", "x", events); return err },
		"no event id":    func() error { _, err := s.ProjectTasks(t.Context(), "c", shard.Tenant, bad); return err },
	} {
		if err := try(); !errors.Is(err, fact.ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rows := names(t, root, "SELECT event_id::text FROM inbox_events UNION ALL SELECT task_id::text FROM task_timing"); len(rows) > 0 {
		t.Errorf("left %v", rows)
	}
	if _, err := s.Tasks.GetTiming(t.Context(), shard.Tenant, fleet.TaskID(events[0].Subject)); !errors.Is(err, fact.ErrNotFound) {
		t.Error(err)
	}
	// A later version has written a row: it cannot be gone on with, and there is no use in trying again.
	if _, err := s.ProjectTasks(t.Context(), "c", shard.Tenant, events[:1]); err != nil {
		t.Fatal(err)
	}
	mustExec(t, root, "UPDATE task_timing SET task_type = 'juggle'")
	if _, err := s.ProjectTasks(t.Context(), "c", shard.Tenant, events[1:2]); !errors.Is(err, fact.ErrRejected) {
		t.Errorf("an unknown type of task: %v", err)
	}
}

// Looks of jobs walk indexes: those of open tasks, not of all that ever were. Robots are looked through in the order of
// their keys, a page at a time.
func TestNoLookReadsTheTasksOfAllTimes(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	fill(t, url, shard)
	none, tenant, warehouse := uuid.Nil.String(), string(shard.Tenant), string(shard.Warehouse)
	worker, app := connect(t, url, "starling_worker"), connect(t, url, "starling_app")
	if _, err := app.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", tenant); err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string][]any{
		"idle shards":  {worker, gen.IdleShards, 1.0, 1.0, int32(500)},
		"busy shards":  {worker, gen.BusyShards, int32(500)},
		"owner":        {worker, gen.ShardOwner, tenant, warehouse},
		"open tasks":   {app, gen.OpenTasks, tenant, warehouse, int32(500)},
		"tasks now":    {app, gen.TasksNow, tenant, []string{none}},
		"contradicted": {app, gen.Contradictions, int32(500), tenant, warehouse},
		"timings":      {app, gen.LoadTimings, tenant, []string{none}},
	} {
		conn, _ := q[0].(*pgx.Conn)
		if whole := explain(t, conn, q[1].(string), q[2:]...); len(whole) > 0 {
			t.Errorf("%s reads whole: %v", name, whole)
		}
	}
	// Robots may be read whole to be joined with so many tasks that are stuck; tasks never.
	if whole := explain(t, worker, gen.StuckTasks, 150.0, 60.0, none, none, 30.0, int32(500)); slices.Contains(whole, "tasks") {
		t.Errorf("stuck tasks reads whole: %v", whole)
	}
}
