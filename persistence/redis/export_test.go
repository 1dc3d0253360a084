package redis

import (
	"context"

	"starling/engine/fleet"
)

// Entry is an entry as it stands in Redis.
func (m *Mirror) Entry(ctx context.Context, hash, id string) (string, error) {
	return m.client.HGet(ctx, hash, id).Result()
}

// Holds says whether this process shows the shard.
func (m *Mirror) Holds(s fleet.Shard) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shards[s] != nil
}

// Pending is how many marks wait.
func (m *Mirror) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pending
}
