package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// How long a slug's tenant is remembered, and how many slugs are, those that nobody has among them.
const (
	slugFor  = 5 * time.Second
	maxSlugs = 10_000
)

type slugFound struct {
	tenant fleet.TenantID // "" = there is none
	until  time.Time
}

// slugs remembers whose slugs are whose, so that naming a tenant by its slug costs the store nothing most of the time.
type slugs struct {
	look func(ctx context.Context, slug string) (fleet.TenantID, error)
	now  func() time.Time

	mu   sync.Mutex
	kept map[string]slugFound
}

// find returns fact.ErrNotFound where no tenant has the slug.
func (s *slugs) find(ctx context.Context, slug string) (fleet.TenantID, error) {
	s.mu.Lock()
	known, ok := s.kept[slug]
	s.mu.Unlock()
	now := s.now()
	if !ok || !now.Before(known.until) {
		tenant, err := s.look(ctx, slug)
		if err != nil && !errors.Is(err, fact.ErrNotFound) {
			return "", err
		}
		known = slugFound{tenant, now.Add(slugFor)}
		s.mu.Lock()
		if s.kept == nil || len(s.kept) >= maxSlugs {
			s.kept = map[string]slugFound{}
		}
		s.kept[slug] = known
		s.mu.Unlock()
	}
	if known.tenant == "" {
		return "", fact.ErrNotFound
	}
	return known.tenant, nil
}
