package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

func b64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// oneKey is a source of one key.
type oneKey struct{ key crypto.PublicKey }

func (o oneKey) Key(context.Context, string, string, time.Time) (crypto.PublicKey, error) {
	return o.key, nil
}

// Nothing that is not signed with the key gets in, whatever it looks like, and nothing brings the check down.
func FuzzVerify(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	v := New(Options{Issuer: "i", Audience: "a", Keys: oneKey{&key.PublicKey}})
	for _, s := range []string{`{"alg":"ES256","kid":"k"}`, `{"alg":"none"}`, `{"alg":"ES256","kid":"k","kid":"k"}`, `[]`} {
		f.Add(b64url([]byte(s)) + "." + b64url([]byte(`{"iss":"i","aud":"a","sub":"s","exp":99999999999}`)) + "." + b64url(make([]byte, 64)))
	}
	f.Add("..")
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		if who, err := v.Verify(t.Context(), token); who != nil || !errors.Is(err, ErrUnauthenticated) {
			t.Fatalf("%v %+v", err, who)
		}
	})
}

// What the strict reader takes, the common one reads alike; what comes twice it takes in no form.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[1,{"c":null}]}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":"\ud800"}`, `{"a":1}x`, `{"a":1e400}`, "{\"\xff\":1}", `[1]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := object(b)
		if err != nil {
			return
		}
		var want map[string]any
		dec := json.NewDecoder(strings.NewReader(string(b)))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v: %v, want %v", err, got, want)
		}
		if _, err := object([]byte(`{"x":` + string(b) + `,"x":0}`)); err == nil {
			t.Fatal("a member comes twice")
		}
	})
}

// FuzzClaims: claims of whatever form, signed or not, never bring the check down, and give no role or tenant that is none.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"sub":"s","roles":["admin"],"tenant_id":"11111111-1111-4111-8111-111111111111"}`, `{"sub":"s","roles":{}}`,
		`{"sub":"s","realm_access":{"roles":"admin x"},"resource_access":{"a":{"roles":["viewer"]}}}`, `{"sub":"s","tenants":[""]}`,
	} {
		f.Add([]byte(s))
	}
	from := &Issuer{URL: "i", Audiences: []string{"a"}}
	v := New(Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := object(b)
		if err != nil {
			return
		}
		_, _ = v.hold(c, from, time.Unix(1_800_000_000, 0))
		who, reason := identityOf(c, from)
		if (who == nil) == (reason == "") {
			t.Fatalf("%+v %q", who, reason)
		}
		if who == nil {
			return
		}
		if who.Subject == "" || who.Has(PlatformAdmin) {
			t.Fatalf("%+v", who)
		}
		for _, id := range who.Tenants {
			if !IsTenant(string(id)) {
				t.Fatalf("%q", id)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for alg, key := range map[jwa.SignatureAlgorithm]crypto.Signer{jwa.ES256: ec, jwa.RS256: rs} {
		v := New(Options{Issuer: "i", Audience: "a", Keys: oneKey{key.Public()}})
		token := signed(b, alg, key, "k", time.Now().Add(time.Hour))
		for name, before := range map[string]func(){"first": func() { v.checked.new, v.checked.old = nil, nil }, "again": func() {}} {
			b.Run(string(alg)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					before()
					if _, err := v.Verify(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
