package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// WriteAuditLog adds a batch to the log, one transaction per tenant of it; entries without tenant go under the nil
// tenant. Nothing of the log can be changed or deleted by the program. An error says that at least one tenant's entries
// were not written.
func (r *AuditRepo) WriteAuditLog(ctx context.Context, entries []fact.AuditEntry) error {
	byTenant := map[fleet.TenantID][]*fact.AuditEntry{}
	for i := range entries {
		tenant := entries[i].Tenant
		if tenant == "" {
			tenant = firstID
		}
		byTenant[tenant] = append(byTenant[tenant], &entries[i])
	}
	var errs []error
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		p := auditParams(tenant, byTenant[tenant])
		err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error { return q.InsertAudit(ctx, p) })
		if err != nil {
			errs = append(errs, fmt.Errorf("write %d audit entries: %w", len(p.AuditIds), err))
		}
	}
	return errors.Join(errs...)
}

func auditParams(tenant fleet.TenantID, entries []*fact.AuditEntry) gen.InsertAuditParams {
	p := gen.InsertAuditParams{TenantID: string(tenant)}
	for _, e := range entries {
		ip := ""
		if addr, err := netip.ParseAddr(e.ClientIP); err == nil {
			ip = addr.WithZone("").String()
		}
		details := string(e.Details)
		if details == "" {
			details = "{}"
		}
		p.AuditIds, p.Ats, p.Users = append(p.AuditIds, e.ID), append(p.Ats, e.At), append(p.Users, string(e.User))
		p.Subjects, p.Actions = append(p.Subjects, e.Subject), append(p.Actions, e.Action)
		p.ResourceTypes, p.ResourceIds = append(p.ResourceTypes, e.ResourceType), append(p.ResourceIds, e.ResourceID)
		p.RequestIds, p.TraceIds = append(p.RequestIds, e.RequestID), append(p.TraceIds, e.TraceID)
		p.Methods, p.Paths = append(p.Methods, e.Method), append(p.Paths, e.Path)
		p.StatusCodes = append(p.StatusCodes, int32(e.Status))
		p.Durations = append(p.Durations, float64(e.Duration.Microseconds())/1000)
		p.ClientIps, p.UserAgents, p.Details = append(p.ClientIps, ip), append(p.UserAgents, e.UserAgent), append(p.Details, details)
	}
	return p
}
