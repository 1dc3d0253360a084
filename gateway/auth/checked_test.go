package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// keyring has one key, which can be replaced or be away.
type keyring struct {
	key   atomic.Pointer[crypto.PublicKey]
	away  atomic.Bool
	asked atomic.Int32
}

func (k *keyring) Key(context.Context, string, string, time.Time) (crypto.PublicKey, error) {
	k.asked.Add(1)
	switch key := k.key.Load(); {
	case k.away.Load():
		return nil, ErrUnavailable
	case key == nil:
		return nil, ErrUnauthenticated
	default:
		return *key, nil
	}
}

func TestARememberedTokenEndsWithItsKey(t *testing.T) {
	t.Parallel()
	mine, other := ecKey(t), ecKey(t)
	public, another := crypto.PublicKey(mine.Public()), crypto.PublicKey(other.Public())
	var ring keyring
	var later atomic.Int64
	ring.key.Store(&public)
	v := New(Options{Issuer: "i", Audience: "a", Keys: &ring, Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	token := signed(t, jwa.ES256, mine, "k", time.Now().Add(time.Hour))
	for range 3 {
		who, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if who.Tenant != "" {
			t.Fatal("one request's tenant is another's")
		}
		who.Tenant, who.Roles = "chosen by this one", []string{Admin}
	}
	if v.checked.find(sha256.Sum256([]byte(token))) == nil {
		t.Fatal("nothing is remembered")
	}
	ring.away.Store(true)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while its keys are not to be had: %v", err)
	}
	ring.away.Store(false)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("when they are there again: %v", err)
	}
	ring.key.Store(&another)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another key under its id: %v", err)
	}
	ring.key.Store(nil)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("its key is withdrawn: %v", err)
	}
	ring.key.Store(&public)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(2 * time.Hour))
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	var m memory
	for n := range 5 * maxChecked {
		m.keep(sha256.Sum256([]byte(strconv.Itoa(n))), &checked{})
	}
	if len(m.new)+len(m.old) > 2*maxChecked {
		t.Errorf("%d tokens", len(m.new)+len(m.old))
	}
	if m.find(sha256.Sum256([]byte(strconv.Itoa(5*maxChecked-1)))) == nil || m.find(sha256.Sum256([]byte("0"))) != nil {
		t.Error("the newest is forgotten, or the oldest is not")
	}
}
