package rest

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

type meBody struct {
	Subject   string         `json:"subject"`
	Email     *string        `json:"email"`
	Name      *string        `json:"name"`
	Roles     []string       `json:"roles"`
	TenantIDs []string       `json:"tenant_ids"`
	Claims    map[string]any `json:"claims"`
}

type tenantBody struct {
	TenantID  string `json:"tenant_id" format:"uuid"`
	Slug      string `json:"slug"`
	Name      string `json:"name"`
	CreatedAt string `json:"created_at" format:"date-time"`
}

func tenantOf(t *fact.Tenant) tenantBody {
	return tenantBody{TenantID: string(t.ID), Slug: t.Slug, Name: t.Name, CreatedAt: ts(t.CreatedAt)}
}

// grantBody is a tenant as the platform sees it.
type grantBody struct {
	TenantID  string `json:"tenant_id" format:"uuid"`
	Slug      string `json:"slug"`
	Name      string `json:"name"`
	CreatedAt string `json:"created_at" format:"date-time"`
	Limits    object `json:"limits" doc:"The most that the tenant's quotas may be, by name"`
	Version   int64  `json:"version"`
}

type grantOut struct {
	ETag string `header:"ETag"`
	Body grantBody
}

func grantOf(t *fact.Tenant) *grantOut {
	return &grantOut{ETag: etag(t.Version), Body: grantBody{
		TenantID: string(t.ID), Slug: t.Slug, Name: t.Name, CreatedAt: ts(t.CreatedAt), Limits: object(t.Limits), Version: t.Version,
	}}
}

type settingsBody struct {
	Settings map[string]any `json:"settings" doc:"quotas, sampling, dispatch policy, CORS, congestion, alerts, webhooks, degradation level"`
	Version  int64          `json:"version"`
}

type settingsOut struct {
	ETag string `header:"ETag"`
	Body settingsBody
}

func settingsOf(t *fact.Tenant) *settingsOut {
	s := map[string]any{}
	_ = json.Unmarshal(t.Settings, &s) // a JSON object by the store's promise
	quota.ShowHooks(s)
	return &settingsOut{ETag: etag(t.Version), Body: settingsBody{Settings: s, Version: t.Version}}
}

var slugShape = regexp.MustCompile(auth.SlugShape)

type newTenant struct {
	Slug string `json:"slug" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Name string `json:"name" minLength:"1" maxLength:"200"`
	// Limits of the tenant's quotas.
	Limits map[string]any `json:"limits,omitempty" doc:"The most that the tenant's quotas may be, by name; what is not named is as usual"`
}

type tenantWish struct {
	Name   *string        `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Limits map[string]any `json:"limits,omitempty" doc:"Replaces the limits"`
}

func limitsFaults(field string, limits map[string]any) (f faults) {
	if len(limits) > 0 {
		settingsFaults(field, quota.CheckLimits(encoded(limits)), &f)
	}
	return f
}

// encoded is a JSON object that came in as one; nil is nothing.
func encoded(m map[string]any) json.RawMessage {
	if m == nil {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil { // it was JSON
		panic(err)
	}
	return b
}

// etag is the version of an object as a header.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

var tagShape = regexp.MustCompile(`^(W/)?"([0-9]{1,18})"$`)

// ifMatch reads an If-Match header: -1 = whatever version.
func ifMatch(h string) (int64, error) {
	if h == "" || h == "*" {
		return -1, nil
	}
	m := tagShape.FindStringSubmatch(h)
	if m == nil {
		return 0, newError(http.StatusPreconditionFailed, codePrecondition, "If-Match wants the ETag of the object")
	}
	return strconv.ParseInt(m[2], 10, 64)
}

func (a *api) identity() {
	type me struct{ Body meBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/me", id: "get-me", summary: "Who am I", tag: "identity"},
		func(_ context.Context, who *auth.Identity, _ *struct{}) (*me, error) {
			b := meBody{Subject: who.Subject, Email: text(who.Email), Name: text(who.Name), Roles: who.Roles, TenantIDs: []string{}, Claims: who.Claims}
			for _, t := range who.Tenants {
				b.TenantIDs = append(b.TenantIDs, string(t))
			}
			if b.Roles == nil {
				b.Roles = []string{}
			}
			return &me{b}, nil
		})
	type tenant struct{ Body tenantBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/tenants/current", id: "get-current-tenant", summary: "The tenant in force", tag: "identity"},
		func(ctx context.Context, who *auth.Identity, _ *struct{}) (*tenant, error) {
			t, err := a.Facts.GetTenant(ctx, who.Tenant)
			return &tenant{tenantOf(&t)}, err
		})
	add(a, op{method: http.MethodGet, path: "/api/v1/tenants", id: "list-tenants", summary: "All tenants", tag: "identity"},
		func(ctx context.Context, _ *auth.Identity, in *Paged) (*listed[tenantBody], error) {
			l, err := a.Facts.ListTenants(ctx, in.page())
			return listOf(l, tenantOf), err
		})
	type createTenant struct {
		Keyed
		RawBody []byte
		Body    newTenant
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/tenants", id: "create-tenant", summary: "Create a tenant", tag: "identity", status: 201, answer: tenantBody{}},
		func(ctx context.Context, _ *auth.Identity, in *createTenant) (*created, error) {
			return a.once(ctx, "", "POST /tenants", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				t := fact.Tenant{ID: fleet.TenantID(uuid.NewString()), Slug: in.Body.Slug, Name: in.Body.Name, Settings: json.RawMessage(`{}`), Limits: encoded(in.Body.Limits), CreatedAt: a.Now()}
				ans, err := render(201, "/api/v1/tenants/"+string(t.ID), tenantOf(&t))
				return ans, func(i *fact.Idempotency) error { return a.Facts.CreateTenant(ctx, t, i) }, err
			})
		})
	a.grants()
	a.settings()
}

// grants are the tenants as the platform's administrators manage them.
func (a *api) grants() {
	type get struct {
		ID string `path:"tenant_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/tenants/{tenant_id}", id: "get-tenant", summary: "A tenant and its limits", tag: "identity"},
		func(ctx context.Context, _ *auth.Identity, in *get) (*grantOut, error) {
			if fleet.TenantID(in.ID) == fleet.NilTenant {
				return nil, fact.ErrNotFound
			}
			t, err := a.Facts.GetTenant(ctx, fleet.TenantID(in.ID))
			return grantOf(&t), err
		})
	type patch struct {
		ID      string `path:"tenant_id" format:"uuid"`
		IfMatch string `header:"If-Match" minLength:"1"`
		Body    tenantWish
	}
	add(a, op{method: http.MethodPatch, path: "/api/v1/tenants/{tenant_id}", id: "patch-tenant", summary: "Change a tenant's name or limits", tag: "identity"},
		func(ctx context.Context, _ *auth.Identity, in *patch) (*grantOut, error) {
			v, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			id := fleet.TenantID(in.ID)
			if id == fleet.NilTenant {
				return nil, fact.ErrNotFound
			}
			t, err := a.Facts.SetTenantLimits(ctx, id, in.Body.Name, encoded(in.Body.Limits), v)
			if err == nil && a.Quotas != nil {
				a.Quotas.Changed(id)
			}
			return grantOf(&t), err
		})
}

func (a *api) settings() {
	add(a, op{method: http.MethodGet, path: "/api/v1/tenants/current/settings", id: "get-settings", summary: "The tenant's settings", tag: "identity"},
		func(ctx context.Context, who *auth.Identity, _ *struct{}) (*settingsOut, error) {
			t, err := a.Facts.GetTenant(ctx, who.Tenant)
			return settingsOf(&t), err
		})
	type patch struct {
		IfMatch string         `header:"If-Match" minLength:"1"`
		Body    map[string]any `doc:"JSON merge patch of the settings"`
	}
	add(a, op{method: http.MethodPatch, path: "/api/v1/tenants/current/settings", id: "patch-settings", summary: "Change the tenant's settings", tag: "identity"},
		func(ctx context.Context, who *auth.Identity, in *patch) (*settingsOut, error) {
			v, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			now, err := a.Facts.GetTenant(ctx, who.Tenant)
			if err != nil {
				return nil, err
			}
			quota.KeepSecrets(in.Body, now.Settings)
			b, err := json.Marshal(in.Body)
			if err != nil {
				return nil, err
			}
			var f faults
			f.keepable("body", b)
			settingsFaults("body", quota.Check(b, now.Limits), &f)
			if f.err() != nil {
				return nil, f.err()
			}
			requestOf(ctx).detail("changed", slices.Sorted(maps.Keys(in.Body)))
			t, err := a.Facts.PatchSettings(ctx, who.Tenant, b, v)
			if err == nil && a.Quotas != nil {
				a.Quotas.Changed(who.Tenant)
			}
			return settingsOf(&t), err
		})
}
