package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/jobs"
)

// book is rows of webhooks in memory: one tenant, one alert of three steps.
type book struct {
	mu         sync.Mutex
	hooks      []fact.Webhook
	told       map[string]bool // hook and handling
	deliveries []*fact.Delivery
	looked     map[string]int
	failures   map[string]int
	disabled   map[string]bool
	alert      fact.Alert
}

func newBook() *book {
	b := &book{told: map[string]bool{}, looked: map[string]int{}, failures: map[string]int{}, disabled: map[string]bool{}}
	b.alert.ID, b.alert.Version = "a", 3
	for i, a := range []alert.Action{alert.ActOpen, alert.ActRaise, alert.ActAcknowledge} {
		b.alert.Handling = append(b.alert.Handling, alert.Handling{Seq: int64(i + 1), Action: a})
	}
	return b
}

func (b *book) HookedTenants(context.Context, int) ([]fleet.TenantID, error) {
	return []fleet.TenantID{"t"}, nil
}

func (b *book) NoteHooks(context.Context, fleet.TenantID, []fact.Webhook) error { return nil }

func (b *book) HookStates(context.Context, fleet.TenantID) (out []fact.HookState, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for hook, yes := range b.disabled {
		if yes {
			out = append(out, fact.HookState{Hook: hook, DisabledAt: time.Now()})
		}
	}
	return out, nil
}

func (b *book) UntoldSteps(_ context.Context, _ fleet.TenantID, w fact.Webhook, limit int) (out []fact.Untold, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.alert.Handling {
		if id := fmt.Sprint("h", s.Seq); !b.told[w.Name+id] && len(out) < limit {
			out = append(out, fact.Untold{Handling: id, Alert: "a", Seq: s.Seq})
		}
	}
	return out, nil
}

func (b *book) HookLooked(_ context.Context, _ fleet.TenantID, hook string, _ time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looked[hook]++
	return nil
}

func (b *book) AddDelivery(_ context.Context, d *fact.Delivery, handling string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told[d.Hook+handling] {
		return false, nil
	}
	b.told[d.Hook+handling] = true
	c := *d
	c.State = fact.DeliveryPending
	b.deliveries = append(b.deliveries, &c)
	return true, nil
}

func (b *book) DueDeliveries(context.Context, fleet.TenantID, int) (out []fact.Delivery, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.State == fact.DeliveryPending && !d.Next.After(time.Now()) {
			out = append(out, *d)
		}
	}
	return out, nil
}

func (b *book) GetDelivery(_ context.Context, _ fleet.TenantID, id string) (fact.Delivery, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.ID == id {
			return *d, nil
		}
	}
	return fact.Delivery{}, fact.ErrNotFound
}

func (b *book) Tried(_ context.Context, _ fleet.TenantID, t fact.Tried) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.ID == t.Delivery {
			d.State, d.Status, d.Cause, d.Next = t.State, t.Status, t.Cause, time.Now().Add(t.Again/20) // a test has no half hour
			d.Attempts++
		}
	}
	b.disabled[t.Hook] = b.disabled[t.Hook] || t.Gone
	return nil
}

func (b *book) DropDelivery(_ context.Context, _ fleet.TenantID, id, cause string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.ID == id {
			d.State, d.Cause = fact.DeliveryDropped, cause
		}
	}
	return nil
}

func (b *book) ForgetDeliveries(context.Context, fleet.TenantID, time.Duration, int) (int64, error) {
	return 0, nil
}

func (b *book) GetAlert(context.Context, fleet.TenantID, alert.ID) (fact.Alert, error) {
	return b.alert, nil
}

func (b *book) states(hook string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.Hook == hook {
			out = append(out, fmt.Sprintf("%s %s %d", d.Event, d.State, d.Attempts))
		}
	}
	return out
}

var (
	errHopeless = errors.New("hopeless")
	errGone     = errors.New("gone")
)

// Without Redis the schedule does what jobs would: each step is told to each receiver that wants it, a failed message again
// until it is taken or given up, and one receiver's trouble is not another's.
func TestStepsOfAlertsReachEachWebhook(t *testing.T) {
	t.Parallel()
	b := newBook()
	for _, name := range []string{"well", "flaky", "dead", "inner", "gone", "off"} {
		w := fact.NewWebhook(name, "https://"+name+".example/", "0123456789abcdef")
		w.Off = name == "off"
		b.hooks = append(b.hooks, w)
	}
	var mu sync.Mutex
	ids := map[string][]string{} // by receiver, of every try
	under, most := map[string]int{}, 0
	send := func(_ context.Context, w *fact.Webhook, d *fact.Delivery) (int, error) {
		mu.Lock()
		ids[w.Name] = append(ids[w.Name], d.ID)
		tries := 0
		for _, id := range ids[w.Name] {
			if id == d.ID {
				tries++
			}
		}
		under[w.Name]++
		most = max(most, under[w.Name])
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			under[w.Name]--
		}()
		switch {
		case w.Name == "flaky" && tries < 3:
			return 500, errors.New("status 500")
		case w.Name == "dead":
			return 0, errors.New("refused")
		case w.Name == "inner":
			return 0, errHopeless
		case w.Name == "gone":
			return 410, errGone
		}
		return 200, nil
	}
	kinds, attach := jobs.HookKinds(jobs.HookOptions{
		Of: func(context.Context, fleet.TenantID) []fact.Webhook { return b.hooks }, Send: send, Hopeless: errHopeless, Gone: errGone, Every: 50 * time.Millisecond, Tries: 4,
		Render: func(d *fact.Delivery, _ *fact.Alert, s *alert.Handling) ([]byte, error) {
			return []byte(d.Hook + string(s.Action)), nil
		},
	}, b)
	r, err := jobs.Open(jobs.Options{Queues: []jobs.Queue{jobs.Housekeeping}}, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	attach(r)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"well":  {"alert.open sent 1", "alert.raise sent 1", "alert.acknowledge sent 1"},
		"flaky": {"alert.open sent 3", "alert.raise sent 3", "alert.acknowledge sent 3"},
		"dead":  {"alert.open dead 4", "alert.raise dead 4", "alert.acknowledge dead 4"},
		"inner": {"alert.open dead 1", "alert.raise dead 1", "alert.acknowledge dead 1"},
		"gone":  {"alert.open dead 1", "alert.raise dropped 0", "alert.acknowledge dropped 0"},
		"off":   nil,
	}
	done := func() bool {
		for hook, w := range want {
			if !slices.Equal(b.states(hook), w) {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(60 * time.Second); !done() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for hook, w := range want {
		if got := b.states(hook); !slices.Equal(got, w) {
			t.Errorf("%s: %v, want %v", hook, got, w)
		}
	}
	if most != 1 || len(b.looked) != 5 || b.looked["off"] != 0 {
		t.Errorf("%d messages to one receiver at a time, looked for %v", most, b.looked)
	}
	if string(b.deliveries[0].Body) != b.deliveries[0].Hook+"open" {
		t.Errorf("body %s", b.deliveries[0].Body)
	}
}

// A step of which no message can be made keeps no other from being told.
func TestAStepThatCannotBeToldStopsNoOther(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.hooks = []fact.Webhook{fact.NewWebhook("well", "https://well.example/", "0123456789abcdef")}
	kinds, attach := jobs.HookKinds(jobs.HookOptions{
		Of:   func(context.Context, fleet.TenantID) []fact.Webhook { return b.hooks },
		Send: func(context.Context, *fact.Webhook, *fact.Delivery) (int, error) { return 200, nil }, Hopeless: errHopeless, Gone: errGone, Every: 50 * time.Millisecond,
		Render: func(_ *fact.Delivery, _ *fact.Alert, s *alert.Handling) ([]byte, error) {
			if s.Action == alert.ActOpen {
				return nil, errors.New("a figure that is none")
			}
			return []byte("x"), nil
		},
	}, b)
	r, err := jobs.Open(jobs.Options{Queues: []jobs.Queue{jobs.Housekeeping}}, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	attach(r)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	want := []string{"alert.raise sent 1", "alert.acknowledge sent 1"}
	for end := time.Now().Add(20 * time.Second); !slices.Equal(b.states("well"), want) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got := b.states("well"); !slices.Equal(got, want) || b.looked["well"] == 0 {
		t.Errorf("%v, looked %d times, want %v", got, b.looked["well"], want)
	}
}
