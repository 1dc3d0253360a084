//go:build integration

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"starling/deploy/stack"
)

// The Go program and the Python ones answer and log alike: every row of the table, on the real processes.
func TestEveryProcessHasTheSameManners(t *testing.T) {
	python := pythonOf(t)
	const planted = "hunter2"
	settings := []string{"LOG_LEVEL=debug", "REQUEST_TIMEOUT_MS=3000"}
	processes := []*mannered{
		launchGo(t, 5*time.Second, settings...),
		launchPython(t, python, pythonProcess, settings...),
		launchPython(t, python, trialProcess, settings...),
		launchFrame(t),
	}
	asked := map[string]int{}
	for i, row := range readTable[mannersRequest](t, "requests.json") {
		t.Run(row.Name, func(t *testing.T) {
			fields := map[string][]string{}
			for _, m := range processes {
				path := row.Path
				if row.Paths != nil {
					path = row.Paths[m.kind]
				}
				if path == "" || row.Paths == nil && m.kind == frameProcess {
					continue
				}
				asked[m.kind]++
				m.give(t, row.Given)
				start, end := m.keeps(t, &row, path, fmt.Sprintf("row-%d", i))
				for _, line := range []map[string]any{start, end} {
					keys := strings.Join(slices.Sorted(maps.Keys(line)), " ")
					event := line["event"].(string)
					if !slices.Contains(fields[event], keys) {
						fields[event] = append(fields[event], keys)
					}
				}
			}
			for event, keys := range fields {
				delete(fields, event)
				if same := slices.DeleteFunc(keys, func(k string) bool { return strings.Contains(k, " stack ") }); len(same) > 1 {
					t.Errorf("%s has other fields in each process: %q", event, same)
				}
			}
		})
	}
	for _, m := range processes {
		m.fits(t)
		if b, err := os.ReadFile(m.output); err != nil || bytes.Contains(b, []byte(planted)) {
			t.Errorf("%s: %v, or what was sent stands in the log", m.kind, err)
		}
	}
	t.Logf("rows: %v", asked)
}

// keeps holds a process to a row and returns the request's lines.
func (m *mannered) keeps(t *testing.T, row *mannersRequest, path, id string) (start, end map[string]any) {
	t.Helper()
	headers, body := map[string]string{}, row.body(t)
	if row.RequestID == "" {
		headers["X-Request-ID"] = id
	}
	if body != nil {
		headers["Content-Type"] = "application/json"
	}
	maps.Copy(headers, row.Headers)
	method := row.Method
	if method == "" {
		method = http.MethodGet
	}
	began := time.Now()
	status, header, answer, err := m.ask(t.Context(), method, path, headers, body)
	if err != nil {
		t.Fatalf("%s: %v", m.kind, err)
	}
	if status != row.Status {
		t.Fatalf("%s answers %d %s, want %d", m.kind, status, answer, row.Status)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("%s takes %s", m.kind, took)
	}
	sent, got := headers["X-Request-ID"], header.Get("X-Request-ID")
	if (got == sent) == (row.RequestID == "made") || got == "" {
		t.Errorf("%s: request %q comes back as %q", m.kind, sent, got)
	}
	for k, v := range row.AnswerHeaders {
		if header.Get(k) != v {
			t.Errorf("%s: %s is %q, want %q", m.kind, k, header.Get(k), v)
		}
	}
	row.judge(t, m.kind, header, answer)
	start, end = m.about(t, got)
	pathOnly, _, _ := strings.Cut(path, "?")
	want := map[string]any{"method": method, "path": pathOnly, "client_ip": "127.0.0.1", "status_code": float64(status)}
	if row.Code != "" {
		want["error_code"] = row.Code
	}
	if row.Trace != "" {
		want["trace_id"] = row.Trace
	}
	for k, v := range want {
		if end[k] != v {
			t.Errorf("%s: the log's %s is %v, want %v", m.kind, k, end[k], v)
		}
	}
	first := row.Level
	if first == "" {
		first = "info"
	}
	last := row.EndLevel
	if last == "" {
		last = first
	}
	if start["level"] != first || end["level"] != last {
		t.Errorf("%s: the lines have the levels %v and %v, want %s and %s", m.kind, start["level"], end["level"], first, last)
	}
	return start, end
}

// body is what a row sends; nil = nothing.
func (r *mannersRequest) body(t *testing.T) []byte {
	t.Helper()
	switch {
	case r.Text != nil:
		return []byte(*r.Text)
	case r.JSON != nil:
		return r.JSON
	case r.Size > 0:
		const head, tail = `{"warehouse_code":"hunter2","name":"`, `"}`
		return []byte(head + strings.Repeat("x", r.Size-len(head)-len(tail)) + tail)
	}
	return nil
}

// judge holds an answer to its row.
func (r *mannersRequest) judge(t *testing.T, kind string, header http.Header, answer []byte) {
	t.Helper()
	if r.Method == http.MethodHead {
		if len(answer) != 0 {
			t.Errorf("%s: HEAD is answered with a body: %q", kind, answer)
		}
		return
	}
	for _, text := range r.Contains {
		if !bytes.Contains(answer, []byte(text)) {
			t.Errorf("%s: %q is not in %.2000s", kind, text, answer)
		}
	}
	if r.Contains != nil {
		return
	}
	if bytes.Contains(answer, []byte("hunter2")) || bytes.Contains(answer, []byte("4711")) || bytes.Contains(answer, []byte("innards")) || bytes.Contains(answer, []byte("relation")) {
		t.Errorf("%s: what was sent, or what is inside, stands in the answer: %s", kind, answer)
	}
	if ct := header.Get("Content-Type"); ct != "application/json" && r.Code != "" {
		t.Errorf("%s: an error of type %q", kind, ct)
	}
	var got map[string]any
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Errorf("%s: %v: %q", kind, err, answer)
		return
	}
	want := r.Answer
	if r.Code != "" {
		details := map[string]any{}
		maps.Copy(details, r.Details)
		if r.Fields != nil {
			details["fields"] = "<any>"
		}
		want = map[string]any{"error": map[string]any{"code": r.Code, "message": "<text>", "request_id": header.Get("X-Request-ID"), "details": details}}
	}
	if problem := unlike(want, got); problem != "" {
		t.Errorf("%s: %s in %.1000s", kind, problem, answer)
		return
	}
	if r.Code != "" {
		r.judgeError(t, kind, got)
	}
}

// judgeError holds an error body to its shape: these properties and no others, and all the faults.
func (r *mannersRequest) judgeError(t *testing.T, kind string, got map[string]any) {
	t.Helper()
	inner := got["error"].(map[string]any)
	if keys := slices.Sorted(maps.Keys(inner)); len(got) != 1 || !slices.Equal(keys, []string{"code", "details", "message", "request_id"}) {
		t.Errorf("%s: the error's properties are %v", kind, keys)
	}
	if r.Fields == nil {
		return
	}
	fields := map[string]string{}
	list, _ := inner["details"].(map[string]any)["fields"].([]any)
	for _, f := range list {
		f, _ := f.(map[string]any)
		fields[fmt.Sprint(f["field"])] = fmt.Sprint(f["problem"])
	}
	if diff := cmp.Diff(r.Fields, fields); diff != "" || len(list) != len(fields) {
		t.Errorf("%s: faults (-want +got):\n%s", kind, diff)
	}
}

// unlike says what in got does not fit the pattern want; "" = nothing.
func unlike(want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%v is no object", got)
		}
		for k, w := range want {
			if problem := unlike(w, have[k]); problem != "" {
				return k + ": " + problem
			}
		}
		return ""
	case string:
		text, isText := got.(string)
		_, isObject := got.(map[string]any)
		switch {
		case want == "<any>" && got != nil, want == "<text>" && isText && text != "", want == "<object>" && isObject:
			return ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return diff
	}
	return ""
}

// mannersConfig is a row of config.json.
type mannersConfig struct {
	Name        string
	Env         map[string]string
	File, Asked *string
	Issuers     *string
	Service     string
	Missing     []string
	Invalid     [][2]string
}

// place lays a row's files into dir and returns its environment.
func (c *mannersConfig) place(t *testing.T, dir string) (env []string) {
	t.Helper()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c.File != nil {
		env := c.Env["ENV"]
		if !slices.Contains([]string{envStaging, envProd}, env) {
			env = envDev
		}
		write(filepath.Join(dir, "deploy", "config", env+".yaml"), *c.File)
	}
	if c.Asked != nil {
		write(filepath.Join(dir, "asked.yaml"), *c.Asked)
		env = append(env, "CONFIG_PATH=asked.yaml")
	}
	if c.Issuers != nil {
		write(filepath.Join(dir, "issuers.yaml"), *c.Issuers)
	}
	for k, v := range c.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// Each row of config.json means the same to the Go program and to a Python process: the same faults in the same words,
// and with faults both serve health and readiness and nothing else.
func TestAConfigurationMeansTheSameToEveryProcess(t *testing.T) {
	python, p := pythonOf(t), newProcess(t)
	data := filepath.Join(p.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	pg, err := stack.Start(t.Context(), stack.Options{Dir: filepath.Join(data, "postgres"), Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	guarded(t, pg, filepath.Join(data, "postgres"))
	everyKey := mannersConfig{Name: "every key of the Go program", File: new(string)}
	for _, k := range configKeys() {
		if k.name != "CONFIG_PATH" {
			*everyKey.File += fmt.Sprintf("%s: %q\n", k.name, k.defaultFor(envDev))
		}
	}
	for _, row := range append(readTable[mannersConfig](t, "config.json"), everyKey) {
		t.Run(row.Name, func(t *testing.T) {
			for _, kind := range []string{goProcess, pythonProcess} {
				dir, port := t.TempDir(), freePort(t)
				env := append([]string{"ENV="}, append(row.place(t, dir), "HTTP_PORT="+strconv.Itoa(port))...)
				m := &mannered{kind: kind, url: fmt.Sprintf("http://127.0.0.1:%d", port), output: filepath.Join(dir, "output")}
				if kind == pythonProcess {
					m.run(t, pythonCommand(t, python, "starling.predict", dir, env...))
				} else {
					cmd := exec.Command(p.bin, "serve", "--roles", "gateway")
					cmd.Dir = dir
					cmd.Env = append(os.Environ(), "CONFIG_PATH=", "DATABASE_URL="+pg.URL(), "DB_AUTO_MIGRATE=true", "LINK_PORT=0")
					cmd.Env = append(cmd.Env, env...)
					m.run(t, cmd)
				}
				m.understands(t, &row, port)
			}
		})
	}
}

// understands holds a process to a row of config.json.
func (m *mannered) understands(t *testing.T, row *mannersConfig, port int) {
	t.Helper()
	status, _, answer, err := m.ask(t.Context(), http.MethodGet, "/readyz", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, missing, toTell := []any{}, []any{}, [][2]string{}
	for _, key := range row.Missing {
		missing, toTell = append(missing, key), append(toTell, [2]string{key, "missing"})
	}
	for _, i := range row.Invalid {
		want, toTell = append(want, map[string]any{"key": i[0], "problem": i[1]}), append(toTell, i)
	}
	faulty := len(toTell) > 0
	var got struct {
		Error struct {
			Code    string
			Details map[string]any
		}
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if faulty {
		if diff := cmp.Diff(map[string]any{"missing": missing, "invalid": want}, got.Error.Details); diff != "" || status != http.StatusServiceUnavailable || got.Error.Code != "FAILED_PRECONDITION" {
			t.Errorf("%s answers %d %s (-want +got):\n%s", m.kind, status, got.Error.Code, diff)
		}
	} else if status != http.StatusOK {
		t.Errorf("%s is not ready: %s", m.kind, answer)
	}
	for path, found := range map[string]bool{"/healthz": true, "/openapi.json": !faulty, "/metrics": !faulty, "/nothing": false} {
		if status, _, answer, err := m.ask(t.Context(), http.MethodGet, path, nil, nil); err != nil || (status == http.StatusOK) != found {
			t.Errorf("%s: %s: %d %.200s %v", m.kind, path, status, answer, err)
		}
	}
	told := [][2]string{}
	lines := m.fits(t)
	for _, line := range lines {
		switch line["event"] {
		case "config.missing":
			told = append(told, [2]string{fmt.Sprint(line["key"]), "missing"})
		case "config.invalid":
			told = append(told, [2]string{fmt.Sprint(line["key"]), fmt.Sprint(line["problem"])})
		case "process.started":
			if line["port"] != float64(port) || row.Service != "" && line["service"] != row.Service {
				t.Errorf("%s starts with %v", m.kind, line)
			}
			told = append(told, [2]string{"started", ""})
		}
	}
	if diff := cmp.Diff(append(toTell, [2]string{"started", ""}), told); diff != "" {
		t.Errorf("%s: told by the log (-want +got):\n%s", m.kind, diff)
	}
	if b, err := os.ReadFile(m.output); err != nil || bytes.Contains(append(b, answer...), []byte("hunter2")) || regexp.MustCompile(`(^|[^0-9a-fA-F-])4711([^0-9a-fA-F-]|$)`).Match(append(b, answer...)) { // ids and times may hold the digits by chance
		t.Errorf("%s: %v, or a value stands in the log or the answer: %s %s", m.kind, err, answer, b)
	}
}

// hold begins a request and sends half of its body; finish sends the rest and returns the status and whether the
// answer ends the connection.
func (m *mannered) hold(t *testing.T, path, id string) (finish func() (status int, closes bool, err error)) {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(m.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	body := []byte(`{"warehouse_code":"` + id + `","name":"held"}`)
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nX-Request-ID: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, m.token, id, len(body), body[:5]); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !slices.ContainsFunc(m.lines(t), func(l map[string]any) bool { return l["request_id"] == id }); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: request %s does not arrive", m.kind, id)
		}
	}
	return func() (int, bool, error) {
		if _, err := conn.Write(body[5:]); err != nil {
			return 0, false, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, false, err
		}
		defer func() { _ = res.Body.Close() }()
		_, err = io.ReadAll(res.Body)
		return res.StatusCode, res.Close, err
	}
}

// Told to stop, every process answers what is under way, takes nothing new and ends with exit code 0, in its time
// whatever clients do.
func TestEveryProcessStopsInOrder(t *testing.T) {
	python := pythonOf(t)
	const bound = 5 * time.Second
	paths := map[string]string{goProcess: "/api/v1/warehouses", trialProcess: "/trial/warehouses"}
	for _, test := range []struct {
		name    string
		patient bool // the client ends its request
	}{{"what is under way is answered", true}, {"whoever does not end its request is left", false}} {
		t.Run(test.name, func(t *testing.T) {
			for _, m := range []*mannered{launchGo(t, bound), launchPython(t, python, trialProcess, "SHUTDOWN_TIMEOUT_MS="+strconv.FormatInt(bound.Milliseconds(), 10))} {
				finish := m.hold(t, paths[m.kind], "held")
				began := time.Now()
				if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if test.patient {
					refused := false
					for deadline := began.Add(bound / 3); !refused && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
						_, _, _, err := m.ask(t.Context(), http.MethodGet, "/healthz", nil, nil)
						refused = errors.Is(err, syscall.ECONNREFUSED)
					}
					if !refused {
						t.Errorf("%s takes new connections", m.kind)
					}
					time.Sleep(700 * time.Millisecond) // more than the grace of idle connections
					if status, closes, err := finish(); err != nil || status != http.StatusCreated || !closes {
						t.Errorf("%s: the request under way is answered %d, closing %v, %v", m.kind, status, closes, err)
					}
				}
				late := time.AfterFunc(4*bound, func() { _ = m.cmd.Process.Kill() })
				err := m.cmd.Wait()
				late.Stop()
				took := time.Since(began)
				if err != nil || took > bound+time.Second || !test.patient && took < bound/3 {
					t.Errorf("%s ends after %s with %v, its bound is %s", m.kind, took, err, bound)
				}
				t.Logf("%s: ended in %s", m.kind, took.Round(time.Millisecond))
				lines := m.fits(t)
				cut := slices.ContainsFunc(lines, func(l map[string]any) bool {
					return l["event"] == "process.stop" && l["part"] == "http" && l["level"] == "warn"
				})
				if last := lines[len(lines)-1]; last["event"] != "process.stopped" || lines[0]["event"] != "process.started" && m.kind != goProcess || cut == test.patient {
					t.Errorf("%s: cut short: %v; the last line is %v", m.kind, cut, last)
				}
			}
		})
	}
}
