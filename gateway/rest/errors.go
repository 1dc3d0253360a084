package rest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/fact"
	"starling/gateway/auth"
)

// The stable codes of errors.
const (
	codeInvalid      = "INVALID_ARGUMENT"
	codeUnauth       = "UNAUTHENTICATED"
	codeForbidden    = "FORBIDDEN"
	codeNotFound     = "NOT_FOUND"
	codeConflict     = "CONFLICT"
	codePrecondition = "FAILED_PRECONDITION"
	codeExhausted    = "RESOURCE_EXHAUSTED"
	codeTimeout      = "TIMEOUT"
	codeInternal     = "INTERNAL_ERROR"
	codeUnavailable  = "UNAVAILABLE"
)

// Error is every error body of the API.
type Error struct {
	status int
	retry  string
	cause  error // logged, never shown
	Body   struct {
		Code      string         `json:"code" doc:"Stable code" enum:"INVALID_ARGUMENT,UNAUTHENTICATED,FORBIDDEN,NOT_FOUND,CONFLICT,FAILED_PRECONDITION,RESOURCE_EXHAUSTED,TIMEOUT,INTERNAL_ERROR,UNAVAILABLE"`
		Message   string         `json:"message" doc:"For people"`
		RequestID string         `json:"request_id" doc:"The X-Request-ID of the response"`
		Details   map[string]any `json:"details" doc:"INVALID_ARGUMENT: fields, a list of {field, problem}; CONFLICT: current, the present state"`
	} `json:"error"`
}

// Field is one fault of a request.
type Field struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

func (e *Error) Error() string { return e.Body.Code + ": " + e.Body.Message }

// GetStatus implements huma.StatusError.
func (e *Error) GetStatus() int { return e.status }

// GetHeaders implements huma.HeadersError.
func (e *Error) GetHeaders() http.Header {
	h := http.Header{}
	if e.retry != "" {
		h.Set("Retry-After", e.retry)
	}
	return h
}

// ContentType implements huma's choice of media type.
func (e *Error) ContentType(string) string { return "application/json" }

// Unwrap gives the cause to the log.
func (e *Error) Unwrap() error { return e.cause }

func newError(status int, code, message string) *Error {
	e := &Error{status: status}
	e.Body.Code, e.Body.Message, e.Body.Details = code, message, map[string]any{}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		e.retry = "1"
	}
	return e
}

func (e *Error) with(name string, v any) *Error {
	e.Body.Details[name] = v
	return e
}

// faults collects what is wrong with a request, so that all of it is said at once.
type faults []Field

func (f *faults) add(field, problem string) { *f = append(*f, Field{field, problem}) }

// err is nil where there is no fault.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return newError(http.StatusUnprocessableEntity, codeInvalid, "the request is invalid").with("fields", []Field(f))
}

func invalid(field, problem string) error { return faults{{field, problem}}.err() }

// codes maps a status to the code that goes with it.
func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return codeUnauth
	case http.StatusForbidden:
		return codeForbidden
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return codeNotFound
	case http.StatusConflict:
		return codeConflict
	case http.StatusPreconditionFailed:
		return codePrecondition
	case http.StatusTooManyRequests:
		return codeExhausted
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return codeTimeout
	case http.StatusServiceUnavailable:
		return codeUnavailable
	}
	if status >= 500 {
		return codeInternal
	}
	return codeInvalid
}

// table maps what comes from inside to an answer; what it does not know is internal.
func table(err error) *Error {
	var e *Error
	var c *fact.ConflictError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &c):
		return conflict(c)
	case errors.Is(err, fact.ErrNotFound):
		return newError(http.StatusNotFound, codeNotFound, "there is no such object")
	case errors.Is(err, fact.ErrBadCursor):
		return newError(http.StatusUnprocessableEntity, codeInvalid, "the request is invalid").with("fields", []Field{{"query.cursor", "not a cursor of this list"}})
	case errors.Is(err, fact.ErrPrecondition):
		return newError(http.StatusPreconditionFailed, codePrecondition, "a needed thing is missing: an active map, or the engine's control of the robot")
	case errors.Is(err, fact.ErrConflict):
		return newError(http.StatusConflict, codeConflict, "the present state forbids it")
	case errors.Is(err, fact.ErrBusy):
		return newError(http.StatusTooManyRequests, codeExhausted, "too much is under way, try again")
	case errors.Is(err, context.DeadlineExceeded):
		return newError(http.StatusGatewayTimeout, codeTimeout, "the request took too long")
	case errors.Is(err, fact.ErrUnavailable), errors.Is(err, fact.ErrUnknown), errors.Is(err, fact.ErrFenced), errors.Is(err, auth.ErrUnavailable), errors.Is(err, context.Canceled):
		return newError(http.StatusServiceUnavailable, codeUnavailable, "a dependency is away, try again")
	case errors.Is(err, auth.ErrUnauthenticated):
		return newError(http.StatusUnauthorized, codeUnauth, "no, bad or expired token")
	case errors.Is(err, auth.ErrForbidden):
		return newError(http.StatusForbidden, codeForbidden, "role or tenant does not allow it")
	case errors.Is(err, fact.ErrRejected):
		return newError(http.StatusUnprocessableEntity, codeInvalid, "the request cannot be recorded")
	}
	return newError(http.StatusInternalServerError, codeInternal, "internal error")
}

func conflict(c *fact.ConflictError) *Error {
	switch c.Key {
	case "version":
		e := newError(http.StatusPreconditionFailed, codePrecondition, "the object has changed since it was read")
		if c.Robot != nil {
			e.Body.Details["current_version"] = c.Robot.Version
		}
		return e
	case "idempotency_key":
		return newError(http.StatusConflict, codeConflict, "the idempotency key was used with another request")
	}
	e := newError(http.StatusConflict, codeConflict, "the present state forbids it").with("key", c.Key)
	if c.Existing != "" {
		e.Body.Details["existing"] = c.Existing
	}
	if c.Task != nil {
		e.Body.Details["current"] = taskBody(c.Task)
	}
	return e
}

// hookHuma makes huma's own errors (bad parameters, bad bodies) ours. It sets huma's hooks once a process.
var hookHuma = sync.OnceFunc(func() { //nolint:gochecknoglobals // huma knows no other way
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true // else a second spelling of a name passes by the checks
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return fromHuma("", status, msg, errs) }
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if ctx == nil {
			return fromHuma("", status, msg, errs)
		}
		q := requestOf(ctx.Context())
		e := fromHuma(q.id, status, msg, errs)
		if q.errorCode == "" { // the log tells it, as it tells every other refusal
			q.errorCode, q.errorText = e.Body.Code, e.Body.Message
		}
		return e
	}
})

func fromHuma(id string, status int, msg string, errs []error) *Error {
	var fields []Field
	for _, err := range errs {
		var d *huma.ErrorDetail
		f := Field{"body", "not readable as JSON"}
		if errors.As(err, &d) {
			f = fault(d)
		}
		if err != nil && !slices.ContainsFunc(fields, func(o Field) bool { return o.Field == f.Field }) {
			fields = append(fields, f)
		}
	}
	unreadable := Field{"body", "not readable as JSON"}
	switch {
	case status == http.StatusBadRequest && slices.Contains(fields, Field{"body", outOfRange}):
		status, msg = http.StatusUnprocessableEntity, "the request is invalid" // JSON, but a number that nothing holds
		fields = []Field{{"body", outOfRange}}
	case status == http.StatusBadRequest, strings.HasPrefix(msg, "cannot read request body"):
		status, msg, fields = http.StatusBadRequest, "the body is not readable", []Field{unreadable}
	case status == http.StatusUnsupportedMediaType:
		msg, fields = "the body is not of a type that is understood here", []Field{{"header.Content-Type", "want application/json"}}
	case status == http.StatusRequestEntityTooLarge:
		msg, fields = "the body is too large", []Field{{"body", "too large"}}
	case status == http.StatusRequestTimeout:
		status, msg = http.StatusGatewayTimeout, "the body took too long to arrive"
	case status == http.StatusUnprocessableEntity:
		msg = "the request is invalid"
	case status >= 500:
		msg = "internal error"
	}
	e := newError(status, codeOf(status), msg)
	if status < 500 && len(fields) > 0 {
		e.Body.Details["fields"] = fields
	}
	e.Body.RequestID = id
	return e
}

const outOfRange = "a number is out of range"

// maxFieldName bounds the name of a fault's field: an unknown property is named by the client.
const maxFieldName = 200

// fault says what is wrong without repeating what was sent: of the checks' messages only what is ours is passed on.
func fault(d *huma.ErrorDetail) Field {
	at, problem := cmp.Or(d.Location, "body"), d.Message
	if name, ok := strings.CutPrefix(problem, "expected required property "); ok {
		name, _, _ = strings.Cut(name, " ")
		at, problem = at+"."+name, "is needed"
	}
	if r := []rune(at); len(r) > maxFieldName {
		at = string(r[:maxFieldName]) + "…"
	}
	switch {
	case strings.HasPrefix(problem, "expected value to be one of"), strings.HasPrefix(problem, "expected string to match pattern"):
	case strings.HasPrefix(problem, "expected "):
		problem, _, _ = strings.Cut(problem, ":")
	case strings.HasPrefix(problem, "json: cannot unmarshal number"):
		problem = outOfRange
	case strings.HasPrefix(problem, "json: "), strings.HasPrefix(problem, "parsing time"):
		problem = "not of the wanted type"
	case strings.HasPrefix(problem, "invalid character"), strings.HasPrefix(problem, "unexpected end"):
		problem = "not readable as JSON"
	case strings.HasPrefix(problem, "invalid "):
		problem, _, _ = strings.Cut(problem, ":")
	}
	return Field{at, problem}
}

// errors gives the faults to huma.
func (f faults) errors() []error {
	out := make([]error, 0, len(f))
	for _, x := range f {
		out = append(out, &huma.ErrorDetail{Location: x.Field, Message: x.Problem})
	}
	return out
}
