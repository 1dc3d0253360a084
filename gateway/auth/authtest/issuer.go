// Package authtest is an issuer for tests: it makes good tokens, and from the table testdata/tokens/cases.json tokens that
// nobody may take. Its keys are made when it is; no key is kept anywhere.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// Audience is for whom the issuer's tokens are.
const Audience = "starling"

// Issuer is a running issuer. Its keys by name: rsa and ec (of no certain algorithm), ps (for PS256 alone), ed, and what
// must not be used though it is published: weak (1024 bits), enc (for encryption), secret (symmetric), sealed (key_ops
// without verify); stranger is not published.
type Issuer struct {
	URL     string
	Fetches atomic.Int32 // how often the key set was asked for

	server *httptest.Server
	mu     sync.Mutex
	keys   map[string]crypto.Signer
	set    map[string]map[string]any // JWKs by key's name
	away   bool
}

// New starts an issuer, which ends with the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{keys: map[string]crypto.Signer{}, set: map[string]map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.Fetches.Add(1)
		i.mu.Lock()
		list := []any{}
		for _, k := range i.set {
			list = append(list, k)
		}
		i.mu.Unlock()
		i.answer(w, map[string]any{"keys": list})
	})
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	i.URL = i.server.URL
	for name, bits := range map[string]int{"rsa": 2048, "ps": 2048, "weak": 1024, "enc": 2048, "sealed": 2048, "stranger": 2048} {
		i.keys[name] = rsaKey(t, bits)
	}
	var err error
	if i.keys["ec"], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, i.keys["ed"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	for name := range i.keys {
		if name != "stranger" {
			i.Publish(name)
		}
	}
	i.set["ps"]["alg"] = "PS256"
	i.set["enc"]["use"] = "enc"
	i.set["sealed"]["key_ops"] = []string{"sign"}
	i.set["secret"] = map[string]any{"kty": "oct", "kid": "secret", "k": b64([]byte(secret))}
	return i
}

// secret is the value of the symmetric key that the set has, which everybody can read there.
const secret = "everybody-can-read-this-in-the-set-of-keys"

// rsaKey makes a key. The toolchain refuses weak ones but where a test asks for one.
func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	if bits < 2048 {
		t.Setenv("GODEBUG", "rsa1024min=0")
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (i *Issuer) answer(w http.ResponseWriter, v any) {
	i.mu.Lock()
	away := i.away
	i.mu.Unlock()
	if away {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Leave lets the issuer answer nothing but errors, or well again.
func (i *Issuer) Leave(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// Rotate makes a key, unpublished as yet, that goes by a name.
func (i *Issuer) Rotate(t testing.TB, name string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[name] = k
}

// Publish puts a key into the set; its id is its name.
func (i *Issuer) Publish(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	k := map[string]any{"kid": name, "use": "sig"}
	switch pub := i.keys[name].Public().(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		p, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		k["kty"], k["crv"], k["x"], k["y"] = "EC", "P-256", b64(p[1:33]), b64(p[33:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(pub)
	}
	i.set[name] = k
}

// Withdraw takes a key out of the set.
func (i *Issuer) Withdraw(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.set, name)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign signs with a key by an algorithm, whether that fits or not.
func (i *Issuer) sign(alg, name string, input []byte) ([]byte, error) {
	i.mu.Lock()
	key := i.keys[name]
	i.mu.Unlock()
	digest := sha256.Sum256(input)
	switch alg {
	case "none":
		return nil, nil
	case "hmac-pem", "hmac-der":
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, err
		}
		if alg == "hmac-pem" {
			der = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		return mac(der, input), nil
	case "hmac-secret":
		return mac([]byte(secret), input), nil
	case "hmac-empty":
		return mac(nil, input), nil
	case "RS384":
		d := sha512.Sum384(input)
		return rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA384, d[:])
	case "RS256":
		return rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA256, digest[:])
	case "PS256":
		return rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256", "ES256-der":
		if alg == "ES256-der" {
			return ecdsa.SignASN1(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
		}
		r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	case "EdDSA":
		return ed25519.Sign(key.(ed25519.PrivateKey), input), nil
	}
	return nil, fmt.Errorf("no such way to sign: %s", alg)
}

func mac(key, input []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(input)
	return h.Sum(nil)
}
