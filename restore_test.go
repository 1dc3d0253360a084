//go:build integration

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

// vault is a cluster that archives its WAL, and where its copies go: what docs/runbook.md describes.
type vault struct {
	dir, archive string
	pg           *stack.Postgres
}

func newVault(t *testing.T) *vault {
	t.Helper()
	dir, err := stacktest.Dir()
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{dir: dir, archive: filepath.Join(dir, "archive")}
	t.Cleanup(func() {
		for _, name := range []string{"first", "restored"} {
			if err := stack.Remove(context.WithoutCancel(t.Context()), filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		_ = os.RemoveAll(dir)
	})
	if err := os.Mkdir(v.archive, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(v.archive, 0o777); err != nil { // the server writes to it under an account of its own
		t.Fatal(err)
	}
	v.pg, err = stack.Start(t.Context(), stack.Options{Dir: filepath.Join(dir, "first"), Settings: map[string]string{
		"wal_level":       "replica",
		"archive_mode":    "on",
		"archive_command": fmt.Sprintf("test ! -f %[1]s/%%f && cp %%p %[1]s/%%f.part && mv %[1]s/%%f.part %[1]s/%%f", v.archive),
		"archive_timeout": "60s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	guarded(t, v.pg, filepath.Join(dir, "first"))
	return v
}

// lose waits until all that was written is archived, and then takes the cluster away for good.
func (v *vault) lose(t *testing.T, db *pgx.Conn) {
	t.Helper()
	var segment string
	if err := db.QueryRow(t.Context(), "SELECT pg_walfile_name(pg_switch_wal())").Scan(&segment); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(v.archive, segment)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("segment %s is not archived", segment)
		}
	}
	if err := stack.Remove(t.Context(), filepath.Join(v.dir, "first")); err != nil {
		t.Fatal(err)
	}
}

// restore brings the copy to the moment.
func (v *vault) restore(t *testing.T, moment time.Time) {
	t.Helper()
	var err error
	v.pg, err = stack.Start(t.Context(), stack.Options{Dir: filepath.Join(v.dir, "restored"), Settings: map[string]string{
		"restore_command":        fmt.Sprintf("cp %s/%%f %%p", v.archive),
		"recovery_target_time":   moment.UTC().Format("2006-01-02 15:04:05.999999+00"),
		"recovery_target_action": "promote",
	}})
	if err != nil {
		t.Fatal(err)
	}
	guarded(t, v.pg, filepath.Join(v.dir, "restored"))
}

func (v *vault) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), v.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

// use makes the service run over the cluster.
func (s *service) use(pg *stack.Postgres) {
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "DATABASE_URL=") })
	s.env = append(s.env, "DATABASE_URL="+pg.URL())
}

// createTasks posts tasks from..to-1 and returns their answers by key.
func (d *drill) createTasks(t *testing.T, s *service, from, to int) map[string]string {
	t.Helper()
	all := &tally{retried: map[string]int{}, tasks: map[string]string{}}
	c := &caller{addr: s.addr(), token: s.Token, tally: all}
	defer c.hangUp()
	for n := from; n < to; n++ {
		c.create(fmt.Sprintf("restore-%d", n), d.body(t, n))
	}
	for _, f := range all.failed {
		t.Error(f)
	}
	return all.tasks
}

// A cluster that is lost is brought back, from a base backup and the archived WAL, to a moment in its past: the tasks that
// were acknowledged by then are there and no others, each key is answered as before, and the engine goes on with them.
func TestRestoredToAMomentTheEngineGoesOn(t *testing.T) {
	const team = 6
	v := newVault(t)
	s := newService(t, 5*time.Second)
	s.use(v.pg)
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	d := &drill{process: s.process}
	stop := d.open(t, team)
	defer stop()

	want := d.createTasks(t, s, 0, 20)
	began := time.Now()
	if err := v.pg.BaseBackup(t.Context(), filepath.Join(v.dir, "restored")); err != nil {
		t.Fatal(err)
	}
	backup := time.Since(began)
	for key, id := range d.createTasks(t, s, 20, 50) {
		want[key] = id
	}
	db := v.connect(t)
	var moment time.Time
	if err := db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&moment); err != nil {
		t.Fatal(err)
	}
	late := d.createTasks(t, s, 50, 70)
	if len(want) != 50 || len(late) != 20 {
		t.Fatalf("%d tasks by the moment, %d later", len(want), len(late))
	}
	s.terminate(t)
	v.lose(t, db)

	began = time.Now()
	v.restore(t, moment)
	restore := time.Since(began)
	s.use(v.pg)
	s.launch(t, "gateway,engine")
	s.ready(t)
	ready := time.Now()
	d.holds(t, v.connect(t), want)
	for key, id := range d.createTasks(t, s, 0, 70) {
		if first, before := want[key]; before && id != first || !before && late[key] == id {
			t.Errorf("key %s is answered with %s, before with %s and %s", key, id, first, late[key])
		}
	}
	if n := d.tasks(t, ""); n != 70 {
		t.Errorf("%d tasks after all were asked for again, want 70", n)
	}
	d.goesOn(t, s)
	again := time.Since(ready)
	stop()
	d.judge(t, team) // nor have robots that went on since the moment, and stood meanwhile, met
	t.Logf("backup took %s, restore %s: %d tasks of the moment are there, %d later ones are not; robots have finished two more %s after the start",
		backup.Round(time.Millisecond), restore.Round(time.Millisecond), len(want), len(late), again.Round(time.Millisecond))
	s.terminate(t)
}

// holds demands exactly these tasks, each whole, over a schema that fits the program.
func (d *drill) holds(t *testing.T, db *pgx.Conn, want map[string]string) {
	t.Helper()
	ids := make([]string, 0, len(want))
	for _, id := range want {
		ids = append(ids, id)
	}
	there := d.taskIDs(t)
	slices.Sort(ids)
	slices.Sort(there)
	if !slices.Equal(ids, there) {
		t.Errorf("%d tasks were acknowledged by the moment, %d are there", len(ids), len(there))
	}
	for what, query := range map[string]string{
		"tasks whose history does not end with their status": `SELECT count(*) FROM tasks t WHERE NOT EXISTS (
			SELECT FROM task_events e WHERE e.tenant_id = t.tenant_id AND e.task_id = t.task_id AND e.seq = t.version AND e.to_status = t.status)`,
		"tasks whose history has gaps": `SELECT count(*) FROM tasks t WHERE t.version <> (
			SELECT count(*) FROM task_events e WHERE e.tenant_id = t.tenant_id AND e.task_id = t.task_id)`,
		"events that were to be sent and are not in the outbox": `SELECT count(*) FROM task_events e WHERE NOT EXISTS (
			SELECT FROM outbox_events o WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id)`,
		"first answers without their task": `SELECT count(*) FROM idempotency_keys k WHERE k.route = 'POST /tasks' AND NOT EXISTS (
			SELECT FROM tasks t WHERE t.tenant_id = k.tenant_id AND t.idempotency_key = k.key)`,
	} {
		var n int
		if err := db.QueryRow(t.Context(), query).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s: %v", n, what, err)
		}
	}
}

// goesOn waits until the robots, which find the engine where it was, have finished tasks.
func (d *drill) goesOn(t *testing.T, s *service) {
	t.Helper()
	done, restarted := d.tasks(t, "&status=SUCCEEDED"), time.Now()
	for deadline := time.Now().Add(90 * time.Second); d.tasks(t, "&status=SUCCEEDED") < done+2; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("90 s after the restore %d robots have moved, %d tasks succeeded since", d.movers(restarted), d.tasks(t, "&status=SUCCEEDED")-done)
		}
	}
	if status, _, body := s.ask(t, http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("not ready after the restore: %d %s", status, body)
	}
}
