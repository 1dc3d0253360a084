package quota

import (
	"sync"

	"starling/engine/fleet"
)

// Share divides places (requests under way) among tenants, so that none fills them all: a tenant may hold as many as
// are free. Alone it comes to half, two that want all come to a third each, and one that holds nothing finds a place as
// long as any is free. (The dynamic threshold of Choudhury and Hahne, 1998, with factor 1.) Nobody waits: who finds no
// place is refused. It is safe for concurrent use; its memory is bounded by the places.
type Share struct {
	total int

	mu   sync.Mutex
	held map[fleet.TenantID]int
	used int
}

// NewShare divides total places.
func NewShare(total int) *Share { return &Share{total: total, held: map[fleet.TenantID]int{}} }

// Enter takes a place for the tenant; false = there is none for it now. leave, to be called once, gives it back.
func (s *Share) Enter(tenant fleet.TenantID) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[tenant] >= s.total-s.used {
		return func() {}, false
	}
	s.held[tenant]++
	s.used++
	return func() { s.leave(tenant) }, true
}

func (s *Share) leave(tenant fleet.TenantID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.held[tenant]--; s.held[tenant] == 0 {
		delete(s.held, tenant)
	}
}
