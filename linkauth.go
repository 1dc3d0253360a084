package main

import (
	"context"
	"errors"

	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/link"
)

// linkAuth lets the robot link check tokens by the same rules as REST, and certificates.
type linkAuth struct {
	verifier    *auth.Verifier
	trustDomain string
}

// AuthenticateLink implements link.Authenticator.
func (l linkAuth) AuthenticateLink(ctx context.Context, c link.Credentials) (link.Identity, error) {
	i, err := l.identify(ctx, c)
	switch {
	case errors.Is(err, auth.ErrUnauthenticated):
		return link.Identity{}, link.ErrUnauthenticated
	case errors.Is(err, auth.ErrForbidden) || err == nil && (i.Tenant == "" || !i.Has(auth.Admin, auth.Service, auth.RobotRole)):
		return link.Identity{}, link.ErrForbidden
	case err != nil:
		return link.Identity{}, err
	}
	return link.Identity{Tenant: i.Tenant, Any: i.Has(auth.Admin, auth.Service), Robot: i.RobotID, Fleet: i.Fleet, Expires: i.Expires}, nil
}

// identify reads who a certificate, a token or both name, with the tenant in force.
func (l linkAuth) identify(ctx context.Context, c link.Credentials) (*auth.Identity, error) {
	var named *auth.Identity
	var err error
	if c.Certificate != nil {
		if named, err = auth.FromCertificate(c.Certificate, l.trustDomain); err != nil {
			return nil, err
		}
	}
	if len(c.TenantIDs) > 1 {
		return nil, auth.ErrForbidden
	}
	var wanted fleet.TenantID
	for _, t := range c.TenantIDs {
		wanted = fleet.TenantID(t)
	}
	if len(c.Authorization) == 0 && named != nil {
		return named, named.Choose(wanted)
	}
	token, err := auth.Bearer(c.Authorization)
	if err != nil {
		return nil, err
	}
	who, err := l.verifier.Verify(ctx, token)
	if err == nil {
		err = who.Choose(wanted)
	}
	if err != nil || named == nil {
		return who, err
	}
	return auth.Bind(named, who)
}
