package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// Audit takes what is to be on record. Its calls never block.
type Audit interface {
	// Add records an entry, or completes the intent of the same id.
	Add(e fact.AuditEntry)
	// Refused records who was not let in, so many a second of each tenant, and of those whose tenant nobody knows.
	Refused(e fact.AuditEntry)
	// SignedIn is told of every request with a good token; the first use of a token is a sign-in.
	SignedIn(who *auth.Identity, e fact.AuditEntry)
}

// entryOf is what a request says of itself.
func (a *api) entryOf(r *http.Request, who *auth.Identity) fact.AuditEntry {
	q := requestOf(r.Context())
	e := fact.AuditEntry{
		ID: newID(), At: a.Now().UTC().Truncate(time.Microsecond), RequestID: q.id, TraceID: traceID(q.trace), Method: r.Method, Path: pathOf(r),
		ClientIP: clientIP(r), UserAgent: r.UserAgent(),
	}
	if who != nil {
		e.Tenant, e.Subject, e.User = who.Tenant, who.Subject, by(who).User
	}
	return e
}

// newID is a UUID that sorts by time.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: nothing works then
		panic(err)
	}
	return id.String()
}

// witness puts on record who signs in and who is not let in, whichever door the request came to.
func (a *api) witness(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(auth.WithWitness(r.Context(), func(who *auth.Identity, rule *auth.Rule, err error) {
			q := requestOf(r.Context())
			if q.who = who; who != nil {
				q.tenant = string(who.Tenant)
			}
			if a.Audit == nil {
				return
			}
			if who != nil {
				a.signedIn(r, who)
			}
			if err != nil {
				a.refused(r, who, rule, err)
			}
		})))
	})
}

func (a *api) signedIn(r *http.Request, who *auth.Identity) {
	e := a.entryOf(r, placed(who))
	e.Details, _ = json.Marshal(map[string]string{"issuer": who.Issuer}) // a text
	e.Action, e.ResourceType, e.ResourceID, e.Status = "auth.sign_in", "user", string(e.User), http.StatusOK
	a.Audit.SignedIn(who, e)
}

// placed is who asks, in the tenant in force or else in his first one: his own people shall see what he tried.
func placed(who *auth.Identity) *auth.Identity {
	if who == nil || who.Tenant != "" || len(who.Tenants) == 0 {
		return who
	}
	first := *who
	first.Tenant = who.Tenants[0]
	return &first
}

// refused notes who was not let in; who is nil where the token is not good.
func (a *api) refused(r *http.Request, who *auth.Identity, rule *auth.Rule, err error) {
	if !errors.Is(err, auth.ErrUnauthenticated) && !errors.Is(err, auth.ErrForbidden) {
		return
	}
	e := a.entryOf(r, placed(who))
	e.Action = "auth.unauthenticated"
	if who != nil {
		e.Action = "auth.forbidden"
	}
	e.ResourceType, e.ResourceID = rule.Resource, resourceID(r)
	q := requestOf(r.Context())
	q.entry, q.refused = &e, true
	q.detail("door", rule.Door)
}

// begin notes what is to be on record of a request that may go on, and gives a write's intent to the store.
func (a *api) begin(ctx context.Context, r *http.Request, who *auth.Identity, rule *auth.Rule) context.Context {
	if a.Audit == nil || rule.Kind == auth.Untold || rule.Kind == auth.Read && !a.AuditReads {
		return ctx
	}
	e := a.entryOf(r, who)
	e.Action, e.ResourceType, e.ResourceID = rule.Action, rule.Resource, resourceID(r)
	requestOf(ctx).entry = &e
	if rule.Kind == auth.Write && a.Intent != nil {
		intent := e
		return a.Intent(ctx, &intent)
	}
	return ctx
}

// resourceID is the first id in a path.
func resourceID(r *http.Request) string {
	route := chi.RouteContext(r.Context())
	if route == nil {
		return ""
	}
	for i, key := range route.URLParams.Keys {
		if key != "*" && i < len(route.URLParams.Values) {
			return strings.ToLower(route.URLParams.Values[i])
		}
	}
	return ""
}

// detail notes what the audit shall know of a request besides its frame.
func (q *request) detail(name string, v any) {
	if q.entry == nil {
		return
	}
	if q.details == nil {
		q.details = map[string]any{}
	}
	q.details[name] = v
}

// recorded completes the entry of a request that has been answered.
func (a *api) recorded(r *http.Request, q *request, w *recorder, took time.Duration) {
	if a.Audit == nil {
		return
	}
	if q.entry == nil && w.status == http.StatusForbidden { // let in by the door and refused behind it: another robot's status, a foreign page
		if rule := a.policy.Rule(r.Method + " " + routeOf(r)); rule != nil {
			a.refused(r, q.who, rule, auth.ErrForbidden)
		}
	}
	if q.entry == nil {
		return
	}
	e := *q.entry
	e.Status, e.Duration = w.status, took
	if location := w.Header().Get("Location"); e.ResourceID == "" && location != "" {
		e.ResourceID = path.Base(location)
	}
	if q.errorCode != "" {
		q.detail("error_code", q.errorCode)
	}
	if w.Header().Get("Idempotent-Replayed") != "" {
		q.detail("replayed", true)
	}
	if len(q.details) > 0 {
		e.Details, _ = json.Marshal(q.details) // texts, numbers and truths
	}
	if q.refused {
		a.Audit.Refused(e)
		return
	}
	a.Audit.Add(e)
}

// logOf is the tenant whose log a reader of the audit sees: his own, or, of the platform, the nil one.
func logOf(who *auth.Identity) fleet.TenantID {
	if who.Tenant == "" {
		return fleet.NilTenant
	}
	return who.Tenant
}
