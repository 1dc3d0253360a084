//go:build integration

package postgres_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres"
)

// connect opens a plain connection, as the role where it is not "".
func connect(t testing.TB, url, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	if role != "" {
		if _, err := conn.Exec(t.Context(), "SET ROLE "+role); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func names(t testing.TB, conn *pgx.Conn, query string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ours are the tables of the schema, without PostGIS's and the migrations' own.
const ours = `SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
	WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND r.rolname = 'starling_migrate'`

func TestEveryTableHasTenantAndRowSecurity(t *testing.T) {
	t.Parallel()
	_, url := freshAt(t)
	conn := connect(t, url, "")
	if all := names(t, conn, ours); len(all) < 18 {
		t.Fatalf("only %d tables: %v", len(all), all)
	}
	if bare := names(t, conn, ours+` AND NOT c.relrowsecurity`); len(bare) > 0 {
		t.Errorf("tables without row-level security: %v", bare)
	}
	if bare := names(t, conn, ours+` AND NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull)`); len(bare) > 0 {
		t.Errorf("tables without a tenant: %v", bare)
	}
	if cascading := names(t, conn, `SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND (confdeltype <> 'a' OR confupdtype <> 'a')`); len(cascading) > 0 {
		t.Errorf("foreign keys that act on deletion: %v", cascading)
	}
	if naive := names(t, conn, ours+` AND EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.atttypid = 'timestamp'::regtype)`); len(naive) > 0 {
		t.Errorf("tables with times without a zone: %v", naive)
	}
}

func TestRowSecurityHoldsWhateverTheQuery(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	mine, other := newShard(t, s), newShard(t, s)
	for _, shard := range []fleet.Shard{mine, other} {
		_, r := registration(shard, "r1")
		u := creation(newTask(shard, day))
		u.Idempotency = &fact.Idempotency{Key: "k", Route: "r", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201}}
		mustAppend(t, s, r, u)
		if _, _, err := s.Take(t.Context(), shard, "a"); err != nil {
			t.Fatal(err)
		}
	}
	conn := connect(t, url, "starling_app")
	filled := []string{"tenants", "warehouses", "robots", "tasks", "task_events", "outbox_events", "idempotency_keys", "shard_incarnations"}
	for _, tenant := range []string{"", string(mine.Tenant)} {
		if _, err := conn.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", tenant); err != nil {
			t.Fatal(err)
		}
		for _, table := range filled {
			seen := names(t, conn, "SELECT DISTINCT tenant_id::text FROM "+table)
			if tenant == "" && len(seen) > 0 || tenant != "" && !slices.Equal(seen, []string{tenant}) {
				t.Errorf("as tenant %q table %s shows tenants %v", tenant, table, seen)
			}
		}
	}
	for _, write := range []string{
		`INSERT INTO warehouses (warehouse_id, tenant_id, warehouse_code, name) VALUES (gen_random_uuid(), $1, 'x', 'x')`,
		`INSERT INTO users (user_id, tenant_id, subject) VALUES (gen_random_uuid(), $1, 'x')`,
	} {
		if _, err := conn.Exec(t.Context(), write, other.Tenant); err == nil {
			t.Errorf("wrote for another tenant: %s", write)
		}
	}
	tag, err := conn.Exec(t.Context(), "UPDATE tasks SET priority = 9 WHERE tenant_id = $1", other.Tenant)
	if err != nil || tag.RowsAffected() != 0 {
		t.Errorf("changed %d tasks of another tenant: %v", tag.RowsAffected(), err)
	}
	for _, forbidden := range []string{
		"DELETE FROM audit_logs", "UPDATE audit_logs SET action = ''", "SELECT * FROM outbox_events_default", "DROP TABLE tasks", "SELECT * FROM schema_migrations",
	} {
		if _, err := conn.Exec(t.Context(), forbidden); err == nil {
			t.Errorf("starling_app may %s", forbidden)
		}
	}
	worker := connect(t, url, "starling_worker")
	// Rows may be moving to the partition of the day just now: a query that was planned before sees neither place.
	both := func() bool { return len(names(t, worker, "SELECT DISTINCT tenant_id::text FROM outbox_events")) == 2 }
	for deadline := time.Now().Add(5 * time.Second); !both(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker does not see the outbox of both tenants")
		}
	}
	if _, err := worker.Exec(t.Context(), "SELECT * FROM tasks"); err == nil {
		t.Error("the worker reads tasks")
	}
}

func TestMigrationsGoUpAndDown(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	s.Close()
	conn := connect(t, url, "")
	st, err := postgres.Status(t.Context(), url)
	if err != nil || st.Check() != nil || st.Pending != 0 {
		t.Fatalf("%+v %v", st, err)
	}
	for range 20 {
		if st, err = postgres.Migrate(t.Context(), url, "down"); err != nil {
			t.Fatal(err)
		}
		if st.Version == 0 {
			break
		}
		if !errors.Is(st.Check(), postgres.ErrOlder) {
			t.Fatalf("%+v: %v", st, st.Check())
		}
	}
	if left := names(t, conn, ours); len(left) > 0 {
		t.Fatalf("left after all migrations went down: %v", left)
	}
	if st, err = postgres.Migrate(t.Context(), url, "up"); err != nil || st.Check() != nil {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE schema_migrations SET dirty = true"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Migrate(t.Context(), url, "up"); !errors.Is(err, postgres.ErrDirty) {
		t.Fatalf("a dirty schema: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE schema_migrations SET dirty = false, version = 29990101000000"); err != nil {
		t.Fatal(err)
	}
	if err := postgres.CheckSchema(t.Context(), url); !errors.Is(err, postgres.ErrNewer) {
		t.Fatalf("a newer schema: %v", err)
	}
	if _, err := postgres.Migrate(t.Context(), url, "up"); !errors.Is(err, postgres.ErrNewer) {
		t.Fatalf("migrate a newer schema: %v", err)
	}
}
