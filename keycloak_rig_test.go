//go:build integration

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

// The tenants of the realm's people.
const (
	tenantNorth = "11111111-1111-4111-8111-111111111111"
	tenantSouth = "22222222-2222-4222-8222-222222222222"
)

// keycloakRig is the program, as in production but for TLS, in front of a real Keycloak.
type keycloakRig struct {
	*service
	k *stack.Keycloak
}

// newKeycloakRig starts the program; Keycloak need not run for that.
func newKeycloakRig(t *testing.T, k *stack.Keycloak, ttl time.Duration, more ...string) *keycloakRig {
	t.Helper()
	r := &keycloakRig{service: &service{process: newProcess(t)}, k: k}
	r.output, r.URL = filepath.Join(r.dir, "output"), "http://"+r.addr()
	database := stacktest.Database(t)
	r.env = append(os.Environ(), "ENV=staging", "CONFIG_PATH=", "DATABASE_URL="+database, "DB_AUTO_MIGRATE=true", "DEV_ISSUER_ENABLED=false",
		"OIDC_ISSUER="+k.Issuer(), "OIDC_AUDIENCE="+stack.KeycloakAudience, "JWKS_CACHE_TTL_SECONDS="+strconv.Itoa(int(ttl.Seconds())),
		"HTTP_HOST=127.0.0.1", "LINK_HOST=127.0.0.1", "HTTP_PORT="+strconv.Itoa(r.port), "LINK_PORT="+strconv.Itoa(r.link),
		"AUDIT_DIR="+filepath.Join(r.dir, "audit"), "SHUTDOWN_TIMEOUT_MS=5000")
	r.env = append(r.env, more...)
	keepSettings(r.env)
	r.launch(t, "gateway,engine")
	t.Cleanup(func() {
		r.kill()
		_ = r.cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(r.output)
			t.Logf("the end of the program's output: %s", b[max(0, len(b)-3000):])
		}
	})
	r.ready(t)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "INSERT INTO tenants (tenant_id, slug, name) VALUES ($1, 'north', 'North'), ($2, 'south', 'South')", tenantNorth, tenantSouth); err != nil {
		t.Fatal(err)
	}
	return r
}

// answer is what the program said to one request.
type answer struct {
	who          string
	began, ended time.Time
	status       int
	code, retry  string
	body         []byte
	err          error
}

func (a answer) String() string {
	return fmt.Sprintf("%s at %s (%d ms): %d %s %v %.300s", a.who, a.began.Format("15:04:05.000"), a.ended.Sub(a.began).Milliseconds(), a.status, a.code, a.err, a.body)
}

// away says that nobody could be let in and that it was said as the contract wants it.
func (a answer) away() bool {
	return a.err == nil && a.status == http.StatusServiceUnavailable && a.code == "UNAVAILABLE" && a.retry != ""
}

func (a answer) fine() bool { return a.err == nil && a.status == http.StatusOK }

// send makes one request; headers are name, value, name, value, ….
func (r *keycloakRig) send(t *testing.T, method, path, token, body string, headers ...string) answer {
	a := answer{who: method + " " + path, began: time.Now()}
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.err, a.ended = err, time.Now()
		return a
	}
	a.status, a.retry = res.StatusCode, res.Header.Get("Retry-After")
	a.body, a.err = io.ReadAll(res.Body)
	a.err = errors.Join(a.err, res.Body.Close())
	a.ended = time.Now()
	var e struct {
		Error struct{ Code string }
	}
	if a.status >= http.StatusBadRequest {
		a.err = errors.Join(a.err, json.Unmarshal(a.body, &e))
		a.code = e.Error.Code
	}
	return a
}

// crowd are clients that ask steadily, whatever they are told.
type crowd struct {
	rig *keycloakRig
	t   *testing.T
	wg  sync.WaitGroup
	end chan struct{}

	mu      sync.Mutex
	answers []answer
}

func newCrowd(t *testing.T, r *keycloakRig) *crowd {
	t.Helper()
	return &crowd{rig: r, t: t, end: make(chan struct{})}
}

// join adds a client; token is asked before each request. leave ends this one.
func (c *crowd) join(who string, every time.Duration, token func() string) (leave func()) {
	left := make(chan struct{})
	c.wg.Go(func() {
		pace := time.NewTicker(every)
		defer pace.Stop()
		for {
			select {
			case <-c.end:
				return
			case <-left:
				return
			case <-pace.C:
			}
			a := c.rig.send(c.t, http.MethodGet, "/api/v1/me", token(), "")
			a.who = who
			c.mu.Lock()
			c.answers = append(c.answers, a)
			c.mu.Unlock()
		}
	})
	return func() { close(left) }
}

// since returns the answers so far to requests that began at a time or later.
func (c *crowd) since(from time.Time) []answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []answer
	for _, a := range c.answers {
		if !a.began.Before(from) {
			out = append(out, a)
		}
	}
	return out
}

// leave ends the clients and returns all answers.
func (c *crowd) leave() []answer {
	close(c.end)
	c.wg.Wait()
	return c.answers
}

// await waits until one of the answers from now on is as wanted, and returns it.
func (c *crowd) await(what string, bound time.Duration, wanted func(answer) bool) answer {
	c.t.Helper()
	from := time.Now()
	for deadline := from.Add(bound); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, a := range c.since(from) {
			if wanted(a) {
				return a
			}
		}
	}
	all := c.since(from)
	c.t.Fatalf("%s: not within %s; the last of %d answers: %v", what, bound, len(all), all[max(0, len(all)-3):])
	return answer{}
}
