//go:build integration

package postgres_test

import (
	"fmt"
	"testing"

	"starling/engine/fact"
)

// BenchmarkGroupCommit creates tasks with their first events, outbox rows and idempotency keys in groups.
func BenchmarkGroupCommit(b *testing.B) {
	s := fresh(b)
	shard := newShard(b, s)
	inc, _, err := s.Take(b.Context(), shard, "bench")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1, 32, 512} {
		b.Run(fmt.Sprintf("units=%d", size), func(b *testing.B) {
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
