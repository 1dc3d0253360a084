package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"starling/engine/fact"
	"starling/gateway/auth"
)

// authorise lets an operation run for who may.
func (a *api) authorise(c huma.Context, next func(huma.Context), o op, rule *auth.Rule) {
	ctx := c.Context()
	r, _ := humachi.Unwrap(c)
	who, err := a.enter(r, rule)
	if err == nil {
		var leave func()
		if leave, err = a.place(ctx, c.SetHeader, who); err == nil {
			defer leave()
		}
	}
	switch {
	case err != nil:
	case o.engine && a.Engine == nil:
		err = fact.ErrUnavailable
	default:
		err = meant(c)
	}
	if err != nil {
		a.refuse(c, err)
		return
	}
	if o.body > maxBody {
		leave, ok := a.uploads.Enter(who.Tenant)
		if !ok {
			a.metrics.dropped.WithLabelValues("uploads").Inc()
			a.refuse(c, newError(http.StatusTooManyRequests, codeExhausted, "too many maps are being uploaded"))
			return
		}
		defer leave()
	}
	oneSpelling(c)
	if _, w := humachi.Unwrap(c); w != nil {
		a.origin(r, w.Header().Del, who.Tenant)
	}
	next(huma.WithContext(c, a.begin(auth.With(ctx, who), r, who, rule)))
}

// ruled panics where a route has no rule: it would be open to all, or to nobody can say whom.
func (a *api) ruled(routes chi.Routes) {
	_ = chi.Walk(routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if a.policy.Rule(method+" "+route) == nil {
			panic("the policy has no rule for " + method + " " + route)
		}
		return nil
	})
}

// enter asks the guard.
func (a *api) enter(r *http.Request, rule *auth.Rule) (*auth.Identity, error) {
	token, err := auth.Bearer(r.Header.Values("Authorization"))
	if err != nil {
		return nil, auth.Refuse(r.Context(), rule)
	}
	who, err := a.Auth.Enter(r.Context(), auth.Ask{Token: token, TenantIDs: r.Header.Values("X-Tenant-ID"), Slugs: r.Header.Values("X-Tenant-Slug")}, rule)
	if errors.Is(err, auth.ErrManyTenants) {
		return nil, invalid("header.X-Tenant-ID", err.Error())
	}
	return who, err
}

// refuse answers with an error before the operation runs.
func (a *api) refuse(c huma.Context, err error) {
	e := a.explain(c.Context(), err)
	c.SetHeader("Content-Type", "application/json")
	if e.retry != "" {
		c.SetHeader("Retry-After", e.retry)
	}
	if e.status == http.StatusUnauthorized {
		c.SetHeader("WWW-Authenticate", `Bearer realm="starling"`)
	}
	c.SetStatus(e.status)
	_ = json.NewEncoder(c.BodyWriter()).Encode(e)
}

// oneSpelling writes the ids of a path as we write them: an id in capitals is the same id.
func oneSpelling(c huma.Context) {
	r, _ := humachi.Unwrap(c)
	for _, p := range c.Operation().Parameters {
		if p.In != "path" {
			continue
		}
		if v := c.Param(p.Name); isUUID(v) {
			r.SetPathValue(p.Name, strings.ToLower(v))
		}
	}
}

// meant refuses what would be passed over in silence though somebody meant something by it.
func meant(c huma.Context) error {
	var f faults
	c.EachHeader(func(name, value string) {
		if value == "" && (name == "Idempotency-Key" || name == "If-Match") {
			f.add("header."+name, "is empty")
		}
	})
	u := c.URL()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return newError(http.StatusBadRequest, codeInvalid, "the query is not readable").with("fields", []Field{{"query", "not readable"}})
	}
	for _, p := range c.Operation().Parameters {
		if values, there := query[p.Name]; there && p.In == "query" && slices.Contains(values, "") && !mayBeEmpty(p.Schema) {
			f.add("query."+p.Name, "is empty")
		}
	}
	return f.err()
}

func mayBeEmpty(s *huma.Schema) bool {
	return s.Type == huma.TypeString && s.Format == "" && len(s.Enum) == 0
}
