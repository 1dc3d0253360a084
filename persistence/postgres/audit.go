package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

const (
	// entryPatience is how long a batch of entries waits for a lock; it is tried again later.
	entryPatience = 2 * time.Second
	// listWithin is how long a page of the log may take: one for which more is to be read wants a narrower filter.
	listWithin = 3 * time.Second
)

// WriteAuditLog completes the intents of a batch and adds what is not there, one transaction per tenant of it; entries
// without tenant go under the nil tenant. Written twice, an entry (by its ID and At) is there once. An entry whose
// values the server refuses is set aside, counted and logged. An error says that some entries were not written: the same
// batch may be written again.
func (r *AuditRepo) WriteAuditLog(ctx context.Context, entries []fact.AuditEntry) error {
	list := make([]*fact.AuditEntry, len(entries))
	for i := range entries {
		list[i] = &entries[i]
	}
	byTenant, bad := auditParams(list)
	if bad > 0 {
		r.s.refusedEntries(ctx, bad, errNotUUID)
	}
	var errs []error
	for i := range byTenant {
		if err := r.write(ctx, &byTenant[i]); err != nil {
			errs = append(errs, fmt.Errorf("write %d audit entries: %w", len(byTenant[i].AuditIds), err))
		}
	}
	return errors.Join(errs...)
}

// write writes one tenant's entries; where the server refuses, each half alone, down to the one to blame.
func (r *AuditRepo) write(ctx context.Context, p *gen.AddAuditParams) error {
	n := len(p.AuditIds)
	err := r.s.inTenant(WithAudit(ctx, nil), writing, fleet.TenantID(p.TenantID), func(q *gen.Queries) error {
		if err := q.ScopeAudit(ctx, gen.ScopeAuditParams{TenantID: p.TenantID, PatienceMs: int32(entryPatience.Milliseconds())}); err != nil {
			return err
		}
		// Added first: an intent whose transaction is just being committed is waited for, and found by what follows.
		added, err := q.AddAudit(ctx, *p)
		if err != nil || added == int64(n) {
			return err
		}
		_, err = q.CompleteAudit(ctx, gen.CompleteAuditParams{
			TenantID: p.TenantID, AuditIds: p.AuditIds, Ats: p.Ats, ResourceIds: p.ResourceIds, StatusCodes: p.StatusCodes,
			Durations: p.Durations, Details: p.Details,
		})
		return err
	})
	switch {
	case err == nil:
		r.s.metrics.audit.WithLabelValues("entry").Add(float64(n))
		return nil
	case !errors.Is(err, fact.ErrRejected):
		return err
	case n == 1:
		r.s.refusedEntries(ctx, 1, err)
		return nil
	}
	first, second := part(p, 0, n/2), part(p, n/2, n)
	return errors.Join(r.write(ctx, &first), r.write(ctx, &second))
}

// refusedEntries counts entries that no further try would bring in.
func (s *Store) refusedEntries(ctx context.Context, n int, cause error) {
	s.metrics.audit.WithLabelValues("entry_refused").Add(float64(n))
	s.log.LogAttrs(ctx, slog.LevelError, "audit entry refused by the database", slog.String("event", "audit.entry_refused"),
		slog.Int("entries", n), slog.String("error", cause.Error()))
}

// auditParams makes rows of entries, by tenant, each as the table takes it; bad is how many have no usable id and are
// left out. A tenant that is no uuid counts as unknown.
func auditParams(entries []*fact.AuditEntry) (byTenant []gen.AddAuditParams, bad int) {
	for _, raw := range entries {
		if !isUUID(raw.ID) {
			bad++
			continue
		}
		e := raw.Bounded()
		tenant := string(e.Tenant)
		if !isUUID(tenant) {
			tenant = nilID
		}
		i := slices.IndexFunc(byTenant, func(p gen.AddAuditParams) bool { return p.TenantID == tenant })
		if i < 0 {
			i, byTenant = len(byTenant), append(byTenant, gen.AddAuditParams{TenantID: tenant})
		}
		p := &byTenant[i]
		ip := ""
		if addr, err := netip.ParseAddr(e.ClientIP); err == nil {
			ip = addr.WithZone("").String()
		}
		user := strings.ToLower(string(e.User))
		if !isUUID(user) {
			user = ""
		}
		details := string(e.Details)
		if details == "" {
			details = "{}"
		}
		p.AuditIds, p.Ats, p.Users = append(p.AuditIds, e.ID), append(p.Ats, e.At), append(p.Users, user)
		p.Subjects, p.Actions = append(p.Subjects, e.Subject), append(p.Actions, e.Action)
		p.ResourceTypes, p.ResourceIds = append(p.ResourceTypes, e.ResourceType), append(p.ResourceIds, e.ResourceID)
		p.RequestIds, p.TraceIds = append(p.RequestIds, e.RequestID), append(p.TraceIds, e.TraceID)
		p.Methods, p.Paths = append(p.Methods, e.Method), append(p.Paths, e.Path)
		p.StatusCodes = append(p.StatusCodes, int32(e.Status))
		p.Durations = append(p.Durations, float64(e.Duration.Microseconds())/1000)
		p.ClientIps, p.UserAgents, p.Details = append(p.ClientIps, ip), append(p.UserAgents, e.UserAgent), append(p.Details, details)
	}
	return byTenant, bad
}

// part is rows from to to of p.
func part(p *gen.AddAuditParams, from, to int) gen.AddAuditParams {
	return gen.AddAuditParams{
		TenantID: p.TenantID, AuditIds: p.AuditIds[from:to], Ats: p.Ats[from:to], Users: p.Users[from:to], Subjects: p.Subjects[from:to],
		Actions: p.Actions[from:to], ResourceTypes: p.ResourceTypes[from:to], ResourceIds: p.ResourceIds[from:to],
		RequestIds: p.RequestIds[from:to], TraceIds: p.TraceIds[from:to], Methods: p.Methods[from:to], Paths: p.Paths[from:to],
		StatusCodes: p.StatusCodes[from:to], Durations: p.Durations[from:to], ClientIps: p.ClientIps[from:to],
		UserAgents: p.UserAgents[from:to], Details: p.Details[from:to],
	}
}

func auditOf(r *gen.AuditLog) (fact.AuditEntry, error) {
	e := fact.AuditEntry{
		ID: r.AuditID, At: r.OccurredAt.UTC(), Tenant: fleet.TenantID(r.TenantID), User: given[fleet.UserID](r.ActorUserID),
		Subject: r.Subject, Action: r.Action, ResourceType: r.ResourceType, ResourceID: r.ResourceID, RequestID: r.RequestID,
		TraceID: r.TraceID, Method: r.Method, Path: r.Path, Status: int(r.StatusCode),
		Duration: time.Duration(r.DurationMs * float64(time.Millisecond)).Round(time.Microsecond), UserAgent: r.UserAgent, Details: r.Details,
	}
	if e.Tenant == nilID {
		e.Tenant = ""
	}
	if r.ClientIp != nil {
		e.ClientIP = r.ClientIp.String()
	}
	if string(e.Details) == "{}" {
		e.Details = nil
	}
	return e, nil
}

// ListAudit lists a tenant's entries, newest first. An Actor that is a UUID is a user's id, else a subject. tenant "" = those whose tenant
// is unknown, and the platform's own: for platform administrators. A tenant lists two pages at a time, others wait. Errors:
// fact.ErrBadCursor, ErrBusy, ErrUnavailable where a page takes longer than listWithin.
func (r *AuditRepo) ListAudit(
	ctx context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page,
) (l fact.List[fact.AuditEntry], err error) {
	c, err := from(p, "audit", newest())
	if err != nil {
		return l, err
	}
	q := gen.ListAuditParams{
		TenantID: keyOf(tenant), BeforeAt: c.At, BeforeID: c.ID, FromAt: f.From, ToAt: f.To, Subject: f.Actor, ActorUser: nilID, Action: f.Action,
		ResourceType: f.ResourceType, ResourceID: f.ResourceID, RequestID: f.RequestID, PageSize: size(p),
	}
	if q.ToAt.IsZero() {
		q.ToAt = fleet.Far
	}
	if user := strings.ToLower(f.Actor); isUUID(user) {
		q.Subject, q.ActorUser = "", user
	}
	if !isUUID(q.TenantID) || holdsNUL(f) {
		return fact.List[fact.AuditEntry]{Items: []fact.AuditEntry{}}, nil
	}
	list := func(in *gen.Queries) error {
		// In the order of an index, whatever the filter: the page is mostly full long before the log is at its end.
		if err := in.ScopeAudit(ctx, gen.ScopeAuditParams{TenantID: q.TenantID, PatienceMs: int32(listWithin.Milliseconds())}); err != nil {
			return err
		}
		if err := in.LimitStatements(ctx, int32(listWithin.Milliseconds())); err != nil {
			return err
		}
		rows, err := in.ListAudit(ctx, q)
		if err != nil {
			return err
		}
		l, err = page(p, rows, auditOf, func(a *gen.AuditLog) cursor { return cursor{At: a.OccurredAt, ID: a.AuditID} }, "audit")
		return err
	}
	done, err := r.s.reports.take(ctx, fleet.TenantID(q.TenantID), others)
	if err != nil {
		return fact.List[fact.AuditEntry]{}, fmt.Errorf("list the audit log: %w", err)
	}
	defer done()
	if err := r.s.inTenant(ctx, reading, fleet.TenantID(q.TenantID), list); err != nil {
		return fact.List[fact.AuditEntry]{}, fmt.Errorf("list the audit log: %w", err)
	}
	return l, nil
}

// holdsNUL says that a filter holds what no text of the log does.
func holdsNUL(f fact.AuditFilter) bool {
	return strings.ContainsRune(f.Actor+f.Action+f.ResourceType+f.ResourceID+f.RequestID, 0)
}
