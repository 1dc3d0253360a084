//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"starling/gateway/auth/authtest"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// tokenDoors are the real processes whose doors tokens are shown to, and the issuer that they trust.
type tokenDoors struct {
	issuer  *authtest.Issuer
	engine  *service
	python  *mannered
	link    linkv1.LinkClient
	shown   []string // tokens
	refused map[string]int
}

func openDoors(t *testing.T) *tokenDoors {
	t.Helper()
	d := &tokenDoors{issuer: authtest.New(t), engine: newService(t, 5*time.Second), refused: map[string]int{}}
	file := filepath.Join(d.engine.dir, "issuers.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "issuers:\n- issuer: %s\n  audiences: [%s]\n", d.issuer.URL, authtest.Audience), 0o600); err != nil {
		t.Fatal(err)
	}
	d.engine.env = append(d.engine.env, "DEV_ISSUER_ENABLED=false", "OIDC_ISSUERS_FILE="+file, "LOG_LEVEL=debug")
	d.engine.launch(t, "gateway,engine")
	d.engine.ready(t)
	d.python = launchPython(t, pythonOf(t), pythonProcess, "LOG_LEVEL=debug", "OIDC_ISSUER="+d.issuer.URL, "OIDC_AUDIENCE="+authtest.Audience)
	conn, err := grpc.NewClient(d.engine.Link, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d.link = linkv1.NewLinkClient(conn)
	return d
}

// tokenDoor is one that is reached by HTTP; show sends it headers and returns what it answers.
type tokenDoor struct {
	name string
	show func(t *testing.T, header http.Header) (status int, h http.Header, body []byte, err error)
}

// upgrade are the headers that ask for a WebSocket.
func upgrade(h http.Header) http.Header {
	h = h.Clone()
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		h.Set(k, v)
	}
	if h.Get("Sec-WebSocket-Protocol") == "" {
		h.Set("Sec-WebSocket-Protocol", "starling.v1.json")
	}
	return h
}

// http are the doors where a token stands in a header.
func (d *tokenDoors) http() []tokenDoor {
	at := func(method, url string, more func(http.Header) http.Header) func(*testing.T, http.Header) (int, http.Header, []byte, error) {
		return func(t *testing.T, h http.Header) (int, http.Header, []byte, error) {
			return present(t, method, url, more(h))
		}
	}
	return []tokenDoor{
		{"REST", at(http.MethodGet, d.engine.URL+"/api/v1/me", http.Header.Clone)},
		{"REST, a write", at(http.MethodPost, d.engine.URL+"/api/v1/tasks", http.Header.Clone)},
		{"WebSocket", at(http.MethodGet, d.engine.URL+"/api/v1/ws", upgrade)},
		{"SSE", at(http.MethodGet, d.engine.URL+"/api/v1/stream?channel=robots", http.Header.Clone)},
		{"Python", at(http.MethodGet, d.python.url+"/api/v1/me", http.Header.Clone)},
	}
}

// subprotocol is the WebSocket door where the token comes as browsers send it.
func (d *tokenDoors) subprotocol() tokenDoor {
	return tokenDoor{"WebSocket, sub-protocol", func(t *testing.T, header http.Header) (int, http.Header, []byte, error) {
		offers := "starling.v1.json"
		for _, v := range header.Values("Authorization") {
			offers += ", bearer." + strings.TrimPrefix(v, "Bearer ")
		}
		return present(t, http.MethodGet, d.engine.URL+"/api/v1/ws", upgrade(http.Header{"Sec-Websocket-Protocol": {offers}}))
	}}
}

// present sends a request on a connection of its own. The body of a good answer is not read: a stream has no end.
func present(t *testing.T, method, url string, h http.Header) (int, http.Header, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	req.Close = h.Get("Upgrade") == ""
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < http.StatusBadRequest {
		return res.StatusCode, res.Header, nil, nil
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, body, err
}

// judge holds an HTTP door's answer to a refusal.
func (d *tokenDoors) judge(t *testing.T, name, at string, status int, h http.Header, body []byte) {
	t.Helper()
	var got struct {
		Error struct {
			Code, Message string
			RequestID     string `json:"request_id"`
			Details       map[string]any
		}
	}
	switch err := json.Unmarshal(body, &got); {
	case status != http.StatusUnauthorized:
		t.Errorf("%s at %s: %d %.300s", name, at, status, body)
	case err != nil || got.Error.Code != "UNAUTHENTICATED" || got.Error.RequestID != h.Get("X-Request-ID") || got.Error.Message == "" || len(got.Error.Details) != 0:
		t.Errorf("%s at %s: not the contract's body: %s", name, at, body)
	case !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer"):
		t.Errorf("%s at %s: WWW-Authenticate is %q", name, at, h.Get("WWW-Authenticate"))
	default:
		d.refused[at]++
	}
}

// dial shows values of authorization to the robot link.
func (d *tokenDoors) dial(t *testing.T, values ...string) codes.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	md := metadata.MD{}
	md.Append("authorization", values...)
	stream, err := d.link.Connect(metadata.NewOutgoingContext(ctx, md))
	if err == nil {
		_, err = stream.Recv()
	}
	return status.Code(err)
}

// Every token of testdata/tokens is shown to every door of the real processes.
func TestNoDoorTakesATokenThatIsNotGood(t *testing.T) {
	d := openDoors(t)
	for _, c := range authtest.Cases(t, filepath.Join("testdata", "tokens", "cases.json")) {
		token := d.issuer.Token(t, c)
		d.shown = append(d.shown, token)
		if strings.ContainsAny(token, "\n\x00") {
			continue // no header can carry it: the client does not send it, the server does not read it
		}
		doors := d.http()
		if !strings.ContainsAny(token, ", \"") {
			doors = append(doors, d.subprotocol())
		}
		for _, at := range doors {
			code, h, body, err := at.show(t, http.Header{"Authorization": {"Bearer " + token}})
			switch {
			case err != nil && len(token) < 60_000:
				t.Errorf("%s at %s: %v", c.Name, at.name, err)
			case err != nil || len(token) > 60_000: // more than headers may have in all: the server below cuts it short
				if err == nil && (code < 400 || code >= 500) {
					t.Errorf("%s at %s: %d", c.Name, at.name, code)
				}
			case !c.Good:
				d.judge(t, c.Name, at.name, code, h, body)
			case strings.Contains(c.Name, "just ended") && at.name == "SSE": // a stream ends with its token, by our own clock
			case code == http.StatusUnauthorized || code >= 500:
				t.Errorf("%s at %s: %d %s", c.Name, at.name, code, body)
			}
		}
		switch code := d.dial(t, "Bearer "+token); {
		case c.Good && code != codes.PermissionDenied: // a viewer is no robot
			t.Errorf("%s at the link: %s", c.Name, code)
		case !c.Good && code == codes.Unauthenticated:
			d.refused["link"]++
		case !c.Good && (len(token) < 8_000 && strings.IndexFunc(token, func(r rune) bool { return r > '~' }) < 0 || code == codes.OK || code == codes.PermissionDenied):
			t.Errorf("%s at the link: %s", c.Name, code)
		}
	}
	d.otherPlaces(t)
	d.keepsSilent(t)
	t.Logf("refused: %v", d.refused)
	for at, n := range d.refused {
		if n < 40 && at != "queries" {
			t.Errorf("%s refused only %d", at, n)
		}
	}
	if len(d.refused) != 8 {
		t.Errorf("%d doors were tried", len(d.refused))
	}
}

// otherPlaces shows a good token where none is looked for, and in more than one way at once.
func (d *tokenDoors) otherPlaces(t *testing.T) {
	t.Helper()
	good := d.issuer.Good(t, map[string]any{"jti": "shown in other places"})
	d.shown = append(d.shown, good)
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + good))
	for name, h := range map[string]http.Header{
		"nothing":                     {},
		"two headers":                 {"Authorization": {"Bearer " + good, "Bearer " + good}},
		"two headers, one empty":      {"Authorization": {"Bearer " + good, ""}},
		"two headers, one Basic":      {"Authorization": {"Basic " + basic, "Bearer " + good}},
		"in one header with a comma":  {"Authorization": {"Bearer " + good + ", Bearer " + good}},
		"Basic":                       {"Authorization": {"Basic " + basic}},
		"Digest":                      {"Authorization": {"Digest " + good}},
		"no scheme":                   {"Authorization": {good}},
		"a scheme that is joined":     {"Authorization": {"Bearer" + good}},
		"two blanks":                  {"Authorization": {"Bearer  " + good}},
		"a tab":                       {"Authorization": {"Bearer\t" + good}},
		"a quoted parameter":          {"Authorization": {`Bearer token="` + good + `"`}},
		"a cookie":                    {"Cookie": {"access_token=" + good + "; token=" + good}},
		"another header":              {"X-Authorization": {"Bearer " + good}, "X-Access-Token": {good}, "Proxy-Authorization": {"Bearer " + good}},
		"a header that a proxy makes": {"X-Forwarded-User": {"somebody"}, "X-Forwarded-Authorization": {"Bearer " + good}},
	} {
		for _, at := range d.http() {
			code, header, body, err := at.show(t, h)
			if err != nil {
				t.Errorf("%s at %s: %v", name, at.name, err)
				continue
			}
			d.judge(t, name, at.name, code, header, body)
		}
	}
	two := http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}
	if code, h, body, err := d.subprotocol().show(t, two); err != nil {
		t.Error(err)
	} else {
		d.judge(t, "two tokens as sub-protocols", "WebSocket, sub-protocol", code, h, body)
	}
	for _, base := range []string{d.engine.URL, d.python.url} {
		for _, query := range []string{"access_token=", "token=", "authorization=Bearer%20", "jwt="} {
			d.query(t, base+"/api/v1/me?"+query+good)
		}
	}
	d.query(t, d.engine.URL+"/api/v1/stream?channel=robots&access_token="+good)
	for name, values := range map[string][]string{"nothing": nil, "two": {"Bearer " + good, "Bearer " + good}, "a list": {"Bearer " + good + ",Bearer " + good}, "Basic": {"Basic " + basic}} {
		if code := d.dial(t, values...); code != codes.Unauthenticated {
			t.Errorf("%s at the link: %s", name, code)
		}
	}
	if code := d.dial(t, "bearer "+good); code != codes.PermissionDenied {
		t.Errorf("the scheme in small letters at the link: %s", code)
	}
	for _, at := range d.http() {
		if code, _, body, err := at.show(t, http.Header{"Authorization": {"bEARER " + good}}); err != nil || code == http.StatusUnauthorized || code >= 500 {
			t.Errorf("the scheme in other letters at %s: %d %s %v", at.name, code, body, err)
		}
	}
}

// query asks with a token in the URL and in the body, where nobody may look for it.
func (d *tokenDoors) query(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	d.judge(t, "in the query", "queries", res.StatusCode, res.Header, body)
}

// keepsSilent demands that no part of a token that was shown stands in a log, though it tells all it can.
func (d *tokenDoors) keepsSilent(t *testing.T) {
	t.Helper()
	for _, path := range []string{d.engine.output, d.python.output} {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(log, []byte(`"auth.refused"`)) || !bytes.Contains(log, []byte(`"http.end"`)) {
			t.Errorf("%s: this log tells nothing", path)
		}
		for _, token := range d.shown {
			for _, part := range strings.FieldsFunc(token, func(r rune) bool { return strings.ContainsRune(".,\" \n\x00{}:", r) }) {
				for begin := 0; len(part)-begin >= 20 && begin < 400; begin += 20 {
					if bytes.Contains(log, []byte(part[begin:begin+20])) {
						t.Fatalf("%s: a part of a token stands in the log: %s", path, part[begin:begin+20])
					}
				}
			}
		}
	}
}

// Go and Python read the same from a token.
func TestEveryProcessReadsTheSameFromAToken(t *testing.T) {
	d := openDoors(t)
	for name, claims := range map[string]map[string]any{
		"a viewer":                    nil,
		"everything at once":          {"email": "a@b.example", "name": "A B", "roles": "admin viewer", "realm_access": map[string]any{"roles": []string{"operator", "x"}}, "scope": "openid robot", "azp": "c", "n": 1.5, "list": []any{1, nil, true, map[string]any{"ü": "ß"}}},
		"a name of another claim":     {"preferred_username": "p"},
		"our client and another":      {"resource_access": map[string]any{"starling": map[string]any{"roles": []string{"operator"}}, "other": map[string]any{"roles": []string{"admin"}}}},
		"several tenants":             {"tenants": []string{"22222222-2222-4222-8222-222222222222", authtest.Tenant}},
		"no tenant":                   {"tenant_id": nil},
		"a tenant in capitals":        {"tenant_id": "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA"},
		"a large number as it stands": {"big": json.Number("12345678901234567890"), "small": json.Number("0.10")},
	} {
		token, answers := d.issuer.Good(t, claims), map[string]any{}
		for _, at := range []string{d.engine.URL, d.python.url} {
			m := mannered{url: at, token: token}
			code, _, body, err := m.ask(t.Context(), http.MethodGet, "/api/v1/me", nil, nil)
			var answer any
			if err != nil || code != http.StatusOK || json.Unmarshal(body, &answer) != nil {
				t.Fatalf("%s: %s: %d %s %v", name, at, code, body, err)
			}
			answers[at] = answer
		}
		if diff := cmp.Diff(answers[d.engine.URL], answers[d.python.url]); diff != "" {
			t.Errorf("%s: Go and Python differ (-Go +Python):\n%s", name, diff)
		}
	}
}
