package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"starling/engine/fleet"
	"starling/gateway/auth"
)

const tenant = "11111111-1111-4111-8111-111111111111"

func issuer(t *testing.T, url string) *auth.DevIssuer {
	t.Helper()
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.NewDevIssuer(key, url, "starling")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTokensAreCheckedAsTheBestDo(t *testing.T) {
	t.Parallel()
	d, now := issuer(t, "http://issuer"), time.Now()
	sign := func(g auth.Grant, at time.Time) string {
		s, _, err := d.Issue(g, at)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hmac := func() string {
		tok, _ := jwt.NewBuilder().Issuer("http://issuer").Audience([]string{"starling"}).Expiration(now.Add(time.Hour)).Build()
		h := jws.NewHeaders()
		_ = h.Set(jws.KeyIDKey, "x")
		s, err := jwt.Sign(tok, jwt.WithKey(jwa.HS256, []byte("secret"), jws.WithProtectedHeaders(h)))
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	other := issuer(t, "http://issuer")
	foreign, _, _ := other.Issue(auth.Grant{Role: "admin"}, now)
	good := auth.Grant{Tenant: tenant, Role: auth.Admin, TTL: time.Hour}
	for name, c := range map[string]struct {
		token    string
		issuer   string
		audience string
		ok       bool
	}{
		"good":              {sign(good, now), "http://issuer", "starling", true},
		"expired":           {sign(good, now.Add(-2*time.Hour)), "http://issuer", "starling", false},
		"not yet":           {sign(good, now.Add(time.Hour)), "http://issuer", "starling", false},
		"another issuer":    {sign(good, now), "http://elsewhere", "starling", false},
		"another audience":  {sign(good, now), "http://issuer", "others", false},
		"HMAC":              {hmac(), "http://issuer", "starling", false},
		"another's key":     {foreign, "http://issuer", "starling", false},
		"garbage":           {"a.b.c", "http://issuer", "starling", false},
		"nothing":           {"", "http://issuer", "starling", false},
		"no signature":      {"eyJhbGciOiJub25lIiwia2lkIjoieCJ9.e30.", "http://issuer", "starling", false},
		"signature cut off": {sign(good, now)[:60], "http://issuer", "starling", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := auth.New(auth.Options{Issuer: c.issuer, Audience: c.audience, Skew: 30 * time.Second, Keys: d})
			i, err := v.Verify(context.Background(), c.token)
			if c.ok != (err == nil) || err != nil && !errors.Is(err, auth.ErrUnauthenticated) {
				t.Fatalf("%v", err)
			}
			if c.ok && (len(i.Tenants) != 1 || !i.Has(auth.Viewer) || !i.Has(auth.Operator) || i.Has(auth.PlatformAdmin)) {
				t.Errorf("%+v", i)
			}
		})
	}
}

func TestATenantMustBeTheTokens(t *testing.T) {
	t.Parallel()
	i := auth.Identity{Tenants: []fleet.TenantID{tenant}}
	if err := i.Choose(""); err != nil || i.Tenant != tenant {
		t.Errorf("%v %q", err, i.Tenant)
	}
	if err := i.Choose("22222222-2222-4222-8222-222222222222"); !errors.Is(err, auth.ErrForbidden) {
		t.Error(err)
	}
}

func TestKeysAreFetchedOnceKeptAndRenewed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	var now atomic.Pointer[auth.DevIssuer]
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) { now.Load().Discovery(w, r) })
	mux.HandleFunc("/.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		now.Load().JWKS(w, r)
	})
	srv := httptest.NewServer(mux)
	d := issuer(t, srv.URL)
	now.Store(d)
	keys := auth.NewRemoteKeys(auth.KeysOptions{Issuer: srv.URL, TTL: time.Minute})
	v := auth.New(auth.Options{Issuer: srv.URL, Audience: "starling", Keys: keys})
	token, _, _ := d.Issue(auth.Grant{Role: auth.Viewer}, time.Now())
	for range 5 {
		if _, err := v.Verify(context.Background(), token); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for 5 tokens", n)
	}
	bad, _, _ := issuer(t, srv.URL).Issue(auth.Grant{Role: auth.Viewer}, time.Now())
	for range 5 {
		if _, err := v.Verify(context.Background(), bad); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("asked %d times because of one unknown key", n)
	}
	srv.Close()
	if _, err := v.Verify(context.Background(), token); err != nil {
		t.Errorf("kept keys do not serve while the issuer is down: %v", err)
	}
	cold := auth.New(auth.Options{Issuer: srv.URL, Audience: "starling", Keys: auth.NewRemoteKeys(auth.KeysOptions{Issuer: srv.URL, TTL: time.Minute})})
	if _, err := cold.Verify(context.Background(), token); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("let in without keys: %v", err)
	}
}
