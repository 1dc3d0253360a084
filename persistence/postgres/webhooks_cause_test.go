package postgres

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What a try has brought must be recorded whatever the cause is made of, else it is made again and again.
func TestACauseIsCutAtACharacter(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "refused", strings.Repeat("a", maxCause-1) + "é", strings.Repeat("é", maxCause), "\xff\x00 broken"} {
		if got := cutCause(s); len(got) > maxCause || !utf8.ValidString(got) || strings.Contains(got, "\x00") || s == "refused" && got != s {
			t.Errorf("%q is cut to %q", s, got)
		}
	}
}
