package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/audit"
	"starling/gateway/auth"
	"starling/gateway/quota"
	"starling/gateway/rest"
)

// startAudit begins to put acts on record.
func (a *app) startAudit(registry prometheus.Registerer) error {
	c := &a.Config
	if !c.AuditEnabled {
		return nil
	}
	var err error
	a.audit, err = audit.New(audit.Options{Sink: a.store.Audit, Users: a.store.Users, Dir: c.AuditDir, Log: a.Log, Registerer: registry})
	return err
}

// acts is who takes what is to be on record, nil = nobody.
func (a *app) acts() rest.Audit {
	if a.audit == nil {
		return nil
	}
	return a.audit
}

// renewed puts on record who signs in anew on a connection that lives, and who is refused there.
func (a *app) renewed(who *auth.Identity, requestID string, err error) {
	acts := a.acts()
	if acts == nil {
		return
	}
	e := fact.AuditEntry{
		ID: uuid.NewString(), At: time.Now().UTC().Truncate(time.Microsecond), Tenant: who.Tenant, Subject: who.Subject, User: auth.UserID(who),
		Action: "auth.sign_in", ResourceType: "user", ResourceID: string(auth.UserID(who)), RequestID: requestID, Method: http.MethodGet,
		Path: "/api/v1/ws", Status: http.StatusOK,
	}
	switch {
	case err == nil:
		acts.SignedIn(who, e)
	case errors.Is(err, auth.ErrForbidden):
		e.Action, e.Status = "auth.forbidden", http.StatusForbidden
		acts.Refused(e)
	case errors.Is(err, auth.ErrUnauthenticated):
		e.Action, e.Status = "auth.unauthenticated", http.StatusUnauthorized
		acts.Refused(e)
	}
}

// enterClient counts a connection of the live channel against its tenant's quota.
func (a *app) enterClient(ctx context.Context, tenant fleet.TenantID) (leave func(), ok bool) {
	leave, v := a.quotas.Enter(ctx, tenant, quota.Clients)
	return leave, v.OK
}

// originAllowed says whether a tenant lets pages of an origin connect.
func (a *app) originAllowed(ctx context.Context, tenant fleet.TenantID, origin string) bool {
	s := a.quotas.Settings(ctx, tenant)
	return s.AllowsOrigin(origin)
}
