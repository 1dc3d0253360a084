//go:build integration

package postgres

import (
	"context"
	"errors"
	nurl "net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// Whoever logs in, and whatever a connection was made to do before, the program's transactions are starling_app's: the
// account here is a superuser, for whom row-level security does not hold, and one that bypasses it.
func TestEveryTransactionIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	if _, err := Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{URL: url, MaxConns: 1, MinConns: 1}) // one: it comes back
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	mine, other := uuid.NewString(), uuid.NewString()
	for i, id := range []string{mine, other} {
		if err := s.Tenants.CreateTenant(t.Context(), fact.Tenant{
			ID: fleet.TenantID(id), Slug: []string{"mine", "other"}[i], Name: "Tenant", CreatedAt: time.Now(),
		}, nil); err != nil {
			t.Fatal(err)
		}
	}
	bypass := "bypass_" + mine[:8]
	if _, err := s.leases.Exec(t.Context(), "RESET ROLE; CREATE ROLE "+bypass+" BYPASSRLS; GRANT starling_app TO "+bypass); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.leases.Exec(context.WithoutCancel(t.Context()), "RESET ROLE; DROP ROLE "+bypass); err != nil {
			t.Error(err)
		}
	})
	for _, attempt := range []string{
		"SELECT 1", "RESET ROLE", "SET ROLE NONE", "RESET ALL", "SET SESSION AUTHORIZATION DEFAULT", "SET ROLE starling_migrate",
		"SET SESSION AUTHORIZATION " + bypass, "SET row_security = off", "SET app.platform = 'on'; RESET ROLE", "SET app.tenant_id = '" + other + "'; RESET ROLE",
	} {
		if _, err := s.pool.Exec(t.Context(), attempt); err != nil {
			t.Fatalf("%s: %v", attempt, err)
		}
		see(t, s, attempt, mine, other)
		if _, err := s.pool.Exec(t.Context(), "RESET SESSION AUTHORIZATION; RESET ALL; SET ROLE starling_app"); err != nil {
			t.Fatal(err)
		}
	}
}

func see(t *testing.T, s *Store, attempt, mine, other string) {
	t.Helper()
	for _, m := range []mode{reading, writing} {
		err := s.inTenant(t.Context(), m, fleet.TenantID(mine), func(q *gen.Queries) error {
			if _, err := q.GetTenant(t.Context(), mine); err != nil {
				return err
			}
			_, err := q.GetTenant(t.Context(), other)
			return err
		})
		// Another's row is not there; where row_security is off the server refuses to answer at all.
		if !errors.Is(err, fact.ErrNotFound) && !strings.Contains(attempt, "row_security") {
			t.Errorf("after %s (%s) another tenant's row: %v", attempt, m, err)
		}
		if err == nil {
			t.Errorf("after %s (%s) another tenant's row is there", attempt, m)
		}
	}
	g := &group{s: s, shard: &fact.Unit{Shard: fleet.Shard{Tenant: fleet.TenantID(mine), Warehouse: fleet.WarehouseID(uuid.NewString())}}}
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	g.conn, g.q = conn, gen.New(conn)
	if err := g.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer rollback(t.Context(), conn)
	if _, err := g.q.GetTenant(t.Context(), other); err == nil {
		t.Errorf("after %s a group commit sees another tenant's row", attempt)
	}
}

// The account that docs/runbook.md makes for the program is enough for it, and may do nothing else by itself.
func TestAnAccountWithTwoRolesIsEnough(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	if _, err := Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	root := session(t, url)
	name := "engine_" + uuid.NewString()[:8]
	if _, err := root.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN NOINHERIT PASSWORD 'x'; GRANT starling_app, starling_worker TO "+name+
		"; GRANT SELECT ON schema_migrations TO "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := root.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+name+"; DROP ROLE "+name); err != nil {
			t.Error(err)
		}
	})
	own, err := nurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	own.User = nurl.UserPassword(name, "x")
	if err := CheckSchema(t.Context(), own.String()); err != nil {
		t.Errorf("check the schema: %v", err)
	}
	s, err := Open(t.Context(), Options{URL: own.String(), MaxConns: 2, AuditMonths: 24})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const parted = "SELECT count(*) >= 2 * 5 + 1 FROM pg_inherits WHERE inhrelid::regclass::text ~ '_[0-9]{6,8}$'" // five days, and the month
	waitFor(t, root, parted)                                                                                       // the store's own upkeep
	shard := fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	if err := errors.Join(
		s.Ping(t.Context()),
		s.Tenants.CreateTenant(t.Context(), fact.Tenant{ID: shard.Tenant, Slug: "enough", Name: "Enough", CreatedAt: time.Now()}, nil),
		s.Warehouses.CreateWarehouse(t.Context(), fact.Warehouse{ID: shard.Warehouse, Tenant: shard.Tenant, Code: "w", Name: "W", Timezone: "UTC", CreatedAt: time.Now()}, nil),
		s.partitions(t.Context()),
		s.forgetAudit(t.Context()),
	); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Take(t.Context(), shard, "me"); err != nil {
		t.Errorf("take a shard: %v", err)
	}
	bare := session(t, own.String())
	for _, act := range []string{"SELECT * FROM tenants", "SELECT * FROM tasks", "CREATE TABLE x (n integer)", "SET ROLE starling_migrate", "DROP TABLE tasks"} {
		if _, err := bare.Exec(t.Context(), act); err == nil {
			t.Errorf("by itself the account may %s", act)
		}
	}
}

// A transaction in which something failed, and whose failure nobody noticed, was not committed and does not count as if.
func TestACommitThatRollsBackIsNoSuccess(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	if _, err := Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{URL: url, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tenant := fleet.TenantID(uuid.NewString())
	for name, ctx := range map[string]context.Context{
		"without an intent": t.Context(),
		"with an intent":    WithAudit(t.Context(), &fact.AuditEntry{ID: uuid.NewString(), At: time.Now(), Tenant: tenant, Action: "x"}),
	} {
		for _, m := range []mode{reading, writing} {
			err := s.inTenant(ctx, m, tenant, func(q *gen.Queries) error {
				if _, err := q.GetTenant(t.Context(), "no uuid"); err == nil {
					t.Error("a statement that is wrong succeeds")
				}
				return nil // unnoticed
			})
			if !errors.Is(err, fact.ErrUnavailable) {
				t.Errorf("%s, %s: %v, want ErrUnavailable", name, m, err)
			}
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
