package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/view"
)

const (
	ours   = "11111111-1111-4111-8111-111111111111"
	theirs = "22222222-2222-4222-8222-222222222222"
	nobody = "99999999-9999-4999-8999-999999999999"
	grid   = "type octile\nheight 4\nwidth 4\nmap\n....\n.@..\n....\n....\n"
)

// rig is a running door with a house behind it: our tenant has a warehouse, an active map and a robot.
type rig struct {
	t                     *testing.T
	url                   string
	house                 *house
	issuer                *auth.DevIssuer
	log                   *logBook
	warehouse, floor, bot string
}

// tokenShape is what a token's head and claims look like.
var tokenShape = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)

// logBook keeps log lines.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// ended returns the lines of a request that was answered; its last line is written after the answer has gone.
func (l *logBook) ended(t *testing.T, requestID string) []map[string]any {
	t.Helper()
	for range 5000 {
		if lines := l.lines(t, requestID); len(lines) > 0 && lines[len(lines)-1]["event"] == "http.end" {
			return lines
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("request %s did not end", requestID)
	return nil
}

func (l *logBook) lines(t *testing.T, requestID string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]any
	for line := range bytes.Lines(l.b.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if m["request_id"] == requestID {
			out = append(out, m)
		}
	}
	return out
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := auth.NewDevIssuer(key, "http://issuer", "starling")
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, house: newHouse(), issuer: issuer, log: &logBook{}}
	for i, id := range []fleet.TenantID{ours, theirs} {
		g.house.tenants = append(g.house.tenants, fact.Tenant{ID: id, Slug: fmt.Sprintf("tenant-%d", i), Name: "T", Settings: json.RawMessage(`{}`), Version: 1, CreatedAt: time.Now()})
	}
	o := Options{
		Engine: g.house, Facts: g.house, Alerts: g.house, Hooks: g.house, Audit: g.house, AuditReads: true, Views: view.New(), Dev: issuer, Stacks: true, Version: "test",
		Auth: auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), g.house.idBySlug),
		Log:  slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	s := httptest.NewServer(New(o))
	t.Cleanup(func() {
		s.Close()
		g.log.mu.Lock()
		defer g.log.mu.Unlock()
		if m := tokenShape.Find(g.log.b.Bytes()); m != nil {
			t.Errorf("a token is in the log: %.40s…", m)
		}
	})
	g.url = s.URL
	return g
}

// furnish makes the warehouse, the map and the robot, all through the door.
func (g *rig) furnish() *rig {
	g.t.Helper()
	admin := g.token(auth.Admin)
	g.warehouse = g.post("/api/v1/warehouses", admin, `{"warehouse_code":"W1","name":"One"}`).want(201).text("warehouse_id")
	body, _ := json.Marshal(map[string]any{"warehouse_id": g.warehouse, "name": "floor", "format": "movingai", "content": grid})
	g.floor = g.post("/api/v1/maps", admin, string(body)).want(201).text("map_id")
	g.post("/api/v1/maps/"+g.floor+"/versions/1/activate", admin, "").want(200)
	g.bot = g.post("/api/v1/robots", admin, `{"robot_code":"R1","protocol":"link","warehouse_id":"`+g.warehouse+`","fleet":"f1"}`).want(201).text("robot_id")
	return g
}

func (g *rig) token(role string) string { return g.grant(auth.Grant{Role: role, Tenant: ours}) }

func (g *rig) grant(a auth.Grant) string {
	g.t.Helper()
	token, _, err := g.issuer.Issue(a, time.Now())
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
	what   string
	closes bool // the connection ends with it
}

// do sends a request; headers come in pairs, "" as token sends none.
func (g *rig) do(method, path, token, body string, headers ...string) *reply {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	r := &reply{g.t, res.StatusCode, res.Header, b, method + " " + path, res.Close}
	if res.Header.Get("X-Request-Id") == "" {
		g.t.Errorf("%s: no X-Request-ID", r.what)
	}
	return r
}

func (g *rig) get(path, token string, headers ...string) *reply {
	g.t.Helper()
	return g.do(http.MethodGet, path, token, "", headers...)
}

func (g *rig) post(path, token, body string, headers ...string) *reply {
	g.t.Helper()
	return g.do(http.MethodPost, path, token, body, headers...)
}

func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: got %d, want %d: %s", r.what, r.status, status, r.body)
	}
	return r
}

func (r *reply) object() map[string]any {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		r.t.Fatalf("%s: %q is no object: %v", r.what, r.body, err)
	}
	return m
}

func (r *reply) text(field string) string {
	r.t.Helper()
	s, ok := r.object()[field].(string)
	if !ok {
		r.t.Fatalf("%s: no text %s in %s", r.what, field, r.body)
	}
	return s
}

// fails holds an answer to the uniform error body and returns its details.
func (r *reply) fails(status int, code string) map[string]any {
	r.t.Helper()
	r.want(status)
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		r.t.Errorf("%s: content type %q", r.what, ct)
	}
	var b struct {
		Error struct {
			Code      string         `json:"code"`
			Message   string         `json:"message"`
			RequestID string         `json:"request_id"`
			Details   map[string]any `json:"details"`
		} `json:"error"`
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		r.t.Fatalf("%s: %q is no error body: %v", r.what, r.body, err)
	}
	e := b.Error
	if e.Code != code || e.Message == "" || e.Details == nil || e.RequestID != r.header.Get("X-Request-Id") {
		r.t.Errorf("%s: want code %s and request id %s, got %s", r.what, code, r.header.Get("X-Request-Id"), r.body)
	}
	if (status == 429 || status == 503) && code != codePrecondition && r.header.Get("Retry-After") == "" {
		r.t.Errorf("%s: %d without Retry-After", r.what, status)
	}
	return e.Details
}

// faulty holds an answer to a 422 that names exactly these fields.
func (r *reply) faulty(fields ...string) {
	r.t.Helper()
	details := r.fails(422, codeInvalid)
	var got []string
	list, _ := details["fields"].([]any)
	for _, f := range list {
		m, _ := f.(map[string]any)
		name, _ := m["field"].(string)
		if p, _ := m["problem"].(string); p == "" {
			r.t.Errorf("%s: %s has no problem", r.what, name)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(fields)
	if !slices.Equal(got, fields) {
		r.t.Errorf("%s: faults at %v, want %v: %s", r.what, got, fields, r.body)
	}
}
