package auth_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/auth/authtest"
)

const otherTenant = "22222222-2222-4222-8222-222222222222"

func verifierOf(i *authtest.Issuer, set func(*auth.Issuer)) *auth.Verifier {
	from := auth.Issuer{URL: i.URL, Audiences: []string{authtest.Audience}, Keys: auth.NewRemoteKeys(auth.KeysOptions{Issuer: i.URL, TTL: time.Hour})}
	if set != nil {
		set(&from)
	}
	return auth.New(auth.Options{Issuers: []auth.Issuer{from}})
}

type claims = map[string]any

func TestRolesComeFromWhereIssuersPutThemAndFromOurClientsAlone(t *testing.T) {
	i := authtest.New(t)
	for name, c := range map[string]struct {
		claims claims
		set    func(*auth.Issuer)
		want   []string
	}{
		"everywhere":                 {claims{"roles": []string{"viewer"}, "realm_access": claims{"roles": []string{"operator", "offline_access"}}, "scope": "openid robot"}, nil, []string{"operator", "robot", "viewer"}},
		"one text with blanks":       {claims{"roles": "viewer admin"}, nil, []string{"admin", "viewer"}},
		"none":                       {claims{"roles": nil}, nil, []string{}},
		"our audience as a client":   {claims{"roles": nil, "resource_access": claims{"starling": claims{"roles": []string{"admin"}}}}, nil, []string{"admin"}},
		"our page as a client":       {claims{"roles": nil, "resource_access": claims{"page": claims{"roles": []string{"admin"}}}}, func(i *auth.Issuer) { i.Clients = []string{"page"} }, []string{"admin"}},
		"another client's admin":     {claims{"roles": nil, "resource_access": claims{"payroll": claims{"roles": []string{"admin"}}, "account": claims{"roles": []string{"admin"}}}}, nil, []string{}},
		"theirs are ours by the map": {claims{"roles": []string{"lager-leiter", "admin"}}, func(i *auth.Issuer) { i.Roles = map[string]string{"lager-leiter": "operator", "admin": "viewer"} }, []string{"operator", "viewer"}},
		"no platform administrators": {claims{"roles": []string{"platform_admin", "viewer"}}, nil, []string{"viewer"}},
		"nor by the map":             {claims{"roles": []string{"boss"}}, func(i *auth.Issuer) { i.Roles = map[string]string{"boss": "platform_admin"} }, []string{}},
		"but where they are allowed": {claims{"roles": []string{"platform_admin"}}, func(i *auth.Issuer) { i.Platform = true }, []string{"platform_admin"}},
		"a role in other letters":    {claims{"roles": []string{"Admin", " admin"}}, nil, []string{}},
	} {
		who, err := verifierOf(i, c.set).Verify(t.Context(), i.Good(t, c.claims))
		if err != nil || !slices.Equal(who.Roles, c.want) {
			t.Errorf("%s: %v %+v, want %v", name, err, who, c.want)
		}
	}
}

func TestAnIssuerNamesItsOwnTenantsAlone(t *testing.T) {
	i := authtest.New(t)
	confined := func(i *auth.Issuer) { i.Tenants = []fleet.TenantID{tenant} }
	for name, c := range map[string]struct {
		claims claims
		set    func(*auth.Issuer)
		want   []fleet.TenantID
	}{
		"its own":                 {nil, confined, []fleet.TenantID{tenant}},
		"another's":               {claims{"tenant_id": otherTenant}, confined, nil},
		"one of two":              {claims{"tenants": []string{otherTenant, tenant}}, confined, []fleet.TenantID{tenant}},
		"both where all may be":   {claims{"tenants": []string{otherTenant}}, nil, []fleet.TenantID{tenant, otherTenant}},
		"a list as tenant_id":     {claims{"tenant_id": []string{otherTenant}}, nil, []fleet.TenantID{otherTenant}},
		"in capital letters":      {claims{"tenant_id": "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA"}, nil, []fleet.TenantID{"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"}},
		"the same twice":          {claims{"tenants": tenant + " " + tenant}, nil, []fleet.TenantID{tenant}},
		"nobody's, an empty text": {claims{"tenant_id": ""}, nil, nil},
	} {
		who, err := verifierOf(i, c.set).Verify(t.Context(), i.Good(t, c.claims))
		if err != nil || !slices.Equal(who.Tenants, c.want) {
			t.Errorf("%s: %v %+v, want %v", name, err, who, c.want)
		}
	}
}

// The issuers share ids of keys: a token is held against its own issuer's alone.
func TestEachIssuerHasItsOwnKeysAudiencesAndTenants(t *testing.T) {
	a, b := authtest.New(t), authtest.New(t)
	of := func(i *authtest.Issuer, tenants ...fleet.TenantID) auth.Issuer {
		return auth.Issuer{URL: i.URL, Audiences: []string{authtest.Audience}, Tenants: tenants, Keys: auth.NewRemoteKeys(auth.KeysOptions{Issuer: i.URL, TTL: time.Hour})}
	}
	v := auth.New(auth.Options{Issuers: []auth.Issuer{of(a, tenant), of(b, otherTenant)}})
	for _, i := range []*authtest.Issuer{a, b} {
		if who, err := v.Verify(t.Context(), i.Good(t, nil)); err != nil || who.Issuer != i.URL || len(who.Tenants) != map[bool]int{true: 1}[i == a] {
			t.Errorf("%v %+v", err, who)
		}
	}
	if _, err := v.Verify(t.Context(), a.Good(t, claims{"iss": b.URL})); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("signed by one, said to be the other's: %v", err)
	}
	b.Leave(true)
	cold := auth.New(auth.Options{Issuers: []auth.Issuer{of(a), of(b)}})
	if _, err := cold.Verify(t.Context(), b.Good(t, nil)); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("let in without keys: %v", err)
	}
	if _, err := cold.Verify(t.Context(), a.Good(t, nil)); err != nil {
		t.Errorf("one issuer away locks another's people out: %v", err)
	}
}

func TestATenantsOwnRoleReplacesTheTokens(t *testing.T) {
	i := authtest.New(t)
	role, fails, asked := "viewer", error(nil), 0
	now := time.Now()
	v := auth.New(auth.Options{
		Issuers: []auth.Issuer{{URL: i.URL, Audiences: []string{authtest.Audience}, Platform: true, Keys: auth.NewRemoteKeys(auth.KeysOptions{Issuer: i.URL, TTL: time.Hour})}},
		Now:     func() time.Time { return now },
		Override: func(_ context.Context, in fleet.TenantID, subject string) (string, error) {
			asked++
			if in != tenant || subject != "somebody" {
				t.Errorf("asked for %s in %s", subject, in)
			}
			return role, fails
		},
	})
	ask := func(roles ...string) (*auth.Identity, error) {
		who, err := v.Verify(t.Context(), i.Good(t, claims{"roles": roles}))
		if err == nil {
			err = who.Choose("")
		}
		if err != nil {
			t.Fatal(err)
		}
		return who, v.Override(t.Context(), who)
	}
	for range 3 {
		if who, err := ask("admin"); err != nil || who.Has(auth.Operator) || !who.Has(auth.Viewer) {
			t.Errorf("%v %+v", err, who)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if who, err := ask("platform_admin"); err != nil || !slices.Equal(who.Roles, []string{"platform_admin", "viewer"}) {
		t.Errorf("%v %+v", err, who)
	}
	now = now.Add(time.Minute)
	for _, unfit := range []string{"", "platform_admin", "emperor"} {
		role, now = unfit, now.Add(time.Minute)
		if who, err := ask("operator"); err != nil || !slices.Equal(who.Roles, []string{"operator"}) {
			t.Errorf("%q: %v %+v", unfit, err, who)
		}
	}
	fails, now = errors.New("away"), now.Add(time.Minute)
	if _, err := ask("admin"); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("a role that cannot be looked up: %v", err)
	}
}
