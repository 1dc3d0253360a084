package postgres

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// One waits, then one at a time tries, not more often than probeEvery; only news from the server itself opens the log.
func TestTheShutterLetsOneTryAtATime(t *testing.T) {
	t.Parallel()
	var s shutter
	now := time.Unix(1_800_000_000, 0)
	locked := &pgconn.PgError{Code: codeLockTimeout}
	enter := func(want time.Duration) {
		t.Helper()
		if got := s.enter(now); got != want {
			t.Fatalf("an intent may wait %s, want %s", got, want)
		}
	}
	enter(auditPatience)
	enter(auditPatience) // at the same time
	if !s.leave(auditPatience, locked, now) || s.leave(auditPatience, nil, now) {
		t.Error("a wait in vain, and one that was none, are told wrong")
	}
	enter(0)
	for _, end := range []error{locked, errors.New("the connection is gone")} {
		now = now.Add(probeEvery)
		enter(probePatience)
		now = now.Add(time.Hour)
		enter(0) // somebody tries
		s.leave(probePatience, end, now)
		enter(0)
	}
	now = now.Add(probeEvery)
	enter(probePatience)
	s.leave(probePatience, &pgconn.PgError{Code: codeCheck}, now)
	enter(auditPatience)
}
