package postgres

import (
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// probePatience is how long an intent waits for a log that was found shut: hardly.
	probePatience = 10 * time.Millisecond
	// probeEvery is how often one tries at most: a log that stays shut costs writes probePatience of it.
	probeEvery = 250 * time.Millisecond
)

// errShut is why an intent was not even tried.
var errShut = errors.New("the audit log is locked")

// shutter remembers that somebody holds the audit log shut: the write that finds out waits auditPatience, those that come
// later do without their intents. One at a time tries again, with little patience; the first that comes in opens it.
type shutter struct {
	mu      sync.Mutex
	shut    bool
	probing bool
	next    time.Time // no probe before
}

// enter says how long an intent may wait for the log, 0 = it is not to be tried. Whoever may wait calls leave.
func (s *shutter) enter(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.shut:
		return auditPatience
	case s.probing || now.Before(s.next):
		return 0
	}
	s.probing = true
	return probePatience
}

// leave ends what enter allowed, by what came of it; it says whether the wait was in vain.
func (s *shutter) leave(patience time.Duration, err error, now time.Time) (waited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer *pgconn.PgError
	waited = lockedOut(err)
	if patience == probePatience {
		s.probing, s.next = false, now.Add(probeEvery)
		s.shut = err != nil && !errors.As(err, &answer) // a fault of another kind says that the log is open
	}
	if waited {
		s.shut, s.next = true, now.Add(probeEvery)
	}
	return waited
}

// left ends what enter allowed, and counts a wait in vain.
func (s *Store) left(patience time.Duration, err error) {
	if s.shutter.leave(patience, err, time.Now()) {
		s.metrics.audit.WithLabelValues("intent_waited").Inc()
	}
}
