package auth

import (
	"cmp"
	"context"
	"crypto"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How often an issuer is asked at most, how many requests wait for that, for how long, and how many ids of keys that it
// has not are remembered.
const (
	askEvery   = 2 * time.Second
	maxWaiting = 256
	waitBound  = 10 * time.Second
	maxAbsent  = 1024
)

// KeysOptions say whose keys and how.
type KeysOptions struct {
	Issuer     string // as in iss
	URL        string // of the key set; "" = from the discovery document, else <issuer>/.well-known/jwks.json
	TTL        time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil = nothing is counted in public
	Now        func() time.Time      // nil = time.Now
	Every      time.Duration         // how often the issuer is asked at most; 0 = 2 s
}

// RemoteKeys are an issuer's keys. They are kept for TTL and fetched anew by Run after three quarters of it, or, where a
// token bears an id that they have not, at once, but by all requests together no more often than Every. While the issuer
// is down the kept keys serve until their TTL; after it nobody is let in.
//
// A rotation under load must refuse nobody, whatever else comes in. So a token with an unknown id is refused only where a
// set says so that was asked for after the token was made, by its own word, or after the request came. Until the issuer
// may be asked again such requests wait, up to maxWaiting of them; for the others it is not known whether they are good
// (ErrUnavailable), but for ids that are known as absent: whoever makes up ids gets neither the issuer nor us to work.
type RemoteKeys struct {
	o       KeysOptions
	client  *http.Client
	counted keyCounters

	mu      sync.Mutex
	set     keySet
	asked   time.Time // when the set in force was asked for
	tried   time.Time // when a set was asked for last
	silent  bool      // the last fetch failed
	flight  chan struct{}
	waiting int
	absent  map[string]struct{} // ids that were asked for and are not in the set in force
}

// NewRemoteKeys returns the keys of an issuer; nothing is fetched yet.
func NewRemoteKeys(o KeysOptions) *RemoteKeys {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Every = min(cmp.Or(o.Every, askEvery), max(o.TTL/4, time.Millisecond))
	r := &RemoteKeys{o: o, client: newClient(), absent: map[string]struct{}{}}
	r.counted = newKeyCounters(o.Registerer, o.Issuer, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.set == nil {
			return -1
		}
		return o.Now().Sub(r.asked).Seconds()
	})
	return r
}

// Run fetches the keys at once and ahead of their end, until ctx is done: an idle process has them too, and so has the
// first request after the issuer was away.
func (r *RemoteKeys) Run(ctx context.Context) {
	wait := time.Duration(0)
	for failed := 0; ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		r.mu.Lock()
		due := r.set == nil || r.o.Now().Sub(r.asked) >= r.o.TTL*3/4-r.o.Every/2
		var flight chan struct{}
		if due && r.mayAsk() {
			flight = r.ask(ctx)
		}
		r.mu.Unlock()
		if flight != nil {
			select {
			case <-flight:
			case <-ctx.Done():
				return
			}
		}
		r.mu.Lock()
		age := r.o.Now().Sub(r.asked)
		fresh := r.set != nil && age < r.o.TTL*3/4
		r.mu.Unlock()
		if fresh {
			failed, wait = 0, r.o.TTL*3/4-age
		} else { // again and again, each time later, up to half a minute
			failed = min(failed+1, 5)
			wait = min(r.o.Every<<(failed-1), 30*time.Second)
		}
		wait += time.Duration(rand.Int64N(int64(r.o.Every/4) + 1)) // not all processes at once
	}
}

// Key implements KeySource.
func (r *RemoteKeys) Key(ctx context.Context, kid, alg string, issued time.Time) (crypto.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, waitBound)
	defer cancel()
	came := r.o.Now()
	for {
		r.mu.Lock()
		now := r.o.Now()
		fresh := r.set != nil && now.Sub(r.asked) < r.o.TTL
		key, known := r.set.find(kid, alg)
		flight := r.flight
		switch {
		case fresh && known:
			if now.Sub(r.asked) >= r.o.TTL*3/4 && r.mayAsk() { // ahead of time; nobody waits for it
				r.ask(ctx)
			}
			r.mu.Unlock()
			if key == nil {
				return nil, ErrUnauthenticated // the key is not for this algorithm
			}
			return key, nil
		case fresh && !r.asked.Before(came):
			r.remember(kid)
			r.mu.Unlock()
			return nil, ErrUnauthenticated
		case flight != nil:
		case r.mayAsk():
			flight = r.ask(ctx)
		case !fresh: // the issuer was asked just now and did not answer
			r.mu.Unlock()
			return nil, ErrUnavailable
		case !issued.IsZero() && issued.Before(r.asked):
			r.remember(kid)
			r.mu.Unlock()
			return nil, ErrUnauthenticated
		}
		pause := r.tried.Add(r.o.Every).Sub(now)
		if err := r.enter(kid, fresh); err != nil {
			r.mu.Unlock()
			return nil, err
		}
		before := r.tried
		r.mu.Unlock()
		err := await(ctx, flight, pause)
		r.mu.Lock()
		r.waiting--
		lost := flight != nil && r.asked.Before(before)
		r.mu.Unlock()
		if err != nil || lost { // it took too long, or the issuer did not answer: nothing is known of this key
			return nil, ErrUnavailable
		}
	}
}

// enter lets a request wait, where there is room. mu is held.
func (r *RemoteKeys) enter(kid string, fresh bool) error {
	if !fresh && r.silent { // an issuer that was asked in vain: its tokens hold no request while it is asked again
		return ErrUnavailable
	}
	if r.waiting >= maxWaiting {
		r.counted.dropped.Inc()
		if _, absent := r.absent[kid]; absent {
			return ErrUnauthenticated
		}
		return ErrUnavailable
	}
	r.waiting++
	return nil
}

// await waits for a fetch, or where there is none for the time when one may begin.
func await(ctx context.Context, flight chan struct{}, pause time.Duration) error {
	var over <-chan time.Time
	if flight == nil {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-flight: // nil: never
	case <-over:
	case <-ctx.Done():
		return ErrUnavailable
	}
	return nil
}

// remember notes that the set in force has no key of an id. A full memory is emptied. mu is held.
func (r *RemoteKeys) remember(kid string) {
	if len(r.absent) >= maxAbsent {
		clear(r.absent)
	}
	r.absent[kid] = struct{}{}
}

// mayAsk says that no fetch is under way and the last one began long enough ago. mu is held.
func (r *RemoteKeys) mayAsk() bool {
	return r.flight == nil && (r.tried.IsZero() || r.o.Now().Sub(r.tried) >= r.o.Every)
}

// ask begins a fetch and returns what is closed when it ends. mu is held.
func (r *RemoteKeys) ask(ctx context.Context) chan struct{} {
	began, done := r.o.Now(), make(chan struct{})
	r.tried, r.flight = began, done
	ctx = context.WithoutCancel(ctx)
	go func() { // ends within fetchBound
		set, left, err := r.fetch(ctx)
		r.mu.Lock()
		if r.silent = err != nil; err == nil {
			r.set, r.asked = set, began
			clear(r.absent)
		}
		r.flight = nil
		r.mu.Unlock()
		close(done)
		r.counted.fetches.Inc()
		if err != nil {
			r.counted.failures.Inc()
			r.o.Log.LogAttrs(ctx, slog.LevelWarn, "the issuer's keys cannot be fetched", slog.String("event", "auth.keys"), slog.String("issuer", r.o.Issuer), slog.String("error", err.Error()))
			return
		}
		r.o.Log.LogAttrs(ctx, slog.LevelDebug, "the issuer's keys were fetched", slog.String("event", "auth.keys"), slog.String("issuer", r.o.Issuer), slog.Int("keys", len(set)), slog.Int("left_out", left))
	}()
	return done
}

// keyCounters are what is counted of one issuer's keys.
type keyCounters struct{ fetches, failures, dropped prometheus.Counter }

func newKeyCounters(r prometheus.Registerer, issuer string, age func() float64) keyCounters {
	labels := prometheus.Labels{"issuer": issuer}
	c := keyCounters{
		fetches:  prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_auth_key_fetches_total", Help: "Fetches of an issuer's keys that have ended.", ConstLabels: labels}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_auth_key_failures_total", Help: "Fetches of an issuer's keys that failed.", ConstLabels: labels}),
		dropped:  prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_auth_dropped_total", Help: "Requests that could not wait for an issuer's keys, since too many did.", ConstLabels: labels}),
	}
	if r != nil {
		r.MustRegister(c.fetches, c.failures, c.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "starling_auth_key_age_seconds", Help: "Since when the keys in force are known; -1 = there are none.", ConstLabels: labels,
		}, age))
	}
	return c
}
