//go:build integration

package postgres_test

import (
	"fmt"
	"testing"

	"starling/engine/fact"
)

// BenchmarkGroupCommit creates tasks with their first events, outbox rows and idempotency keys in groups; audited: with
// the intents of the requests that asked for them.
func BenchmarkGroupCommit(b *testing.B) {
	s := fresh(b)
	shard := newShard(b, s)
	inc, _, err := s.Take(b.Context(), shard, "bench")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 6 {
		size, audited := []int{1, 32, 512}[i/2], i%2 == 1
		b.Run(fmt.Sprintf("units=%d/audited=%t", size, audited), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				units := make([]fact.Unit, size)
				for i := range units {
					spec := newTask(shard, day)
					units[i] = creation(spec)
					units[i].Incarnation = inc
					units[i].Idempotency = &fact.Idempotency{
						Key: string(spec.ID), Route: "POST /api/v1/tasks", Fingerprint: []byte(spec.ID), Answer: fact.Answer{Status: 201, Body: make([]byte, 400)},
					}
					if audited {
						units[i].Audit = intentOf(shard)
						units[i].Audit.User, units[i].Audit.ResourceID = spec.CreatedBy, string(spec.ID)
					}
				}
				b.StartTimer()
				for _, err := range s.Append(b.Context(), units) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
