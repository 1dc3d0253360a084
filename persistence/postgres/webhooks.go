package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// HooksRepo keeps what was sent to tenants' webhooks, and how these do.
type HooksRepo struct{ s *Store }

const (
	// hookOverlap is how long after it has happened a step may be committed and still be told.
	hookOverlap = 10 * time.Minute
	// hookFailures in a row disable a webhook.
	hookFailures = 20
	// maxCause bounds what is kept of why a try failed, in bytes.
	maxCause = 500
)

// HookedTenants lists tenants whose settings name webhooks; for the platform.
func (r *HooksRepo) HookedTenants(ctx context.Context, limit int) (out []fleet.TenantID, err error) {
	err = r.s.asPlatform(ctx, reading, func(q *gen.Queries) error {
		ids, err := q.HookedTenants(ctx, int32(limit))
		out = out[:0]
		for _, id := range ids {
			out = append(out, fleet.TenantID(id))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants with webhooks: %w", err)
	}
	return out, nil
}

// NoteHooks remembers a tenant's webhooks: a new one, or one whose URL has changed, is told of what happens from now on.
func (r *HooksRepo) NoteHooks(ctx context.Context, tenant fleet.TenantID, hooks []fact.Webhook) error {
	err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		for i := range hooks {
			sum := sha256.Sum256([]byte(hooks[i].URL))
			if err := q.NoteHook(ctx, gen.NoteHookParams{TenantID: string(tenant), Hook: hooks[i].Name, Fingerprint: sum[:]}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note webhooks: %w", err)
	}
	return nil
}

// HookStates says how a tenant's webhooks do, by name.
func (r *HooksRepo) HookStates(ctx context.Context, tenant fleet.TenantID) (out []fact.HookState, err error) {
	if err := known(tenant); err != nil {
		return nil, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.HookStates(ctx, string(tenant))
		out = make([]fact.HookState, len(rows))
		for i := range rows {
			x := &rows[i]
			out[i] = fact.HookState{Hook: x.Hook, Since: x.Since.UTC(), Failures: int(x.Failures), DisabledAt: instant(x.DisabledAt), LastSentAt: instant(x.LastSentAt)}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read how webhooks do: %w", err)
	}
	return out, nil
}

// EnableHook lets a disabled webhook have messages again, from now on.
func (r *HooksRepo) EnableHook(ctx context.Context, tenant fleet.TenantID, hook string) error {
	err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		return q.EnableHook(ctx, gen.EnableHookParams{TenantID: string(tenant), Hook: hook})
	})
	if err != nil {
		return fmt.Errorf("enable webhook %s: %w", hook, err)
	}
	return nil
}

// UntoldSteps lists steps of alerts that a webhook wants and has no delivery of, the oldest first.
func (r *HooksRepo) UntoldSteps(ctx context.Context, tenant fleet.TenantID, w fact.Webhook, limit int) (out []fact.Untold, err error) {
	var jams []bool
	for _, t := range w.Topics {
		jams = append(jams, t == fact.TopicCongestion)
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.UntoldSteps(ctx, gen.UntoldStepsParams{
			OverlapSeconds: hookOverlap.Seconds(), TenantID: string(tenant), Hook: w.Name, MinLevel: int16(w.MinLevel), Jams: jams, PageSize: int32(limit),
		})
		out = make([]fact.Untold, len(rows))
		for i, x := range rows {
			out[i] = fact.Untold{Handling: x.HandlingID, Alert: x.AlertID, Seq: x.Seq}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list what webhook %s has not been told: %w", w.Name, err)
	}
	return out, nil
}

// HookLooked says that all steps from before a time have their deliveries, but for those committed later than they happened.
func (r *HooksRepo) HookLooked(ctx context.Context, tenant fleet.TenantID, hook string, at time.Time) error {
	err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		return q.HookLooked(ctx, gen.HookLookedParams{LookedAt: at, TenantID: string(tenant), Hook: hook})
	})
	if err != nil {
		return fmt.Errorf("note the look of webhook %s: %w", hook, err)
	}
	return nil
}

// AddDelivery keeps a message that is to be sent; handling is the step that it tells of, "" = none. One that there is
// already is kept once.
func (r *HooksRepo) AddDelivery(ctx context.Context, d *fact.Delivery, handling string) (made bool, err error) {
	err = r.s.inTenant(ctx, writing, d.Tenant, func(q *gen.Queries) error {
		n, err := q.AddDelivery(ctx, gen.AddDeliveryParams{
			TenantID: string(d.Tenant), DeliveryID: d.ID, Hook: d.Hook, HandlingID: optional(handling), AlertID: optional(d.Alert), Event: d.Event, Body: d.Body,
		})
		made = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("keep a delivery of webhook %s: %w", d.Hook, err)
	}
	return made, nil
}

// DueDeliveries lists pending deliveries of a tenant that are due, the longest due first: id and webhook alone.
func (r *HooksRepo) DueDeliveries(ctx context.Context, tenant fleet.TenantID, limit int) (out []fact.Delivery, err error) {
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.DueDeliveries(ctx, gen.DueDeliveriesParams{TenantID: string(tenant), PageSize: int32(limit)})
		out = make([]fact.Delivery, len(rows))
		for i, x := range rows {
			out[i] = fact.Delivery{Tenant: tenant, ID: x.DeliveryID, Hook: x.Hook, State: fact.DeliveryPending}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries that are due: %w", err)
	}
	return out, nil
}

// GetDelivery returns a delivery with its body; fact.ErrNotFound where there is none.
func (r *HooksRepo) GetDelivery(ctx context.Context, tenant fleet.TenantID, id string) (d fact.Delivery, err error) {
	if err := known(string(tenant), id); err != nil {
		return d, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		d, err = delivery(ctx, q, tenant, id)
		return err
	})
	return d, err
}

func delivery(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, id string) (fact.Delivery, error) {
	x, err := q.GetDelivery(ctx, gen.GetDeliveryParams{TenantID: string(tenant), DeliveryID: id})
	if err != nil {
		return fact.Delivery{}, err
	}
	d, err := deliveryOf(&gen.ListDeliveriesRow{
		TenantID: x.TenantID, DeliveryID: x.DeliveryID, Hook: x.Hook, HandlingID: x.HandlingID, AlertID: x.AlertID, Event: x.Event, State: x.State,
		Attempts: x.Attempts, NextAt: x.NextAt, Status: x.Status, Cause: x.Cause, CreatedAt: x.CreatedAt, DoneAt: x.DoneAt,
	})
	d.Body = x.Body
	return d, err
}

func deliveryOf(x *gen.ListDeliveriesRow) (fact.Delivery, error) {
	d := fact.Delivery{
		Tenant: fleet.TenantID(x.TenantID), ID: x.DeliveryID, Hook: x.Hook, Alert: given[string](x.AlertID), Event: x.Event, State: fact.DeliveryState(x.State),
		Attempts: int(x.Attempts), Status: int(x.Status), Cause: x.Cause, CreatedAt: x.CreatedAt.UTC(), DoneAt: instant(x.DoneAt),
	}
	if d.State == fact.DeliveryPending {
		d.Next = x.NextAt.UTC()
	}
	return d, nil
}

// ListDeliveries lists deliveries, the newest first, without their bodies.
func (r *HooksRepo) ListDeliveries(ctx context.Context, tenant fleet.TenantID, f fact.DeliveryFilter, p fact.Page) (l fact.List[fact.Delivery], err error) {
	c, err := from(p, "deliveries", newest())
	if err != nil || !isUUID(string(tenant)) {
		return fact.List[fact.Delivery]{Items: []fact.Delivery{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListDeliveries(ctx, gen.ListDeliveriesParams{TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, Hook: f.Hook, State: string(f.State), PageSize: size(p)})
		if err != nil {
			return err
		}
		l, err = page(p, rows, deliveryOf, func(x *gen.ListDeliveriesRow) cursor { return cursor{At: x.CreatedAt, ID: x.DeliveryID} }, "deliveries")
		return err
	})
	if err != nil {
		return fact.List[fact.Delivery]{}, fmt.Errorf("list deliveries: %w", err)
	}
	return l, nil
}

// Tried records what a try has brought. A webhook whose deliveries fail again and again, or that wants no more, is disabled.
func (r *HooksRepo) Tried(ctx context.Context, tenant fleet.TenantID, t fact.Tried) error {
	err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		n, err := q.TriedDelivery(ctx, gen.TriedDeliveryParams{
			State: string(t.State), Status: int32(t.Status), Cause: cutCause(t.Cause), AgainSeconds: t.Again.Seconds(), TenantID: string(tenant), DeliveryID: t.Delivery,
		})
		switch {
		case err != nil || n == 0:
			return err
		case t.State == fact.DeliverySent:
			return q.HookServed(ctx, gen.HookServedParams{TenantID: string(tenant), Hook: t.Hook})
		case t.State == fact.DeliveryDead:
			return q.HookFailed(ctx, gen.HookFailedParams{Gone: t.Gone, Most: hookFailures, TenantID: string(tenant), Hook: t.Hook})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record a try of delivery %s: %w", t.Delivery, err)
	}
	return nil
}

// cutCause bounds a cause, at the border of a character: the store takes no half ones, and no zero bytes.
func cutCause(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), maxCause)], ""), "\x00", "")
}

// DropDelivery ends a pending delivery that nobody is to have any more.
func (r *HooksRepo) DropDelivery(ctx context.Context, tenant fleet.TenantID, id, cause string) error {
	err := r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		return q.DropDelivery(ctx, gen.DropDeliveryParams{Cause: cause, TenantID: string(tenant), DeliveryID: id})
	})
	if err != nil {
		return fmt.Errorf("drop delivery %s: %w", id, err)
	}
	return nil
}

// RetryDelivery makes a delivery pending again that was given up or dropped. Errors: fact.ErrNotFound; a *fact.ConflictError
// (Key "state") where it is pending or was sent.
func (r *HooksRepo) RetryDelivery(ctx context.Context, tenant fleet.TenantID, id string) (d fact.Delivery, err error) {
	if err := known(string(tenant), id); err != nil {
		return d, err
	}
	err = r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		n, err := q.RetryDelivery(ctx, gen.RetryDeliveryParams{TenantID: string(tenant), DeliveryID: id})
		if err != nil {
			return err
		}
		if d, err = delivery(ctx, q, tenant, id); err == nil && n == 0 {
			err = &fact.ConflictError{Key: "state", Existing: id}
		}
		return err
	})
	return d, err
}

// ForgetDeliveries removes deliveries of a tenant that are older and done, at most so many; returns how many went.
func (r *HooksRepo) ForgetDeliveries(ctx context.Context, tenant fleet.TenantID, older time.Duration, limit int) (n int64, err error) {
	err = r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) (err error) {
		n, err = q.ForgetDeliveries(ctx, gen.ForgetDeliveriesParams{TenantID: string(tenant), OlderSeconds: older.Seconds(), PageSize: int32(limit)})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget old deliveries: %w", err)
	}
	return n, nil
}
