package postgres

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAChoreThatFailsIsTriedAgainInItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Store{log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var tries []time.Duration
		s.upkeep(ctx, time.Hour, func(context.Context) error {
			switch tries = append(tries, time.Since(began)); len(tries) {
			case 1, 2:
				return errors.New("in use")
			case 4:
				cancel()
			}
			return nil
		})
		if want := []time.Duration{0, time.Hour, 2 * time.Hour, 26 * time.Hour}; !slices.Equal(tries, want) {
			t.Fatalf("tried at %v, want %v", tries, want)
		}
	})
}
