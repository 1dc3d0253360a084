package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/link"
	"starling/gateway/rest"
)

// linkAuth lets the robot link check tokens by the same rules as REST, and certificates; it puts on record who connects
// and who is refused.
type linkAuth struct {
	guard       *auth.Guard
	trustDomain string
	audit       rest.Audit // nil = nothing is on record
}

// AuthenticateLink implements link.Authenticator.
func (l linkAuth) AuthenticateLink(ctx context.Context, c link.Credentials) (link.Identity, error) {
	rule, began := l.guard.Policy().Rule(auth.LinkDoor), time.Now()
	var last *auth.Identity // the guard may be asked about one that the certificate binds
	i, err := l.identify(auth.WithWitness(ctx, func(who *auth.Identity, _ *auth.Rule, _ error) { last = who }), c, rule)
	if i == nil {
		i = last
	}
	if err == nil && !began.Before(i.Expires) { // a stream that would end at once is not opened
		err = auth.ErrUnauthenticated
	}
	l.record(ctx, i, rule, "", err, began)
	switch {
	case errors.Is(err, auth.ErrUnauthenticated):
		return link.Identity{}, link.ErrUnauthenticated
	case errors.Is(err, auth.ErrForbidden), errors.Is(err, auth.ErrManyTenants):
		return link.Identity{}, link.ErrForbidden
	case err != nil:
		return link.Identity{}, err
	}
	return link.Identity{
		Tenant: i.Tenant, Any: i.Has(auth.Admin, auth.Service), Robot: i.RobotID, Fleet: i.Fleet, Expires: i.Expires,
		Refused: func(id fleet.RobotID) { l.record(ctx, i, rule, id, auth.ErrForbidden, time.Now()) },
	}, nil
}

// identify reads who a certificate, a token or both name, with the tenant in force.
func (l linkAuth) identify(ctx context.Context, c link.Credentials, rule *auth.Rule) (*auth.Identity, error) {
	var named *auth.Identity
	ask := auth.Ask{TenantIDs: c.TenantIDs}
	var err error
	if c.Certificate != nil {
		if named, err = auth.FromCertificate(c.Certificate, l.trustDomain); err != nil {
			return nil, err
		}
	}
	if len(c.Authorization) == 0 && named != nil {
		return named, l.guard.Admit(ctx, named, ask, rule)
	}
	if ask.Token, err = auth.Bearer(c.Authorization); err != nil {
		return nil, err
	}
	who, err := l.guard.Enter(ctx, ask, rule)
	if err != nil || named == nil {
		return who, err
	}
	return auth.Bind(named, who)
}

// record notes a stream that was opened or refused, or a robot that was refused on one that is open. Refusals because something is away are no act of the caller.
func (l linkAuth) record(ctx context.Context, who *auth.Identity, rule *auth.Rule, robot fleet.RobotID, err error, began time.Time) {
	if l.audit == nil {
		return
	}
	e := fact.AuditEntry{
		ID: uuid.NewString(), At: began.UTC().Truncate(time.Microsecond), Method: "RPC", Path: "/starling.link.v1.Link/Connect",
		Action: rule.Action, ResourceType: rule.Resource, Status: http.StatusOK, Duration: time.Since(began),
	}
	switch {
	case err == nil:
	case errors.Is(err, auth.ErrUnauthenticated):
		e.Action, e.Status = "auth.unauthenticated", http.StatusUnauthorized
	case errors.Is(err, auth.ErrForbidden), errors.Is(err, auth.ErrManyTenants):
		e.Action, e.Status = "auth.forbidden", http.StatusForbidden
	default:
		return
	}
	if p, ok := peer.FromContext(ctx); ok {
		e.ClientIP, _, _ = net.SplitHostPort(p.Addr.String())
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get("user-agent")) > 0 {
		e.UserAgent = md.Get("user-agent")[0]
	}
	if who != nil {
		if who.Tenant == "" && len(who.Tenants) > 0 { // his own people shall see what he tried
			first := *who
			first.Tenant = who.Tenants[0]
			who = &first
		}
		e.Tenant, e.Subject, e.User = who.Tenant, who.Subject, auth.UserID(who)
		switch {
		case robot != "":
			e.ResourceType, e.ResourceID = "robot", string(robot)
		case who.RobotID != "":
			e.ResourceType, e.ResourceID = "robot", string(who.RobotID)
		case who.Fleet != "":
			e.Details, _ = json.Marshal(map[string]string{"fleet": who.Fleet})
		}
		sign := e
		sign.ID, sign.Action, sign.ResourceType, sign.ResourceID, sign.Details = uuid.NewString(), "auth.sign_in", "user", string(e.User), nil
		l.audit.SignedIn(who, sign)
	}
	if err != nil {
		l.audit.Refused(e)
		return
	}
	l.audit.Add(e)
}
