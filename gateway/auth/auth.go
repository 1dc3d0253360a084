// Package auth says who a request comes from: it checks bearer tokens against an issuer's keys and reads tenant, roles
// and robot from their claims. The same rules serve REST and the robot link. It keeps no state but keys.
package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
)

// ErrUnauthenticated: no, bad or expired token. ErrUnavailable: the issuer's keys cannot be had, so nobody is let in.
var (
	ErrUnauthenticated = errors.New("token is missing, bad or expired")
	ErrUnavailable     = errors.New("the issuer's keys are not available")
	ErrForbidden       = errors.New("role or tenant does not allow it")
)

// The roles of the contract.
const (
	Viewer        = "viewer"
	Operator      = "operator"
	Admin         = "admin"
	RobotRole     = "robot"
	Service       = "service"
	PlatformAdmin = "platform_admin"
)

var known = [...]string{Viewer, Operator, Admin, RobotRole, Service, PlatformAdmin}

// Roles lists the roles of the contract.
func Roles() []string { return slices.Clone(known[:]) }

// Identity is who asks.
type Identity struct {
	Subject string
	Email   string
	Name    string
	Roles   []string
	Tenants []fleet.TenantID
	Tenant  fleet.TenantID // the one in force, "" = none chosen
	RobotID fleet.RobotID
	Fleet   string
	Claims  map[string]any
	Expires time.Time
	Issuer  string // who signed the token
	TokenID string // recognises the token (TokenID), reveals nothing of it
}

// TokenID names a token in records: half of its SHA-256 in hex.
func TokenID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:16])
}

// Has says whether the identity has one of the roles. admin implies operator and viewer, operator implies viewer.
func (i *Identity) Has(roles ...string) bool {
	for _, r := range i.Roles {
		if slices.Contains(roles, r) || r == Admin && (slices.Contains(roles, Operator) || slices.Contains(roles, Viewer)) ||
			r == Operator && slices.Contains(roles, Viewer) {
			return true
		}
	}
	return false
}

// Options are what tokens are held against.
type Options struct {
	Issuers []Issuer
	Skew    time.Duration    // how far clocks may differ
	Now     func() time.Time // nil = time.Now
	// Override looks up the role that replaces a token's roles in a tenant, "" = none does. nil = no such thing.
	Override   func(ctx context.Context, tenant fleet.TenantID, subject string) (role string, err error)
	Log        *slog.Logger          // nil = silent
	Registerer prometheus.Registerer // nil = counters are kept and not registered

	// One issuer that may name every tenant and the platform's administrators, besides Issuers.
	Issuer   string
	Audience string
	Keys     KeySource
}

// Issuer is one whose tokens are taken.
type Issuer struct {
	URL       string            // as in iss, to the letter
	Audiences []string          // one of them must be in aud
	Clients   []string          // clients, besides the audiences, whose roles in resource_access are ours
	Tenants   []fleet.TenantID  // that it may name; empty = every one
	Roles     map[string]string // its names of roles -> ours; ours need no entry
	Platform  bool              // whether it may name platform administrators
	Keys      KeySource
}

// KeySource finds the key that checks a signature of an algorithm by the key's id. issued is when the token says that it
// was made, zero = it does not. ErrUnauthenticated where the issuer has no such key, ErrUnavailable where that is not known.
type KeySource interface {
	Key(ctx context.Context, kid, alg string, issued time.Time) (crypto.PublicKey, error)
}

// Verifier checks tokens.
type Verifier struct {
	o        Options
	issuers  map[string]*Issuer
	counters counters
	roles    overrides
	checked  memory
}

// New returns a verifier.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Verifier{o: o, issuers: map[string]*Issuer{}, counters: newCounters(o.Registerer), roles: overrides{kept: map[overrideKey]override{}}}
	all := slices.Clone(o.Issuers)
	if o.Issuer != "" {
		all = append(all, Issuer{URL: o.Issuer, Audiences: []string{o.Audience}, Platform: true, Keys: o.Keys})
	}
	for _, i := range all {
		v.issuers[i.URL] = &i
	}
	return v
}

// Verify checks a bearer token and reads its claims. Who is meant to have signed it is read before it is checked, and only
// chooses the keys. What comes first is cheap: a signature is calculated only over what could be a token of ours.
func (v *Verifier) Verify(ctx context.Context, bearer string) (*Identity, error) {
	sum := sha256.Sum256([]byte(bearer))
	if who, err := v.again(ctx, sum); err != nil {
		return nil, v.keyless(ctx, err)
	} else if who != nil {
		return who, nil
	}
	p, reason := parse(bearer)
	if reason != "" {
		return nil, v.refuse(ctx, reason)
	}
	alg, kid, reason := p.head()
	if reason != "" {
		return nil, v.refuse(ctx, reason)
	}
	iss, _ := p.claims["iss"].(string)
	from, ours := v.issuers[iss]
	if !ours {
		return nil, v.refuse(ctx, reasonIssuer)
	}
	expires, reason := v.hold(p.claims, from, v.o.Now())
	if reason != "" {
		return nil, v.refuse(ctx, reason)
	}
	var issued time.Time
	if at, there, _ := seconds(p.claims, "iat"); there {
		issued = time.Unix(at, 0).Add(v.o.Skew)
	}
	key, err := from.Keys.Key(ctx, kid, alg, issued)
	if err != nil {
		return nil, v.keyless(ctx, err)
	}
	check, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
	if err != nil || check.Verify(p.signing, p.signature, key) != nil {
		return nil, v.refuse(ctx, reasonSignature)
	}
	i, reason := identityOf(p.claims, from)
	if reason != "" {
		return nil, v.refuse(ctx, reason)
	}
	i.Expires, i.TokenID = expires, TokenID(bearer)
	if len(bearer) > rememberUpTo {
		return i, nil
	}
	v.checked.keep(sum, &checked{who: i, from: from, kid: kid, alg: alg, issued: issued, key: key})
	who := *i
	return &who, nil
}

// keyless refuses a token whose key is not to be had.
func (v *Verifier) keyless(ctx context.Context, err error) error {
	if errors.Is(err, ErrUnauthenticated) {
		return v.refuse(ctx, reasonKey)
	}
	v.counters.unavailable.Inc()
	return err
}

// Choose puts a tenant in force: the one that is wanted ("" = the only one of the token). ErrForbidden where the token
// does not allow it. An identity with several tenants and no wish has none in force.
func (i *Identity) Choose(wanted fleet.TenantID) error {
	switch {
	case wanted != "" && slices.Contains(i.Tenants, wanted):
		i.Tenant = wanted
	case wanted != "":
		return ErrForbidden
	case len(i.Tenants) == 1:
		i.Tenant = i.Tenants[0]
	}
	return nil
}

type contextKey struct{}

// With puts an identity into a context.
func With(ctx context.Context, i *Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, i)
}

// From takes it out, nil = nobody.
func From(ctx context.Context) *Identity {
	i, _ := ctx.Value(contextKey{}).(*Identity)
	return i
}
