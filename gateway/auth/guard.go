package auth

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// ErrManyTenants: the token names several tenants, the door needs one, and the request chose none.
var ErrManyTenants = errors.New("the token names several tenants: choose one")

// SlugShape is how tenants' slugs are written.
const SlugShape = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`

// Guard is what every door asks: who is it, in which tenant, and may it.
type Guard struct {
	verifier *Verifier
	policy   *Policy
	slugs    *slugs // nil = no door takes slugs
	slug     *regexp.Regexp
}

// NewGuard returns a guard. bySlug finds a tenant, fact.ErrNotFound where there is none; it may be nil where no door takes
// slugs.
func NewGuard(v *Verifier, bySlug func(ctx context.Context, slug string) (fleet.TenantID, error)) *Guard {
	g := &Guard{verifier: v, policy: NewPolicy(), slug: regexp.MustCompile(SlugShape)}
	if bySlug != nil {
		g.slugs = &slugs{look: bySlug, now: time.Now}
	}
	return g
}

// Policy is the table that the guard goes by.
func (g *Guard) Policy() *Policy { return g.policy }

// Ask is one wish to pass a door.
type Ask struct {
	Token string // as Bearer gives it
	// TenantIDs and Slugs are the values of X-Tenant-ID and X-Tenant-Slug, as many as came. One that is empty was meant and
	// got lost: it is refused, not taken for the only tenant of the token.
	TenantIDs []string
	Slugs     []string
}

// Enter checks a token, puts a tenant in force and holds the roles against the door's rule. Where the token is good, it
// says who it is even with an error. Errors: ErrUnauthenticated, ErrForbidden, ErrManyTenants, ErrUnavailable, and those
// of the look-up of a slug.
func (g *Guard) Enter(ctx context.Context, a Ask, r *Rule) (*Identity, error) {
	who, err := g.verifier.Verify(ctx, a.Token)
	if err == nil {
		err = g.admit(ctx, who, a, r)
	}
	witnessed(ctx, who, r, err)
	return who, err
}

// Admit is Enter for who has been identified already, by a certificate for example.
func (g *Guard) Admit(ctx context.Context, who *Identity, a Ask, r *Rule) error {
	err := g.admit(ctx, who, a, r)
	witnessed(ctx, who, r, err)
	return err
}

// Witness is told of each one who is let in or refused; who is nil where the token is not good.
type Witness func(who *Identity, r *Rule, err error)

type witnessKey struct{}

// WithWitness puts a witness into the context of a request, for whichever door asks.
func WithWitness(ctx context.Context, w Witness) context.Context {
	return context.WithValue(ctx, witnessKey{}, w)
}

// witnessed tells the witness, if there is one.
func witnessed(ctx context.Context, who *Identity, r *Rule, err error) {
	if w, _ := ctx.Value(witnessKey{}).(Witness); w != nil {
		w(who, r, err)
	}
}

// Refuse tells the witness that a request had no token to look at, and returns ErrUnauthenticated.
func Refuse(ctx context.Context, r *Rule) error {
	witnessed(ctx, nil, r, ErrUnauthenticated)
	return ErrUnauthenticated
}

func (g *Guard) admit(ctx context.Context, who *Identity, a Ask, r *Rule) error {
	wanted, err := g.wanted(ctx, a)
	if err != nil {
		return err
	}
	if err := who.Choose(wanted); err != nil {
		return err
	}
	if err := g.verifier.Override(ctx, who); err != nil {
		return err
	}
	switch {
	case who.Tenant == fleet.NilTenant: // what stands under it is the platform's
		return ErrForbidden
	case !r.Allows(who):
		return ErrForbidden
	case r.Scope == TenantOrPlatform && who.Tenant != "" && !who.Has(r.inTenant()...): // the platform's role says nothing of a tenant's own things
		return ErrForbidden
	case r.Scope == NoTenant || who.Tenant != "":
		return nil
	case r.Scope == TenantOrPlatform && who.Has(PlatformAdmin) && len(who.Tenants) == 0:
		return nil
	case len(who.Tenants) == 0:
		return ErrForbidden
	}
	return ErrManyTenants
}

// wanted is the tenant that a request names, "" = none.
func (g *Guard) wanted(ctx context.Context, a Ask) (fleet.TenantID, error) {
	id, err := single(a.TenantIDs)
	if err != nil {
		return "", err
	}
	slug, err := single(a.Slugs)
	switch {
	case err != nil:
		return "", err
	case slug == "":
		return fleet.TenantID(strings.ToLower(id)), nil
	case g.slugs == nil || !g.slug.MatchString(slug):
		return "", ErrForbidden
	}
	t, err := g.slugs.find(ctx, slug)
	switch {
	case errors.Is(err, fact.ErrNotFound):
		return "", ErrForbidden
	case err != nil:
		return "", err
	case id != "" && !strings.EqualFold(id, string(t)):
		return "", ErrForbidden // two names, two tenants
	}
	return t, nil
}

// single is the one value of a header; several that differ, or an empty one, are refused.
func single(values []string) (string, error) {
	for _, v := range values {
		if v == "" || !strings.EqualFold(v, values[0]) {
			return "", ErrForbidden
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}
