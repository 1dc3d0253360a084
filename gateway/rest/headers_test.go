package rest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"starling/gateway/auth"
)

func TestTheCallerIsTheRightmostWhomNoTrustedProxySpeaksFor(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32")}
	for name, x := range map[string]struct {
		peer      string
		forwarded []string
		proto     string
		want      string
		secure    bool
	}{
		"nobody between":                        {"203.0.113.7:1", nil, "", "203.0.113.7", false},
		"a client that makes itself up":         {"203.0.113.7:1", []string{"198.51.100.1"}, "https", "203.0.113.7", false},
		"behind a proxy":                        {"10.0.0.1:1", []string{"203.0.113.7"}, "https", "203.0.113.7", true},
		"behind a proxy, made up":               {"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7"}, "http", "203.0.113.7", false},
		"behind two":                            {"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7, 10.0.0.2"}, "", "203.0.113.7", false},
		"behind two that write a line each":     {"10.0.0.1:1", []string{"198.51.100.1", "203.0.113.7", "10.0.0.2"}, "", "203.0.113.7", false},
		"a made up proxy address in between":    {"10.0.0.1:1", []string{"10.9.9.9, 203.0.113.7"}, "", "203.0.113.7", false},
		"all are proxies":                       {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "", "10.0.0.3", false},
		"garbage where the client should be":    {"10.0.0.1:1", []string{"198.51.100.1, <script>"}, "", "10.0.0.1", false},
		"garbage left of a proxy":               {"10.0.0.1:1", []string{"198.51.100.1, x, 10.0.0.2"}, "", "10.0.0.2", false},
		"an empty header":                       {"10.0.0.1:1", []string{""}, "", "10.0.0.1", false},
		"with a port":                           {"10.0.0.1:1", []string{"203.0.113.7:4711"}, "", "203.0.113.7", false},
		"IPv6 with a port":                      {"[fd00::1]:1", []string{"[2001:db8::1]:80"}, "https", "2001:db8::1", true},
		"IPv4 in IPv6 from a trusted neighbour": {"[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.7"}, "", "203.0.113.7", false},
		"two opinions of the scheme":            {"10.0.0.1:1", []string{"203.0.113.7"}, "https, http", "203.0.113.7", false},
		"no address at all":                     {"@", nil, "", "@", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = x.peer
		for _, f := range x.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		r.Header.Set("X-Forwarded-Proto", x.proto)
		if ip, secure := callerOf(r, trusted); ip != x.want || secure != x.secure {
			t.Errorf("%s: %s %v, want %s %v", name, ip, secure, x.want, x.secure)
		}
	}
}

func FuzzCallerOf(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "1.1.1.1, 10.0.0.1", ",,,", "[::1]:1", "fe80::1%eth0", strings.Repeat("10.0.0.1,", 100)} {
		f.Add(s, "10.0.0.1:1")
		f.Add(s, "203.0.113.9:1")
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, forwarded, peer string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = []string{forwarded}
		ip, _ := callerOf(r, trusted)
		was, err := netip.ParseAddrPort(peer)
		if err != nil {
			return
		}
		if a, err := netip.ParseAddr(ip); err != nil || a.Zone() != "" || a.Is4In6() {
			t.Fatalf("%q from %q is %q", forwarded, peer, ip)
		}
		if from := was.Addr().Unmap().WithZone(""); !contains(trusted, from) && ip != from.String() {
			t.Fatalf("%q made itself %q by %q", peer, ip, forwarded)
		}
	})
}

func TestEveryAnswerIsArmoured(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	for path, x := range map[string]struct {
		status  int
		policy  string
		caching string
	}{
		"/healthz":          {200, apiPolicy, "no-store"},
		"/api/v1/me":        {401, apiPolicy, "no-store"},
		"/api/v1/nope":      {404, apiPolicy, "no-store"},
		"/api/v1/../v1/me":  {400, apiPolicy, "no-store"},
		"/openapi.json":     {200, apiPolicy, "no-store"},
		"/docs/":            {200, "script-src 'self' 'sha256-", "no-cache"},
		"/docs/favicon.ico": {404, "script-src 'self' 'sha256-", "no-cache"},
	} {
		for _, proto := range []string{"http", "https"} {
			code, h, _ := g.raw(path, http.Header{"X-Forwarded-Proto": {proto}})
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Permissions-Policy": permissions,
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": x.caching,
				"Strict-Transport-Security": map[string]string{"http": "", "https": yearOfTLS}[proto],
			} {
				if h.Get(name) != want || len(h.Values(name)) > 1 {
					t.Errorf("%s %s: %s is %q, want %q", proto, path, name, h.Values(name), want)
				}
			}
			if csp := h.Get("Content-Security-Policy"); code != x.status || !strings.Contains(csp, x.policy) || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %d, policy %q", path, code, csp)
			}
		}
	}
}

func TestTheDocumentsOwnScriptsAreNamedByHash(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	_, h, page := g.raw("/docs/", nil)
	blocks := len(inline.FindAllString(page, -1))
	if n := strings.Count(h.Get("Content-Security-Policy"), "sha256-"); blocks < 3 || n != blocks {
		t.Errorf("%d hashes for %d blocks", n, blocks)
	}
	if body := strings.ToLower(page); strings.Contains(body, " onclick=") || strings.Contains(body, "javascript:") || strings.Contains(body, " style=") {
		t.Error("the document carries what no hash can name")
	}
}

func TestPathsOfTwoMeaningsAreRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	token := g.token(auth.Viewer)
	for path, want := range map[string]int{
		"/api/v1/robots/11111111-1111-4111-8111-111111111111%2f..":    400,
		"/api/v1/robots/..%2fme":                                      400,
		"/api/v1/robots/%2e%2e/me":                                    400,
		"/api/v1/./me":                                                400,
		"/api/v1/robots/%00":                                          400,
		"/api/v1/robots/a%0d%0ab":                                     400,
		"/api/v1/robots/%5c..%5cme":                                   400,
		"/api/v1/robots/11111111-1111-4111-8111-11111111111%EF%BC%91": 422,
		"/api/v1//me":                                                 404,
		"//api/v1/me":                                                 404,
		"/API/v1/me":                                                  404,
		"/api/v1/me/":                                                 404,
		"/api/v1/me;x=1":                                              404,
		"/api/v1/me%3f":                                               404,
	} {
		code, _, body := g.raw(path, http.Header{"Authorization": {"Bearer " + token}})
		if code != want || !strings.Contains(body, `"request_id"`) {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	many := http.Header{"X-A": make([]string, maxHeaders+1)}
	if code, _, _ := g.raw("/healthz", many); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d headers: %d", maxHeaders+1, code)
	}
}

// raw asks for a path as it stands there.
func (g *rig) raw(path string, h http.Header) (int, http.Header, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.URL.Opaque = path
	if strings.HasPrefix(path, "//") { // Opaque would take it for a host
		r.URL.Opaque, r.URL.Path = "", path
	}
	for k, v := range h {
		r.Header[k] = v
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}
