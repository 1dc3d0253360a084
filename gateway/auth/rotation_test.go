package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// Keys are replaced again and again while good tokens and made-up ones come in: no good one is refused, the issuer is
// asked no more often than it may be.
func TestARotationUnderAttackRefusesNobody(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	first := ecKey(t)
	i.add(t, "0", first)
	const every = 150 * time.Millisecond
	keys := NewRemoteKeys(KeysOptions{Issuer: i.URL, URL: i.URL, TTL: time.Hour, Every: every})
	v := New(Options{Issuer: "i", Audience: "a", Keys: keys, Skew: 30 * time.Second})
	var now atomic.Pointer[string]
	sign := func(n int, key crypto.Signer) {
		s := signed(t, jwa.ES256, key, fmt.Sprint(n), time.Now().Add(time.Hour))
		now.Store(&s)
	}
	sign(0, first)
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	var all sync.WaitGroup
	var good, bad, later atomic.Int64
	for n := range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := v.Verify(context.Background(), *now.Load()); err != nil {
					t.Errorf("a good token is refused: %v", err)
					return
				}
				good.Add(1)
				runtime.Gosched()
				time.Sleep(time.Millisecond)
			}
		})
		stranger := ecKey(t)
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				token := signed(t, jwa.ES256, stranger, fmt.Sprintf("made-up-%d-%d", n, k), time.Now().Add(time.Hour))
				switch _, err := v.Verify(ctx, token); {
				case errors.Is(err, ErrUnauthenticated):
					bad.Add(1)
				case errors.Is(err, ErrUnavailable):
					later.Add(1)
				default:
					t.Errorf("a made-up token: %v", err)
				}
			}
		})
	}
	for n := range 5 {
		time.Sleep(2*every + every/3 + time.Duration(n)*every/10) // in the midst of a time when nobody may ask
		key := ecKey(t)
		i.add(t, fmt.Sprint(n+1), key)
		sign(n+1, key)
	}
	time.Sleep(2 * every)
	cancel()
	all.Wait()
	took := time.Since(began)
	if most := int32(took/every) + 2; i.asked.Load() > most {
		t.Errorf("asked %d times in %s, want at most %d", i.asked.Load(), took, most)
	}
	if good.Load() < 100 || bad.Load() < 8 {
		t.Errorf("this shows nothing: %d good, %d refused", good.Load(), bad.Load())
	}
	t.Logf("%d good, %d refused, %d told to come later, asked %d times in %s", good.Load(), bad.Load(), later.Load(), i.asked.Load(), took)
}

// slow is an issuer without a network, for time that does not pass by itself.
type slow struct {
	body  atomic.Pointer[string] // "" = an error
	asked atomic.Int32
}

func newSlow(body string) *slow {
	s := &slow{}
	s.body.Store(&body)
	return s
}

func (s *slow) say(body string) { s.body.Store(&body) }

func (s *slow) RoundTrip(*http.Request) (*http.Response, error) {
	s.asked.Add(1)
	w := httptest.NewRecorder()
	if body := *s.body.Load(); body != "" {
		w.Body.WriteString(body)
	} else {
		w.Code = http.StatusBadGateway
	}
	return w.Result(), nil
}

func setOf(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, kid))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func TestKeysAreKeptForTheirTimeAndNoLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := newSlow(setOf("a"))
		r := NewRemoteKeys(KeysOptions{Issuer: "https://i", URL: "https://i/keys", TTL: 5 * time.Minute})
		r.client.Transport = transport
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		key := func(kid string) error {
			_, err := r.Key(t.Context(), kid, "EdDSA", time.Time{})
			return err
		}
		synctest.Wait()
		if transport.asked.Load() != 1 {
			t.Errorf("Run asks %d times at its start", transport.asked.Load())
		}
		time.Sleep(4 * time.Minute) // nobody asks
		if n := transport.asked.Load(); n != 2 {
			t.Errorf("asked %d times in four minutes", n)
		}
		transport.say("") // the issuer is down
		time.Sleep(3 * time.Minute)
		if err := key("a"); err != nil {
			t.Errorf("kept keys do not serve: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if err := key("a"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("let in with keys that have expired: %v", err)
		}
		transport.say(setOf("b")) // it is back, and has withdrawn a
		time.Sleep(time.Minute)
		if err := key("b"); err != nil {
			t.Errorf("a key of the issuer that is back: %v", err)
		}
		if err := key("a"); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("a key that was withdrawn: %v", err)
		}
		cancel()
		running.Wait()
	})
}

func TestWhetherAnUnknownKeyIsKnownToBeNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := newSlow(setOf("a"))
		r := NewRemoteKeys(KeysOptions{Issuer: "https://i", URL: "https://i/keys", TTL: time.Hour})
		r.client.Transport = transport
		key := func(kid string, issued time.Time) (time.Duration, error) {
			began := time.Now()
			_, err := r.Key(t.Context(), kid, "EdDSA", issued)
			return time.Since(began), err
		}
		if _, err := key("a", time.Time{}); err != nil {
			t.Fatal(err)
		}
		// Made before the set was asked for: the set knows.
		if took, err := key("x", time.Now().Add(-time.Second)); !errors.Is(err, ErrUnauthenticated) || took != 0 {
			t.Errorf("%s %v", took, err)
		}
		// Made after it: a set must be asked for, once that may be.
		time.Sleep(time.Millisecond)
		if took, err := key("y", time.Now()); !errors.Is(err, ErrUnauthenticated) || took > askEvery || took < askEvery/2 {
			t.Errorf("%s %v", took, err)
		}
		transport.say(setOf("a", "b"))
		time.Sleep(time.Millisecond)
		if took, err := key("b", time.Time{}); err != nil || took != askEvery-time.Millisecond {
			t.Errorf("a key that is new and asked for right after a fetch: %s %v", took, err)
		}
		if n := transport.asked.Load(); n != 3 {
			t.Errorf("asked %d times", n)
		}
		// The wrong algorithm for a known key is no reason to ask.
		if _, err := r.Key(t.Context(), "a", "ES256", time.Time{}); !errors.Is(err, ErrUnauthenticated) || transport.asked.Load() != 3 {
			t.Errorf("%v, asked %d times", err, transport.asked.Load())
		}
		// The issuer is down: what is unknown stays so, what is kept serves.
		transport.say("")
		time.Sleep(askEvery)
		if _, err := key("z", time.Now()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if _, err := key("a", time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestOnlySoManyWaitForAKeyThatNobodyKnows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := newSlow(setOf("a"))
		r := NewRemoteKeys(KeysOptions{Issuer: "https://i", URL: "https://i/keys", TTL: time.Hour})
		r.client.Transport = transport
		_, _ = r.Key(t.Context(), "known-as-none", "EdDSA", time.Time{})
		time.Sleep(time.Millisecond)
		var all sync.WaitGroup
		for n := range maxWaiting {
			all.Go(func() { _, _ = r.Key(t.Context(), fmt.Sprint(n), "EdDSA", time.Time{}) })
		}
		synctest.Wait()
		began := time.Now()
		if _, err := r.Key(t.Context(), "one-more", "EdDSA", time.Time{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if _, err := r.Key(t.Context(), "known-as-none", "EdDSA", time.Time{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%v", err)
		}
		if _, err := r.Key(t.Context(), "a", "EdDSA", time.Time{}); err != nil {
			t.Errorf("who waits disturbs who need not: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
		all.Wait()
		if r.waiting != 0 || transport.asked.Load() != 2 {
			t.Errorf("%d still wait, asked %d times", r.waiting, transport.asked.Load())
		}
	})
}

func TestWhatADiscoveryDocumentMayLeadTo(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(setOf("a"))) }))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		document func(own string) (int, string)
		keys     func(w http.ResponseWriter, r *http.Request)
		ok       bool
	}{
		"its own":          {func(own string) (int, string) { return 200, `{"issuer":"` + own + `","jwks_uri":"` + own + `/keys"}` }, nil, true},
		"another issuer's": {func(own string) (int, string) { return 200, `{"issuer":"https://other","jwks_uri":"` + own + `/keys"}` }, nil, false},
		"no issuer":        {func(own string) (int, string) { return 200, `{"jwks_uri":"` + own + `/keys"}` }, nil, false},
		"none":             {func(string) (int, string) { return 404, "" }, nil, true},
		"no place":         {func(own string) (int, string) { return 200, `{"issuer":"` + own + `"}` }, nil, true},
		"an error":         {func(string) (int, string) { return 500, "" }, nil, false},
		"no JSON":          {func(string) (int, string) { return 200, "<html>" }, nil, false},
		"too large":        {func(string) (int, string) { return 200, strings.Repeat(" ", maxAnswer+1) }, nil, false},
		"keys elsewhere by a redirect": {
			func(own string) (int, string) { return 200, `{"issuer":"` + own + `","jwks_uri":"` + own + `/keys"}` },
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, false,
		},
		"keys that are no set": {func(string) (int, string) { return 404, "" }, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"error":"x"}`)) }, false},
		"too many keys": {func(string) (int, string) { return 404, "" }, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := c.keys
			if keys == nil {
				keys = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(setOf("a"))) }
			}
			mux := http.NewServeMux()
			srv := httptest.NewServer(mux)
			t.Cleanup(srv.Close)
			mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
				status, body := c.document(srv.URL)
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			})
			mux.HandleFunc("/keys", keys)
			mux.HandleFunc("/.well-known/jwks.json", keys)
			_, err := NewRemoteKeys(KeysOptions{Issuer: srv.URL, TTL: time.Hour}).Key(t.Context(), "a", "EdDSA", time.Time{})
			if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
}

func TestWeakAndStrangeKeysAreLeftOut(t *testing.T) {
	t.Parallel()
	n := func(bits int) string {
		return b64url(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(bits)), big.NewInt(1)).Bytes())
	}
	for name, c := range map[string]struct {
		key  string
		algs string
	}{
		"RSA":                     {`{"kty":"RSA","kid":"k","e":"AQAB","n":"` + n(2048) + `"}`, "RS256 RS384 RS512 PS256 PS384 PS512"},
		"RSA of one algorithm":    {`{"kty":"RSA","kid":"k","alg":"RS512","e":"AQAB","n":"` + n(2048) + `"}`, "RS512"},
		"RSA for encryption":      {`{"kty":"RSA","kid":"k","alg":"RSA-OAEP","e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"RSA that says HS256":     {`{"kty":"RSA","kid":"k","alg":"HS256","e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"RSA of 2047 bits":        {`{"kty":"RSA","kid":"k","e":"AQAB","n":"` + n(2047) + `"}`, ""},
		"RSA without end":         {`{"kty":"RSA","kid":"k","e":"AQAB","n":"` + n(8193) + `"}`, ""},
		"RSA with exponent 1":     {`{"kty":"RSA","kid":"k","e":"AQ","n":"` + n(2048) + `"}`, ""},
		"no id":                   {`{"kty":"RSA","e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"verify among operations": {`{"kty":"RSA","kid":"k","key_ops":["verify"],"e":"AQAB","n":"` + n(2048) + `"}`, "RS256 RS384 RS512 PS256 PS384 PS512"},
		"no operations":           {`{"kty":"RSA","kid":"k","key_ops":[],"e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"another use":             {`{"kty":"RSA","kid":"k","use":"enc","e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"a member twice":          {`{"kty":"RSA","kid":"x","kid":"k","e":"AQAB","n":"` + n(2048) + `"}`, ""},
		"symmetric":               {`{"kty":"oct","kid":"k","k":"AAAA"}`, ""},
		"private":                 {`{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`, ""},
		"Ed25519":                 {`{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "EdDSA"},
		"X25519":                  {`{"kty":"OKP","crv":"X25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, ""},
		"P-256":                   {`{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`, "ES256"},
		"not on its curve":        {`{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWX5a0"}`, ""},
		"of a kind nobody knows":  {`{"kty":"AKP","kid":"k","pub":"AAAA"}`, ""},
		"no object":               {`1`, ""},
	} {
		set, left, err := readKeys([]byte(`{"keys":[` + c.key + `]}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		for _, k := range set["k"] {
			got += strings.Join(k.algs, " ")
		}
		if got != c.algs || (left == 1) != (c.algs == "") {
			t.Errorf("%s: %q, %d left out, want %q", name, got, left, c.algs)
		}
	}
}
