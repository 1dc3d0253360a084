package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"starling/engine/fleet"
)

// DevIssuer is the development issuer: it signs what it is asked to sign, with a key of its own. Only under ENV=dev.
type DevIssuer struct {
	key      *ecdsa.PrivateKey
	kid      string
	issuer   string
	audience string
}

// NewKey makes a signing key in PEM, to be kept so that tokens outlive a restart.
func NewKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode a signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// NewDevIssuer returns an issuer with the key of NewKey.
func NewDevIssuer(keyPEM []byte, issuer, audience string) (*DevIssuer, error) {
	b, _ := pem.Decode(keyPEM)
	if b == nil {
		return nil, errors.New("the signing key is not PEM")
	}
	k, err := x509.ParseECPrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	sum := sha256.Sum256(pub)
	return &DevIssuer{key: k, kid: hex.EncodeToString(sum[:8]), issuer: issuer, audience: audience}, nil
}

// Key implements KeySource.
func (d *DevIssuer) Key(_ context.Context, kid, alg string, _ time.Time) (crypto.PublicKey, error) {
	if kid != d.kid || alg != string(jwa.ES256) {
		return nil, ErrUnauthenticated
	}
	return &d.key.PublicKey, nil
}

// Grant is what a development token says.
type Grant struct {
	Subject string         `json:"subject"`
	Tenant  fleet.TenantID `json:"tenant"`
	Role    string         `json:"role"`
	Robot   fleet.RobotID  `json:"robot"`
	Fleet   string         `json:"fleet"`
	TTL     time.Duration  `json:"-"` // 0 = a day
}

// Issue signs a token.
func (d *DevIssuer) Issue(g Grant, now time.Time) (string, time.Time, error) {
	if g.TTL <= 0 {
		g.TTL = 24 * time.Hour
	}
	if g.Subject == "" {
		g.Subject = "dev-" + g.Role
	}
	expires := now.Add(g.TTL).Truncate(time.Second)
	b := jwt.NewBuilder().Issuer(d.issuer).Audience([]string{d.audience}).Subject(g.Subject).IssuedAt(now).NotBefore(now).
		Expiration(expires).Claim("roles", []string{g.Role}).Claim("name", g.Subject)
	for name, v := range map[string]string{"tenant_id": string(g.Tenant), "robot_id": string(g.Robot), "fleet": g.Fleet} {
		if v != "" {
			b = b.Claim(name, v)
		}
	}
	t, err := b.Build()
	if err != nil {
		return "", expires, fmt.Errorf("build a token: %w", err)
	}
	h := jws.NewHeaders()
	if err := h.Set(jws.KeyIDKey, d.kid); err != nil {
		return "", expires, fmt.Errorf("build a token: %w", err)
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.ES256, d.key, jws.WithProtectedHeaders(h)))
	if err != nil {
		return "", expires, fmt.Errorf("sign a token: %w", err)
	}
	return string(signed), expires, nil
}

// Discovery and JWKS serve what an OIDC client looks for.
func (d *DevIssuer) Discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{
		"issuer": d.issuer, "jwks_uri": d.issuer + "/.well-known/jwks.json", "token_endpoint": d.issuer + "/dev/token",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "subject_types_supported": []string{"public"},
		"response_types_supported": []string{"token"},
	})
}

// JWKS serves the public key.
func (d *DevIssuer) JWKS(w http.ResponseWriter, _ *http.Request) {
	k, err := jwk.FromRaw(&d.key.PublicKey)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	_ = k.Set(jwk.KeyIDKey, d.kid)
	_ = k.Set(jwk.AlgorithmKey, jwa.ES256)
	_ = k.Set(jwk.KeyUsageKey, "sig")
	set := jwk.NewSet()
	_ = set.AddKey(k)
	writeJSON(w, set)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
