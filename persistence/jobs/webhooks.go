package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// HookRows keep what is to be sent to webhooks and what was. (persistence/postgres.)
type HookRows interface {
	HookedTenants(ctx context.Context, limit int) ([]fleet.TenantID, error)
	NoteHooks(ctx context.Context, tenant fleet.TenantID, hooks []fact.Webhook) error
	HookStates(ctx context.Context, tenant fleet.TenantID) ([]fact.HookState, error)
	UntoldSteps(ctx context.Context, tenant fleet.TenantID, w fact.Webhook, limit int) ([]fact.Untold, error)
	HookLooked(ctx context.Context, tenant fleet.TenantID, hook string, at time.Time) error
	AddDelivery(ctx context.Context, d *fact.Delivery, handling string) (made bool, err error)
	DueDeliveries(ctx context.Context, tenant fleet.TenantID, limit int) ([]fact.Delivery, error)
	GetDelivery(ctx context.Context, tenant fleet.TenantID, id string) (fact.Delivery, error)
	Tried(ctx context.Context, tenant fleet.TenantID, t fact.Tried) error
	DropDelivery(ctx context.Context, tenant fleet.TenantID, id, cause string) error
	ForgetDeliveries(ctx context.Context, tenant fleet.TenantID, older time.Duration, limit int) (int64, error)
	GetAlert(ctx context.Context, tenant fleet.TenantID, id alert.ID) (fact.Alert, error)
}

// HookOptions say how webhooks are served. The zero value of a field is its stated default.
type HookOptions struct {
	// Of are a tenant's webhooks as its settings say.
	Of func(ctx context.Context, tenant fleet.TenantID) []fact.Webhook
	// Send sends a message and returns the status of the answer; an error that says no later try will do better is Hopeless,
	// one that says that the receiver wants no more is Gone.
	Send           func(ctx context.Context, w *fact.Webhook, d *fact.Delivery) (status int, err error)
	Hopeless, Gone error
	// Render makes the message of a step of an alert.
	Render func(d *fact.Delivery, a *fact.Alert, step *alert.Handling) ([]byte, error)
	Every  time.Duration // between two looks for what nobody was woken for; 0 = 10 s
	Tries  int           // before a message is given up; 0 = 12, which take about half an hour
	Keep   time.Duration // deliveries that are done; 0 = 14 days
	Log    *slog.Logger
}

// The jobs of webhooks.
const (
	// KindHooks looks for what a tenant's webhooks are to be told, or all tenants'.
	KindHooks   = "webhooks.find"
	kindDeliver = "webhook.deliver"
)

const (
	hookTenants = 10_000
	hookPage    = 100 // steps, or deliveries, of a tenant at a time
	hookPages   = 10
	hookForget  = 500
	hookSlack   = 30 * time.Second // for which Redis alone has a delivery that is to be tried again
	hookSends   = 3                // messages under way of this process, one of a receiver
)

// errBusy says that a job found no place: it comes again soon, and that is no failure.
var errBusy = errors.New("too many messages are under way")

type hooks struct {
	HookOptions
	rows  HookRows
	r     *Runner
	slots chan struct{}

	mu      sync.Mutex
	sending map[string]bool // receivers
}

// HookKinds are the jobs that tell webhooks of what happens to alerts: at least once each, the same id at every try. What is
// to be sent stands in Postgres, so that Redis may lose its jobs. The runner is attached once it is open.
func HookKinds(o HookOptions, rows HookRows) (kinds []Kind, attach func(*Runner)) {
	o.Every, o.Tries, o.Keep = cmp.Or(o.Every, 10*time.Second), cmp.Or(o.Tries, 12), cmp.Or(o.Keep, 14*24*time.Hour)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &hooks{HookOptions: o, rows: rows, slots: make(chan struct{}, hookSends), sending: map[string]bool{}}
	return []Kind{
		{Name: KindHooks, Queue: Housekeeping, Every: o.Every, Timeout: 30 * time.Second, Tries: 3, Do: h.find},
		{Name: kindDeliver, Queue: Housekeeping, Timeout: 15 * time.Second, Tries: 2 * o.Tries, Do: h.deliver},
	}, func(r *Runner) { h.r = r }
}

// HookLooks is the kind of look at webhooks for a process that asks for them and does none.
func HookLooks() Kind {
	return Kind{Name: KindHooks, Queue: Housekeeping, Timeout: 30 * time.Second, Tries: 3, Do: func(context.Context, Job) error { return ErrElsewhere }}
}

// find makes deliveries of what was recorded, and hands on those that are due.
func (h *hooks) find(ctx context.Context, j Job) error {
	tenants := []fleet.TenantID{j.Tenant}
	if j.Tenant == "" {
		var err error
		if tenants, err = h.rows.HookedTenants(ctx, hookTenants); err != nil {
			return err
		}
	}
	var m misses
	for _, t := range tenants {
		if err := h.findOf(ctx, t); err != nil {
			m.add(fmt.Errorf("webhooks of tenant %s: %w", t, err))
			if m.stops(ctx, err) {
				break
			}
		}
	}
	return m.err()
}

func (h *hooks) findOf(ctx context.Context, tenant fleet.TenantID) error {
	all := h.Of(ctx, tenant)
	if err := h.rows.NoteHooks(ctx, tenant, all); err != nil {
		return err
	}
	var m misses
	alerts := map[alert.ID]*fact.Alert{}
	for i := range all {
		if w := &all[i]; !w.Off {
			if err := h.plan(ctx, tenant, w, alerts); err != nil {
				m.add(err)
			}
		}
	}
	due, err := h.rows.DueDeliveries(ctx, tenant, hookPage)
	if err != nil {
		m.add(err)
	}
	for i := range due {
		if err := h.hand(ctx, &due[i]); err != nil && !errors.Is(err, errBusy) {
			m.add(err)
			if m.stops(ctx, err) {
				break
			}
		}
	}
	if _, err := h.rows.ForgetDeliveries(ctx, tenant, h.Keep, hookForget); err != nil {
		m.add(err)
	}
	return m.err()
}

// plan makes the deliveries of one webhook.
func (h *hooks) plan(ctx context.Context, tenant fleet.TenantID, w *fact.Webhook, alerts map[alert.ID]*fact.Alert) error {
	began := h.r.o.Now()
	for range hookPages {
		list, err := h.rows.UntoldSteps(ctx, tenant, *w, hookPage)
		if err != nil {
			return err
		}
		for _, x := range list {
			a := alerts[alert.ID(x.Alert)]
			if a == nil || a.Version < x.Seq {
				found, err := h.rows.GetAlert(ctx, tenant, alert.ID(x.Alert))
				if err != nil {
					return err
				}
				a = &found
				alerts[found.ID] = a
			}
			switch err := h.keep(ctx, tenant, w, a, x); {
			case errors.Is(err, errUntellable): // the others are to be told all the same
				h.r.metrics.found.WithLabelValues(KindHooks, "untellable").Inc()
				h.Log.LogAttrs(ctx, slog.LevelWarn, "a step of an alert is not told", slog.String("event", "webhook.untellable"), slog.String("tenant_id", string(tenant)),
					slog.String("webhook", w.Name), slog.Any("error", err))
			case err != nil:
				return err
			}
		}
		if len(list) < hookPage {
			return h.rows.HookLooked(ctx, tenant, w.Name, began)
		}
	}
	return nil // the next look goes on
}

// errUntellable says that no message can be made of a step, now or later.
var errUntellable = errors.New("no message can be made of it")

func (h *hooks) keep(ctx context.Context, tenant fleet.TenantID, w *fact.Webhook, a *fact.Alert, x fact.Untold) error {
	i := slices.IndexFunc(a.Handling, func(s alert.Handling) bool { return s.Seq == x.Seq })
	if i < 0 {
		return fmt.Errorf("step %d of alert %s is not in its handling: %w", x.Seq, x.Alert, errUntellable)
	}
	step := &a.Handling[i]
	d := &fact.Delivery{Tenant: tenant, ID: uuid.NewString(), Hook: w.Name, Alert: x.Alert, Event: "alert." + string(step.Action), CreatedAt: h.r.o.Now()}
	var err error
	if d.Body, err = h.Render(d, a, step); err != nil {
		return fmt.Errorf("render a step of alert %s: %w: %w", x.Alert, errUntellable, err)
	}
	_, err = h.rows.AddDelivery(ctx, d, x.Handling)
	return err
}

// hand passes a delivery on: by Redis, and where there is none, or it is away, it is made here.
func (h *hooks) hand(ctx context.Context, d *fact.Delivery) error {
	j := Job{Kind: kindDeliver, Tenant: d.Tenant, Key: d.ID, Trace: traceOf(ctx)}
	_, err := h.r.Add(ctx, j)
	if err == nil || errors.Is(err, ErrFull) {
		return err
	}
	k := h.r.kinds[kindDeliver]
	_ = h.r.do(ctx, &k, j) // logged, counted and recorded: it is due again later
	return ctx.Err()
}

// deliver makes one try.
func (h *hooks) deliver(ctx context.Context, j Job) error {
	d, err := h.rows.GetDelivery(ctx, j.Tenant, j.Key)
	if err != nil || d.State != fact.DeliveryPending {
		return skipMissing(err)
	}
	w, why, err := h.receiver(ctx, &d)
	if err != nil {
		return err
	}
	if w == nil {
		return h.rows.DropDelivery(ctx, d.Tenant, d.ID, why)
	}
	leave, ok := h.enter(string(d.Tenant) + "/" + d.Hook)
	if !ok {
		return errBusy
	}
	defer leave()
	status, err := h.Send(ctx, w, &d)
	if err == nil {
		h.r.metrics.found.WithLabelValues(kindDeliver, "sent").Inc()
		return h.rows.Tried(ctx, d.Tenant, fact.Tried{Delivery: d.ID, Hook: d.Hook, State: fact.DeliverySent, Status: status})
	}
	if ctx.Err() != nil && h.r.ctx.Err() != nil { // we are stopping: it was not the receiver's fault
		return err
	}
	// What became of it must be on record although the time for the job is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	t := fact.Tried{Delivery: d.ID, Hook: d.Hook, State: fact.DeliveryPending, Status: status, Cause: err.Error(), Gone: errors.Is(err, h.Gone), Again: backOff(d.Attempts)}
	if h.r.inspect != nil {
		t.Again += hookSlack
	}
	if d.Attempts+1 < h.Tries && !t.Gone && !errors.Is(err, h.Hopeless) {
		h.r.metrics.found.WithLabelValues(kindDeliver, "failed").Inc()
		return errors.Join(err, h.rows.Tried(ctx, d.Tenant, t))
	}
	t.State = fact.DeliveryDead
	h.r.metrics.found.WithLabelValues(kindDeliver, "dead").Inc()
	h.Log.LogAttrs(ctx, slog.LevelWarn, "message to a webhook given up", slog.String("event", "webhook.dead"), slog.String("tenant_id", string(d.Tenant)),
		slog.String("webhook", d.Hook), slog.String("delivery_id", d.ID), slog.Int("attempts", d.Attempts+1), slog.Any("error", err))
	return h.rows.Tried(ctx, d.Tenant, t)
}

// receiver finds the webhook that a delivery is for; nil where it is to have no messages, and why.
func (h *hooks) receiver(ctx context.Context, d *fact.Delivery) (w *fact.Webhook, why string, err error) {
	all := h.Of(ctx, d.Tenant)
	i := slices.IndexFunc(all, func(w fact.Webhook) bool { return w.Name == d.Hook })
	switch {
	case i < 0:
		return nil, "the webhook is gone", nil
	case all[i].Off:
		return nil, "the webhook is off", nil
	}
	states, err := h.rows.HookStates(ctx, d.Tenant)
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(states, func(s fact.HookState) bool { return s.Hook == d.Hook && !s.DisabledAt.IsZero() }) && d.Event != "test" {
		return nil, "the webhook is disabled", nil
	}
	return &all[i], "", nil
}

// enter finds a message a place: a receiver has one at a time, and this process few, so that slow receivers keep neither
// each other nor other jobs from what they need.
func (h *hooks) enter(receiver string) (leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sending[receiver] {
		return nil, false
	}
	select {
	case h.slots <- struct{}{}:
	default:
		return nil, false
	}
	h.sending[receiver] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sending, receiver)
		<-h.slots
	}, true
}

// backOff is how long after try n (from 0) the next one comes: 1 s doubled up to 5 min, half of it random.
func backOff(n int) time.Duration {
	d := min(time.Second<<min(max(n, 0), 10), 5*time.Minute)
	return d/2 + rand.N(d/2)
}
