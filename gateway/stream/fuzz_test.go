package stream

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"starling/gateway/auth"
)

// FuzzMessage feeds the decoder whatever a client may send. What it takes keeps all bounds, and means the same when it is
// written out and read again.
func FuzzMessage(f *testing.F) {
	for _, m := range []string{
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehouse_id":"10000000-0000-4000-8000-000000000001","rect":[0,0,9,9]},"rate_hz":2}`,
		`{"op":"subscribe","id":2147483647,"channel":"tasks","since":{"epoch":"e","seq":18446744073709551615}}`,
		`{"op":"subscribe","id":3,"channel":"zones","rate_hz":0.1}`, `{"op":"ping","t":{"a":[1,2]}}`, `{"op":"token","token":"a.b.c"}`,
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"robot_ids":["c0000000-0000-4000-8000-00000000000A"]},"detail":true}`,
		`{"op":"unsubscribe","id":-1}`, `{"op":"subscribe","id":1e9}`, `[]`, `{`, "\xff", `{"op":"ping"}{"op":"ping"}`, `{"OP":"ping","op":null}`,
	} {
		f.Add([]byte(m))
	}
	srv := New(Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := srv.newSession(&auth.Identity{Roles: []string{auth.Viewer}}, "ws", httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
		var w wish
		if bad := decode(b, &w); bad != nil {
			if bad.code == "" || len(bad.fields) == 0 {
				t.Fatalf("%q is refused without a reason", b)
			}
			return
		}
		if !json.Valid(b) {
			t.Fatalf("%q is taken", b)
		}
		s, bad := x.newSub(&w)
		if bad != nil {
			if len(bad.fields) == 0 || len(bad.fields) > 20 {
				t.Fatalf("%d faults", len(bad.fields))
			}
			return
		}
		bounded(t, s)
		again, _ := json.Marshal(w)
		var v wish
		if bad := decode(again, &v); bad != nil {
			t.Fatalf("%s is taken, and %s is not: %v", b, again, bad)
		}
		s2, bad := x.newSub(&v)
		if bad != nil || s2.id != s.id || s2.channel != s.channel || s2.rate != s.rate || s2.warehouse != s.warehouse || len(s2.robots) != len(s.robots) {
			t.Fatalf("%s means something else when written again: %s", b, again)
		}
	})
}

func bounded(t *testing.T, s *sub) {
	t.Helper()
	known := false
	for _, r := range rates {
		known = known || r == s.rate
	}
	switch {
	case s.id < 1 || s.id > 1<<31-1, !known, len(s.robots) > maxIDs, len(s.tasks) > maxIDs, s.detail && len(s.robots) > maxDetailed:
		t.Fatalf("%+v", s.id)
	case s.rect != nil && (s.rect.x0 > s.rect.x1 || s.rect.y0 > s.rect.y1 || s.warehouse == ""):
		t.Fatalf("%+v", s.rect)
	case s.robots != nil && s.channel != chanRobots, s.tasks != nil && s.channel != chanTasks, s.rect != nil && s.channel != chanRobots:
		t.Fatalf("a filter of another channel than %s", s.channel)
	}
}

// FuzzQuery feeds the query of an SSE subscription.
func FuzzQuery(f *testing.F) {
	f.Add("channel=robots&rate_hz=1&rect=0,0,1,1&warehouse_id=10000000-0000-4000-8000-000000000001", "")
	f.Add("channel=tasks&since=e:42&task_ids=e0000000-0000-4000-8000-000000000001", "e:1")
	f.Add("channel=%zz", "e")
	f.Add("channel=zones&channel=zones&x=1&rate_hz=NaN", "e-part:0")
	srv := New(Options{})
	f.Fuzz(func(t *testing.T, query, last string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/api/v1/stream", RawQuery: query}, Header: http.Header{"Last-Event-Id": {last}}}
		w, faulty, bad := parseQuery(r)
		if bad != nil || len(faulty) > 0 {
			return
		}
		x := srv.newSession(&auth.Identity{Roles: []string{auth.Viewer}}, "sse", httptest.NewRecorder(), r)
		if s, bad := x.newSub(w); bad == nil {
			bounded(t, s)
		}
	})
}
