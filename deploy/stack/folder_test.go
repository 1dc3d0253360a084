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

// Whoever works on a stack's folder is alone there, also where the folder goes and comes again meanwhile.
func TestOneWorksOnAStacksFolderAtATime(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "stack")
	var inside, most, turns atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 5 {
				unlock, err := lockFolder(t.Context(), dir, true)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				if _, err := os.Stat(dir); err != nil {
					t.Errorf("whoever holds the lock has no folder: %v", err)
				}
				turns.Add(1)
				inside.Add(-1)
				if i%2 == 0 { // the last thing that is done there
					if err := os.RemoveAll(dir); err != nil {
						t.Error(err)
					}
				}
				unlock()
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || turns.Load() != 40 {
		t.Errorf("%d at once, %d turns", most.Load(), turns.Load())
	}
}

func TestWaitingForAStacksFolderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "stack")
	if unlock, err := lockFolder(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	} else {
		unlock()
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("who stops a stack that is not there has made its folder: %v", err)
	}
	unlock, err := lockFolder(t.Context(), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Down(over, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("Down beside another one: %v", err)
	}
}
