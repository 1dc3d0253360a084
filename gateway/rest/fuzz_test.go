package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// FuzzDoor sends an administrator's requests of any path, query and body through the whole door: whatever they are, the
// door has an answer that is no fault of its own, and a refusal is the uniform body.
func FuzzDoor(f *testing.F) {
	key, err := auth.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	issuer, err := auth.NewDevIssuer(key, "http://issuer", "starling")
	if err != nil {
		f.Fatal(err)
	}
	h := newHouse()
	h.tenants = append(h.tenants, fact.Tenant{ID: ours, Slug: "ours", Name: "T", Settings: json.RawMessage(`{}`), Version: 1, CreatedAt: time.Now()})
	door := New(Options{
		Engine: h, Facts: h, Views: view.New(), Dev: issuer, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Auth: auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), h.idBySlug),
	})
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	const id = "11111111-1111-4111-8111-111111111111"
	for _, s := range [][4]string{
		{"\x00", "api/v1/robots", "limit=5&cursor=x&warehouse_id=" + id, ""},
		{"\x01", "api/v1/robots", "", `{"robot_code":"R1","protocol":"link","warehouse_id":"` + id + `","fleet":"f"}`},
		{"\x01", "api/v1/maps", "", `{"warehouse_id":"` + id + `","name":"m","format":"movingai","content":"type octile\nheight 1\nwidth 2\nmap\n..\n"}`},
		{"\x01", "api/v1/maps:validate", "", `{"format":"starling","content":{"vertices":[{"id":"a","x":0,"y":0}],"lanes":[]}}`},
		{"\x02", "api/v1/zones/" + id, "", `{"kind":"traffic","geometry":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}}`},
		{"\x03", "api/v1/tenants/current/settings", "", `{"quotas":{"robots":1}}`},
		{"\x01", "api/v1/robots/" + id + "/status", "", `{"seq":1,"ts":"2026-01-01T00:00:00Z","pose":{"x":1,"y":2,"theta":0},"state":"IDLE"}`},
		{"\x01", "api/v1/robots/" + id + "/commands", "", `{"command":"go_to","place":"a"}`},
		{"\x01", "api/v1/tasks", "", `{"task_type":"go_to","warehouse_id":"` + id + `","payload":{"dropoff":"a"}}`},
		{"\x00", "api/v1/audit", "from=2026-01-01T00:00:00Z&to=x", ""},
		{"\x00", "api/v1/robots/%2e%2e/%00", "a=%zz", ""},
	} {
		f.Add(s[0][0], s[1], s[2], []byte(s[3]))
	}
	f.Fuzz(func(t *testing.T, method byte, path, query string, body []byte) {
		h.mu.Lock()
		h.robots, h.maps, h.versions, h.tasks, h.commands, h.warehouses, h.zones = nil, nil, nil, nil, nil, nil, nil
		h.mu.Unlock()
		token, _, err := issuer.Issue(auth.Grant{Role: auth.Admin, Tenant: ours}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), methods[int(method)%len(methods)], "/", bytes.NewReader(body))
		u, err := url.ParseRequestURI("/" + path)
		if err != nil {
			return // the server refuses it
		}
		u.RawQuery = query
		r.URL, r.RequestURI = u, u.RequestURI()
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %q ? %q: %d %s", r.Method, path, query, w.Code, w.Body.String())
		}
		var e struct {
			Error struct {
				Code      string `json:"code"`
				RequestID string `json:"request_id"`
			} `json:"error"`
		}
		if w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Error.Code == "" || e.Error.RequestID == "") {
			t.Fatalf("%s %q ? %q: %d %q is not the uniform body", r.Method, path, query, w.Code, w.Body.String())
		}
	})
}
