package stream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// The sub-protocols of the contract.
const (
	protocolJSON = "starling.v1.json"
	protocolBin  = "starling.v1.bin"
)

func noToken() *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: "no, bad or expired token"}
}

func notAllowed() *refusal {
	return &refusal{status: http.StatusForbidden, code: "FORBIDDEN", message: "role or tenant does not allow it"}
}

func noIssuer() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: "UNAVAILABLE", message: "a dependency is down", retry: "1"}
}

// offered are the sub-protocols that the client offers.
func offered(r *http.Request) []string {
	var out []string
	for _, h := range r.Header.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			out = append(out, strings.TrimSpace(p))
		}
	}
	return out
}

// identify finds out who connects: the token comes in the header, or, from a browser, as a sub-protocol.
func (s *Server) identify(r *http.Request) (*auth.Identity, *refusal) {
	for _, name := range []string{"X-Tenant-Id", "X-Tenant-Slug"} {
		if slices.Contains(r.Header.Values(name), "") {
			return nil, notAllowed() // somebody meant a tenant and lost its name: not the default one
		}
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	tenant := r.Header.Get("X-Tenant-ID")
	for _, p := range offered(r) {
		if t, is := strings.CutPrefix(p, "bearer."); is && !ok {
			bearer, ok = t, true
		}
		if t, is := strings.CutPrefix(p, "tenant."); is && tenant == "" {
			tenant = t
		}
	}
	if !ok {
		return nil, noToken()
	}
	return s.check(r.Context(), bearer, tenant, r.Header.Get("X-Tenant-Slug"))
}

// checkFor is how long the check of a token may take, with the look-ups that it needs.
const checkFor = 5 * time.Second

var slugShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// expired says whether a token has ended by our clock, though the tolerance for clocks that differ still lets it pass.
func expired(who *auth.Identity) bool { return !time.Now().Before(who.Expires) }

// check verifies a token and chooses the tenant, by the rules of REST.
func (s *Server) check(ctx context.Context, bearer, tenant, slug string) (*auth.Identity, *refusal) {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	who, err := s.o.Auth.Verify(ctx, bearer)
	switch {
	case err == nil && slug != "" && !slugShape.MatchString(slug):
		err = auth.ErrForbidden
	case err == nil && slug != "":
		var id fleet.TenantID
		id, err = s.o.TenantBySlug(ctx, slug)
		if errors.Is(err, fact.ErrNotFound) || err == nil && tenant != "" && !strings.EqualFold(tenant, string(id)) {
			err = auth.ErrForbidden
		}
		tenant = string(id)
	}
	if err == nil {
		err = who.Choose(fleet.TenantID(strings.ToLower(tenant)))
	}
	switch {
	case errors.Is(err, auth.ErrUnauthenticated):
		return nil, noToken()
	case errors.Is(err, auth.ErrForbidden):
		return nil, notAllowed()
	case err != nil:
		return nil, noIssuer()
	case who.Tenant == "" && len(who.Tenants) > 1:
		return nil, &refusal{
			status: http.StatusUnprocessableEntity, code: "INVALID_ARGUMENT", message: "the request is invalid",
			fields: []field{{"header.X-Tenant-ID", "the token names several tenants: choose one"}},
		}
	case who.Tenant == "" || !who.Has(auth.Viewer, auth.Service):
		return nil, notAllowed()
	}
	return who, nil
}

// sameOrigin lets pages of our own and of the configured origins connect, and whatever is no page.
func (s *Server) sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(s.o.Origins, origin) || slices.Contains(s.o.Origins, "*") {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
