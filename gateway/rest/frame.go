package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui/v5emb"

	"starling/gateway/auth"
)

// frame is what every role serves: health, readiness, metrics, the documents, in development the issuer.
func (a *api) frame(r chi.Router) {
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": a.Version})
	})
	r.Get("/readyz", a.ready)
	if a.Metrics != nil {
		r.Method(http.MethodGet, "/metrics", a.Metrics)
	}
	if len(a.Missing) > 0 || a.Invalid != nil {
		return
	}
	docs := documented(v5emb.New("Starling", "/openapi.json", "/docs/"), "/docs/")
	r.Get("/docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently).ServeHTTP)
	r.Method(http.MethodGet, "/docs/*", docs)
	stream := a.Stream
	if stream != nil {
		r.Method(http.MethodGet, "/asyncapi.yaml", stream)
	} else {
		stream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a.write(w, r, newError(http.StatusServiceUnavailable, codeUnavailable, "this process has no live channel"))
		})
	}
	r.Method(http.MethodGet, "/api/v1/ws", stream)
	r.Method(http.MethodGet, "/api/v1/stream", stream)
	if a.Dev != nil {
		r.Get("/.well-known/openid-configuration", a.Dev.Discovery)
		r.Get("/.well-known/jwks.json", a.Dev.JWKS)
		r.Post("/dev/token", a.devToken)
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// maxDevToken is how long a development token may last, in seconds.
const maxDevToken = 30 * 24 * 3600

// devToken signs a token for whoever asks: this is development.
func (a *api) devToken(w http.ResponseWriter, r *http.Request) {
	var q struct {
		auth.Grant
		Slug    string `json:"tenant_slug"`
		Expires int    `json:"expires_in_s"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		a.write(w, r, newError(http.StatusBadRequest, codeInvalid, "want {tenant or tenant_slug, role, robot?, fleet?, subject?, expires_in_s?}"))
		return
	}
	if q.Slug != "" && a.Facts != nil {
		t, err := a.Facts.GetTenantBySlug(r.Context(), q.Slug)
		if err != nil {
			a.write(w, r, table(err))
			return
		}
		q.Tenant = t.ID
	}
	var f faults
	if !slices.Contains(auth.Roles(), q.Role) {
		f.add("body.role", "unknown role")
	}
	if q.Tenant != "" && !isUUID(string(q.Tenant)) {
		f.add("body.tenant", "want a uuid")
	}
	if err := f.err(); err != nil {
		a.write(w, r, table(err))
		return
	}
	if q.Expires < 0 || q.Expires > maxDevToken {
		a.write(w, r, table(invalid("body.expires_in_s", "want 1..2592000")))
		return
	}
	q.TTL = time.Duration(q.Expires) * time.Second
	token, expires, err := a.Dev.Issue(q.Grant, a.Now())
	if err != nil {
		a.write(w, r, newError(http.StatusInternalServerError, codeInternal, "internal error"))
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_at": ts(expires)})
}
