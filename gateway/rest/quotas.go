package rest

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

// seconds rounds up to whole seconds, at least so many.
func seconds(d time.Duration, least int) string {
	return strconv.Itoa(max(least, int(math.Ceil(d.Seconds()))))
}

// exhausted says which quota is used up and when to come back.
func exhausted(k quota.Kind, v quota.Verdict) *Error {
	e := newError(http.StatusTooManyRequests, codeExhausted, "the tenant's quota "+k.String()+" is used up").with("quota", k.String()).with("limit", v.Limit)
	e.retry = seconds(v.RetryAfter, 1)
	return e
}

// place finds a request of a tenant its place: within the tenant's requests a second, and within its share of what the
// process does at once. leave gives the place back.
func (a *api) place(ctx context.Context, h func(name, value string), who *auth.Identity) (leave func(), err error) {
	if a.Quotas == nil || who.Tenant == "" {
		return func() {}, nil
	}
	v := a.Quotas.Take(ctx, who.Tenant, quota.Requests, 1)
	h("RateLimit-Limit", strconv.Itoa(v.Limit))
	h("RateLimit-Remaining", strconv.Itoa(max(0, v.Remaining)))
	h("RateLimit-Reset", seconds(v.Reset, 0))
	if !v.OK {
		a.metrics.dropped.WithLabelValues("quota").Inc()
		return nil, exhausted(quota.Requests, v)
	}
	leave, ok := a.share.Enter(who.Tenant)
	if !ok {
		a.metrics.dropped.WithLabelValues("share").Inc()
		return nil, newError(http.StatusTooManyRequests, codeExhausted, "too many of the tenant's requests are under way")
	}
	return leave, nil
}

// spend takes n units of a rate for what a request is about to do.
func (a *api) spend(ctx context.Context, tenant fleet.TenantID, k quota.Kind, n int) error {
	if a.Quotas == nil {
		return nil
	}
	if v := a.Quotas.Take(ctx, tenant, k, n); !v.OK {
		a.metrics.dropped.WithLabelValues("quota").Inc()
		return exhausted(k, v)
	}
	return nil
}

// roomForRobot refuses a registration beyond the tenant's number of robots.
func (a *api) roomForRobot(ctx context.Context, tenant fleet.TenantID) error {
	if a.Quotas == nil {
		return nil
	}
	n, err := a.Facts.CountRobots(ctx, tenant)
	if err != nil {
		return err
	}
	s := a.Quotas.Settings(ctx, tenant)
	if most := s.Limit(quota.Robots); n >= most {
		return exhausted(quota.Robots, quota.Verdict{Limit: most, RetryAfter: time.Minute})
	}
	return nil
}

// origin takes a page's permission to read the answer away where the tenant in force does not give it: the preflight,
// which has no token, allowed what any tenant allows.
func (a *api) origin(r *http.Request, del func(name string), tenant fleet.TenantID) {
	o := r.Header.Get("Origin")
	if o == "" || a.Quotas == nil || slices.Contains(a.CORS, o) || slices.Contains(a.CORS, "*") {
		return
	}
	s := a.Quotas.Settings(r.Context(), tenant)
	if tenant == "" || !s.AllowsOrigin(o) {
		del("Access-Control-Allow-Origin")
	}
}

// mayAsk says whether pages of an origin may call at all: the configuration or a tenant allows it.
func (a *api) mayAsk(r *http.Request, origin string) bool {
	return slices.Contains(a.CORS, origin) || slices.Contains(a.CORS, "*") ||
		a.Quotas != nil && a.Quotas.OriginAllowed(r.Context(), strings.ToLower(origin))
}

// settingsFaults says what is wrong with a change of settings.
func settingsFaults(at string, problems []quota.Problem, f *faults) {
	for _, p := range problems {
		field := at
		if p.Field != "" {
			field += "." + p.Field
		}
		f.add(field, p.Problem)
	}
}
