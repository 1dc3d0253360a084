//go:build integration

package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
)

func TestARoleIsItsTenantsToGive(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	ours, theirs := newShard(t, s), newShard(t, s)
	if _, err := s.Users.UpsertUserFromOIDC(t.Context(), ours.Tenant, fact.User{ID: newID[fleet.UserID](), Subject: "sub"}); err != nil {
		t.Fatal(err)
	}
	role := func(tenant fleet.TenantID, subject string) string {
		t.Helper()
		r, err := s.Users.GetUserRole(t.Context(), tenant, subject)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := role(ours.Tenant, "sub"); r != "" {
		t.Errorf("a role that nobody gave: %q", r)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if tag, err := conn.Exec(t.Context(), "UPDATE users SET role = 'viewer' WHERE tenant_id = $1", string(ours.Tenant)); err != nil || tag.RowsAffected() != 1 {
		t.Fatal(tag, err)
	}
	for _, c := range []struct {
		tenant        fleet.TenantID
		subject, want string
	}{{ours.Tenant, "sub", "viewer"}, {theirs.Tenant, "sub", ""}, {ours.Tenant, "other", ""}, {ours.Tenant, "' OR ''='", ""}} {
		if r := role(c.tenant, c.subject); r != c.want {
			t.Errorf("%s in %s: %q, want %q", c.subject, c.tenant, r, c.want)
		}
	}
	if _, err := s.Users.GetUserRole(t.Context(), "", "sub"); err == nil {
		t.Error("looked up in no tenant")
	}
}
