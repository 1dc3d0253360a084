package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

// issuerOf serves one key set that can be replaced, and counts how often it is asked.
type issuerOf struct {
	*httptest.Server
	mu    sync.Mutex
	set   jwk.Set
	asked atomic.Int32
}

func newIssuer(t *testing.T) *issuerOf {
	t.Helper()
	i := &issuerOf{set: jwk.NewSet()}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		time.Sleep(20 * time.Millisecond)
		i.mu.Lock()
		defer i.mu.Unlock()
		writeJSON(w, i.set)
	}))
	t.Cleanup(i.Close)
	return i
}

// add publishes the public half of a key.
func (i *issuerOf) add(t *testing.T, kid string, key crypto.Signer) {
	t.Helper()
	k, err := jwk.FromRaw(key.Public())
	if err == nil {
		err = k.Set(jwk.KeyIDKey, kid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		err = i.set.AddKey(k)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (i *issuerOf) keys() *RemoteKeys {
	return NewRemoteKeys(KeysOptions{Issuer: i.URL, URL: i.URL, TTL: time.Hour})
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed is a token of the issuer; kid "" and a zero expiry leave them out.
func signed(t testing.TB, alg jwa.SignatureAlgorithm, key any, kid string, expires time.Time) string {
	t.Helper()
	b := jwt.NewBuilder().Issuer("i").Audience([]string{"a"}).Subject("s").Claim("roles", []string{Viewer})
	if !expires.IsZero() {
		b = b.Expiration(expires)
	}
	tok, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	h := jws.NewHeaders()
	if kid != "" {
		if err := h.Set(jws.KeyIDKey, kid); err != nil {
			t.Fatal(err)
		}
	}
	s, err := jwt.Sign(tok, jwt.WithKey(alg, key, jws.WithProtectedHeaders(h)))
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

func TestTheUsualAlgorithmsAreUnderstood(t *testing.T) {
	t.Parallel()
	i, ec, in := newIssuer(t), ecKey(t), time.Now().Add(time.Hour)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.add(t, "ec", ec)
	i.add(t, "rsa", rs)
	i.add(t, "ed", ed)
	v := New(Options{Issuer: "i", Audience: "a", Keys: i.keys()})
	for name, c := range map[string]struct {
		token string
		ok    bool
	}{
		"ES256":                 {signed(t, jwa.ES256, ec, "ec", in), true},
		"RS256":                 {signed(t, jwa.RS256, rs, "rsa", in), true},
		"PS256":                 {signed(t, jwa.PS256, rs, "rsa", in), true},
		"EdDSA":                 {signed(t, jwa.EdDSA, ed, "ed", in), true},
		"no key id":             {signed(t, jwa.ES256, ec, "", in), false},
		"no expiry":             {signed(t, jwa.ES256, ec, "ec", time.Time{}), false},
		"another key's id":      {signed(t, jwa.ES256, ec, "rsa", in), false},
		"a key as its password": {signed(t, jwa.HS256, []byte("ec"), "ec", in), false},
	} {
		i, err := v.Verify(t.Context(), c.token)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok && !i.Has(Viewer) {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

func TestManyAtOnceAskTheIssuerOnce(t *testing.T) {
	t.Parallel()
	i, key := newIssuer(t), ecKey(t)
	i.add(t, "k", key)
	v := New(Options{Issuer: "i", Audience: "a", Keys: i.keys()})
	token := signed(t, jwa.ES256, key, "k", time.Now().Add(time.Hour))
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestANewKeyIsFoundWhenItIsFirstUsed(t *testing.T) {
	t.Parallel()
	i, first, second := newIssuer(t), ecKey(t), ecKey(t)
	i.add(t, "1", first)
	var later atomic.Int64
	keys := NewRemoteKeys(KeysOptions{Issuer: i.URL, URL: i.URL, TTL: time.Hour, Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	v, in := New(Options{Issuer: "i", Audience: "a", Keys: keys}), time.Now().Add(time.Hour)
	if _, err := v.Verify(t.Context(), signed(t, jwa.ES256, first, "1", in)); err != nil {
		t.Fatal(err)
	}
	i.add(t, "2", second)
	later.Store(int64(askEvery))
	if _, err := v.Verify(t.Context(), signed(t, jwa.ES256, second, "2", in)); err != nil {
		t.Errorf("the new key is refused: %v", err)
	}
	if n := i.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnIssuerThatHangsHoldsNobodyLongerThanHeWaits(t *testing.T) {
	t.Parallel()
	i, key := newIssuer(t), ecKey(t)
	i.mu.Lock() // it never answers
	defer i.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	v := New(Options{Issuer: "i", Audience: "a", Keys: i.keys()})
	if _, err := v.Verify(ctx, signed(t, jwa.ES256, key, "k", start.Add(time.Hour))); !errors.Is(err, ErrUnavailable) {
		t.Errorf("let in: %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
}
