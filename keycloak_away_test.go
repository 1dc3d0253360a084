//go:build integration

package main

import (
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"starling/deploy/stack/stacktest"
)

// keysFor is how long keys are kept in this test: short, or as long as in production (`make soak`).
func keysFor(t *testing.T) time.Duration {
	t.Helper()
	const short = 4
	n := short
	if v := os.Getenv("STARLING_KEYCLOAK_TTL_SECONDS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < short {
			t.Fatalf("STARLING_KEYCLOAK_TTL_SECONDS: want a whole number from %d, got %q", short, v)
		}
	}
	return time.Duration(n) * time.Second
}

// The issuer is away at the start, comes, crashes for longer than keys are kept, comes back, withdraws a key, is disabled,
// and is removed. Kept keys serve until their end, never longer; whoever cannot be known is told 503, never 401 and never
// anything else; and the program finds back by itself.
func TestARealKeycloakThatIsAwayOrRevoked(t *testing.T) {
	t.Parallel()
	ttl := keysFor(t)
	k := stacktest.OwnKeycloak(t)
	lasting := map[string]any{"accessTokenLifespan": int((10*ttl + 10*time.Minute).Seconds())}
	stacktest.SetRealm(t, k, lasting)
	var token atomic.Value
	token.Store(stacktest.Token(t, k, "viewer-north"))
	keepSecrets(token.Load().(string))
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	r := newKeycloakRig(t, k, ttl, "JWT_CLOCK_SKEW_SECONDS=1") // which waits until it says that it is ready: it does without its issuer
	r.withoutIssuer(t, token.Load().(string))
	c := newCrowd(t, r)
	for range 4 {
		c.join("viewer-north", 200*time.Millisecond, func() string { return token.Load().(string) })
	}
	defer func() { c.leave() }()
	if err := k.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustComeBack("the issuer came", min(ttl, 10*time.Second)) // short keys are fetched ahead of their end in that time
	gone := time.Now()
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	c.mustEnd("the issuer crashed", gone, time.Now(), ttl)
	if err := k.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustComeBack("the issuer came back", time.Second)
	token.Store(c.keyWithdrawn(token.Load().(string), ttl))
	c.realmDisabled()
	stacktest.SetRealm(t, k, lasting)
	token.Store(stacktest.Token(t, k, "viewer-north"))
	c.mustComeBack("the realm is restored", time.Second)
	gone = time.Now()
	stacktest.RemoveRealm(t, k)
	c.mustEnd("the realm is removed", gone, time.Now(), ttl)
}

// withoutIssuer: the program has started and has no keys yet.
func (r *keycloakRig) withoutIssuer(t *testing.T, token string) {
	t.Helper()
	if a := r.send(t, http.MethodGet, "/healthz", "", ""); !a.fine() {
		t.Errorf("healthz while the issuer is away: %v", a)
	}
	for range 5 {
		if a := r.send(t, http.MethodGet, "/api/v1/me", token, ""); !a.away() {
			t.Errorf("a token that cannot be checked: %v", a)
		}
	}
	for name, none := range map[string]string{"no token": "", "no token at all": "x.y.z"} {
		if a := r.send(t, http.MethodGet, "/api/v1/me", none, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s, while the issuer is away: %v", name, a)
		}
	}
}

// mustComeBack waits until a request passes; from then on, for a while, all must.
func (c *crowd) mustComeBack(what string, while time.Duration) {
	c.t.Helper()
	a := c.await(what, time.Minute, answer.fine)
	time.Sleep(while)
	for _, b := range c.since(a.ended) {
		if !b.fine() {
			c.t.Errorf("%s: after it was let in again: %v", what, b)
			return
		}
	}
}

// mustEnd watches what becomes of good tokens once the keys cannot be fetched; that began between the two times.
func (c *crowd) mustEnd(what string, from, until time.Time, ttl time.Duration) {
	c.t.Helper()
	const slack = time.Second // a fetch that had begun may still end
	time.Sleep(time.Until(until.Add(ttl + slack + 2*time.Second)))
	var first *answer
	kept, away, wrong := 0, 0, map[string]answer{}
	for _, a := range c.since(until) {
		switch {
		case a.fine():
			kept++
			if a.began.After(until.Add(ttl + slack)) {
				wrong["let in after the keys' end"] = a
			}
			if first != nil && a.began.After(first.ended) {
				wrong["let in after it was refused"] = a
			}
		case a.away():
			away++
			if first == nil {
				first = &a
			}
			if a.began.Before(from.Add(ttl/4 - slack/2)) { // keys are fetched anew after three quarters of their time
				wrong["refused while keys were kept"] = a
			}
		default:
			wrong["neither let in nor told to come again"] = a
		}
	}
	for how, a := range wrong {
		c.t.Errorf("%s: %s: %v", what, how, a)
	}
	if kept == 0 || away == 0 {
		c.t.Errorf("%s: %d requests passed on kept keys, %d were told to come again; want some of both", what, kept, away)
		return
	}
	c.t.Logf("%s: %d passed on kept keys for %d ms, then %d were told to come again", what, kept, first.began.Sub(until).Milliseconds(), away)
}

// keyWithdrawn turns the realm's key and withdraws the old one: its tokens end with the kept keys, those of the new one
// never do. It returns a token of the new key.
func (c *crowd) keyWithdrawn(old string, ttl time.Duration) string {
	c.t.Helper()
	stacktest.RotateKey(c.t, c.rig.k)
	token := stacktest.Token(c.t, c.rig.k, "operator-south")
	began := time.Now()
	defer c.join("operator-south", 200*time.Millisecond, func() string { return token })()
	stacktest.RetireKeys(c.t, c.rig.k)
	c.await("the key is withdrawn", ttl+10*time.Second, func(a answer) bool { return a.who == "viewer-north" && a.status == http.StatusUnauthorized })
	if a := c.rig.send(c.t, http.MethodGet, "/api/v1/me", old, ""); a.status != http.StatusUnauthorized || a.code != "UNAUTHENTICATED" {
		c.t.Errorf("the token of a withdrawn key: %v", a)
	}
	passed := 0
	for _, a := range c.since(began) {
		switch {
		case a.who != "operator-south":
		case a.fine():
			passed++
		default:
			c.t.Errorf("the token of the new key: %v", a)
		}
	}
	if passed == 0 {
		c.t.Error("nobody asked with the new key")
	}
	return token
}

// realmDisabled: Keycloak goes on publishing the keys of a disabled realm, but signs nobody in, so that the tokens that it
// has given out end the revocation's delay: by their own end nobody is let in.
func (c *crowd) realmDisabled() {
	c.t.Helper()
	const life, skew = 4 * time.Second, time.Second
	stacktest.SetRealm(c.t, c.rig.k, map[string]any{"accessTokenLifespan": int(life.Seconds())})
	began := time.Now()
	brief := stacktest.Token(c.t, c.rig.k, "admin-north")
	given := time.Now()
	leave := c.join("admin-north", 100*time.Millisecond, func() string { return brief })
	stacktest.SetRealm(c.t, c.rig.k, map[string]any{"enabled": false})
	u := stacktest.User(c.t, "admin-north")
	if _, err := c.rig.k.PasswordToken(c.t.Context(), u.Name, u.Password); err == nil {
		c.t.Error("a disabled realm signs people in")
	}
	c.await("the realm is disabled", life+skew+10*time.Second, func(a answer) bool { return a.who == "admin-north" && a.status == http.StatusUnauthorized })
	time.Sleep(skew)
	leave()
	passed, refused := 0, 0
	for _, a := range c.since(given) {
		switch {
		case a.who != "admin-north":
		case a.fine():
			passed++
			if a.began.After(given.Add(life + skew + time.Second)) { // times in tokens are whole seconds
				c.t.Errorf("the realm is disabled: let in after the token's end: %v", a)
			}
		case a.status == http.StatusUnauthorized && a.code == "UNAUTHENTICATED":
			refused++
			if a.ended.Before(began.Add(life - time.Second)) {
				c.t.Errorf("the realm is disabled: refused before the token's end: %v", a)
			}
		default:
			c.t.Errorf("the realm is disabled: %v", a)
		}
	}
	if passed == 0 || refused == 0 {
		c.t.Errorf("the realm is disabled: %d passed, %d were refused; want some of both", passed, refused)
	}
	stacktest.SetRealm(c.t, c.rig.k, map[string]any{"enabled": true})
}
