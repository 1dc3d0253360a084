//go:build integration

package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ask sends a request to the process, with its token where it has one.
func (s *service) ask(t *testing.T, method, path, body string) (status int, header http.Header, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// migrateUp is `starling migrate up`.
func (s *service) migrateUp(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.bin, "migrate", "up")
	cmd.Dir, cmd.Env = s.dir, s.env
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "0 to apply, clean") {
		t.Fatalf("migrate up: %v %s", err, out)
	}
}

// Each role alone, over a schema that only `migrate up` makes, serves health, readiness, metrics and the frame of the
// API; what needs the other role is away and says when to ask again.
func TestEachRoleAloneServesTheFrameAndSaysWhatIsAway(t *testing.T) {
	s := newService(t, 5*time.Second)
	s.env = append(s.env, "DB_AUTO_MIGRATE=false")
	s.launch(t, "gateway")
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !s.printed("starling migrate up") {
		out, _ := os.ReadFile(s.output)
		t.Fatalf("without a schema: %v, want exit code 1 and what to do: %s", err, out)
	}
	s.migrateUp(t)
	s.migrateUp(t)
	for _, role := range []string{"gateway", "engine"} {
		s.Token = ""
		s.launch(t, role)
		s.ready(t)
		if role == "gateway" {
			s.admit(t)
		} else {
			s.Token = s.issue(t, map[string]any{"role": "admin", "tenant_slug": "restart"})
		}
		for _, want := range []struct {
			method, path, body string
			status             int
			text               string
		}{
			{"GET", "/healthz", "", 200, `"ok"`},
			{"GET", "/readyz", "", 200, `"postgres":"ok"`},
			{"GET", "/metrics", "", 200, "starling_rest_requests_total"},
			{"GET", "/openapi.json", "", 200, `"/api/v1/tasks"`},
			{"GET", "/docs/", "", 200, "<html"},
			{"GET", "/api/v1/me", "", 200, `"admin"`},
			{"GET", "/api/v1/tasks", "", 200, `"items":[]`},
			{"GET", "/api/v1/nope", "", 404, `"code":"NOT_FOUND"`},
			{"DELETE", "/api/v1/tasks", "", 405, `"code":"NOT_FOUND"`},
			{"POST", "/api/v1/tasks", "{}", 503, `"code":"UNAVAILABLE"`},
			{"POST", "/api/v1/robots", "{}", 503, `"code":"UNAVAILABLE"`},
			{"POST", "/api/v1/scheduler/plan", "{}", 503, `"code":"UNAVAILABLE"`},
		} {
			status, header, text := s.ask(t, want.method, want.path, want.body)
			if status != want.status || !strings.Contains(text, want.text) {
				t.Errorf("%s alone: %s %s: %d %.200s, want %d and %s", role, want.method, want.path, status, text, want.status, want.text)
			}
			if want.status == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
				t.Errorf("%s alone: %s %s: no Retry-After", role, want.method, want.path)
			}
		}
		s.terminate(t)
	}
}
