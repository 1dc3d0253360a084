//go:build integration

package postgres_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

func TestOnlyThePlatformSetsLimits(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	ctx := t.Context()
	made := fact.Tenant{ID: newID[fleet.TenantID](), Slug: "limited", Name: "Limited", Limits: json.RawMessage(`{"robots": 5}`), CreatedAt: day}
	if err := s.Tenants.CreateTenant(ctx, made, nil); err != nil {
		t.Fatal(err)
	}
	got, err := s.Tenants.GetTenantByID(ctx, made.ID)
	if err != nil || string(got.Limits) != `{"robots": 5}` || string(got.Settings) != "{}" {
		t.Fatalf("%+v: %v", got, err)
	}
	name := "Renamed"
	set, err := s.Tenants.SetTenantLimits(ctx, made.ID, &name, json.RawMessage(`{"robots": 7}`), got.Version)
	if err != nil || set.Name != name || string(set.Limits) != `{"robots": 7}` || set.Version != got.Version+1 {
		t.Fatalf("%+v: %v", set, err)
	}
	if _, err := s.Tenants.SetTenantLimits(ctx, made.ID, nil, json.RawMessage(`{}`), got.Version); asConflict(t, err).Key != "version" {
		t.Fatal(err)
	}
	if set, err = s.Tenants.SetTenantLimits(ctx, made.ID, nil, nil, -1); err != nil || set.Name != name || string(set.Limits) != `{"robots": 7}` {
		t.Fatalf("what was not given has changed: %+v: %v", set, err)
	}
	if _, err := s.Tenants.SetTenantLimits(ctx, newID[fleet.TenantID](), nil, nil, -1); !errors.Is(err, fact.ErrNotFound) {
		t.Fatal(err)
	}
	// A tenant's own administrator changes settings; a statement that forgot itself does not get past the trigger.
	if _, err := s.Tenants.PatchSettings(ctx, made.ID, json.RawMessage(`{"quotas":{"robots":3}}`), -1); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url, "starling_app")
	if _, err := conn.Exec(ctx, "SELECT set_config('app.tenant_id', $1, false)", string(made.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "UPDATE tenants SET limits = '{}' WHERE tenant_id = $1", string(made.ID)); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Fatalf("a tenant has raised its own limits: %v", err)
	}
	if tag, err := conn.Exec(ctx, "UPDATE tenants SET settings = '{}' WHERE tenant_id = $1", string(made.ID)); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("a tenant cannot change its settings: %v", err)
	}
}

func TestOriginsOfAllTenants(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	for i, settings := range []string{
		`{"cors":{"allowed_origins":["https://a.example","https://b.example",7,null]}}`, `{"cors":{"allowed_origins":["https://b.example"]}}`,
		`{"cors":["https://c.example"]}`, `{"cors":{"allowed_origins":null}}`, `{}`,
	} {
		id := newID[fleet.TenantID]()
		if err := s.Tenants.CreateTenant(t.Context(), fact.Tenant{ID: id, Slug: "o-" + string(rune('a'+i)), Name: "o", Settings: json.RawMessage(settings), CreatedAt: day}, nil); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Tenants.Origins(t.Context(), 100)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []string{"https://a.example", "https://b.example"}) {
		t.Fatalf("%v: %v", got, err)
	}
	if got, err = s.Tenants.Origins(t.Context(), 1); err != nil || len(got) != 1 {
		t.Fatalf("%v: %v", got, err)
	}
}

func TestCountOfRobots(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	mine, other := newShard(t, s), newShard(t, s)
	gone, first := registration(mine, "a")
	_, second := registration(mine, "b")
	_, foreign := registration(other, "a")
	for _, u := range []fact.Unit{first, second, foreign} {
		mustAppend(t, s, u)
	}
	count := func(want int) {
		t.Helper()
		if n, err := s.Robots.CountRobots(t.Context(), mine.Tenant); err != nil || n != want {
			t.Fatalf("%d robots, want %d: %v", n, want, err)
		}
	}
	count(2)
	mustAppend(t, s, fact.Unit{Shard: mine, Facts: []fact.Fact{oneFact(string(gone.ID), 2, day, robot.Removed{Version: 2})}})
	count(1)
}
