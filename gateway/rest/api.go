package rest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/cors"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

// Check says how a dependency does; critical ones make the process not ready.
type Check struct {
	Name     string
	Critical bool
	Probe    func(ctx context.Context) error
}

// Options are the door's ports and settings.
type Options struct {
	Engine   Engine // nil = this process has no engine role: engine routes answer UNAVAILABLE
	Views    Views
	History  History  // nil = this process keeps none
	Diagrams Diagrams // nil = none are learned here
	Remedies Remedies // nil = nothing is done against jams here
	Alerts   Alerts
	Hooks    Hooks
	Facts    Facts
	Auth     *auth.Guard
	Dev      *auth.DevIssuer // nil = not in development
	Log      *slog.Logger
	Metrics  http.Handler          // served at /metrics; nil = served elsewhere
	Registr  prometheus.Registerer // nil = metrics are kept and not registered
	Checks   []Check
	// Audit takes what is to be on record, nil = nothing is; AuditReads: reads of single objects too. Intent gives the store
	// the intent of a write, so that it becomes durable with it.
	Audit      Audit
	AuditReads bool
	Intent     func(ctx context.Context, e *fact.AuditEntry) context.Context
	// Quotas bound what each tenant may use, nil = nothing does.
	Quotas *quota.Quotas
	// Faults of the configuration: the process serves health and readiness and nothing else.
	Missing []string
	Invalid any
	// Draining says that the process is stopping: new requests are refused, and every answer ends its connection.
	Draining func() bool

	// Stream serves the live channel, and Page the page; nil = this process has none.
	Stream http.Handler
	Page   Page

	Version     string        // of the program, shown by /healthz
	Stacks      bool          // stack traces in the log
	Timeout     time.Duration // 0 = 10 s
	MaxInFlight int           // requests under way; 0 = 2,000
	MaxUploads  int           // maps being uploaded or validated, each up to 64 MiB; half of them at most of one tenant; 0 = 4
	CORS        []string
	// TrustedProxies are believed when they say whose request they pass on.
	TrustedProxies []netip.Prefix
	// BodyWithin and AnswerWithin bound how long a body may take to come, where its route has no bound of its own, and an
	// answer to leave; 0 = 15 s and 30 s.
	BodyWithin, AnswerWithin time.Duration

	Now func() time.Time // nil = time.Now
}

type api struct {
	Options
	huma    huma.API
	metrics metrics
	uploads *quota.Share // of uploads under way
	graphs  graphs
	policy  *auth.Policy
	share   *quota.Share // of requests under way
	probes  *probes

	overviews overviews
}

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	dropped  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_rest_requests_total", Help: "Requests by method, route and status."}, []string{"method", "route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "starling_rest_duration_seconds", Help: "Time from a request's start to its end.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}, []string{"route"}),
		dropped:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_rest_dropped_total", Help: "Requests refused because too many were under way."}, []string{"queue"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.duration, m.dropped)
	}
	return m
}

// apiVersion is the version of the document; it changes with the API, not with the program.
const apiVersion = "1.0.0"

// The bounds of bodies in bytes.
const (
	maxBody = 1 << 20
	maxMap  = 64 << 20
)

// New returns the door.
func New(o Options) http.Handler {
	r, _ := build(o)
	return r
}

func build(o Options) (http.Handler, huma.API) {
	hookHuma()
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 2000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxUploads <= 0 {
		o.MaxUploads = 4
	}
	a := &api{Options: o, metrics: newMetrics(o.Registr), uploads: quota.NewShare(o.MaxUploads), policy: auth.NewPolicy(), share: quota.NewShare(o.MaxInFlight), probes: newProbes(o.Checks)}
	r := chi.NewRouter()
	r.Use(a.armour, identify, a.access, a.witness, a.plain)
	if len(o.CORS) > 0 || o.Quotas != nil {
		r.Use(cors.Handler(cors.Options{
			AllowOriginFunc: a.mayAsk, AllowedMethods: []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
			AllowedHeaders: []string{"Authorization", "Content-Type", "If-Match", "Idempotency-Key", "X-Request-ID", "X-Tenant-ID", "X-Tenant-Slug", "Traceparent", "Last-Event-ID"},
			ExposedHeaders: []string{"ETag", "Location", "X-Request-ID", "Idempotent-Replayed", "X-Next-Cursor", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}, MaxAge: 600,
		}))
	}
	r.Use(a.bound, middleware.GetHead)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		if a.Page != nil && a.Page.Has(r) {
			a.Page.ServeHTTP(w, r)
			return
		}
		a.write(w, r, newError(http.StatusNotFound, codeNotFound, "there is no such path"))
	})
	refuse := a.refuseMethod(r)
	r.MethodNotAllowed(refuse)
	a.frame(r)
	if len(o.Missing) > 0 || o.Invalid != nil {
		return r, nil
	}
	config := huma.DefaultConfig("Starling", apiVersion)
	config.Info.Description = "Fleet management for warehouse robots."
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.OpenAPIPath = "/openapi"
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"}}
	config.Security = []map[string][]string{{"bearer": {}}}
	config.RejectUnknownQueryParameters = true
	a.huma = humachi.New(r, config)
	a.identity()
	a.warehouses()
	a.maps()
	a.lanes()
	a.zones()
	a.robots()
	a.statuses()
	a.histories()
	a.hotspots()
	a.commands()
	a.tasks()
	a.explanations()
	a.scheduler()
	a.watchers()
	polish(a.huma.OpenAPI())
	a.ruled(r)
	a.closeGaps(r, refuse)
	return r, a.huma
}

// watchers are the operations of those who look after the rest.
func (a *api) watchers() {
	a.deadLetters()
	a.alerts()
	a.hooks()
	a.overview()
	a.waits()
	a.auditLog()
}

// schemaName is a type's name in the document.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	return strings.TrimSuffix(strings.TrimSuffix(name, "Body"), "JSON")
}

// op describes one operation. Who may ask for it stands in auth.Policy.
type op struct {
	method, path, id, summary, tag string
	status                         int   // of success; 0 = 200
	body                           int64 // bound of the body in bytes; 0 = maxBody
	engine                         bool  // needs the engine role
	answer                         any   // type of a body that is rendered by hand
	also                           []int // further statuses it may answer with
}

// add registers an operation: token, role and tenant are checked before h runs, and whatever h returns as an error
// becomes the uniform body. An operation that the policy does not know cannot be registered.
func add[I, O any](a *api, o op, h func(ctx context.Context, who *auth.Identity, in *I) (*O, error)) {
	rule := a.policy.Rule(o.method + " " + o.path)
	if rule == nil {
		panic("the policy has no rule for " + o.method + " " + o.path)
	}
	d := huma.Operation{
		Method: o.method, Path: o.path, OperationID: o.id, Summary: o.summary, Tags: []string{o.tag}, DefaultStatus: o.status,
		MaxBodyBytes: max(o.body, maxBody), Errors: statuses(o),
		Middlewares: huma.Middlewares{func(c huma.Context, next func(huma.Context)) { a.authorise(c, next, o, rule) }},
		Security:    []map[string][]string{{"bearer": rule.Every()}},
	}
	if o.body > maxBody {
		d.BodyReadTimeout = time.Minute
	}
	if o.answer != nil {
		schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(o.answer), true, o.id)
		d.Responses = map[string]*huma.Response{statusText(o.status): {
			Description: http.StatusText(o.status), Content: map[string]*huma.MediaType{"application/json": {Schema: schema}},
		}}
	}
	huma.Register(a.huma, d, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, auth.From(ctx), in)
		if err == nil {
			return out, nil
		}
		if e := ctx.Err(); errors.Is(e, context.DeadlineExceeded) {
			err = e
		}
		return nil, a.explain(ctx, err)
	})
}

func statusText(s int) string {
	return string([]byte{byte('0' + s/100), byte('0' + s/10%10), byte('0' + s%10)})
}

// statuses lists what an operation may answer besides success.
func statuses(o op) []int {
	s := []int{400, 401, 403, 404, 422, 429, 500, 503, 504}
	if o.method != http.MethodGet {
		s = append(s, 409, 412, 413, 415)
	}
	for _, x := range o.also {
		if !slices.Contains(s, x) {
			s = append(s, x)
		}
	}
	slices.Sort(s)
	return s
}

// explain turns an error into its answer and gives the log its cause.
func (a *api) explain(ctx context.Context, err error) *Error {
	e := table(err)
	q := requestOf(ctx)
	e.Body.RequestID = q.id
	q.errorCode, q.errorText = e.Body.Code, err.Error()
	if e.status == http.StatusInternalServerError && q.stack == "" {
		q.stack = string(debug.Stack())
	}
	return e
}

// by is the actor of what an identity causes.
func by(who *auth.Identity) fleet.Actor { return fleet.Actor{User: auth.UserID(who)} }

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}

// Keyed is the header of every request that creates. (What is embedded must be exported: huma sees nothing else.)
type Keyed struct {
	Key string `header:"Idempotency-Key" minLength:"1" maxLength:"128" pattern:"^[ -~]*$" doc:"1..128 printable characters: the same key and body get the first answer again"`
}

// created is an answer that is rendered before it is recorded, so that it can be given again byte for byte.
type created struct {
	Status      int
	ContentType string `header:"Content-Type"`
	Location    string `header:"Location"`
	Replayed    string `header:"Idempotent-Replayed"`
	Body        []byte
}

func render(status int, location string, v any) (fact.Answer, error) {
	b, err := json.Marshal(v)
	return fact.Answer{Status: status, Location: location, Body: b}, err
}

func answerOf(ans *fact.Answer, replayed bool) *created {
	c := &created{Status: ans.Status, ContentType: "application/json", Location: ans.Location, Body: ans.Body}
	if replayed {
		c.Replayed = "true"
	}
	return c
}

// errReused is what a second use of a key with another body gets.
func errReused() error { return &fact.ConflictError{Key: "idempotency_key"} }

// once runs a creation under the client's key. prepare checks the request, renders the answer and returns how to
// record it; with a key that was used already it is not called.
func (a *api) once(ctx context.Context, tenant fleet.TenantID, route string, k *Keyed, raw []byte, prepare func() (fact.Answer, func(*fact.Idempotency) error, error)) (*created, error) {
	sum := sha256.Sum256(raw)
	if first, err := a.firstAnswer(ctx, tenant, route, k.Key, sum[:]); first != nil || err != nil {
		return first, err
	}
	ans, record, err := prepare()
	if err != nil {
		return nil, err
	}
	var idem *fact.Idempotency
	if k.Key != "" {
		idem = &fact.Idempotency{Key: k.Key, Route: route, Fingerprint: sum[:], Answer: ans}
	}
	err = record(idem)
	var c *fact.ConflictError
	if errors.As(err, &c) {
		if c.Key == "idempotency_key" && c.SameFingerprint && c.Answer != nil {
			return answerOf(c.Answer, true), nil
		}
		// The twin of this request may have won meanwhile, and what it made is what this one conflicts with.
		if first, _ := a.firstAnswer(ctx, tenant, route, k.Key, sum[:]); first != nil {
			return first, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return answerOf(&ans, false), nil
}

// firstAnswer is the answer that a key got first; nil where it was not used yet or its answer is not kept any more.
func (a *api) firstAnswer(ctx context.Context, tenant fleet.TenantID, route, key string, sum []byte) (*created, error) {
	if key == "" {
		return nil, nil
	}
	used, first, err := a.Facts.FirstAnswer(ctx, tenant, route, key)
	switch {
	case err != nil:
		return nil, err
	case first == nil:
		return nil, nil
	case !slices.Equal(used, sum):
		return nil, errReused()
	}
	return answerOf(first, true), nil
}

// Paged is the query of every list.
type Paged struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Items of a page"`
	Cursor string `query:"cursor" maxLength:"1024" doc:"next_cursor of the page before"`
}

func (p *Paged) page() fact.Page { return fact.Page{Limit: p.Limit, Cursor: p.Cursor} }

// list is the body of every list.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next_cursor" doc:"null at the end"`
}

type listed[T any] struct{ Body list[T] }

func listOf[R, T any](l fact.List[R], body func(*R) T) *listed[T] {
	out := &listed[T]{Body: list[T]{Items: make([]T, 0, len(l.Items))}}
	for i := range l.Items {
		out.Body.Items = append(out.Body.Items, body(&l.Items[i]))
	}
	if l.Next != "" {
		out.Body.Next = &l.Next
	}
	return out
}

// Times on the wire.

const wireTime = "2006-01-02T15:04:05.000Z"

func ts(t time.Time) string { return t.UTC().Format(wireTime) }

func tsp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := ts(t)
	return &s
}

// text is nil for "".
func text[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}
