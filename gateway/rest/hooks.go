package rest

import (
	"context"
	"net/http"
	"slices"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

type hookBody struct {
	Name       string   `json:"name"`
	URL        string   `json:"url"`
	MinLevel   string   `json:"min_level" enum:"L1,L2,L3"`
	Topics     []string `json:"topics"`
	Off        bool     `json:"off"`
	Since      *string  `json:"since" format:"date-time" doc:"since when it is told; null = not yet"`
	Failures   int      `json:"failures" doc:"messages in a row that were given up"`
	DisabledAt *string  `json:"disabled_at" format:"date-time" doc:"too many failures, or the receiver has answered 410; null = it is not"`
	LastSentAt *string  `json:"last_sent_at" format:"date-time"`
}

type deliveryBody struct {
	DeliveryID string  `json:"delivery_id" format:"uuid" doc:"the webhook-id header of the message, the same at every try"`
	Hook       string  `json:"hook"`
	AlertID    *string `json:"alert_id" format:"uuid" doc:"null of a test"`
	Event      string  `json:"event" doc:"alert.open, alert.acknowledge, …, test"`
	State      string  `json:"state" enum:"pending,sent,dead,dropped"`
	Attempts   int     `json:"attempts"`
	NextAt     *string `json:"next_at" format:"date-time" doc:"when a pending one is due"`
	StatusCode *int    `json:"status_code" doc:"of the last answer, null = there was none"`
	Cause      *string `json:"cause" doc:"why the last try failed"`
	CreatedAt  string  `json:"created_at" format:"date-time"`
	DoneAt     *string `json:"done_at" format:"date-time"`
	Body       object  `json:"body" doc:"the message; empty in lists"`
}

func deliveryOf(d *fact.Delivery) deliveryBody {
	b := deliveryBody{
		DeliveryID: d.ID, Hook: d.Hook, AlertID: text(d.Alert), Event: d.Event, State: string(d.State), Attempts: d.Attempts, NextAt: tsp(d.Next),
		Cause: text(d.Cause), CreatedAt: ts(d.CreatedAt), DoneAt: tsp(d.DoneAt), Body: object("{}"),
	}
	if d.Status != 0 {
		b.StatusCode = &d.Status
	}
	if len(d.Body) > 0 {
		b.Body = object(d.Body)
	}
	return b
}

type deliveryOut struct{ Body deliveryBody }

func answerDelivery(d fact.Delivery, err error) (*deliveryOut, error) {
	if err != nil {
		return nil, err
	}
	return &deliveryOut{deliveryOf(&d)}, nil
}

func (a *api) hooks() {
	type all struct {
		Body struct {
			Items []hookBody `json:"items"`
			Next  *string    `json:"next_cursor" doc:"null: there are few"`
		}
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/webhooks", id: "list-webhooks", summary: "The webhooks of the settings, and how they do", tag: "webhooks"},
		func(ctx context.Context, who *auth.Identity, _ *struct{}) (*all, error) {
			states, err := a.Hooks.HookStates(ctx, who.Tenant)
			if err != nil {
				return nil, err
			}
			out := &all{}
			out.Body.Items = []hookBody{}
			for _, w := range a.hooksOf(ctx, who.Tenant) {
				out.Body.Items = append(out.Body.Items, hookOf(&w, states))
			}
			return out, nil
		})
	type named struct {
		Name string `path:"name" maxLength:"32" pattern:"^[a-z0-9-]+$"`
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/webhooks/{name}/test", id: "test-webhook", summary: "Send a message that says that it is a test", tag: "webhooks", status: http.StatusAccepted},
		func(ctx context.Context, who *auth.Identity, in *named) (*deliveryOut, error) {
			if !a.hasHook(ctx, who.Tenant, in.Name) {
				return nil, fact.ErrNotFound
			}
			return answerDelivery(a.Hooks.TestHook(ctx, who.Tenant, in.Name))
		})
	type one struct{ Body hookBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/webhooks/{name}/enable", id: "enable-webhook", summary: "Let a disabled one have messages again, from now on", tag: "webhooks"},
		func(ctx context.Context, who *auth.Identity, in *named) (*one, error) {
			hooks := a.hooksOf(ctx, who.Tenant)
			i := slices.IndexFunc(hooks, func(w fact.Webhook) bool { return w.Name == in.Name })
			if i < 0 {
				return nil, fact.ErrNotFound
			}
			if err := a.Hooks.EnableHook(ctx, who.Tenant, in.Name); err != nil {
				return nil, err
			}
			states, err := a.Hooks.HookStates(ctx, who.Tenant)
			return &one{hookOf(&hooks[i], states)}, err
		})
	a.deliveries()
}

func (a *api) deliveries() {
	type query struct {
		Paged
		Hook  string `query:"hook" maxLength:"32" pattern:"^[a-z0-9-]*$"`
		State string `query:"state" enum:"pending,sent,dead,dropped"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/webhooks/deliveries", id: "list-deliveries", summary: "What was sent to webhooks, the newest first", tag: "webhooks"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[deliveryBody], error) {
			l, err := a.Hooks.ListDeliveries(ctx, who.Tenant, fact.DeliveryFilter{Hook: in.Hook, State: fact.DeliveryState(in.State)}, in.page())
			return listOf(l, deliveryOf), err
		})
	type one struct {
		ID string `path:"delivery_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/webhooks/deliveries/{delivery_id}", id: "get-delivery", summary: "One of them, with its body", tag: "webhooks"},
		func(ctx context.Context, who *auth.Identity, in *one) (*deliveryOut, error) {
			return answerDelivery(a.Hooks.GetDelivery(ctx, who.Tenant, in.ID))
		})
	add(a, op{method: http.MethodPost, path: "/api/v1/webhooks/deliveries/{delivery_id}/retry", id: "retry-delivery", summary: "Send one again that was given up", tag: "webhooks", status: http.StatusAccepted},
		func(ctx context.Context, who *auth.Identity, in *one) (*deliveryOut, error) {
			return answerDelivery(a.Hooks.RetryDelivery(ctx, who.Tenant, in.ID))
		})
}

// hooksOf are a tenant's webhooks.
func (a *api) hooksOf(ctx context.Context, tenant fleet.TenantID) []fact.Webhook {
	if a.Quotas == nil {
		return nil
	}
	s := a.Quotas.Settings(ctx, tenant)
	return s.Webhooks()
}

func (a *api) hasHook(ctx context.Context, tenant fleet.TenantID, name string) bool {
	return slices.ContainsFunc(a.hooksOf(ctx, tenant), func(w fact.Webhook) bool { return w.Name == name })
}

func hookOf(w *fact.Webhook, states []fact.HookState) hookBody {
	b := hookBody{Name: w.Name, URL: w.URL, MinLevel: alert.Level(w.MinLevel).String(), Topics: []string{}, Off: w.Off}
	for _, t := range w.Topics {
		b.Topics = append(b.Topics, string(t))
	}
	for i := range states {
		if s := &states[i]; s.Hook == w.Name {
			b.Since, b.Failures, b.DisabledAt, b.LastSentAt = tsp(s.Since), s.Failures, tsp(s.DisabledAt), tsp(s.LastSentAt)
		}
	}
	return b
}
