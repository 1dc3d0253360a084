package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"sync"
	"time"
)

// maxChecked is how many tokens of one generation are remembered as checked; two generations are kept. A token with its
// claims takes about 3 kB, at most ten times its length: longer ones than rememberUpTo are checked each time.
const (
	maxChecked   = 4096
	rememberUpTo = 4 << 10
)

// checked is a token whose signature and claims held. The key that it was checked by must still be its issuer's each time
// it comes: a key that is withdrawn, or whose set has run out, ends it as it ends one that was never seen.
type checked struct {
	who      *Identity // with no tenant in force; copied for each request
	from     *Issuer
	kid, alg string
	issued   time.Time
	key      crypto.PublicKey
}

// memory remembers checked tokens by their SHA-256: whoever asks often is not checked anew each time. Without it a tenant
// beyond its quota costs mostly the check of its token.
type memory struct {
	mu       sync.Mutex
	new, old map[[sha256.Size]byte]*checked
}

func (m *memory) find(sum [sha256.Size]byte) *checked {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.new[sum]; c != nil {
		return c
	}
	c := m.old[sum]
	if c != nil {
		m.put(sum, c)
	}
	return c
}

func (m *memory) keep(sum [sha256.Size]byte, c *checked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(sum, c)
}

func (m *memory) forget(sum [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.new, sum)
	delete(m.old, sum)
}

// put adds to the new generation; a full one becomes the old one. mu is held.
func (m *memory) put(sum [sha256.Size]byte, c *checked) {
	if m.new == nil || len(m.new) >= maxChecked {
		m.old, m.new = m.new, make(map[[sha256.Size]byte]*checked)
	}
	m.new[sum] = c
}

// again says who a token is of that was checked before; nil and no error = it must be checked.
func (v *Verifier) again(ctx context.Context, sum [sha256.Size]byte) (*Identity, error) {
	c := v.checked.find(sum)
	if c == nil {
		return nil, nil
	}
	if !v.o.Now().Before(c.who.Expires.Add(v.o.Skew)) {
		v.checked.forget(sum)
		return nil, nil // the check says so in its own way
	}
	key, err := c.from.Keys.Key(ctx, c.kid, c.alg, c.issued)
	if err != nil {
		v.checked.forget(sum)
		return nil, err
	}
	same, ok := key.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !same.Equal(c.key) {
		v.checked.forget(sum)
		return nil, nil
	}
	who := *c.who
	return &who, nil
}
