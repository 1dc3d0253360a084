package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTheCacheMakesAThingOnceAndNeverHalf(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	cache := filepath.Join(home, "starling", "servers")
	left := filepath.Join(cache, "thing-1-new-123") // a build that was killed
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := cached(t.Context(), "thing-1", []byte("recipe"), func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), broken)
	}); !errors.Is(err, broken) {
		t.Fatalf("a broken run: %v", err)
	}
	if all, err := filepath.Glob(filepath.Join(cache, "thing-1-*")); err != nil || len(all) != 0 {
		t.Errorf("a broken run and a killed one left %v, %v", all, err)
	}
	var made atomic.Int32
	var wait sync.WaitGroup
	dirs := make([]string, 8)
	for i := range dirs {
		wait.Go(func() {
			dir, err := cached(t.Context(), "thing-1", []byte("recipe"), func(_ context.Context, dir string) error {
				made.Add(1)
				return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			dirs[i] = dir
		})
	}
	wait.Wait()
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "whole")); err != nil || dir != dirs[0] {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if n := made.Load(); n != 1 {
		t.Errorf("it was made %d times", n)
	}
	other, err := cached(t.Context(), "thing-1", []byte("another recipe"), func(context.Context, string) error { return nil })
	if err != nil || other == dirs[0] {
		t.Errorf("another recipe gives the same folder %s, %v", other, err)
	}
}
