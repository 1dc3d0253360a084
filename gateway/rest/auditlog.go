package rest

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// maxExport bounds the rows of one export.
const maxExport = 100_000

type auditBody struct {
	AuditID      string  `json:"audit_id" format:"uuid"`
	OccurredAt   string  `json:"occurred_at" format:"date-time"`
	TenantID     *string `json:"tenant_id" format:"uuid" doc:"null: the platform's, or a sign-in of nobody knows whom"`
	ActorUserID  *string `json:"actor_user_id" format:"uuid"`
	Subject      string  `json:"subject" doc:"The token's"`
	Action       string  `json:"action" doc:"task.create, auth.forbidden, …"`
	ResourceType string  `json:"resource_type"`
	ResourceID   string  `json:"resource_id"`
	RequestID    string  `json:"request_id"`
	TraceID      string  `json:"trace_id"`
	Method       string  `json:"method"`
	Path         string  `json:"path"`
	StatusCode   *int    `json:"status_code" doc:"null: not answered yet, or the process ended before it was"`
	DurationMS   float64 `json:"duration_ms"`
	ClientIP     string  `json:"client_ip"`
	UserAgent    string  `json:"user_agent"`
	Details      object  `json:"details"`
}

func auditOf(e *fact.AuditEntry) auditBody {
	b := auditBody{
		AuditID: e.ID, OccurredAt: ts(e.At), ActorUserID: text(e.User), Subject: e.Subject, Action: e.Action, ResourceType: e.ResourceType,
		ResourceID: e.ResourceID, RequestID: e.RequestID, TraceID: e.TraceID, Method: e.Method, Path: e.Path,
		DurationMS: float64(e.Duration.Microseconds()) / 1000, ClientIP: e.ClientIP, UserAgent: e.UserAgent, Details: object(e.Details),
	}
	if e.Tenant != fleet.NilTenant {
		b.TenantID = text(e.Tenant)
	}
	if e.Status != 0 {
		b.StatusCode = &e.Status
	}
	return b
}

// AuditQuery narrows a list of entries.
type AuditQuery struct {
	From      time.Time `query:"from" doc:"Not before"`
	To        time.Time `query:"to" doc:"Before"`
	Actor     string    `query:"actor" maxLength:"255" doc:"A user's id, or a token's subject"`
	Action    string    `query:"action" maxLength:"64" pattern:"^[a-z_.]*$" doc:"task.create, or task for all that begin so"`
	Resource  string    `query:"resource" maxLength:"300" doc:"robot, or robot:<id>"`
	RequestID string    `query:"request_id" maxLength:"128"`
}

func (q *AuditQuery) filter() (fact.AuditFilter, error) {
	var bad faults
	bad.printable("query.actor", q.Actor, 0, 255)
	bad.printable("query.resource", q.Resource, 0, 300)
	bad.printable("query.request_id", q.RequestID, 0, 128)
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		bad.add("query.to", "want a time after from")
	}
	f := fact.AuditFilter{From: q.From, To: q.To, Actor: q.Actor, Action: q.Action, RequestID: q.RequestID}
	f.ResourceType, f.ResourceID, _ = strings.Cut(q.Resource, ":")
	if isUUID(f.ResourceID) {
		f.ResourceID = strings.ToLower(f.ResourceID)
	}
	return f, bad.err()
}

func (a *api) auditLog() {
	type query struct {
		Paged
		AuditQuery
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/audit", id: "list-audit", summary: "Who did what, the newest first", tag: "audit"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[auditBody], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			l, err := a.Facts.ListAudit(ctx, logOf(who), f, in.page())
			return listOf(l, auditOf), err
		})
	type export struct {
		AuditQuery
		Format string `query:"format" enum:"csv,jsonl" default:"jsonl"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/audit/export", id: "export-audit", summary: "The same as a file, at most 100,000 rows", tag: "audit"},
		func(ctx context.Context, who *auth.Identity, in *export) (*huma.StreamResponse, error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			tenant := logOf(who)
			first, err := a.Facts.ListAudit(ctx, tenant, f, fact.Page{Limit: maxPage})
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				next := func(cursor string) (fact.List[fact.AuditEntry], error) {
					return a.Facts.ListAudit(c.Context(), tenant, f, fact.Page{Limit: maxPage, Cursor: cursor})
				}
				c.SetHeader("Content-Disposition", `attachment; filename="audit.`+in.Format+`"`)
				if in.Format == "csv" {
					c.SetHeader("Content-Type", "text/csv; charset=utf-8")
				} else {
					c.SetHeader("Content-Type", "application/jsonl")
				}
				c.SetStatus(http.StatusOK)
				if err := writeAudit(c.BodyWriter(), in.Format, first, next); err != nil {
					// The status has gone: a connection that breaks off is how the client learns that rows are missing.
					panic(http.ErrAbortHandler)
				}
			}}, nil
		})
}

// maxPage is the longest page of a list.
const maxPage = 500

// writeAudit writes page after page; what it has begun it ends or fails.
func writeAudit(w io.Writer, format string, page fact.List[fact.AuditEntry], next func(cursor string) (fact.List[fact.AuditEntry], error)) error {
	put, done := jsonLines(w)
	if format == "csv" {
		put, done = csvLines(w)
	}
	for n := 0; ; {
		for i := range page.Items {
			if n++; n > maxExport {
				return done()
			}
			b := auditOf(&page.Items[i])
			if err := put(&b); err != nil {
				return fmt.Errorf("write an export: %w", err)
			}
		}
		if page.Next == "" {
			return done()
		}
		var err error
		if page, err = next(page.Next); err != nil {
			return err
		}
	}
}

func jsonLines(w io.Writer) (put func(*auditBody) error, done func() error) {
	enc := json.NewEncoder(w)
	return func(b *auditBody) error { return enc.Encode(b) }, func() error { return nil }
}

func csvLines(w io.Writer) (put func(*auditBody) error, done func() error) {
	out := csv.NewWriter(w)
	begun := false
	head := func() error {
		begun = true
		return out.Write([]string{
			"audit_id", "occurred_at", "tenant_id", "actor_user_id", "subject", "action", "resource_type", "resource_id", "request_id",
			"trace_id", "method", "path", "status_code", "duration_ms", "client_ip", "user_agent", "details",
		})
	}
	put = func(b *auditBody) error {
		if !begun {
			if err := head(); err != nil {
				return err
			}
		}
		status := ""
		if b.StatusCode != nil {
			status = strconv.Itoa(*b.StatusCode)
		}
		details, err := b.Details.MarshalJSON()
		if err != nil {
			return err
		}
		return out.Write([]string{
			b.AuditID, b.OccurredAt, orEmpty(b.TenantID), orEmpty(b.ActorUserID), plain(b.Subject), b.Action, b.ResourceType, plain(b.ResourceID),
			plain(b.RequestID), b.TraceID, b.Method, plain(b.Path), status, strconv.FormatFloat(b.DurationMS, 'f', 3, 64), b.ClientIP,
			plain(b.UserAgent), string(details),
		})
	}
	return put, func() error {
		if !begun {
			if err := head(); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// plain keeps a spreadsheet from taking for a formula what a client has chosen.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
