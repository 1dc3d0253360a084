//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/postgres"
)

func intentOf(shard fleet.Shard) *fact.AuditEntry {
	return &fact.AuditEntry{
		ID: uuid.NewString(), At: time.Now().UTC().Truncate(time.Microsecond), Tenant: shard.Tenant, Subject: "alice", Action: "task.create",
		ResourceType: "task", Method: "POST", Path: "/api/v1/tasks",
	}
}

// audited lists a tenant's entries.
func audited(t testing.TB, s *postgres.Store, tenant fleet.TenantID) []fact.AuditEntry {
	t.Helper()
	l, err := s.Audit.ListAudit(t.Context(), tenant, fact.AuditFilter{}, fact.Page{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	return l.Items
}

// counted opens a store whose metrics can be read.
func counted(t testing.TB, url string) (*postgres.Store, func(outcome string) int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	s, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 2, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, func(outcome string) int {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "starling_postgres_audit_total" && m.GetLabel()[0].GetValue() == outcome {
					return int(m.GetCounter().GetValue())
				}
			}
		}
		return 0
	}
}

// partitioned waits until the log has its partitions: whoever makes one shuts the log for a moment.
func partitioned(t testing.TB, url string) {
	t.Helper()
	conn := connect(t, url, "")
	for until := time.Now().Add(20 * time.Second); len(names(t, conn, "SELECT 'x' FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass")) < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the audit log has no partitions")
		}
	}
}

// locksAwaited waits until so many sessions of the database, other than conn's, wait for a lock.
func locksAwaited(t testing.TB, conn *pgx.Conn, sessions int) {
	t.Helper()
	query := `SELECT DISTINCT l.pid::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE NOT l.granted AND a.datname = current_database() AND l.pid <> pg_backend_pid()`
	for until := time.Now().Add(20 * time.Second); len(names(t, conn, query)) < sessions; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d sessions wait for a lock, want %d", len(names(t, conn, query)), sessions)
		}
	}
}

func mustExec(t testing.TB, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%v in %s", err, statement)
	}
}

// Whatever is wrong with the audit log, what is written is written.
func TestAFaultOfTheAuditLogFailsNoWrite(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]string{
		"a rule refuses every row":  "ALTER TABLE audit_logs ADD CONSTRAINT never CHECK (false) NOT VALID",
		"a trigger fails":           `CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'boom'; END $$; CREATE TRIGGER boom BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION boom()`,
		"the table is gone":         "ALTER TABLE audit_logs RENAME TO elsewhere",
		"a column is gone":          "ALTER TABLE audit_logs DROP COLUMN path",
		"the program may not write": "REVOKE INSERT ON audit_logs FROM starling_app",
		"somebody holds it shut":    "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE",
		"a trigger divides by zero": `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1/0; RETURN NULL; END $$;
			CREATE TRIGGER late AFTER INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION late()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, warm := range []bool{true, false} { // with and without the statements prepared on the connections
				t.Run(fmt.Sprint("warm ", warm), func(t *testing.T) {
					first, url := freshAt(t)
					shard := newShard(t, first)
					partitioned(t, url)
					s, count := counted(t, url)
					if warm {
						write(t, s, shard, "warm")
					}
					admin := connect(t, url, "starling_migrate")
					mustExec(t, admin, "begin")
					mustExec(t, admin, fault)
					if !strings.HasPrefix(fault, "LOCK") {
						mustExec(t, admin, "commit")
					}
					before := count("intent")
					write(t, s, shard, "while")
					if lost := count("intent_lost"); lost != 4 || count("intent") != before {
						t.Errorf("%d intents counted as lost, want 4; %d recorded", lost, count("intent")-before)
					}
				})
			}
		})
	}
}

// write writes through a repository and through the journal, with four intents in all.
func write(t *testing.T, s *postgres.Store, shard fleet.Shard, code string) {
	t.Helper()
	ctx := postgres.WithAudit(t.Context(), intentOf(shard))
	w := fact.Warehouse{ID: newID[fleet.WarehouseID](), Tenant: shard.Tenant, Code: code, Name: "W", CreatedAt: day}
	if err := s.Warehouses.CreateWarehouse(ctx, w, nil); err != nil {
		t.Fatalf("a small write: %v", err)
	}
	if _, err := s.Warehouses.GetWarehouse(t.Context(), shard.Tenant, w.ID); err != nil {
		t.Fatalf("what was written is not there: %v", err)
	}
	units := make([]fact.Unit, 3)
	for i := range units {
		units[i] = creation(newTask(shard, day))
		units[i].Audit = intentOf(shard)
	}
	mustAppend(t, s, units...)
	for _, u := range units {
		if _, err := s.Tasks.GetTaskByID(t.Context(), shard.Tenant, fleet.TaskID(u.Facts[0].Subject)); err != nil {
			t.Fatalf("a unit that was recorded is not there: %v", err)
		}
	}
}

// One intent that the database does not want is set aside; those of the other units of the group are recorded.
func TestABadIntentIsSetAsideAlone(t *testing.T) {
	t.Parallel()
	first, url := freshAt(t)
	shard := newShard(t, first)
	partitioned(t, url)
	s, count := counted(t, url)
	mustExec(t, connect(t, url, "starling_migrate"), "ALTER TABLE audit_logs ADD CONSTRAINT poison CHECK (action <> 'poison')")
	units := make([]fact.Unit, 9)
	for i := range units {
		units[i] = creation(newTask(shard, day))
		units[i].Audit = intentOf(shard)
	}
	units[3].Audit.Action, units[5].Audit.ID = "poison", "no id"
	mustAppend(t, s, units...)
	rec, err := s.LoadWarehouse(t.Context(), shard)
	if err != nil || len(rec.Tasks) != 9 {
		t.Fatalf("%d tasks, want 9: %v", len(rec.Tasks), err)
	}
	l := audited(t, s, shard.Tenant)
	if len(l) != 7 || slices.ContainsFunc(l, func(e fact.AuditEntry) bool { return e.Action == "poison" }) {
		t.Fatalf("%d intents, want 7", len(l))
	}
	if count("intent") != 7 || count("intent_lost") != 2 {
		t.Fatalf("%d recorded and %d lost, want 7 and 2", count("intent"), count("intent_lost"))
	}
	// The same by the way of completed entries: the batch is written without it, and not tried again.
	batch := []fact.AuditEntry{*intentOf(shard), *intentOf(shard), *intentOf(shard), *intentOf(shard)}
	for i := range batch {
		batch[i].Status = 200
	}
	batch[1].Action, batch[2].ID = "poison", ""
	if err := s.Audit.WriteAuditLog(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if n := len(audited(t, s, shard.Tenant)); n != 9 || count("entry") != 2 || count("entry_refused") != 2 {
		t.Fatalf("%d entries, %d counted, %d refused; want 9, 2, 2", n, count("entry"), count("entry_refused"))
	}
}

// Every writing method of the repositories records its request's intent, and none where it fails.
func TestEveryWriteOfTheRepositoriesRecordsItsIntent(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	g := addMap(t, s, shard, "", floor)
	_, register := registration(shard, "r1")
	mustAppend(t, s, register)
	overlay := fact.Zone{
		ID: newID[fleet.ZoneID](), Tenant: shard.Tenant, Map: g.MapID, Kind: "keep_out", Capacity: 1,
		Polygon: [][2]float64{{0, 0}, {1, 0}, {1, 1}, {0, 0}},
	}
	upload := fact.MapUpload{
		Map: fact.Map{ID: newID[fleet.MapID](), Tenant: shard.Tenant, Warehouse: shard.Warehouse, Name: "m", CreatedAt: day}, Format: "movingai", Content: []byte("x"),
	}
	again := upload
	robot2, _ := registration(shard, "r2")
	spec := newTask(shard, day)
	steps := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"CreateTenant", func(ctx context.Context) error {
			return s.Tenants.CreateTenant(ctx, fact.Tenant{ID: newID[fleet.TenantID](), Slug: "new", Name: "New", CreatedAt: day}, nil)
		}},
		{"PatchSettings", func(ctx context.Context) error {
			_, err := s.Tenants.PatchSettings(ctx, shard.Tenant, []byte(`{"x":1}`), -1)
			return err
		}},
		{"CreateWarehouse", func(ctx context.Context) error {
			return s.Warehouses.CreateWarehouse(ctx, fact.Warehouse{ID: newID[fleet.WarehouseID](), Tenant: shard.Tenant, Code: "w9", Name: "W", CreatedAt: day}, nil)
		}},
		{"CreateMap", func(ctx context.Context) error { return s.Maps.CreateMap(ctx, upload, nil) }},
		{"AddMapVersion", func(ctx context.Context) error { _, err := s.Maps.AddMapVersion(ctx, again, nil); return err }},
		{"PutZone", func(ctx context.Context) error { _, _, err := s.Zones.PutZone(ctx, overlay, 0); return err }},
		{"DeleteZone", func(ctx context.Context) error { return s.Zones.DeleteZone(ctx, shard.Tenant, overlay.ID, -1) }},
		{"UpsertRobot", func(ctx context.Context) error {
			return s.Robots.UpsertRobot(ctx, shard.Tenant, oneFact("", 0, day, nil), robot.Registered{Spec: robot2, Version: 1}, nil)
		}},
		{"CreateTask", func(ctx context.Context) error {
			return s.Tasks.CreateTask(ctx, shard.Tenant, oneFact("", 0, day, nil), spec, nil)
		}},
	}
	for i, step := range steps {
		e := intentOf(shard)
		e.Action = step.name
		if err := step.do(postgres.WithAudit(t.Context(), e)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if l := audited(t, s, shard.Tenant); len(l) != i+1 || l[0].ID != e.ID || l[0].Status != 0 {
			t.Fatalf("after %s: %d entries, want %d", step.name, len(l), i+1)
		}
	}
	failing := postgres.WithAudit(t.Context(), intentOf(shard))
	_ = asConflict(t, s.Tenants.CreateTenant(failing, fact.Tenant{ID: newID[fleet.TenantID](), Slug: "new", Name: "New", CreatedAt: day}, nil))
	_, _ = s.Warehouses.GetWarehouse(failing, shard.Tenant, shard.Warehouse)
	if l := audited(t, s, shard.Tenant); len(l) != len(steps) {
		t.Fatalf("%d entries after a refused write and a read, want %d", len(l), len(steps))
	}
}

// An intent is completed once, whoever tries it how often at the same time; and nothing else of the log changes.
func TestAnIntentIsCompletedOnceAndNothingElseChanges(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard, other := newShard(t, s), newShard(t, s)
	intent := intentOf(shard)
	u := creation(newTask(shard, day))
	u.Audit = intent
	mustAppend(t, s, u)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			done := *intent
			done.Status = 200 + i
			done.Duration = time.Duration(i) * time.Millisecond
			if err := s.Audit.WriteAuditLog(t.Context(), []fact.AuditEntry{done}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l := audited(t, s, shard.Tenant)
	if len(l) != 1 || l[0].Status < 200 || l[0].Duration != time.Duration(l[0].Status-200)*time.Millisecond {
		t.Fatalf("completed to %+v", l)
	}
	conn := connect(t, url, "starling_app")
	as := func(tenant fleet.TenantID) {
		if _, err := conn.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", tenant); err != nil {
			t.Fatal(err)
		}
	}
	open := creation(newTask(other, day))
	open.Audit = intentOf(other)
	mustAppend(t, s, open)
	nobody := *intentOf(shard)
	nobody.Tenant = ""
	if err := s.Audit.WriteAuditLog(t.Context(), []fact.AuditEntry{nobody}); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []fleet.TenantID{shard.Tenant, fleet.NilTenant} { // another tenant's open intent, and nobody's
		as(tenant)
		if tag, err := conn.Exec(t.Context(), "UPDATE audit_logs SET status_code = 500"); err != nil || tag.RowsAffected() != 0 {
			t.Errorf("as %s %d rows changed: %v", tenant, tag.RowsAffected(), err)
		}
	}
	if seen := names(t, conn, "SELECT audit_id::text FROM audit_logs"); len(seen) != 0 {
		t.Errorf("the nil tenant shows %v to whoever names it", seen)
	}
	as(other.Tenant)
	for _, forbidden := range []string{
		"UPDATE audit_logs SET action = 'x'", "UPDATE audit_logs SET occurred_at = now()", "UPDATE audit_logs SET tenant_id = tenant_id",
		"UPDATE audit_logs SET status_code = 0", "UPDATE audit_logs SET subject = '', status_code = 200", "DELETE FROM audit_logs",
		"TRUNCATE audit_logs", "SELECT forget_audit(0)", "SELECT forget_audit(12)", "SELECT forget_audit(1200)", "DROP TABLE audit_logs_default",
	} {
		if _, err := conn.Exec(t.Context(), forbidden); err == nil {
			t.Errorf("starling_app may %s", forbidden)
		}
	}
	worker := connect(t, url, "starling_worker") // it may drop old months, and nothing younger, nor touch an entry
	mustExec(t, worker, "SELECT forget_audit(1200)")
	for _, forbidden := range []string{
		"SELECT forget_audit(0)", "SELECT forget_audit(-1)", "SELECT forget_audit(NULL)", "DELETE FROM audit_logs", "SELECT FROM audit_logs",
		"DROP TABLE audit_logs_default", "TRUNCATE audit_logs",
	} {
		if _, err := worker.Exec(t.Context(), forbidden); err == nil {
			t.Errorf("starling_worker may %s", forbidden)
		}
	}
	if tag, err := conn.Exec(t.Context(), "UPDATE audit_logs SET status_code = 200"); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("the open intent: %d rows, %v", tag.RowsAffected(), err)
	}
}

// A completion that comes while the intent's transaction has not ended waits for it.
func TestACompletionWaitsForItsIntent(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	e := intentOf(shard)
	conn := connect(t, url, "")
	mustExec(t, conn, "begin")
	if _, err := conn.Exec(t.Context(), `INSERT INTO audit_logs (audit_id, occurred_at, tenant_id, subject, action, resource_type, resource_id,
		request_id, trace_id, method, path, status_code, duration_ms, user_agent) VALUES ($1, $2, $3, '', 'slow', '', '', '', '', '', '', 0, 0, '')`,
		e.ID, e.At, shard.Tenant); err != nil {
		t.Fatal(err)
	}
	done := *e
	done.Status = 503
	written := make(chan error, 1)
	go func() { written <- s.Audit.WriteAuditLog(t.Context(), []fact.AuditEntry{done}) }()
	watch := connect(t, url, "")
	locksAwaited(t, watch, 1)
	mustExec(t, conn, "commit")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if l := audited(t, s, shard.Tenant); len(l) != 1 || l[0].Status != 503 || l[0].Action != "slow" {
		t.Fatalf("%+v", l)
	}
}

func TestOldMonthsOfTheAuditLogAreForgotten(t *testing.T) {
	t.Parallel()
	first, url := freshAt(t)
	shard := newShard(t, first)
	admin := connect(t, url, "starling_migrate")
	month := func(ago int) time.Time {
		now := time.Now().UTC()
		return time.Date(now.Year(), now.Month()-time.Month(ago), 1, 0, 0, 0, 0, time.UTC)
	}
	partition := func(ago int) string { return "audit_logs_" + month(ago).Format("200601") }
	for _, ago := range []int{3, 4, 9} {
		mustExec(t, admin, fmt.Sprintf("CREATE TABLE %s PARTITION OF audit_logs FOR VALUES FROM ('%s') TO ('%s')", partition(ago),
			month(ago).Format(time.DateOnly), month(ago-1).Format(time.DateOnly)))
	}
	var batch []fact.AuditEntry
	for _, ago := range []int{0, 2, 3, 4, 9, 12} { // 2 and 12 fall into the default partition
		e := intentOf(shard)
		e.At, e.Status = month(ago), 200
		batch = append(batch, *e)
	}
	if err := first.Audit.WriteAuditLog(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 2, AuditMonths: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	left := func() []string {
		return names(t, admin, "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'audit_logs'::regclass")
	}
	for until := time.Now().Add(20 * time.Second); slices.Contains(left(), partition(4)) || slices.Contains(left(), partition(9)) ||
		len(audited(t, first, shard.Tenant)) > 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("partitions %v, %d entries", left(), len(audited(t, first, shard.Tenant)))
		}
	}
	if !slices.Contains(left(), partition(3)) {
		t.Errorf("a month that is to be kept is gone: %v", left())
	}
	var kept []time.Time
	for _, e := range audited(t, first, shard.Tenant) {
		kept = append(kept, e.At)
	}
	if want := []time.Time{month(0), month(2), month(3)}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
}

// Whoever reads the log is not waited for, and nobody behind him: dropping gives up.
func TestForgettingGivesUpWhereTheLogIsInUse(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	partitioned(t, url)
	admin, reader := connect(t, url, "starling_migrate"), connect(t, url, "")
	mustExec(t, admin, "CREATE TABLE audit_logs_200001 PARTITION OF audit_logs FOR VALUES FROM ('2000-01-01') TO ('2000-02-01')")
	mustExec(t, reader, "begin")
	mustExec(t, reader, "SELECT count(*) FROM audit_logs")
	worker := connect(t, url, "starling_worker")
	var e *pgconn.PgError
	if _, err := worker.Exec(t.Context(), "SELECT forget_audit(1)"); !errors.As(err, &e) || e.Code != "55P03" {
		t.Errorf("dropping a month while it is read: %v", err)
	}
	if got := names(t, worker, "SHOW lock_timeout"); got[0] != "0" {
		t.Errorf("lock_timeout is left at %s", got)
	}
	mustExec(t, reader, "commit")
	if got := names(t, worker, "SELECT forget_audit(1)::text"); got[0] != "1" {
		t.Errorf("%s months went, want 1", got)
	}
	u := creation(newTask(shard, day))
	u.Audit = intentOf(shard)
	mustAppend(t, s, u)
}

// A page of the log that takes long is given up, though other statements may take longer.
func TestAPageOfTheAuditLogIsGivenUpWhereItTakesLong(t *testing.T) {
	t.Parallel()
	first, url := freshAt(t)
	shard := newShard(t, first)
	partitioned(t, url)
	s, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 2, StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Audit.WriteAuditLog(t.Context(), []fact.AuditEntry{*intentOf(shard)}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, connect(t, url, "starling_migrate"), "ALTER POLICY tenant_reads ON audit_logs USING (tenant_id = app_tenant() AND pg_sleep(6) IS NOT NULL)")
	if _, err := s.Audit.ListAudit(t.Context(), shard.Tenant, fact.AuditFilter{}, fact.Page{Limit: 5}); !errors.Is(err, fact.ErrUnavailable) {
		t.Fatalf("a page that takes six seconds: %v, want ErrUnavailable", err)
	}
}
