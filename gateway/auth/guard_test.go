package auth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

func TestASlugIsLookedUpOnceInAWhile(t *testing.T) {
	t.Parallel()
	asked, away := 0, false
	d := issuer(t, "http://issuer")
	g := auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: d}), func(_ context.Context, slug string) (fleet.TenantID, error) {
		asked++
		switch {
		case away:
			return "", fact.ErrUnavailable
		case slug == "ours":
			return tenant, nil
		}
		return "", fact.ErrNotFound
	})
	token, _, err := d.Issue(auth.Grant{Tenant: tenant, Role: auth.Viewer, TTL: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rule := g.Policy().Rule("GET /api/v1/robots")
	for range 5 {
		if who, err := g.Enter(t.Context(), auth.Ask{Token: token, Slugs: []string{"ours"}}, rule); err != nil || who.Tenant != tenant {
			t.Fatal(err)
		}
		if _, err := g.Enter(t.Context(), auth.Ask{Token: token, Slugs: []string{"nobodys"}}, rule); !errors.Is(err, auth.ErrForbidden) {
			t.Fatal(err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times for two slugs", asked)
	}
	away = true
	if _, err := g.Enter(t.Context(), auth.Ask{Token: token, Slugs: []string{"another"}}, rule); !errors.Is(err, fact.ErrUnavailable) {
		t.Errorf("while the store is away: %v", err)
	}
	platform, _, err := d.Issue(auth.Grant{Role: auth.PlatformAdmin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	audit := g.Policy().Rule("GET /api/v1/audit")
	if _, err := g.Enter(t.Context(), auth.Ask{Token: platform}, audit); err != nil {
		t.Errorf("the platform's own log: %v", err)
	}
	both, _, err := d.Issue(auth.Grant{Role: auth.PlatformAdmin, Tenant: tenant}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Enter(t.Context(), auth.Ask{Token: both}, audit); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("a tenant's log by the platform's role alone: %v", err)
	}
}
