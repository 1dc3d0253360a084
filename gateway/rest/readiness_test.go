package rest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Dependencies are asked at once: two that say nothing cost the time of one, and however many ask, each is asked once.
func TestSilentDependenciesAreToldInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		silent := func(ctx context.Context) error { asked.Add(1); <-ctx.Done(); return ctx.Err() }
		deaf := func(context.Context) error { asked.Add(1); time.Sleep(time.Minute); return nil }
		p := newProbes([]Check{
			{Name: "postgres", Critical: true, Probe: silent},
			{Name: "redis", Probe: deaf},
			{Name: "kafka", Probe: func(context.Context) error { return errors.New("refused") }},
			{Name: "influx", Probe: func(context.Context) error { return nil }},
			{Name: "broken", Probe: func(context.Context) error { panic("broken") }},
		})
		want := map[string]string{"postgres": "down", "redis": "degraded", "kafka": "degraded", "influx": "ok", "broken": "degraded"}
		began := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if states, down := p.ask(t.Context()); !down || !maps.Equal(states, want) {
					t.Errorf("%v %v", states, down)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != probeBound || took >= 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("the silent ones were asked %d times", n)
		}
		// The deaf one is not asked again before it has answered; the others are.
		if states, _ := p.ask(t.Context()); states["redis"] != "degraded" || asked.Load() != 3 {
			t.Errorf("%v, asked %d times", states, asked.Load())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}
