package rest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// Add keeps an entry.
func (h *house) Add(e fact.AuditEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.audit = append(h.audit, e)
}

// Refused keeps an entry.
func (h *house) Refused(e fact.AuditEntry) { h.Add(e) }

// SignedIn keeps the first use of a token.
func (h *house) SignedIn(_ *auth.Identity, e fact.AuditEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signIns = append(h.signIns, e)
}

// entries are those of a request, without sign-ins.
func (h *house) entries(requestID string) []fact.AuditEntry {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []fact.AuditEntry
	for _, e := range h.audit {
		if e.RequestID == requestID {
			out = append(out, e)
		}
	}
	return out
}

func (h *house) ListAudit(_ context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page) (fact.List[fact.AuditEntry], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []fact.AuditEntry
	for _, e := range h.audit {
		of := e.Tenant
		if of == "" {
			of = fleet.NilTenant
		}
		if of == tenant && (f.Action == "" || e.Action == f.Action || strings.HasPrefix(e.Action, f.Action+".")) && (f.ResourceID == "" || f.ResourceID == e.ResourceID) {
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return page(out, p)
}

func (h *house) SetTenantLimits(_ context.Context, id fleet.TenantID, name *string, limits json.RawMessage, ifVersion int64) (fact.Tenant, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.tenants {
		t := &h.tenants[i]
		switch {
		case t.ID != id:
			continue
		case ifVersion >= 0 && ifVersion != t.Version:
			return fact.Tenant{}, &fact.ConflictError{Key: "version"}
		}
		if name != nil {
			t.Name = *name
		}
		if len(limits) > 0 {
			t.Limits = limits
		}
		t.Version++
		return *t, nil
	}
	return fact.Tenant{}, fact.ErrNotFound
}

func (h *house) CountRobots(_ context.Context, tenant fleet.TenantID) (n int, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.robots {
		if r.Spec.Tenant == tenant {
			n++
		}
	}
	return n, nil
}
