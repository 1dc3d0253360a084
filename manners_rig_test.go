//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"starling/deploy/stack"
	"starling/gateway/auth"
	"starling/gateway/rest"
)

// The processes that are held to the tables of testdata/manners.
const (
	goProcess     = "go"
	pythonProcess = "python"
	trialProcess  = "trial" // Python with routes for what no real one can provoke yet
	frameProcess  = "frame" // the Go program's door over a store that panics: nothing else makes it answer 500
)

// mannered is a running process whose log goes to a file.
type mannered struct {
	kind, url, token, output string
	cmd                      *exec.Cmd
	dir                      string // for the Go process: where its database is
}

// mannersRequest is a row of requests.json; the file beside it says what its keys mean.
type mannersRequest struct {
	Name, Method, Path string
	Paths              map[string]string
	Headers            map[string]string
	Text               *string
	JSON               json.RawMessage
	Size               int
	Given              string
	Status             int
	AnswerHeaders      map[string]string `json:"answer_headers"`
	Answer             map[string]any
	Contains           []string
	Code               string
	Fields             map[string]string
	Details            map[string]any
	RequestID          string `json:"request_id"`
	Trace              string
	Level              string
	EndLevel           string `json:"end_level"`
}

func readTable[T any](t *testing.T, name string) []T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "manners", name))
	if err != nil {
		t.Fatal(err)
	}
	var rows []T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rows); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

// pythonOf is the interpreter of the Python side's environment, which is made if need be.
func pythonOf(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "scripts/python.sh", "setup")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make the Python environment: %v %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// pythonCommand runs a module of the Python side, the log into output; more replaces what the environment says.
func pythonCommand(t *testing.T, python, module, dir string, more ...string) *exec.Cmd {
	t.Helper()
	side, err := filepath.Abs("python")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-m", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ENV=dev", "CONFIG_PATH=", "PYTHONDONTWRITEBYTECODE=1", "STARLING_VERSION=v0-test",
		"PYTHONPATH="+filepath.Join(side, "src")+string(filepath.ListSeparator)+side)
	cmd.Env = append(cmd.Env, more...)
	return cmd
}

// launchPython starts a Python process and waits until it answers.
func launchPython(t *testing.T, python, kind string, more ...string) *mannered {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	module := map[string]string{pythonProcess: "starling.predict", trialProcess: "tests.trial"}[kind]
	m := &mannered{kind: kind, url: fmt.Sprintf("http://127.0.0.1:%d", port), output: filepath.Join(dir, "output")}
	m.run(t, pythonCommand(t, python, module, dir, append(more, "HTTP_PORT="+strconv.Itoa(port))...))
	return m
}

// run starts the process's command, the log into its file, and waits until it answers.
func (m *mannered) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := os.Create(m.output)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Start()
	_ = out.Close()
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = cmd
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		keepLog(t, m.output)
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status, _, _, err := m.ask(t.Context(), http.MethodGet, "/healthz", nil, nil); err == nil && status == http.StatusOK {
			return
		}
	}
	b, _ := os.ReadFile(m.output)
	t.Fatalf("%s does not answer: %s", m.kind, b)
}

// launchGo starts the Go program over a database of its own, with a token for an administrator.
func launchGo(t *testing.T, shutdown time.Duration, more ...string) *mannered {
	t.Helper()
	s := newService(t, shutdown)
	s.env = append(s.env, more...)
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	return &mannered{kind: goProcess, url: s.URL, token: s.Token, output: s.output, cmd: s.cmd, dir: filepath.Join(s.dir, "data", "postgres")}
}

// launchFrame serves the Go program's door over a store that panics.
func launchFrame(t *testing.T) *mannered {
	t.Helper()
	m := &mannered{kind: frameProcess, output: filepath.Join(t.TempDir(), "output")}
	out, err := os.Create(m.output)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := auth.NewDevIssuer(key, "http://issuer", "starling")
	if err != nil {
		t.Fatal(err)
	}
	m.token, _, err = issuer.Issue(auth.Grant{Role: auth.Admin, Tenant: "11111111-1111-4111-8111-111111111111"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(rest.New(rest.Options{
		Facts: struct{ rest.Facts }{}, Auth: auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), nil), Stacks: true,
		Log: newLogger(out, LogOptions{Level: slog.LevelDebug, Service: "starling", Env: envDev, Version: "test"}),
	}))
	t.Cleanup(s.Close)
	m.url = s.URL
	return m
}

// ask sends a request on a connection of its own and returns the answer whole.
func (m *mannered) ask(ctx context.Context, method, path string, headers map[string]string, body []byte) (status int, header http.Header, answer []byte, err error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, reader)
	if err != nil {
		return 0, nil, nil, err
	}
	req.Close = true
	if m.token != "" {
		req.Header.Set("Authorization", "Bearer "+m.token)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
		if v == "" && k == "Content-Type" {
			req.Header.Del(k)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, res.Header, answer, err
}

// lines are the lines of the log so far; a line that is not whole yet is left out.
func (m *mannered) lines(t *testing.T) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(m.output)
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%s: a line of the log is no JSON: %q", m.kind, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// about waits for the two lines of a request.
func (m *mannered) about(t *testing.T, id string) (start, end map[string]any) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, line := range m.lines(t) {
			switch {
			case line["request_id"] != id:
			case line["event"] == "http.start":
				start = line
			case line["event"] == "http.end":
				end = line
			}
		}
		if start != nil && end != nil {
			return start, end
		}
	}
	t.Fatalf("%s: the log has not both lines of request %s", m.kind, id)
	return nil, nil
}

// fits holds every line of the log to docs/log.schema.json and returns them.
func (m *mannered) fits(t *testing.T) []map[string]any {
	t.Helper()
	schema, lines := logSchema(t), m.lines(t)
	if len(lines) == 0 {
		t.Errorf("%s logs nothing", m.kind)
	}
	for _, line := range lines {
		b, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %s does not fit the schema: %v", m.kind, b, err)
		}
	}
	return lines
}

// give makes go wrong what a row wants to go wrong, until the end of the test that is given.
func (m *mannered) give(t *testing.T, what string) {
	t.Helper()
	if m.kind == trialProcess {
		if what == "away" {
			if status, _, _, err := m.ask(t.Context(), http.MethodPut, "/trial/dependency?away=true", nil, nil); err != nil || status != http.StatusOK {
				t.Fatalf("%d %v", status, err)
			}
		}
		return
	}
	if m.kind != goProcess {
		return
	}
	pg, running, err := stack.Find(t.Context(), m.dir)
	if err != nil {
		t.Fatal(err)
	}
	switch what {
	case "slow": // somebody holds the table that is read
		conn, err := pgx.Connect(t.Context(), pg.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) }) // and with it the lock
		if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE warehouses IN ACCESS EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
	case "away":
		if running {
			if err := pg.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
