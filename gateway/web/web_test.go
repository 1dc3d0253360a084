package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func get(t *testing.T, p *Page, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if !p.Has(r) {
		t.Fatalf("the page has no %s", path)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", path, w.Code)
	}
	return w
}

func TestThePageSaysWhereToSignIn(t *testing.T) {
	t.Parallel()
	north := Issuer{Issuer: "https://id.example.test/realms/north", ClientID: "page", Name: "North"}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"development": {Options{Development: true}, `{"mode":"dev","issuers":[]}`},
		"nobody":      {Options{}, `{"mode":"oidc","issuers":[]}`},
		"two": {
			Options{Issuers: []Issuer{north, {Issuer: "https://other.test", ClientID: "p"}}},
			`{"mode":"oidc","issuers":[{"issuer":"https://id.example.test/realms/north","client_id":"page","name":"North"},{"issuer":"https://other.test","client_id":"p","name":"other.test"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := New(c.o)
			if err != nil {
				t.Fatal(err)
			}
			w := get(t, p, "/session.json")
			if !json.Valid(w.Body.Bytes()) {
				t.Fatalf("no JSON: %s", w.Body)
			}
			if diff := cmp.Diff(c.want, w.Body.String()); diff != "" {
				t.Error(diff)
			}
			if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
				t.Errorf("type %q", kind)
			}
			if kept := w.Header().Get("Cache-Control"); kept != "no-cache" {
				t.Errorf("kept %q: another configuration would not be seen", kept)
			}
		})
	}
	if _, err := New(Options{Issuers: []Issuer{{Issuer: "not a URL"}}}); err == nil {
		t.Error("an issuer that is no URL was taken")
	}
}

func TestThePolicyNamesTheIssuersAndNobodyElse(t *testing.T) {
	t.Parallel()
	p, err := New(Options{Issuers: []Issuer{
		{Issuer: "https://id.example.test/realms/south"}, {Issuer: "https://id.example.test/realms/north"}, {Issuer: "http://127.0.0.1:8080/realms/x"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := get(t, p, "/").Header()
	got := map[string]string{}
	for d := range strings.SplitSeq(h.Get("Content-Security-Policy"), "; ") {
		name, sources, _ := strings.Cut(d, " ")
		got[name] = sources
	}
	const all = "'self' http://127.0.0.1:8080 https://id.example.test"
	want := map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data: blob:", "connect-src": all, "form-action": all,
		"object-src": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"} {
		if h.Get(name) != value {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
}
