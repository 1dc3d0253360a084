//go:build integration

package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/persistence/kafka"
	"starling/persistence/postgres"
)

// jobsRig is a database with one warehouse, and the processes of a test on it.
type jobsRig struct {
	url   string
	env   map[string]string
	store *postgres.Store
	root  *pgx.Conn
	shard fleet.Shard
}

func newJobsRig(t *testing.T, env map[string]string) *jobsRig {
	t.Helper()
	r := &jobsRig{url: stacktest.Database(t), env: map[string]string{
		"ENV": envDev, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": "0", "LINK_HOST": "127.0.0.1", "LINK_PORT": "0", "AUDIT_DIR": t.TempDir(),
		"REDIS_URL": stacktest.OwnRedis(t).URL(),
	}}
	r.env["DATABASE_URL"] = r.url
	for k, v := range env {
		r.env[k] = v
	}
	if _, err := postgres.Migrate(t.Context(), r.url, "up"); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.store, err = postgres.Open(t.Context(), postgres.Options{URL: r.url, MaxConns: 4}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.store.Close)
	if r.root, err = pgx.Connect(t.Context(), r.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.root.Close(context.Background()) })
	r.shard = fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	now := time.Now()
	if err := r.store.Tenants.CreateTenant(t.Context(), fact.Tenant{ID: r.shard.Tenant, Slug: "t-" + string(r.shard.Tenant[:30]), Name: "T", CreatedAt: now}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Warehouses.CreateWarehouse(t.Context(), fact.Warehouse{
		ID: r.shard.Warehouse, Tenant: r.shard.Tenant, Code: "w1", Name: "W", Timezone: "UTC", CreatedAt: now,
	}, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// process starts one of the roles, as `starling serve` does, whose jobs look each second.
func (r *jobsRig) process(t *testing.T, roles ...string) *app {
	t.Helper()
	c, faults := LoadConfig(func(k string) string { return r.env[k] }, os.ReadFile)
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	a, err := start(t.Context(), wiring{Config: c, Log: log, Roles: roles, DevKey: key, JobsEvery: time.Second})
	t.Cleanup(a.stop)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *jobsRig) append(t *testing.T, subject string, version int64, at time.Time, events ...any) {
	t.Helper()
	for i, e := range events {
		u := fact.Unit{Shard: r.shard, Facts: []fact.Fact{{
			ID: fleet.EventID(uuid.NewString()), At: at, By: fleet.Actor{Part: "test"}, Subject: subject, Version: version + int64(i), Event: e,
		}}}
		if err := r.store.Append(t.Context(), []fact.Unit{u})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

// robot registers one that has been so for a while.
func (r *jobsRig) robot(t *testing.T, c fleet.Connection, since time.Duration) fleet.RobotID {
	t.Helper()
	s := robot.Spec{
		ID: fleet.RobotID(uuid.NewString()), Tenant: r.shard.Tenant, Warehouse: r.shard.Warehouse, Code: uuid.NewString(), Fleet: "f", Protocol: "link",
		RadiusM: 0.4, MaxSpeedMPS: 1.5, CreatedAt: time.Now(),
	}
	at := time.Now().Add(-since)
	r.append(t, string(s.ID), 1, at, robot.Registered{Spec: s, Version: 1})
	r.append(t, string(s.ID), 1, at, robot.ConnectionChanged{To: c, At: at})
	return s.ID
}

// task records one, with what has happened to it.
func (r *jobsRig) task(t *testing.T, change func(*task.Spec), events ...any) fleet.TaskID {
	t.Helper()
	at := time.Now().Add(-time.Hour)
	s := task.Spec{
		ID: fleet.TaskID(uuid.NewString()), Shard: r.shard, Type: fleet.GoTo, Payload: []byte(`{"dropoff":"7"}`), Errands: []fleet.Vertex{7},
		Places: []string{"7"}, Source: "api", CreatedAt: at,
	}
	if change != nil {
		change(&s)
	}
	r.append(t, string(s.ID), 1, at, append([]any{task.Created{Spec: s}}, events...)...)
	return s.ID
}

func (r *jobsRig) award(id fleet.RobotID) task.Assigned {
	return task.Assigned{Robot: id, Decision: task.Decision{ID: fleet.DecisionID(uuid.NewString()), At: time.Now(), Robot: id}}
}

func (r *jobsRig) row(t *testing.T, id fleet.TaskID) task.View {
	t.Helper()
	v, err := r.store.Tasks.GetTaskByID(t.Context(), r.shard.Tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// byJob waits for what jobs bring about.
func byJob(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 90 s: %s", what)
		}
	}
}

// After a start of the engine nobody asks for anything: tasks that are due make their shard live all the same, those that
// are not let it rest until then.
func TestATaskThatIsDueMakesItsShardLive(t *testing.T) {
	t.Parallel()
	r := newJobsRig(t, nil)
	r.task(t, func(s *task.Spec) { s.EarliestStart = time.Now().Add(95 * time.Second) }) // looked for 90 s ahead, woken 2 s ahead
	rest := r.process(t, roleEngine, roleWorker)
	time.Sleep(2 * time.Second) // several looks
	if rest.system.Lives(r.shard) {
		t.Fatal("a task that is not due made its shard live")
	}
	r.task(t, nil)
	byJob(t, "the shard lives", func() bool { return rest.system.Lives(r.shard) })
}

// The worker finds, and the engine in another process does.
func TestStuckTasksAreTakenBackAndLateOnesCancelled(t *testing.T) {
	t.Parallel()
	r := newJobsRig(t, nil)
	if _, err := r.root.Exec(t.Context(), `UPDATE tenants SET settings = '{"tasks":{"cancel_late_after_s":60}}' WHERE tenant_id = $1`, r.shard.Tenant); err != nil {
		t.Fatal(err)
	}
	gone, there := r.robot(t, fleet.Offline, time.Hour), r.robot(t, fleet.Online, time.Second)
	left := r.task(t, nil, r.award(gone), task.Started{})
	kept := r.task(t, nil, r.award(there))
	late := r.task(t, func(s *task.Spec) { s.Deadline = time.Now().Add(-10 * time.Minute) })
	near := r.task(t, func(s *task.Spec) { s.Deadline = time.Now().Add(-10 * time.Second) })
	r.process(t, roleEngine)
	r.process(t, roleWorker)
	byJob(t, "the late task is cancelled", func() bool { return r.row(t, late).Status == fleet.TaskCancelled })
	byJob(t, "the task is taken back from the robot that is gone", func() bool { return r.row(t, left).Status == fleet.TaskCreated })
	if v := r.row(t, left); v.Reason != "robot is gone" && v.Reason != "robot is lost" {
		t.Errorf("taken back because %q", v.Reason)
	}
	if v := r.row(t, kept); v.Status != fleet.TaskAssigned || v.Robot != there {
		t.Errorf("the task of a robot that is there: %v %v", v.Status, v.Robot)
	}
	if v := r.row(t, near); v.Status != fleet.TaskCreated {
		t.Errorf("a task that is late for ten seconds is %v", v.Status)
	}
	var by string
	if err := r.root.QueryRow(t.Context(), "SELECT actor_part FROM task_events WHERE task_id = $1 AND event_type = 'cancelled'", late).Scan(&by); err != nil || by != "job" {
		t.Errorf("cancelled by %q: %v", by, err)
	}
}

func TestARobotThatFellSilentWhileNobodyLookedIsLookedAfter(t *testing.T) {
	t.Parallel()
	r := newJobsRig(t, nil)
	silent := r.robot(t, fleet.Online, time.Hour)
	a := r.process(t, roleEngine, roleWorker)
	byJob(t, "its actor lives", func() bool { _, _, ok := a.views.Robot(r.shard, silent); return ok })
	byJob(t, "it counts as offline", func() bool {
		v, err := r.store.Robots.GetRobot(t.Context(), r.shard.Tenant, silent)
		if err != nil {
			t.Fatal(err)
		}
		return v.Connection == fleet.Offline
	})
}

// Two engines: a job for a shard that the other one owns takes nothing away from it.
func TestAJobTakesNoShardFromItsOwner(t *testing.T) {
	t.Parallel()
	r := newJobsRig(t, nil)
	owner := r.process(t, roleEngine)
	if err := owner.system.Open(t.Context(), r.shard); err != nil {
		t.Fatal(err)
	}
	id := r.task(t, nil)
	other := r.process(t, roleEngine, roleWorker)
	e := jobEngine{other}
	byJob(t, "the owner's lease is alive", func() bool {
		who, alive, err := other.jobRows.Owner(t.Context(), r.shard)
		return err == nil && alive && who == owner.system.Owner
	})
	if err := e.WakeTask(t.Context(), r.shard, id); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // several looks
	if other.system.Lives(r.shard) || !owner.system.Lives(r.shard) {
		t.Fatal("the shard was taken from its owner")
	}
}

// From the outbox through the brokers into the projection, also of what was in the outbox before there were brokers.
func TestTaskEventsBecomeTimings(t *testing.T) {
	t.Parallel()
	r := newJobsRig(t, map[string]string{"KAFKA_BROKERS": strings.Join(stacktest.Kafka(t).Brokers(), ","), "KAFKA_TOPIC_PREFIX": uuid.NewString()[:8] + "."})
	id := r.robot(t, fleet.Online, time.Second)
	done := r.task(t, nil, r.award(id), task.Started{}, task.ErrandReached{}, task.Succeeded{})
	a := r.process(t, roleWorker)
	byJob(t, "the timing is there", func() bool {
		x, err := r.store.Tasks.GetTiming(t.Context(), r.shard.Tenant, done)
		return err == nil && x.Version == 5 && x.Phase == fleet.TaskSucceeded && x.Robot == id
	})
	// What is no envelope lies with its cause where people look, and what follows goes on.
	bad := kafka.Record{Topic: kafka.TopicTaskEvents, Key: string(done), Value: []byte("not an envelope")}
	if err := a.outbox.kafka.Publish(t.Context(), []kafka.Record{bad})[0]; err != nil {
		t.Fatal(err)
	}
	next := r.task(t, nil)
	byJob(t, "and those after a bad message", func() bool {
		_, err := r.store.Tasks.GetTiming(t.Context(), r.shard.Tenant, next)
		return err == nil
	})
	var dead []string
	o := kafka.ReplayOptions{
		Topic: kafka.DeadLetters(kafka.TopicTaskEvents), From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour),
		Emit: func(_ context.Context, m *kafka.Message) error {
			dead = append(dead, string(m.Value)+" "+m.Header("dead_by"))
			return nil
		},
	}
	byJob(t, "the bad message is a dead letter", func() bool {
		dead = nil
		_, err := kafka.Replay(t.Context(), a.kafkaOptions(nil), o)
		return err == nil && len(dead) > 0
	})
	if dead[0] != "not an envelope "+taskProjector {
		t.Errorf("dead letters %q", dead)
	}
}

// The commands of people who look after it: a window told again, and the jobs that have failed.
func TestAWindowIsReplayedAndFailedJobsAreListedByCommand(t *testing.T) { // not parallel: commands read the environment
	r := newJobsRig(t, map[string]string{"KAFKA_BROKERS": strings.Join(stacktest.Kafka(t).Brokers(), ","), "KAFKA_TOPIC_PREFIX": uuid.NewString()[:8] + "."})
	id := r.task(t, nil)
	r.process(t, roleWorker)
	byJob(t, "the event was sent", func() bool {
		var n int
		err := r.root.QueryRow(t.Context(), "SELECT count(*) FROM outbox_events WHERE status = 'SENT'").Scan(&n)
		return err == nil && n == 1
	})
	for k, v := range r.env {
		t.Setenv(k, v)
	}
	command := func(args ...string) (string, string) {
		t.Helper()
		var out, says strings.Builder
		if code := run(t.Context(), args, &out, &says, commands()...); code != exitDone {
			t.Fatalf("%v: %d, %s", args, code, says.String())
		}
		return out.String(), says.String()
	}
	out, says := command("replay", "--topic", kafka.TopicTaskEvents, "--from", "2h", "--group", "people")
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, string(id)) || !strings.Contains(out, `"type":"task.created"`) || !strings.Contains(says, "replayed 1 messages") {
		t.Errorf("%s\n%s", out, says)
	}
	if out, says = command("replay", "--topic", kafka.TopicTaskEvents, "--from", "2h", "--group", "people"); out != "" || !strings.Contains(says, "after 1 of an earlier run") {
		t.Errorf("%s\n%s", out, says)
	}
	if out, _ = command("jobs", "list"); !strings.HasPrefix(out, "QUEUE/ID") {
		t.Error(out)
	}
	var says2 strings.Builder
	if code := run(t.Context(), []string{"jobs", "retry", "control/none"}, &says2, &says2, commands()...); code == exitDone || !strings.Contains(says2.String(), "no such failed job") {
		t.Errorf("%d %s", code, says2.String())
	}
}
