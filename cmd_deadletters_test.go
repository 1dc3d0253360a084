package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// tellAll walks through all commands.
func tellAll(path []string, cmds []*cobra.Command, tell func(path []string)) {
	for _, c := range cmds {
		at := append(slices.Clone(path), c.Name())
		tell(at)
		tellAll(at, c.Commands(), tell)
	}
}

func TestNoHelpShowsTheTokenOfTheEnvironment(t *testing.T) {
	t.Setenv("STARLING_TOKEN", "s3cret-bearer")
	seen := 0
	tellAll(nil, commands(), func(path []string) {
		for _, more := range []string{"--help", "--nope"} {
			var out bytes.Buffer
			run(t.Context(), append(slices.Clone(path), more), &out, &out, commands()...)
			if strings.Contains(out.String(), "s3cret") {
				t.Errorf("%v %s shows the token", path, more)
			}
			seen++
		}
	})
	if seen < 24 {
		t.Errorf("only %d helps were read", seen)
	}
}

// letterServer has three open letters; the second one has been discarded by somebody else. The token must be the environment's.
func letterServer(t *testing.T, asked *[]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret-bearer" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"items":[{"event_id":"e1"},{"event_id":"e2"},{"event_id":"e3"}]}`)
			return
		}
		id := strings.Split(r.URL.Path, "/")[4]
		*asked = append(*asked, id)
		if id == "e2" {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error":{"code":"CONFLICT","message":"discarded"}}`)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"event_id":%q,"state":"retrying"}`, id)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestALetterThatWasDecidedOtherwiseStopsNoOther(t *testing.T) {
	t.Setenv("STARLING_TOKEN", "s3cret-bearer")
	for args, want := range map[string]int{"--all": exitDone, "e1 e2 e3": exitFailed, "e1 e3": exitDone} {
		var asked []string
		var out, says bytes.Buffer
		code := run(t.Context(), append([]string{"dead-letters", "retry", "--url", letterServer(t, &asked)}, strings.Fields(args)...), &out, &says, commands()...)
		if code != want || out.String() != "e1 retrying\ne3 retrying\n" {
			t.Errorf("%s: exit code %d, %q, %q", args, code, out.String(), says.String())
		}
		if has := strings.Contains(says.String(), "1 of 3"); has != (args != "e1 e3") || asked[len(asked)-1] != "e3" {
			t.Errorf("%s: asked for %v, says %q", args, asked, says.String())
		}
	}
}
