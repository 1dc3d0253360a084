package auth

import (
	"context"
	"slices"
	"sync"
	"time"

	"starling/engine/fleet"
)

// How long the look-up of a role that replaces a token's is good, and how many are kept.
const (
	overrideFor  = 15 * time.Second
	maxOverrides = 10_000
)

type overrideKey struct {
	tenant  fleet.TenantID
	subject string
}

type override struct {
	role string
	at   time.Time
}

// overrides are the roles that were looked up lately.
type overrides struct {
	mu   sync.Mutex
	kept map[overrideKey]override
}

// Override replaces the roles of an identity by the one that its tenant has given it, if Options.Override is there and a
// tenant in force. It cannot make a platform administrator, nor does it unmake one. ErrUnavailable where the look-up
// fails: the token's roles may be more than what the tenant allows.
func (v *Verifier) Override(ctx context.Context, i *Identity) error {
	if v == nil || v.o.Override == nil || i.Tenant == "" || i.Subject == "" {
		return nil
	}
	k, now := overrideKey{i.Tenant, i.Subject}, v.o.Now()
	v.roles.mu.Lock()
	found, ok := v.roles.kept[k]
	v.roles.mu.Unlock()
	if !ok || now.Sub(found.at) >= overrideFor {
		role, err := v.o.Override(ctx, i.Tenant, i.Subject)
		if err != nil {
			v.counters.unavailable.Inc()
			return ErrUnavailable
		}
		found = override{role, now}
		v.roles.keep(k, found)
	}
	if found.role == PlatformAdmin || !slices.Contains(known[:], found.role) {
		return nil
	}
	platform := slices.Contains(i.Roles, PlatformAdmin)
	i.Roles = []string{found.role}
	if platform {
		i.Roles = []string{found.role, PlatformAdmin}
		slices.Sort(i.Roles)
	}
	return nil
}

// keep remembers a role. A full memory is emptied: what is asked often comes back at once.
func (o *overrides) keep(k overrideKey, r override) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept) >= maxOverrides {
		clear(o.kept)
	}
	o.kept[k] = r
}
