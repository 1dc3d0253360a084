package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

type requestKey struct{}

// request is what the access log knows of a request while it runs.
type request struct {
	id, trace            string
	tenant, robot, task  string
	accept               string
	errorCode, errorText string
	stack                string
	who                  *auth.Identity
	entry                *fact.AuditEntry // what is to be on record of it, nil = nothing
	refused              bool
	details              map[string]any
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	if r == nil {
		return &request{}
	}
	return r
}

// traceOf is the traceparent that goes on with what the request causes.
func traceOf(ctx context.Context) fleet.Trace { return fleet.Trace(requestOf(ctx).trace) }

var (
	idShape    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	traceShape = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// identify gives every request an id and a place for what the log will say of it.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{id: r.Header.Get("X-Request-ID"), trace: r.Header.Get("Traceparent"), accept: strings.Join(r.Header.Values("Accept"), ",")}
		if !idShape.MatchString(q.id) {
			q.id = uuid.NewString()
		}
		if !traceShape.MatchString(q.trace) {
			t := uuid.New()
			s := uuid.New()
			q.trace = fmt.Sprintf("00-%x-%x-00", t[:], s[:8])
		}
		w.Header().Set("X-Request-ID", q.id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, q)))
	})
}

// recorder remembers the status of an answer, and ends the connection with it where the process is stopping.
type recorder struct {
	http.ResponseWriter
	status   int
	stopping func() bool
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		if w.stopping() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Hijack hands the connection over, to a WebSocket.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over the connection: %w", err)
	}
	w.status = http.StatusSwitchingProtocols
	return c, rw, nil
}

// Unwrap gives http.ResponseController the writer below.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func probe(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/metrics" }

// status says that a path takes robots' statuses: they come without end.
func status(path string) bool {
	return strings.HasPrefix(path, "/api/v1/robots/") && strings.HasSuffix(path, "/status")
}

// live says that a path is the live channel's.
func live(path string) bool { return path == "/api/v1/ws" || path == "/api/v1/stream" }

// levels are how loudly the log speaks of a request's start and of its end.
func levels(path string, code int) (start, end slog.Level) {
	start = slog.LevelInfo
	if probe(path) || status(path) {
		start = slog.LevelDebug
	}
	switch {
	case probe(path):
		return start, start
	case code >= http.StatusInternalServerError:
		return start, slog.LevelError
	case code >= http.StatusBadRequest:
		return start, slog.LevelInfo
	}
	return start, start
}

// routeOf is the pattern that a request was routed by, with few values: what clients make up is "none".
func routeOf(r *http.Request) string {
	if route := chi.RouteContext(r.Context()); route != nil {
		if p := route.RoutePattern(); p != "" && p != "/*" {
			return p
		}
	}
	return "none"
}

func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// access logs start and end of a request, probes and statuses at debug level, and turns a panic into a 500.
func (a *api) access(next http.Handler) http.Handler {
	return http.HandlerFunc(func(hw http.ResponseWriter, r *http.Request) {
		q, start := requestOf(r.Context()), time.Now()
		attrs := func(more ...slog.Attr) []slog.Attr {
			base := []slog.Attr{
				slog.String("request_id", q.id), slog.String("method", r.Method), slog.String("path", pathOf(r)),
				slog.String("client_ip", clientIP(r)), slog.String("trace_id", traceID(q.trace)),
				slog.String("tenant_id", q.tenant), slog.String("robot_id", q.robot), slog.String("task_id", q.task),
			}
			return append(base, more...)
		}
		first, _ := levels(r.URL.Path, 0)
		a.Log.LogAttrs(r.Context(), first, "request started", attrs(slog.String("event", "http.start"))...)
		w := &recorder{ResponseWriter: hw, stopping: a.stopping}
		defer func() {
			p := recover()
			aborted := p == http.ErrAbortHandler //nolint:errorlint // a panic's value, by identity
			if p != nil {
				q.errorCode, q.errorText, q.stack = codeInternal, fmt.Sprint(p), string(debug.Stack())
				if w.status == 0 {
					a.write(w, r, newError(http.StatusInternalServerError, codeInternal, "internal error"))
				}
			}
			if w.status == 0 {
				w.status = http.StatusOK
			}
			took, route := time.Since(start), routeOf(r)
			a.metrics.requests.WithLabelValues(methodOf(r), route, strconv.Itoa(w.status)).Inc()
			a.metrics.duration.WithLabelValues(route).Observe(took.Seconds())
			end := attrs(slog.String("event", "http.end"), slog.Int("status_code", w.status), slog.Float64("duration_ms", float64(took.Microseconds())/1000))
			if q.errorCode != "" {
				end = append(end, slog.String("error_code", q.errorCode), slog.String("error", q.errorText))
				if q.stack != "" && a.Stacks {
					end = append(end, slog.String("stack", q.stack))
				}
			}
			a.recorded(r, q, w, took)
			_, last := levels(r.URL.Path, w.status)
			a.Log.LogAttrs(r.Context(), last, "request ended", end...)
			if aborted {
				panic(http.ErrAbortHandler) // breaks the connection off: the client learns that the answer is not whole
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// pathOf is the path without secrets that stand in it.
func pathOf(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, "/rmf/") {
		return "/rmf/[redacted]"
	}
	return r.URL.Path
}

// clientIP is the address that a request comes from, behind trusted proxies too: armour has found it.
func clientIP(r *http.Request) string {
	if ip, ok := r.Context().Value(callerKey{}).(string); ok {
		return ip
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func traceID(traceparent string) string {
	if len(traceparent) < 35 {
		return ""
	}
	return traceparent[3:35]
}

// stopping says that the process takes no new requests.
func (a *api) stopping() bool { return a.Draining != nil && a.Draining() }

// bound gives every request its time, and refuses what is more than the door can hold or comes when the process stops.
func (a *api) bound(next http.Handler) http.Handler {
	var inFlight atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if probe(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		if a.stopping() {
			a.write(w, r, newError(http.StatusServiceUnavailable, codeUnavailable, "the process is stopping"))
			return
		}
		if live(r.URL.Path) { // they have bounds of their own, and no end
			next.ServeHTTP(w, r)
			return
		}
		if inFlight.Add(1) > int64(a.MaxInFlight) {
			inFlight.Add(-1)
			a.metrics.dropped.WithLabelValues("requests").Inc()
			a.write(w, r, newError(http.StatusTooManyRequests, codeExhausted, "too many requests are under way"))
			return
		}
		defer inFlight.Add(-1)
		ctx, cancel := context.WithTimeout(r.Context(), a.Timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// write answers with an error from outside huma.
func (a *api) write(w http.ResponseWriter, r *http.Request, e *Error) {
	q := requestOf(r.Context())
	e.Body.RequestID = q.id
	if q.errorCode == "" {
		q.errorCode, q.errorText = e.Body.Code, e.Body.Message
	}
	w.Header().Set("Content-Type", "application/json")
	if e.retry != "" {
		w.Header().Set("Retry-After", e.retry)
	}
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e)
}
