package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// alertServer has two alerts; the second one is resolved. It notes what it is asked.
func alertServer(t *testing.T, asked *[]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret-bearer" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		delete(body, "until")
		*asked = append(*asked, fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", body))
		switch {
		case r.URL.Path == "/api/v1/alerts":
			fmt.Fprint(w, `{"items":[{"alert_id":"a1","level":"L2","status":"OPEN","cause":"congestion","subject":{"type":"zone","id":"z"},"message":"two\nlines","count":3,"opened_at":"t"}]}`)
		case strings.HasPrefix(r.URL.Path, "/api/v1/alerts/a2/"):
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error":{"code":"CONFLICT","message":"resolved"}}`)
		case strings.HasPrefix(r.URL.Path, "/api/v1/alerts/a1"):
			fmt.Fprint(w, `{"alert_id":"a1","status":"ACKNOWLEDGED","level":"L2","handling":[{"action":"comment","actor":"u","at":"t","details":{"text":"a pallet"}}]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAlertsAreHandledFromAShell(t *testing.T) {
	t.Setenv("STARLING_TOKEN", "s3cret-bearer")
	for args, want := range map[string]struct {
		code       int
		out, asked string
	}{
		"list":                      {exitDone, "two lines", "GET /api/v1/alerts?limit=500&unresolved=true map[]"},
		"list --min-level L2 --all": {exitDone, "zone z", "GET /api/v1/alerts?limit=500&min_level=L2 map[]"},
		"show a1":                   {exitDone, "text a pallet", "GET /api/v1/alerts/a1 map[]"},
		"show a9":                   {exitFailed, "", "GET /api/v1/alerts/a9 map[]"},
		"acknowledge a1":            {exitDone, "a1 ACKNOWLEDGED\n", "POST /api/v1/alerts/a1/acknowledge map[text:]"},
		"acknowledge a2 a1":         {exitFailed, "a1 ACKNOWLEDGED\n", "POST /api/v1/alerts/a2/acknowledge map[text:] POST /api/v1/alerts/a1/acknowledge map[text:]"},
		"resolve a1 --text done":    {exitDone, "a1", "POST /api/v1/alerts/a1/resolve map[text:done]"},
		"rollback a1":               {exitDone, "a1", "POST /api/v1/alerts/a1/rollback map[text:]"},
		"comment a1 --text pallet":  {exitDone, "a1", "POST /api/v1/alerts/a1/comments map[text:pallet]"},
		"comment a1":                {exitUsage, "", ""},
		"assign a1":                 {exitDone, "a1", "POST /api/v1/alerts/a1/assign map[assignee:me text:]"},
		"snooze a1 --for 5m":        {exitDone, "a1", "POST /api/v1/alerts/a1/snooze map[text:]"},
		"mark a1 --as false":        {exitDone, "a1", "POST /api/v1/alerts/a1/mark map[mark:false text:]"},
		"mark a1 --as wrong":        {exitUsage, "", ""},
		"acknowledge":               {exitUsage, "", ""},
		"list more":                 {exitUsage, "", ""},
	} {
		var asked []string
		var out, says bytes.Buffer
		code := run(t.Context(), append([]string{"alerts"}, append(strings.Fields(args), "--url", alertServer(t, &asked))...), &out, &says, commands()...)
		if code != want.code || !strings.Contains(out.String(), want.out) || strings.Join(asked, " ") != want.asked {
			t.Errorf("%s: exit code %d, asked %v\n%s%s", args, code, asked, out.String(), says.String())
		}
	}
}
