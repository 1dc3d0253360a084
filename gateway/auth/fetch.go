package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// How long an issuer's answer may take, how large it may be, and how often it may lead elsewhere.
const (
	fetchBound = 5 * time.Second
	maxAnswer  = 1 << 20
	maxHops    = 3
)

var errElsewhere = errors.New("the issuer leads to another host")

// newClient returns a client that goes where an issuer leads on its own host alone.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   fetchBound,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: fetchBound},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxHops || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
				return errElsewhere
			}
			return nil
		},
	}
}

// Trusted says whether keys may be fetched from a URL: by HTTPS, or from this machine. Whoever stands between could
// otherwise hand out keys of his own.
func Trusted(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// fetch asks for the key set, for its place first where that is not known.
func (r *RemoteKeys) fetch(ctx context.Context) (keySet, int, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchBound)
	defer cancel()
	at := r.o.URL
	if at == "" {
		var err error
		if at, err = r.discover(ctx); err != nil {
			return nil, 0, err
		}
	}
	body, status, err := r.get(ctx, at)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("fetch the key set: %w", err)
	}
	return readKeys(body)
}

// discover finds the key set's place in the issuer's discovery document, which must be this issuer's. An issuer without
// one has its keys at a usual place.
func (r *RemoteKeys) discover(ctx context.Context) (string, error) {
	base := strings.TrimSuffix(r.o.Issuer, "/")
	body, status, err := r.get(ctx, base+"/.well-known/openid-configuration")
	switch {
	case err != nil:
		return "", fmt.Errorf("fetch the discovery document: %w", err)
	case status == http.StatusNotFound:
		return base + "/.well-known/jwks.json", nil
	case status != http.StatusOK:
		return "", fmt.Errorf("fetch the discovery document: status %d", status)
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", fmt.Errorf("read the discovery document: %w", err)
	}
	if doc["issuer"] != r.o.Issuer {
		return "", errors.New("the discovery document is another issuer's")
	}
	at, _ := doc["jwks_uri"].(string)
	switch {
	case at == "":
		return base + "/.well-known/jwks.json", nil
	case !Trusted(at) && !strings.HasPrefix(r.o.Issuer, "http://"):
		return "", errors.New("the discovery document leads to keys without HTTPS")
	}
	return at, nil
}

func (r *RemoteKeys) get(ctx context.Context, at string) (body []byte, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errors.New("the answer is too large")
	}
	return body, res.StatusCode, err
}
