package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// How often the issuer may be asked because of a key that nobody knows, how long an answer may take and be.
const (
	unknownEvery = 5 * time.Second
	fetchBound   = 10 * time.Second
	maxKeySet    = 1 << 20
)

// RemoteKeys are an issuer's keys, fetched when first wanted, kept for TTL, and fetched ahead of time in the background
// of a request. While the issuer is down the kept keys serve until their TTL; after it nobody is let in.
type RemoteKeys struct {
	issuer string
	url    string // "" = from the discovery document
	ttl    time.Duration
	client *http.Client
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	set     jwk.Set
	fetched time.Time
	tried   time.Time
	flight  chan struct{} // closed when the fetch under way ends; nil = none
}

// NewRemoteKeys returns the keys of an issuer; nothing is fetched yet.
func NewRemoteKeys(issuer, jwksURL string, ttl time.Duration, log *slog.Logger) *RemoteKeys {
	return &RemoteKeys{issuer: strings.TrimSuffix(issuer, "/"), url: jwksURL, ttl: ttl, client: &http.Client{Timeout: fetchBound}, log: log, now: time.Now}
}

// Key implements KeySource.
func (r *RemoteKeys) Key(ctx context.Context, kid string) (any, error) {
	r.mu.Lock()
	fresh := r.set != nil && r.now().Sub(r.fetched) < r.ttl
	key, found := lookUp(r.set, kid)
	due := !fresh || !found || r.now().Sub(r.fetched) > r.ttl*3/4
	wait := due && r.start(ctx)
	flight := r.flight
	r.mu.Unlock()
	if fresh && found {
		return key, nil
	}
	if wait || flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ErrUnavailable
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil || r.now().Sub(r.fetched) >= r.ttl {
		return nil, ErrUnavailable
	}
	if key, found := lookUp(r.set, kid); found {
		return key, nil
	}
	return nil, ErrUnauthenticated
}

func lookUp(set jwk.Set, kid string) (any, bool) {
	if set == nil {
		return nil, false
	}
	k, ok := set.LookupKeyID(kid)
	if !ok {
		return nil, false
	}
	var raw any
	if err := k.Raw(&raw); err != nil {
		return nil, false
	}
	return raw, true
}

// start begins one fetch where none is under way and the last try is long enough ago. mu is held.
func (r *RemoteKeys) start(ctx context.Context) bool {
	if r.flight != nil {
		return true
	}
	if r.now().Sub(r.tried) < unknownEvery && !r.tried.IsZero() {
		return false
	}
	r.tried = r.now()
	done := make(chan struct{})
	r.flight = done
	ctx = context.WithoutCancel(ctx)
	go func() { // ends within fetchBound
		set, err := r.fetch(ctx)
		r.mu.Lock()
		if err == nil {
			r.set, r.fetched = set, r.now()
		}
		r.flight = nil
		r.mu.Unlock()
		close(done)
		if err != nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "the issuer's keys cannot be fetched", slog.String("event", "auth.keys"), slog.String("error", err.Error()))
		}
	}()
	return true
}

func (r *RemoteKeys) fetch(ctx context.Context) (jwk.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchBound)
	defer cancel()
	url := r.url
	if url == "" {
		url = r.issuer + "/.well-known/jwks.json"
		var doc struct {
			JWKS string `json:"jwks_uri"`
		}
		if body, err := r.get(ctx, r.issuer+"/.well-known/openid-configuration"); err == nil && json.Unmarshal(body, &doc) == nil && doc.JWKS != "" {
			url = doc.JWKS
		}
	}
	body, err := r.get(ctx, url)
	if err != nil {
		return nil, err
	}
	set, err := jwk.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	return set, nil
}

func (r *RemoteKeys) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the key set: status %d", res.StatusCode)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxKeySet))
}
