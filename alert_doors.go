package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/google/uuid"

	"starling/actors"
	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/rest"
	"starling/persistence/jobs"
	"starling/persistence/postgres"
	"starling/persistence/webhook"
)

// alertDoors are the alerts as the HTTP door wants them: rows of the store, and the actors that commands go to. The door
// asks the actors only in a process that has them.
type alertDoors struct {
	*postgres.AlertsRepo
	*actors.System
}

// maxOpenAlerts bounds the unresolved alerts that the live channel begins with.
const maxOpenAlerts = 10_000

// openAlerts reads the unresolved alerts of a warehouse, "" = of all of the tenant's.
func (a *app) openAlerts(ctx context.Context, tenant fleet.TenantID, w fleet.WarehouseID) (all []fact.Alert, err error) {
	p := fact.Page{Limit: 500}
	for len(all) < maxOpenAlerts {
		l, err := a.store.Alerts.ListAlerts(ctx, tenant, fact.AlertFilter{Warehouse: w, Open: true}, p)
		if err != nil {
			return nil, err
		}
		all = append(all, l.Items...)
		if p.Cursor = l.Next; l.Next == "" {
			break
		}
	}
	return all, nil
}

// hookDoors are the webhooks as the HTTP door wants them: what is asked for is done soon.
type hookDoors struct {
	*postgres.HooksRepo
	app *app
}

// TestHook implements rest.Hooks.
func (h hookDoors) TestHook(ctx context.Context, tenant fleet.TenantID, hook string) (fact.Delivery, error) {
	d := fact.Delivery{Tenant: tenant, ID: uuid.NewString(), Hook: hook, Event: "test", CreatedAt: time.Now(), State: fact.DeliveryPending}
	var err error
	if d.Body, err = json.Marshal(hookMessage{ID: d.ID, Type: "test", Event: "test", CreatedAt: stampOf(d.CreatedAt), TenantID: string(tenant)}); err != nil {
		return d, err
	}
	if _, err := h.AddDelivery(ctx, &d, ""); err != nil {
		return d, err
	}
	h.app.hooks.wake(tenant)
	return h.GetDelivery(ctx, tenant, d.ID)
}

// RetryDelivery implements rest.Hooks.
func (h hookDoors) RetryDelivery(ctx context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error) {
	d, err := h.HooksRepo.RetryDelivery(ctx, tenant, id)
	if err == nil {
		h.app.hooks.wake(tenant)
	}
	return d, err
}

// hookMessage is what webhooks are sent.
type hookMessage struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Event     string `json:"event"`
	CreatedAt string `json:"created_at"`
	TenantID  string `json:"tenant_id"`
	Alert     any    `json:"alert,omitempty"`
}

func stampOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// hookBody is the message of a step: the alert as it is when the message is made, with that step alone in its handling.
func hookBody(d *fact.Delivery, a *fact.Alert, step *alert.Handling) ([]byte, error) {
	v := a.View
	v.Handling = []alert.Handling{*step}
	m := hookMessage{ID: d.ID, Type: string(topicOf(v.Subject)), Event: string(step.Action), CreatedAt: stampOf(d.CreatedAt), TenantID: string(d.Tenant), Alert: rest.AlertBody(a.Shard.Warehouse, &v)}
	return json.Marshal(m)
}

func topicOf(s alert.Subject) fact.Topic {
	if s.Type == alert.SubjectZone || s.Type == alert.SubjectLane {
		return fact.TopicCongestion
	}
	return fact.TopicAlert
}

// hookParts are what this process has of webhooks.
type hookParts struct {
	sender *webhook.Sender // workers alone
	woken  chan fleet.TenantID
	ctx    context.Context //nolint:containedctx // ends with stopHooks
	end    context.CancelFunc
	done   sync.WaitGroup
}

// hookRows are the rows that jobs of webhooks need.
type hookRows struct {
	*postgres.HooksRepo
	*postgres.AlertsRepo
}

// hookKinds are the jobs of webhooks, of workers.
func (a *app) hookKinds() ([]jobs.Kind, func(*jobs.Runner)) {
	a.hooks.sender = webhook.New(webhook.Options{Networks: a.Config.WebhookNetworks, Version: buildVersion()})
	return jobs.HookKinds(jobs.HookOptions{
		Of: a.hooksOf, Hopeless: webhook.ErrAddress, Gone: webhook.ErrGone, Render: hookBody, Log: a.Log,
		Send: func(ctx context.Context, w *fact.Webhook, d *fact.Delivery) (int, error) {
			return a.hooks.sender.Send(ctx, w.URL, w.Key(), d.ID, d.Body)
		},
	}, hookRows{a.store.Hooks, a.store.Alerts})
}

func (a *app) hooksOf(ctx context.Context, tenant fleet.TenantID) []fact.Webhook {
	s := a.quotas.Settings(ctx, tenant)
	return s.Webhooks()
}

// maxWoken bounds the tenants whose webhooks are to be looked at; what is beyond it the schedule finds.
const maxWoken = 256

// startHooks begins to tell jobs of tenants whose alerts have changed.
func (a *app) startHooks() {
	h := &a.hooks
	h.woken = make(chan fleet.TenantID, maxWoken)
	h.ctx, h.end = context.WithCancel(context.Background())
	h.done.Go(func() { // ends with stopHooks
		for {
			select {
			case <-h.ctx.Done():
				return
			case tenant := <-h.woken:
				a.lookAtHooks(h.ctx, tenant)
			}
		}
	})
}

func (a *app) lookAtHooks(ctx context.Context, tenant fleet.TenantID) {
	runner := a.wakes.Load()
	if runner == nil || len(a.hooksOf(ctx, tenant)) == 0 {
		return
	}
	_, _ = runner.Add(ctx, jobs.Job{Kind: jobs.KindHooks, Tenant: tenant, Key: string(tenant)}) // where it cannot be made, the schedule finds the same
}

// wake has a tenant's webhooks looked at soon. It does not block.
func (h *hookParts) wake(tenant fleet.TenantID) {
	select {
	case h.woken <- tenant:
	default: // the schedule finds it
	}
}

func (a *app) stopHooks() {
	if a.hooks.end == nil {
		return
	}
	a.hooks.end()
	a.hooks.done.Wait()
	if a.hooks.sender != nil {
		a.hooks.sender.Close()
	}
}

// hookedViews has webhooks looked at when an alert has changed.
type hookedViews struct {
	actors.Views
	hooks *hookParts
}

// AlertChanged implements actors.Views.
func (v hookedViews) AlertChanged(shard fleet.Shard, e *alert.Event, to *alert.View) {
	v.Views.AlertChanged(shard, e, to)
	if e != nil {
		v.hooks.wake(shard.Tenant)
	}
}

var (
	_ rest.Alerts   = alertDoors{}
	_ rest.Hooks    = hookDoors{}
	_ jobs.HookRows = hookRows{}
	_ actors.Views  = hookedViews{}
)
