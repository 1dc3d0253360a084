package actors

import (
	"encoding/binary"

	"github.com/google/uuid"

	"starling/engine/fleet"
)

// newEventID returns a UUIDv7. In manual mode it is made of the virtual time, the seed and a counter, so that one
// seed gives one run.
func (s *System) newEventID() fleet.EventID {
	if !s.Manual {
		return fleet.EventID(uuid.Must(uuid.NewV7()).String())
	}
	s.mu.Lock()
	s.serial++
	n := s.serial
	s.mu.Unlock()
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(s.now().UnixMilli())<<16)
	id[6] = 0x70 | byte(s.Seed>>8)&0x0f
	id[7] = byte(s.Seed)
	binary.BigEndian.PutUint64(id[8:], n)
	id[8] = 0x80
	return fleet.EventID(id.String())
}
