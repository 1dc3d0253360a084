package rest

import (
	"context"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// Alerts are the alerts of this house: those that are stored, and the actors that people's commands go to. Errors wrap
// those of package fact.
type Alerts interface {
	// ListAlerts lists the newest first, without their handling.
	ListAlerts(ctx context.Context, tenant fleet.TenantID, f fact.AlertFilter, p fact.Page) (fact.List[fact.Alert], error)
	// GetAlert returns an alert with its handling.
	GetAlert(ctx context.Context, tenant fleet.TenantID, id alert.ID) (fact.Alert, error)
	// HandleAlert records what somebody does about an alert and returns the alert after it; a *fact.ConflictError (Key
	// "state") where its state forbids it.
	HandleAlert(ctx context.Context, shard fleet.Shard, id alert.ID, c alert.Command, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency) (alert.View, error)
	// ReportMissedAlert records an alert that a person says was missing, as resolved and marked so.
	ReportMissedAlert(ctx context.Context, shard fleet.Shard, m alert.MissReported, idem *fact.Idempotency) (alert.View, error)
}

// Hooks are the webhooks of tenants and what was sent to them. Errors wrap those of package fact.
type Hooks interface {
	// HookStates says how a tenant's webhooks do; those that nothing has been sent to yet may be absent.
	HookStates(ctx context.Context, tenant fleet.TenantID) ([]fact.HookState, error)
	// EnableHook lets a disabled webhook have messages again, from now on.
	EnableHook(ctx context.Context, tenant fleet.TenantID, hook string) error
	// TestHook has a message sent that says that it is a test.
	TestHook(ctx context.Context, tenant fleet.TenantID, hook string) (fact.Delivery, error)
	// ListDeliveries lists the newest first, without their bodies.
	ListDeliveries(ctx context.Context, tenant fleet.TenantID, f fact.DeliveryFilter, p fact.Page) (fact.List[fact.Delivery], error)
	GetDelivery(ctx context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error)
	// RetryDelivery has one sent again that was given up; a *fact.ConflictError (Key "state") where it is not.
	RetryDelivery(ctx context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error)
}
