package sim_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"starling/engine/sim"
)

var (
	seedsFlag = flag.Int("sim.seeds", seeds(), "how many seeds TestSeeds runs (STARLING_SEEDS, else 200)")
	seedFlag  = flag.Uint64("sim.seed", 0, "the one seed to run, with a trace; 0 = all")
	stepsFlag = flag.Int("sim.steps", 0, "stop after so many steps; 0 = at the end")
	traceFlag = flag.Int("sim.trace", 200, "how many of the last lines of the trace to print when one seed fails; -1 = all, as it goes")
)

func seeds() int {
	if n, err := strconv.Atoi(os.Getenv("STARLING_SEEDS")); err == nil && n > 0 {
		return n
	}
	return 200
}

// TestSeeds runs many seeds and holds each against the ten laws after every simulated step.
func TestSeeds(t *testing.T) {
	if *seedFlag != 0 {
		one(t, *seedFlag, *stepsFlag)
		return
	}
	t.Parallel()
	var next, bad atomic.Int64
	var mu sync.Mutex
	var sum sim.Result
	began := time.Now()
	t.Cleanup(func() {
		t.Logf("%d seeds in %v: %d steps, %d moves, %d tasks (%d succeeded), %d grants, %d crashes",
			*seedsFlag, time.Since(began).Round(time.Second), sum.Steps, sum.Moves, sum.Created, sum.Finished, sum.Grants, sum.Crashes)
	})
	for i := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker ", i), func(t *testing.T) {
			t.Parallel()
			for {
				seed := next.Add(1)
				if seed > int64(*seedsFlag) || bad.Load() > 40 {
					return
				}
				r := sim.New(sim.Random(uint64(seed))).Run(*stepsFlag)
				if r.Broken != nil {
					bad.Add(1)
					t.Error(failure(r))
				}
				mu.Lock()
				sum.Steps += r.Steps
				sum.Moves += r.Moves
				sum.Created += r.Created
				sum.Finished += r.Finished
				sum.Grants += r.Grants
				sum.Crashes += r.Crashes
				mu.Unlock()
			}
		})
	}
}

// one runs a single seed and prints how it came to its end.
func one(t *testing.T, seed uint64, steps int) {
	t.Helper()
	c := sim.Random(seed)
	t.Logf("%+v", c)
	w := sim.New(c)
	var lines []string
	w.Trace = func(line string) {
		if *traceFlag < 0 {
			fmt.Println(line)
			return
		}
		if lines = append(lines, line); len(lines) > *traceFlag {
			lines = lines[1:]
		}
	}
	r := w.Run(steps)
	t.Logf("%+v", r)
	if r.Broken != nil {
		t.Error(strings.Join(lines, "\n") + "\n" + failure(r))
	}
}

func failure(r sim.Result) string {
	v := r.Broken
	return fmt.Sprintf("%v\ncommit %s; replay: go test ./engine/sim -run TestSeeds -sim.seed=%d -sim.steps=%d", v, commit(), v.Seed, v.Step)
}

// commit is what the test was built from.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	if out, err := exec.Command("git", "rev-parse", "HEAD").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return os.Getenv("COMMIT")
}

// TestOneSeedIsOneRun is law 10, determinism: the same seed gives the same digest, another seed another.
func TestOneSeedIsOneRun(t *testing.T) {
	t.Parallel()
	seen := map[uint64]uint64{}
	for seed := uint64(1); seed <= 8; seed++ {
		const steps = 60_000
		a, b := sim.New(sim.Random(seed)).Run(steps), sim.New(sim.Random(seed)).Run(steps)
		if a.Digest != b.Digest || a.Steps != b.Steps {
			t.Errorf("seed %d: %d steps to %x, then %d steps to %x", seed, a.Steps, a.Digest, b.Steps, b.Digest)
		}
		if other, ok := seen[a.Digest]; ok {
			t.Errorf("seeds %d and %d are the same run", seed, other)
		}
		seen[a.Digest] = seed
	}
}
