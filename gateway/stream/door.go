package stream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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

// err says which of the guard's errors a refusal stands for, nil = none of them.
func (r *refusal) err() error {
	switch r.status {
	case http.StatusUnauthorized:
		return auth.ErrUnauthenticated
	case http.StatusForbidden:
		return auth.ErrForbidden
	}
	return auth.ErrUnavailable
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
	rule := s.o.Auth.Policy().Rule("GET " + r.URL.Path)
	ask := auth.Ask{TenantIDs: r.Header.Values("X-Tenant-Id"), Slugs: r.Header.Values("X-Tenant-Slug")}
	header, tokens := r.Header.Values("Authorization"), 0
	for _, p := range offered(r) {
		if t, is := strings.CutPrefix(p, "bearer."); is {
			ask.Token = t
			tokens++
		}
		if t, is := strings.CutPrefix(p, "tenant."); is && len(ask.TenantIDs) == 0 {
			ask.TenantIDs = []string{t}
		}
	}
	var err error
	if tokens == 0 {
		ask.Token, err = auth.Bearer(header)
	}
	if err != nil || tokens > 1 || tokens == 1 && len(header) > 0 || rule == nil { // two are two opinions of who asks
		_ = auth.Refuse(r.Context(), rule)
		return nil, noToken()
	}
	return s.check(r.Context(), ask, rule)
}

// checkFor is how long the check of a token may take, with the look-ups that it needs.
const checkFor = 5 * time.Second

// expired says whether a token has ended by our clock, though the tolerance for clocks that differ still lets it pass.
func expired(who *auth.Identity) bool { return !time.Now().Before(who.Expires) }

// check asks the guard, whose rules are those of REST.
func (s *Server) check(ctx context.Context, ask auth.Ask, rule *auth.Rule) (*auth.Identity, *refusal) {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	who, err := s.o.Auth.Enter(ctx, ask, rule)
	switch {
	case err == nil:
		return who, nil
	case errors.Is(err, auth.ErrUnauthenticated):
		return nil, noToken()
	case errors.Is(err, auth.ErrForbidden):
		return nil, notAllowed()
	case errors.Is(err, auth.ErrManyTenants):
		return nil, &refusal{
			status: http.StatusUnprocessableEntity, code: "INVALID_ARGUMENT", message: "the request is invalid",
			fields: []field{{"header.X-Tenant-ID", err.Error()}},
		}
	}
	return nil, noIssuer()
}

// mayConnect lets pages of our own, of the configured and of the tenant's origins connect, and whatever is no page.
func (s *Server) mayConnect(r *http.Request, who *auth.Identity) bool {
	return s.sameOrigin(r) || s.o.OriginAllowed != nil && s.o.OriginAllowed(r.Context(), who.Tenant, r.Header.Get("Origin"))
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
