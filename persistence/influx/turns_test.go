package influx

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/engine/fleet"
)

// However much one tenant asks, and however slow the answers are, another one has its turn at once.
func TestATenantThatAsksMuchWaitsForItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var late atomic.Int32
		for range 50 {
			go func() {
				done, err := turns.take(t.Context(), "loud")
				if err != nil {
					if errors.Is(err, ErrAway) {
						late.Add(1)
					}
					return
				}
				time.Sleep(time.Minute)
				done()
			}()
		}
		synctest.Wait()
		for range questionsOfTenant {
			done, err := turns.take(t.Context(), "quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer done()
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := late.Load(); n != 50-questionsOfTenant {
			t.Errorf("%d were told that it takes too long, want all but %d", n, questionsOfTenant)
		}
		if len(turns.tenants) != 1 || len(turns.all) != questionsOfTenant {
			t.Errorf("%d tenants are remembered, %d turns taken", len(turns.tenants), len(turns.all))
		}
	})
}

// All together ask no more than so many at a time; who gives up takes nothing along.
func TestTurnsAreBoundedInAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var ends []func()
		for i := range questions {
			done, err := turns.take(t.Context(), fleet.TenantID(rune('a'+i)))
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, done)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.take(short, "z"); !errors.Is(err, ErrAway) {
			t.Errorf("one more: %v", err)
		}
		for _, end := range ends {
			end()
		}
		if len(turns.tenants) != 0 || len(turns.all) != 0 {
			t.Errorf("%d tenants and %d turns are left", len(turns.tenants), len(turns.all))
		}
	})
}
