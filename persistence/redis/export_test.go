package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"

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

// FillLock is the key of the lock under which a shard is filled in, and what stands there while this process does it.
func (m *Mirror) FillLock(s fleet.Shard) (at, name string) {
	return key(s.Tenant, "fill", string(s.Warehouse)), m.name
}

// Hook lets a test see each call.
func (m *Mirror) Hook(h goredis.Hook) { m.client.AddHook(h) }
