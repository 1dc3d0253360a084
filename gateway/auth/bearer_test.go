package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestOneAuthorizationHeaderWithOneTokenIsRead(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
		if got, err := Bearer([]string{scheme + " a.b-_9.c"}); err != nil || got != "a.b-_9.c" {
			t.Errorf("%s: %q %v", scheme, got, err)
		}
	}
	for name, h := range map[string][]string{
		"none":             nil,
		"empty":            {""},
		"two":              {"Bearer a.b.c", "Bearer a.b.c"},
		"two, one empty":   {"Bearer a.b.c", ""},
		"scheme alone":     {"Bearer"},
		"no token":         {"Bearer "},
		"no scheme":        {"a.b.c"},
		"another scheme":   {"Basic YTpi"},
		"joined":           {"Bearera.b.c"},
		"two blanks":       {"Bearer  a.b.c"},
		"a tab":            {"Bearer\ta.b.c"},
		"a blank before":   {" Bearer a.b.c"},
		"a blank after":    {"Bearer a.b.c "},
		"two tokens":       {"Bearer a.b.c d.e.f"},
		"a list":           {"Bearer a.b.c,Bearer d.e.f"},
		"a list of tokens": {"Bearer a.b.c, d.e.f"},
		"a parameter":      {`Bearer token="a.b.c"`},
		"a line end":       {"Bearer a.b.c\n"},
		"a NUL":            {"Bearer a.b\x00.c"},
		"padding":          {"Bearer YQ==.YQ==.YQ=="},
		"standard base64":  {"Bearer a+b/c.b.c"},
		"other letters":    {"Bearer а.b.c"}, // a Cyrillic one
		"folded scheme":    {"Вearer a.b.c"},
		"JSON":             {`Bearer {"payload":"a"}`},
		"too long":         {"Bearer " + strings.Repeat("a", maxToken+1)},
	} {
		if got, err := Bearer(h); !errors.Is(err, ErrUnauthenticated) || got != "" {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer x", "Bearer  x", "Basic x", "Bearer a,b", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Bearer([]string{s})
		if err != nil {
			if !errors.Is(err, ErrUnauthenticated) || token != "" {
				t.Fatalf("%q %v", token, err)
			}
			return
		}
		if s[7:] != token || !strings.EqualFold(s[:7], "bearer ") || strings.ContainsAny(token, " ,;=\t\r\n\"{}") {
			t.Fatalf("%q of %q", token, s)
		}
		if _, err := Bearer([]string{s, s}); err == nil {
			t.Fatal("two headers are read")
		}
	})
}
