package sim_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"starling/engine/sim"
)

var (
	updateFlag   = flag.Bool("update", false, "rewrite the golden traces of the scenarios")
	scenarioFlag = flag.String("sim.scenario", "", "a scenario's file to play once, with its trace; with -sim.trace=-1 every message too")
)

// TestScenarioFile plays a file that is not of the house (yet).
func TestScenarioFile(t *testing.T) {
	if *scenarioFlag == "" {
		return // nothing was named: TestScenarios plays those of the house
	}
	b, err := os.ReadFile(*scenarioFlag)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := sim.ParseScenario(filepath.Base(*scenarioFlag), string(b))
	if err != nil {
		t.Fatal(err)
	}
	p := sc.Play(1)
	if *traceFlag < 0 {
		p.Trace(func(line string) { fmt.Println(line) })
	}
	v := p.Finish()
	t.Logf("\n%s", v.Trace)
	if v.Broken != nil || len(v.Faults) > 0 {
		t.Errorf("%v\n%s", v.Broken, strings.Join(v.Faults, "\n"))
	}
}

// TestScenarios plays every scenario of the house: all laws hold after every step, what it expects comes true, and its
// trace is, byte for byte, the golden one.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range sim.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc, err := sim.NamedScenario(name)
			if err != nil {
				t.Fatal(err)
			}
			v := sc.Play(1).Finish()
			if v.Broken != nil {
				t.Errorf("%v", v.Broken)
			}
			for _, f := range v.Faults {
				t.Error(f)
			}
			golden := filepath.Join("testdata", "scenarios", name+".golden")
			if *updateFlag {
				if err := os.WriteFile(golden, []byte(v.Trace), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Trace; got != string(want) {
				t.Errorf("the trace differs from %s, first at %s; read the difference, then run with -update", golden, difference(string(want), got))
			}
			if t.Failed() {
				t.Logf("\n%s", v.Trace)
			}
		})
	}
}

func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\nwant " + a[i] + "\ngot  " + b[i]
		}
	}
	return "its end"
}

// The bounds that docs/traffic.md states.
const (
	foundWithin    = 1250 * time.Millisecond // a second, and a look every quarter of one
	resolvedWithin = 10 * time.Second
	recordedFrom   = 3500 * time.Millisecond // shorter rings dissolve by themselves
)

// TestRingsAreFoundAndResolvedWithinTheirBounds looks at all scenarios: robots that wait for each other are found within a
// second, resolved within the stated bound, and what was done about them is on record.
func TestRingsAreFoundAndResolvedWithinTheirBounds(t *testing.T) {
	t.Parallel()
	rings, recorded := 0, 0
	var longest, slowest time.Duration
	for _, name := range sim.Scenarios() {
		sc, err := sim.NamedScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range sc.Play(1).Finish().Rings {
			rings++
			stood := r.Until - r.Since
			longest = max(longest, stood)
			if stood > resolvedWithin {
				t.Errorf("%s: %v waited for each other for %v from %v on", name, r.Robots, stood, r.Since)
			}
			if r.Recorded {
				recorded++
			}
			if stood >= recordedFrom && !r.Recorded {
				t.Errorf("%s: %v waited for each other for %v from %v on, and nothing is on record", name, r.Robots, stood, r.Since)
			}
			if stood <= foundWithin {
				continue
			}
			if r.Found == 0 || r.Found-r.Since > foundWithin {
				t.Errorf("%s: %v waited for each other from %v on, found at %v", name, r.Robots, r.Since, r.Found)
			}
			slowest = max(slowest, r.Found-r.Since)
		}
	}
	if rings < 5 || recorded < 3 {
		t.Errorf("only %d rings in all scenarios, %d on record: this test looks at nothing", rings, recorded)
	}
	t.Logf("%d rings, %d on record; found after at most %v, gone after at most %v", rings, recorded, slowest, longest)
}

// TestOneSeedOfAScenarioIsOneRun is law 10 for scenarios.
func TestOneSeedOfAScenarioIsOneRun(t *testing.T) {
	t.Parallel()
	sc, err := sim.NamedScenario("corner-four")
	if err != nil {
		t.Fatal(err)
	}
	a, b, other := sc.Play(1).Finish(), sc.Play(1).Finish(), sc.Play(2).Finish()
	if a.Digest != b.Digest || a.Trace != b.Trace {
		t.Error("one seed, two runs")
	}
	if a.Digest == other.Digest {
		t.Error("two seeds, one run")
	}
}

// TestScenariosHoldForOtherSeedsToo: who moves first in a scenario may depend on chance, what must hold may not.
func TestScenariosHoldForOtherSeedsToo(t *testing.T) {
	t.Parallel()
	for _, name := range sim.Scenarios() {
		sc, err := sim.NamedScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := uint64(2); seed <= 6; seed++ {
			if v := sc.Play(seed).Finish(); v.Broken != nil || len(v.Faults) > 0 {
				t.Errorf("%s, seed %d: %v %s", name, seed, v.Broken, strings.Join(v.Faults, "; "))
			}
		}
	}
}
