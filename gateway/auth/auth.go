// Package auth says who a request comes from: it checks bearer tokens against an issuer's keys and reads tenant, roles
// and robot from their claims. The same rules serve REST and the robot link. It keeps no state but keys.
package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

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
	Issuer   string
	Audience string
	Skew     time.Duration
	Keys     KeySource
	Now      func() time.Time // nil = time.Now
}

// KeySource finds a verification key by its id. ErrUnauthenticated where the issuer has no such key.
type KeySource interface {
	Key(ctx context.Context, kid string) (key any, err error)
}

// Verifier checks tokens.
type Verifier struct{ o Options }

// New returns a verifier.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{o: o}
}

var allowed = [...]jwa.SignatureAlgorithm{jwa.RS256, jwa.RS384, jwa.RS512, jwa.PS256, jwa.PS384, jwa.PS512, jwa.ES256, jwa.ES384, jwa.ES512, jwa.EdDSA}

// Verify checks a bearer token and reads its claims. The algorithm must be asymmetric, the key id and exp must be there.
func (v *Verifier) Verify(ctx context.Context, bearer string) (*Identity, error) {
	if bearer == "" || len(bearer) > 16<<10 {
		return nil, ErrUnauthenticated
	}
	m, err := jws.ParseString(bearer)
	if err != nil || len(m.Signatures()) != 1 {
		return nil, ErrUnauthenticated
	}
	h := m.Signatures()[0].ProtectedHeaders()
	if h.KeyID() == "" || !slices.Contains(allowed[:], h.Algorithm()) {
		return nil, ErrUnauthenticated
	}
	key, err := v.o.Keys.Key(ctx, h.KeyID())
	if err != nil {
		return nil, err
	}
	t, err := jwt.ParseString(bearer, jwt.WithKey(h.Algorithm(), key), jwt.WithValidate(true), jwt.WithIssuer(v.o.Issuer),
		jwt.WithAudience(v.o.Audience), jwt.WithAcceptableSkew(v.o.Skew), jwt.WithRequiredClaim("exp"), jwt.WithClock(jwt.ClockFunc(v.o.Now)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnauthenticated, "claims do not hold")
	}
	i := IdentityOf(t)
	i.TokenID = TokenID(bearer)
	return i, nil
}

// IdentityOf reads the claims of a token that has been checked.
func IdentityOf(t jwt.Token) *Identity {
	c, _ := t.AsMap(context.Background())
	i := &Identity{Subject: t.Subject(), Expires: t.Expiration(), Claims: c, Issuer: t.Issuer()}
	i.Email, _ = c["email"].(string)
	i.Name, _ = c["name"].(string)
	if i.Name == "" {
		i.Name, _ = c["preferred_username"].(string)
	}
	robot, _ := c["robot_id"].(string)
	i.RobotID = fleet.RobotID(strings.ToLower(robot))
	i.Fleet, _ = c["fleet"].(string)
	add := func(r string) {
		if slices.Contains(known[:], r) && !slices.Contains(i.Roles, r) {
			i.Roles = append(i.Roles, r)
		}
	}
	for _, r := range texts(c["roles"]) {
		add(r)
	}
	if a, ok := c["realm_access"].(map[string]any); ok {
		for _, r := range texts(a["roles"]) {
			add(r)
		}
	}
	if a, ok := c["resource_access"].(map[string]any); ok {
		for _, client := range a {
			if m, ok := client.(map[string]any); ok {
				for _, r := range texts(m["roles"]) {
					add(r)
				}
			}
		}
	}
	for _, r := range texts(c["scope"]) {
		add(r)
	}
	slices.Sort(i.Roles)
	for _, id := range append(texts(c["tenant_id"]), texts(c["tenants"])...) {
		if t := fleet.TenantID(strings.ToLower(id)); len(id) == 36 && !slices.Contains(i.Tenants, t) {
			i.Tenants = append(i.Tenants, t)
		}
	}
	return i
}

// texts reads a claim that is a list of strings, or one string with blanks between.
func texts(c any) []string {
	switch c := c.(type) {
	case string:
		return strings.Fields(c)
	case []string:
		return c
	case []any:
		var out []string
		for _, x := range c {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
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
