package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

const (
	// loginBound is how many users may wait to be kept.
	loginBound = 1000
	// loginTries is how often keeping one is tried.
	loginTries = 3
	// textBound is the longest text of a user that is kept, in bytes.
	textBound = 255
)

// login is a user to be kept.
type login struct {
	tenant fleet.TenantID
	user   fact.User
}

// SignedIn is told of every request with a good token: the first use of a token in a tenant is a sign-in, of which e is
// put on record and the user kept. Nothing of the token is stored. It never blocks.
func (r *Recorder) SignedIn(who *auth.Identity, e fact.AuditEntry) {
	if r == nil || who == nil || !r.seen.first(tokenOf(who), e.Tenant) {
		return
	}
	r.metrics.signIns.WithLabelValues("seen").Inc()
	if e.User == "" {
		e.User = auth.UserID(who)
	}
	r.Add(e)
	if r.Users == nil || who.Subject == "" || slices.Contains(who.Roles, auth.RobotRole) { // robots are no people
		return
	}
	tenant := e.Tenant
	if tenant == "" {
		tenant = fleet.NilTenant
	}
	r.senders.RLock()
	defer r.senders.RUnlock()
	if r.closing.Load() {
		return
	}
	u := fact.User{ID: e.User, Tenant: tenant, Subject: text(who.Subject), Email: text(who.Email), DisplayName: text(who.Name)}
	select {
	case r.logins <- login{tenant, u}:
	default:
		r.lost("users", 1, errFull)
	}
}

// tokenOf tells tokens apart; where the identity does not come of one, its subject does for as long as it holds.
func tokenOf(who *auth.Identity) string {
	if who.TokenID != "" {
		return who.TokenID
	}
	return who.Issuer + "\x00" + who.Subject + "\x00" + who.Expires.UTC().Format(time.RFC3339)
}

func text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	if len(s) > textBound {
		s = strings.ToValidUTF8(s[:textBound], "")
	}
	return s
}

// keepUsers keeps those who have signed in, one after the other.
func (r *Recorder) keepUsers() {
	for l := range r.logins {
		if err := r.keepUser(l); err != nil {
			r.metrics.signIns.WithLabelValues("user_lost").Inc()
			r.complainOf(err, "keep a user who has signed in", 0)
			continue
		}
		r.metrics.signIns.WithLabelValues("user_kept").Inc()
	}
}

func (r *Recorder) keepUser(l login) (err error) {
	for try := range loginTries {
		if try > 0 {
			select {
			case <-time.After(r.Retry << (2 * try)):
			case <-r.ended: // the end does not wait for it
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.Timeout)
		_, err = r.Users.UpsertUserFromOIDC(ctx, l.tenant, l.user)
		cancel()
		if err == nil || errors.Is(err, fact.ErrRejected) || errors.Is(err, fact.ErrNotFound) {
			return err
		}
	}
	return err
}

// seen remembers tokens, the newest ones at least: two generations, of which the older goes when the newer is full.
type seen struct {
	mu       sync.Mutex
	most     int // of a generation
	new, old map[mark]struct{}
}

type mark [16]byte

func (s *seen) init(most int) { s.most, s.new, s.old = max(1, most/2), map[mark]struct{}{}, nil }

// first says that the token has not been seen in the tenant, or too long ago.
func (s *seen) first(token string, tenant fleet.TenantID) bool {
	sum := sha256.Sum256([]byte(string(tenant) + "\x00" + token))
	m := mark(sum[:16])
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.new[m]; ok {
		return false
	}
	_, known := s.old[m]
	if len(s.new) >= s.most {
		s.old, s.new = s.new, make(map[mark]struct{}, s.most/4)
	}
	s.new[m] = struct{}{}
	return !known
}
