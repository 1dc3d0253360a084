//go:build integration

package postgres_test

import (
	"testing"
	"time"

	"starling/engine/fact"
)

// BenchmarkProjectTasks folds a hundred histories of five events each, in batches of 500 as a consumer gets them.
func BenchmarkProjectTasks(b *testing.B) {
	s, _ := freshAt(b)
	shard := newShard(b, s)
	const tasks = 100
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var batch []fact.Told
		for range tasks {
			_, events := history(shard, time.Now())
			batch = append(batch, events...)
		}
		b.StartTimer()
		if n, err := s.ProjectTasks(b.Context(), "c", shard.Tenant, batch); err != nil || n != len(batch) {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*5*tasks/b.Elapsed().Seconds(), "events/s")
}
