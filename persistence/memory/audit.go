package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// auditLog is who did what: added to, and completed, by id and time. Kept for as long as the process lives.
type auditLog map[auditKey]fact.AuditEntry

type auditKey struct {
	id string
	at time.Time
}

// add keeps an entry that is not there yet, and completes one that is an intent.
func (l auditLog) add(e fact.AuditEntry) {
	e = e.Bounded()
	if e.Tenant == fleet.NilTenant {
		e.Tenant = ""
	}
	k := auditKey{e.ID, e.At}
	old, there := l[k]
	switch {
	case !there:
		l[k] = e
	case old.Status == 0 && e.Status != 0:
		old.Status, old.Duration = e.Status, e.Duration
		if e.ResourceID != "" {
			old.ResourceID = e.ResourceID
		}
		if e.Details != nil {
			old.Details = e.Details
		}
		l[k] = old
	}
}

// WriteAuditLog completes the intents of a batch and adds what is not there.
func (s *Store) WriteAuditLog(_ context.Context, entries []fact.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		s.audit.add(entries[i])
	}
	return nil
}

// ListAudit lists a tenant's entries, newest first; tenant "" = those whose tenant is unknown.
func (s *Store) ListAudit(
	_ context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page,
) (fact.List[fact.AuditEntry], error) {
	if tenant == fleet.NilTenant {
		tenant = ""
	}
	s.mu.Lock()
	var found []fact.AuditEntry
	for _, e := range s.audit {
		if e.Tenant == tenant && matches(&e, &f) {
			found = append(found, e)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b fact.AuditEntry) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
	if p.Cursor != "" {
		i := slices.IndexFunc(found, func(e fact.AuditEntry) bool { return auditCursor(&e) == p.Cursor })
		if i < 0 {
			return fact.List[fact.AuditEntry]{}, fmt.Errorf("list the audit log: %w", fact.ErrBadCursor)
		}
		found = found[i+1:]
	}
	l := fact.List[fact.AuditEntry]{Items: found}
	if n := max(1, p.Limit); len(found) > n {
		l.Items, l.Next = found[:n], auditCursor(&found[n-1])
	}
	return l, nil
}

func auditCursor(e *fact.AuditEntry) string { return e.At.Format(time.RFC3339Nano) + " " + e.ID }

func matches(e *fact.AuditEntry, f *fact.AuditFilter) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return !e.At.Before(f.From) && (f.To.IsZero() || e.At.Before(f.To)) &&
		(is(f.Actor, e.Subject) || len(f.Actor) == len(fleet.NilTenant) && strings.EqualFold(f.Actor, string(e.User))) &&
		(is(f.Action, e.Action) || strings.HasPrefix(e.Action, f.Action+".")) &&
		is(f.ResourceType, e.ResourceType) && is(f.ResourceID, e.ResourceID) && is(f.RequestID, e.RequestID)
}
