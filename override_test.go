//go:build integration

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// users.role counts where ROLE_OVERRIDE_ENABLED is on, and nowhere else.
func TestATenantsOwnRoleCountsOnlyWhereItIsSwitchedOn(t *testing.T) {
	s := newService(t, 5*time.Second)
	s.env = append(s.env, "ROLE_OVERRIDE_ENABLED=true")
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	url := ""
	for _, e := range s.env {
		if v, ok := strings.CutPrefix(e, "DATABASE_URL="); ok {
			url = v
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `INSERT INTO users (user_id, tenant_id, subject, role)
		SELECT gen_random_uuid(), tenant_id, 'dev-admin', 'viewer' FROM tenants WHERE slug = 'restart'
		ON CONFLICT (tenant_id, subject) DO UPDATE SET role = excluded.role`)
	_ = conn.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := s.ask(t, http.MethodGet, "/api/v1/warehouses", ""); status != http.StatusOK {
		t.Errorf("a viewer by his tenant's word reads: %d %s", status, text)
	}
	if status, _, text := s.ask(t, http.MethodPost, "/api/v1/warehouses", `{"warehouse_code":"W","name":"W"}`); status != http.StatusForbidden {
		t.Errorf("a viewer by his tenant's word writes: %d %s", status, text)
	}
	s.terminate(t)
	s.env = append(s.env, "ROLE_OVERRIDE_ENABLED=false")
	s.launch(t, "gateway,engine")
	s.ready(t)
	if status, _, text := s.ask(t, http.MethodPost, "/api/v1/warehouses", `{"warehouse_code":"W","name":"W"}`); status != http.StatusCreated {
		t.Errorf("an administrator by the token: %d %s", status, text)
	}
	s.terminate(t)
}
